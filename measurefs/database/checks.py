"""Casting columns to the types of the schema, so that no value changes, or saying which row stands in the way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from measurefs.codec import compute as pc
from measurefs.codec.types import ColumnType
from measurefs.fs.errors import SchemaError

_SHOWN = 10
_EXACT = pa.decimal128(38)


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """Return a column's chunks as one array; in a dictionary, only codes are null."""
    if pa.types.is_dictionary(column.type):
        if any(chunk.dictionary.null_count for chunk in column.chunks):
            column = column.cast(column.type.value_type)
        elif column.num_chunks > 1:
            column = column.unify_dictionaries()
    if column.num_chunks == 1:
        return column.chunk(0)
    joined = column.combine_chunks()
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def cast_column(name: str, column: pa.Array, kind: ColumnType) -> pa.Array:
    """Return a column in its schema's type; strings and binaries may stay dictionaries.

    Raises
    ------
    SchemaError
        Naming the column, the type and the first row whose value would change.
    """
    given = column.type
    if given == kind.arrow:
        return column
    if column.null_count == len(column):
        return pa.nulls(len(column), kind.arrow)
    if pa.types.is_dictionary(given):
        return _cast_dictionary(name, column, kind)
    if not _castable(given, kind):
        row = int(np.argmax(column.is_valid()))
        raise SchemaError(
            f"column {name!r} must be {kind.value}, not {given} such as {column[row]} in row {row}; "
            "nothing was stored"
        )
    try:
        return _cast(column, kind)
    except pa.ArrowException as error:
        row = _first_refused(column, lambda piece: _cast(piece, kind))
        raise SchemaError(
            f"column {name!r} must be {kind.value}: the {given} value {column[row]} in row {row} would change "
            f"({error}); nothing was stored"
        ) from error


def _cast(column: pa.Array, kind: ColumnType) -> pa.Array:
    try:
        return column.cast(kind.arrow)
    except pa.ArrowInvalid:  # also for any integer beyond 2**53 as a float, though some are exact
        if kind is not ColumnType.FLOAT64 or not pa.types.is_integer(column.type):
            raise
        floats = column.cast(kind.arrow, safe=False)
        if not floats.cast(_EXACT).equals(column.cast(_EXACT)):
            raise
        return floats


def _cast_dictionary(name: str, column: pa.Array, kind: ColumnType) -> pa.Array:
    values = column.dictionary
    is_text = kind in {ColumnType.STRING, ColumnType.BINARY} and _castable(values.type, kind)
    if is_text and len(values) <= len(column):
        values = values.cast(kind.arrow)
        if len(values.unique()) == len(values):
            return pa.DictionaryArray.from_arrays(column.indices.cast(pa.int32()), values)
    return cast_column(name, column.dictionary_decode(), kind)


def _castable(given: pa.DataType, kind: ColumnType) -> bool:
    """Whether a cast can keep every value; of those that can, Arrow checks each value."""
    if kind in {ColumnType.INT64, ColumnType.FLOAT64}:
        return bool(pa.types.is_integer(given) or pa.types.is_floating(given) or pa.types.is_decimal(given))
    if kind is ColumnType.STRING:
        return bool(_is_string(given))
    if kind is ColumnType.BINARY:
        return bool(_is_string(given) or _is_binary(given))
    if kind.element is not None and _is_list(given):
        element = given.value_type
        return element == kind.element.arrow or pa.types.is_null(element) or _castable(element, kind.element)
    return False


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_binary(kind: pa.DataType) -> bool:
    checks = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(check(kind) for check in checks) or bool(pa.types.is_fixed_size_binary(kind))


def _is_list(kind: pa.DataType) -> bool:
    checks = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in checks)


def _first_refused(column: pa.Array, attempt: Callable[[pa.Array], object]) -> int:
    """Find the first row that the attempt refuses, by halving."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            attempt(column.take(pa.array(range(low, middle))))
            low = middle
        except pa.ArrowException:
            high = middle
    return low


def cast_times(name: str, column: pa.Array) -> pa.Array:
    """Return a column of times as int64 nanoseconds since 1970-01-01 UTC.

    Integers are nanoseconds already; timestamps without a zone, and strings without one, are UTC.

    Raises
    ------
    SchemaError
        A time is null, is none, or is outside the years 1677 to 2262; with the rows.
    """
    refuse_nulls(name, column)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if len(column) == 0 or pa.types.is_integer(column.type):
        return cast_column(name, column, ColumnType.INT64)
    try:
        return _times(column).view(pa.int64())
    except (pa.ArrowException, NotImplementedError) as error:
        row = _first_refused(column, _times)
        raise SchemaError(
            f"column {name!r} must hold times: {column[row]} in row {row} is none that nanoseconds since 1970 "
            f"can tell ({error}); nothing was stored"
        ) from error


def _times(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return column if kind.unit == "ns" else column.cast(pa.timestamp("ns", tz=kind.tz))
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("s")).cast(pa.timestamp("ns"))
    if not _is_string(kind):
        raise pa.ArrowTypeError(f"a {kind} is no time")
    return _parsed(pc.utf8_trim_whitespace(column.cast(pa.string())))


def _parsed(texts: pa.Array) -> pa.Array:
    """Parse times with a zone, and those without as UTC."""
    zoned = pc.match_substring_regex(texts, r":.*(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})$")
    utc = pa.timestamp("ns", tz="UTC")
    plain = pc.if_else(zoned, None, texts).cast(pa.timestamp("ns")).cast(pa.int64()).cast(utc)
    return pc.coalesce(pc.if_else(zoned, texts, None).cast(utc), plain)


def refuse_nulls(name: str, column: pa.Array) -> None:
    """Raise `SchemaError` with the numbers of the rows that are null."""
    if column.null_count == 0:
        return
    rows = np.flatnonzero(np.asarray(pc.is_null(column)))
    shown = ", ".join(map(str, rows[:_SHOWN])) + (", ..." if len(rows) > _SHOWN else "")
    raise SchemaError(
        f"column {name!r} is null in {len(rows)} of {len(column)} rows (rows {shown}); nothing was stored"
    )
