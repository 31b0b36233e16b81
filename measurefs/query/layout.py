"""The blocks that a query touches, of all parts together, in order of series and time.

Blocks of one part never share a row's key, but those of different parts may. Blocks of a series whose times overlap
form a cluster: only there can a row supersede another, so only there are versions read and rows sorted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from measurefs.part.part import Extent
from measurefs.part.runs import Positions
from measurefs.part.series import SeriesTable, merge_series
from measurefs.query.plan import Query

Numbers = npt.NDArray[np.int64]


class Layout:
    """Blocks in order of (series, first time), as arrays of length b.

    Attributes
    ----------
    extents : list of Extent
    series : SeriesTable
        The series of all.
    extent, place : int64 array
        The extent that holds each block, and its position among the blocks of that.
    codes : int64 array
        The position of each block's series in `series`.
    rows, low, high : int64 array
        Of each block: rows, first and last time.
    ordinals : int64 array
        The place of each block's series in this order.
    clusters : int64 array
        The number of each block's cluster; not decreasing.
    shared : bool array
        Whether the block's cluster has blocks of several parts.
    """

    def __init__(self, extents: Sequence[Extent], query: Query) -> None:
        self.extents = list(extents)
        self.series, mappings = merge_series([extent.blocks.series for extent in extents])
        blocks = [extent.blocks for extent in extents]
        counts = [len(each.rows) for each in blocks]
        self.extent = np.repeat(np.arange(len(blocks)), counts)
        self.place = np.concatenate([np.arange(count) for count in counts])
        self.codes = np.concatenate([to[each.codes] for to, each in zip(mappings, blocks, strict=True)])
        self.codes = self.codes.astype(np.int64)
        self.rows, self.low, self.high = (
            np.concatenate([getattr(each, name) for each in blocks])
            for name in ("rows", "min_times", "max_times")
        )
        ranks = _listed(self.series, query)
        one_part = len({id(extent.part) for extent in extents}) == 1
        if not one_part or ranks is not None:
            by_series = self.codes if ranks is None else ranks[self.codes]
            self._take(np.lexsort((self.low, self.codes, by_series)))
        self.ordinals = np.cumsum(np.append(0, self.codes[1:] != self.codes[:-1]))
        self.clusters = np.arange(len(self.rows)) if one_part else self._find_clusters()
        self.shared = np.bincount(self.clusters)[self.clusters] > 1

    def _take(self, order: Positions) -> None:
        for name in ("extent", "place", "codes", "rows", "low", "high"):
            setattr(self, name, getattr(self, name)[order])

    def by_extent(self, chosen: Positions) -> Iterator[tuple[int, Positions]]:
        """Yield the extents that hold some blocks, and the blocks of each as they lie in it."""
        extents = self.extent[chosen]
        order = np.lexsort((self.place[chosen], extents))
        firsts = np.flatnonzero(np.diff(extents[order], prepend=-1))
        for blocks in np.split(chosen[order], firsts[1:]) if len(chosen) else ():
            yield int(self.extent[blocks[0]]), blocks

    def _find_clusters(self) -> Numbers:
        """Return the number of each block's cluster: one begins where all before it in the series have ended."""
        times = np.unique(np.concatenate([self.low, self.high]))
        series = self.ordinals * len(times)
        ends = np.maximum.accumulate(series + np.searchsorted(times, self.high))
        begins = np.ones(len(ends), np.bool_)
        begins[1:] = (series + np.searchsorted(times, self.low))[1:] > ends[:-1]
        return np.cumsum(begins) - 1


def _listed(series: SeriesTable, query: Query) -> Numbers | None:
    """Return the place of each series in the order in which the caller listed them, None if they were not listed."""
    listed = query.condition.listed() if query.order == "series" and len(query.entity) == 1 else None
    if listed is None or len(series) == 1:
        return None
    (entities,) = series.entities.columns
    return np.asarray(pc.index_in(entities, value_set=listed).fill_null(len(listed))).astype(np.int64)
