"""Group commit: those who wait for their rows to become durable at the same time share a commit."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

_PATIENCE, _MOST_PATIENCE = 0.5, 0.1


class Group:
    """Gives turns, one at a time, and lets one that serves many wait for those who will soon want it.

    Writers that make each batch durable come back as soon as they were told so. Without waiting some of them would
    always miss the commit of the others by the moment that it takes to write a batch. Expected are as many as the last
    commit served or came while it ran: who is alone never waits. Nobody waits for longer than half of the time that
    the last commit took, or a tenth of a second.

    Parameters
    ----------
    monotonic : callable
        Seconds on a clock that never goes back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._busy = False
        self._waiting: list[Callable[[], bool]] = []
        self._came = 0
        self._expected = 0
        self._patience = 0.0

    @contextlib.contextmanager
    def turn(self, is_served: Callable[[], bool] | None = None) -> Iterator[bool]:
        """Wait until nobody else has a turn, and have it within the block.

        Who tells whether others have served it is one of those that wait for each other. If they have, it gives
        False, and there is no turn.
        """
        served = is_served or (lambda: False)
        with self._changed:
            if is_served is not None:
                self._came += 1
                self._waiting.append(is_served)
                self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: served() or not self._busy)
            finally:
                if is_served is not None:
                    self._waiting.remove(is_served)
            mine = not served()
            self._busy |= mine
        if not mine:
            yield False
            return
        try:
            yield True
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Wait, within a turn, for those who are expected; within the block they are served."""
        with self._changed:
            self._changed.wait_for(lambda: 1 + self._unserved() >= self._expected, self._patience)
            served, self._came = 1 + self._unserved(), 0
        begun = self._monotonic()
        yield
        with self._changed:
            self._expected = served + self._came
            self._patience = min(_PATIENCE * (self._monotonic() - begun), _MOST_PATIENCE)

    def _unserved(self) -> int:
        return sum(not is_served() for is_served in self._waiting)
