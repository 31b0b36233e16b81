"""Groups: which entries of some columns belong together, and how what is known of them is put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec.columns import values_of
from measurefs.codec.memory import array_of
from measurefs.query.aggregation.sorting import order_of

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

_RADIX = 1 << 16
_MOST_CODES = 1 << 62
_SMALL = 1024


class Codes(NamedTuple):
    """A column as codes: equal values have equal codes.

    Attributes
    ----------
    codes : int array, shape (u,)
    bound : int
        All codes are at least 0 and below this.
    values : pyarrow.Array
        What the codes stand for.
    """

    codes: Array
    bound: int
    values: pa.Array

    def at(self, entries: Ints) -> pa.Array:
        """Return the values of some entries."""
        return self.values.take(array_of(self.codes[entries]))


def encoded(column: pa.Array) -> Codes:
    """Return a column's codes; null is a value of its own, and so is NaN; the two zeros are one."""
    if pa.types.is_floating(column.type):
        column = _one_nan_one_zero(column)
    found = column.dictionary_encode(null_encoding="encode")
    return Codes(values_of(found.indices), len(found.dictionary), found.dictionary)


def ranked(column: pa.Array) -> Codes:
    """Return codes in the order of the values: null is the last, NaN before it."""
    found = encoded(column)
    order = order_of(found.values)
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return Codes(ranks[found.codes], found.bound, found.values.take(array_of(order)))


def _one_nan_one_zero(column: pa.Array) -> pa.Array:
    values = np.asarray(column.fill_null(0.0)) + 0.0
    values[np.isnan(values)] = np.nan
    return pa.array(values, mask=np.asarray(column.is_null()))


def mixed(columns: Sequence[tuple[Array, int]], count: int, *, in_order: bool = False) -> tuple[Ints, int]:
    """Return one code for each of so many entries that is equal where the codes of all columns are, and its bound.

    Parameters
    ----------
    columns : sequence of (int array, int)
        The codes of each, and their bound.
    count : int
    in_order : bool
        Whether the codes must be in the order of those of the columns, the first of which counts most.
    """
    codes, bound = np.zeros(count, np.int64), 1
    for more, limit in columns:
        if bound * limit > _MOST_CODES:
            codes, bound = _ranks(codes) if in_order else dense(codes, bound)
        codes = codes * limit + more if bound > 1 else more.astype(np.int64, copy=False)
        bound *= limit
    return codes, bound


def dense(codes: Ints, bound: int) -> tuple[Ints, int]:
    """Return codes that are all in use, and how many there are; in the same order where the bound is small."""
    if bound <= 1:
        return codes, min(bound, len(codes))
    if bound <= max(_SMALL, 4 * len(codes)):
        used = np.zeros(bound, np.bool_)
        used[codes] = True
        numbers = np.cumsum(used) - 1
        return numbers[codes], int(numbers[-1]) + 1
    found = array_of(codes).dictionary_encode()
    return np.asarray(found.indices).astype(np.int64), len(found.dictionary)


def _ranks(codes: Ints) -> tuple[Ints, int]:
    distinct, ranks = np.unique(codes, return_inverse=True)
    return ranks, len(distinct)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """Which of u entries belong to which of g groups; none of these is empty.

    Attributes
    ----------
    ids : int64 array, shape (u,)
        The group of each entry.
    count : int
    order : int64 array or None
        The entries group by group, each in order; None where they are so already.
    starts : int64 array, shape (g,)
        Where in that order each group begins.
    """

    ids: Ints
    count: int
    order: Ints | None
    starts: Ints

    @classmethod
    def of(cls, ids: Ints, count: int) -> Grouping:
        """Group entries by id; all ids below count occur."""
        if (ids[1:] >= ids[:-1]).all():
            starts = np.append(0, np.flatnonzero(ids[1:] != ids[:-1]) + 1) if len(ids) else ids
            return cls(ids, count, None, starts)
        order = sorted_by_code(ids, count)
        ordered = ids[order]
        starts = np.append(0, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1)
        return cls(ids, count, order, starts)

    @property
    def is_trivial(self) -> bool:
        """Whether each entry is a group, in order."""
        return self.order is None and self.count == len(self.ids)

    def ordered(self, values: Array) -> Array:
        """Return the values of the entries group by group."""
        return values if self.order is None else values[self.order]

    def reduce(self, ufunc: np.ufunc, values: Array) -> Array:
        """Put the values of each group together."""
        if self.is_trivial:
            return values
        reduced: Array = ufunc.reduceat(self.ordered(values), self.starts)
        return reduced

    def firsts(self) -> Ints:
        """Return an entry of each group: its first."""
        return self.starts if self.order is None else self.order[self.starts]


def sorted_by_code(codes: Ints, bound: int) -> Ints:
    """Return the stable order of codes below a bound; NumPy sorts 16-bit keys by radix."""
    if bound <= _RADIX:
        return np.argsort(codes.astype(np.uint16), kind="stable")
    if bound > _RADIX**2:
        return np.argsort(codes, kind="stable")
    low = np.argsort((codes & (_RADIX - 1)).astype(np.uint16), kind="stable")
    return low[np.argsort((codes >> 16).astype(np.uint16)[low], kind="stable")]
