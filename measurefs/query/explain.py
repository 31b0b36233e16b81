"""What a query has to do, and what it did: counted while it reads, told by `QueryResult.explain`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

from measurefs.part.fetch import Fetch
from measurefs.table.snapshot import Snapshot

T = TypeVar("T")


@dataclasses.dataclass(slots=True)
class Work:
    """What reading a result took so far.

    Attributes
    ----------
    tables, parts, parts_read : int
        Tables and parts that were pinned, and parts of which something was looked at.
    blocks, blocks_read : int
        Blocks that the bounds and the series leave, and those of them that were read.
    blocks_known : int
        Blocks of which their summaries told all that was wanted.
    chunks : int
        Column chunks that were decoded; what is kept from an earlier query is not decoded again.
    requests, ranges, bytes : int
        Batches of range reads, the ranges in them, and their bytes.
    rows_sorted : int
        Rows in clusters of blocks of several parts, where one row may supersede another.
    rows : int
        Rows of the result.
    """

    tables: int = 0
    parts: int = 0
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
        for field in dataclasses.fields(self):
            setattr(self, field.name, 0)
        self.tables = len(snapshots)
        self.parts = sum(len(snapshot.parts) for snapshot in snapshots)

    def counting(self, reading: Fetch[T]) -> Fetch[T]:
        """Return a reading that counts what it reads."""
        data: list[bytes] | None = None
        while True:
            try:
                wanted = next(reading) if data is None else reading.send(data)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            self.requests += 1
            self.ranges += len(wanted)
            self.bytes += sum(size for _, _, size in wanted)
            data = yield wanted
