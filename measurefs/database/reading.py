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
    Shape,
    Where,
    check_names,
    to_nanoseconds,
)
from measurefs.table import Runtime, Snapshot, TsTable
from measurefs.table.recovery import recover

_MOST_SHAPES = 256


class Planner:
    """Understands what is asked of a measure; what many questions have in common is found out once.

    Parameters
    ----------
    schema : MeasureSchema
        As long as it is the measure's.
    hasher : callable
        As the measure's tables are written.

    Attributes
    ----------
    columns, tags : mapping
        Tags and fields, and tags only, with their types.
    """

    def __init__(self, schema: MeasureSchema, hasher: Hash) -> None:
        self.schema = schema
        self.columns = schema.columns
        self.tags = {name: kind for name, kind in self.columns.items() if name not in schema.fields}
        self._names = tuple(schema.names)
        self._hasher = hasher
        self._shapes: dict[tuple[Order, tuple[str, ...]], Shape] = {}

    def plan(
        self,
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
        since : int
            The time before which rows have expired.
        start, end, where, columns, order, limit, offset
            As `Measure.query` takes them.

        Raises
        ------
        SchemaError
            Something asked for is unknown or cannot be understood.
        """
        shape = self._shape(columns, order)
        for name, rows in (("limit", limit), ("offset", offset)):
            given = name == "offset" or rows is not None
            if given and (isinstance(rows, bool) or not isinstance(rows, int) or rows < 0):
                raise SchemaError(f"{name} must be a whole number of rows, not {rows!r}")
        first = MIN_TIME if start is None else to_nanoseconds(start, "start")
        last = MAX_TIME + 1 if end is None else to_nanoseconds(end, "end")
        condition = Condition(where, self.schema.entity, self.columns, self._hasher)
        first, last = max(first, since, condition.start), min(last, condition.end)
        return Query(first, last, condition, shape, limit, offset)

    def _shape(self, columns: Sequence[str] | None, order: Order) -> Shape:
        names = self._names if columns is None else tuple(columns)
        if isinstance(columns, str) or not names:
            raise SchemaError(f"columns must be a list of names, such as ['time'], not {columns!r}")
        check_names(names, (*self._names, VERSION), "columns")
        if order not in ORDERS:
            raise SchemaError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
        found = self._shapes.get((order, names))
        if found is None:
            found = Shape.of(list(dict.fromkeys(names)), order, self.schema.entity, self.columns)
            if len(self._shapes) < _MOST_SHAPES:
                self._shapes[order, names] = found
        return found


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
        with tables.publishing:
            if tables.generation != generation:
                continue
            snapshots = _pinned(sources)
        if skipped is not None:
            skipped += damaged
        return places, snapshots


def _pinned(sources: Sequence[TsTable | Snapshot]) -> list[Snapshot]:
    """Pin all of them, or none."""
    snapshots: list[Snapshot] = []
    try:
        for source in sources:
            snapshots.append(source.pin())
    except BaseException:
        for snapshot in snapshots:
            snapshot.release()
        raise
    return snapshots


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
