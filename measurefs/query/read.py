"""Reading rows from pinned snapshots: prune, read, leave out superseded rows, filter, order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from measurefs.codec.types import ColumnType
from measurefs.fs.errors import CorruptionError, NotExistError, ReadError, SchemaError
from measurefs.fs.filesystem import FileSystem
from measurefs.part.fetch import fetch, together
from measurefs.part.part import Part, Scan
from measurefs.part.rows import Rows, concat_rows, sort_rows
from measurefs.part.verify import file_damage
from measurefs.query.where import Condition

Order = Literal["time", "-time", "series"]
ORDERS: tuple[Order, ...] = ("time", "-time", "series")
OnCorrupt = Literal["error", "skip"]
ON_CORRUPT: tuple[OnCorrupt, ...] = ("error", "skip")
TIME = "time"
VERSION = "version"
TIME_TYPE = pa.timestamp("ns", tz="UTC")

_WAVE_ROWS = 4_000_000


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What is asked for, checked and in the form that reading needs.

    Attributes
    ----------
    start, end : int
        ``[start, end)``, nanoseconds since 1970-01-01 UTC.
    condition : Condition
    names : sequence of str
        The columns of the result, in order.
    order : str
        ``"time"``, ``"-time"`` or ``"series"``.
    limit : int or None
    entity, columns : mapping
        The measure's entity columns, and its tags and fields, with their types.

    Raises
    ------
    SchemaError
        The condition is an expression that names unknown columns, or is not true or false.
    """

    start: int
    end: int
    condition: Condition
    names: Sequence[str]
    order: Order
    limit: int | None
    entity: Mapping[str, ColumnType]
    columns: Mapping[str, ColumnType]

    def __post_init__(self) -> None:
        if self.condition.expression is None:
            return
        try:
            pa.Table.from_batches([], pa.schema(self._types())).filter(self.condition.expression)
        except pa.ArrowException as error:
            raise SchemaError(f"cannot use {self.condition.expression} as where: {error}") from error

    def _types(self) -> dict[str, pa.DataType]:
        """Return the types of all columns that there are."""
        known = {TIME: TIME_TYPE, VERSION: pa.int64()}
        return known | {name: kind.arrow for name, kind in (*self.entity.items(), *self.columns.items())}

    @property
    def schema(self) -> pa.Schema:
        """The schema of the result."""
        known = self._types()
        return pa.schema([(name, known[name]) for name in self.names])

    def needed(self) -> list[str]:
        """Return the tags and fields to read."""
        if self.condition.expression is not None:
            return list(self.columns)
        return [name for name in self.columns if name in self.names or name in self.condition.columns]


Group = Sequence[Sequence[Part]]
"""The parts of the tables that cover one span of time, in order of arrival within each table."""


def read(
    fs: FileSystem, groups: Sequence[Group], query: Query, skipped: list[CorruptionError] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the result's rows.

    Parameters
    ----------
    groups : sequence of groups of parts
        For consecutive spans of time that do not overlap, the earliest first.
    query : Query
    skipped : list of CorruptionError, optional
        Go on without damaged parts, and add to it, once each, why they are left out.

    Raises
    ------
    CorruptionError
        A part is damaged, and that is not to be skipped.
    """
    left = query.limit
    for parts in _waves(groups, query):
        if left == 0:
            return
        rows = _read_rows(fs, parts, query, skipped)
        if rows is None:
            continue
        batch = _to_batch(_order(rows, query), query)
        if query.condition.expression is not None:
            batch = batch.filter(query.condition.expression)
        batch = batch.select(list(query.names)).slice(0, left)
        if left is not None:
            left -= batch.num_rows
        if batch.num_rows:
            yield batch


def _waves(groups: Sequence[Group], query: Query) -> Iterator[list[Part]]:
    """Put spans of time together as long as their rows are few: each wave is read at once."""
    if query.order == "-time":
        groups = list(reversed(groups))
    wave: list[Part] = []
    for group in groups:
        parts = [part for table in group for part in table]
        rows = sum(part.rows for part in (*wave, *parts))
        if wave and rows > _WAVE_ROWS and query.order != "series":
            yield wave
            wave = []
        wave += parts
    if wave:
        yield wave


def _read_rows(
    fs: FileSystem, parts: Sequence[Part], query: Query, skipped: list[CorruptionError] | None
) -> Rows | None:
    """Read the rows of a wave; None if all of its parts are left out."""
    names = query.needed()
    scan = Scan(query.start, query.end, names, query.condition.series)
    found = _read_parts(fs, parts, scan, skipped)
    if not found:
        return None
    types = {name: query.columns[name].arrow for name in names}
    rows = sort_rows(concat_rows(found, types))
    keep = query.condition.rows(rows.columns, len(rows))
    return rows if keep is None or keep.all() else rows.take(np.flatnonzero(keep))


def _read_parts(
    fs: FileSystem, parts: Sequence[Part], scan: Scan, skipped: list[CorruptionError] | None
) -> list[Rows]:
    """Read each part at once and whole, as far as it is wanted: there is never half of one in a result."""
    try:
        return list(fetch(fs, together(*(part.read(scan) for part in parts))))
    except NotExistError as error:
        if skipped is None:
            raise NotExistError(
                "query",
                error.path,
                "it is not there any more; if another process writes to the store, it has replaced and collected the "
                "file since this one looked: call refresh() and query again (gc_grace says how long files stay), else "
                "run 'measurefs verify'",
            ) from error
    except (CorruptionError, ReadError):
        if skipped is None:
            raise
    found: list[Rows] = []
    for part in parts:
        try:
            found.append(fetch(fs, part.read(scan)))
        except (CorruptionError, NotExistError, ReadError) as error:
            damage = error if isinstance(error, CorruptionError) else file_damage(fs, part)
            if damage is None:
                raise
            if str(damage) not in map(str, skipped):
                skipped.append(damage)
    return found


def _order(rows: Rows, query: Query) -> Rows:
    """Put rows, which come ordered by series and time, into the order asked for."""
    if query.order == "time":
        positions = np.argsort(rows.times, kind="stable")
    elif query.order == "-time":
        positions = np.argsort(~rows.times, kind="stable")
    else:
        listed = _listed_order(rows, query)
        if listed is None:
            return _head(rows, query)
        positions = listed
    if query.limit is not None and query.condition.expression is None:
        positions = positions[: query.limit]
    return rows.take(positions)


def _head(rows: Rows, query: Query) -> Rows:
    if query.limit is None or query.condition.expression is not None:
        return rows
    return rows.slice(0, min(query.limit, len(rows)))


def _listed_order(rows: Rows, query: Query) -> npt.NDArray[np.int64] | None:
    """Return the order in which the caller listed the series, None if they were not listed."""
    listed = query.condition.listed()
    if listed is None or len(query.entity) != 1:
        return None
    (entities,) = rows.series.entities.columns
    places = np.asarray(pc.index_in(entities, value_set=listed).fill_null(len(listed)))
    return np.argsort(places[rows.codes], kind="stable")


def _to_batch(rows: Rows, query: Query) -> pa.RecordBatch:
    """Turn rows into a batch with all columns that the result or an expression may want."""
    arrays: dict[str, pa.Array] = {TIME: pa.array(rows.times).view(TIME_TYPE)}
    everything = query.condition.expression is not None
    codes = pa.array(rows.codes)
    for name in query.entity:
        if everything or name in query.names:
            arrays[name] = rows.series.entities.column(name).take(codes)
    for name, column in rows.columns.items():
        if everything or name in query.names:
            arrays[name] = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    if everything or VERSION in query.names:
        arrays[VERSION] = pa.array(rows.versions)
    return pa.record_batch(arrays)
