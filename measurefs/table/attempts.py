"""Trying again what failed in the background, after pauses that grow."""

from __future__ import annotations

from collections.abc import Callable

from measurefs.table.options import Runtime

_LEAST_PAUSE, _MOST_PAUSE = 0.1, 10.0


class Attempts:
    """How often one kind of work has failed since it last succeeded, and when it may be tried again.

    Attributes
    ----------
    failures : int
        In a row.
    last_error : Exception or None
        What the last of them raised.
    retry_at : float
        On the monotonic clock.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.succeeded()

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures = 0
        self.last_error: Exception | None = None
        self.retry_at = 0.0

    def run(self, work: Callable[[], object]) -> bool:
        """Do the work and return whether it succeeded; what it raises is counted and kept, not raised."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - shown in stats; the thread must outlive a backend's bug
            self.failures += 1
            self.last_error = error
            pause = min(_LEAST_PAUSE * 2.0**self.failures, _MOST_PAUSE)
            self.retry_at = self._runtime.monotonic() + pause * self._runtime.random.uniform(0.5, 1.0)
            return False
        return True
