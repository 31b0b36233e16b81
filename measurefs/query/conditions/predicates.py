"""Conditions on rows: each looks at some columns, and a row is wanted if all of them are true for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import compute as pc
from measurefs.fs.errors import SchemaError
from measurefs.query.conditions.pruning import UNKNOWN, Bounds

Mask = npt.NDArray[np.bool_]
Arrays = Mapping[str, pa.Array]
Test = Callable[[Arrays, int], Mask]


class Predicate(msgspec.Struct, frozen=True, eq=False):
    """A condition on rows.

    Attributes
    ----------
    types : mapping
        The columns that it looks at, and their types, in the order that it wants them in.
    test : callable
        From these columns (no dictionaries among them) and the number of rows to which are true. What is true of
        a row depends on that row only.
    bounds : Bounds
        What statistics can be asked about it.
    values : mapping or None
        For some columns, all values but null that they can have in rows for which it is true; null may be among these.
    exact : bool
        Whether it is true for each of these values.
    """

    types: Mapping[str, pa.DataType]
    test: Test
    bounds: Bounds = UNKNOWN
    values: Arrays | None = None
    exact: bool = False

    def mask(self, columns: Arrays, count: int) -> Mask:
        """Return which of the rows it is true for.

        Parameters
        ----------
        columns : mapping of str to pyarrow.Array
            A column that is missing is null in every row. Where it looks at one column only and that is a
            dictionary, it is asked once for each of the dictionary's values.
        count : int
            The number of rows.
        """
        if len(self.types) == 1:
            ((name, kind),) = self.types.items()
            column = columns.get(name)
            if column is None:
                return np.full(count, self.test({name: pa.nulls(1, kind)}, 1)[0])
            if pa.types.is_dictionary(column.type) and len(column.dictionary) < count:
                with contextlib.suppress(SchemaError):  # of a value that is in the dictionary, but in no row
                    return self._by_value(name, column)
            return self.test({name: decoded(column)}, count)
        return self.test(
            {name: _plain(columns, name, kind, count) for name, kind in self.types.items()}, count
        )

    def _by_value(self, name: str, column: pa.DictionaryArray) -> Mask:
        values = column.dictionary
        found = self.test({name: pa.concat_arrays([values, pa.nulls(1, values.type)])}, len(values) + 1)
        indices = column.indices
        if not indices.null_count:
            return np.asarray(found[np.asarray(indices)])
        mask: Mask = found[np.asarray(indices.fill_null(0))]
        mask[np.asarray(indices.is_null())] = found[-1]
        return mask


def _plain(columns: Arrays, name: str, kind: pa.DataType, count: int) -> pa.Array:
    column = columns.get(name)
    return pa.nulls(count, kind) if column is None else decoded(column)


def decoded(column: pa.Array) -> pa.Array:
    """Return a column that may be a dictionary as its values."""
    return pc.take(column.dictionary, column.indices) if pa.types.is_dictionary(column.type) else column


def of_column(
    name: str,
    kind: pa.DataType,
    test: Callable[[pa.Array], pa.Array],
    bounds: Bounds,
    values: pa.Array | None = None,
) -> Predicate:
    """Return a condition on one column that an Arrow function decides; with values, it is true for these only."""
    exact = values is not None
    return Predicate(
        {name: kind},
        lambda columns, _: true_rows(test(columns[name])),
        bounds,
        {name: values} if exact else None,
        exact,
    )


def true_rows(verdict: pa.BooleanArray) -> Mask:
    """Return where an array of bools is true: not where it is false or null."""
    valid, bits = verdict.buffers()
    if bits is None or len(verdict) == 0:
        return np.zeros(0, np.bool_)
    first, skip = divmod(verdict.offset, 8)
    size = (skip + len(verdict) + 7) // 8
    packed = np.frombuffer(bits, np.uint8, size, first)
    if valid is not None:
        packed = packed & np.frombuffer(valid, np.uint8, size, first)
    return np.unpackbits(packed, count=skip + len(verdict), bitorder="little")[skip:].view(np.bool_)
