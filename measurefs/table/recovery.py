"""Opening: which snapshot a table's directory holds, and whether all it names is there."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping

from measurefs.fs.errors import CorruptionError, NotExistError
from measurefs.fs.filesystem import DirEntry, FileSystem
from measurefs.fs.paths import join
from measurefs.part.metadata import PartMetadata
from measurefs.table.epochs import part_id, snapshot_epoch, snapshot_name
from measurefs.table.snapshot import SnapshotRecord

_LISTINGS = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Recovered:
    """What a table's directory holds.

    Attributes
    ----------
    record : SnapshotRecord or None
        The newest intact snapshot; None for a table that never committed anything.
    newest : int
        The highest epoch of any snapshot or part there, intact or not.
    damaged : list of CorruptionError
        Newer snapshots that could not be read.
    """

    record: SnapshotRecord | None
    newest: int
    damaged: list[CorruptionError]


def recover(fs: FileSystem, root: str) -> Recovered:
    """Find the newest intact snapshot: one listing, and one read for each snapshot looked at.

    Where a writer collects the snapshot between the listing and the read, the listing is made again.

    Raises
    ------
    CorruptionError
        Parts are there but no readable snapshot, or the snapshot names parts that are missing or cut short.
    UnsupportedStoreError
        A newer release wrote the table.
    """
    for _ in range(_LISTINGS):
        with contextlib.suppress(NotExistError):
            return _recover(fs, root)
    return _recover(fs, root)


def _recover(fs: FileSystem, root: str) -> Recovered:
    entries = {entry.name: entry for entry in list_table(fs, root)}
    epochs = sorted((epoch for name in entries if (epoch := snapshot_epoch(name)) is not None), reverse=True)
    parts = [number for name in entries if (number := part_id(name)) is not None]
    newest = max((*epochs, *parts), default=0)
    damaged: list[CorruptionError] = []
    for epoch in epochs:
        try:
            record = read_snapshot(fs, root, epoch)
        except CorruptionError as error:
            damaged.append(error)
            continue
        check_parts(record, entries, root)
        return Recovered(record, newest, damaged)
    if parts or damaged:
        raise CorruptionError(
            root,
            f"it has {len(parts)} parts but no readable snapshot that names them; run 'measurefs repair'",
        ) from (damaged[0] if damaged else None)
    return Recovered(None, newest, damaged)


def list_table(fs: FileSystem, root: str) -> list[DirEntry]:
    """List a table's directory; a missing one is empty."""
    try:
        return fs.read_dir(root)
    except NotExistError:
        return []


def read_snapshot(fs: FileSystem, root: str, epoch: int) -> SnapshotRecord:
    """Read and check one snapshot's file."""
    name = snapshot_name(epoch)
    path = join(root, name)
    return SnapshotRecord.decode(fs.read(path), path, name)


def check_parts(record: SnapshotRecord, entries: Mapping[str, DirEntry], root: str) -> None:
    """Raise `CorruptionError` if a part that the snapshot names is not in the listing, or not whole there."""
    for part in record.parts:
        reason = _missing(part, entries.get(part.name))
        if reason is not None:
            raise CorruptionError(
                join(root, part.name),
                f"snapshot {record.epoch:016x} names it with {part.rows} rows, but {reason}; "
                "restore it from a backup, or run 'measurefs repair' to go on without it",
            )


def _missing(part: PartMetadata, entry: DirEntry | None) -> str | None:
    if entry is None:
        return "it is missing"
    if entry.is_dir == part.compact:
        return "something else stands in its place"
    if part.compact and entry.size is not None and entry.size < part.compressed_bytes:
        return f"it is cut short ({entry.size} bytes)"
    return None


def set_aside(fs: FileSystem, root: str, error: CorruptionError) -> None:
    """Keep a damaged snapshot under another name, so that it is out of the way and not lost."""
    fs.write(f"{error.path}.corrupt", fs.read(error.path))
    fs.sync_path(root)
    fs.delete_file(error.path)
