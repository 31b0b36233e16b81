"""Whatever users hold their rows in, as an Arrow table of its own memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from measurefs.fs.errors import SchemaError
from measurefs.query import TIME

_KINDS = (
    "a pyarrow Table, RecordBatch or RecordBatchReader, a pandas or Polars frame, a dict of columns, "
    "or a list of dicts"
)


def to_table(data: Any, time_column: str = TIME) -> pa.Table:
    """Turn rows into an Arrow table.

    NumPy and pandas memory is copied, since its owner may change it; Arrow memory is immutable, and shared.

    Parameters
    ----------
    data : see `Measure.write`
    time_column : str
        A pandas index of that name, or a nameless one of dates, becomes a column.

    Raises
    ------
    SchemaError
        It is none of the forms that are understood, or its columns do not fit together.
    """
    try:
        return _to_table(data, time_column)
    except (pa.ArrowException, ValueError, TypeError, KeyError) as error:
        if isinstance(error, SchemaError):
            raise
        raise SchemaError(f"cannot read the rows: {error}") from error


def _to_table(data: Any, time_column: str) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, Mapping):
        return _from_columns(data)
    if type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "columns"):
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


def _column(name: str, values: Any) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if isinstance(values, np.ndarray):
        values = values.copy()
    elif not isinstance(values, Sequence) or isinstance(values, str | bytes):
        values = (
            list(values) if hasattr(values, "__iter__") and not isinstance(values, str | bytes) else values
        )
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise SchemaError(f"column {name!r} cannot be read: {error}") from error


def _from_pandas(frame: Any, time_column: str) -> pa.Table:
    frame = frame.copy()
    if time_column not in frame.columns:
        index = frame.index
        if index.name == time_column or (index.name is None and index.dtype.kind == "M"):
            frame = frame.rename_axis(time_column).reset_index()
    return pa.Table.from_pandas(frame, preserve_index=False)


def _from_rows(rows: Sequence[Any]) -> pa.Table:
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise SchemaError(f"row {number} is a {type(row).__name__}, not a dict; give {_KINDS}")
    names = dict.fromkeys(name for row in rows for name in row)
    return _from_columns({name: [row.get(name) for row in rows] for name in names})
