"""What the table and the query need of a part, whether its rows are in memory or in files."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec.columns import values_of
from measurefs.codec.types import ColumnType
from measurefs.part.fetch import Fetch, together
from measurefs.part.rows import Rows, concat_rows, gather
from measurefs.part.runs import one_run, positions_of, trim
from measurefs.part.series import SeriesTable, entity_keys, merge_series, narrowed
from measurefs.part.tasks import Mapper, Task, run_tasks

if TYPE_CHECKING:
    from measurefs.part.summary import Summary

TIME, VERSION = "time", "version"
"""The names under which `Part.load` gives times and versions; no tag or field is called so."""

_FEW_CHUNKS = 24


class SeriesFilter(msgspec.Struct, frozen=True, eq=False):
    """Which series are wanted.

    Attributes
    ----------
    matches : callable
        From a batch of entities to a bool array: the verdict.
    ids : uint64 array or None
        Where it is known: the increasing ids of all series that can match, to skip others unread.
    keys : set of bytes or None
        Where it is known: the keys of all entities that match, and of no others.
    """

    matches: Callable[[pa.RecordBatch], npt.NDArray[np.bool_]]
    ids: npt.NDArray[np.uint64] | None = None
    keys: Set[bytes] | None = None

    def positions(self, series: SeriesTable) -> npt.NDArray[np.int64]:
        """Return the positions in a table of the series that are wanted."""
        if self.ids is None:
            return self.matches(series.entities).nonzero()[0]
        ends = series.ids.searchsorted(self.ids, "right")
        candidates = positions_of(series.ids.searchsorted(self.ids), ends)
        entities = series.take(candidates).entities
        if self.keys is None:
            return candidates[self.matches(entities)]
        return candidates[[key in self.keys for key in entity_keys(entities)]]

    def mask(self, series: SeriesTable) -> npt.NDArray[np.bool_]:
        """Return which series of a table are wanted."""
        mask = np.zeros(len(series), np.bool_)
        mask[self.positions(series)] = True
        return mask


class First(NamedTuple):
    """The first so many rows in an order: ``"time"``, ``"-time"`` or ``"series"``."""

    rows: int
    order: str


class Scan(msgspec.Struct, frozen=True, eq=False):
    """What is to be read.

    Attributes
    ----------
    start, end : int
        The rows' times, ``[start, end)``, nanoseconds since 1970-01-01 UTC.
    columns : sequence of str
        Tags and fields. Those that a part does not hold are absent from its rows.
    series : SeriesFilter or None
        None for all.
    first : First or None
        Only the first so many rows matter: of the index no more need be read than shows where they are.
    """

    start: int
    end: int
    columns: Sequence[str]
    series: SeriesFilter | None = None
    first: First | None = None

    def wants(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Return which rows are wanted."""
        wanted: npt.NDArray[np.bool_] = (rows.times >= self.start) & (rows.times < self.end)
        if self.series is not None:
            wanted &= self.series.mask(rows.series)[rows.codes]
        return wanted

    def touched(self, blocks: Blocks) -> npt.NDArray[np.int64]:
        """Return the positions of the blocks that may hold wanted rows."""
        if self.series is None:
            return ((blocks.min_times < self.end) & (blocks.max_times >= self.start)).nonzero()[0]
        codes = self.series.positions(blocks.series).astype(blocks.codes.dtype)
        mine = positions_of(blocks.codes.searchsorted(codes), blocks.codes.searchsorted(codes, "right"))
        return mine[(blocks.min_times[mine] < self.end) & (blocks.max_times[mine] >= self.start)]

    def cut(self, blocks: Blocks, touched: npt.NDArray[np.int64]) -> Blocks:
        """Return some blocks, without series that are not wanted where most are not."""
        series, codes = blocks.series, blocks.codes[touched]
        if self.series is not None:
            series, codes = narrowed(series, codes)
        times = blocks.min_times[touched], blocks.max_times[touched]
        return Blocks(series, codes, blocks.rows[touched], *times)

    def touches(self, blocks: Blocks) -> npt.NDArray[np.bool_]:
        """Return which blocks may hold wanted rows."""
        touched = np.zeros(len(blocks.codes), np.bool_)
        touched[self.touched(blocks)] = True
        return touched

    def leaves(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Return which rows are not wanted."""
        return ~self.wants(rows)


class Blocks(NamedTuple):
    """The blocks of a part that a scan touches, in order of (series, time), as arrays of length b.

    Attributes
    ----------
    series : SeriesTable
        Their series.
    codes : int32 array
        The position of each block's series in it.
    rows, min_times, max_times : int64 array
        Of each block: rows, first and last time.
    """

    series: SeriesTable
    codes: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int64]
    min_times: npt.NDArray[np.int64]
    max_times: npt.NDArray[np.int64]

    def those(self, which: slice | npt.NDArray[np.bool_ | np.int64]) -> Blocks:
        """Return some of them."""
        times = self.min_times[which], self.max_times[which]
        return Blocks(self.series, self.codes[which], self.rows[which], *times)


def join_blocks(pieces: Sequence[Blocks]) -> Blocks:
    """Join blocks that follow one another."""
    if len(pieces) == 1:
        return pieces[0]
    series, mappings = merge_series([piece.series for piece in pieces])
    codes = [to[piece.codes] for piece, to in zip(pieces, mappings, strict=True)]
    rows, min_times, max_times = (
        np.concatenate([getattr(piece, name) for piece in pieces])
        for name in ("rows", "min_times", "max_times")
    )
    return Blocks(series, np.concatenate(codes), rows, min_times, max_times)


class Extent(msgspec.Struct, frozen=True, eq=False):
    """Blocks of a part that lie together and that a scan touches: of a page of its index, or of a part in memory.

    Attributes
    ----------
    part : Part
    number : int
        The page's number.
    blocks : Blocks
        b of them, in order.
    starts : int64 array, shape (b,)
        The first row of each, counted from the page's first.
    places : int64 array, shape (b,)
        The position of each among all blocks of the page.
    page : object
        What the part needs to load it.
    """

    part: Part
    number: int
    blocks: Blocks
    starts: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    page: Any = None

    def is_cut(self, start: int, end: int) -> bool:
        """Whether some of its blocks have rows outside of ``[start, end)``."""
        return bool(((self.blocks.min_times < start) | (self.blocks.max_times >= end)).any())


class ChunkStatistics(NamedTuple):
    """What the index knows of the chunk that each of b blocks is in, as arrays of length b.

    Attributes
    ----------
    kind : ColumnType or None
        The type it is stored with; None if the part does not have the column.
    rows, nulls, low, high : int64 array
        See `Page`.
    """

    kind: ColumnType | None
    rows: npt.NDArray[np.int64]
    nulls: npt.NDArray[np.int64]
    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]


class Known(NamedTuple):
    """What is known of all blocks of a page without decoding them.

    Attributes
    ----------
    blocks : Blocks
        b of them, in order: those of an extent of the page are at its `places`.
    summary : Summary or None
        Of the blocks.
    dictionaries : mapping of str to pyarrow.Array
        Of the columns that were asked for.
    """

    blocks: Blocks
    summary: Summary | None
    dictionaries: Mapping[str, pa.Array]


class Within(NamedTuple):
    """Which rows of blocks are wanted.

    Attributes
    ----------
    since, until : int
        Those of these times, both inclusive.
    keep : bool
        Whether these rows, without others, may be kept for the next query.
    """

    since: int
    until: int
    keep: bool


class Bounds(NamedTuple):
    """Where in the page the rows of blocks start and stop that were loaded, from `since` to `until`."""

    starts: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]
    since: int
    until: int

    def those(self, which: npt.NDArray[np.bool_ | np.int64]) -> Bounds:
        """Return those of some of the blocks."""
        return self._replace(starts=self.starts[which], stops=self.stops[which])


class Loaded(NamedTuple):
    """Columns of some blocks of an extent; the arrays may hold other rows, too.

    Attributes
    ----------
    columns : mapping of str to pyarrow.Array
    shifts : int64 array
        For each of the blocks, what to add to a row's number in the page to get its place in the arrays.
    bounds : Bounds or None
        Which rows of the blocks the arrays hold; None for all.
    """

    columns: Mapping[str, pa.Array]
    shifts: npt.NDArray[np.int64]
    bounds: Bounds | None = None

    def only(self, names: Sequence[str]) -> Loaded:
        """Return some of the columns."""
        return self._replace(columns={name: self.columns[name] for name in names if name in self.columns})

    def those(self, which: npt.NDArray[np.bool_ | np.int64]) -> Loaded:
        """Return what is of some of the blocks."""
        bounds = None if self.bounds is None else self.bounds.those(which)
        return Loaded(self.columns, self.shifts[which], bounds)


class Loading(NamedTuple):
    """Columns of an extent whose bytes have been read: they are there when all tasks were done.

    Attributes
    ----------
    loaded : callable
        Returns them.
    tasks : list of callable
        Each decodes some chunks; in any order and any threads.
    chunks : int
        How many they are together.
    """

    loaded: Callable[[], Loaded]
    tasks: list[Task]
    chunks: int


def decode(loadings: Sequence[Loading], run: Mapper[Any, Any]) -> list[Loaded]:
    """Return what was loaded; `run` is not used where it would cost more than it saves."""
    tasks = [task for loading in loadings for task in loading.tasks]
    if tasks:
        few = sum(loading.chunks for loading in loadings) <= _FEW_CHUNKS
        run_tasks(tasks, map if few else run)
    return [loading.loaded() for loading in loadings]


class Part(abc.ABC):
    """An immutable set of rows, ordered by (series, time), each of which occurs once.

    Attributes
    ----------
    id : int
        Its number.
    rows : int
        How many it has.
    min_time, max_time : int
        Inclusive.
    """

    id: int
    rows: int
    min_time: int
    max_time: int

    def overlaps(self, start: int, end: int) -> bool:
        """Whether any row may be in ``[start, end)``."""
        return self.rows > 0 and self.min_time < end and self.max_time >= start

    @abc.abstractmethod
    def extents(self, scan: Scan) -> Fetch[list[Extent]]:
        """Find the blocks that hold rows of the wanted series in, or around, the wanted times.

        Reads the index where it is not known yet.
        """

    @abc.abstractmethod
    def load(
        self,
        extent: Extent,
        names: Sequence[str],
        which: npt.NDArray[np.bool_] | None = None,
        *,
        keep: bool = True,
        within: Within | None = None,
    ) -> Fetch[Loading]:
        """Read the chunks of some columns.

        Parameters
        ----------
        extent : Extent
            One of this part.
        names : sequence of str
            Tags and fields, `TIME`, `VERSION`. Those that the part does not hold are absent from what is loaded.
        which : bool array, optional
            Which of its blocks are wanted; the arrays hold anything in the place of others.
        keep : bool
            Whether what is decoded may be kept for the next query.
        within : Within, optional
            No other rows need be loaded. If that leaves out some of a block of the extent, `TIME` is among the names.

        Raises
        ------
        CorruptionError
            What was read is not what was written.
        """

    @abc.abstractmethod
    def known(self, extent: Extent, names: Sequence[str]) -> Fetch[Known]:
        """Find out what is known of an extent's page without decoding it; reads the summary, if there is one.

        Parameters
        ----------
        extent : Extent
            One of this part.
        names : sequence of str
            Columns whose dictionaries are wanted.
        """

    def statistics(self, extent: Extent, name: str) -> ChunkStatistics | None:
        """Return what is known, without reading, of a column's chunks that hold an extent's blocks, if anything is."""
        return None

    @abc.abstractmethod
    def empty_rows(self, names: Sequence[str]) -> Rows:
        """Return no rows, of the columns that it has."""

    def blocks(self, scan: Scan) -> Fetch[Blocks]:
        """Find the blocks that hold rows of the wanted series in, or around, the wanted times."""
        extents = yield from self.extents(scan)
        none = self.empty_rows([])
        empty = Blocks(none.series, none.codes, none.times, none.times, none.times)
        return join_blocks([extent.blocks for extent in extents]) if extents else empty

    def read(self, scan: Scan, run: Mapper[Any, Any] = map) -> Fetch[Rows]:
        """Read the wanted rows, in order.

        Raises
        ------
        CorruptionError
            What was read is not what was written.
        """
        extents = yield from self.extents(scan)
        names = [TIME, VERSION, *scan.columns]
        loadings = yield from together(*(self.load(extent, names) for extent in extents))
        rows = [self.empty_rows(scan.columns)]
        for extent, loaded in zip(extents, decode(loadings, run), strict=True):
            rows.append(rows_of(extent, loaded, scan.start, scan.end))
        return concat_rows(rows, {name: column.type for name, column in rows[0].columns.items()})


def runs_of(
    extent: Extent,
    places: npt.NDArray[np.int64] | slice,
    loaded: Loaded,
    since: npt.NDArray[np.int64] | int,
    until: npt.NDArray[np.int64] | int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where the wanted rows of loaded blocks start and stop in the page; not all wanted, their times matter.

    Those from `since` to `until`, which may be different for each of the blocks, are wanted.
    """
    blocks = extent.blocks
    partly = (blocks.min_times[places] < since) | (blocks.max_times[places] > until)
    if loaded.bounds is None:
        starts = extent.starts[places]
        stops = starts + blocks.rows[places]
    else:
        starts, stops, loaded_since, loaded_until = loaded.bounds
        if isinstance(since, int) and (since, until) == (loaded_since, loaded_until):
            return starts, stops
        partly &= starts < stops
    count = np.count_nonzero(partly)
    if not count:
        return starts, stops
    times, shifts = values_of(loaded.columns[TIME]), loaded.shifts
    if count == len(partly):
        first, last = trim(times, starts + shifts, stops + shifts, since, until)
        return first - shifts, last - shifts
    shifts = shifts[partly]
    since, until = (bound if isinstance(bound, int) else bound[partly] for bound in (since, until))
    starts, stops = starts.copy(), stops.copy()
    first, last = trim(times, starts[partly] + shifts, stops[partly] + shifts, since, until)
    starts[partly], stops[partly] = first - shifts, last - shifts
    return starts, stops


def rows_of(extent: Extent, loaded: Loaded, start: int, end: int) -> Rows:
    """Return the wanted rows of an extent that is loaded, of all its columns."""
    starts, stops = runs_of(extent, slice(None), loaded, start, end - 1)
    codes = np.repeat(extent.blocks.codes, stops - starts)
    take, _ = taker(loaded, starts, stops)
    taken = {name: take(column) for name, column in loaded.columns.items()}
    times, versions = values_of(taken.pop(TIME)), values_of(taken.pop(VERSION))
    return Rows(extent.blocks.series, codes, times, versions, taken)


def taker(
    loaded: Loaded, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
) -> tuple[Callable[[pa.Array], pa.Array], bool]:
    """Return what takes, of a loaded column, a run of each block, and whether it copies: not if they are one run."""
    starts, stops = starts + loaded.shifts, stops + loaded.shifts
    whole = one_run(starts, stops)
    if whole is not None:
        first, count = whole.start, whole.stop - whole.start
        return lambda column: column.slice(first, count), False
    positions = positions_of(starts, stops)
    return lambda column: gather(column, positions), True
