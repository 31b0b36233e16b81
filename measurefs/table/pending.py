"""Rows in memory that wait for a flush: how much memory they take, and when it is due."""

from __future__ import annotations

import threading

from measurefs.table.introducer import Introducer
from measurefs.table.memory import MemoryBudget
from measurefs.table.options import Runtime, TableOptions


class Pending:
    """Keeps the books of one table's rows in memory.

    Parameters
    ----------
    memory : MemoryBudget
        Where they are counted.
    """

    def __init__(self, memory: MemoryBudget, options: TableOptions, runtime: Runtime) -> None:
        self._memory = memory
        self._options = options
        self._runtime = runtime
        self._accounting = threading.Lock()
        self._bytes = 0
        self._oldest: float | None = None

    @property
    def full(self) -> bool:
        """Whether a flush is due whatever the time."""
        return self._bytes >= self._options.flush_bytes or self._memory.pressed

    @property
    def due(self) -> float | None:
        """When the next flush is due on the monotonic clock, None if nothing waits for one."""
        oldest = self._oldest
        if oldest is None:
            return None
        return oldest if self.full else oldest + self._options.flush_interval

    def update(self, introducer: Introducer, committed: list[int]) -> bool:
        """Look at what is in memory now, and return whether that has just begun to wait.

        Parameters
        ----------
        introducer : Introducer
        committed : list of int
            The parts of the last commit.
        """
        with self._accounting:
            with introducer.pin() as snapshot:
                size = sum(part.nbytes for part in snapshot.memory_parts)
                durable = not size and [part.id for part in snapshot.file_parts] == committed
            self._memory.change(size - self._bytes)
            self._bytes = size
            if durable:
                self._oldest = None
            elif self._oldest is None:
                self._oldest = self._runtime.monotonic()
                return True
        return False

    def forget(self) -> None:
        """Count the rows no more: the table is closed."""
        self._memory.change(-self._bytes)
        self._bytes = 0
