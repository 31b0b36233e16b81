"""Where blocks of different parts overlap: blocks cut into pieces, each in a stretch of one block or of several.

Only rows of stretches that several blocks cover can supersede each other. Where these are is found out before any row
is read, from the series and the first and last times of blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from measurefs.part.runs import distinct

Numbers = npt.NDArray[np.int64]


class Pieces(NamedTuple):
    """Pieces of blocks in order of (series, time), as arrays of length p; none is empty, but it may have no rows.

    Attributes
    ----------
    parents : int64 array
        The block that each is of.
    low, high : int64 array
        The first and the last time that may be in it.
    clusters : int64 array
        Its cluster, not decreasing: those of one stretch share it, if several blocks cover that.
    """

    parents: Numbers
    low: Numbers
    high: Numbers
    clusters: Numbers


def pieces_of(series: Numbers, low: Numbers, high: Numbers) -> Pieces | None:
    """Cut blocks where another one of their series begins or ends to overlap; None if none overlap.

    Parameters
    ----------
    series : int64 array
        The place of each block's series; not decreasing.
    low, high : int64 array
        The first and the last time of each; within a series, low does not decrease.
    """
    if not ((series[1:] == series[:-1]) & (low[1:] <= high[:-1])).any():
        return None
    times = distinct(np.sort(np.concatenate([low, high])))
    width = 2 * len(times)
    begins = series * width + 2 * times.searchsorted(low)
    ends = series * width + 2 * times.searchsorted(high) + 1
    opened, closed = _shared(begins, ends)
    first = closed.searchsorted(begins)
    count = opened.searchsorted(ends) - first
    parents = np.repeat(np.arange(len(low)), 2 * count + 1)
    nth = np.arange(len(parents)) - np.repeat(np.cumsum(2 * count + 1) - (2 * count + 1), 2 * count + 1)
    stretch = first[parents] + nth // 2
    shared = nth % 2 == 1
    least, most = times[opened % width // 2], times[closed % width // 2]
    piece_low, piece_high, held = _bounds(
        low[parents], high[parents], nth, 2 * count[parents], stretch, least, most
    )
    parents, stretch, shared = parents[held], stretch[held], shared[held]
    piece_low, piece_high = piece_low[held], piece_high[held]
    order = np.lexsort((piece_low, series[parents]))
    parents, stretch, shared = parents[order], stretch[order], shared[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = ~(shared[1:] & shared[:-1] & (stretch[1:] == stretch[:-1]))
    return Pieces(parents, piece_low[order], piece_high[order], np.cumsum(new) - 1)


def _shared(begins: Numbers, ends: Numbers) -> tuple[Numbers, Numbers]:
    """Return where the stretches that several blocks cover begin and end."""
    events = np.concatenate([begins, ends])
    order = np.argsort(events, kind="stable")
    steps = np.ones(len(events), np.int64)
    steps[len(begins) :] = -1
    several = np.cumsum(steps[order]) > 1
    before = np.concatenate(([False], several[:-1]))
    events = events[order]
    return events[several & ~before], events[before & ~several]


def _bounds(
    low: Numbers, high: Numbers, nth: Numbers, last: Numbers, stretch: Numbers, least: Numbers, most: Numbers
) -> tuple[Numbers, Numbers, npt.NDArray[np.bool_]]:
    """Return the bounds of pieces, and which of them are any.

    Of each block the odd pieces are in shared stretches, and the even ones before, between and behind these.
    """
    here = np.minimum(stretch, len(least) - 1)
    shared = nth % 2 == 1
    after_last, before_next = most[stretch - 1], least[here]
    begin = np.where(shared, np.maximum(low, before_next), np.where(nth == 0, low, after_last + 1))
    end = np.where(shared, np.minimum(high, most[here]), np.where(nth == last, high, before_next - 1))
    held = shared | (nth == 0) | (after_last < high)
    held &= shared | (nth == last) | (before_next > low)
    return begin, end, held & (begin <= end)
