"""Opening: which snapshot a table's directory holds, and whether all it names is there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

import msgspec

from measurefs.fs.errors import CorruptionError, NotExistError
from measurefs.fs.filesystem import DirEntry, FileSystem
from measurefs.fs.listing import list_dir
from measurefs.fs.paths import join
from measurefs.part.metadata import PartMetadata
from measurefs.table.epochs import CORRUPT, part_id, snapshot_epoch, snapshot_name, token_of
from measurefs.table.log import read_log, with_log
from measurefs.table.snapshot import SnapshotRecord
from measurefs.table.tags import parse_tag

_LISTINGS = 10


class Recovered(msgspec.Struct, frozen=True):
    """What a table's directory holds.

    Attributes
    ----------
    record : SnapshotRecord or None
        The newest intact snapshot as if it named what is in the log; None for a table that never committed anything.
    snapshot : SnapshotRecord or None
        The newest intact snapshot as it is.
    newest : int
        The highest epoch of any snapshot or part there, intact or not.
    damaged : list of CorruptionError
        Newer snapshots that could not be read.
    """

    record: SnapshotRecord | None
    snapshot: SnapshotRecord | None
    newest: int
    damaged: list[CorruptionError]

    @property
    def log(self) -> dict[int, PartMetadata]:
        """The parts of the log that the snapshot does not name, by their numbers."""
        parts = self.record.parts if self.record is not None else []
        named = {part.id for part in self.snapshot.parts} if self.snapshot is not None else set()
        return {part.id: part for part in parts if part.id not in named}


def recover(
    fs: FileSystem,
    root: str,
    *,
    whole: bool = True,
    floor: int = 0,
    known: Recovered | None = None,
    listed: list[DirEntry] | None = None,
) -> Recovered:
    """Find the newest intact snapshot: one listing, and one read for each snapshot and each part of the log.

    Where a writer collects the snapshot between the listing and the read, the listing is made again.

    Parameters
    ----------
    whole : bool
        Whether all that the snapshot names must be there. If not, the record is without what is missing, and
        `damaged` names that too.
    floor : int
        What was published under tokens up to this one is not looked at; see `TsTable`.
    known : Recovered, optional
        What need not be read again.
    listed : list of DirEntry, optional
        What the directory has, if it was listed just before.

    Raises
    ------
    CorruptionError
        Parts are there but no readable snapshot, or the snapshot names parts that are missing or cut short, or newer
        snapshots are damaged and only these can have named some of the parts.
    UnsupportedStoreError
        A newer release wrote the table.
    """
    listed = list_table(fs, root, floor) if listed is None else _above(listed, floor)
    for _ in range(_LISTINGS):
        with contextlib.suppress(NotExistError, CorruptionError):
            recovered = _recover(fs, root, listed, known, whole=whole)
            if not recovered.damaged:
                return recovered
        # A listing is not one moment: of what a writer does meanwhile it may have the end and not the beginning.
        before, listed = listed, list_table(fs, root, floor)
        if listed == before:
            break
    return _recover(fs, root, listed, known, whole=whole)


def _recover(
    fs: FileSystem, root: str, listed: list[DirEntry], known: Recovered | None, *, whole: bool
) -> Recovered:
    entries = {entry.name: entry for entry in listed}
    epochs = sorted((epoch for name in entries if (epoch := snapshot_epoch(name)) is not None), reverse=True)
    parts = [number for name in entries if (number := part_id(name)) is not None]
    newest = max((*epochs, *parts), default=0)
    damaged: list[CorruptionError] = []
    before = known.snapshot if known is not None else None
    for epoch in epochs:
        try:
            snapshot = before if before and before.epoch == epoch else read_snapshot(fs, root, epoch)
        except CorruptionError as error:
            damaged.append(error)
            continue
        lost: list[CorruptionError] = []
        record = with_log(snapshot, read_log(fs, root, entries, epoch, known.log if known else {}, lost))
        missing = missing_parts(record, entries, root)
        if whole and (missing or lost):
            raise [*missing.values(), *lost][0]
        if whole and damaged:
            _check_covers(epoch, record, parts, damaged[0])
        there = [part for part in record.parts if part.name not in missing]
        record = msgspec.structs.replace(record, parts=there)
        return Recovered(record, snapshot, newest, [*damaged, *missing.values(), *lost])
    if parts or damaged:
        raise CorruptionError(
            root,
            f"it has {len(parts)} parts but no readable snapshot that names them; run 'measurefs repair'",
        ) from (damaged[0] if damaged else None)
    return Recovered(None, None, newest, damaged)


def _check_covers(epoch: int, record: SnapshotRecord, parts: Iterable[int], damage: CorruptionError) -> None:
    """Raise unless a snapshot, with the log, names every part that a newer, damaged one can have named."""
    known = {part.id for part in record.parts}
    lost = [number for number in parts if number > epoch and number not in known]
    if lost:
        raise CorruptionError(
            damage.path,
            f"{damage.reason}; {len(lost)} parts written since the snapshot before it are named by no other; "
            "run 'measurefs repair' to take them in",
            damage.offset,
        ) from damage


def list_table(fs: FileSystem, root: str, floor: int) -> list[DirEntry]:
    """List a table's directory, without what was published under tokens up to the floor; a missing one is empty."""
    return _above(list_dir(fs, root), floor)


def _above(entries: list[DirEntry], floor: int) -> list[DirEntry]:
    return [entry for entry in entries if not _is_below(entry.name, floor)] if floor else entries


def _is_below(name: str, floor: int) -> bool:
    tag = parse_tag(name)
    number = tag.epoch if tag else snapshot_epoch(name) or part_id(name)
    return number is not None and token_of(number) <= floor


def read_snapshot(fs: FileSystem, root: str, epoch: int) -> SnapshotRecord:
    """Read and check one snapshot's file; twice if it seems damaged, since the reading may have been at fault."""
    name = snapshot_name(epoch)
    path = join(root, name)
    with contextlib.suppress(CorruptionError):
        return SnapshotRecord.decode(fs.read(path), path, name)
    return SnapshotRecord.decode(fs.read(path), path, name)


def missing_parts(
    record: SnapshotRecord, entries: Mapping[str, DirEntry], root: str
) -> dict[str, CorruptionError]:
    """Return the parts that the snapshot names and the listing lacks, or does not have whole."""
    return {
        part.name: CorruptionError(
            join(root, part.name),
            f"snapshot {record.epoch:016x} names it with {part.rows} rows, but {reason}; "
            "restore it from a backup, or run 'measurefs repair' to go on without it",
        )
        for part in record.parts
        if (reason := missing_reason(part, entries.get(part.name))) is not None
    }


def missing_reason(part: PartMetadata, entry: DirEntry | None) -> str | None:
    """Return why a part is not what its listing should be, None if by that it is there."""
    if entry is None:
        return "it is missing"
    if entry.is_dir == part.compact:
        return "something else stands in its place"
    if part.compact and entry.size is not None and entry.size < part.compressed_bytes:
        return f"it is cut short ({entry.size} bytes)"
    return None


def set_aside(fs: FileSystem, root: str, error: CorruptionError) -> None:
    """Keep a damaged snapshot under another name, so that it is out of the way and not lost."""
    fs.write(error.path + CORRUPT, fs.read(error.path))
    fs.sync_path(root)
    fs.delete_file(error.path)
