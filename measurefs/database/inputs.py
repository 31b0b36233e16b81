"""Whatever users hold their rows in, as an Arrow table of its own memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.fs.errors import SchemaError
from measurefs.query import TIME

_KINDS = (
    "a pyarrow Table, RecordBatch or RecordBatchReader, a pandas or Polars frame, a dict of columns, "
    "or a list of dicts"
)
_REFUSALS = (pa.ArrowException, ValueError, TypeError, KeyError, OverflowError)
_ARROW_UNITS = frozenset({"D", "s", "ms", "us", "ns"})


def to_table(data: Any, time_column: str = TIME) -> pa.Table:
    """Turn rows into an Arrow table.

    NumPy and pandas memory is copied, since its owner may change it; Arrow memory is immutable, and shared.

    Parameters
    ----------
    data : see `Measure.write`
    time_column : str
        A pandas index with a level of that name, or a nameless one of dates, becomes columns.

    Raises
    ------
    SchemaError
        It is none of the forms that are understood, or its columns do not fit together.
    """
    try:
        return _to_table(data, time_column)
    except _REFUSALS as error:
        if isinstance(error, SchemaError):
            raise
        raise SchemaError(f"cannot read the rows: {error}") from error


def _to_table(data: Any, time_column: str) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, Mapping):
        return _from_columns(data)
    if _is_pandas(data) and hasattr(data, "columns"):
        return _from_pandas(data, time_column)
    if hasattr(data, "__arrow_c_stream__"):
        return pa.table(data)
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return _from_rows(data)
    raise SchemaError(f"cannot write a {type(data).__name__}: give {_KINDS}")


def _from_columns(columns: Mapping[str, Any]) -> pa.Table:
    arrays = {str(name): _column(str(name), values) for name, values in columns.items()}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise SchemaError(f"the columns are not equally long: {lengths}")
    return pa.table(arrays)


def _is_pandas(data: Any) -> bool:
    """Whether it is pandas' own, or of a class derived from that, without importing pandas."""
    return any(base.__module__.partition(".")[0] == "pandas" for base in type(data).__mro__)


def _column(name: str, values: Any) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    try:
        if isinstance(values, np.ndarray):
            return _from_numpy(values)
        if _is_pandas(values):
            return pa.array(values.copy())
        if hasattr(values, "__arrow_c_stream__"):
            return pa.chunked_array(values)
        if isinstance(values, str | bytes):
            raise TypeError(f"{values!r} is one value, not a column of them")
        return _from_list(name, list(values))
    except _REFUSALS as error:
        if isinstance(error, SchemaError):
            raise
        raise SchemaError(f"column {name!r} cannot be read: {error}") from error


def _from_numpy(values: npt.NDArray[Any]) -> pa.Array:
    if values.dtype.kind == "M" and np.datetime_data(values.dtype)[0] not in _ARROW_UNITS:
        return pa.array(values.astype("datetime64[s]"))
    return pa.array(values.copy())


def _from_list(name: str, values: list[Any]) -> pa.Array:
    try:
        array = pa.array(values)
    except _REFUSALS as error:
        row = _first_refused(values)
        raise SchemaError(
            f"column {name!r} cannot be read: {values[row]!r} in row {row} does not go with what stands before "
            f"it ({error}); nothing was stored"
        ) from error
    if not pa.types.is_timestamp(array.type):
        return array
    try:  # Arrow takes pandas' nanoseconds for microseconds unless told otherwise
        return pa.array(values, pa.timestamp("ns", tz=array.type.tz))
    except _REFUSALS:
        return array


def _first_refused(values: list[Any]) -> int:
    """Find the first row that cannot be of one column with those before it, by halving."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            pa.array(values[:middle])
            low = middle
        except _REFUSALS:
            high = middle
    return low


def _from_pandas(frame: Any, time_column: str) -> pa.Table:
    frame = frame.copy()
    index = frame.index
    if time_column not in frame.columns:
        if time_column in index.names:
            frame = frame.reset_index()
        elif index.name is None and index.dtype.kind == "M":
            frame = frame.rename_axis(time_column).reset_index()
    return pa.Table.from_pandas(frame, preserve_index=False)


def _from_rows(rows: Sequence[Any]) -> pa.Table:
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise SchemaError(f"row {number} is a {type(row).__name__}, not a dict; give {_KINDS}")
    names = dict.fromkeys(name for row in rows for name in row)
    return _from_columns({name: [row.get(name) for row in rows] for name in names})
