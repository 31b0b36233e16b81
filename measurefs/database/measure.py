"""`Measure`: a named set of time-stamped rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.database import reading, time_travel, writing
from measurefs.database.batch import check_batch, shards_of_batch
from measurefs.database.dropping import until_dropped
from measurefs.database.inputs import to_table
from measurefs.database.retention import expired_before
from measurefs.database.upkeep import MeasureUpkeep
from measurefs.fs.errors import (
    CorruptionError,
    SchemaError,
)
from measurefs.part.series import SeriesEncoder
from measurefs.query import ON_CORRUPT, TIME, OnCorrupt, Order, QueryResult, Reader, Where, Work


class Measure(MeasureUpkeep):
    """Rows of one shape; get it from `Database.measure` or `Database.create_measure`.

    A row has a time, an entity (which tells series apart), tags, fields, and a version. The entity and the time
    are its key: of rows with the same key the one with the highest version counts, of equal ones the later.
    """

    def write(self, data: Any, *, durable: bool = False, time_column: str = TIME) -> int:
        """Store rows: all of the batch, or after an error none of it.

        The rows are visible to every query in this process on return, and all at the same moment: no query has a
        part of a batch. They are durable within ``options.flush_interval``; a crash before that takes them, since
        there is no write-ahead log. Rows that are past the measure's ttl, or before what was dropped, are not stored.

        A batch reaches one table for each segment and shard that it has rows of. After a crash, and for readers in
        other processes, it is all or nothing in each of these tables, and not over all of them: what is durable of a
        batch that had not been acknowledged with durable, or by `flush`, may be the rows of some tables. A reader in
        another process has, of each table, what was committed when it refreshed that table.

        Parameters
        ----------
        data : pyarrow Table, RecordBatch or RecordBatchReader, pandas or Polars frame, dict of columns, list of dicts
            The columns are the time, the entity columns and any of the tags and fields (those left out are null),
            in any order, and optionally ``version`` (int64; default is the order of arrival). Values are cast
            where that changes none of them. In a pandas frame NaN means null. NumPy and pandas memory is copied;
            Arrow memory is not, so leave alone what lies beneath it.
        durable : bool
            Return only when the rows are durable. Those who wait at the same time share one commit.
        time_column : str
            The name of the time column in data. Integers are nanoseconds; what has no time zone is UTC.

        Returns
        -------
        int
            The number of rows stored: those of the batch, without the ones that had expired.

        Raises
        ------
        SchemaError
            The rows do not fit; the message names the column and the rows. Nothing was stored.
        LockError
            Another writer has a table that the rows belong in: a shard of a segment, which has one writer. Where
            several processes write to one measure, `shard_of` tells which rows are whose. Nothing was stored.
        BackpressureError
            Memory stayed full for ``options.write_timeout``. Nothing was stored.
        ClosedError
            The measure was closed. Nothing was stored; what was stored before a close is durable after it.
        NotDurableError
            With durable: the rows are stored and readable, but not durable yet. They stay in memory and it is
            tried again by itself; `flush` waits for it.
        FencedError
            Another writer has taken over a table that the rows belong in. With durable, whether it found them is
            not known: open the store again, and write them again with the same ``version``.
        """
        self._check_writable()
        table = to_table(data, time_column)
        if table.num_rows == 0 and not table.column_names:
            return 0  # a collector that has nothing to send
        batch = check_batch(table, self.schema, time_column, self._encoder)
        stored = writing.store(self._tables, batch, self._runtime.now())
        if durable:
            self._tables.flush(stored.epochs)
        return stored.rows

    def shard_of(self, data: Any) -> npt.NDArray[np.int64]:
        """Return the shard of each row, from 0 up to but without ``schema.shards``.

        Each shard of a segment has one writer at a time. So that several processes write to one measure side by
        side, each takes some shards, and the rows of these: ``data[measure.shard_of(data) == mine]``. The shard of
        an entity never changes.

        Parameters
        ----------
        data : see `write`
            Only the entity columns are looked at; there need be no others.

        Raises
        ------
        SchemaError
            An entity column is missing, or has a null or a value of another type.
        """
        self._check_open()
        return shards_of_batch(to_table(data), self.schema, SeriesEncoder(self._options.series_hash))

    def flush(self) -> None:
        """Return once every row written so far is durable.

        Raises
        ------
        NotDurableError
            Rows could not be made durable; they stay readable, and it is tried again, also by the next flush.
        FencedError
            Another writer has taken over a table; whether it found the rows written last is not known.
        """
        self._check_writable()
        self._tables.flush()

    def query(
        self,
        start: Any = None,
        end: Any = None,
        where: Where = None,
        columns: Sequence[str] | None = None,
        order: Order = "time",
        limit: int | None = None,
        as_of: Any = None,
        on_corrupt: OnCorrupt = "error",
    ) -> QueryResult:
        """Find rows; they are read when the result is used, and are those of this moment, or of the past.

        Parameters
        ----------
        start, end : datetime, str, int, numpy.datetime64, pandas.Timestamp or pyarrow scalar, optional
            Times from start up to but without end. Strings are ISO 8601, integers nanoseconds since 1970; what has
            no time zone is UTC.
        where : dict or pyarrow.compute.Expression, optional
            ``{"host": "a", "region": ["x", "y"]}``: each column equals the value, or one of several (None finds
            nulls). Or an expression over any columns.
        columns : sequence of str, optional
            The columns of the result; default time, entity, tags and fields. ``version`` may be asked for.
        order : {"time", "-time", "series"}
            By time (rows of the same time by series), by time descending, or the rows of each series together
            in order of time: the series in the order in which where lists them, else in one that is always the
            same.
        limit : int, optional
            At most so many rows.
        as_of : str, datetime, int or whatever start may be, optional
            Rows as they were: at a tag (its name), or at a time (the last commit of each table up to then, by its
            writer's clock), or at an epoch (an integer, of each table). Only what was committed counts. Except at a
            tag a table goes back as far as its newest ``options.keep_snapshots`` commits, and what retention has
            dropped since is gone. The `ttl` is judged as of then. Columns are today's: those added since are null.
        on_corrupt : {"error", "skip"}
            What to do about damaged files that the query needs: raise `CorruptionError`, or go on without and tell
            in `QueryResult.skipped`. What is left out is always a whole part: the rows of one flush. A row in it that
            had replaced an older one is missing, too, so that the older one may be found. Of a table
            whose newest snapshot is damaged the newest that reads well serves; one that has none is left out.

        Returns
        -------
        QueryResult

        Raises
        ------
        SchemaError
            A column is unknown (the message suggests the nearest), or a value or a bound cannot be understood; or
            what was committed by ``as_of`` has been collected (the message says what there is).
        CorruptionError
            A table is damaged so that it does not open, unless that is to be skipped.
        """
        self._check_open()
        if on_corrupt not in ON_CORRUPT:
            raise SchemaError(f"on_corrupt must be one of {', '.join(ON_CORRUPT)}, not {on_corrupt!r}")
        skipped: list[CorruptionError] | None = [] if on_corrupt == "skip" else None
        past = None
        if as_of is not None:
            past = time_travel.understand(self._fs, self._root, self._tables, as_of, skipped)
        now, hasher, schema = self._runtime.now(), self._options.series_hash, self.schema
        since = expired_before(schema, now) if past is None else time_travel.since(schema, past, now)
        query = reading.plan(schema, hasher, since, start, end, where, columns, order, limit)
        if past is None:
            places, snapshots = reading.pin(self._fs, self._tables, query, skipped, self._runtime)
        else:
            query, places, snapshots = time_travel.pin(
                self._fs, self._tables, past, query, skipped, self._runtime
            )

        if self.schema is not schema:  # by now rows may be of other types than were planned with
            for snapshot in snapshots:
                snapshot.release()
            return self.query(start, end, where, columns, order, limit, as_of, on_corrupt)

        work = Work()

        def batches(memory: int) -> Iterator[pa.RecordBatch]:
            parts = [snapshot.parts_in(query.start, query.end) for snapshot in snapshots]
            work.begin(snapshots, parts)
            reader = Reader(
                self._fs,
                query,
                self._runtime.run,
                memory=memory,
                cache_bytes=self._runtime.cache.limit,
                work=work,
                skipped=skipped,
            )
            found = reader.batches(reading.groups(places, parts))
            return until_dropped(found, lambda: self._dropped, self.name)

        return QueryResult(query.schema, batches, snapshots, work, skipped)
