"""The result of a query: rows that are read when they are asked for."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from measurefs.fs.errors import ClosedError, CorruptionError
from measurefs.fs.process import ProcessGuard
from measurefs.table.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


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
        Yields record batches, anew with each call.
    snapshots : sequence of Snapshot
        Pinned for it; it releases them.
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
        read: Callable[[], Iterator[pa.RecordBatch]],
        snapshots: Sequence[Snapshot],
        skipped: list[CorruptionError] | None = None,
    ) -> None:
        self.schema = schema
        self.skipped = [] if skipped is None else skipped
        self._read = read
        self._guard = ProcessGuard()
        self._release = weakref.finalize(self, _drop, list(snapshots), self._guard)

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """Return the rows in record batches, read as they are taken.

        Raises
        ------
        ClosedError
            The result was closed, or comes from the process that this one was forked from.
        CorruptionError
            A part is damaged.
        """
        self._check_process()
        if not self._release.alive:
            raise ClosedError("this result was closed; make the query again")
        return self._batches()

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for batch in self._read():
            yield pa.record_batch(batch.columns, schema=self.schema)
            self._check_process()

    def _check_process(self) -> None:
        self._guard.check("this result")

    def to_reader(self) -> pa.RecordBatchReader:
        """Return the rows as an Arrow reader, which reads as it goes."""
        return pa.RecordBatchReader.from_batches(self.schema, self.to_batches())

    def to_arrow(self) -> pa.Table:
        """Return all rows as an Arrow table; ``time`` is a UTC timestamp in nanoseconds."""
        return pa.Table.from_batches(self.to_batches(), self.schema)

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
