"""Going back: which of the snapshots that are kept shows a moment of the past."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from measurefs.fs.errors import CorruptionError, NotExistError, SchemaError
from measurefs.fs.filesystem import DirEntry, FileSystem
from measurefs.fs.paths import join
from measurefs.part.metadata import Commit, PartMetadata
from measurefs.table.epochs import log_number, snapshot_epoch, snapshot_name
from measurefs.table.log import read_log, with_log
from measurefs.table.recovery import list_table, missing_parts, read_snapshot, recover
from measurefs.table.snapshot import SnapshotRecord
from measurefs.table.tags import tags_in

_LISTINGS = 10
_SHOWN = 6


class Moment(msgspec.Struct, frozen=True):
    """What to go back to; one of these is given.

    Attributes
    ----------
    epoch : int, optional
        The newest snapshot up to this epoch.
    time : int, optional
        The newest snapshot committed by then by its writer's clock, nanoseconds since 1970-01-01 UTC.
    kept : int, optional
        The snapshot of exactly this epoch, which a tag keeps.
    """

    epoch: int | None = None
    time: int | None = None
    kept: int | None = None

    def __str__(self) -> str:
        if self.time is not None:
            return shown_time(self.time)
        return f"epoch {self.epoch if self.kept is None else self.kept}"


class Past(msgspec.Struct, frozen=True):
    """What a table held at a moment.

    Attributes
    ----------
    epoch, time : int
        Of the snapshot; 0 if there was none yet.
    parts : list of PartMetadata
    damaged : list of CorruptionError
        What was left out.
    """

    epoch: int = 0
    time: int = 0
    parts: list[PartMetadata] = msgspec.field(default_factory=list)
    damaged: list[CorruptionError] = msgspec.field(default_factory=list)


def look_back(fs: FileSystem, root: str, moment: Moment, *, whole: bool = True, floor: int = 0) -> Past:
    """Find what a table held at a moment: one listing, and one read for each snapshot looked at.

    Parameters
    ----------
    root : str
        The table's directory.
    moment : Moment
    whole : bool
        Whether damage is an error. If not, the snapshot is without the parts that are missing, and in the place of
        one that cannot be read is the newest before it.
    floor : int
        What was published under tokens up to this one is not looked at; see `TsTable`.

    Raises
    ------
    SchemaError
        The snapshot that showed it has been collected; the message says what there is.
    CorruptionError
        The snapshot is damaged, or what it names is not there.
    """
    listed = list_table(fs, root, floor)
    for _ in range(_LISTINGS):
        # Collected between the listing and the reading; and a listing is not one moment, see `recover`.
        with contextlib.suppress(NotExistError, CorruptionError):
            past = _look_back(fs, root, listed, moment, whole, floor)
            if not past.damaged:
                return past
        before, listed = listed, list_table(fs, root, floor)
        if listed == before:
            break
    return _look_back(fs, root, listed, moment, whole, floor)


def _look_back(
    fs: FileSystem, root: str, listed: list[DirEntry], moment: Moment, whole: bool, floor: int
) -> Past:
    entries = {entry.name: entry for entry in listed}
    epochs = sorted((epoch for name in entries if (epoch := snapshot_epoch(name)) is not None), reverse=True)
    if moment.kept is not None:
        return _kept(fs, root, moment.kept, entries, whole=whole)
    if not epochs:
        recover(fs, root, whole=whole, floor=floor)  # raises if there are parts all the same
        return Past()
    damaged: list[CorruptionError] = []
    later: SnapshotRecord | None = None
    for epoch in epochs:
        if moment.epoch is not None and epoch > moment.epoch and _next_is_later(epochs, epoch, moment.epoch):
            continue
        try:
            record = read_snapshot(fs, root, epoch)
        except CorruptionError as error:
            if whole:
                raise
            damaged.append(error)
            continue
        if _is_later(record, moment):
            later = record
            continue
        if epoch == moment.epoch:
            return _checked(root, record, entries, damaged, whole=whole)
        log, lost = _log_since(fs, root, record, entries, later)
        if later is None:
            if whole and lost:
                raise lost[0]
            damaged += lost
        elif later.parent > epoch and not damaged and (lost or not log or log[-1].id != later.parent):
            raise _collected(fs, root, moment, entries, epochs)
        until = [part for part in log if part.commit and not _is_later(part.commit, moment)]
        return _checked(root, with_log(record, until), entries, damaged, whole=whole)
    if later is not None and later.parent and not damaged:
        raise _collected(fs, root, moment, entries, epochs)
    return Past(damaged=damaged)


def _log_since(
    fs: FileSystem,
    root: str,
    record: SnapshotRecord,
    entries: Mapping[str, DirEntry],
    later: SnapshotRecord | None,
) -> tuple[list[PartMetadata], list[CorruptionError]]:
    """Return what was committed between a snapshot and the next, as far as it is still there, and what is damaged."""
    last = math.inf if later is None else later.parent
    between = {name: entry for name, entry in entries.items() if (log_number(name) or 0) <= last}
    lost: list[CorruptionError] = []
    return read_log(fs, root, between, record.epoch, {}, lost), lost


def _next_is_later(epochs: Sequence[int], epoch: int, limit: int) -> bool:
    """Whether the snapshot before this one is later than the limit, too: then this one need not be read."""
    older = epochs[epochs.index(epoch) + 1 :]
    return bool(older) and older[0] > limit


def _is_later(record: SnapshotRecord | Commit, moment: Moment) -> bool:
    if moment.epoch is not None:
        return record.epoch > moment.epoch
    return moment.time is not None and record.time > moment.time


def _kept(fs: FileSystem, root: str, epoch: int, entries: Mapping[str, DirEntry], *, whole: bool) -> Past:
    name = snapshot_name(epoch)
    try:
        record = read_snapshot(fs, root, epoch) if name in entries else None
    except CorruptionError as error:
        if whole:
            raise
        return Past(damaged=[error])
    if record is not None:
        return _checked(root, record, entries, [], whole=whole)
    missing = CorruptionError(
        join(root, name), "a tag keeps it and it is missing; restore it from a backup, or remove the tag"
    )
    if whole:
        raise missing
    return Past(damaged=[missing])


def _checked(
    root: str,
    record: SnapshotRecord,
    entries: Mapping[str, DirEntry],
    damaged: Iterable[CorruptionError],
    *,
    whole: bool,
) -> Past:
    missing = missing_parts(record, entries, root)
    if whole and missing:
        raise next(iter(missing.values()))
    there = [part for part in record.parts if part.name not in missing]
    return Past(record.epoch, record.time, there, [*damaged, *missing.values()])


def _collected(
    fs: FileSystem, root: str, moment: Moment, entries: Mapping[str, DirEntry], epochs: Sequence[int]
) -> SchemaError:
    """Make the error for what is not kept any more; it says what is."""
    shown = []
    for epoch in sorted(epochs[:_SHOWN]):
        with contextlib.suppress(CorruptionError, NotExistError):
            shown.append(f"{epoch} of {shown_time(read_snapshot(fs, root, epoch).time)}")
    tags = sorted({tag.tag for tag in tags_in(entries)})
    tagged = f", and the tags {', '.join(map(repr, tags))}" if tags else ""
    return SchemaError(
        f"cannot read {root!r} as of {moment}: the snapshot that showed it has been collected; there are "
        f"the epochs {', '.join(shown)}{tagged}; what is tagged stays"
    )


def shown_time(nanoseconds: int) -> str:
    """Show a time as ISO 8601 in UTC."""
    return f"{np.datetime64(nanoseconds, 'ns')}Z"
