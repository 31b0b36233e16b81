"""Values of files in the types of a measure; what does not fit is named with its file and line."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from measurefs.cli._files import Block
from measurefs.cli.common import BadInput
from measurefs.codec.types import ColumnType
from measurefs.database.checks import cast_column, cast_times
from measurefs.fs import SchemaError

_NOTHING = pa.array(
    ["", "NA", "N/A", "n/a", "#N/A", "<NA>", "null", "NULL", "None", "nan", "NaN", "NAN", "-nan", "-NaN"]
)
"""What stands for no number in CSV files, as in pandas; in text these are text."""

_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_ZONED = r"[T ]\d\d:?\d\d.*(Z|[+-]\d\d(:?\d\d)?)$"
_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_EARLY = 10**17  # ns: 1973; smaller whole numbers are rarely meant as nanoseconds

_LADDERS: dict[ColumnType | None, tuple[ColumnType, ...]] = {
    None: (ColumnType.INT64, ColumnType.FLOAT64, ColumnType.BOOL),
    ColumnType.INT64: (ColumnType.INT64, ColumnType.FLOAT64),
}


def decode(column: pa.Array) -> pa.Array:
    """Return a column without dictionary, and text as plain strings."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    text = pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type)
    return column.cast(pa.string()) if text else column


def kind_of(arrow: pa.DataType) -> ColumnType | None:
    """Return the type in which a measure holds what a Parquet file has, None if it holds no such."""
    kinds = pa.types
    if kinds.is_dictionary(arrow):
        return kind_of(arrow.value_type)
    if kinds.is_list(arrow) or kinds.is_large_list(arrow):
        element = kind_of(arrow.value_type)
        return {ColumnType.STRING: ColumnType.STRING_LIST, ColumnType.INT64: ColumnType.INT64_LIST}.get(
            element or ColumnType.BOOL
        )
    checks = {
        ColumnType.INT64: kinds.is_integer,
        ColumnType.FLOAT64: lambda each: kinds.is_floating(each) or kinds.is_decimal(each),
        ColumnType.BOOL: kinds.is_boolean,
        ColumnType.STRING: lambda each: (
            kinds.is_string(each) or kinds.is_large_string(each) or kinds.is_string_view(each)
        ),
        ColumnType.BINARY: lambda each: kinds.is_binary(each) or kinds.is_large_binary(each),
    }
    return next((kind for kind, check in checks.items() if check(arrow)), None)


def checked(
    block: Block, name: str, column: pa.Array, attempt: Callable[[pa.Array], pa.Array], what: str
) -> pa.Array:
    """Return ``attempt(column)``.

    Raises
    ------
    BadInput
        It failed; the message names the line and the value.
    """
    try:
        return attempt(column)
    except (pa.ArrowException, SchemaError, ValueError) as error:
        row = _first_refused(column, attempt)
        if row is None:  # not for a value: for the column's type
            raise BadInput(f"{block.source.name}: {error}") from error
        raise BadInput(
            f"{block.where(row)}: column {name!r} holds {_quoted(column[row])}, which is no {what}; "
            "correct or remove the row, nothing was stored"
        ) from error


def _quoted(value: pa.Scalar) -> str:
    text = repr(value.as_py()) if not pa.types.is_timestamp(value.type) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _first_refused(column: pa.Array, attempt: Callable[[pa.Array], pa.Array]) -> int | None:
    """Find the first value that an attempt refuses, by halving; None if it refuses no values at all too."""

    def refused(piece: pa.Array) -> bool:
        try:
            attempt(piece)
        except (pa.ArrowException, SchemaError, ValueError):
            return True
        return False

    if refused(column.slice(0, 0)):
        return None
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        if refused(column.slice(low, middle - low)):
            high = middle
        else:
            low = middle
    return low


def refuse_empty(block: Block, name: str, column: pa.Array) -> None:
    """Raise `BadInput` naming the first line where a column is null."""
    if column.null_count:
        row = int(np.flatnonzero(np.asarray(pc.is_null(column)))[0])
        raise BadInput(
            f"{block.where(row)}: column {name!r} is empty, and every row needs it; "
            "correct or remove the row, nothing was stored"
        )


# Types


def guess(block: Block, name: str, column: pa.Array, known: ColumnType | None) -> ColumnType | None:
    """Find the type of a column of text, given that of the rows before; None as long as there are no values.

    Raises
    ------
    BadInput
        It is a column of numbers, and one value is none. A column where most values are numbers and some are
        not is taken for damaged and not for text, since a measure would keep that choice for ever.
    """
    values = column.filter(pc.invert(pc.is_in(column, value_set=_NOTHING))).drop_null()
    if not len(values) or known is ColumnType.STRING:
        return known
    for kind in _LADDERS.get(known, () if known is None else (known,)):
        try:
            text_to(name, values, kind)
        except pa.ArrowException:
            continue
        return kind
    numbers = pc.sum(pc.match_substring_regex(values, _NUMBER)).as_py()
    if known is None and 2 * numbers <= len(values):
        return ColumnType.STRING
    kind = ColumnType.FLOAT64 if known in {None, ColumnType.INT64} else known
    assert kind is not None
    hint = f"number as the others (if the column is text, say --tag {name}:string)"
    checked(block, name, column, lambda piece: text_to(name, piece, kind), hint)
    return kind


def text_to(name: str, column: pa.Array, kind: ColumnType) -> pa.Array:
    """Read text as values of a type."""
    del name
    if kind is ColumnType.STRING:
        return column
    if kind is ColumnType.BINARY:
        return column.cast(pa.binary())
    if kind.element is not None:
        return pa.array(
            [None if text is None else json.loads(text) for text in column.to_pylist()], kind.arrow
        )
    values = pc.if_else(pc.is_in(column, value_set=_NOTHING), pa.scalar(None, pa.string()), column)
    try:
        return values.cast(kind.arrow)
    except pa.ArrowInvalid:
        return pc.utf8_trim_whitespace(values).cast(kind.arrow)


def typed_to(name: str, column: pa.Array, kind: ColumnType) -> pa.Array:
    """Return values of a Parquet file in a type; refuses to change any, but for digits that a float lacks."""
    if kind is ColumnType.FLOAT64 and pa.types.is_integer(column.type):
        return column.cast(pa.float64(), safe=False)
    return cast_column(name, column, kind)


# Times


def times_of(block: Block, name: str, column: pa.Array, unit: str | None) -> pa.Array:
    """Return a column of times as int64 nanoseconds.

    Raises
    ------
    BadInput
        A time is missing, or is none.
    """
    refuse_empty(block, name, column)
    if pa.types.is_string(column.type):
        column = checked(block, name, column, _parse_times, "time (ISO 8601, such as 2026-01-31T12:00:00Z)")
    if pa.types.is_integer(column.type):
        if unit is None and len(column) and abs(pc.max(column).as_py()) < _EARLY:
            raise BadInput(
                f"{block.where(0)}: the times in column {name!r} are whole numbers such as {column[0]}; "
                "say what they count with --time-unit s, ms, us or ns"
            )
        scale = pa.scalar(_UNITS[unit or "ns"], pa.int64())
        return checked(
            block, name, column, lambda piece: pc.multiply_checked(piece.cast(pa.int64()), scale), "time"
        )
    return checked(block, name, column, lambda piece: cast_times(name, piece), "time between 1677 and 2262")


def _parse_times(text: pa.Array) -> pa.Array:
    """Read times; those with a zone, those without (UTC), and a mixture of both."""
    for kind in (pa.timestamp("ns"), pa.timestamp("ns", tz="UTC"), pa.int64()):
        try:
            return text.cast(kind)
        except pa.ArrowInvalid:
            continue
    text = pc.utf8_trim_whitespace(text)
    zoned = pc.match_substring_regex(text, _ZONED)
    none = pa.scalar(None, pa.string())
    with_zone = pc.if_else(zoned, text, none).cast(pa.timestamp("ns", tz="UTC")).cast(pa.timestamp("ns"))
    without = pc.if_else(zoned, none, text).cast(pa.timestamp("ns"))
    return pc.coalesce(with_zone, without)
