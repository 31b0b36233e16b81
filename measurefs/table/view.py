"""A table as readers see it."""

from __future__ import annotations

import contextlib

from measurefs.fs.errors import ClosedError, CorruptionError
from measurefs.fs.filesystem import DirEntry, FileSystem
from measurefs.fs.process import ProcessGuard
from measurefs.part.file_part import FilePart
from measurefs.table.history import Moment, look_back
from measurefs.table.introducer import Introducer
from measurefs.table.options import Runtime
from measurefs.table.recovery import Recovered, recover
from measurefs.table.snapshot import Snapshot
from measurefs.table.tagging import list_tags


def file_parts(root: str, recovered: Recovered, runtime: Runtime) -> list[FilePart]:
    """Return the parts of a snapshot."""
    parts = recovered.record.parts if recovered.record else []
    return [FilePart(root, metadata, runtime.cache) for metadata in parts]


class TableView:
    """What can be read of a table: its current snapshot, and those of the past that are kept.

    Attributes
    ----------
    unnamed_since : dict
        Parts that no snapshot names, and since when, on the monotonic clock.
    """

    fs: FileSystem
    root: str
    read_only: bool
    damaged: list[CorruptionError]
    unnamed_since: dict[str, float]
    _floor: int
    _runtime: Runtime
    _introducer: Introducer
    _recovered: Recovered
    _guard: ProcessGuard
    _closed: bool
    _predecessor: TableView | None

    def _open_for_reading(self, listed: list[DirEntry] | None) -> Introducer:
        recovered = recover(self.fs, self.root, floor=self._floor, listed=listed)
        self.damaged, self._recovered = recovered.damaged, recovered
        parts = file_parts(self.root, recovered, self._runtime)
        return Introducer(recovered.record.epoch if recovered.record else 0, parts)

    @property
    def closed(self) -> bool:
        """Whether it cannot be used any more."""
        return self._closed

    @property
    def epoch(self) -> int:
        """The epoch of the current snapshot."""
        with self._introducer.pin() as snapshot:
            return snapshot.epoch

    @property
    def pinned(self) -> bool:
        """Whether a reader in this process holds a snapshot of it."""
        before = self._predecessor is not None and self._predecessor.pinned
        return before or self._introducer.pinned

    def _nearest_pinned(self) -> TableView | None:
        """Return it, or that of its predecessors, of which a reader in this process holds a snapshot."""
        if self._introducer.pinned or self._predecessor is None:
            return self if self._introducer.pinned else None
        return self._predecessor._nearest_pinned()

    def _live_parts(self) -> set[int]:
        """Return the ids of the parts that readers in this process may be reading, or will."""
        before = self._predecessor._live_parts() if self._predecessor is not None else set()
        return before | self._introducer.live_parts()

    def pin(self) -> Snapshot:
        """Return the current snapshot, pinned; use it in a ``with`` block, or `release` it."""
        self._check_open()
        return self._introducer.pin()

    def wait(self, epoch: int, timeout: float | None = None) -> bool:
        """Wait until the table has reached an epoch; False if it closes first or the time is up."""
        return self._introducer.watcher.wait(epoch, timeout)

    def refresh(self, listed: list[DirEntry] | None = None) -> bool:
        """See what the writer has committed since, in a table opened read-only; True if that is anything.

        One listing, unless what the directory has is given, and the reading of a snapshot that is new.
        """
        self._check_open()
        if not self.read_only:
            return False
        with self._introducer.pin() as snapshot:
            known = {part.id: part for part in snapshot.file_parts}
            before = snapshot.epoch
        recovered = recover(self.fs, self.root, floor=self._floor, known=self._recovered, listed=listed)
        epoch = recovered.record.epoch if recovered.record else 0
        if epoch == before:
            return False
        self._recovered = recovered
        found = file_parts(self.root, recovered, self._runtime)
        parts = [known.get(part.id, part) for part in found]
        self._introducer.advance(epoch - 1)
        self._introducer.introduce(lambda *_: parts)
        return True

    def at(self, moment: Moment, skipped: list[CorruptionError] | None = None) -> Snapshot:
        """Return what was committed at a moment of the past, pinned; rows that are only in memory are not part of it.

        Parameters
        ----------
        moment : Moment
        skipped : list of CorruptionError, optional
            Go on without what is damaged, and add to it what that is.

        Raises
        ------
        SchemaError
            The snapshot that showed it has been collected; the message says what there is.
        CorruptionError
            The snapshot is damaged, and that is not to be skipped.
        """
        self._check_open()
        with self._nothing_going():
            past = look_back(self.fs, self.root, moment, whole=skipped is None, floor=self._floor)
            if skipped is not None:
                skipped += past.damaged
            parts = [FilePart(self.root, part, self._runtime.cache) for part in past.parts]
            return self._introducer.go_back(past.epoch, past.time, parts)

    def _nothing_going(self) -> contextlib.AbstractContextManager[None]:
        """Let no snapshot go between its being found and pinned, as far as that is in our hands."""
        return contextlib.nullcontext()

    def tags(self) -> dict[str, int]:
        """Return the table's tags, with the epochs of the snapshots that they keep."""
        self._check_open()
        return {tag.tag: tag.epoch for tag in list_tags(self.fs, self.root)}

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"table {self.root!r} is closed; open it again")
        self._guard.check(f"table {self.root!r}")
