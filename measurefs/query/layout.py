"""The blocks that a query touches, of all parts together, in order of series and time.

Blocks of one part never share a row's key, but those of different parts may. Where blocks of a series overlap they are
cut into pieces (see `overlaps`), and those in a stretch of time that several cover form a cluster: only there can a row
supersede another, so only there are rows sorted, and versions read unless their statistics tell enough.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from measurefs.codec import compute as pc
from measurefs.codec.cached import cached_property
from measurefs.part.part import VERSION, Extent, join_blocks
from measurefs.part.runs import Positions, distinct
from measurefs.part.series import SeriesTable
from measurefs.query.overlaps import pieces_of
from measurefs.query.plan import Query

Numbers = npt.NDArray[np.int64]


class Layout:
    """Blocks in order of (series, first time), as arrays of length b; pieces of blocks where those overlap.

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
        Of each block: rows, first and last time. Of a piece, rows are an estimate, and no row need be at its ends.
    clusters : int64 array
        The number of each block's cluster; not decreasing.
    shared : bool array
        Whether the block's cluster has blocks of several parts.
    begins, ends : bool array
        Whether it has the first row, or the last one, of a whole block.
    cut : bool array
        Whether it is a piece of a block, or shares its cluster with others.
    whole : bool
        Whether no block is cut into pieces.
    stored_rows : int
        How many rows the blocks have that are touched, whole ones.
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
        self.stored_rows = int(self.rows.sum())
        one_part = len({id(extent.part) for extent in extents}) == 1
        ranks = _listed(self.series, query)
        self.as_stored = one_part and ranks is None
        if not self.as_stored:
            by_series = self.codes if ranks is None else ranks[self.codes]
            self._take(np.lexsort((self.low, self.codes, by_series)))
        self.whole = one_part or not self._cut(query.start, query.end)
        if self.whole:
            self.clusters = np.arange(len(codes))
            self.shared = self.cut = np.zeros(len(codes), np.bool_)
            self.begins = self.ends = np.ones(len(codes), np.bool_)

    def _take(self, order: Positions) -> None:
        for name in ("extent", "place", "codes", "rows", "low", "high"):
            setattr(self, name, getattr(self, name)[order])

    def _cut(self, start: int, end: int) -> bool:
        """Cut blocks into pieces where they overlap, and leave out what is outside of ``[start, end)``."""
        pieces = pieces_of(_ordinals(self.codes), self.low, self.high)
        if pieces is None:
            return False
        kept = ((pieces.low < end) & (pieces.high >= start)).nonzero()[0]
        parents, low, high, self.clusters = (column[kept] for column in pieces)
        self._take(parents)
        share = (high.astype(np.float64) - low + 1) / (self.high.astype(np.float64) - self.low + 1)
        self.rows = np.maximum(self.rows * share, 1).astype(np.int64)
        self.begins, self.ends = low == self.low, high == self.high
        self.low, self.high = low, high
        self.shared = np.asarray(np.bincount(self.clusters)[self.clusters] > 1)
        self.cut = self.shared | ~(self.begins & self.ends)
        return True

    @cached_property
    def versions_tell(self) -> bool:
        """Whether in each cluster the rows of a later part have the higher versions, as far as statistics know."""
        shared = self.shared.nonzero()[0]
        low, high = np.empty((2, len(self.rows)), np.int64)
        for number, blocks in self.by_extent(shared):
            extent, places = self.extents[number], self.place[blocks]
            known = extent.part.statistics(extent, VERSION)
            if known is None:
                return False
            low[blocks], high[blocks] = known.low[places], known.high[places]
        arrivals: dict[int, int] = {}
        parts = np.array([arrivals.setdefault(id(each.part), len(arrivals)) for each in self.extents])
        shared = shared[np.lexsort((self.extent[shared], self.clusters[shared]))]
        return _increase(self.clusters[shared], parts[self.extent[shared]], low[shared], high[shared])

    @cached_property
    def ordinals(self) -> Numbers:
        """The place of each block's series in this order."""
        return _ordinals(self.codes)

    def count(self, chosen: Positions) -> int:
        """Return how many blocks some blocks, or pieces of them, are of."""
        if self.whole:
            return len(chosen)
        return len(distinct(np.sort(self.extent[chosen] * len(self.rows) + self.place[chosen])))

    def rows_within(self, start: int, end: int) -> float:
        """Return an estimate of how many rows have times in ``[start, end)``."""
        low, high = self.low.astype(np.float64), self.high.astype(np.float64)
        share = (np.minimum(high, end - 1) - np.maximum(low, start) + 1) / (high - low + 1)
        return float((self.rows * np.clip(share, 0, 1)).sum())

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


def _ordinals(codes: Numbers) -> Numbers:
    return np.concatenate(([0], (codes[1:] != codes[:-1]).cumsum()))[: len(codes)]


def _increase(clusters: Numbers, parts: Numbers, low: Numbers, high: Numbers) -> bool:
    """Whether within clusters the ranges of each part, in order of these, begin where those of earlier ones end."""
    new = np.ones(len(clusters), np.bool_)
    new[1:] = (clusters[1:] != clusters[:-1]) | (parts[1:] != parts[:-1])
    starts = new.nonzero()[0]
    if not len(starts):
        return True
    low, high = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
    same = clusters[starts[1:]] == clusters[starts[:-1]]
    return not (same & (low[1:] < high[:-1])).any()


def _listed(series: SeriesTable, query: Query) -> Numbers | None:
    """Return the place of each series in the order in which the caller listed them, None if they were not listed."""
    shape = query.shape
    listed = query.condition.listed() if shape.order == "series" and len(shape.entity) == 1 else None
    if listed is None or len(series) == 1:
        return None
    (entities,) = series.entities.columns
    return np.asarray(pc.index_in(entities, value_set=listed).fill_null(len(listed))).astype(np.int64)
