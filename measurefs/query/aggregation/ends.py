"""First and last values, and the first and last strings in alphabetical order."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec.memory import array_of
from measurefs.codec.types import ColumnType
from measurefs.query.aggregation.groups import Grouping, Ints
from measurefs.query.aggregation.partials import GREATEST, LEAST, Extremes, Partial, number_type
from measurefs.query.aggregation.run_values import RunValues
from measurefs.query.aggregation.sorting import order_of
from measurefs.query.aggregation.vectors import Values


@dataclasses.dataclass(frozen=True, eq=False)
class Ends(Partial):
    """The first or the last value by time; where times are equal, by series; where these are, by entry.

    Attributes
    ----------
    values : array or pyarrow.Array
    times : int64 array
        When that was.
    series : uint64 array
        The id of its series.
    present : bool array
        Where there is a value; the others say nothing.
    """

    values: Values
    times: Ints
    series: npt.NDArray[np.uint64]
    present: npt.NDArray[np.bool_]
    last: ClassVar[bool]

    @classmethod
    def of(cls, runs: RunValues, times: Ints, series: npt.NDArray[np.uint64]) -> Self:
        """Find those of runs.

        Parameters
        ----------
        runs : RunValues
        times : int64 array
            Of all rows.
        series : uint64 array, shape (u,)
            The id of each run's series.
        """
        rows = runs.rows(last=cls.last)
        values, found = runs.vector.at(rows), times[rows]
        if runs.held is None:
            return cls(values, found, series, np.ones(len(rows), np.bool_))
        present = np.zeros(len(series), np.bool_)
        present[runs.held] = True
        if isinstance(values, np.ndarray):
            values = runs.spread(values, 0)
        else:
            values = values.take(pa.array(np.cumsum(present) - 1, mask=~present))
        return cls(values, runs.spread(found, 0), series, present)

    @classmethod
    def nothing(cls, count: int, kind: ColumnType) -> Self:
        """Return entries without a value."""
        values = np.zeros(count, number_type(kind)) if kind.is_number else pa.nulls(count, kind.arrow)
        times, series = np.zeros(count, np.int64), np.zeros(count, np.uint64)
        return cls(values, times, series, np.zeros(count, np.bool_))

    def grouped(self, groups: Grouping) -> Self:
        """Find those of groups."""
        if groups.is_trivial:
            return self
        chosen = self._chosen(groups)
        present = self.present[chosen]
        return type(self)(_take(self.values, chosen), self.times[chosen], self.series[chosen], present)

    def _chosen(self, groups: Grouping) -> Ints:
        """Return the entry of each group that counts; any where no entry has a value."""
        ufunc = np.maximum if self.last else np.minimum
        times = np.where(self.present, self.times, LEAST if self.last else GREATEST)
        best = groups.reduce(ufunc, times)[groups.ids]
        found = groups.ordered(self.present & (times == best))
        entries = np.flatnonzero(found)
        if groups.order is not None:
            entries = groups.order[entries]
        chosen = groups.firsts().copy()
        ids = groups.ids[entries]
        if len(entries) and (ids[1:] == ids[:-1]).any():
            starts = np.append(0, np.flatnonzero(ids[1:] != ids[:-1]) + 1)
            series = self.series[entries]
            kept = series == np.repeat(ufunc.reduceat(series, starts), np.diff(starts, append=len(ids)))
            entries = entries[kept]
            ids = ids[kept]
        # Of several that are equal in all this the first, or the last, stays: written last, it overwrites the others.
        step = 1 if self.last else -1
        chosen[ids[::step]] = entries[::step]
        return chosen


class First(Ends):
    """The first value."""

    last = False


class Last(Ends):
    """The last value."""

    last = True


def _take(values: Values, positions: Ints) -> Values:
    return values[positions] if isinstance(values, np.ndarray) else values.take(array_of(positions))


@dataclasses.dataclass(frozen=True, eq=False)
class _TextExtremes(Extremes):
    """Of strings or binaries, byte by byte; null where there is no value."""

    values: pa.Array

    @classmethod
    def of(cls, runs: RunValues) -> Self:
        """Find those of runs."""
        values, dictionary = runs.text()
        codes, lengths = runs.without_gaps(values), runs.lengths
        if len(codes) == 0:
            return cls(pa.nulls(len(runs.counts), dictionary.type))
        used = np.zeros(len(dictionary), np.bool_)
        used[codes] = True
        words = dictionary.take(array_of(np.flatnonzero(used)))
        order, ranks = _ranks(words)
        by_code = np.zeros(len(used), np.int64)
        by_code[used] = ranks
        found = cls.ufunc.reduceat(by_code[codes], np.cumsum(lengths) - lengths)
        return cls(_at_ranks(words, order, runs.spread(found, -1)))

    @classmethod
    def nothing(cls, count: int, kind: ColumnType) -> Self:
        """Return entries without a value."""
        return cls(pa.nulls(count, kind.arrow))

    def grouped(self, groups: Grouping) -> Self:
        """Find those of groups."""
        if groups.is_trivial:
            return self
        order, ranks = _ranks(self.values)
        ranks[np.asarray(self.values.is_null())] = self.none
        found = groups.reduce(self.ufunc, ranks)
        return type(self)(_at_ranks(self.values, order, np.where(found == self.none, -1, found)))


class TextLeast(_TextExtremes):
    """The first string in order."""

    ufunc = np.minimum
    none = GREATEST


class TextGreatest(_TextExtremes):
    """The last string in order."""

    ufunc = np.maximum
    none = LEAST


def _ranks(values: pa.Array) -> tuple[Ints, Ints]:
    """Return the order of values, and the place of each in it."""
    order = order_of(values)
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return order, ranks


def _at_ranks(values: pa.Array, order: Ints, ranks: Ints) -> pa.Array:
    """Return the values in these places of their order; -1 is null."""
    absent = ranks < 0
    found = np.zeros(len(ranks), np.int64)
    found[~absent] = order[ranks[~absent]]
    return values.take(pa.array(found, mask=absent))
