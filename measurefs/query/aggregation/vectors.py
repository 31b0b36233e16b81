"""A column of some rows as arrays, whichever way it is held."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec.columns import values_of
from measurefs.codec.memory import array_of
from measurefs.codec.types import ColumnType
from measurefs.codec.widening import widened

Array = npt.NDArray[Any]
Positions = npt.NDArray[np.int64]
Values: TypeAlias = "Array | pa.Array"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Vector:
    """The values of one column.

    Attributes
    ----------
    values : array or None
        Numbers (int64, float64, bool), or codes into the dictionary; anything where a value is null. None where only
        `array` is there: strings and binaries that are not coded, and lists.
    valid : bool array or None
        Which are not null; None if all.
    dictionary : pyarrow.Array or None
        Of codes.
    array : pyarrow.Array or None
        What has no `values`.
    """

    values: Array | None
    valid: npt.NDArray[np.bool_] | None = None
    dictionary: pa.Array | None = None
    array: pa.Array | None = None

    @classmethod
    def of(cls, column: Vector | pa.Array | None, kind: ColumnType, name: str, count: int) -> Vector:
        """Return a column of so many rows, perhaps of a narrower type, as a vector; None is a column of nulls."""
        if isinstance(column, Vector):
            return column
        if column is None:
            column = pa.nulls(count, kind.arrow)
        return cls._of_array(widened(column, kind.arrow, name), kind)

    @classmethod
    def _of_array(cls, column: pa.Array, kind: ColumnType) -> Vector:
        valid = np.asarray(column.is_valid()) if column.null_count else None
        if pa.types.is_dictionary(column.type):
            return cls(values_of(column.indices), valid, column.dictionary)
        return cls(values_of(column), valid) if kind.is_number else cls(None, valid, array=column)

    def coded(self) -> Vector:
        """Return strings or binaries as codes of a dictionary."""
        if self.array is None:
            return self
        encoded = self.array.dictionary_encode()
        return Vector(values_of(encoded.indices), self.valid, encoded.dictionary)

    def numbers(self) -> Array:
        """Return the numbers as int64 or float64."""
        assert self.values is not None
        return self.values if self.values.dtype == np.float64 else self.values.astype(np.int64, copy=False)

    def at(self, rows: Positions) -> Values:
        """Return the values, none of them null, at these positions: numbers, or an Arrow array of anything else."""
        if self.array is not None:
            return self.array.take(array_of(rows))
        assert self.values is not None
        if self.dictionary is None:
            return self.numbers_at(rows)
        return self.dictionary.take(array_of(self.values[rows]))

    def numbers_at(self, rows: Positions) -> Array:
        """Return the numbers at these positions as int64 or float64."""
        assert self.values is not None
        found = self.values[rows]
        return found if found.dtype == np.float64 else found.astype(np.int64, copy=False)

    def gathered(self, rows: Positions) -> Vector:
        """Return the values at these positions."""
        return Vector(
            None if self.values is None else self.values[rows],
            None if self.valid is None else self.valid[rows],
            self.dictionary,
            None if self.array is None else self.array.take(array_of(rows)),
        )
