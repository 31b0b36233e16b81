"""Cutting what a query touches into slices of about so many rows, one after another in the order that is wanted.

A slice is some blocks and a span of time. In order of series it is some consecutive series, cut within one only where
no row can supersede another across the cut; in order of time it is a span of time of all series. What lies where is
known of blocks only, so a span of time is an estimate: reading may shorten it (see `TimeSlices.shorten`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from measurefs.part.runs import Positions
from measurefs.query.layout import Layout

Mask = npt.NDArray[np.bool_]


class Slice(NamedTuple):
    """Blocks of a layout, increasing, and a span of time, ``[start, end)``."""

    blocks: Positions
    start: int
    end: int


def series_slices(
    layout: Layout, chosen: Positions, rows: int, counts: Positions | None = None
) -> Iterator[Positions]:
    """Yield blocks in their order, whole clusters, about so many rows at a time.

    Parameters
    ----------
    layout : Layout
    chosen : int64 array
        Blocks of it, increasing.
    rows : int
    counts : int64 array, optional
        How many rows each of them counts for; default is what it has.
    """
    total = (layout.rows[chosen] if counts is None else counts).cumsum()
    if len(chosen) and total[-1] <= rows:
        yield chosen
        return
    clusters = layout.clusters[chosen]
    first, before = 0, 0
    while first < len(chosen):
        stop = max(int(np.searchsorted(total, before + rows, "right")), first + 1)
        if stop < len(chosen) and clusters[stop] == clusters[stop - 1]:
            begin = int(np.searchsorted(clusters, clusters[stop]))
            stop = begin if begin > first else int(np.searchsorted(clusters, clusters[stop], "right"))
        yield chosen[first:stop]
        first, before = stop, int(total[stop - 1])


class TimeSlices:
    """Consecutive spans of time, forwards or backwards: `take` one, perhaps `shorten` it, `advance` behind it.

    Backwards a time t counts as ``~t``, so that later times come first and all else is the same.

    Parameters
    ----------
    layout : Layout
    chosen : int64 array
        Blocks of it, increasing.
    start, end : int
        Times, ``[start, end)``.
    descending : bool
    """

    def __init__(self, layout: Layout, chosen: Positions, start: int, end: int, *, descending: bool) -> None:
        self._chosen = chosen
        self._descending = descending
        low, high = layout.low[chosen], layout.high[chosen]
        self._low, self._high = (~high, ~low) if descending else (low, high)
        self._rows = layout.rows[chosen]
        self._series = layout.ordinals[chosen]
        self._begins = (layout.ends if descending else layout.begins)[chosen]
        self._next, self._end = (-end, -start) if descending else (start, end)
        self._taken = self._next

    def _between(self, start: int, end: int) -> tuple[int, int]:
        return (-end, -start) if self._descending else (start, end)

    def take(self, rows: int, *, exactly: bool = False) -> Slice | None:
        """Return the next span of about so many rows, None when there is none.

        Parameters
        ----------
        rows : int
        exactly : bool
            No more rows than these matter, and all count: blocks whose first row comes later are left out.
        """
        live = (self._high >= self._next) & (self._low < self._end)
        if self._next >= self._end or not live.any():
            return None
        end = self._estimate(live, rows)
        live &= self._low < end
        if exactly:
            live, end = self._first(live, rows, end)
        self._taken = end
        return Slice(self._chosen[live], *self._between(self._next, end))

    def shorten(self, taken: Slice, times: npt.NDArray[np.int64], rows: int) -> Slice:
        """Return what to read of a span that turns out to have far more rows: about so many of them.

        Parameters
        ----------
        taken : Slice
            The last one taken.
        times : int64 array
            Of rows in it, more than `rows`.
        rows : int
        """
        keys = ~times if self._descending else times
        cut = max(int(np.partition(keys, rows)[rows]), self._next + 1)
        self._taken = cut
        return Slice(taken.blocks, *self._between(self._next, cut))

    def advance(self) -> None:
        """Go on behind the span that was taken."""
        self._next = self._taken

    def _first(self, live: Mask, rows: int, end: int) -> tuple[Mask, int]:
        """Leave out blocks before whose first rows there are enough others, and what is later than these."""
        known = (live & self._begins & (self._low >= self._next)).nonzero()[0]
        if len(known) <= rows:
            return live, end
        keys = np.unique(np.stack([self._low[known], self._series[known]]), axis=1)
        if keys.shape[1] <= rows:
            return live, end
        time, series = keys[:, rows - 1].tolist()
        late = (self._low > time) | ((self._low == time) & (self._series > series))
        return live & ~late, min(end, time + 1)

    def _estimate(self, live: Mask, rows: int) -> int:
        """Return the end of a span with so many rows, if the rows of a block lie at equal distances."""
        low = np.maximum(self._low[live].astype(np.float64) - self._next, 0)
        high = self._high[live].astype(np.float64) - self._next + 1
        span = high - (self._low[live].astype(np.float64) - self._next)
        density = self._rows[live] / np.maximum(span, 1)
        if float((density * (high - low)).sum()) <= rows:
            return self._end
        times = np.concatenate([low, high])
        order = np.argsort(times, kind="stable")
        times = times[order]
        slope = np.cumsum(np.concatenate([density, -density])[order])
        count = np.append(0, np.cumsum(slope[:-1] * np.diff(times)))
        place = int(np.searchsorted(count, rows))
        place = min(max(place, 1), len(times) - 1)
        missing = rows - count[place - 1]
        until = times[place - 1] + (missing / slope[place - 1] if slope[place - 1] > 0 else 0)
        return min(max(self._next + int(until), self._next + 1), self._end)
