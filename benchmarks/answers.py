"""What an engine answered, brought into one form, so that answers can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from benchmarks.data import FIELDS

Columns: TypeAlias = "dict[str, np.ndarray[Any, Any]]"
PLACES = ("time", "host", "region")
"""What tells the rows of an answer apart."""


def differs(found: Any, expected: Any, order: Sequence[str]) -> str | None:
    """Return in what an answer differs from another, None if in nothing.

    Parameters
    ----------
    found, expected : pyarrow.Table or pandas.DataFrame
    order : sequence of str
        The columns whose order is part of the answer.
    """
    left, right = (_columns(each) for each in (found, expected))
    if left.keys() != right.keys():
        return f"columns {sorted(left)} instead of {sorted(right)}"
    for name in order:
        if not np.array_equal(left[name], right[name]):
            return f"another order of {name}"
    left, right = (_sorted(each) for each in (left, right))
    for name, column in left.items():
        if len(column) != len(right[name]):
            return f"{len(column)} rows instead of {len(right[name])}"
        same = np.isclose(column, right[name], rtol=1e-9) if name in FIELDS else column == right[name]
        if not np.all(same):
            place = int(np.argmin(same))
            return f"{name} of row {place}: {column[place]} instead of {right[name][place]}"
    return None


def _columns(answer: Any) -> Columns:
    if not isinstance(answer, pa.Table):
        answer = pa.Table.from_pandas(answer)
    columns = {_plain_name(name): _plain(answer[name]) for name in answer.column_names}
    columns.pop("__index_level_0__", None)
    return columns


def _sorted(columns: Columns) -> Columns:
    keys = [columns[name] for name in PLACES if name in columns] or [*columns.values()]
    order = np.lexsort(keys)
    return {name: column[order] for name, column in columns.items()}


def _plain_name(name: str) -> str:
    """Return the field that an aggregate is of."""
    return name.removesuffix("_mean").removesuffix("_last")


def _plain(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
    if pa.types.is_integer(column.type):
        column = column.cast(pa.int64())
    return column.to_numpy()
