"""The one place that replaces a table's current snapshot."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence

from measurefs.part.part import Part
from measurefs.table.snapshot import Snapshot, settle
from measurefs.table.watcher import EpochWatcher

Change = Callable[[Snapshot, int], Sequence[Part]]
"""From the current snapshot and the next epoch to the next snapshot's parts."""


class Introducer:
    """Applies changes to the current snapshot one at a time, each producing the next one.

    Parameters
    ----------
    epoch : int
        The epoch to start from.
    parts : sequence of Part
        What the table holds then.

    Attributes
    ----------
    claimed : float
        Parts in memory up to this number are left alone, see `claim`; infinity while `claiming`.
    """

    def __init__(self, epoch: int, parts: Sequence[Part]) -> None:
        self.watcher = EpochWatcher(epoch)
        self.claimed: float = 0
        self._last = epoch
        self._live: set[Snapshot] = set()
        self._changing = threading.Lock()
        self._swapping = threading.Lock()
        self._current = self._snapshot(epoch, parts)

    def _snapshot(self, epoch: int, parts: Sequence[Part]) -> Snapshot:
        snapshot = Snapshot(epoch, parts, self._forget)
        self._live.add(snapshot)
        return snapshot

    def _forget(self, snapshot: Snapshot) -> None:
        with self._swapping:
            self._live.discard(snapshot)

    def pin(self) -> Snapshot:
        """Return the current snapshot with one more reference. Never waits for a change being made."""
        settle()
        with self._swapping:
            return self._current.pin()

    def claim(self) -> Snapshot:
        """Pin the current snapshot; its parts in memory are from now on only replaced by who makes them durable."""
        settle()
        with self._changing, self._swapping:
            self.claimed = self._current.epoch
            return self._current.pin()

    @contextlib.contextmanager
    def claiming(self) -> Iterator[None]:
        """Claim all that is introduced up to the end of the block."""
        with self._changing:
            self.claimed = math.inf
        try:
            yield
        finally:
            with self._changing:
                self.claimed = self._last

    def go_back(self, epoch: int, time: int, parts: Sequence[Part]) -> Snapshot:
        """Return a snapshot of the past, whose parts are live until it is released.

        Parameters
        ----------
        epoch, time : int
            When it was published and committed.
        parts : sequence of Part
            Those that are live already stand in for them, and what they have read of themselves is there.
        """
        settle()
        with self._swapping:
            known = {part.id: part for snapshot in self._live for part in snapshot.parts}
            held = [known.get(part.id, part) for part in parts]
            snapshot = Snapshot(epoch, held, self._forget, time)
            self._live.add(snapshot)
        return snapshot

    def advance(self, epoch: int) -> None:
        """Let all further numbers be greater than this one."""
        with self._changing:
            self._last = max(self._last, epoch)

    def next_number(self) -> int:
        """Return a number greater than all before, for a part."""
        with self._changing:
            self._last += 1
            return self._last

    def introduce(self, change: Change) -> int:
        """Publish the next snapshot and return its epoch; it is visible to every reader on return."""
        settle()
        with self._changing:
            self._last += 1
            epoch = self._last
            parts = change(self._current, epoch)
            with self._swapping:
                previous, self._current = self._current, self._snapshot(epoch, parts)
        previous.release()
        self.watcher.notify(epoch)
        return epoch

    @property
    def pinned(self) -> bool:
        """Whether anybody holds a snapshot."""
        settle()
        with self._swapping:
            return len(self._live) > 1 or self._current.references > 1

    def live_parts(self) -> set[int]:
        """Return the ids of all parts that the current snapshot or a pinned one names."""
        settle()
        with self._swapping:
            return {part.id for snapshot in self._live for part in snapshot.parts}
