"""What is known of some rows, in a form that can be put together with what is known of others.

A partial holds an entry per run of rows, block, or group. There is one class for each thing that can be known, so
that nothing is found out that nobody asked for.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec.types import ColumnType
from measurefs.query.aggregation.groups import Array, Grouping, Ints
from measurefs.query.aggregation.run_values import RunValues
from measurefs.query.aggregation.vectors import Values

_HALF = 32
_LOWER = 2**_HALF - 1
_SAFE_SUM = 2.0**62
LEAST = np.iinfo(np.int64).min
GREATEST = np.iinfo(np.int64).max


@dataclasses.dataclass(frozen=True, eq=False)
class Partial(abc.ABC):
    """Something known of u entries; each field is an array with a value for each."""

    @classmethod
    def joined(cls, pieces: Sequence[Self]) -> Self:
        """Join what is known of some entries and of others."""
        if len(pieces) == 1:
            return pieces[0]
        fields = (field.name for field in dataclasses.fields(cls))
        return cls(*(_concat([getattr(piece, name) for piece in pieces]) for name in fields))

    @classmethod
    @abc.abstractmethod
    def nothing(cls, count: int, kind: ColumnType) -> Self:
        """Return what is known of entries without a value, of a column of that type."""

    @abc.abstractmethod
    def grouped(self, groups: Grouping) -> Self:
        """Put together what is known of the entries of each group."""


def number_type(kind: ColumnType) -> np.dtype[np.generic]:
    """Return the type of a number column's arrays: a bool is 0 or 1."""
    return np.dtype(np.float64 if kind is ColumnType.FLOAT64 else np.int64)


def _concat(arrays: Sequence[Values]) -> Values:
    return np.concatenate(arrays) if isinstance(arrays[0], np.ndarray) else pa.concat_arrays(arrays)


@dataclasses.dataclass(frozen=True, eq=False)
class Counts(Partial):
    """How many values, or rows, there are."""

    counts: Ints

    @classmethod
    def nothing(cls, count: int, kind: ColumnType) -> Self:
        """Return entries without a value."""
        return cls(np.zeros(count, np.int64))

    def grouped(self, groups: Grouping) -> Self:
        """Add."""
        return type(self)(groups.reduce(np.add, self.counts))


@dataclasses.dataclass(frozen=True, eq=False)
class FloatSums(Partial):
    """The sum of floats; 0 of none."""

    sums: Array

    @classmethod
    def of(cls, runs: RunValues) -> FloatSums:
        """Add up runs."""
        return cls(runs.spread(runs.reduce(np.add, runs.numbers()), 0.0))

    @classmethod
    def nothing(cls, count: int, kind: ColumnType) -> Self:
        """Return entries without a value."""
        return cls(np.zeros(count))

    def grouped(self, groups: Grouping) -> Self:
        """Add."""
        return type(self)(groups.reduce(np.add, self.sums))

    def floats(self) -> Array:
        """Return the sums."""
        return self.sums


@dataclasses.dataclass(frozen=True, eq=False)
class IntSums(Partial):
    """The exact sum of integers, as two halves: upper * 2**32 + lower, where 0 <= lower < 2**32."""

    upper: Ints
    lower: Ints

    @classmethod
    def of(cls, runs: RunValues) -> IntSums:
        """Add up runs."""
        values = runs.numbers()
        longest = float(runs.lengths.max(initial=0))
        most = max(abs(float(values.min(initial=0))), abs(float(values.max(initial=0))))
        if most * longest < _SAFE_SUM:
            return cls.of_whole(runs.spread(runs.reduce(np.add, values), 0))
        upper, lower = runs.reduce(np.add, values >> _HALF), runs.reduce(np.add, values & _LOWER)
        return cls(*_carried(runs.spread(upper, 0), runs.spread(lower, 0)))

    @classmethod
    def of_whole(cls, sums: Ints) -> IntSums:
        """Take sums that fit int64."""
        return cls(sums >> _HALF, sums & _LOWER)

    @classmethod
    def nothing(cls, count: int, kind: ColumnType) -> Self:
        """Return entries without a value."""
        return cls(np.zeros(count, np.int64), np.zeros(count, np.int64))

    def grouped(self, groups: Grouping) -> Self:
        """Add."""
        if groups.is_trivial:
            return self
        return type(self)(*_carried(groups.reduce(np.add, self.upper), groups.reduce(np.add, self.lower)))

    def floats(self) -> Array:
        """Return the sums, rounded to floats."""
        return self.upper * float(_LOWER + 1) + self.lower

    def whole(self) -> Ints | None:
        """Return the sums; None if one does not fit int64."""
        limit = 2 ** (_HALF - 1)
        fit = (self.upper >= -limit) & (self.upper < limit)
        return (self.upper << _HALF) | self.lower if fit.all() else None


def _carried(upper: Ints, lower: Ints) -> tuple[Ints, Ints]:
    return upper + (lower >> _HALF), lower & _LOWER


class Extremes(Partial):
    """The least or the greatest of values."""

    ufunc: ClassVar[np.ufunc]
    """NaN is left out, unless there is nothing else."""
    none: ClassVar[int]
    """What no integer changes."""

    @classmethod
    def missing(cls, dtype: np.dtype[np.generic]) -> float:
        """Return what stands for no value."""
        return np.nan if dtype == np.float64 else cls.none


@dataclasses.dataclass(frozen=True, eq=False)
class _NumberExtremes(Extremes):
    """Of numbers; what stands where there is no value changes nothing."""

    values: Array

    @classmethod
    def of(cls, runs: RunValues) -> Self:
        """Find those of runs."""
        found = runs.reduce(cls.ufunc, runs.numbers())
        return cls(runs.spread(found, cls.missing(found.dtype)))

    @classmethod
    def of_summary(cls, values: Array, present: npt.NDArray[np.bool_]) -> Self:
        """Take those of blocks, of which some have no values."""
        return cls(values if present.all() else np.where(present, values, cls.missing(values.dtype)))

    @classmethod
    def nothing(cls, count: int, kind: ColumnType) -> Self:
        """Return entries without a value."""
        dtype = number_type(kind)
        return cls(np.full(count, cls.missing(dtype), dtype))

    def grouped(self, groups: Grouping) -> Self:
        """Find those of groups."""
        return type(self)(groups.reduce(self.ufunc, self.values))


class Least(_NumberExtremes):
    """The least number."""

    ufunc = np.fmin
    none = GREATEST


class Greatest(_NumberExtremes):
    """The greatest number."""

    ufunc = np.fmax
    none = LEAST


@dataclasses.dataclass(frozen=True, eq=False)
class Deviations(Partial):
    """How far numbers are from their mean: m2 is the sum of the squares, NaN if one is NaN or infinite."""

    counts: Ints
    means: Array
    m2: Array

    @classmethod
    def of(cls, runs: RunValues) -> Deviations:
        """Find them in two passes over each run."""
        lengths = runs.lengths
        values = runs.without_gaps(runs.numbers()).astype(np.float64, copy=False)
        bounds = np.cumsum(lengths) - lengths
        if len(lengths) == 0:
            return cls(runs.counts, np.zeros(len(runs.counts)), np.zeros(len(runs.counts)))
        means = np.add.reduceat(values, bounds) / lengths
        squares = np.repeat(means, lengths)
        np.subtract(values, squares, out=squares)
        np.multiply(squares, squares, out=squares)
        m2 = _finite(np.add.reduceat(squares, bounds))
        return cls(runs.counts, runs.spread(means, 0.0), runs.spread(m2, 0.0))

    @classmethod
    def nothing(cls, count: int, kind: ColumnType) -> Self:
        """Return entries without a value."""
        return cls(np.zeros(count, np.int64), np.zeros(count), np.zeros(count))

    def grouped(self, groups: Grouping) -> Self:
        """Put them together by the formula of Chan, Golub and LeVeque."""
        if groups.is_trivial:
            return self
        counts = groups.reduce(np.add, self.counts)
        share = self.counts / np.maximum(counts, 1)[groups.ids]
        base = self.means[groups.firsts()]  # so that equal means stay what they are
        means = base + groups.reduce(np.add, share * (self.means - base[groups.ids]))
        between = self.counts * (self.means - means[groups.ids]) ** 2
        return type(self)(counts, means, _finite(groups.reduce(np.add, self.m2 + between)))

    def sample(self) -> Array:
        """Return the sample's standard deviation; says nothing of fewer than two values."""
        return np.sqrt(self.m2 / np.maximum(self.counts - 1, 1))


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)
