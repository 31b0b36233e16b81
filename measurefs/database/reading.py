"""What a query reads: from what is asked for to a `Query`, and to the pinned snapshots of the tables it needs."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from measurefs.database.batch import Place
from measurefs.database.schema import MeasureSchema
from measurefs.database.tables import Tables
from measurefs.fs.errors import CorruptionError, MeasureFSError, SchemaError
from measurefs.fs.filesystem import FileSystem
from measurefs.part.file_part import FilePart
from measurefs.part.part import Part
from measurefs.part.series import Hash
from measurefs.query import (
    MAX_TIME,
    MIN_TIME,
    ORDERS,
    VERSION,
    Condition,
    Order,
    Query,
    Where,
    check_names,
    to_nanoseconds,
)
from measurefs.table import Runtime, Snapshot, TsTable
from measurefs.table.recovery import recover


def plan(
    schema: MeasureSchema,
    hasher: Hash,
    since: int,
    start: Any,
    end: Any,
    where: Where,
    columns: Sequence[str] | None,
    order: Order,
    limit: int | None,
    offset: int = 0,
) -> Query:
    """Check what is asked for and return it as a `Query`.

    Parameters
    ----------
    schema : MeasureSchema
    hasher : callable
        As the measure's tables are written.
    since : int
        The time before which rows have expired.
    start, end, where, columns, order, limit, offset
        As `Measure.query` takes them.

    Raises
    ------
    SchemaError
        Something asked for is unknown or cannot be understood.
    """
    names = list(schema.names if columns is None else columns)
    if isinstance(columns, str) or not names:
        raise SchemaError(f"columns must be a list of names, such as ['time'], not {columns!r}")
    check_names(names, [*schema.names, VERSION], "columns")
    if order not in ORDERS:
        raise SchemaError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
    for name, rows in (("limit", limit), ("offset", offset)):
        given = name == "offset" or rows is not None
        if given and (isinstance(rows, bool) or not isinstance(rows, int) or rows < 0):
            raise SchemaError(f"{name} must be a whole number of rows, not {rows!r}")
    first = MIN_TIME if start is None else to_nanoseconds(start, "start")
    last = MAX_TIME + 1 if end is None else to_nanoseconds(end, "end")
    condition = Condition(where, schema.entity, schema.columns, hasher)
    return Query(
        start=max(first, since, condition.start),
        end=min(last, condition.end),
        condition=condition,
        names=list(dict.fromkeys(names)),
        order=order,
        limit=limit,
        entity=schema.entity,
        columns=schema.columns,
        offset=offset,
    )


def pin(
    fs: FileSystem, tables: Tables, query: Query, skipped: list[CorruptionError] | None, runtime: Runtime
) -> tuple[list[Place], list[Snapshot]]:
    """Pin, at one moment, the snapshots of the tables that may hold rows that are asked for.

    Of those that do not open because of damage, if that is skipped, the rest.
    """
    while True:
        generation = tables.generation
        places = tables.places(query.start, query.end)
        damaged: list[CorruptionError] = []
        try:
            sources = _sources(fs, tables, places, None if skipped is None else damaged, runtime)
        except CorruptionError:
            with contextlib.suppress(MeasureFSError):
                if tables.look():  # somebody may be removing files of a segment that was dropped
                    continue
            raise
        with tables.publishing, contextlib.ExitStack() as pinned:
            if tables.generation != generation:
                continue
            snapshots = [pinned.enter_context(source.pin()) for source in sources]
            pinned.pop_all()
        if skipped is not None:
            skipped += damaged
        return places, snapshots


def groups(places: Sequence[Place], parts: Sequence[Sequence[Part]]) -> list[list[Sequence[Part]]]:
    """Put together the parts of tables whose segments are the same or overlap: their rows may have the same key."""
    found: list[list[Sequence[Part]]] = []
    end = MIN_TIME
    for place, held in zip(places, parts, strict=True):
        if not found or place.segment.start >= end:
            found.append([])
        end = max(end, place.segment.end)
        found[-1].append(held)
    return found


def _sources(
    fs: FileSystem,
    tables: Tables,
    places: Sequence[Place],
    skipped: list[CorruptionError] | None,
    runtime: Runtime,
) -> Sequence[TsTable | Snapshot]:
    """Return what to pin for each place."""
    if skipped is None:
        return tables.reading(places)
    with contextlib.suppress(CorruptionError):
        tables.reading(places)  # opens many at a time
    return [_readable(fs, tables, place, skipped, runtime) for place in places]


def _readable(
    fs: FileSystem, tables: Tables, place: Place, skipped: list[CorruptionError], runtime: Runtime
) -> TsTable | Snapshot:
    """Return a table, or a snapshot of what can be read of it; note in skipped what is left out."""
    try:
        (table,) = tables.reading([place])
    except CorruptionError:
        return _rest_of(fs, tables.path(place), skipped, runtime, tables.schema.floor)
    skipped += table.damaged if table.read_only else []
    return table


def _rest_of(
    fs: FileSystem, root: str, skipped: list[CorruptionError], runtime: Runtime, floor: int
) -> Snapshot:
    try:
        found = recover(fs, root, whole=False, floor=floor)
    except CorruptionError as error:
        skipped.append(error)
        return Snapshot(0, [])
    skipped += found.damaged
    parts = found.record.parts if found.record else []
    return Snapshot(found.newest, [FilePart(root, part, runtime.cache) for part in parts])
