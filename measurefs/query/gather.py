"""Reading some blocks of a layout: only the columns, chunks and rows that are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from measurefs.codec.widening import widened
from measurefs.fs.filesystem import FileSystem
from measurefs.part.fetch import Fetch, fetch, together
from measurefs.part.part import TIME, VERSION, Extent, Loaded, Loading, Within, decode, runs_of, taker
from measurefs.part.runs import Positions, distinct
from measurefs.part.tasks import Mapper
from measurefs.query.explain import Work
from measurefs.query.layout import Layout
from measurefs.query.plan import Query
from measurefs.query.slab import MANY, Later, Slab

T = TypeVar("T")
Mask = npt.NDArray[np.bool_]
Portion = Sequence[tuple[int, Positions]]
"""Extents of a layout, and the blocks of each that are wanted, as they lie in it."""


_PORTION_BYTES = 16 << 20
_LEAST_ROWS = 1 << 18


class Cut(NamedTuple):
    """Some blocks of one extent, and the runs of rows that are wanted of them.

    Attributes
    ----------
    extent : int
        Of the layout.
    blocks : int64 array, shape (r,)
        Of the layout, as they lie in the extent.
    starts, stops : int64 array, shape (r,)
        Rows, counted from the first of the extent's page.
    """

    extent: int
    blocks: Positions
    starts: Positions
    stops: Positions

    def slab(self, loaded: Loaded, *, later: bool = False) -> Slab:
        """Return the rows; `loaded` is of these blocks.

        Parameters
        ----------
        loaded : Loaded
        later : bool
            Whether many rows may be taken out of it only when a column is asked for; it is held as long.
        """
        lengths = self.stops - self.starts
        take, copies = taker(loaded, self.starts, self.stops)
        if later and copies and lengths.sum() >= MANY:
            return Slab(self.blocks, lengths, Later(loaded.columns, lambda name: take(loaded.columns[name])))
        columns = {name: take(column) for name, column in loaded.columns.items()}
        return Slab(self.blocks, lengths, columns)

    def those(self, blocks: Mask) -> Cut:
        """Return some of the blocks."""
        return Cut(self.extent, self.blocks[blocks], self.starts[blocks], self.stops[blocks])

    def divided(self, loaded: Loaded, shared: Mask) -> Iterator[tuple[Cut, Loaded]]:
        """Yield the blocks that are not among those that are shared, then those that are, as far as there are any."""
        mine = shared[self.blocks]
        for which in (~mine, mine):
            if which.all():
                yield self, loaded
            elif which.any():
                yield self.those(which), loaded.those(which)


class Gatherer:
    """Reads blocks for one query.

    Parameters
    ----------
    fs : FileSystem
    query : Query
    run : callable
        ``map``, or an executor's, to decode in parallel.
    work : Work
        Counts what is done.

    Attributes
    ----------
    keep, keep_some : bool
        Whether what is decoded may be kept for the next query: whole chunks, and excerpts of them.
    """

    def __init__(self, fs: FileSystem, query: Query, run: Mapper[Any, Any], work: Work) -> None:
        self._fs = fs
        self._query = query
        self._run = run
        self._work = work
        self.keep = self.keep_some = True
        self.types = query.shape.types

    def fetch(self, reading: Fetch[T]) -> T:
        """Run a reading, and count its requests."""
        return fetch(self._fs, reading, self._work.read)

    def rows(
        self, layout: Layout, portion: Portion, names: Sequence[str], start: int, end: int
    ) -> Iterator[Slab]:
        """Yield the rows of blocks, undecided which of them count: those of clusters of several in slabs of their own.

        Parameters
        ----------
        layout : Layout
        portion : sequence of (int, int64 array)
            See `portions`.
        names : sequence of str
            The columns to load.
        start, end : int
            Times, ``[start, end)``.
        """
        for cut, loaded in self.cuts(layout, portion, names, start, end):
            for piece, rows in cut.divided(loaded, layout.shared):
                yield piece.slab(rows, later=self.keep)

    def matching(
        self, layout: Layout, portion: Portion, names: Sequence[str], start: int, end: int
    ) -> Iterator[Slab]:
        """Yield the rows of blocks that the condition wants; no row of these may be superseded.

        Where few rows are wanted, few chunks of the other columns are read.
        """
        condition = self._query.condition
        if condition.always:
            yield from self.rows(layout, portion, names, start, end)
            return
        judged = [*condition.columns, *condition.keys & {TIME, VERSION}]
        later = [name for name in names if name not in judged]
        found: list[Slab] = []
        cuts: list[tuple[Cut, Mask]] = []
        for cut, loaded in self.cuts(layout, portion, judged, start, end):
            slab = cut.slab(loaded)
            mask = self.judge(layout, slab)
            if mask.any():
                numbers = slab.run_numbers()
                hit = np.bincount(numbers[mask], minlength=len(cut.blocks)) > 0
                cuts.append((cut.those(hit), mask[hit[numbers]]))
                found.append(slab.filter(mask))
        if not later:
            yield from found
            return
        rest = self._load(layout, [(cut.extent, cut.blocks, later) for cut, _ in cuts])
        for slab, (cut, mask), loaded in zip(found, cuts, rest, strict=True):
            columns = {**slab.columns, **cut.slab(loaded).filter(mask).columns}
            yield Slab(slab.runs, slab.lengths, columns)

    def judge(self, layout: Layout, slab: Slab) -> Mask:
        """Return which rows the condition wants."""
        condition = self._query.condition
        columns = {
            name: column if name in (TIME, VERSION) else widened(column, self.types[name], name)
            for name, column in slab.columns.items()
        }
        entities = condition.keys & self._query.shape.entity.keys()
        if entities:
            columns |= {
                name: slab.spread(layout.series.entities.column(name), layout.codes) for name in entities
            }
        mask = condition.rows(columns, len(slab))
        return np.ones(len(slab), np.bool_) if mask is None else mask

    def portions(self, layout: Layout, chosen: Positions, names: Sequence[str]) -> Iterator[Portion]:
        """Group blocks by extent, and these so that each group can be decoded at once.

        Parameters
        ----------
        layout : Layout
        chosen : int64 array
            Blocks of it, increasing.
        names : sequence of str
            The columns to load of them.
        """
        most = max(_PORTION_BYTES // (8 * max(len(names), 1)), _LEAST_ROWS)
        portion: list[tuple[int, Positions]] = []
        rows = 0
        for number, blocks in layout.by_extent(chosen):
            count = int(layout.rows[blocks].sum())
            if portion and rows + count > most:
                yield portion
                portion, rows = [], 0
            portion.append((number, blocks))
            rows += count
        if portion:
            yield portion

    def cuts(
        self,
        layout: Layout,
        portion: Portion,
        names: Sequence[str],
        start: int,
        end: int,
    ) -> Iterator[tuple[Cut, Loaded]]:
        """Yield where the wanted rows of blocks are in the columns of their extents; parameters as for `rows`."""
        query = self._query
        within = Within(start, end - 1, keep=False)
        if self.keep_some:  # what is kept is for the whole query, this may be a slice of it
            within = Within(query.start, query.end - 1, keep=True)
        wanted = []
        for number, blocks in portion:
            partly = (
                not (layout.whole or (layout.begins[blocks] & layout.ends[blocks]).all())
                or (layout.low[blocks] < start).any()
                or (layout.high[blocks] >= end).any()
                or (self.keep_some and layout.extents[number].is_cut(query.start, query.end))
            )
            wanted.append((number, blocks, [TIME, *names] if partly and TIME not in names else names))
        for (number, blocks), loaded in zip(portion, self._load(layout, wanted, within), strict=True):
            since: Positions | int = start
            until: Positions | int = end - 1
            if not layout.whole:
                since, until = np.maximum(layout.low[blocks], start), np.minimum(layout.high[blocks], end - 1)
            starts, stops = runs_of(layout.extents[number], layout.place[blocks], loaded, since, until)
            yield Cut(number, blocks, starts, stops), loaded if TIME in names else loaded.only(names)

    def _load(
        self,
        layout: Layout,
        wanted: Sequence[tuple[int, Positions, Sequence[str]]],
        within: Within | None = None,
    ) -> list[Loaded]:
        """Return columns of some blocks of some extents."""
        places = [layout.place[blocks] for _, blocks, _ in wanted]
        if not layout.whole:  # several pieces may be of one block
            places = [distinct(each) for each in places]
        readings = [
            self._reading(layout.extents[number], each, names, within)
            for (number, _, names), each in zip(wanted, places, strict=True)
        ]
        loadings: list[Loading] = self.fetch(together(*readings))
        self._work.chunks += sum([loading.chunks for loading in loadings])
        found = decode(loadings, self._run)
        if layout.whole:
            return found
        return [
            loaded.those(each.searchsorted(layout.place[blocks]))
            for loaded, each, (_, blocks, _) in zip(found, places, wanted, strict=True)
        ]

    def _reading(
        self, extent: Extent, places: Positions, names: Sequence[str], within: Within | None
    ) -> Fetch[Loading]:
        which = None
        if len(places) < len(extent.starts):
            which = np.zeros(len(extent.starts), np.bool_)
            which[places] = True
        return extent.part.load(extent, names, which, keep=self.keep, within=within)
