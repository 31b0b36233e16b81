"""Checking a store: what makes it one, its measures' schemas, and all their tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from measurefs.codec.sealed import unseal
from measurefs.database.identity import IDENTITY, SCHEMA, Identity
from measurefs.database.intervals import Interval, segment_start
from measurefs.database.schema import MeasureSchema
from measurefs.database.tables import SHARD
from measurefs.fs.errors import CorruptionError, FileSystemError, NotExistError, SchemaError
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.paths import escape, join, unescape
from measurefs.fs.urls import open_url
from measurefs.part.metadata import PartMetadata, check_format
from measurefs.part.series import Hash
from measurefs.part.verify import Damage, part_damage
from measurefs.part.writer import Mapper
from measurefs.query import check_names
from measurefs.table import Runtime, TableOptions
from measurefs.table.recovery import list_table
from measurefs.table.verify import CORRUPT, TableState, VerifyReport, examine, report_on


class TablePlace(NamedTuple):
    """A table's directory, its segment's start and its shard."""

    path: str
    segment: int
    shard: int


class Checker(NamedTuple):
    """What checking needs besides files.

    Attributes
    ----------
    hasher : callable
        As the tables were written.
    run : callable
        ``map``, or an executor's, to check several tables at a time.
    """

    hasher: Hash
    run: Mapper[Any, Any]

    @classmethod
    def of(cls, options: TableOptions | None, runtime: Runtime) -> Checker:
        """Return that of a database."""
        return cls((options or TableOptions()).series_hash, runtime.run)


def verify(
    url: str | FileSystem,
    measure: str | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    options: TableOptions | None = None,
    runtime: Runtime | None = None,
) -> VerifyReport:
    """Read a store, also one that does not open, and check every checksum, order and count.

    Takes no lock, writes nothing, and does not mind writers at work.

    Parameters
    ----------
    url : str or FileSystem
        As `open` takes it.
    measure : str, optional
        Only this one.
    storage_options, options, runtime
        As `open` takes them.

    Raises
    ------
    NotExistError
        There is no store.
    SchemaError
        There is no such measure.
    UnsupportedStoreError
        A newer release wrote it.
    FileSystemError
        A directory cannot be listed.
    """
    with opened(url, storage_options) as fs:
        return verify_store(fs, Checker.of(options, runtime or Runtime.threaded()), measure)


@contextlib.contextmanager
def opened(url: str | FileSystem, storage_options: Mapping[str, Any] | None) -> Iterator[FileSystem]:
    """Give the file system of a store, whatever state that is in; raises `NotExistError` if there is none."""
    fs = url if isinstance(url, FileSystem) else open_url(str(url), **dict(storage_options or {}))
    try:
        if not any(entry.name == IDENTITY for entry in list_table(fs, "")) and not measure_roots(fs):
            raise NotExistError("open", str(url), "there is no measurefs store")
        yield fs
    finally:
        if fs is not url:
            fs.close()


def verify_store(fs: FileSystem, checker: Checker, measure: str | None = None) -> VerifyReport:
    """Check a store, or one measure of it; see `verify`."""
    report = VerifyReport()
    report.damages += identity_damages(fs)
    report.files = 0 if report.damages else 1
    roots = chosen_roots(fs, measure)
    for root in roots:
        report.add(verify_measure(fs, root, checker))
    if measure is None:
        names = {entry.name for entry in fs.read_dir("")} - {IDENTITY, *roots}
        _count_others(report, names)
    return report


def verify_measure(fs: FileSystem, root: str, checker: Checker) -> VerifyReport:
    """Check the measure in a directory; see `verify`."""
    report = VerifyReport(measures=1)
    schema, damage = read_schema(fs, root)
    if damage is None:
        report.files = 1
    else:
        report.damages.append(damage)

    def check(table: TablePlace) -> VerifyReport:
        state = examine(fs, table.path, checker.hasher)
        found = report_on(state)
        found.damages += strangers(state, table, schema)
        return found

    for found in checker.run(check, list(tables_of(fs, root))):
        report.add(found)
    names = {entry.name for entry in fs.read_dir(root)} - {SCHEMA}
    _count_others(report, {name for name in names if segment_start(name) is None})
    return report


def _count_others(report: VerifyReport, names: set[str]) -> None:
    aside = {name for name in names if name.endswith(CORRUPT)}
    report.set_aside += len(aside)
    report.foreign += len(names - aside)


# What there is.


def measure_roots(fs: FileSystem) -> list[str]:
    """Return the directories of measures, also of such whose ``schema.json`` is gone."""
    found = []
    for entry in list_table(fs, ""):
        if entry.is_dir and escape(unescape(entry.name)) == entry.name:
            below = list_table(fs, entry.name)
            if any(
                one.name == SCHEMA or (one.is_dir and segment_start(one.name) is not None) for one in below
            ):
                found.append(entry.name)
    return found


def chosen_roots(fs: FileSystem, measure: str | None) -> list[str]:
    """Return the directories of all measures, or of the one that is named; raises `SchemaError`."""
    roots = measure_roots(fs)
    if measure is None:
        return roots
    check_names([measure], [unescape(root) for root in roots], "measure", "measure")
    return [escape(measure)]


def tables_of(fs: FileSystem, root: str) -> Iterator[TablePlace]:
    """Yield a measure's tables, whatever its schema says."""
    for segment in list_table(fs, root):
        start = segment_start(segment.name) if segment.is_dir else None
        if start is None:
            continue
        path = join(root, segment.name)
        for entry in list_table(fs, path):
            match = SHARD.fullmatch(entry.name) if entry.is_dir else None
            if match:
                yield TablePlace(join(path, entry.name), start, int(match.group(1)))


# What can be wrong with it.


def identity_damages(fs: FileSystem) -> list[Damage]:
    """Return what is wrong with ``measurefs.json``."""
    try:
        identity = unseal(fs.read(IDENTITY), Identity, IDENTITY)
        check_format(identity.format, IDENTITY)
    except (CorruptionError, FileSystemError) as error:
        return [_damage(error, IDENTITY)]
    return []


def read_schema(fs: FileSystem, root: str) -> tuple[MeasureSchema | None, Damage | None]:
    """Return a measure's schema, or what is wrong with it."""
    path = join(root, SCHEMA)
    try:
        data = fs.read(path)
        check_format(unseal(data, Identity, path).format, path)
        schema = unseal(data, MeasureSchema, path)
        Interval.parse(schema.interval, "interval")
    except (CorruptionError, FileSystemError) as error:
        return None, _damage(error, path)
    except SchemaError as error:
        return None, Damage(path, str(error))
    if escape(schema.name) != root:
        return schema, Damage(path, f"it is of measure {schema.name!r}; was it renamed or copied?")
    return schema, None


def _damage(error: CorruptionError | FileSystemError, path: str) -> Damage:
    if isinstance(error, NotExistError):
        return Damage(path, "it is missing")
    if isinstance(error, CorruptionError):
        return Damage(path, error.reason, error.offset)
    return Damage(path, f"it cannot be read: {error.reason}")


def strangers(state: TableState, table: TablePlace, schema: MeasureSchema | None) -> Iterator[Damage]:
    """Yield the parts that do not belong here: of other columns, or of other times."""
    if schema is None:
        return
    end = table.segment + Interval.parse(schema.interval, "interval").nanoseconds
    for check in state.checks.values():
        part = check.metadata
        if part is None or check.verdict != "intact":
            continue
        reason = _stranger(part, schema)
        if part.rows and not (table.segment <= part.min_time and part.max_time < end):
            reason = reason or "it has rows of times outside its segment"
        if reason is not None:
            yield part_damage(join(state.root, part.name), part, reason)


def _stranger(part: PartMetadata, schema: MeasureSchema) -> str | None:
    if part.entity != schema.entity:
        return f"its entity columns are {_typed(part.entity)}, and the measure's are {_typed(schema.entity)}"
    known = {column.name: column for column in schema.for_table().columns}
    for stored in part.columns:
        column = stored.column
        if column.name in known and known[column.name].type != column.type:
            return (
                f"its column {column.name!r} is {column.type}, and the measure's is {known[column.name].type}"
            )
    return None


def _typed(columns: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns.items())
