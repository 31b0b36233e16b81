"""A measure as an Arrow dataset: whatever scans one tells it columns and a filter, and these become a query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NoReturn, Self, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from measurefs.database import Measure
from measurefs.fs.errors import SchemaError
from measurefs.interop.microseconds import MICROSECONDS, split
from measurefs.query import TIME, TIME_TYPE, OnCorrupt, Order, QueryResult
from measurefs.query.conditions.expressions import Form, columns_of

TimeUnit: TypeAlias = Literal["ns", "us"]
Columns: TypeAlias = "Sequence[str] | Mapping[str, pc.Expression] | None"
_BATCH_ROWS = 131_072


class MeasureDataset(ds.UnionDataset):  # type: ignore[misc]
    """The rows of a measure, for what takes a `pyarrow.dataset.Dataset`, such as DuckDB and `write_dataset`.

    Only the columns and rows that a scan asks for are read, as in `Measure.query`: each scan is a query of its own,
    and sees the rows of its moment. The columns are those of the measure when the dataset was made.

    It is scanned through its methods. What goes past them, into Arrow's C++ (`Scanner.from_dataset`, Acero), fails
    with a message; give that the result of `scanner` or `to_table`.

    Parameters
    ----------
    measure : Measure
        It must stay open.
    start, end, as_of, on_corrupt
        As `Measure.query` takes them, for every scan.
    order : {"series", "time", "-time"}
        Of the rows of a scan.
    time_unit : {"ns", "us"}
        Of the column ``time``. With microseconds, rounded down, DuckDB and others can do more.
    """

    def __init__(
        self,
        measure: Measure,
        *,
        start: Any = None,
        end: Any = None,
        as_of: Any = None,
        on_corrupt: OnCorrupt = "error",
        order: Order = "series",
        time_unit: TimeUnit = "ns",
    ) -> None:
        if time_unit not in ("ns", "us"):
            raise SchemaError(f"time_unit must be 'ns' or 'us', not {time_unit!r}")
        self._measure = measure
        self._bounds = {"start": start, "end": end, "as_of": as_of, "on_corrupt": on_corrupt}
        self._order: Order = order
        self._unit: TimeUnit = time_unit
        self._filter: pc.Expression | None = None
        kinds = {**measure.schema.entity, **measure.schema.columns}
        time = TIME_TYPE if time_unit == "ns" else MICROSECONDS
        schema = pa.schema([(TIME, time), *((name, kind.arrow) for name, kind in kinds.items())])
        super().__init__(schema, [_refusing(schema)])

    def scanner(
        self,
        columns: Columns = None,
        filter: pc.Expression | None = None,
        batch_size: int = _BATCH_ROWS,
        **options: Any,
    ) -> ds.Scanner:
        """Return a scanner of the rows, for one use.

        Parameters
        ----------
        columns : sequence of str, or mapping of str to expression, optional
            Those of the result, and how they are computed.
        filter : pyarrow.compute.Expression, optional
            Which rows are wanted.
        batch_size : int
            The most rows in a batch.
        options
            What else there is for scans of files, which says nothing here.

        Raises
        ------
        SchemaError
            There is no such column, or the filter cannot be used.
        """
        return self._scanner(columns, filter, batch_size, None)

    def _scanner(
        self, columns: Columns, condition: pc.Expression | None, batch_size: int, limit: int | None
    ) -> ds.Scanner:
        where, left = self._divided(condition)
        names = _read_columns(columns, left, self.schema.names)
        result = self._measure.query(
            where=where,
            columns=names,
            order=self._order,
            limit=limit if left is None else None,
            **self._bounds,
        )
        schema = pa.schema([self.schema.field(name) for name in names])
        reader = pa.RecordBatchReader.from_batches(schema, _batches(result, schema, batch_size))
        wanted = columns if isinstance(columns, Mapping) else list(names if columns is None else columns)
        return ds.Scanner.from_batches(reader, columns=wanted, filter=left, batch_size=batch_size)

    def _divided(self, condition: pc.Expression | None) -> tuple[pc.Expression | None, pc.Expression | None]:
        """Return what the query is asked for, and what is left to judge of its rows."""
        whole = _both(self._filter, condition)
        if whole is None or self._unit == "ns":
            return whole, None
        return split(whole)

    def to_batches(
        self, columns: Columns = None, filter: Any = None, **options: Any
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows; see `scanner`."""
        found: Iterator[pa.RecordBatch] = self.scanner(columns, filter, **options).to_batches()
        return found

    def to_table(self, columns: Columns = None, filter: Any = None, **options: Any) -> pa.Table:
        """Return the rows as a table; see `scanner`."""
        return self.scanner(columns, filter, **options).to_table()

    def head(self, num_rows: int, columns: Columns = None, filter: Any = None, **options: Any) -> pa.Table:
        """Return the first rows; no more than are needed are read."""
        size = options.get("batch_size", _BATCH_ROWS)
        return self._scanner(columns, filter, size, num_rows).head(num_rows)

    def take(self, indices: Any, columns: Columns = None, filter: Any = None, **options: Any) -> pa.Table:
        """Return the rows with these numbers; all up to there are read."""
        return self.scanner(columns, filter, **options).take(indices)

    def count_rows(self, filter: Any = None, **options: Any) -> int:
        """Return how many rows there are, of those that a filter finds."""
        where, left = self._divided(filter)
        if left is not None:
            return int(self.scanner([TIME], filter, **options).count_rows())
        (count,) = self._measure.aggregate(where=where, **self._bounds).to_arrow()["count"].to_pylist()
        return int(count)

    def filter(self, expression: pc.Expression) -> Self:
        """Return a dataset of the rows that an expression finds."""
        found = type(self)(self._measure, **self._bounds, order=self._order, time_unit=self._unit)
        found._filter = _both(self._filter, expression)
        return found

    def sort_by(self, sorting: Any, **options: Any) -> ds.InMemoryDataset:
        """Return all rows, sorted, in memory."""
        return self._in_memory().sort_by(sorting, **options)

    def join(self, right_dataset: Any, *given: Any, **options: Any) -> ds.InMemoryDataset:
        """Return all rows, joined to those of another dataset, in memory."""
        return self._in_memory().join(_plain(right_dataset), *given, **options)

    def join_asof(self, right_dataset: Any, *given: Any, **options: Any) -> ds.InMemoryDataset:
        """Return all rows, each with the nearest in time of another dataset, in memory."""
        return self._in_memory().join_asof(_plain(right_dataset), *given, **options)

    def _in_memory(self) -> ds.InMemoryDataset:
        return ds.InMemoryDataset(self.to_table())

    def get_fragments(self, filter: Any = None) -> NoReturn:
        """Refuse: there are no files that could be read without the rest."""
        raise NotImplementedError(_REFUSAL)

    def replace_schema(self, schema: pa.Schema) -> NoReturn:
        """Refuse: the columns are the measure's."""
        raise NotImplementedError("the columns of a MeasureDataset are its measure's; project them in a scan")

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a MeasureDataset cannot be pickled, as it reads from a store that is open in this process; "
            "open the store where it is needed"
        )


def _both(one: pc.Expression | None, other: pc.Expression | None) -> pc.Expression | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _read_columns(columns: Columns, left: pc.Expression | None, known: Sequence[str]) -> list[str]:
    """Return the columns to read for a projection, and for a filter that is left to apply."""
    names: set[str] = set(known)
    if columns is not None and not isinstance(columns, Mapping):
        names = set(columns)
    elif columns is not None:
        names = set().union(*(_columns_of(expression, known) for expression in columns.values()))
    if left is not None:
        names |= _columns_of(left, known)
    if isinstance(columns, Mapping) or left is not None or columns is None:
        return [name for name in known if name in names] or [TIME]
    return list(dict.fromkeys(columns)) or [TIME]


def _columns_of(expression: pc.Expression, known: Sequence[str]) -> set[str]:
    root = Form(expression).root
    return set(known) if root is None else set(columns_of(root))


def _batches(result: QueryResult, schema: pa.Schema, batch_rows: int) -> Iterator[pa.RecordBatch]:
    place = schema.get_field_index(TIME)
    for batch in result.to_batches(batch_rows):
        columns = batch.columns
        if place >= 0 and schema.field(place).type == MICROSECONDS:
            floored = pc.floor_temporal(columns[place], unit="microsecond")
            columns[place] = floored.cast(MICROSECONDS)
        yield pa.record_batch(columns, schema=schema)


def _plain(dataset: Any) -> Any:
    return dataset._in_memory() if isinstance(dataset, MeasureDataset) else dataset


_REFUSAL = (
    "Arrow cannot read a MeasureDataset by itself, past its methods; give it what scanner(), to_batches() or "
    "to_table() return"
)


def _refusing(schema: pa.Schema) -> ds.FileSystemDataset:
    """Return a dataset of one file that cannot be read: in the place of rows, so that none are missed in silence."""
    form = ds.IpcFileFormat()
    file = pa.PythonFile(_Unreadable(), mode="r")
    return ds.FileSystemDataset([form.make_fragment(file)], schema, form)


class _Unreadable:
    """A file of some size; it must not fail before it is read, as Arrow would keep that error, and what led to it."""

    closed = False
    _SIZE = 1 << 20

    def __init__(self) -> None:
        self._place = 0

    def read(self, *_: Any) -> NoReturn:
        raise NotImplementedError(_REFUSAL)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = offset if whence == 0 else self._SIZE
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        pass
