"""Reading the chunks that a scan needs, neighbouring ones in one range, and decoding them in parallel."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec.arrays import Array
from measurefs.codec.checksum import verify32
from measurefs.codec.types import ColumnType
from measurefs.part.fetch import Fetch, Range
from measurefs.part.held import Choice, HeldColumn
from measurefs.part.tasks import Mapper, Task, run_tasks

_GAP = 4 << 10
_CHUNKS_PER_TASK = 64

Locate = Callable[[str, int, int], Range]


class ChunkTable(msgspec.Struct, frozen=True, eq=False):
    """The chunks of q primary blocks with c columns each; see `Page` for the arrays of shape (q, c).

    Attributes
    ----------
    rows : int64 array, shape (q,)
        The rows of each primary block.
    """

    rows: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    checks: npt.NDArray[np.int64]
    nulls: npt.NDArray[np.int64]
    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]

    def slice(self, first: int, stop: int) -> ChunkTable:
        """Return those of the primary blocks from first up to stop."""
        return ChunkTable(*(getattr(self, name)[first:stop] for name in self.__struct_fields__))


class Merged(NamedTuple):
    """Ranges that cover pieces, and for each piece the range it is in and where in it."""

    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    which: npt.NDArray[np.int64]
    at: npt.NDArray[np.int64]


def merge_ranges(offsets: Array, sizes: Array, gap: int = _GAP) -> Merged:
    """Join pieces of a file that lie at most so many bytes apart into ranges."""
    gaps = offsets[1:] - offsets[:-1] - sizes[:-1]
    if len(offsets) and ((gaps >= 0) & (gaps <= gap)).all():
        whole = offsets[-1:] + sizes[-1:] - offsets[:1]
        return Merged(offsets[:1], whole, np.zeros(len(offsets), np.int64), offsets - offsets[0])
    order = np.argsort(offsets, kind="stable")
    starts, ends = offsets[order], np.maximum.accumulate(offsets[order] + sizes[order])
    first = np.ones(len(order), np.bool_)
    first[1:] = starts[1:] > ends[:-1] + gap
    range_of = np.cumsum(first) - 1
    firsts = np.flatnonzero(first)
    range_starts = starts[firsts]
    range_ends = ends[np.append(firsts[1:], len(order)) - 1] if len(order) else ends
    which = np.empty(len(order), np.int64)
    which[order] = range_of
    return Merged(range_starts, range_ends - range_starts, which, offsets - range_starts[which])


class ColumnChunks(msgspec.Struct, eq=False):
    """One column's chunks, as bytes read but not yet decoded."""

    path: str
    offsets: npt.NDArray[np.int64]
    pieces: list[bytes]
    checks: npt.NDArray[np.int64]
    nulls: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]

    @classmethod
    def none(cls) -> ColumnChunks:
        """Return no chunks."""
        none = np.empty(0, np.int64)
        return cls("", none, [], none, none, none)

    def those(self, numbers: npt.NDArray[np.int64]) -> ColumnChunks:
        """Return some of them."""
        pieces = [self.pieces[number] for number in numbers.tolist()]
        arrays = (self.checks[numbers], self.nulls[numbers], self.rows[numbers])
        return ColumnChunks(self.path, self.offsets[numbers], pieces, *arrays)

    def verified(self, number: int) -> bytes:
        """Return a chunk's bytes; raises `CorruptionError` if they are not what was written."""
        data = self.pieces[number]
        verify32(data, int(self.checks[number]), self.path, int(self.offsets[number]), "a chunk")
        return data


def fetch_chunks(
    table: ChunkTable, wanted: Sequence[int], section_of: Sequence[str], locate: Locate
) -> Fetch[dict[int, ColumnChunks]]:
    """Read the chunks of the wanted columns.

    Parameters
    ----------
    table : ChunkTable
    wanted : sequence of int
        Columns of the table.
    section_of : sequence of str
        Each column's section.
    locate : callable
        From section, offset and size to the range in the part's files.
    """
    merged: dict[str, Merged] = {}
    ranges: list[Range] = []
    columns_of: dict[str, list[int]] = {}
    for column in wanted:
        columns_of.setdefault(section_of[column], []).append(column)
    for section, columns in columns_of.items():
        ranges_of = merge_ranges(table.offsets[:, columns].ravel(), table.sizes[:, columns].ravel())
        merged[section] = ranges_of
        for offset, size in zip(ranges_of.offsets.tolist(), ranges_of.sizes.tolist(), strict=True):
            ranges.append(locate(section, offset, size))
    data = yield ranges
    found: dict[int, ColumnChunks] = {}
    done = 0
    for section, columns in columns_of.items():
        count = len(merged[section].offsets)
        pieces = _cut(merged[section], table.sizes[:, columns].ravel(), data[done : done + count])
        path, start, _ = ranges[done]
        done += count
        base = start - int(merged[section].offsets[0])
        for place, column in enumerate(columns):
            found[column] = ColumnChunks(
                path,
                table.offsets[:, column] + base,
                pieces[place :: len(columns)],
                table.checks[:, column],
                table.nulls[:, column],
                table.rows,
            )
    return found


def _cut(merged: Merged, sizes: Array, data: Sequence[bytes]) -> list[bytes]:
    """Cut the pieces out of the ranges that cover them."""
    return [
        data[which][at : at + size]
        for which, at, size in zip(merged.which.tolist(), merged.at.tolist(), sizes.tolist(), strict=True)
    ]


def fill(held: HeldColumn, chunks: ColumnChunks, places: npt.NDArray[np.int64]) -> list[Task]:
    """Return what decodes chunks into a held column, as far as it lacks them, several chunks a task.

    Parameters
    ----------
    held : HeldColumn
    chunks : ColumnChunks
        q of them.
    places : int64 array, shape (q,)
        The primary block of the page that each is; increasing.
    """
    missing = held.missing(Choice.of(places))
    numbers = places.searchsorted(missing)

    def decode(first: int, stop: int) -> None:
        data = [chunks.verified(number) for number in numbers[first:stop].tolist()]
        held.decode(missing[first:stop], data, chunks.path)

    firsts = range(0, len(missing), _CHUNKS_PER_TASK)
    return [functools.partial(decode, first, first + _CHUNKS_PER_TASK) for first in firsts]


def decode_chunks(
    chunks: Mapping[int, ColumnChunks],
    kinds: Mapping[int, ColumnType],
    dictionaries: Mapping[int, pa.Array],
    run: Mapper[Any, Any],
) -> dict[int, pa.Array]:
    """Decode columns, several chunks a task; strings with a dictionary stay coded.

    Raises
    ------
    CorruptionError
        A chunk's bytes are not what was written.
    """
    held: dict[int, HeldColumn] = {}
    tasks: list[Task] = []
    for column, found in chunks.items():
        starts = np.append(0, np.cumsum(found.rows))
        nulls = bool(found.nulls.any())
        held[column] = HeldColumn(kinds[column], dictionaries.get(column), starts, nulls=nulls)
        tasks += fill(held[column], found, np.arange(len(found.rows)))
    run_tasks(tasks, run if len(tasks) > 1 else map)
    return {
        column: found.array(Choice.of(np.arange(len(chunks[column].rows)))) for column, found in held.items()
    }
