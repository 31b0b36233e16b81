"""The result of a query: rows that are read when they are asked for."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec
import pyarrow as pa

from measurefs.fs.errors import ClosedError, CorruptionError, SchemaError
from measurefs.fs.process import ProcessGuard
from measurefs.query.explain import Work
from measurefs.table.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_STREAM_BYTES = 20 << 20
_TABLE_BYTES = 512 << 20
"""Rows held at a time: while a result streams, and while it becomes one table anyway."""


class QueryResult:
    """The rows of a query, as they were when it was made.

    It keeps the snapshots it reads from until it is closed or forgotten, and may be read any number of times.
    Anything that takes an Arrow C stream takes it as it is: ``pyarrow.table(r)``, ``polars.DataFrame(r)``,
    ``duckdb.from_arrow(r)``.

    Parameters
    ----------
    schema : pyarrow.Schema
        Its columns.
    read : callable
        Yields record batches, anew with each call; takes the bytes of rows that may be held at a time.
    snapshots : sequence of Snapshot
        Pinned for it; it releases them.
    work : Work
        What reading counts in.
    skipped : list of CorruptionError, optional
        What reading adds to.

    Attributes
    ----------
    schema : pyarrow.Schema
    skipped : list of CorruptionError
        Of a query with ``on_corrupt="skip"``: one for each part (or snapshot, or table) that was found damaged and
        left out, with its path and offset. Complete when all was read; what a query does not need it does not look at.
    """

    def __init__(
        self,
        schema: pa.Schema,
        read: Callable[[int], Iterator[pa.RecordBatch]],
        snapshots: Sequence[Snapshot],
        work: Work,
        skipped: list[CorruptionError] | None = None,
    ) -> None:
        self.schema = schema
        self.skipped = [] if skipped is None else skipped
        self._read = read
        self._work = work
        self._guard = ProcessGuard()
        self._release = weakref.finalize(self, _drop, list(snapshots), self._guard)

    def to_batches(self, batch_rows: int | None = None) -> Iterator[pa.RecordBatch]:
        """Return the rows in record batches, read as they are taken.

        Memory is bounded whatever the size of the result, in every order. Who has enough drops the iterator: when the
        result is forgotten, too, the snapshots go.

        Parameters
        ----------
        batch_rows : int, optional
            Rows of each batch at most; by default they come as they are read.

        Raises
        ------
        ClosedError
            The result was closed, or comes from the process that this one was forked from.
        CorruptionError
            A part is damaged.
        """
        if batch_rows is not None and (isinstance(batch_rows, bool) or batch_rows < 1):
            raise SchemaError(f"batch_rows must be a number of rows from 1, not {batch_rows!r}")
        return self._batches(_STREAM_BYTES, batch_rows)

    def _batches(self, memory: int, batch_rows: int | None = None) -> Iterator[pa.RecordBatch]:
        self._check_process()
        if not self._release.alive:
            raise ClosedError("this result was closed; make the query again")
        return self._running(memory, batch_rows)

    def _running(self, memory: int, batch_rows: int | None) -> Iterator[pa.RecordBatch]:
        for batch in self._read(memory):
            for start in range(0, batch.num_rows, batch_rows or batch.num_rows):
                yield batch if batch_rows is None else batch.slice(start, batch_rows)
                self._check_process()

    def _check_process(self) -> None:
        self._guard.check("this result")

    def to_reader(self, batch_rows: int | None = None) -> pa.RecordBatchReader:
        """Return the rows as an Arrow reader, which reads as it goes; see `to_batches`."""
        return pa.RecordBatchReader.from_batches(self.schema, self.to_batches(batch_rows))

    def to_arrow(self) -> pa.Table:
        """Return all rows as an Arrow table; ``time`` is a UTC timestamp in nanoseconds."""
        return pa.Table.from_batches(self._batches(_TABLE_BYTES), self.schema)

    def to_pandas(self, **options: Any) -> pd.DataFrame:
        """Return all rows as a pandas frame; options as `pyarrow.Table.to_pandas` takes them."""
        return self.to_arrow().to_pandas(**options)

    def to_polars(self) -> pl.DataFrame:
        """Return all rows as a Polars frame."""
        import polars  # noqa: PLC0415 - optional, and slow to import

        frame = polars.from_arrow(self.to_arrow())
        assert isinstance(frame, polars.DataFrame)
        return frame

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.to_reader().__arrow_c_stream__(requested_schema)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self.to_batches()

    def explain(self) -> Work:
        """Read the result once, throwing its rows away, and return what that took: print it.

        What earlier queries have left decoded in memory is not read again, and shows as less work.
        """
        for _ in self.to_batches():
            pass
        return msgspec.structs.replace(self._work)

    def close(self) -> None:
        """Let go of the snapshots; twice is harmless."""
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _drop(snapshots: Sequence[Snapshot], guard: ProcessGuard) -> None:
    if not guard.at_home:  # what was pinned is pinned in the parent, and its locks may be held for ever here
        return
    for snapshot in snapshots:
        snapshot.drop()
