"""Opening a table to write: its lock, its newest snapshot, and what works on it from then on."""

from __future__ import annotations

import msgspec

from measurefs.fs.cached import past_cache
from measurefs.fs.errors import CorruptionError
from measurefs.fs.filesystem import FileSystem, LockFile, make_durable_dir
from measurefs.table.epochs import first_epoch
from measurefs.table.flusher import Flusher
from measurefs.table.garbage import GarbageCleaner
from measurefs.table.introducer import Introducer
from measurefs.table.lock import take_lock
from measurefs.table.merger import Merger
from measurefs.table.options import Runtime, TableOptions
from measurefs.table.outputs import Outputs
from measurefs.table.recent import RecentRows
from measurefs.table.recovery import Recovered, recover, set_aside
from measurefs.table.schema import TableSchema
from measurefs.table.view import file_parts


class Opened(msgspec.Struct, frozen=True):
    """What a table has while it is open for writing.

    Attributes
    ----------
    lock : LockFile
    introducer : Introducer
    damaged : list of CorruptionError
        Newer snapshots that could not be read, and were set aside.
    outputs : Outputs
    flusher : Flusher
    merger : Merger
    cleaner : GarbageCleaner
    """

    lock: LockFile
    introducer: Introducer
    damaged: list[CorruptionError]
    outputs: Outputs
    flusher: Flusher
    merger: Merger
    cleaner: GarbageCleaner


def open_to_write(
    fs: FileSystem,
    root: str,
    schema: TableSchema,
    options: TableOptions,
    runtime: Runtime,
    floor: int,
    base: int,
    unnamed_since: dict[str, float],
) -> Opened:
    """Take a table's lock and find its newest intact snapshot; raises as `TsTable` does."""
    make_durable_dir(fs, root)
    found: list[Recovered] = []

    def newest() -> int:
        found[:] = [recover(fs, root, floor=floor)]
        return found[0].newest

    lock = take_lock(fs, root, newest, floor, base)
    try:
        return _begin(fs, root, lock, found[0], schema, options, runtime, floor, unnamed_since)
    except BaseException:
        lock.close(clean=False)  # a commit of ours may be under way, and a fence still missing
        raise


def _begin(
    fs: FileSystem,
    root: str,
    lock: LockFile,
    recovered: Recovered,
    schema: TableSchema,
    options: TableOptions,
    runtime: Runtime,
    floor: int,
    unnamed_since: dict[str, float],
) -> Opened:
    record = recovered.record
    for error in recovered.damaged:
        set_aside(fs, root, error)
    introducer = Introducer(record.epoch if record else 0, file_parts(root, recovered, runtime))
    introducer.advance(first_epoch(floor + lock.token))
    outputs, recent = Outputs(fs, root), RecentRows(runtime.cache)
    flusher = Flusher(fs, root, lock, introducer, schema, options, runtime, record, outputs, recent)
    merger = Merger(past_cache(fs), root, flusher, introducer, options, runtime, outputs, recent)
    grace = options.grace(remote=fs.remote)
    cleaner = GarbageCleaner(fs, root, lock, options.keep_snapshots, grace, floor, unnamed_since)
    if recovered.log:
        merger.absorb(recovered.log)
    if record is None or recovered.damaged or recovered.log or not lock.clean:
        flusher.commit()
    return Opened(lock, introducer, recovered.damaged, outputs, flusher, merger, cleaner)
