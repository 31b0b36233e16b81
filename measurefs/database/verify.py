"""Checking a store: what makes it one, its measures' schemas, and all their tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from measurefs.codec.widening import is_narrower
from measurefs.database.dropping import DROPPED, is_leftover
from measurefs.database.identity import BACKUP, IDENTITY, SCHEMA, read_identity
from measurefs.database.intervals import Interval
from measurefs.database.places import SHARD
from measurefs.database.schema import MeasureSchema
from measurefs.database.schema_chain import revision_of
from measurefs.database.schema_health import damage_of, read_schema, verify_revisions
from measurefs.database.segments import Segment, is_segment_name, named_segment
from measurefs.database.tag_health import verify_tags
from measurefs.database.tags import TAGS
from measurefs.fs.errors import CorruptionError, FileSystemError, NotExistError
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.listing import list_dir
from measurefs.fs.paths import escape, join, unescape
from measurefs.fs.urls import open_url
from measurefs.part.metadata import PartMetadata
from measurefs.part.series import Hash
from measurefs.part.tasks import Mapper
from measurefs.part.verify import Damage, part_damage
from measurefs.query import check_names
from measurefs.table import Runtime, TableOptions
from measurefs.table.epochs import CORRUPT
from measurefs.table.tags import tags_in
from measurefs.table.verify import TableState, VerifyReport, examine, report_on


class TablePlace(NamedTuple):
    """A table's directory, its segment (None if no schema tells what its name spans) and its shard."""

    path: str
    segment: Segment | None
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
        if not any(entry.name == IDENTITY for entry in list_dir(fs, "")) and not measure_roots(fs):
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
        names = {entry.name for entry in fs.read_dir("")} - {IDENTITY, DROPPED, BACKUP, *roots}
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

    report.add(verify_revisions(fs, root, schema))
    floor = schema.floor if schema else 0

    def check(table: TablePlace) -> VerifyReport:
        state = examine(fs, table.path, checker.hasher, floor=floor)
        found = report_on(state)
        if any(strangers(state, table, schema)):  # a writer may have changed the schema since it was read
            found.damages += strangers(state, table, read_schema(fs, root)[0])
        return found

    for found in checker.run(check, list(tables_of(fs, root, schema))):
        report.add(found)
    report.add(verify_tags(fs, root))
    names = {entry.name for entry in list_dir(fs, root)} - {TAGS}
    others = {name for name in names if not _is_segment(name, schema) and revision_of(name) is None}
    _count_others(report, others)
    return report


def _count_others(report: VerifyReport, names: set[str]) -> None:
    aside = {name for name in names if name.endswith(CORRUPT)}
    report.set_aside += len(aside)
    report.foreign += len(names - aside)


# What there is.


def measure_roots(fs: FileSystem) -> list[str]:
    """Return the directories of measures, also of such whose ``schema.json`` is gone without their being dropped."""
    found = []
    for entry in list_dir(fs, ""):
        if entry.is_dir and escape(unescape(entry.name)) == entry.name:
            below = list_dir(fs, entry.name)
            there = any(one.name == SCHEMA for one in below)
            rows = any(one.is_dir and is_segment_name(one.name) for one in below)
            if there or (rows and not is_leftover(fs, entry.name)):
                found.append(entry.name)
    return found


def chosen_roots(fs: FileSystem, measure: str | None) -> list[str]:
    """Return the directories of all measures, or of the one that is named; raises `SchemaError`."""
    roots = measure_roots(fs)
    if measure is None:
        return roots
    check_names([measure], [unescape(root) for root in roots], "measure", "measure")
    return [escape(measure)]


def tables_of(fs: FileSystem, root: str, schema: MeasureSchema | None) -> Iterator[TablePlace]:
    """Yield a measure's tables, without those that were dropped and whose files are being removed."""
    for entry in list_dir(fs, root):
        if not entry.is_dir or not _is_segment(entry.name, schema):
            continue
        segment = None if schema is None else _segment_of(entry.name, schema)
        path = join(root, entry.name)
        for below in list_dir(fs, path):
            match = SHARD.fullmatch(below.name) if below.is_dir else None
            if match and not _is_going(fs, join(path, below.name), segment, schema):
                yield TablePlace(join(path, below.name), segment, int(match.group(1)))


def _is_segment(name: str, schema: MeasureSchema | None) -> bool:
    return is_segment_name(name) if schema is None else _segment_of(name, schema) is not None


def _segment_of(name: str, schema: MeasureSchema) -> Segment | None:
    return named_segment(name, Interval.parse(schema.first_interval or schema.interval, "interval"))


def _is_going(fs: FileSystem, path: str, segment: Segment | None, schema: MeasureSchema | None) -> bool:
    """Whether a table was dropped, and no tag keeps it."""
    if schema is None or segment is None or schema.dropped_before is None:
        return False
    return segment.end <= schema.dropped_before and not tags_in(e.name for e in list_dir(fs, path))


# What can be wrong with it.


def identity_damages(fs: FileSystem) -> list[Damage]:
    """Return what is wrong with ``measurefs.json``."""
    try:
        read_identity(fs)
    except (CorruptionError, FileSystemError) as error:
        return [damage_of(error, IDENTITY)]
    return []


def strangers(state: TableState, table: TablePlace, schema: MeasureSchema | None) -> Iterator[Damage]:
    """Yield the parts that do not belong here: of other columns, or of other times."""
    if schema is None:
        return
    for check in state.checks.values():
        part = check.metadata
        if part is None or check.verdict != "intact":
            continue
        reason = _stranger(part, schema)
        if part.rows and table.segment is not None and not table.segment.holds(part.min_time, part.max_time):
            reason = reason or "it has rows of times outside its segment"
        if reason is not None:
            yield part_damage(join(state.root, part.name), part, reason)


def _stranger(part: PartMetadata, schema: MeasureSchema) -> str | None:
    if part.entity != schema.entity:
        return f"its entity columns are {_typed(part.entity)}, and the measure's are {_typed(schema.entity)}"
    known = {column.name: column for column in schema.for_table().columns}
    for stored in part.columns:
        column = stored.column
        if column.name not in known or known[column.name].type == column.type:
            continue
        was_widened = schema.revision > 1 and is_narrower(column.type, known[column.name].type)
        if not was_widened:
            return (
                f"its column {column.name!r} is {column.type}, and the measure's is {known[column.name].type}"
            )
    return None


def _typed(columns: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns.items())
