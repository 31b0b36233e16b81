"""The threads that drive what tables do by themselves: flushing and collecting what is due, and merging."""

from __future__ import annotations

import math
import threading
import time
from typing import Protocol

from measurefs.fs.process import ProcessGuard


class Steppable(Protocol):
    """Something with work of its own."""

    def step(self) -> float:
        """Do what is due, without raising for what may heal, and return the seconds until more is."""


class Background:
    """Two threads that step any number of tables: one for what is quick, one for what may take long.

    Each starts with the first table, and ends with `close`.
    """

    def __init__(self) -> None:
        self._quick = _Loop("measurefs-background")
        self._slow = _Loop("measurefs-merging")
        self._guard = ProcessGuard()

    def add(self, work: Steppable, *, slow: bool = False) -> None:
        """Step this from now on."""
        self._loop(slow).add(work)

    def remove(self, work: Steppable) -> None:
        """Step this no more; a step under way may still end. Nothing is to be done in a forked child."""
        if self._guard.at_home:
            self._quick.remove(work)
            self._slow.remove(work)

    def wake(self, *, slow: bool = False, within: float = 0.0) -> None:
        """Let the thread look for work, in so many seconds at the latest."""
        self._loop(slow).wake(within)

    def close(self) -> None:
        """Stop the threads after the steps under way."""
        self._quick.close()
        self._slow.close()

    def _loop(self, slow: bool) -> _Loop:
        return self._slow if slow else self._quick


class _Loop:
    def __init__(self, name: str) -> None:
        self._name = name
        self._works: list[Steppable] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._until = math.inf  # when it will be awake by itself; while it is, it knows no such time
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, work: Steppable) -> None:
        with self._lock:
            self._works.append(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        self._wake.set()

    def remove(self, work: Steppable) -> None:
        with self._lock:
            if work in self._works:
                self._works.remove(work)

    def wake(self, within: float) -> None:
        if time.monotonic() + within < self._until:
            self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._until = math.inf
            self._wake.clear()
            if self._closed:  # looked at after clearing, or the wake-up of `close` could be lost
                return
            with self._lock:
                works = list(self._works)
            pause = min((work.step() for work in works), default=60.0)
            self._until = time.monotonic() + pause
            self._wake.wait(max(pause, 0.0))
