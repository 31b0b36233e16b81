"""Excerpts: of some chunks of a page only those rows that are wanted, decoded and kept without the others.

A chunk must be decoded from its beginning, but not to its end, and what is wanted of it may be little: an hour of a
day, one series of thousands. An excerpt has the wanted rows, and those between them where they are few.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import columns as codec
from measurefs.codec.columns import values_of
from measurefs.codec.memory import array_of, new_array
from measurefs.codec.types import ColumnType
from measurefs.part.chunks import ColumnChunks
from measurefs.part.held import PLAIN, Choice, HeldColumn, arranged
from measurefs.part.index import Page
from measurefs.part.part import Bounds, Loaded, Within
from measurefs.part.rows import concat_columns, gather
from measurefs.part.runs import distinct, positions_of, trim

Numbers = npt.NDArray[np.int64]

_WORTH = 2
"""An excerpt is made if it has less than one in so many rows of its primary blocks."""
_GAP = 64
"""So many rows between two that are wanted are not left out."""


class Excerpt(msgspec.Struct, frozen=True, eq=False):
    """Rows of some blocks of a page, as u runs of rows that follow one another in one primary block.

    Attributes
    ----------
    since, until : int
        It has the rows of these times, both inclusive.
    places : int64 array, shape (b,)
        The blocks, of the page.
    starts, stops : int64 array, shape (b,)
        Where in the page the rows of each begin and end; of a block without any both are the same.
    primary : int64 array
        The primary blocks, of the page, that have any of these.
    numbers : int64 array, shape (u,)
        Which of these each run is in.
    lows, highs : int64 array, shape (u,)
        Where in the page it begins and ends.
    parts : list of (int, int, int)
        Again of each run, the number of the primary block, and where in that it begins and ends.
    columns : mapping of int to pyarrow.Array
        By column of the chunk table.
    """

    since: int
    until: int
    places: Numbers
    starts: Numbers
    stops: Numbers
    primary: Numbers
    numbers: Numbers
    lows: Numbers
    highs: Numbers
    parts: list[tuple[int, int, int]]
    columns: Mapping[int, pa.Array]

    @classmethod
    def of(cls, page: Page, places: Numbers, within: Within, times: HeldColumn | None) -> Excerpt:
        """Find the wanted rows of blocks.

        Parameters
        ----------
        page : Page
        places : int64 array
            Blocks of it, increasing, at least one.
        within : Within
        times : HeldColumn or None
            Those of all their primary blocks; needed only if not all rows are wanted.
        """
        starts, primary = page.block_starts[places], page.block_primary[places]
        stops = starts + page.block_rows[places]
        if times is not None:
            choice = Choice.of(distinct(primary))
            arrays, moved = arranged({"": times}, choice, page.primary_starts)
            shifts = moved[choice.places.searchsorted(primary)]
            first, last = trim(
                values_of(arrays[""]), starts + shifts, stops + shifts, within.since, within.until
            )
            starts, stops = first - shifts, last - shifts
        held = (starts < stops).nonzero()[0]
        begins, ends, mine = starts[held], stops[held], primary[held]
        new = np.ones(len(mine), np.bool_)
        new[1:] = (mine[1:] != mine[:-1]) | (begins[1:] > ends[:-1] + _GAP)
        firsts = new.nonzero()[0]
        highs = ends[np.concatenate((firsts[1:], [len(mine)]))[: len(firsts)] - 1]
        chosen = distinct(mine)
        numbers, lows = chosen.searchsorted(mine[firsts]), begins[firsts]
        start = page.primary_starts[mine[firsts]]
        parts = zip(numbers.tolist(), (lows - start).tolist(), (highs - start).tolist(), strict=True)
        since, until = within.since, within.until
        return cls(since, until, places, starts, stops, chosen, numbers, lows, highs, list(parts), {})

    def has(self, places: Numbers, columns: Collection[int], within: Within) -> bool:
        """Whether it has all wanted rows of these blocks, and columns that it lacks are not decoded for far more."""
        if self.since > within.since or self.until < within.until:
            return False
        if len(places) == len(self.places):
            return np.array_equal(places, self.places)
        at = np.minimum(self.places.searchsorted(places), len(self.places) - 1)
        return self.columns.keys() >= set(columns) and bool((self.places[at] == places).all())

    def is_part_of(self, places: Numbers, within: Within) -> bool:
        """Whether one of these blocks would have all rows that it has."""
        if self.since < within.since or self.until > within.until or len(places) < len(self.places):
            return False
        at = np.minimum(places.searchsorted(self.places), len(places) - 1)
        return bool((places[at] == self.places).all())

    def loaded(self, places: Numbers, names: Mapping[str, int]) -> Loaded:
        """Return columns of blocks, all of which it has."""
        bounds = Bounds(self.starts, self.stops, self.since, self.until)
        if len(places) < len(self.places):
            bounds = bounds.those(self.places.searchsorted(places))
        lengths = self.highs - self.lows
        shifts = np.cumsum(lengths) - lengths - self.lows
        runs = np.maximum(self.lows.searchsorted(bounds.starts, "right") - 1, 0)
        columns = {name: self.columns[column] for name, column in names.items()}
        return Loaded(columns, shifts[runs] if len(shifts) else runs, bounds)

    def with_columns(self, columns: Mapping[int, pa.Array]) -> Excerpt:
        """Return it with more columns."""
        return msgspec.structs.replace(self, columns={**self.columns, **columns})

    def taken_of(self, column: HeldColumn, page: Page) -> pa.Array:
        """Return its rows of a column that is decoded."""
        if not len(self.primary):
            return pa.nulls(0, column.kind.arrow)
        arrays, shifts = arranged({"": column}, Choice.of(self.primary), page.primary_starts)
        shifts = shifts[self.numbers]
        return gather(arrays[""], positions_of(self.lows + shifts, self.highs + shifts))

    def decoded(self, kind: ColumnType, dictionary: pa.Array | None, chunks: ColumnChunks) -> pa.Array:
        """Decode its rows of a column from the chunks of its primary blocks.

        Raises
        ------
        CorruptionError
            The bytes are not what was written.
        """
        data = [chunks.verified(number) for number in range(len(self.primary))]
        sizes = chunks.rows.tolist()
        if kind in PLAIN and not chunks.nulls.any():
            values = new_array(int((self.highs - self.lows).sum()), PLAIN[kind])
            codec.decode_number_parts(data, sizes, self.parts, values, chunks.path)
            return array_of(values)
        whole = [
            codec.decode(each, size, kind, dictionary, chunks.path)
            for each, size in zip(data, sizes, strict=True)
        ]
        pieces = [whole[number].slice(first, last - first) for number, first, last in self.parts]
        return concat_columns(pieces) if pieces else pa.nulls(0, kind.arrow)

    @property
    def nbytes(self) -> int:
        """Bytes of memory, roughly."""
        arrays = (self.places, self.starts, self.stops, self.primary, self.numbers, self.lows, self.highs)
        return int(sum(map(_own_bytes, self.columns.values())) + sum(array.nbytes for array in arrays))


def is_cut(page: Page, places: Numbers, within: Within) -> bool:
    """Whether not all rows of some blocks are wanted."""
    return bool(((page.block_min[places] < within.since) | (page.block_max[places] > within.until)).any())


def is_worthwhile(page: Page, places: Numbers, within: Within) -> bool:
    """Whether little is wanted of the primary blocks of some blocks, if the rows of these lie at equal distances."""
    rows, primary = page.block_rows[places], distinct(page.block_primary[places])
    low, high = page.block_min[places].astype(np.float64), page.block_max[places].astype(np.float64)
    share = (np.minimum(high, within.until) - np.maximum(low, within.since)) / np.maximum(high - low, 1)
    wanted = (rows * np.clip(share, 1 / rows, 1)).sum()
    every = page.primary_starts[primary + 1] - page.primary_starts[primary]
    return bool(_WORTH * wanted < every.sum())


def _own_bytes(array: pa.Array) -> int:
    return int((array.indices if pa.types.is_dictionary(array.type) else array).nbytes)
