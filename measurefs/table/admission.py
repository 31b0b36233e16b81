"""Who may hand rows to a table, and how long it waits for room."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from measurefs.table.memory import MemoryBudget


class Admission:
    """Counts the writers that a table has admitted, so that closing can wait for them and admit no more.

    Parameters
    ----------
    memory : MemoryBudget
        What the rows of all of them must fit in.
    """

    def __init__(self, memory: MemoryBudget) -> None:
        self._memory = memory
        self._changed = threading.Condition()
        self._admitted = 0
        self.closing = False

    @contextlib.contextmanager
    def enter(self, check: Callable[[], None]) -> Iterator[None]:
        """Count one more writer within the block; `check` raises, with closing kept out, if it may not enter."""
        with self._changed:
            check()
            self._admitted += 1
        try:
            yield
        finally:
            with self._changed:
                self._admitted -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Admit nobody from now on, and return when those that were admitted are done."""
        with self._changed:
            self.closing = True
            self._memory.change(0)  # wakes those who wait for room, to be refused
            self._changed.wait_for(lambda: not self._admitted)

    def reopen(self) -> None:
        """Admit writers again."""
        self.closing = False
