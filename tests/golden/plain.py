"""Rows as text that people can read and that tells every value apart, and back into a file's lines.

A value is JSON by its column's type: times and integers are numbers, floats their hexadecimal form (``0x1.8p+1``,
``-0x0.0p+0``, ``inf``, ``nan``; another NaN than the usual one with its bits), binary is hexadecimal digits, lists
are lists. Null is null, and so are neither ``""`` nor ``[]``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

Rows = list[list[Any]]

_NAN = 0x7FF8000000000000


def types_of(table: pa.Table) -> dict[str, str]:
    """Return the type of each column."""
    return {field.name: str(field.type) for field in table.schema}


def rows_of(table: pa.Table) -> Rows:
    """Return the rows, each a list of plain values."""
    columns = [_plain(column) for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def _plain(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        return list(column.cast(pa.int64()).to_pylist())
    values = column.to_pylist()
    if pa.types.is_float64(column.type):
        return [None if value is None else float_text(value) for value in values]
    if pa.types.is_binary(column.type):
        return [None if value is None else value.hex() for value in values]
    return list(values)


def float_text(value: float) -> str:
    """Return a float's text, by which all bits can be told."""
    if value == value:
        return value.hex()
    (bits,) = struct.unpack("<Q", struct.pack("<d", value))
    return "nan" if bits == _NAN else f"nan:{bits:016x}"


def line(value: Any) -> str:
    """Return a value as one line; equal lines are equal values of equal types."""
    return json.dumps(value, ensure_ascii=False)


def pretty(document: Any, depth: int = 0) -> str:
    """Return JSON with a line for each row, and one for each short thing."""
    pad = "  " * (depth + 1)
    if isinstance(document, dict) and document:
        items = [f"{pad}{line(name)}: {pretty(value, depth + 1)}" for name, value in document.items()]
        return "{\n" + ",\n".join(items) + "\n" + "  " * depth + "}"
    if _is_list_of_lists(document):
        return "[\n" + ",\n".join(pad + line(row) for row in document) + "\n" + "  " * depth + "]"
    return line(document)


def _is_list_of_lists(document: Any) -> bool:
    return (
        isinstance(document, Sequence)
        and not isinstance(document, str)
        and any(isinstance(row, list) for row in document)
    )
