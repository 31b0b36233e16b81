"""Merging parts into one, a slice at a time: what is held in memory does not depend on their size.

Each part is read in windows of whole primary blocks. In each round all rows up to the least of the windows' last
keys are complete: they are joined and ordered, superseded ones left out, and the windows that are used up move on.
Primary blocks between whose rows no other part has any go over as they are, without being decoded.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec.widening import is_narrower
from measurefs.fs.filesystem import FileSystem
from measurefs.part.encoded import EncodedBlocks
from measurefs.part.fetch import fetch
from measurefs.part.file_part import FilePart
from measurefs.part.metadata import Column
from measurefs.part.part import Scan
from measurefs.part.rows import Rows, concat_in_order, concat_rows
from measurefs.part.selection import Selection, windows
from measurefs.part.series import Codes, SeriesTable, merge_series

Key = tuple[int, int]
"""A series' position in a table of series, and a time."""


class Merge(msgspec.Struct, frozen=True, eq=False):
    """What is to be merged, and how.

    Attributes
    ----------
    fs : FileSystem
    types : mapping of str to pyarrow.DataType
        The columns of the result; where a part lacks one, its rows are null there.
    memory : int
        Bytes for the windows together, roughly.
    without : Scan, optional
        Rows to leave out.
    copied : callable
        Whether primary blocks of a part may go over as they are.
    least_rows : int
        Smaller primary blocks do not.
    held : mapping of int to sequence of Rows
        All rows of parts, by their ids, that need not be read, in order.
    """

    fs: FileSystem
    types: Mapping[str, pa.DataType]
    memory: int
    without: Scan | None = None
    copied: Callable[[FilePart], bool] = lambda _: False
    least_rows: int = 1
    held: Mapping[int, Sequence[Rows]] = msgspec.field(default_factory=dict)

    def run(self, parts: Sequence[FilePart]) -> Iterator[Rows | EncodedBlocks]:
        """Yield the rows of parts, merged: in order of (series, time), superseded ones left out.

        Parameters
        ----------
        parts : sequence of FilePart
            In order of arrival: of rows with equal keys and versions that of the last part counts.

        Raises
        ------
        CorruptionError
            A part is damaged.
        """
        inputs = [_Input(self, part, self.memory // len(parts)) for part in parts]
        while live := [each for each in inputs if each.fill()]:
            series, mappings = merge_series([table for each in live for table in each.tables()])
            for each in live:
                count = len(each.tables())
                each.locate(mappings[:count])
                mappings = mappings[count:]
            lead = min(live, key=lambda each: each.first)
            others = [each for each in live if each is not lead]
            copyable = lead.copyable(others)
            if lead.rows is None and copyable[0]:
                bound = min((each.first for each in others), default=None)
                yield lead.take_encoded(min([*copyable, False].index(False), lead.before(bound)))
            elif rows := self._complete(live, lead, [*copyable, True].index(True), series):
                yield rows

    def _complete(self, live: Sequence[_Input], lead: _Input, most: int, series: SeriesTable) -> Rows:
        """Decode what comes first and all that reaches into it, and take the rows that none can precede any more.

        Of the lead at most so many primary blocks are decoded: the next one can go over as it is.
        """
        others = [each for each in live if each is not lead]
        lead.decode(min(most, lead.reaching(min((each.last for each in others), default=None))), series)
        for each in others:
            if each.rows is not None or each.first <= lead.decoded:
                each.decode(each.reaching(lead.decoded), series)
        ends = [each.decoded for each in live if each.rows is not None and (each.window or each.more)]
        bounds = [each.first for each in live if each.rows is None]
        taken = [
            each.take(min(ends, default=None), min(bounds, default=None))
            for each in live
            if each.rows is not None
        ]
        rows = concat_in_order(taken, self.types)
        if self.without is None or not len(rows):
            return rows
        return rows.take(np.flatnonzero(self.without.leaves(rows)))


class _Input:
    """One part: rows that are decoded and left over, then a window that is not, and others to come.

    Attributes
    ----------
    rows : Rows or None
        Never empty.
    window : Selection or None
    more : bool
        Whether anything follows the window.

    What is asked about keys is answered by the table of series that is common in this round, see `locate`.
    """

    def __init__(self, merge: Merge, part: FilePart, memory: int) -> None:
        held = merge.held.get(part.id)
        self.rows = concat_rows(held, merge.types) if held else None
        self.window: Selection | None = None
        self.more = not held
        self._to: list[Codes] = []
        self._begins: list[Key] = []
        self._ends: list[Key] = []
        self._merge = merge
        self._part = part
        self._copied = merge.copied(part)
        self._rows = max(memory // row_bytes([part]), 1)
        self._coming = _windows(merge.fs, part, self._rows, summaries=self._copied)

    def fill(self) -> bool:
        """Have a window that is not too small, and return whether there is anything left at all."""
        while self.more and (self.window is None or 2 * self.window.rows < self._rows):
            following, self.more = next(self._coming)
            self.window = following if self.window is None else self.window.joined(following)
        return self.rows is not None or self.window is not None

    def tables(self) -> list[SeriesTable]:
        """Return the series of its rows, and of its window."""
        held = [] if self.rows is None else [self.rows.series]
        return held if self.window is None else [*held, self.window.blocks.series]

    def locate(self, to: list[Codes]) -> None:
        """Take note of the keys of this round: for each of the `tables`, where its series are in the common one."""
        self._to = to
        self._begins, self._ends = [], []
        if self.window is not None:
            starts = self.window.block_starts()
            blocks, first, last = self.window.blocks, starts[:-1], starts[1:] - 1
            codes = to[-1][blocks.codes]
            self._begins = list(zip(codes[first].tolist(), blocks.min_times[first].tolist(), strict=True))
            self._ends = list(zip(codes[last].tolist(), blocks.max_times[last].tolist(), strict=True))

    @property
    def first(self) -> Key:
        """The key of its next row."""
        if self.rows is None:
            return self._begins[0]
        return int(self._to[0][self.rows.codes[0]]), int(self.rows.times[0])

    @property
    def decoded(self) -> Key:
        """The key of the last of its rows."""
        assert self.rows is not None
        return int(self._to[0][self.rows.codes[-1]]), int(self.rows.times[-1])

    @property
    def last(self) -> Key:
        """The key of the last row that it has, decoded or not."""
        return self._ends[-1] if self._ends else self.decoded

    def reaching(self, key: Key | None) -> int:
        """Return how many primary blocks of the window begin up to a key; all if there is none."""
        return len(self._begins) if key is None else bisect.bisect_right(self._begins, key)

    def before(self, key: Key | None) -> int:
        """Return how many primary blocks of the window end before a key; all if there is none."""
        return len(self._ends) if key is None else bisect.bisect_left(self._ends, key)

    def meets(self, begin: Key, end: Key) -> bool:
        """Whether it has, or may have, a row between two keys."""
        if self.more and end > self.last:
            return True
        if self.rows is not None and self.first <= end and self.decoded >= begin:
            return True
        place = bisect.bisect_left(self._ends, begin)
        return place < len(self._begins) and self._begins[place] <= end

    def copyable(self, others: Sequence[_Input]) -> list[bool]:
        """Return which primary blocks of the window can go over as they are."""
        allowed = [False] * len(self._begins)
        if self._copied and self.window is not None:
            sound = (self.window.chunks.rows >= self._merge.least_rows) & ~self._touched(self.window)
            for place in np.flatnonzero(sound).tolist():
                begin, end = self._begins[place], self._ends[place]
                allowed[place] = not any(each.meets(begin, end) for each in others)
        return allowed

    def _touched(self, window: Selection) -> npt.NDArray[np.bool_]:
        """Return which primary blocks may have rows to leave out."""
        without = self._merge.without
        if without is None:
            return np.zeros(len(window.chunks.rows), np.bool_)
        return np.logical_or.reduceat(without.touches(window.blocks), window.block_starts()[:-1])

    def take_encoded(self, count: int) -> EncodedBlocks:
        """Return the next primary blocks as they are."""
        window = self._divide(count)
        return fetch(self._merge.fs, self._part.read_encoded(window))._replace(summary=window.summary)

    def decode(self, count: int, series: SeriesTable) -> None:
        """Have the rows of the next primary blocks, too, at least of one if it has none; by the common table."""
        types = self._merge.types
        held = [] if self.rows is None else [_by(self.rows, series, self._to[0])]
        count = max(count, 0 if held else 1)
        if count:
            reading = self._part.read_window(self._divide(count), list(types))
            held.append(_by(fetch(self._merge.fs, reading), series, self._to[-1]))
        self.rows = concat_rows(held, types)
        self._to = [np.arange(len(series), dtype=np.int32), self._to[-1]]

    def _divide(self, count: int) -> Selection:
        """Take the first primary blocks off the window."""
        window = self.window
        assert window is not None
        total = len(window.chunks.rows)
        self.window = window.primary_blocks(count, total) if count < total else None
        return window.primary_blocks(0, count) if count < total else window

    def take(self, last: Key | None, bound: Key | None) -> Rows:
        """Return the rows up to and with a key, and before another one; `decode` has been called."""
        rows = self.rows
        assert rows is not None
        count = len(rows)
        if last is not None:
            count = min(count, _up_to(rows.codes, rows.times, last, "right"))
        if bound is not None:
            count = min(count, _up_to(rows.codes, rows.times, bound, "left"))
        self.rows = None
        if count < len(rows):
            self.rows = rows.slice(count, len(rows)).narrowed()
        return rows.slice(0, count)


def _by(rows: Rows, series: SeriesTable, to: Codes) -> Rows:
    return msgspec.structs.replace(rows, series=series, codes=to[rows.codes])


def _up_to(codes: Codes, times: npt.NDArray[np.int64], key: Key, side: Literal["left", "right"]) -> int:
    """Return how many rows, in order of (series, time), come before a key, or up to it."""
    code, time = key
    first, stop = np.searchsorted(codes, code, "left"), np.searchsorted(codes, code, "right")
    return int(first + np.searchsorted(times[first:stop], time, side))


def _windows(
    fs: FileSystem, part: FilePart, most_rows: int, *, summaries: bool
) -> Iterator[tuple[Selection, bool]]:
    """Yield a part's windows, with their summaries if these are asked for, and of each whether more follow."""
    meta = fetch(fs, part.load_meta())
    pages = len(meta.first_id)
    for number in range(pages):
        page = fetch(fs, part.load_page(meta, number))
        summary = fetch(fs, part.load_summary(meta, number, keep=False)) if summaries else None
        selections = list(windows(page, most_rows, summary))
        for place, selection in enumerate(selections, start=1):
            yield selection, number < pages - 1 or place < len(selections)


def all_columns(parts: Sequence[FilePart]) -> list[Column]:
    """Return the columns that any of these parts has, whatever the schema says, each in the widest of its types.

    So nothing is lost that somebody with a newer schema has written, and what all have alike stays as it is.
    """
    found: dict[str, Column] = {}
    for part in parts:
        for column in part.columns:
            known = found.get(column.name)
            if known is None or is_narrower(known.type, column.type):
                found[column.name] = column
    return list(found.values())


def row_bytes(parts: Sequence[FilePart]) -> int:
    """Return about how many bytes of memory a row of these parts takes."""
    return max(part.metadata.uncompressed_bytes // max(part.rows, 1) for part in parts) + 1


def in_batches(
    slices: Iterator[Rows | EncodedBlocks], types: Mapping[str, pa.DataType], most_rows: int
) -> Iterator[Rows | EncodedBlocks]:
    """Join rows into larger slices, of at most so many rows unless one alone has more."""
    held: list[Rows] = []
    count = 0
    for each in slices:
        encoded = isinstance(each, EncodedBlocks)
        if held and (encoded or count + len(each) > most_rows):
            yield concat_rows(held, types)
            held, count = [], 0
        if isinstance(each, EncodedBlocks):
            yield each
        else:
            held.append(each)
            count += len(each)
    if held:
        yield concat_rows(held, types)
