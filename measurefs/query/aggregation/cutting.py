"""Runs of rows cut where a bucket of time ends or a tag changes, mostly without looking at each row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from measurefs.part.runs import lower_bounds, positions_of
from measurefs.query.aggregation.buckets import Buckets, Grid

Positions = npt.NDArray[np.int64]

_SEARCH = 64
"""How many rows may be looked at in the time that one binary search takes."""


class Cut(NamedTuple):
    """Runs cut into shorter ones, none of them empty, in the same order.

    Attributes
    ----------
    starts, stops : int64 array
        The rows ``[start, stop)`` of each.
    parents : int64 array or None
        Which run each was a part of; None if none was cut.
    """

    starts: Positions
    stops: Positions
    parents: Positions | None

    def of(self, values: Positions) -> Positions:
        """Return, for each run, what these values (one for each of the runs before) say."""
        return values if self.parents is None else values[self.parents]


def cut_at(starts: Positions, stops: Positions, rows: Positions) -> Cut:
    """Cut runs before each of these (increasing) rows."""
    first = np.searchsorted(rows, starts, "right")
    inside = np.maximum(np.searchsorted(rows, stops, "left") - first, 0)
    if not inside.any():
        return Cut(starts, stops, None)
    begins = np.empty(len(starts) + int(inside.sum()), np.int64)
    heads = np.cumsum(inside + 1) - (inside + 1)
    tails = np.ones(len(begins), np.bool_)
    tails[heads] = False
    begins[heads], begins[tails] = starts, rows[positions_of(first, first + inside)]
    ends = np.append(begins[1:], 0)
    ends[heads[1:] - 1], ends[-1] = stops[:-1], stops[-1]
    return Cut(begins, ends, np.repeat(np.arange(len(starts)), inside + 1))


def changes(
    values: npt.NDArray[np.generic], valid: npt.NDArray[np.bool_] | None, starts: Positions
) -> Positions:
    """Return the rows whose value is not that of the row before, but for the first rows of runs.

    Parameters
    ----------
    values : array
        From the first row of the first run on.
    valid : bool array or None
        Which of them are not null.
    starts : int64 array
        Where runs begin, increasing.
    """
    differs = values[1:] != values[:-1]
    if valid is not None:
        differs &= valid[1:] & valid[:-1]
        differs |= valid[1:] != valid[:-1]
    first = int(starts[0]) + 1
    differs[starts[1:] - first] = False
    return np.flatnonzero(differs) + first if differs.any() else starts[:0]


class Bucketed(NamedTuple):
    """The buckets of some runs or blocks, numbered.

    Attributes
    ----------
    numbers : int64 array
        The number of each one's bucket.
    grid : Grid
        That has these numbers.
    """

    numbers: Positions
    grid: Grid

    def starts(self, which: Positions) -> Positions:
        """Return when the buckets of some of them begin."""
        return self.grid.starts(self.numbers[which])


def cut_at_buckets(
    times: npt.NDArray[np.int64], starts: Positions, stops: Positions, buckets: Buckets
) -> tuple[Cut, Bucketed]:
    """Cut runs, in each of which times increase, so that each is within one bucket; return their buckets too.

    Parameters
    ----------
    times : int64 array
        Of all rows.
    starts, stops : int64 array
        The runs; starts increase.
    buckets : Buckets
    """
    firsts, lasts = times[starts], times[stops - 1]
    grid = buckets.grid(int(firsts.min()), int(lasts.max()))
    low, high = grid.numbers(firsts), grid.numbers(lasts)
    edges = (high.view(np.uint64) - low.view(np.uint64)).astype(np.float64)
    total = edges.sum()
    if total == 0:
        return Cut(starts, stops, None), Bucketed(low, grid)
    if total * _SEARCH > (stops - starts).sum():
        begin = int(starts[0])
        numbers = grid.numbers(times[begin : int(stops[-1])])
        cut = cut_at(starts, stops, changes(numbers, None, starts))
        return cut, Bucketed(numbers[cut.starts - begin], grid)
    parents, nth = _children((high - low) + 1)
    numbers = low[parents] + nth
    begins = starts[parents]
    inner = np.flatnonzero(nth)
    begins[inner] = lower_bounds(times, begins[inner], stops[parents[inner]], grid.starts(numbers[inner]))
    ends = np.append(begins[1:], 0)
    last = np.append(nth[1:] == 0, True)
    ends[last] = stops[parents[last]]
    held = np.flatnonzero(begins < ends)
    return Cut(begins[held], ends[held], parents[held]), Bucketed(numbers[held], grid)


def _children(counts: Positions) -> tuple[Positions, Positions]:
    """Return, for so many parts of each run, the run and which of its parts it is."""
    parents = np.repeat(np.arange(len(counts)), counts)
    return parents, np.arange(len(parents)) - np.repeat(np.cumsum(counts) - counts, counts)
