"""Columns that became of a wider type: what is stored with the narrower one is cast when it is read."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from measurefs.codec import compute as pc
from measurefs.codec.types import ColumnType, decoded_type
from measurefs.fs.errors import SchemaError

_WIDER = {
    ColumnType.BOOL: ColumnType.INT64,
    ColumnType.INT64: ColumnType.FLOAT64,
    ColumnType.STRING: ColumnType.BINARY,
}
_EXACT = 1 << 53
"""Every integer up to this one is a float64."""


def next_wider(kind: ColumnType) -> ColumnType | None:
    """Return the type that a column of this one can be widened to, None if it is as wide as can be."""
    return _WIDER.get(kind)


def is_narrower(kind: ColumnType, wide: ColumnType) -> bool:
    """Whether a column of the one type becomes one of the other by widening, once or more."""
    wider = next_wider(kind)
    return wider is not None and (wider is wide or is_narrower(wider, wide))


def widest(one: ColumnType, other: ColumnType) -> ColumnType:
    """Return the wider of two types; the first, if neither can be widened to the other."""
    return other if is_narrower(one, other) else one


def widened(column: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    """Return a column that was stored with a narrower type in its type by now; coded strings stay coded.

    Raises
    ------
    SchemaError
        A value would change, or the column is stored with a wider type.
    """
    if column.type == kind or (given := decoded_type(column.type)) == kind:
        return column
    if pa.types.is_string(given) and pa.types.is_binary(kind):
        if pa.types.is_dictionary(column.type):
            return pa.DictionaryArray.from_arrays(column.indices, column.dictionary.cast(kind), safe=False)
        return column.cast(kind)
    if pa.types.is_boolean(given) and (pa.types.is_int64(kind) or pa.types.is_float64(kind)):
        return column.cast(pa.int64()).cast(kind)
    if pa.types.is_int64(given) and pa.types.is_float64(kind):
        refuse_inexact(column, name)
        return column.cast(kind, safe=False)
    if _is_narrowing(given, kind):
        raise SchemaError(
            f"column {name!r} is stored as {given} and known here as {kind}: another process has changed the measure; "
            "refresh it"
        )
    return column


def _is_narrowing(given: pa.DataType, kind: pa.DataType) -> bool:
    types = {each.arrow: each for each in ColumnType}
    return given in types and kind in types and is_narrower(types[kind], types[given])


def refuse_inexact(column: pa.Array, name: str) -> None:
    """Raise `SchemaError` unless every value of an int64 column is a float64, naming the first that is none."""
    position = first_inexact(column)
    if position is not None:
        raise SchemaError(
            f"column {name!r} is float64, and the integer {column[position]} is stored in it, which no float64 is: "
            "a process wrote it that did not know yet that the column was int64 no more; query without the column"
        )


def first_inexact(column: pa.Array) -> int | None:
    """Return the position of the first value of an int64 column that is no float64, None if there is none."""
    bounds = pc.min_max(column)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low is None or (low >= -_EXACT and high <= _EXACT):
        return None
    integers = np.asarray(column.fill_null(0))
    floats = integers.astype(np.float64)
    small = floats < 2.0**63  # the largest integers round to 2**63, which is no int64
    inexact = ~small | (np.where(small, floats, 0).astype(np.int64) != integers)
    found = np.flatnonzero(inexact)
    return int(found[0]) if len(found) else None
