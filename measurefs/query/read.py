"""Reading rows from pinned snapshots: find the blocks, read them slice by slice, leave out superseded rows, order."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.fs.errors import CorruptionError, NotExistError, ReadError
from measurefs.fs.filesystem import FileSystem
from measurefs.part.fetch import fetch, together
from measurefs.part.part import TIME, VERSION, Extent, First, Known, Part, Scan, decode
from measurefs.part.runs import Positions
from measurefs.part.tasks import Mapper
from measurefs.part.verify import file_damage
from measurefs.query.conditions.predicates import decoded
from measurefs.query.conditions.pruning import Statistics
from measurefs.query.explain import Work
from measurefs.query.gather import Gatherer
from measurefs.query.layout import Layout
from measurefs.query.names import TIME_TYPE
from measurefs.query.ordering import time_order
from measurefs.query.plan import Query
from measurefs.query.slab import MANY, Later, Slab, join, typed
from measurefs.query.slices import Slice, TimeSlices, series_slices

Times = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Group = Sequence[Sequence[Part]]
"""The parts of the tables that cover one span of time, in order of arrival within each table."""

_WAVE_ROWS = 4_000_000
_FIRST_ROWS = 10_000
_ROW_BYTES = 24
_SLACK_ROWS = 1 << 17
_GROUP_ROWS = 1 << 18


class Reader:
    """Reads the rows of one query.

    Parameters
    ----------
    fs : FileSystem
    query : Query
    run : callable
        ``map``, or an executor's, to decode in parallel.
    memory : int
        Bytes of rows to hold at a time, roughly.
    cache_bytes : int
        Bytes that decoding may leave for the next query.
    work : Work, optional
        Counts what is done.
    skipped : list of CorruptionError, optional
        Go on without damaged parts, and add to it, once each, why they are left out.
    begins_anew : bool
        Whether the query begins anew if a part is gone, which is therefore not left out.

    Attributes
    ----------
    trusting : bool
        Whether summaries may answer; what is damaged is not left out by halves, so not if that is skipped.
    """

    def __init__(
        self,
        fs: FileSystem,
        query: Query,
        run: Mapper[Any, Any] = map,
        *,
        memory: int,
        cache_bytes: int,
        work: Work | None = None,
        skipped: list[CorruptionError] | None = None,
        begins_anew: bool = False,
    ) -> None:
        self._query = query
        self.work = work or Work()
        self.gatherer = Gatherer(fs, query, run, self.work)
        self._fs = fs
        self._run = run
        self._skipped = skipped
        self._begins_anew = begins_anew
        self.trusting = skipped is None
        self._cache_bytes = cache_bytes
        self.names = query.shape.loaded
        self.slice_rows = max(memory // (_ROW_BYTES + 8 * len(query.shape.names)), 1)
        self.types = self.gatherer.types

    def batches(self, groups: Sequence[Group]) -> Iterator[pa.RecordBatch]:
        """Yield the rows.

        Parameters
        ----------
        groups : sequence of groups of parts
            For consecutive spans of time that do not overlap, the earliest first.

        Raises
        ------
        CorruptionError
            A part is damaged, and that is not to be skipped.
        """
        for found in self._together(self._limited(groups)):
            if len(found) == 1:
                yield self.to_batch(*found[0], self._run)
            else:
                yield from self._run(lambda each: self.to_batch(*each), found)

    def _together(self, found: Iterator[tuple[Slab, Layout]]) -> Iterator[list[tuple[Slab, Layout]]]:
        """Put together rows of which batches can be made at the same time; what they are taken of is kept anyway."""
        shape = self._query.shape
        spreads = not shape.entity.keys().isdisjoint(shape.names)
        group: list[tuple[Slab, Layout]] = []
        rows = 0
        for slab, layout in found:
            group.append((slab, layout))
            rows += len(slab)
            costly = len(slab) >= MANY and (spreads or isinstance(slab.columns, Later))
            if not (costly and self.gatherer.keep and rows < _GROUP_ROWS):
                yield group
                group, rows = [], 0
        if group:
            yield group

    def _limited(self, groups: Sequence[Group]) -> Iterator[tuple[Slab, Layout]]:
        skip, left = self._query.offset, self._query.limit
        for parts in self.waves(groups):
            if left == 0:
                return
            for layout, slab in self._read(parts, None if left is None else skip + left):
                count = len(slab)
                kept = slab.slice(min(skip, count), count if left is None else min(count, skip + left))
                skip -= min(skip, count)
                if len(kept):
                    self.work.rows += len(kept)
                    yield kept, layout
                if left is not None:
                    left -= len(kept)
                    if left == 0:
                        return

    def waves(self, groups: Sequence[Group]) -> Iterator[list[Part]]:
        """Put spans of time together as long as their rows are few; what is together is planned at once."""
        query = self._query
        if query.shape.order == "-time":
            groups = list(reversed(groups))
        most = _WAVE_ROWS if query.most is None else min(_WAVE_ROWS, 4 * query.most)
        wave: list[Part] = []
        for group in groups:
            parts = [part for table in group for part in table]
            if wave and query.shape.order != "series":
                rows = sum(part.rows for part in (*wave, *parts))
                if rows > most:
                    yield wave
                    wave, most = [], min(4 * most, _WAVE_ROWS)
            wave += parts
        if wave:
            yield wave

    def _read(self, parts: Sequence[Part], most: int | None) -> Iterator[tuple[Layout, Slab]]:
        layout, chosen = self.layout(parts, most)
        if layout is not None:
            in_series = self._query.shape.order == "series"
            read = self._in_series_order if in_series else self._in_time_order
            for slab in read(layout, chosen, most):
                yield layout, slab

    def layout(self, parts: Sequence[Part], most: int | None = None) -> tuple[Layout | None, Positions]:
        """Find the blocks of parts, and those of them that may hold wanted rows; None if there are none."""
        query, always = self._query, self._query.condition.always
        order = query.shape.order
        first = First(most, order) if most is not None and always and most <= _FIRST_ROWS else None
        scan = Scan(query.start, query.end, self.names, query.condition.series, first)
        found = self.gatherer.fetch(together(*[part.extents(scan) for part in self._sound(parts)]))
        extents = [extent for each in found for extent in each]
        if not extents:
            return None, np.empty(0, np.int64)
        layout = Layout(extents, query)
        chosen = np.arange(len(layout.rows)) if always else self._possible(layout).nonzero()[0]
        most = self._cache_bytes * 3 // 4 // (8 * max(len(self.names), 1))
        self.gatherer.keep = layout.stored_rows <= most
        self.gatherer.keep_some = layout.rows_within(query.start, query.end) <= most
        self.work.parts_read += len({id(extent.part) for extent in extents})
        self.work.blocks += sum([len(extent.places) for extent in extents])
        self.work.blocks_read += layout.count(chosen)
        return layout, chosen

    def _possible(self, layout: Layout) -> npt.NDArray[np.bool_]:
        """Return which blocks may hold wanted rows, as far as the index tells; a superseded row hides none."""
        condition = self._query.condition
        possible = np.ones(len(layout.rows), np.bool_)
        for number, blocks in layout.by_extent(np.arange(len(layout.rows))):
            extent = layout.extents[number]
            known = {name: extent.part.statistics(extent, name) for name in condition.columns}
            statistics = {
                name: Statistics.absent(self._query.shape.columns[name], found.rows)
                if found.kind is None
                else Statistics(found.kind, *found[1:])
                for name, found in known.items()
                if found is not None
            }
            if statistics:
                possible[blocks] = condition.possible(statistics)[layout.place[blocks]]
        return possible | layout.shared

    def _in_series_order(self, layout: Layout, chosen: Positions, most: int | None) -> Iterator[Slab]:
        start, end = self._query.start, self._query.end
        for blocks in series_slices(
            layout, chosen, self.slice_rows if most is None else min(self.slice_rows, most)
        ):
            yield from self._slice(layout, Slice(blocks, start, end))

    def _in_time_order(self, layout: Layout, chosen: Positions, most: int | None) -> Iterator[Slab]:
        query = self._query
        descending = query.shape.order == "-time"
        slices = TimeSlices(layout, chosen, query.start, query.end, descending=descending)
        rows = self.slice_rows if most is None else min(self.slice_rows, most)
        while most is None or most > 0:
            taken = slices.take(rows, exactly=query.condition.always and most is not None and most <= rows)
            if taken is None:
                return
            shorten = functools.partial(slices.shorten, rows=rows)
            (whole,) = self._slice(layout, taken, shorten)
            slices.advance()
            order = time_order(whole.times, _rows_by_series(layout, whole), descending=descending)
            whole = (
                whole.slice(0, len(whole) if most is None else most)
                if order is None
                else whole.take(order[:most])
            )
            if len(whole):
                yield whole
            if most is not None:
                most -= len(whole)
                rows = min(4 * rows, self.slice_rows)

    def _slice(
        self, layout: Layout, taken: Slice, shorten: Callable[[Slice, Times], Slice] | None = None
    ) -> Iterator[Slab]:
        """Yield the wanted rows of a slice in order of the layout, none of them superseded."""
        cut, read = layout.cut[taken.blocks], self._gather
        if not cut.any() and shorten is None and self._ordered(layout, taken.blocks):
            for portion in self.gatherer.portions(layout, taken.blocks, self.names):
                yield from self.gatherer.matching(layout, portion, self.names, taken.start, taken.end)
            return
        plain, taken = read(layout, taken, taken.blocks[~cut], self.names, self.gatherer.matching, shorten)
        before = taken
        names = self.with_keys(layout, self.names) if cut.any() else self.names
        pieces, taken = read(layout, taken, taken.blocks[cut], names, self.gatherer.rows, shorten)
        if taken is not before:
            plain = _within(plain, taken)
        yield self._joined([*plain, *self._decided(layout, pieces)]).in_order()

    def _decided(self, layout: Layout, slabs: Sequence[Slab]) -> list[Slab]:
        """Return the wanted rows of slabs of rows, each of clusters of several blocks, or of others only."""
        several = [slab for slab in slabs if layout.shared[slab.runs[:1]].any()]
        single = [slab for slab in slabs if not layout.shared[slab.runs[:1]].any()]
        if not self._query.condition.always:
            single = [slab.filter(self.gatherer.judge(layout, slab)) for slab in single]
        return [*single, self.newest_of(layout, several)] if several else single

    def with_keys(self, layout: Layout, names: Sequence[str]) -> list[str]:
        """Return the columns that must be read of rows which may supersede each other, and then be judged."""
        keys = [TIME] if layout.versions_tell else [TIME, VERSION]
        return list(dict.fromkeys([*names, *keys, *self._judged]))

    @property
    def _judged(self) -> Iterator[str]:
        condition = self._query.condition
        yield from condition.columns
        yield from condition.keys & {TIME, VERSION}

    def newest(self, layout: Layout, blocks: Positions, names: Sequence[str]) -> Slab:
        """Return the wanted rows of whole clusters of several blocks, in order of series and time."""
        query = self._query
        every = self.with_keys(layout, names)
        return self.newest_of(
            layout,
            [
                slab
                for portion in self.gatherer.portions(layout, blocks, every)
                for slab in self.gatherer.rows(layout, portion, every, query.start, query.end)
            ],
        )

    def newest_of(self, layout: Layout, slabs: Sequence[Slab]) -> Slab:
        """Return the wanted rows of whole clusters, superseded ones left out, in order of series and time."""
        names = {name: self.types[name] for slab in slabs for name in slab.columns}
        rows = join(slabs, names)
        self.work.rows_sorted += len(rows)
        rows = rows.newest(layout.clusters)
        return rows if self._query.condition.always else rows.filter(self.gatherer.judge(layout, rows))

    def known(
        self, layout: Layout, blocks: Positions, names: Sequence[str], *, ends: bool = False
    ) -> Iterator[tuple[Extent, Known, Positions, Positions]]:
        """Yield what is known, without decoding, of those blocks of which all rows are within the bounds.

        By extent: the extent, what is known of its page, the blocks, and the places of these in the page. With `ends`
        it is enough if the last row of a block is within the bounds.
        """
        query = self._query
        whole = layout.ends[blocks] & (layout.high[blocks] < query.end)
        if not ends:
            whole &= layout.begins[blocks] & (layout.low[blocks] >= query.start)
        found = list(layout.by_extent(blocks[whole]))
        extents = [layout.extents[number] for number, _ in found]
        readings = [extent.part.known(extent, names) for extent in extents]
        every = self.gatherer.fetch(together(*readings))
        for extent, known, (_, mine) in zip(extents, every, found, strict=True):
            yield extent, known, mine, extent.places[layout.place[mine]]

    def _gather(
        self,
        layout: Layout,
        taken: Slice,
        blocks: Positions,
        names: Sequence[str],
        read: Callable[..., Iterator[Slab]],
        shorten: Callable[[Slice, Times], Slice] | None,
    ) -> tuple[list[Slab], Slice]:
        """Read blocks, and shorten the slice as soon as it turns out to have far more rows than it should."""
        slabs: list[Slab] = []
        for portion in self.gatherer.portions(layout, blocks, names):
            slabs += read(layout, portion, names, taken.start, taken.end)
            if shorten is not None and sum(map(len, slabs)) > 2 * self.slice_rows + _SLACK_ROWS:
                taken = shorten(taken, np.concatenate([slab.times for slab in slabs]))
                slabs = _within(slabs, taken)
        return slabs, taken

    def _ordered(self, layout: Layout, blocks: Positions) -> bool:
        """Whether blocks lie in their extents as they do in the layout."""
        if layout.as_stored:
            return True
        extents, places = layout.extent[blocks], layout.place[blocks]
        later = (extents[1:] == extents[:-1]) & (places[1:] >= places[:-1])
        return bool((later | (extents[1:] > extents[:-1])).all())

    def _joined(self, slabs: Iterable[Slab]) -> Slab:
        return join(list(slabs), {name: self.types[name] for name in self.names})

    def _sound(self, parts: Sequence[Part]) -> Sequence[Part]:
        """Leave out damaged parts, if that is wanted: each as a whole, so it is read once before any row is given."""
        if self._skipped is None:
            return parts
        return [part for part in parts if self._is_sound(part, self._skipped)]

    def _is_sound(self, part: Part, skipped: list[CorruptionError]) -> bool:
        query = self._query
        names = [*self.names, *query.condition.columns, TIME, VERSION]
        try:
            extents = fetch(
                self._fs, part.extents(Scan(query.start, query.end, names, query.condition.series))
            )
            for extent in extents:
                decode([fetch(self._fs, part.load(extent, names, keep=False))], map)
        except (CorruptionError, NotExistError, ReadError) as error:
            if self._begins_anew and isinstance(error, NotExistError):
                raise
            damage = error if isinstance(error, CorruptionError) else file_damage(self._fs, part)
            if damage is None:
                raise
            if str(damage) not in map(str, skipped):
                skipped.append(damage)
            return False
        return True

    def to_batch(self, slab: Slab, layout: Layout, run: Mapper[Any, Any] = map) -> pa.RecordBatch:
        """Turn rows into a batch of the columns that the result has."""
        names, column = self._query.shape.names, functools.partial(self._column, slab, layout)
        arrays = run(column, names) if len(slab) >= 4 * MANY else map(column, names)
        return pa.RecordBatch.from_arrays(list(arrays), schema=self._query.shape.schema)

    def _column(self, slab: Slab, layout: Layout, name: str) -> pa.Array:
        if name in self._query.shape.entity:
            return slab.spread(layout.series.entities.column(name), layout.codes)
        column, kind = slab.columns.get(name), self.types[name]
        if column is None or column.type != kind:
            column = decoded(typed(slab, name, kind))
        return column.view(TIME_TYPE) if name == TIME else column


def _rows_by_series(layout: Layout, slab: Slab) -> Positions:
    """Return how many rows there are of each series, in order of the layout."""
    series = layout.ordinals[slab.runs]
    firsts = np.concatenate(([True], series[1:] != series[:-1]))[: len(series)].nonzero()[0]
    return np.add.reduceat(slab.lengths, firsts) if len(firsts) else firsts


def _within(slabs: Sequence[Slab], taken: Slice) -> list[Slab]:
    """Return the rows whose times are in a slice that was shortened."""
    return [slab.filter((slab.times >= taken.start) & (slab.times < taken.end)) for slab in slabs]


def naming_the_remedy(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield what is read; a file that is not there any more is an error that says what to do."""
    try:
        yield from batches
    except NotExistError as error:
        raise NotExistError(
            "query",
            error.path,
            "it is not there any more; if another process writes to the store, it has replaced and collected the "
            "file since this one looked: call refresh() and query again (gc_grace says how long files stay), else "
            "run 'measurefs verify'",
        ) from error
