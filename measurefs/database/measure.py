"""`Measure`: a named set of time-stamped rows."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from measurefs.database.batch import Place, check_batch, split
from measurefs.database.inputs import to_table
from measurefs.database.intervals import Interval
from measurefs.database.repair import repair_measure
from measurefs.database.schema import MeasureSchema
from measurefs.database.tables import Tables
from measurefs.database.verify import Checker, verify_measure
from measurefs.fs.errors import (
    ClosedError,
    CorruptionError,
    PermissionError_,
    SchemaError,
    UnsupportedStoreError,
)
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.paths import escape
from measurefs.fs.process import ProcessGuard
from measurefs.part.file_part import FilePart
from measurefs.part.series import SeriesEncoder
from measurefs.query import (
    MAX_TIME,
    MIN_TIME,
    ON_CORRUPT,
    ORDERS,
    TIME,
    VERSION,
    Condition,
    OnCorrupt,
    Order,
    Query,
    QueryResult,
    Where,
    check_names,
    read,
    to_nanoseconds,
)
from measurefs.table import Background, MemoryBudget, Runtime, Snapshot, TableOptions, TableSchema
from measurefs.table.recovery import recover
from measurefs.table.repair import RepairReport
from measurefs.table.verify import VerifyReport


class Measure:
    """Rows of one shape; get it from `Database.measure` or `Database.create_measure`.

    A row has a time, an entity (which tells series apart), tags, fields, and a version. The entity and the time
    are its key: of rows with the same key the one with the highest version counts, of equal ones the later.
    """

    def __init__(
        self,
        fs: FileSystem,
        root: str,
        schema: MeasureSchema,
        options: TableOptions,
        runtime: Runtime,
        background: Background | None,
        memory: MemoryBudget,
        *,
        read_only: bool,
    ) -> None:
        self.schema = schema
        self._fs = fs
        self._options = options
        self._runtime = runtime
        self._read_only = read_only
        self._guard = ProcessGuard()
        self.closed = False
        self._encoder = SeriesEncoder(options.series_hash)
        self._interval = Interval.parse(schema.interval, "interval")
        self._tables = Tables(
            fs, root, self._interval, self._table_schema, options, runtime, background, memory
        )

    def _table_schema(self) -> TableSchema:
        return self.schema.for_table()

    @property
    def name(self) -> str:
        """The measure's name."""
        return self.schema.name

    def __repr__(self) -> str:
        return f"<Measure {self.name!r}: {', '.join(self.schema.names)}>"

    def write(self, data: Any, *, durable: bool = False, time_column: str = TIME) -> int:
        """Store rows: all of the batch, or after an error none of it.

        The rows are visible to every query in this process on return. They are durable within
        ``options.flush_interval``; a crash before that takes them, since there is no write-ahead log.

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
            The number of rows written.

        Raises
        ------
        SchemaError
            The rows do not fit; the message names the column and the rows. Nothing was stored.
        LockError
            Another writer has a table that the rows belong in. Nothing was stored.
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
        pieces = dict(split(batch.rows, self._interval, self.schema.shards))
        targets = list(zip(self._tables.writing(list(pieces)), pieces.values(), strict=True))
        with contextlib.ExitStack() as admitted:
            for target, rows in targets:
                admitted.enter_context(target.admit(rows.nbytes))
            epochs = {target: target.take(rows, arrival=not batch.versioned) for target, rows in targets}
        if durable:
            self._tables.flush(epochs)
        return len(batch.rows)

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
        """Find rows; they are read when the result is used, and are those of this moment.

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
            A column is unknown (the message suggests the nearest), or a value or a bound cannot be understood.
        CorruptionError
            A table is damaged so that it does not open, unless that is to be skipped.
        """
        self._check_open()
        if as_of is not None:
            raise UnsupportedStoreError("as_of is not supported yet; query without it")
        query = self._plan(start, end, where, columns, order, limit)
        if on_corrupt not in ON_CORRUPT:
            raise SchemaError(f"on_corrupt must be one of {', '.join(ON_CORRUPT)}, not {on_corrupt!r}")
        skipped: list[CorruptionError] | None = [] if on_corrupt == "skip" else None
        places = [place for place in self._tables.places() if self._may_hold(place.segment, query)]
        snapshots = self._pin(places, skipped)

        def batches() -> Iterator[pa.RecordBatch]:
            groups: dict[int, list[Any]] = {}
            for place, snapshot in zip(places, snapshots, strict=True):
                groups.setdefault(place.segment, []).append(snapshot.parts_in(query.start, query.end))
            return read(self._fs, list(groups.values()), query, skipped)

        return QueryResult(query.schema, batches, snapshots, skipped)

    def _pin(self, places: Sequence[Place], skipped: list[CorruptionError] | None) -> list[Snapshot]:
        """Pin the snapshots of tables; of those that do not open because of damage, if that is skipped, the rest."""
        with contextlib.ExitStack() as pinned:
            if skipped is None:
                snapshots = [pinned.enter_context(table.pin()) for table in self._tables.reading(places)]
            else:
                with contextlib.suppress(CorruptionError):
                    self._tables.reading(places)  # opens many at a time
                snapshots = [pinned.enter_context(self._pin_rest(place, skipped)) for place in places]
            pinned.pop_all()
        return snapshots

    def _pin_rest(self, place: Place, skipped: list[CorruptionError]) -> Snapshot:
        try:
            (table,) = self._tables.reading([place])
            skipped += table.damaged if table.read_only else []
            return table.pin()
        except CorruptionError:
            root = self._tables.path(place)
            try:
                found = recover(self._fs, root, whole=False)
            except CorruptionError as error:
                skipped.append(error)
                return Snapshot(0, [])
        skipped += found.damaged
        parts = found.record.parts if found.record else []
        return Snapshot(found.newest, [FilePart(root, part, self._runtime.run) for part in parts])

    def _plan(
        self,
        start: Any,
        end: Any,
        where: Where,
        columns: Sequence[str] | None,
        order: Order,
        limit: int | None,
    ) -> Query:
        schema = self.schema
        names = list(schema.names if columns is None else columns)
        if isinstance(columns, str) or not names:
            raise SchemaError(f"columns must be a list of names, such as ['time'], not {columns!r}")
        check_names(names, [*schema.names, VERSION], "columns")
        if order not in ORDERS:
            raise SchemaError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise SchemaError(f"limit must be a whole number of rows, not {limit!r}")
        first = MIN_TIME if start is None else to_nanoseconds(start, "start")
        return Query(
            start=max(first, self._expired_before()),
            end=MAX_TIME + 1 if end is None else to_nanoseconds(end, "end"),
            condition=Condition(where, schema.entity, schema.columns, self._options.series_hash),
            names=list(dict.fromkeys(names)),
            order=order,
            limit=limit,
            entity=schema.entity,
            columns=schema.columns,
        )

    def _expired_before(self) -> int:
        """Return the time before which rows are past their `ttl`."""
        if self.schema.ttl is None:
            return MIN_TIME
        return self._runtime.now() - Interval.parse(self.schema.ttl, "ttl").nanoseconds

    def _may_hold(self, segment: int, query: Query) -> bool:
        return segment < query.end and segment + self._interval.nanoseconds > query.start

    def verify(self) -> VerifyReport:
        """Read every file of the measure and check it; see `Database.verify`."""
        self._check_open()
        return verify_measure(self._fs, escape(self.name), self._checker)

    def repair(self, *, apply: bool = False) -> RepairReport:
        """Make every damaged table one that opens, with everything in it that can be read.

        Nothing is deleted: damaged snapshots and parts are kept as ``.corrupt``. Of the parts that only a damaged
        snapshot can have named all that are whole are taken in; where rows are there twice, versions decide as ever.
        A crash in the midst leaves tables on which it can be done again.

        Parameters
        ----------
        apply : bool
            Do it; default is to say what would be done, without a lock.

        Returns
        -------
        RepairReport
            What was found, what was (or would be) done, and what is left to you.

        Raises
        ------
        LockError
            A table is to be repaired, and a writer, perhaps in this process, has it. Others may have been repaired.
        FileSystemError
            Something could not be written; repair again.
        """
        if apply:
            self._check_writable()
        self._check_open()
        root = escape(self.name)
        done = repair_measure(self._fs, root, self._checker, self._runtime.now, apply=apply)
        if apply:
            self.refresh_repaired()
        return done

    def refresh_repaired(self) -> None:
        """See what repair has made of the tables; one that still does not open says so when it is read."""
        self._check_open()
        with contextlib.suppress(CorruptionError):
            self._tables.refresh()

    @property
    def _checker(self) -> Checker:
        return Checker.of(self._options, self._runtime)

    def refresh(self) -> None:
        """See what writers in other processes have committed since the measure was opened or refreshed."""
        self._check_open()
        self._tables.refresh()

    def step(self) -> float:
        """Do what is due by now, as `Database.step` does."""
        self._check_open()
        return min((table.step() for table in self._tables.writers()), default=math.inf)

    def gc(self) -> list[str]:
        """Remove files that nothing needs any more; return their paths.

        Raises
        ------
        FileSystemError, CorruptionError
            Something could not be read or removed; the next call tries again.
        """
        self._check_writable()
        return [f"{table.root}/{name}" for table in self._tables.writers() for name in table.gc()]

    def stats(self) -> dict[str, Any]:
        """Return what the measure holds: for each table its `TsTable.stats`, by its path in the store."""
        self._check_open()
        return {table.root: table.stats() for table in self._tables.reading(self._tables.places())}

    def snapshots(self) -> dict[str, Snapshot]:
        """Return the current snapshot of each table, pinned, by its path; release them when done."""
        self._check_open()
        return {table.root: table.pin() for table in self._tables.reading(self._tables.places())}

    def close(self) -> None:
        """Make every row durable and let go of the tables; `Database.close` does it for all measures."""
        if not self.closed and self._guard.at_home:
            self._tables.close()
        self.closed = True

    def rows_at_risk(self) -> int:
        """Return how many rows are not durable yet, in tables that are open for writing."""
        self._check_open()
        rows = 0
        for table in self._tables.writers():
            with contextlib.suppress(ClosedError), table.pin() as snapshot:
                committed = table.stats()["committed_epoch"]
                rows += sum(part.rows for part in snapshot.memory_parts)
                rows += sum(part.rows for part in snapshot.file_parts if part.id > committed)
        return rows

    def _check_open(self) -> None:
        self._guard.check(f"measure {self.name!r}")
        if self.closed:
            raise ClosedError(f"measure {self.name!r} is closed; get it from an open database again")

    def _check_writable(self) -> None:
        self._check_open()
        if self._read_only:
            raise PermissionError_("write", self.name, "it was opened with read_only=True; open it without")
