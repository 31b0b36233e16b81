"""The newest row of each series: from the end backwards, until each has one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec.memory import array_of
from measurefs.part.part import TIME, VERSION, Extent, Known
from measurefs.part.runs import Positions
from measurefs.part.series import SeriesTable, merge_series
from measurefs.query.layout import Layout
from measurefs.query.plan import Query
from measurefs.query.read import Group, Reader
from measurefs.query.slab import Slab, join


class Newest:
    """Finds the newest wanted row of each series.

    Parameters
    ----------
    reader : Reader
        Of a query in order of series.
    query : Query
    """

    def __init__(self, reader: Reader, query: Query) -> None:
        self._reader = reader
        self._query = query
        self._names = list(dict.fromkeys([TIME, *reader.names]))
        self._types = {name: reader.types[name] for name in self._names}

    def batches(self, groups: Sequence[Group]) -> Iterator[pa.RecordBatch]:
        """Yield a row for each series, in order of series.

        Parameters
        ----------
        groups : sequence of groups of parts
            See `Reader.batches`.
        """
        batches: list[pa.RecordBatch] = []
        tables: list[SeriesTable] = []
        for group in reversed(groups):
            layout, chosen = self._reader.layout([part for table in group for part in table])
            if layout is None:
                continue
            slab = self._find(layout, chosen[_unknown(layout, tables)[layout.codes[chosen]]])
            if len(slab):
                batches.append(self._reader.to_batch(slab, layout))
                tables.append(layout.series.take(layout.codes[slab.blocks()]))
        if batches:
            _, places = merge_series(tables)
            order = np.argsort(np.concatenate(places))
            (batch,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
            self._reader.work.rows += batch.num_rows
            yield batch.take(array_of(order))

    def _find(self, layout: Layout, left: Positions) -> Slab:
        """Return the newest rows of the series of some blocks.

        Of each series more and more clusters are looked at, the last ones first, until one has a wanted row.
        """
        found: list[Slab] = []
        count = 1
        while len(left):
            tail = _last_clusters(layout, left, count)
            slab = self._rows(layout, left[tail])
            found.append(slab)
            done = np.isin(layout.ordinals[left], layout.ordinals[slab.blocks()])
            left = left[~tail & ~done]
            count *= 4
        return _last(layout, self._join(found)) if found else join([], self._types)

    def _rows(self, layout: Layout, blocks: Positions) -> Slab:
        """Return the last wanted row that each series has in some whole clusters."""
        reader, query = self._reader, self._query
        shared = layout.shared[blocks]
        slabs = [reader.newest(layout, blocks[shared], self._names)] if shared.any() else []
        single = blocks[~shared]
        if query.condition.always and reader.trusting:
            known, single = self._of_summaries(layout, single)
            slabs += known
        for portion in reader.gatherer.portions(layout, single, self._names):
            if query.condition.always:
                for cut, loaded in reader.gatherer.cuts(layout, portion, self._names, query.start, query.end):
                    starts = np.maximum(cut.starts, cut.stops - 1)
                    slabs.append(cut._replace(starts=starts).slab(loaded))
            else:
                slabs += reader.gatherer.matching(layout, portion, self._names, query.start, query.end)
        return _last(layout, self._join(slabs))

    def _of_summaries(self, layout: Layout, blocks: Positions) -> tuple[list[Slab], Positions]:
        """Return the last rows of blocks as far as summaries hold them, and the blocks that must be read."""
        slabs: list[Slab] = []
        told = np.zeros(len(layout.rows), np.bool_)
        for extent, known, mine, places in self._reader.known(layout, blocks, self._names, ends=True):
            if known.summary is None:
                continue
            at = array_of(places)
            columns = {name: self._last_value(extent, known, name, at) for name in self._names}
            ones = np.ones(len(mine), np.int64)
            slabs.append(Slab(mine, ones, {name: each for name, each in columns.items() if each is not None}))
            told[mine] = True
        self._reader.work.told_by_summaries(int(told.sum()))
        return slabs, blocks[~told[blocks]]

    def _last_value(self, extent: Extent, known: Known, name: str, places: pa.Array) -> pa.Array | None:
        """Return a column's values in the last rows of blocks; None if the part does not have it."""
        assert known.summary is not None
        if name == TIME:
            return array_of(known.blocks.max_times).take(places)
        if name == VERSION:
            return array_of(known.summary.last_versions).take(places)
        statistics = extent.part.statistics(extent, name)
        if statistics is None or statistics.kind is None:
            return None
        return known.summary.last_row(name, statistics.kind, known.dictionaries.get(name)).take(places)

    def _join(self, slabs: Sequence[Slab]) -> Slab:
        return join(slabs, self._types)


def _last(layout: Layout, slab: Slab) -> Slab:
    """Return the last row of each series, in order of series; no row supersedes another."""
    slab = slab.in_order()
    held = slab.lengths.nonzero()[0]
    series = layout.ordinals[slab.runs[held]]
    last = np.append(series[1:] != series[:-1], True)[: len(series)]
    return slab.take((np.cumsum(slab.lengths) - 1)[held[last]])


def _last_clusters(layout: Layout, blocks: Positions, count: int) -> npt.NDArray[np.bool_]:
    """Return which of some blocks, whole clusters in order, are of the last so many clusters of their series."""
    series, clusters = layout.ordinals[blocks], layout.clusters[blocks]
    number = np.cumsum(np.append(True, clusters[1:] != clusters[:-1])[: len(blocks)])
    ends = np.append(np.flatnonzero(series[1:] != series[:-1]), len(blocks) - 1)
    last = number[ends][np.searchsorted(ends, np.arange(len(blocks)))]
    return np.asarray(number > last - count)


def _unknown(layout: Layout, tables: Sequence[SeriesTable]) -> npt.NDArray[np.bool_]:
    """Return which series of a layout are in none of some tables."""
    new = np.ones(len(layout.series), np.bool_)
    for table in tables:
        _, (here, there) = merge_series([layout.series, table])
        new &= ~np.isin(here, there)
    return new
