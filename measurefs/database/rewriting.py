"""What goes through all tables of a measure: compaction, deleting rows, collecting garbage."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from measurefs.codec import compute as pc
from measurefs.database.schema import MeasureSchema
from measurefs.database.tables import Tables
from measurefs.fs.errors import LockError, SchemaError
from measurefs.part.series import Hash
from measurefs.query import MAX_TIME, MIN_TIME, Condition, Where, to_nanoseconds
from measurefs.table import TsTable
from measurefs.table.merger import are_loose

Progress = Callable[[int, int], None]
"""Told how many of how many rows are done."""


def compact(tables: Tables, progress: Progress | None = None) -> None:
    """Make one part of each table; see `Measure.compact`."""
    places = tables.places()
    snapshots = [table.pin() for table in tables.reading(places)]
    try:
        rows = [sum(part.rows for part in snapshot.parts) for snapshot in snapshots]
        needing = [bool(each.memory_parts) or are_loose(each.file_parts) for each in snapshots]
    finally:
        for snapshot in snapshots:
            snapshot.release()
    done, total = 0, sum(rows)
    for place, count, needed in zip(places, rows, needing, strict=True):
        if needed:
            with tables.borrowed(place) as table:
                table.compact(_within(progress, done, count, total))
        done += count
        if progress is not None:
            progress(done, total)


def _within(progress: Progress | None, before: int, count: int, total: int) -> Progress | None:
    """Return what tells of one table's progress as part of all."""
    if progress is None:
        return None
    return lambda done, of: progress(before + count * done // max(of, 1), total)


def delete(tables: Tables, hasher: Hash, start: Any, end: Any, where: Where) -> int:
    """Remove rows from every table that may hold some; see `Measure.delete`."""
    schema = tables.schema
    first = MIN_TIME if start is None else to_nanoseconds(start, "start")
    last = MAX_TIME + 1 if end is None else to_nanoseconds(end, "end")
    condition = _series(schema, hasher, where)
    series, bounds = condition.series, (condition.start, condition.end)
    if start is end is None and series is None and bounds == (MIN_TIME, MAX_TIME + 1):
        raise SchemaError(
            f"delete() on measure {schema.name!r} needs a start, an end or a where; drop_measure removes all of it"
        )
    first, last = max(first, condition.start), min(last, condition.end)
    gone = 0
    for place in tables.places():
        if place.segment.overlaps(first, last):
            with tables.borrowed(place) as table:
                gone += table.delete(first, last, series)
    return gone


def _series(schema: MeasureSchema, hasher: Hash, where: Where) -> Condition:
    others = [name for name in where or () if name in schema.columns] if isinstance(where, dict) else []
    if others:
        raise SchemaError(
            f"delete() cannot look at {others[0]!r}: rows are deleted by time and entity; "
            f"where may name {', '.join(schema.entity)}"
        )
    if isinstance(where, pc.Expression):
        raise SchemaError("delete() takes where as a dict over entity columns, such as {'host': 'a'}")
    condition = Condition(where, schema.entity, {}, hasher)
    if not condition.always:
        raise SchemaError(
            f"delete() cannot look at versions, nor at single times, as where={where!r} asks; give a span of time"
        )
    return condition


def collect(tables: Tables, clear: Callable[[TsTable], list[str]]) -> list[str]:
    """Collect the garbage of every table but those that another process has, and return the paths of what went.

    Parameters
    ----------
    clear : callable
        Called with each table first, and returns what it has removed.
    """
    removed: list[str] = []
    for place in tables.places():
        with contextlib.suppress(LockError), tables.borrowed(place) as table:
            removed += clear(table)
            removed += [f"{table.root}/{name}" for name in table.gc()]
    return removed
