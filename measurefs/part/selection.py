"""Which primary blocks of a part a scan must read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from measurefs.part.chunks import ChunkTable
from measurefs.part.index import Meta, Page
from measurefs.part.part import Blocks, Scan, join_blocks
from measurefs.part.series import merge_series, narrowed


def wanted_pages(meta: Meta, scan: Scan) -> list[int]:
    """Return the pages that may hold wanted blocks."""
    keep = (meta.min_time < scan.end) & (meta.max_time >= scan.start)
    if scan.series is not None and scan.series.ids is not None:
        ids = scan.series.ids
        keep &= np.searchsorted(ids, meta.first_id, "left") < np.searchsorted(ids, meta.last_id, "right")
    return np.flatnonzero(keep).tolist()


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The primary blocks to read, and all blocks in them.

    Attributes
    ----------
    blocks : Blocks
        Every block of the primary blocks, in order.
    wanted : bool array
        Which of them the scan asks for.
    chunks : ChunkTable
        The chunks of the primary blocks.
    """

    blocks: Blocks
    wanted: npt.NDArray[np.bool_]
    chunks: ChunkTable

    def wanted_blocks(self) -> Blocks:
        """Return the blocks that the scan asks for."""
        return self.blocks.those(self.wanted)

    def block_starts(self) -> npt.NDArray[np.int64]:
        """Return the first block of each primary block, and at the end how many blocks there are."""
        ends = np.cumsum(self.chunks.rows)
        return np.append(0, np.searchsorted(np.cumsum(self.blocks.rows), ends) + 1)

    def primary_blocks(self, first: int, stop: int) -> Selection:
        """Return those of the primary blocks from first up to stop."""
        starts = self.block_starts()
        part = slice(int(starts[first]), int(starts[stop]))
        return Selection(self.blocks.those(part), self.wanted[part], self.chunks.slice(first, stop))

    @property
    def rows(self) -> int:
        """How many rows the primary blocks have."""
        return int(self.chunks.rows.sum())

    def joined(self, following: Selection) -> Selection:
        """Return the primary blocks of both."""
        series, codes = narrowed(self.blocks.series, self.blocks.codes)
        mine = self.blocks._replace(series=series, codes=codes)
        return Selection(
            join_blocks([mine, following.blocks]),
            np.concatenate([self.wanted, following.wanted]),
            ChunkTable(
                *(
                    np.concatenate([getattr(self.chunks, field.name), getattr(following.chunks, field.name)])
                    for field in dataclasses.fields(ChunkTable)
                )
            ),
        )

    def row_mask(self, times: npt.NDArray[np.int64], scan: Scan) -> npt.NDArray[np.bool_] | None:
        """Return which rows of the primary blocks the scan asks for, None if all."""
        inside = (self.blocks.min_times >= scan.start) & (self.blocks.max_times < scan.end)
        if self.wanted.all() and inside.all():
            return None
        keep: npt.NDArray[np.bool_] = np.repeat(self.wanted, self.blocks.rows)
        if not inside[self.wanted].all():
            keep &= (times >= scan.start) & (times < scan.end)
        return keep


def select(pages: Sequence[Page], scan: Scan) -> Selection:
    """Find the primary blocks of these (one or more) pages that hold wanted blocks."""
    choices = [_choose(page, scan) for page in pages]
    series, mappings = merge_series([page.series for page in pages])
    codes = np.concatenate(
        [to[page.block_series[held]] for page, to, (held, _, _) in zip(pages, mappings, choices, strict=True)]
    )
    series, codes = narrowed(series, codes)
    pairs = list(zip(pages, choices, strict=True))
    rows, low, high = (
        np.concatenate([getattr(page, name)[held] for page, (held, _, _) in pairs])
        for name in ("block_rows", "block_min", "block_max")
    )
    wanted = np.concatenate([asked for _, (_, asked, _) in pairs])
    primary_rows = np.concatenate([_rows_of_primary_blocks(page)[kept] for page, (_, _, kept) in pairs])
    tables = (
        np.concatenate([getattr(page, name)[kept] for page, (_, _, kept) in pairs]) for name in _OF_CHUNKS
    )
    return Selection(Blocks(series, codes, rows, low, high), wanted, ChunkTable(primary_rows, *tables))


_OF_CHUNKS = ("offsets", "sizes", "checks", "nulls", "low", "high")


def windows(page: Page, most_rows: int) -> Iterator[Selection]:
    """Cut all of a page into selections of consecutive primary blocks, each of at most so many rows if it can be."""
    table = chunk_table(page)
    first = 0
    while first < len(table.rows):
        total = np.cumsum(table.rows[first:])
        stop = first + max(1, int(np.searchsorted(total, most_rows, "right")))
        yield _window(page, table, first, stop)
        first = stop


def _window(page: Page, table: ChunkTable, first: int, stop: int) -> Selection:
    held = (page.block_primary >= first) & (page.block_primary < stop)
    series, codes = narrowed(page.series, page.block_series[held])
    blocks = Blocks(series, codes, page.block_rows[held], page.block_min[held], page.block_max[held])
    return Selection(blocks, np.ones(len(codes), np.bool_), table.slice(first, stop))


def chunk_table(page: Page) -> ChunkTable:
    """Return all chunks of a page."""
    return ChunkTable(_rows_of_primary_blocks(page), *(getattr(page, name) for name in _OF_CHUNKS))


Choice = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]


def _choose(page: Page, scan: Scan) -> Choice:
    """Return which blocks are in chosen primary blocks, which of these are wanted, and the primary blocks."""
    blocks = Blocks(page.series, page.block_series, page.block_rows, page.block_min, page.block_max)
    wanted = scan.touches(blocks)
    primary = np.zeros(len(page.sizes), np.bool_)
    primary[page.block_primary[wanted]] = True
    held = primary[page.block_primary]
    return held, wanted[held], primary


def _rows_of_primary_blocks(page: Page) -> npt.NDArray[np.int64]:
    totals = np.zeros(len(page.sizes), np.int64)
    np.add.at(totals, page.block_primary, page.block_rows)
    return totals
