"""`Measure`: a named set of time-stamped rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from measurefs.database import writing
from measurefs.database.batch import check_batch, shards_of_batch
from measurefs.database.inputs import to_table
from measurefs.database.questions import MeasureQuestions
from measurefs.database.upkeep import MeasureUpkeep
from measurefs.query import TIME


class Measure(MeasureQuestions, MeasureUpkeep):
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
        batch = check_batch(table, self.schema, time_column, self._encoder, self._runtime.run)
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
        return shards_of_batch(to_table(data), self.schema, self._options.series_hash)

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
