"""Rows in memory that wait for a flush: how much memory they take, and when it is due."""

from __future__ import annotations

import threading

from measurefs.table.flusher import Flusher
from measurefs.table.introducer import Introducer
from measurefs.table.memory import MemoryBudget
from measurefs.table.options import Runtime, TableOptions

_EARLIER = 4
"""The first flush of many rows begins with so small a part of what later ones have, to go on beside the writer."""


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
        self._enough = self._first = max(options.flush_bytes // _EARLIER, 1)
        self._oldest: float | None = None
        self._is_long = False

    @property
    def full(self) -> bool:
        """Whether a flush is due whatever the time."""
        return self._bytes >= self._enough or self._memory.pressed or self._is_long

    @property
    def due(self) -> float | None:
        """When the next flush is due on the monotonic clock, None if nothing waits for one."""
        if self._bytes and self.full:
            return 0.0
        return None if self._oldest is None else self._oldest + self._options.flush_interval

    def update(self, introducer: Introducer, flusher: Flusher) -> bool:
        """Look at what is in memory now, and return whether rows have just begun to wait for being durable."""
        with self._accounting:
            with introducer.pin() as snapshot:
                size = snapshot.memory_bytes
                durable = flusher.is_durable(snapshot)
            self._is_long = flusher.log_is_long
            if size < self._bytes:
                self._enough = self._enough_next_time()
            self._memory.change(size - self._bytes)
            self._bytes = size
            if durable:
                self._oldest = None
            elif self._oldest is None:
                self._oldest = self._runtime.monotonic()
                return True
        return False

    def _enough_next_time(self) -> int:
        """Return what the next flush begins with: twice as much as this one, if rows came so quickly."""
        if self._bytes < self._enough:
            return self._first
        return min(2 * self._enough, self._options.flush_bytes)

    def forget(self) -> None:
        """Count the rows no more: the table is closed."""
        self._memory.change(-self._bytes)
        self._bytes = 0
