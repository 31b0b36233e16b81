"""The thread that drives what tables do by themselves: flushing what is due, collecting garbage."""

from __future__ import annotations

import threading
from typing import Protocol

from measurefs.fs.process import ProcessGuard


class Steppable(Protocol):
    """Something with work of its own."""

    def step(self) -> float:
        """Do what is due, without raising for what may heal, and return the seconds until more is."""


class Background:
    """One thread that steps any number of tables; it starts with the first and ends with `close`."""

    def __init__(self) -> None:
        self._tables: list[Steppable] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._guard = ProcessGuard()
        self._thread: threading.Thread | None = None

    def add(self, table: Steppable) -> None:
        """Step this table from now on."""
        with self._lock:
            self._tables.append(table)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="measurefs-background", daemon=True)
                self._thread.start()
        self._wake.set()

    def remove(self, table: Steppable) -> None:
        """Step this table no more; a step under way may still end. Nothing is to be done in a forked child."""
        if not self._guard.at_home:
            return
        with self._lock:
            if table in self._tables:
                self._tables.remove(table)

    def wake(self) -> None:
        """Let the thread look for work now."""
        self._wake.set()

    def close(self) -> None:
        """Stop the thread after the step under way."""
        self._closed = True
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._closed:  # looked at after clearing, or the wake-up of `close` could be lost
                return
            with self._lock:
                tables = list(self._tables)
            pause = min((table.step() for table in tables), default=60.0)
            self._wake.wait(max(pause, 0.0))
