"""Repairing a store: what makes it one, and every table that is damaged."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from measurefs.codec.sealed import seal
from measurefs.database.backup_record import read_record
from measurefs.database.identity import IDENTITY, NAMELESS, SCHEMA, Identity
from measurefs.database.schema_health import read_schema, repair_revisions
from measurefs.database.tag_health import repair_tags
from measurefs.database.verify import (
    Checker,
    TablePlace,
    chosen_roots,
    identity_damages,
    opened,
    strangers,
    tables_of,
)
from measurefs.fs.errors import CorruptionError, FileSystemError, NotExistError, UnsupportedStoreError
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.paths import basename
from measurefs.part.metadata import Column, PartMetadata
from measurefs.part.verify import Damage
from measurefs.table import Runtime, TableOptions
from measurefs.table.epochs import CORRUPT
from measurefs.table.recovery import recover
from measurefs.table.repair import Action, RepairReport, repair_table
from measurefs.table.verify import VerifyReport


def repair(
    url: str | FileSystem,
    measure: str | None = None,
    *,
    apply: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    options: TableOptions | None = None,
    runtime: Runtime | None = None,
) -> RepairReport:
    """Make a damaged store one that opens, with everything in it that can be read.

    Nothing is deleted: what is damaged is kept as ``.corrupt``. A crash in the midst leaves a store on which it can
    be done again.

    Parameters
    ----------
    url : str or FileSystem
        As `open` takes it.
    measure : str, optional
        Only this one.
    apply : bool
        Do it; default is to say what would be done.
    storage_options, options, runtime
        As `open` takes them.

    Raises
    ------
    NotExistError
        There is no store.
    LockError
        A table is to be repaired, and a writer has it. Others may have been repaired.
    FileSystemError
        Something could not be written; repair again.
    """
    made = runtime or Runtime.threaded()
    with opened(url, storage_options) as fs:
        return repair_store(fs, Checker.of(options, made), made.now, measure, apply=apply)


def repair_store(
    fs: FileSystem, checker: Checker, now: Callable[[], int], measure: str | None = None, *, apply: bool
) -> RepairReport:
    """Repair a store, or one measure of it; see `repair`."""
    done = _repair_identity(fs, apply=apply)
    for root in chosen_roots(fs, measure):
        done.add(repair_measure(fs, root, checker, now, apply=apply))
    return done


def repair_measure(
    fs: FileSystem, root: str, checker: Checker, now: Callable[[], int], *, apply: bool
) -> RepairReport:
    """Repair the measure in a directory; see `repair`."""
    done = RepairReport(apply, VerifyReport(measures=1))
    schema, damage = read_schema(fs, root)
    tables = list(tables_of(fs, root, schema))
    if damage is None:
        done.found.files = 1
    else:
        done.found.damages.append(damage)
        done.left.append(_refusal(fs, damage, tables))

    def mend(table: TablePlace) -> RepairReport:
        return repair_table(
            fs,
            table.path,
            now,
            apply=apply,
            hasher=checker.hasher,
            also=lambda state: strangers(state, table, schema),
            floor=schema.floor if schema else 0,
            base=schema.base if schema else 0,
        )

    for each in checker.run(mend, tables):
        done.add(each)
    done.add(repair_revisions(fs, root, schema, apply=apply))
    done.add(repair_tags(fs, root, schema, apply=apply))
    return done


def _repair_identity(fs: FileSystem, *, apply: bool) -> RepairReport:
    """Write ``measurefs.json`` anew if it is damaged: it says nothing but that this is a store."""
    damages = identity_damages(fs)
    done = RepairReport(apply, VerifyReport(files=0 if damages else 1, damages=damages))
    for damage in damages:
        origin = _origin(fs)
        told = "" if origin else "; the store gets a new name, and needs a new target for its backups"
        done.actions.append(Action("rewritten", IDENTITY, damage.reason + told))
        if apply:
            with contextlib.suppress(NotExistError):
                fs.write(IDENTITY + CORRUPT, fs.read(IDENTITY))
            fs.sync_path("")
            fs.write(IDENTITY, seal(Identity.new(origin=origin)))
            fs.sync_path("")
    return done


def _origin(fs: FileSystem) -> str:
    """Return what store it is a backup of; empty if it is none."""
    with contextlib.suppress(CorruptionError, UnsupportedStoreError):
        record = read_record(fs)
        return (record.origin or NAMELESS) if record and record.kind == "backup" else ""
    return NAMELESS  # it has a record that cannot be read


def _refusal(fs: FileSystem, damage: Damage, tables: Sequence[TablePlace]) -> Damage:
    """Say how to go on without a schema: interval, shards and ttl stand nowhere else."""
    if basename(damage.path) != SCHEMA:
        return msgspec.structs.replace(
            damage,
            reason=f"{damage.reason}; restore it from a backup, or delete it to go back to the revision before it, "
            "without what was changed then",
        )
    known = _known_of(fs, tables)
    tells = f" Its parts tell: {known}." if known else ""
    return msgspec.structs.replace(
        damage,
        reason=f"{damage.reason}; it cannot be made from what is there, since nothing else tells the interval, the "
        "shards and the ttl: restore it from a backup, or move it away and create the measure again exactly as it was, "
        f"and its rows are there again.{tells}",
    )


def _known_of(fs: FileSystem, tables: Sequence[TablePlace]) -> str:
    entity: dict[str, str] = {}
    columns: dict[str, Column] = {}
    for table in tables:
        for part in _parts_of(fs, table.path):
            entity |= {name: str(kind) for name, kind in part.entity.items()}
            columns |= {stored.column.name: stored.column for stored in part.columns}
    if not entity:
        return ""
    tags: dict[str, dict[str, str]] = {}
    for column in columns.values():
        if column.family is not None:
            tags.setdefault(column.family, {})[column.name] = str(column.type)
    fields = {column.name: str(column.type) for column in columns.values() if column.family is None}
    shards = max(table.shard for table in tables) + 1
    return f"entity={entity}, tags={tags}, fields={fields}, shards at least {shards}"


def _parts_of(fs: FileSystem, path: str) -> list[PartMetadata]:
    """Return the parts of a table, as far as they can be told."""
    with contextlib.suppress(CorruptionError, FileSystemError):
        record = recover(fs, path, whole=False).record
        return record.parts if record else []
    return []
