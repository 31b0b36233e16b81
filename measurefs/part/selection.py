"""Which pages of a part a scan must read, and its primary blocks window by window."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import numpy.typing as npt

from measurefs.part.chunks import ChunkTable
from measurefs.part.index import Meta, Page
from measurefs.part.part import Blocks, Scan, join_blocks
from measurefs.part.series import narrowed
from measurefs.part.summary import Summary, join_summaries

MAX_TIME = 2**63 - 1


def wanted_pages(meta: Meta, scan: Scan) -> list[int]:
    """Return the pages that may hold wanted blocks."""
    keep = (meta.min_time < scan.end) & (meta.max_time >= scan.start)
    if scan.series is not None and scan.series.ids is not None:
        ids = scan.series.ids
        keep &= ids.searchsorted(meta.first_id) < ids.searchsorted(meta.last_id, "right")
    pages = keep.nonzero()[0]
    if scan.first is not None and scan.series is None:
        pages = _first_pages(meta, pages, scan)
    return pages.tolist()


def _first_pages(meta: Meta, pages: npt.NDArray[np.int64], scan: Scan) -> npt.NDArray[np.int64]:
    """Leave out pages before which there are surely enough rows in the order that is wanted.

    A page has a row of its least time, and one of its greatest; a page whose times are all wanted has one at all.
    """
    assert scan.first is not None
    rows, order = scan.first
    low, high = meta.min_time[pages], meta.max_time[pages]
    if order == "series":
        sure = np.cumsum((low >= scan.start) & (high < scan.end))
        return pages[: int(np.searchsorted(sure, rows)) + 1]
    if order == "time":
        nearest, sure = np.maximum(low, scan.start), low >= scan.start
    else:
        nearest, sure = ~np.minimum(high, min(scan.end, MAX_TIME + 1) - 1), high < scan.end
    if np.count_nonzero(sure) < rows:
        return pages
    times, last = nearest[sure], meta.last_id[pages][sure]
    cut = np.lexsort((last, times))[rows - 1]
    tied = (nearest == times[cut]) & (meta.first_id[pages] <= last[cut])
    return np.asarray(pages[(nearest < times[cut]) | tied])


class Selection(msgspec.Struct, frozen=True, eq=False):
    """The primary blocks to read, and all blocks in them.

    Attributes
    ----------
    blocks : Blocks
        Every block of the primary blocks, in order.
    chunks : ChunkTable
        The chunks of the primary blocks.
    summary : Summary or None
        What is known of the blocks, if anything is.
    """

    blocks: Blocks
    chunks: ChunkTable
    summary: Summary | None = None

    def block_starts(self) -> npt.NDArray[np.int64]:
        """Return the first block of each primary block, and at the end how many blocks there are."""
        ends = np.cumsum(self.chunks.rows)
        return np.append(0, np.searchsorted(np.cumsum(self.blocks.rows), ends) + 1)

    def primary_blocks(self, first: int, stop: int) -> Selection:
        """Return those of the primary blocks from first up to stop."""
        starts = self.block_starts()
        part = slice(int(starts[first]), int(starts[stop]))
        summary = None if self.summary is None else self.summary.those(part)
        return Selection(self.blocks.those(part), self.chunks.slice(first, stop), summary)

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
            ChunkTable(
                *(
                    np.concatenate([getattr(self.chunks, name), getattr(following.chunks, name)])
                    for name in ChunkTable.__struct_fields__
                )
            ),
            join_summaries([self.summary, following.summary]),
        )


_OF_CHUNKS = ("offsets", "sizes", "checks", "nulls", "low", "high")


def windows(page: Page, most_rows: int, summary: Summary | None = None) -> Iterator[Selection]:
    """Cut all of a page into selections of consecutive primary blocks, each of at most so many rows if it can be."""
    table = chunk_table(page)
    first = 0
    while first < len(table.rows):
        total = np.cumsum(table.rows[first:])
        stop = first + max(1, int(np.searchsorted(total, most_rows, "right")))
        yield _window(page, table, first, stop, summary)
        first = stop


def _window(page: Page, table: ChunkTable, first: int, stop: int, summary: Summary | None) -> Selection:
    held = slice(*np.searchsorted(page.block_primary, (first, stop)).tolist())
    blocks = blocks_of(page).those(held)
    series, codes = narrowed(blocks.series, blocks.codes)
    known = None if summary is None else summary.those(held)
    return Selection(blocks._replace(series=series, codes=codes), table.slice(first, stop), known)


def chunk_table(page: Page, primary: slice | npt.NDArray[np.int64] = slice(None)) -> ChunkTable:
    """Return the chunks of some primary blocks of a page."""
    return ChunkTable(
        np.diff(page.primary_starts)[primary], *(getattr(page, name)[primary] for name in _OF_CHUNKS)
    )


def blocks_of(page: Page) -> Blocks:
    """Return all blocks of a page."""
    return Blocks(page.series, page.block_series, page.block_rows, page.block_min, page.block_max)
