"""The garbage cleaner: which snapshots and parts nobody needs any more, and their removal.

What is garbage is decided by pure functions of names, times and what is in use; only `GarbageCleaner` touches
files.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from measurefs.fs.filesystem import FileSystem, LockFile
from measurefs.fs.listing import list_dir
from measurefs.fs.paths import join
from measurefs.table.epochs import part_id, snapshot_epoch, snapshot_name, token_of
from measurefs.table.recovery import read_snapshot
from measurefs.table.tags import tagged_epochs


def superseded(
    epochs: Iterable[int], committed: int, keep: int, tagged: Collection[int] = frozenset()
) -> list[int]:
    """Return the snapshots to delete, oldest first: all but the newest `keep` up to the committed one, and the tagged.

    Snapshots later than the committed one are not ours to judge, and stay.
    """
    known = sorted(epoch for epoch in epochs if epoch <= committed)
    return [epoch for epoch in known[:-keep] if epoch not in tagged]


def expired(
    unnamed_since: Mapping[str, float], names: Collection[str], now: float, grace: float
) -> tuple[dict[str, float], list[str]]:
    """Return since when each part has been unnamed, and those that have been so for the whole grace.

    Parameters
    ----------
    unnamed_since : mapping
        What the call before returned.
    names : collection of str
        The parts that nothing names now.
    now, grace : float
        Seconds.
    """
    since = {name: unnamed_since.get(name, now) for name in names}
    return since, sorted(name for name, start in since.items() if now - start >= grace)


class GarbageCleaner:
    """Removes superseded snapshots, and parts that no remaining snapshot and no reader names.

    Parameters
    ----------
    fs : FileSystem
    root : str
        The table's directory.
    lock : LockFile
        The writer's lock. Whatever a later writer left is not this one's to collect.
    keep_snapshots : int
    grace : float
        Seconds.
    floor : int
        What is added to the lock's token; what was published under tokens up to it is garbage. See `TsTable`.
    unnamed_since : dict, optional
        What a cleaner of the same table before this one has seen, and this one goes on with.
    """

    def __init__(
        self,
        fs: FileSystem,
        root: str,
        lock: LockFile,
        keep_snapshots: int,
        grace: float,
        floor: int = 0,
        unnamed_since: dict[str, float] | None = None,
    ) -> None:
        self._fs = fs
        self._root = root
        self._lock = lock
        self._keep = keep_snapshots
        self._grace = grace
        self._floor = floor
        self._cleaning = threading.Lock()
        self._holding = threading.Lock()
        self._unnamed_since = {} if unnamed_since is None else unnamed_since
        self._named_by: dict[int, frozenset[int]] = {}
        self._held: list[int] = []
        self._settled: int | None = None

    def is_settled(self, committed: int) -> bool:
        """Whether there was nothing left to collect, nor has anything been replaced since."""
        return self._settled == committed

    def unsettle(self) -> None:
        """Take note that what was kept is kept no longer."""
        self._settled = None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Remove nothing within the block, so that what is found there can be pinned before it is gone."""
        with self._cleaning:
            yield

    def hold(self, epoch: int) -> None:
        """Keep a committed snapshot as a tag would, until `let_go`; tell it before a later one is committed."""
        with self._holding:
            self._held = [*self._held, epoch]

    def let_go(self, epoch: int) -> None:
        """Keep a snapshot no longer."""
        with self._holding:
            held = list(self._held)
            held.remove(epoch)
            self._held = held
        self.unsettle()

    def clean(self, committed: int, in_use: Callable[[], set[int]], now: float) -> list[str]:
        """Collect once and return the names of what was removed; callers from several threads take turns.

        Nothing of this is needed for correctness, and whatever fails is tried again by the next call. Parts
        are judged only after every remaining snapshot was read.

        Parameters
        ----------
        committed : int
            The epoch of the last committed snapshot.
        in_use : callable
            Returns the ids of parts that are live in this process or being written. Called after the listing,
            so that it knows every part which the listing can show.
        now : float
            Seconds on a monotonic clock.

        Raises
        ------
        FileSystemError, CorruptionError
            A snapshot could not be read or deleted; no part was removed after that.
        FencedError
            The lock was lost; nothing was removed.
        """
        with self._cleaning:
            self._settled = committed
            try:
                return self._clean(committed, in_use, now)
            except BaseException:
                self.unsettle()
                raise

    def _clean(self, committed: int, in_use: Callable[[], set[int]], now: float) -> list[str]:
        self._lock.check()
        entries = list_dir(self._fs, self._root)
        epochs = {epoch for entry in entries if (epoch := snapshot_epoch(entry.name)) is not None}
        below = {epoch for epoch in epochs if self._floor and token_of(epoch) <= self._floor}
        tagged = tagged_epochs(entry.name for entry in entries) | set(self._held)
        unneeded = [*sorted(below), *superseded(epochs - below, committed, self._keep, tagged)]
        removed = [snapshot_name(epoch) for epoch in unneeded]
        if removed:
            self._fs.delete_files([join(self._root, name) for name in removed])
            self._fs.sync_path(self._root)
        named = self._parts_named_by(epochs.difference(unneeded))
        parts = {entry.name: number for entry in entries if (number := part_id(entry.name)) is not None}
        garbage = {
            name
            for name, number in parts.items()
            if number not in named and token_of(number) <= self._floor + self._lock.token
        }
        in_hand = in_use()
        unnamed = {name for name in garbage if parts[name] not in in_hand}
        since, due = expired(self._unnamed_since, unnamed, now, self._grace)
        self._unnamed_since.clear()
        self._unnamed_since.update(since)
        self._remove_parts(due, {entry.name for entry in entries if entry.is_dir})
        if not garbage.issubset(due):
            self.unsettle()
        return removed + due

    def _remove_parts(self, names: Collection[str], directories: Collection[str]) -> None:
        for name in names:
            if name in directories:
                self._fs.must_rm_all(join(self._root, name))
        self._fs.delete_files([join(self._root, name) for name in names if name not in directories])
        for name in names:
            del self._unnamed_since[name]

    def _parts_named_by(self, epochs: Collection[int]) -> set[int]:
        self._named_by = {epoch: self._named_by.get(epoch) or self._read(epoch) for epoch in epochs}
        return set().union(*self._named_by.values())

    def _read(self, epoch: int) -> frozenset[int]:
        return frozenset(part.id for part in read_snapshot(self._fs, self._root, epoch).parts)
