"""What the statistics of chunks say about a condition: whether it may be true for a value there, or false.

A condition is a tree of a few kinds of nodes; what is not understood is `UNKNOWN`, which may be anything.
Each node answers for all chunks at once, and errs only on the side of "may be". Null needs no answer of its own:
a condition that is null is not true, and neither is its contrary.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from measurefs.codec.types import ColumnType

Mask = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


class Statistics(msgspec.Struct, frozen=True, eq=False):
    """What the index knows of q chunks of a column.

    Attributes
    ----------
    kind : ColumnType
        The type they are stored with, which may be a narrower one than the column has by now.
    rows, nulls : int64 array, shape (q,)
    low, high : int64 array, shape (q,)
        The bits of the least and the greatest value, NaN left out; of number columns only, elsewhere and in
        chunks of nulls they mean nothing.
    """

    kind: ColumnType
    rows: Integers
    nulls: Integers
    low: Integers
    high: Integers

    @classmethod
    def absent(cls, kind: ColumnType, rows: Integers) -> Statistics:
        """Return those of a column that a part does not have: null in every row."""
        nothing = np.zeros_like(rows)
        return cls(kind, rows, rows, nothing, nothing)

    @property
    def filled(self) -> Mask:
        """Which chunks hold a value that is not null."""
        return self.nulls < self.rows

    @property
    def has_nulls(self) -> Mask:
        """Which chunks hold a null."""
        return self.nulls > 0

    @property
    def may_hold_nan(self) -> Mask:
        """Which chunks may hold NaN: it does not show in the least and the greatest value."""
        return self.filled & (self.kind is ColumnType.FLOAT64)

    def ends(self, inexact: bool) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return the least and the greatest values as numbers, as compared with other integers or floats.

        An integer next to a float is widened to the floats around it: it need not be one.
        """
        if self.kind is ColumnType.FLOAT64:
            return self.low.view(np.float64), self.high.view(np.float64)
        if not inexact:
            return self.low, self.high
        low, high = self.low.astype(np.float64), self.high.astype(np.float64)
        return np.nextafter(low, -np.inf), np.nextafter(high, np.inf)


class Verdict(NamedTuple):
    """Of each chunk, whether the condition may be true, and whether it may be false, for a row in it."""

    true: Mask
    false: Mask


Given = Mapping[str, Statistics]


class Bounds(Protocol):
    """A node of the tree."""

    def judge(self, given: Given) -> Verdict:
        """Return what may be; of shape () where it is the same for all chunks."""


_YES, _NO = np.array(True), np.array(False)
_ANYTHING = Verdict(_YES, _YES)


class Constant(msgspec.Struct, frozen=True):
    """Always true, always false, or always null."""

    value: bool | None

    def judge(self, given: Given) -> Verdict:
        """Answer without a look."""
        return Verdict(_YES if self.value is True else _NO, _YES if self.value is False else _NO)


class Unknown:
    """Something that is not understood."""

    def judge(self, given: Given) -> Verdict:
        """Answer that it may be anything."""
        return _ANYTHING


UNKNOWN = Unknown()


class _OfColumn(msgspec.Struct, frozen=True):
    """A condition on one column."""

    name: str

    def judge(self, given: Given) -> Verdict:
        """Judge by the column's statistics, if there are some."""
        statistics = given.get(self.name)
        return _ANYTHING if statistics is None else self._judge(statistics)

    def _judge(self, statistics: Statistics) -> Verdict:
        raise NotImplementedError


class Strict(_OfColumn, frozen=True):
    """Something about a column's values that is null where they are."""

    def _judge(self, statistics: Statistics) -> Verdict:
        return Verdict(statistics.filled, statistics.filled)


class IsNull(_OfColumn, frozen=True):
    """Whether a value is null, or NaN if that is to count."""

    nan: bool = False

    def _judge(self, statistics: Statistics) -> Verdict:
        true = statistics.has_nulls
        return Verdict(true | statistics.may_hold_nan if self.nan else true, statistics.filled)


class IsTrue(_OfColumn, frozen=True):
    """A bool column itself."""

    def _judge(self, statistics: Statistics) -> Verdict:
        filled = statistics.filled
        if statistics.kind is not ColumnType.BOOL:
            return Verdict(filled, filled)
        return Verdict(filled & (statistics.high != 0), filled & (statistics.low == 0))


Number = int | float
_Ends = npt.NDArray[Any]
_Decide = Callable[[_Ends, _Ends, Number], Any]
_MAY_BE: Mapping[str, _Decide] = {
    "==": lambda low, high, value: (low <= value) & (value <= high),
    "!=": lambda low, high, value: ~((low == value) & (high == value)),
    "<": lambda low, high, value: low < value,
    "<=": lambda low, high, value: low <= value,
    ">": lambda low, high, value: high > value,
    ">=": lambda low, high, value: high >= value,
}
"""Whether a number between low and high may compare so with a value. All false if low and high are NaN, but !=."""

_MUST_BE: Mapping[str, _Decide] = {
    "==": lambda low, high, value: (low == value) & (high == value),
    "!=": lambda low, high, value: (high < value) | (value < low),
    "<": lambda low, high, value: high < value,
    "<=": lambda low, high, value: high <= value,
    ">": lambda low, high, value: low > value,
    ">=": lambda low, high, value: low >= value,
}
"""Whether every number between low and high does."""


class Compare(_OfColumn, frozen=True):
    """A number column compared with a number, which may be NaN."""

    operator: str
    value: Number

    def _judge(self, statistics: Statistics) -> Verdict:
        filled = statistics.filled
        if not statistics.kind.is_number:
            return Verdict(filled, filled)
        ends = statistics.ends(isinstance(self.value, float))
        nan = statistics.may_hold_nan
        may_be, must_be = (of[self.operator](*ends, self.value) for of in (_MAY_BE, _MUST_BE))
        if self.operator == "!=":
            return Verdict(filled & may_be | nan, filled & ~must_be)
        return Verdict(filled & may_be, filled & ~must_be | nan)


class Among(_OfColumn, frozen=True, eq=False):
    """Whether a value is one of several; never null itself.

    Attributes
    ----------
    values : array or None
        The numbers (not null) looked for; None where they are something else.
    null : bool
        Whether null is looked for too.
    """

    values: npt.NDArray[Any] | None
    null: bool

    def _judge(self, statistics: Statistics) -> Verdict:
        filled, nulls = statistics.filled, statistics.has_nulls
        found_nulls, other_nulls = nulls & self.null, nulls & (not self.null)
        if self.values is None or not statistics.kind.is_number:
            return Verdict(filled | found_nulls, filled | other_nulls)
        values = np.sort(self.values)  # NaN last
        low, high = statistics.ends(values.dtype.kind == "f")
        may_be = np.searchsorted(values, low, "left") < np.searchsorted(values, high, "right")
        nan = statistics.may_hold_nan
        # Every one is among them; not so of floats, of which a zero is not among values with only the other zero.
        same = (low == high) & may_be & ~nan
        if len(values) and np.isnan(values[-1]):
            may_be |= nan
        return Verdict(filled & may_be | found_nulls, filled & ~same | other_nulls)


class Not(msgspec.Struct, frozen=True):
    """The contrary, null where that is null."""

    inner: Bounds

    def judge(self, given: Given) -> Verdict:
        """Swap the two."""
        true, false = self.inner.judge(given)
        return Verdict(false, true)


class And(msgspec.Struct, frozen=True):
    """All of several."""

    operands: Sequence[Bounds]

    def judge(self, given: Given) -> Verdict:
        """Judge by all of them."""
        true, false = zip(*(operand.judge(given) for operand in self.operands), strict=True)
        return Verdict(functools.reduce(np.logical_and, true), functools.reduce(np.logical_or, false))


class Or(msgspec.Struct, frozen=True):
    """Any of several."""

    operands: Sequence[Bounds]

    def judge(self, given: Given) -> Verdict:
        """Judge by all of them."""
        true, false = zip(*(operand.judge(given) for operand in self.operands), strict=True)
        return Verdict(functools.reduce(np.logical_or, true), functools.reduce(np.logical_and, false))
