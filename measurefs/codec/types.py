"""The types a column may have."""

from __future__ import annotations

import enum

import pyarrow as pa


class ColumnType(enum.StrEnum):
    """A column's type, by the name that schemas use; `arrow` is what it is in results."""

    INT64 = "int64"
    FLOAT64 = "float64"
    BOOL = "bool"
    STRING = "string"
    BINARY = "binary"
    STRING_LIST = "list<string>"
    INT64_LIST = "list<int64>"

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type."""
        return _ARROW[self]

    @property
    def element(self) -> ColumnType | None:
        """The type of a list's elements; None for what is no list."""
        return _ELEMENTS.get(self)

    @property
    def is_number(self) -> bool:
        """Whether values are fixed-width numbers (a bool is one: 0 or 1)."""
        return self in _NUMBERS


_ARROW = {
    ColumnType.INT64: pa.int64(),
    ColumnType.FLOAT64: pa.float64(),
    ColumnType.BOOL: pa.bool_(),
    ColumnType.STRING: pa.string(),
    ColumnType.BINARY: pa.binary(),
    ColumnType.STRING_LIST: pa.list_(pa.string()),
    ColumnType.INT64_LIST: pa.list_(pa.int64()),
}
_ELEMENTS = {ColumnType.STRING_LIST: ColumnType.STRING, ColumnType.INT64_LIST: ColumnType.INT64}
_NUMBERS = frozenset({ColumnType.INT64, ColumnType.FLOAT64, ColumnType.BOOL})


def decoded_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of an array's values, coded or not."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind
