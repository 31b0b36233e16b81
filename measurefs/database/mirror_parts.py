"""What a `Mirror` works with: files of a schema, tables of a measure, batches of parts, calls in parallel."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, TypeVar

from measurefs.codec.sealed import seal
from measurefs.database.backup_record import BackupRecord
from measurefs.database.holding import Holding
from measurefs.database.identity import SCHEMA
from measurefs.database.outcomes import raise_first
from measurefs.database.places import tables_in
from measurefs.database.schema_chain import Revision, revision_of
from measurefs.database.segments import is_segment_name
from measurefs.database.tags import TAGS, tag_names, tag_path
from measurefs.fs.errors import CorruptionError, MeasureFSError, NotExistError
from measurefs.fs.filesystem import DirEntry, FileSystem
from measurefs.fs.listing import Listing, list_dir
from measurefs.fs.paths import join
from measurefs.part.copying import GoneError
from measurefs.part.metadata import PartMetadata
from measurefs.table import Runtime
from measurefs.table.epochs import part_id, snapshot_epoch, snapshot_name
from measurefs.table.recovery import read_snapshot
from measurefs.table.tags import parse_tag

_BATCH_PARTS = 256
_BATCH_BYTES = 1 << 30

T = TypeVar("T")


def remove_measure(target: FileSystem, root: str, record: BackupRecord) -> list[str]:
    """Remove a measure that the source has not, unless tags that only the target has keep it; return these.

    Of a measure that is kept, only its other tags go, and what nothing else names.
    """
    names = tag_names(target, root)
    kept = record.own_tags(root, names)
    if kept and root in record.begun:
        target.delete_files([tag_path(root, name) for name in names if name not in kept])
        target.sync_path(join(root, TAGS))
        for path in list(tables_in(Listing(target, root))):
            _remove_unkept(target, join(root, path), kept)
    elif not kept:
        with contextlib.suppress(NotExistError):
            target.delete_file(join(root, SCHEMA))  # from here on it is no measure
            target.sync_path(root)
        target.must_rm_all(root)
        target.sync_path("")
    return sorted(kept)


def _remove_unkept(target: FileSystem, place: str, kept: Collection[str]) -> None:
    """Remove what no tag of these keeps in a table, but for its newest snapshot, which is what it shows."""
    names = [entry.name for entry in list_dir(target, place)]
    tags = [tag for name in names if (tag := parse_tag(name)) is not None]
    epochs = [epoch for name in names if (epoch := snapshot_epoch(name)) is not None]
    stay = {tag.epoch for tag in tags if tag.tag in kept} & {*epochs} | {max(epochs, default=0)}
    gone = [tag.file for tag in tags if tag.tag not in kept]
    gone += [snapshot_name(epoch) for epoch in epochs if epoch not in stay]
    target.delete_files([join(place, name) for name in gone])
    target.sync_path(place)
    with contextlib.suppress(CorruptionError):  # whose parts are not known
        named = {
            part.name for epoch in stay & {*epochs} for part in read_snapshot(target, place, epoch).parts
        }
        for name in names:
            if part_id(name) is not None and name not in named:
                target.must_rm_all(join(place, name))


def is_like_measure(entries: Iterable[DirEntry]) -> bool:
    """Whether a directory has what a measure's has, or part of it."""
    return any(
        entry.name == TAGS or revision_of(entry.name) or is_segment_name(entry.name) for entry in entries
    )


def schema_files(holding: Holding) -> dict[str, bytes]:
    """Return the files of a measure's schema; ``schema.json``, which makes it a measure, is the last."""
    newest = {Revision.of(holding.schema).name: seal(holding.schema)}
    return newest if SCHEMA in newest else {**newest, SCHEMA: holding.first}


def batches(items: Iterable[tuple[T, PartMetadata]]) -> Iterator[list[tuple[T, PartMetadata]]]:
    """Cut a list of tables with parts into pieces of some size, after each of which these parts are whole."""
    batch: list[tuple[T, PartMetadata]] = []
    size = 0
    for item in items:
        if batch and (len(batch) == _BATCH_PARTS or size + item[1].compressed_bytes > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item[1].compressed_bytes
    if batch:
        yield batch


def in_parallel(runtime: Runtime, call: Callable[[Any], Any], items: Collection[Any]) -> list[Any]:
    """Make a call for each item, several at a time; raise the first error when all are done."""

    def attempt(item: Any) -> Any:
        try:
            return call(item)
        except (MeasureFSError, GoneError) as error:
            return error

    outcomes = list(runtime.run_io(attempt, list(items)))
    raise_first(outcomes)
    return outcomes
