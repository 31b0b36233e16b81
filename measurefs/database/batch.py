"""From a table as a user gives it to rows for the tables they belong in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec.types import ColumnType
from measurefs.database.checks import cast_column, cast_times, one_array, refuse_nulls
from measurefs.database.intervals import Interval
from measurefs.database.schema import MeasureSchema
from measurefs.fs.errors import SchemaError
from measurefs.part.rows import Rows
from measurefs.part.series import SeriesEncoder
from measurefs.query import TIME, VERSION, check_names


class Checked(NamedTuple):
    """A batch that can be stored.

    Attributes
    ----------
    rows : Rows
        All of it; versions are 0 where the caller gave none.
    versioned : bool
        Whether the caller gave them.
    """

    rows: Rows
    versioned: bool


def check_batch(table: pa.Table, schema: MeasureSchema, time_column: str, encoder: SeriesEncoder) -> Checked:
    """Check a batch and turn it into rows; nothing is stored yet.

    Raises
    ------
    SchemaError
        A column is unknown, missing or twice there, or a value is null, of another type or out of range; the
        message names the column and the rows.
    """
    columns = _named_columns(table, schema, time_column)
    times = cast_times(time_column, _required(columns, TIME, time_column, schema))
    versions = columns.get(VERSION)
    if versions is None:
        numbers = np.zeros(len(times), np.int64)
    else:
        refuse_nulls(VERSION, versions)
        numbers = np.asarray(cast_column(VERSION, versions, ColumnType.INT64))
    entities = [_entity_column(columns, name, kind, schema) for name, kind in schema.entity.items()]
    values = {
        name: cast_column(name, columns[name], kind)
        for name, kind in schema.columns.items()
        if name in columns
    }
    series, codes = encoder.encode(pa.record_batch(entities, names=list(schema.entity)))
    return Checked(Rows(series, codes, np.asarray(times), numbers, values), versions is not None)


def _named_columns(table: pa.Table, schema: MeasureSchema, time_column: str) -> dict[str, pa.Array]:
    names = [TIME if name == time_column else name for name in table.column_names]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise SchemaError(f"the rows have two columns named {min(twice)!r}; nothing was stored")
    check_names(names, [*schema.names, VERSION], f"the rows of measure {schema.name!r}")
    return {name: one_array(column) for name, column in zip(names, table.columns, strict=True)}


def _required(columns: dict[str, pa.Array], name: str, given: str, schema: MeasureSchema) -> pa.Array:
    if name not in columns:
        raise SchemaError(
            f"the rows have no column {given!r}, which every row of measure {schema.name!r} needs; "
            f"they have {', '.join(columns) or 'none'}; nothing was stored"
        )
    return columns[name]


def _entity_column(
    columns: dict[str, pa.Array], name: str, kind: ColumnType, schema: MeasureSchema
) -> pa.Array:
    column = _required(columns, name, name, schema)
    refuse_nulls(name, column)
    return cast_column(name, column, kind)


class Place(NamedTuple):
    """Where rows belong: the start of their segment, and their shard."""

    segment: int
    shard: int


def split(rows: Rows, interval: Interval, shards: int) -> Iterator[tuple[Place, Rows]]:
    """Split rows by segment and shard, keeping their order of arrival within each."""
    if len(rows) == 0:
        return
    first, last = (interval.start_of(int(time)) for time in (rows.times.min(), rows.times.max()))
    if first == last and shards == 1:
        yield Place(first, 0), rows
        return
    segments = rows.times // interval.nanoseconds
    owners = (rows.series.ids % np.uint64(shards)).astype(np.int64)[rows.codes]
    for (segment, shard), positions in _groups(segments, owners):
        yield Place(segment * interval.nanoseconds, shard), rows.take(positions)


def _groups(
    segments: npt.NDArray[np.int64], shards: npt.NDArray[np.int64]
) -> Iterator[tuple[tuple[int, int], npt.NDArray[np.int64]]]:
    order = np.lexsort((shards, segments))
    by_segment, by_shard = segments[order], shards[order]
    changes = (by_segment[1:] != by_segment[:-1]) | (by_shard[1:] != by_shard[:-1])
    starts = np.concatenate(([0], np.flatnonzero(changes) + 1, [len(order)]))
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        yield (int(by_segment[start]), int(by_shard[start])), order[start:stop]
