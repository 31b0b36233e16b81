"""Dropping a measure, and creating one in its place: no row of the old one is ever seen in the new one.

What was dropped leaves ``.dropped/<name>.json`` until the name is used again: the `floor` below which a measure of
that name ignores everything, since a stalled process may still write what it had begun. Whoever drops a measure, or
creates one where that file is, holds the lock ``.dropped/<name>.lock``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import msgspec
import pyarrow as pa

from measurefs.codec.sealed import seal, unseal
from measurefs.database import schema_chain
from measurefs.database.identity import SCHEMA, Identity
from measurefs.database.places import tables_in
from measurefs.database.schema import MeasureSchema
from measurefs.database.segments import is_segment_name
from measurefs.fs.errors import (
    ClosedError,
    CorruptionError,
    ExistError,
    FileSystemError,
    LockError,
    MeasureFSError,
    NotExistError,
)
from measurefs.fs.filesystem import FileSystem, LockFile, make_durable_dir
from measurefs.fs.listing import Listing, list_dir
from measurefs.fs.paths import escape, join
from measurefs.fs.structs import decodable
from measurefs.part.metadata import FORMAT_VERSION, check_format
from measurefs.table import TsTable
from measurefs.table.epochs import MAX_TOKEN
from measurefs.table.lock import LOCK, release

DROPPED = ".dropped"


@decodable
class Tombstone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left of a dropped measure: the `floor` of the next of that name."""

    floor: Annotated[int, msgspec.Meta(ge=1, le=MAX_TOKEN)]
    format: int = FORMAT_VERSION


def read_tombstone(fs: FileSystem, name: str) -> Tombstone | None:
    """Return what a measure that was dropped has left; None if none was, or one is in its place again."""
    path = _path(name)
    try:
        data = fs.read(path)
    except NotExistError:
        return None
    check_format(unseal(data, Identity, path).format, path)
    return unseal(data, Tombstone, path)


def _path(name: str) -> str:
    return join(DROPPED, f"{escape(name)}.json")


def is_leftover(fs: FileSystem, root: str) -> bool:
    """Whether a directory without ``schema.json`` is what is left of a dropped measure."""
    try:
        names = [entry.name for entry in fs.read_dir(DROPPED)]
    except NotExistError:
        return False
    return f"{root}.json" in names


@contextlib.contextmanager
def _locked(fs: FileSystem, name: str) -> Iterator[LockFile]:
    make_durable_dir(fs, DROPPED)
    lock = fs.create_lock_file(join(DROPPED, f"{escape(name)}.lock"))
    try:
        yield lock
    finally:
        release(lock, clean=lock.clean)


# Creating.


def create(fs: FileSystem, schema: MeasureSchema) -> None:
    """Create a measure, also where one was dropped: what is left of that goes first.

    Raises
    ------
    ExistError
        There is one already.
    LockError
        Somebody drops or creates one of that name at this moment.
    FileSystemError
        It could not be written; there may be a measure all the same.
    """
    root = escape(schema.name)
    if read_tombstone(fs, schema.name) is None:
        schema_chain.create(fs, root, schema)
        if read_tombstone(fs, schema.name) is None:
            return
        # One was created and dropped while we were about to: ours would show what may be left of it.
        if schema_chain.newest_or_none(fs, root) == schema:
            fs.delete_file(join(root, SCHEMA))
            fs.sync_path(root)
    with _locked(fs, schema.name) as lock:
        if schema_chain.newest_or_none(fs, root) is not None:
            raise ExistError("create", root, "there is a measure of that name")
        tombstone = read_tombstone(fs, schema.name)
        if tombstone is None:
            raise LockError("create", root, "others create and drop a measure of that name; try again")
        _check_dropped(fs, root, tombstone)
        lock.check()
        fs.must_rm_all(root)
        fs.sync_path("")
        schema_chain.create(fs, root, msgspec.structs.replace(schema, floor=tombstone.floor))
        # Should schema.json ever be lost, the tombstone would say that this measure was dropped.
        fs.delete_file(_path(schema.name))
        fs.sync_path(DROPPED)


def _check_dropped(fs: FileSystem, root: str, tombstone: Tombstone) -> None:
    """Raise if a directory without ``schema.json`` is of a measure that was created after the dropped one."""
    entries = list_dir(fs, root)
    revisions = [
        revision for entry in entries if (revision := schema_chain.revision_of(entry.name)) is not None
    ]
    newer = any(revision.floor >= tombstone.floor for revision in revisions)
    if newer and any(is_segment_name(entry.name) for entry in entries):
        raise CorruptionError(
            join(root, SCHEMA),
            "it is missing, and this measure was not dropped; restore it from a backup, or remove the directory",
        )


# Dropping.


def drop(
    fs: FileSystem,
    name: str,
    held: contextlib.AbstractContextManager[Sequence[TsTable]],
    discard: Callable[[], None],
) -> None:
    """Drop a measure.

    Parameters
    ----------
    held : context manager
        Gives the tables that are open for writing in this process.
    discard : callable
        Called as soon as the measure is gone, before its files are.

    Raises
    ------
    NotExistError
        There is none.
    LockError
        Somebody writes to it, or drops or creates one of that name at this moment. Nothing was dropped.
    FileSystemError
        Something could not be written or removed. If `discard` was called, the measure is gone.
    """
    root = escape(name)
    with _locked(fs, name) as lock:
        try:
            with held as tables, contextlib.ExitStack() as locks:
                schema = schema_chain.newest(fs, root)
                floor = _take_all(fs, root, max(schema.floor, schema.base), tables, locks)
                known = read_tombstone(fs, name)
                fs.write(_path(name), seal(Tombstone(max(floor, known.floor + 1 if known else 0))))
                fs.sync_path(DROPPED)
                lock.check()
                fs.delete_file(join(root, SCHEMA))
        except FileSystemError:
            with contextlib.suppress(MeasureFSError):  # the answer may have got lost, and not the deletion
                if schema_chain.newest_or_none(fs, root) is None:
                    discard()
            raise
        try:
            fs.sync_path(root)
        finally:
            discard()
        lock.check()
        fs.must_rm_all(root)
        fs.sync_path("")


def _take_all(
    fs: FileSystem, root: str, base: int, tables: Sequence[TsTable], locks: contextlib.ExitStack
) -> int:
    """Take the locks of all tables, and return a token that is higher than all that are in use."""
    used = [base]
    for table in tables:
        table.confirm()
        used.append(table.token)
    mine = {table.root for table in tables}
    for path in (join(root, below) for below in tables_in(Listing(fs, root))):
        if path not in mine:
            with contextlib.suppress(NotExistError):  # somebody is removing its segment
                lock = fs.create_lock_file(join(path, LOCK))
                locks.callback(release, lock, clean=lock.clean)
                used.append(base + lock.token)
    return max(used) + 1


def until_dropped(
    batches: Iterator[pa.RecordBatch], is_dropped: Callable[[], bool], name: str
) -> Iterator[pa.RecordBatch]:
    """Yield what a query finds; what fails because the measure was dropped says so."""
    try:
        yield from batches
    except (FileSystemError, CorruptionError) as error:
        if is_dropped():
            raise ClosedError(f"measure {name!r} was dropped while a result of it was read") from error
        raise
