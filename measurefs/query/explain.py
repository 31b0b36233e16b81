"""What a query had to do: counted while it reads, told by `QueryResult.explain`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from measurefs.part.fetch import Range
from measurefs.table.snapshot import Snapshot


class Work(msgspec.Struct):
    """What reading a result took; print it for a summary.

    Attributes
    ----------
    tables, parts, rows_held : int
        Tables of the segments within the bounds, their parts, and the rows of these.
    parts_read : int
        Parts that have blocks of the wanted series and times.
    blocks : int
        These blocks.
    blocks_read : int
        Those that neither the statistics of their chunks exclude nor their summaries tell all of.
    blocks_known : int
        Those of which their summaries told all that was wanted.
    chunks : int
        Column chunks that were decoded; what an earlier query has left in memory is not decoded again.
    requests, ranges, bytes : int
        Batches of range reads (each one round trip), the ranges in them, and their bytes.
    rows_sorted : int
        Rows in blocks of several parts that overlap, where one row may supersede another.
    rows : int
        Rows of the result.
    """

    tables: int = 0
    parts: int = 0
    rows_held: int = 0
    parts_read: int = 0
    blocks: int = 0
    blocks_read: int = 0
    blocks_known: int = 0
    chunks: int = 0
    requests: int = 0
    ranges: int = 0
    bytes: int = 0
    rows_sorted: int = 0
    rows: int = 0

    def begin(self, snapshots: Sequence[Snapshot]) -> None:
        """Begin anew, with these tables."""
        for name in self.__struct_fields__:
            setattr(self, name, 0)
        self.tables = len(snapshots)
        self.parts = sum([len(snapshot.parts) for snapshot in snapshots])
        self.rows_held = sum([part.rows for snapshot in snapshots for part in snapshot.parts])

    def told_by_summaries(self, blocks: int) -> None:
        """Take note of blocks that need not be read after all."""
        self.blocks_known += blocks
        self.blocks_read -= blocks

    def read(self, ranges: Sequence[Range]) -> None:
        """Take note of a request."""
        self.requests += 1
        self.ranges += len(ranges)
        self.bytes += sum(size for _, _, size in ranges)

    def __str__(self) -> str:
        excluded = self.blocks - self.blocks_read - self.blocks_known
        lines = [
            f"{self.tables:,} tables within the bounds, with {self.parts:,} parts of {self.rows_held:,} rows",
            f"{self.parts_read:,} parts have {self.blocks:,} blocks of the wanted series and times",
            f"{excluded:,} blocks are excluded by their statistics, {self.blocks_known:,} told by their summaries, "
            f"{self.blocks_read:,} read",
            f"{self.chunks:,} chunks decoded; {self.bytes:,} bytes in {self.ranges:,} ranges and "
            f"{self.requests:,} requests",
            f"{self.rows_sorted:,} rows of blocks that overlap were sorted",
            f"{self.rows:,} rows in the result",
        ]
        return "\n".join(lines)
