"""Waiting for an epoch."""

from __future__ import annotations

import threading


class EpochWatcher:
    """Lets threads wait until the table has reached an epoch."""

    def __init__(self, epoch: int = 0) -> None:
        self._epoch = epoch
        self._closed = False
        self._changed = threading.Condition()

    def notify(self, epoch: int) -> None:
        """Wake everybody who waits for this epoch or an earlier one; the others go on waiting."""
        with self._changed:
            self._epoch = max(self._epoch, epoch)
            self._changed.notify_all()

    def wait(self, epoch: int, timeout: float | None = None) -> bool:
        """Return True once the table has reached the epoch; False if it closes first or the time is up.

        Parameters
        ----------
        epoch : int
        timeout : float, optional
            Seconds; None waits for as long as it takes.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._epoch >= epoch, timeout)
            return self._epoch >= epoch

    def close(self) -> None:
        """Wake everybody; nothing will come any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
