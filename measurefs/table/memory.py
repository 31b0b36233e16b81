"""How much memory rows may take before they are in files: one budget for all tables of a database."""

from __future__ import annotations

import threading
from collections.abc import Callable


class MemoryBudget:
    """Counts the bytes of rows in memory, and lets writers wait for room.

    Parameters
    ----------
    limit : int
        Bytes. A batch that is larger than that gets in when nothing else is there.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0
        self._changed = threading.Condition()

    @property
    def used(self) -> int:
        """Bytes in memory now."""
        return self._used

    @property
    def pressed(self) -> bool:
        """Whether half of it is used, so that flushing should not wait for its hour."""
        return 2 * self._used >= self.limit

    def change(self, difference: int) -> None:
        """Count so many bytes more (or, negative, less)."""
        with self._changed:
            self._used += difference
            self._changed.notify_all()

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more fit now."""
        return self._used == 0 or self._used + size <= self.limit

    def wait_for_room(self, size: int, timeout: float, given_up: Callable[[], bool]) -> bool:
        """Wait until so many bytes more fit; False after timeout seconds, or when `given_up` says so."""
        with self._changed:
            self._changed.wait_for(lambda: self.has_room(size) or given_up(), timeout)
            return self.has_room(size)
