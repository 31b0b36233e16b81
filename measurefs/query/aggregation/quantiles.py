"""Quantiles: exact, from all values, or approximate, from how many values are in each of some narrow bins."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Self

import numpy as np

from measurefs.codec.types import ColumnType
from measurefs.query.aggregation.groups import Array, Grouping, Ints, dense, mixed, sorted_by_code
from measurefs.query.aggregation.partials import Partial
from measurefs.query.aggregation.run_values import RunValues

_DROPPED_BITS = 46
_BINS = 1 << (63 - _DROPPED_BITS)
"""Bins of one sign: a bin for each exponent and each value of the mantissa's first 6 bits."""
_INFINITY = 0x7FF << 6
_ALL_BINS = 2 * _BINS
_MOST_PADDING = 2
_FEW = 1_000


@dataclasses.dataclass(frozen=True, eq=False)
class Sample(Partial):
    """All values of u entries.

    Attributes
    ----------
    entries : int64 array, shape (v,)
        The entry of each value.
    values : float64 array, shape (v,)
    count : int
        The number of entries, u.
    """

    entries: Ints
    values: Array
    count: int

    @classmethod
    def of(cls, runs: RunValues) -> Sample:
        """Take the values of runs."""
        values = runs.without_gaps(runs.numbers()).astype(np.float64)
        return cls(np.repeat(np.arange(len(runs.counts)), runs.counts), values, len(runs.counts))

    @classmethod
    def nothing(cls, count: int, kind: ColumnType) -> Self:
        """Return entries without a value."""
        return cls(np.zeros(0, np.int64), np.zeros(0), count)

    @classmethod
    def joined(cls, pieces: Sequence[Self]) -> Self:
        """Join what is known of some entries and of others."""
        entries, count = _joined_entries([(piece.entries, piece.count) for piece in pieces])
        return cls(entries, np.concatenate([piece.values for piece in pieces]), count)

    def grouped(self, groups: Grouping) -> Self:
        """Let the values belong to groups."""
        return type(self)(groups.ids[self.entries], self.values, groups.count)

    def ordered(self) -> Ordered:
        """Sort the values of each entry."""
        counts = np.bincount(self.entries, minlength=self.count)
        widest = int(counts.max(initial=0))
        if self.count * widest <= _MOST_PADDING * len(self.values) + _FEW:
            return self._ordered_in_rows(counts, widest)
        order = np.argsort(self.values)
        order = order[sorted_by_code(self.entries[order], self.count)]
        return Ordered(self.values[order], np.cumsum(counts) - counts, counts)

    def _ordered_in_rows(self, counts: Ints, widest: int) -> Ordered:
        """Sort each entry's values in a row of its own, filled up with NaN, which comes last."""
        starts = np.cumsum(counts) - counts
        rows = np.arange(self.count) * widest
        table = np.full(self.count * widest, np.nan)
        order = sorted_by_code(self.entries, self.count)
        table[np.repeat(rows - starts, counts) + np.arange(len(order))] = self.values[order]
        return Ordered(np.sort(table.reshape(self.count, widest), axis=1).ravel(), rows, counts)


@dataclasses.dataclass(frozen=True, eq=False)
class Ordered:
    """The values of g groups, those of each in order, NaN last.

    Attributes
    ----------
    values : float64 array
    starts, counts : int64 array, shape (g,)
        Where each group's values begin, and how many they are.
    """

    values: Array
    starts: Ints
    counts: Ints

    def quantile(self, fraction: float) -> Array:
        """Return a quantile of each group, by linear interpolation; NaN if a value is, or there is none."""
        if len(self.values) == 0:
            return np.full(len(self.counts), np.nan)
        low, share = _places(self.counts, fraction)
        first = np.minimum(self.starts + low, len(self.values) - 1)
        second = np.minimum(first + (share > 0), len(self.values) - 1)
        greatest = self.values[np.maximum(self.starts + self.counts - 1, 0)]
        found = _between(self.values[first], self.values[second], share)
        return np.where((self.counts == 0) | np.isnan(greatest), np.nan, found)


@dataclasses.dataclass(frozen=True, eq=False)
class Bins(Partial):
    """How many values of u entries are in which bin: the memory they take does not grow with the values.

    A bin's values differ by less than 1/64 of themselves, so that its middle is within 0.8 % of any of them. Zeros
    have a bin of their own (with what is nearer to zero than 1e-308), and so have the infinities, and NaN.

    Attributes
    ----------
    entries, bins, counts : int64 array, shape (b,)
        Bins are numbered in the order of the values.
    count : int
        The number of entries, u.
    """

    entries: Ints
    bins: Ints
    counts: Ints
    count: int

    @classmethod
    def of(cls, runs: RunValues) -> Bins:
        """Count the values of runs."""
        bins = _bins(runs.without_gaps(runs.numbers()).astype(np.float64, copy=False))
        entries = np.repeat(np.arange(len(runs.counts)), runs.counts)
        return cls._counted(entries, bins, None, len(runs.counts))

    @classmethod
    def nothing(cls, count: int, kind: ColumnType) -> Self:
        """Return entries without a value."""
        none = np.zeros(0, np.int64)
        return cls(none, none, none, count)

    @classmethod
    def joined(cls, pieces: Sequence[Self]) -> Self:
        """Join what is known of some entries and of others."""
        entries, count = _joined_entries([(piece.entries, piece.count) for piece in pieces])
        bins, counts = (
            np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("bins", "counts")
        )
        return cls(entries, bins, counts, count)

    def grouped(self, groups: Grouping) -> Self:
        """Add up the bins of each group."""
        return self._counted(groups.ids[self.entries], self.bins, self.counts, groups.count)

    @classmethod
    def _counted(cls, entries: Ints, bins: Ints, counts: Ints | None, count: int) -> Self:
        low = int(bins.min(initial=_ALL_BINS)) if len(bins) else 0
        codes, bound = mixed(
            [(entries, count), (bins - low, int(bins.max(initial=low)) - low + 1)], len(entries)
        )
        ids, distinct = dense(codes, bound)
        example = np.empty(distinct, np.int64)
        example[ids] = np.arange(len(ids))
        totals = np.bincount(ids, counts, distinct).astype(np.int64)
        return cls(entries[example], bins[example], totals, count)

    def ordered(self) -> OrderedBins:
        """Sort the bins of each entry."""
        codes, _ = mixed([(self.entries, self.count), (self.bins, _ALL_BINS)], len(self.bins), in_order=True)
        order = np.argsort(codes)
        total = np.bincount(self.entries, self.counts, self.count).astype(np.int64)
        return OrderedBins(_middles(self.bins[order]), np.cumsum(self.counts[order]), total)


@dataclasses.dataclass(frozen=True, eq=False)
class OrderedBins:
    """The bins of g groups, those of each in order.

    Attributes
    ----------
    values : float64 array, shape (b,)
        The middle of each bin.
    reached : int64 array, shape (b,)
        How many values are in the bins up to and including it, those of earlier groups counted too.
    counts : int64 array, shape (g,)
        How many values each group has.
    """

    values: Array
    reached: Ints
    counts: Ints

    def quantile(self, fraction: float) -> Array:
        """Return a quantile of each group; NaN if a value is, or there is none."""
        if len(self.values) == 0:
            return np.full(len(self.counts), np.nan)
        before = np.cumsum(self.counts) - self.counts
        low, share = _places(self.counts, fraction)
        found = _between(self._value(before + low), self._value(before + low + (share > 0)), share)
        greatest = self._value(np.maximum(before + self.counts - 1, 0))
        return np.where((self.counts == 0) | np.isnan(greatest), np.nan, found)

    def _value(self, places: Ints) -> Array:
        return self.values[np.minimum(np.searchsorted(self.reached, places, "right"), len(self.values) - 1)]


def _joined_entries(pieces: Sequence[tuple[Ints, int]]) -> tuple[Ints, int]:
    counts = [count for _, count in pieces]
    offsets = np.cumsum([0, *counts[:-1]])
    entries = [numbers + offset for (numbers, _), offset in zip(pieces, offsets.tolist(), strict=True)]
    return np.concatenate(entries), sum(counts)


def _places(counts: Ints, fraction: float) -> tuple[Ints, Array]:
    """Return the value below a quantile, counted from 0, and the share of the next one in it."""
    place = np.maximum(counts - 1, 0) * fraction
    low = np.floor(place)
    return low.astype(np.int64), place - low


def _between(low: Array, high: Array, share: Array) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):
        step = high - low
        plain = np.where(share < 0.5, low + step * share, high - step * (1 - share))
        weighed = low * (1 - share) + high * share
    found = np.where(np.isfinite(step), plain, weighed)
    return np.where((low == high) | (share == 0), low, found)


def _bins(values: Array) -> Ints:
    """Return the bins of floats: their upper bits, mirrored for negative ones."""
    magnitude = (values.view(np.int64) & np.iinfo(np.int64).max) >> _DROPPED_BITS
    magnitude[np.isnan(values)] = _BINS - 1
    negative = (values < 0) & (magnitude > 0)
    return np.where(negative, _BINS - magnitude, _BINS + magnitude)


def _middles(bins: Ints) -> Array:
    """Return the middle of each bin."""
    magnitude = np.abs(bins - _BINS)
    middle = (magnitude << _DROPPED_BITS) + (1 << (_DROPPED_BITS - 1))
    found = middle.view(np.float64)
    found = np.where(magnitude == 0, 0.0, np.where(magnitude == _INFINITY, np.inf, found))
    return np.where(magnitude == _BINS - 1, np.nan, np.where(bins < _BINS, -found, found))
