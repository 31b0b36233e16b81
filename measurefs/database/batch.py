"""From a table as a user gives it to rows for the tables they belong in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec.types import ColumnType
from measurefs.database.checks import cast_column, cast_times, one_array, refuse_nulls
from measurefs.database.schema import MeasureSchema
from measurefs.database.segments import Division, Segment
from measurefs.fs.errors import SchemaError
from measurefs.part.labels import LabelEncoder
from measurefs.part.rows import Rows, same
from measurefs.part.series import Codes, Hash, SeriesTable, encode_series
from measurefs.part.tasks import Mapper
from measurefs.query import TIME, VERSION, check_names

_ROWS_FOR_THREADS = 1 << 16
"""Columns of fewer are put in order in less time than it takes to hand them over."""


class Checked(NamedTuple):
    """A batch that can be stored.

    Attributes
    ----------
    rows : Rows
        All of it, in order of the series, and as they came within each; versions are 0 where the caller gave none.
    versioned : bool
        Whether the caller gave them.
    schema : MeasureSchema
        What it was checked by.
    """

    rows: Rows
    versioned: bool
    schema: MeasureSchema


def check_batch(
    table: pa.Table,
    schema: MeasureSchema,
    time_column: str,
    encoder: LabelEncoder,
    run: Mapper[Any, Any] = map,
) -> Checked:
    """Check a batch and turn it into rows; nothing is stored yet. `run` may order columns of many rows in parallel.

    Raises
    ------
    SchemaError
        A column is unknown, missing or twice there, or a value is null, of another type or out of range; the
        message names the column and the rows.
    """
    columns = _named_columns(table, schema, time_column)
    times = cast_times(time_column, _required(columns, TIME, time_column, schema))
    versions = columns.get(VERSION)
    if versions is not None:
        refuse_nulls(VERSION, versions)
        versions = cast_column(VERSION, versions, ColumnType.INT64)
    entities = _entities(columns, schema)
    values = {
        name: cast_column(name, columns[name], kind)
        for name, kind in schema.columns.items()
        if name in columns
    }
    labels = encoder.encode(entities)

    def arrange(name: str) -> pa.Array:
        column = values[name]
        return labels.field(column) if name in schema.fields else labels.tag(name, column)

    arranged = (run if len(times) >= _ROWS_FOR_THREADS else map)(arrange, values)
    ordered = Rows(
        labels.series,
        labels.codes,
        labels.arranged(np.asarray(times)),
        same(0, len(times)) if versions is None else labels.arranged(np.asarray(versions)),
        dict(zip(values, arranged, strict=True)),
    )
    return Checked(ordered, versions is not None, schema)


def _named_columns(table: pa.Table, schema: MeasureSchema, time_column: str) -> dict[str, pa.Array]:
    names = [TIME if name == time_column else name for name in table.column_names]
    if len(set(names)) < len(names):
        twice = min(name for name in names if names.count(name) > 1)
        raise SchemaError(f"the rows have two columns named {twice!r}; nothing was stored")
    check_names(names, [*schema.names, VERSION], f"the rows of measure {schema.name!r}")
    return {name: one_array(column) for name, column in zip(names, table.columns, strict=True)}


def _required(columns: dict[str, pa.Array], name: str, given: str, schema: MeasureSchema) -> pa.Array:
    if name not in columns:
        raise SchemaError(
            f"the rows have no column {given!r}, which every row of measure {schema.name!r} needs; "
            f"they have {', '.join(columns) or 'none'}; nothing was stored"
        )
    return columns[name]


def _entities(columns: dict[str, pa.Array], schema: MeasureSchema) -> pa.RecordBatch:
    found = []
    for name, kind in schema.entity.items():
        column = _required(columns, name, name, schema)
        refuse_nulls(name, column)
        found.append(cast_column(name, column, kind))
    return pa.record_batch(found, names=list(schema.entity))


class Place(NamedTuple):
    """Where rows belong: their segment, and their shard."""

    segment: Segment
    shard: int


def split(rows: Rows, division: Division, shards: int) -> Iterator[tuple[Place, Rows]]:
    """Split rows by segment and shard, keeping their order of arrival within each."""
    if len(rows) == 0:
        return
    segments, places = division.locate(rows.times)
    if shards == 1 and places is None:
        yield from ((Place(segment, 0), rows) for segment in segments)
        return
    owners = shards_of(rows.series, rows.codes, shards)
    tables = owners if places is None else places * shards + owners
    for table, positions in _groups(tables):
        yield Place(segments[table // shards], table % shards), rows.take(positions)


def shards_of(series: SeriesTable, codes: Codes, shards: int) -> npt.NDArray[np.int64]:
    """Return the shard of each row, by its series."""
    return (series.ids % np.uint64(shards)).astype(np.int64)[codes]


def _groups(numbers: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.intp]]]:
    """Yield each number that occurs, and where, in order."""
    narrow = numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))  # NumPy sorts two bytes fastest
    order = np.argsort(narrow, kind="stable")
    ordered = numbers[order]
    starts = np.concatenate(([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, [len(order)]))
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        yield int(ordered[start]), order[start:stop]


def shards_of_batch(table: pa.Table, schema: MeasureSchema, hasher: Hash) -> npt.NDArray[np.int64]:
    """Return the shard of each row of a batch, of which only the entity columns matter.

    Raises
    ------
    SchemaError
        An entity column is missing, twice there, or has a null or a value of another type.
    """
    twice = [name for name in schema.entity if table.column_names.count(name) > 1]
    if twice:
        raise SchemaError(f"the rows have two columns named {twice[0]!r}")
    given = [name for name in schema.entity if name in table.column_names]
    columns = {name: one_array(table[name]) for name in given}
    return shards_of(*encode_series(_entities(columns, schema), hasher), schema.shards)
