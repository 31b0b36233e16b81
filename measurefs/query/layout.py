"""The blocks that a query touches, of all parts together, in order of series and time.

Blocks of one part never share a row's key, but those of different parts may. Blocks of a series whose times overlap
form a cluster: only there can a row supersede another, so only there are versions read and rows sorted.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from measurefs.codec.cached import cached_property
from measurefs.part.part import Extent, join_blocks
from measurefs.part.runs import Positions
from measurefs.part.series import SeriesTable
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
    as_stored : bool
        Whether the extents follow one another, each with its blocks as they lie in it.
    """

    def __init__(self, extents: Sequence[Extent], query: Query) -> None:
        self.extents = list(extents)
        self.series, codes, self.rows, self.low, self.high = join_blocks(
            [extent.blocks for extent in extents]
        )
        counts = np.array([len(extent.places) for extent in extents])
        self.codes = codes.astype(np.int64)
        self.extent = np.arange(len(counts)).repeat(counts)
        self.place = np.arange(len(codes)) - (counts.cumsum() - counts)[self.extent]
        self._one_part = len({id(extent.part) for extent in extents}) == 1
        ranks = _listed(self.series, query)
        self.as_stored = self._one_part and ranks is None
        if not self.as_stored:
            by_series = self.codes if ranks is None else ranks[self.codes]
            self._take(np.lexsort((self.low, self.codes, by_series)))

    def _take(self, order: Positions) -> None:
        for name in ("extent", "place", "codes", "rows", "low", "high"):
            setattr(self, name, getattr(self, name)[order])

    @cached_property
    def ordinals(self) -> Numbers:
        """The place of each block's series in this order."""
        codes = self.codes
        return np.concatenate(([0], (codes[1:] != codes[:-1]).cumsum()))

    @cached_property
    def clusters(self) -> Numbers:
        """The number of each block's cluster; not decreasing."""
        return np.arange(len(self.rows)) if self._one_part else self._find_clusters()

    @cached_property
    def shared(self) -> npt.NDArray[np.bool_]:
        """Whether the block's cluster has blocks of several parts."""
        if self._one_part:
            return np.zeros(len(self.rows), np.bool_)
        return np.asarray(np.bincount(self.clusters)[self.clusters] > 1)

    def by_extent(self, chosen: Positions) -> Iterator[tuple[int, Positions]]:
        """Yield the extents that hold some blocks, and the blocks of each as they lie in it."""
        extents = self.extent[chosen]
        if not self.as_stored:
            order = np.lexsort((self.place[chosen], extents))
            chosen, extents = chosen[order], extents[order]
        cuts = (extents[1:] != extents[:-1]).nonzero()[0] + 1
        for first, stop in itertools.pairwise([0, *cuts.tolist(), len(chosen)]):
            if first < stop:
                yield int(extents[first]), chosen[first:stop]

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
    shape = query.shape
    listed = query.condition.listed() if shape.order == "series" and len(shape.entity) == 1 else None
    if listed is None or len(series) == 1:
        return None
    (entities,) = series.entities.columns
    return np.asarray(pc.index_in(entities, value_set=listed).fill_null(len(listed))).astype(np.int64)
