"""What the table and the query need of a part, whether its rows are in memory or in files."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.part.fetch import Fetch
from measurefs.part.rows import Rows
from measurefs.part.series import SeriesTable, merge_series


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class SeriesFilter:
    """Which series are wanted.

    Attributes
    ----------
    matches : callable
        From a batch of entities to a bool array: the verdict.
    ids : uint64 array or None
        Where it is known: the increasing ids of all series that can match, to skip others unread.
    """

    matches: Callable[[pa.RecordBatch], npt.NDArray[np.bool_]]
    ids: npt.NDArray[np.uint64] | None = None

    def mask(self, series: SeriesTable) -> npt.NDArray[np.bool_]:
        """Return which series of a table are wanted."""
        if self.ids is None:
            return self.matches(series.entities)
        mask: npt.NDArray[np.bool_] = np.isin(series.ids, self.ids)
        candidates = np.flatnonzero(mask)
        mask[candidates] = self.matches(series.entities.take(pa.array(candidates)))
        return mask


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """What is to be read.

    Attributes
    ----------
    start, end : int
        The rows' times, ``[start, end)``, nanoseconds since 1970-01-01 UTC.
    columns : sequence of str
        Tags and fields. Those that a part does not hold are absent from its rows.
    series : SeriesFilter or None
        None for all.
    """

    start: int
    end: int
    columns: Sequence[str]
    series: SeriesFilter | None = None

    def wants(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Return which rows are wanted."""
        wanted: npt.NDArray[np.bool_] = (rows.times >= self.start) & (rows.times < self.end)
        if self.series is not None:
            wanted &= self.series.mask(rows.series)[rows.codes]
        return wanted

    def touches(self, blocks: Blocks) -> npt.NDArray[np.bool_]:
        """Return which blocks may hold wanted rows."""
        touched: npt.NDArray[np.bool_] = (blocks.min_times < self.end) & (blocks.max_times >= self.start)
        if self.series is not None:
            touched &= self.series.mask(blocks.series)[blocks.codes]
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

    def those(self, which: slice | npt.NDArray[np.bool_]) -> Blocks:
        """Return some of them."""
        times = self.min_times[which], self.max_times[which]
        return Blocks(self.series, self.codes[which], self.rows[which], *times)


def join_blocks(pieces: Sequence[Blocks]) -> Blocks:
    """Join blocks that follow one another."""
    series, mappings = merge_series([piece.series for piece in pieces])
    codes = [to[piece.codes] for piece, to in zip(pieces, mappings, strict=True)]
    rows, min_times, max_times = (
        np.concatenate([getattr(piece, name) for piece in pieces])
        for name in ("rows", "min_times", "max_times")
    )
    return Blocks(series, np.concatenate(codes), rows, min_times, max_times)


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
    def blocks(self, scan: Scan) -> Fetch[Blocks]:
        """Find the blocks that hold rows of the wanted series in, or around, the wanted times."""

    @abc.abstractmethod
    def read(self, scan: Scan) -> Fetch[Rows]:
        """Read the wanted rows, in order.

        Raises
        ------
        CorruptionError
            What was read is not what was written.
        """
