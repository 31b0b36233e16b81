"""The tables of a measure: one per segment and shard, opened when they are first needed."""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from measurefs.database.batch import Place
from measurefs.database.evolution import becoming_floats, is_outgrown
from measurefs.database.exactness import ExactColumns, inexact_value
from measurefs.database.identity import SCHEMA
from measurefs.database.outcomes import caught, make_durable, raise_first
from measurefs.database.places import Places
from measurefs.database.schema import MeasureSchema
from measurefs.database.schema_chain import Revision, newest, revision_of
from measurefs.database.segments import segment_name
from measurefs.fs.errors import (
    ClosedError,
    CorruptionError,
    FencedError,
    LockError,
    MeasureFSError,
    NotExistError,
)
from measurefs.fs.filesystem import DirEntry, FileSystem
from measurefs.fs.listing import Listing
from measurefs.fs.paths import unescape
from measurefs.table import Background, MemoryBudget, Runtime, TableOptions, TsTable


class Tables(Places):
    """Opens a measure's tables for reading when they are found, and for writing when they are written to.

    Parameters
    ----------
    fs, root, schema, runtime, listing
        As for `Places`.

    Attributes
    ----------
    publishing : threading.Lock
        Held while the rows of a batch become visible, in all its tables, and while a query pins the tables it
        reads; so nobody in the process sees a part of a batch. Nothing that waits is done under it.
    generation : int
        Grows with every change of which tables there are.
    exact : ExactColumns
        The columns of which nobody may publish integers that float64 does not have.
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
        listing: Listing,
    ) -> None:
        super().__init__(fs, root, schema, runtime, listing)
        self.publishing = threading.Lock()
        self.exact = ExactColumns(self.publishing)
        self.generation = 0
        self._forgotten: list[tuple[Place, TsTable]] = []
        self._options = options
        self._background = background
        self._memory = memory
        self._tables: dict[Place, TsTable] = {}
        self._closed_tables: dict[Place, TsTable] = {}
        self._opened_to_lend: set[Place] = set()
        self._lent: collections.Counter[Place] = collections.Counter()
        self._closed = False

    def refresh(self) -> None:
        """See the schema, the tables, and in those not opened for writing the rows, that others have made since."""
        with self._lock:
            began = self._runtime.monotonic()
            self.look()
            tables = self._tables
            changed = self._each(lambda place: tables[place].refresh(self._take(place)), tables)
            self.generation += 1
            self._learn([table for table, new in zip(tables.values(), changed, strict=True) if new])
            self._refreshed = began

    def look(self) -> bool:
        """See the newest schema, and the segments that others have made; return whether the schema is another one.

        One listing, and the reading of a schema that is new.

        Raises
        ------
        ClosedError
            The measure was dropped.
        """
        with self._lock:
            names = self._list()
            revisions = [revision for name in names if (revision := revision_of(name)) is not None]
            if SCHEMA in names and max(revisions) == Revision.of(self.schema):
                return False
            try:
                return self.adopt(newest(self._fs, self._root))
            except NotExistError as error:
                raise ClosedError(f"measure {self.schema.name!r} was dropped") from error

    def _learn(self, tables: Iterable[TsTable]) -> None:
        """Look for a newer schema if tables have what only such a one can know of."""
        for table in tables:
            with table.pin() as snapshot:
                outgrown = is_outgrown(self.schema, (part.metadata for part in snapshot.file_parts))
            if outgrown:
                self.look()
                return

    def adopt(self, schema: MeasureSchema) -> bool:
        """Go on with a schema, unless one as new is known; forget the tables of segments that it says are dropped.

        Raises
        ------
        ClosedError
            It is of another measure, that was created after this one was dropped.
        FileSystemError
            Rows in memory have integers that a column by now cannot hold, and could not be flushed with its old type.
        """
        with self._lock:
            if schema.floor != self.schema.floor:
                raise ClosedError(
                    f"measure {self.schema.name!r} was dropped, and created again; get the new one from the database"
                )
            if Revision.of(schema) <= Revision.of(self.schema):
                return False
            with self._fitting(becoming_floats(self.schema, schema)):
                for table in self.writers():  # before any row with new columns: a flush would leave these out
                    table.schema = schema.for_table()
                self.schema = schema
                self._division = None
                gone = [place for place in self._tables if self.is_dropped(place.segment)]
                tables = [(place, self._tables.pop(place)) for place in gone]
                self._forgotten += [item for item in tables if not item[1].read_only or item[1].pinned]
                self.generation += 1
            if self._background is not None:
                self._background.wake(slow=True)  # segments may have expired by a shorter ttl
            return True

    @contextlib.contextmanager
    def _fitting(self, floats: Collection[str]) -> Iterator[None]:
        """Keep publishers out when no rows in memory have integers that float64 does not have in these columns."""
        lost: set[TsTable] = set()
        while True:
            with self.publishing:
                unfit = [table for table in self.writers() if table not in lost and _is_unfit(table, floats)]
                if not unfit:
                    yield
                    return
            for table in unfit:
                try:
                    table.flush()
                except FencedError:
                    lost.add(table)  # it never flushes again

    def take_forgotten(self) -> list[tuple[Place, TsTable]]:
        """Hand over the tables of dropped segments that were open here: closing them is up to the caller."""
        with self._lock:
            forgotten, self._forgotten = self._forgotten, []
            return forgotten

    # Opening them.

    def reading(self, places: Sequence[Place]) -> list[TsTable]:
        """Return tables to read from."""
        with self._lock:
            self._check_open()
            missing = [place for place in places if place not in self._tables]
            run = self._runtime.run_io if len(missing) > 1 else map  # a thread costs more than one table
            opened = list(run(lambda place: self._open(place, listed=self._take(place)), missing))
            found = dict(zip(missing, opened, strict=True))
            self._tables.update(
                (place, table) for place, table in found.items() if not self.is_dropped(place.segment)
            )
            self._learn(opened)
            return [self._tables.get(place) or found[place] for place in places]

    def writing(self, places: Sequence[Place]) -> list[TsTable]:
        """Return tables to write to; takes their locks the first time.

        Raises
        ------
        LockError
            Another writer has one of them.
        """
        with self._lock:
            self._check_open()
            missing = [place for place in places if self._is_missing(place)]
            for place, table in self._opened(missing):
                self._tables[place] = table
                self.made(place)
                self.generation += 1
            return [self._tables[place] for place in places]

    def prepare(self, places: Collection[Place]) -> None:
        """Open tables to write to, unless by now the rows belong elsewhere; look for that at `ready` and `division`.

        Others may have changed the interval, made segments where we would make ours, or dropped some of these.
        What one has dropped shows once its lock could be taken: dropping is done under it.

        Raises
        ------
        LockError
            Another writer has one of them; the message names segment and shard.
        """
        known = set(self.segments())
        segments = {place.segment for place in places}
        if not segments <= known:
            self.look()
            if any(self.division().at(segment.start) != segment for segment in segments - known):
                return
        self.writing(sorted(places))
        if segments & known:
            self.look()

    def ready(self, places: Iterable[Place]) -> list[TsTable] | None:
        """Return tables to write to if all are open for that."""
        with self._lock:
            self._check_open()
            tables = [self._tables.get(place) for place in places]
            ready = [table for table in tables if table is not None and not table.read_only]
            return ready if len(ready) == len(tables) else None

    def _is_missing(self, place: Place) -> bool:
        table = self._tables.get(place)
        return table is None or table.read_only

    def _opened(self, places: Sequence[Place]) -> Iterator[tuple[Place, TsTable]]:
        """Open tables for writing and yield them; then raise what the first that failed raised."""

        def attempt(place: Place) -> TsTable | MeasureFSError:
            try:
                return self._open(place, read_only=False)
            except LockError as error:
                return self._routed(error, place)
            except MeasureFSError as error:
                return error

        outcomes = self._each(attempt, places)
        yield from (
            (place, found)
            for place, found in zip(places, outcomes, strict=True)
            if isinstance(found, TsTable)
        )
        raise_first(outcomes)

    def _routed(self, error: LockError, place: Place) -> LockError:
        """Say which shard of which segment another writer has, and how rows find their writer."""
        if self.schema.shards == 1 or isinstance(error, FencedError):
            return error
        segment = segment_name(place.segment, self._first)
        routed = LockError(
            error.operation,
            error.path,
            f"shard {place.shard} of segment {segment} is written by another: {error.reason}. Each shard has one "
            "writer: Measure.shard_of tells which rows are whose",
            error.errno,
            error.holder,
        )
        routed.__cause__ = error
        return routed

    def _each(self, call: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Make a call for each item, several at a time."""
        return list(self._runtime.run_io(call, list(items)))

    def _open(self, place: Place, *, read_only: bool = True, listed: list[DirEntry] | None = None) -> TsTable:
        predecessor = self._tables.get(place) or self._closed_tables.pop(place, None)
        table = TsTable(
            self._fs,
            self.path(place),
            self._options,
            schema=self.schema.for_table(),
            read_only=read_only,
            runtime=self._runtime,
            background=self._background,
            memory=self._memory,
            predecessor=predecessor,
            floor=self.schema.floor,
            base=self.schema.base,
            listed=listed,
        )
        try:
            self._check_home(table, place)
        except BaseException:
            table.abandon()
            raise
        return table

    def _check_home(self, table: TsTable, place: Place) -> None:
        """Raise unless all rows are of the segment after which the table's directory is named."""
        with table.pin() as snapshot:
            for part in snapshot.file_parts:
                if part.rows and not place.segment.holds(part.min_time, part.max_time):
                    raise CorruptionError(
                        part.path,
                        "it has rows of times outside its segment; was a directory renamed or moved? "
                        "run 'measurefs verify'",
                    )

    def open_for_writing(self, place: Place) -> TsTable | None:
        """Return a table if it is open for writing here."""
        with self._lock:
            table = self._tables.get(place)
            return None if table is None or table.read_only else table

    @contextlib.contextmanager
    def borrowed(self, place: Place) -> Iterator[TsTable]:
        """Give a table to write to, and let go of its lock afterwards unless it was open for writing before.

        Raises
        ------
        LockError
            Another writer has it.
        """
        with self._lock:
            if self._is_missing(place):
                self._opened_to_lend.add(place)
            (table,) = self.writing([place])
        try:
            with self.lent([place]):
                yield table
        finally:
            with self._lock:
                if not self._lent[place] and place in self._opened_to_lend:
                    self._opened_to_lend.discard(place)
                    self._let_go(place, table)

    @contextlib.contextmanager
    def lent(self, places: Collection[Place]) -> Iterator[None]:
        """Keep tables that are open for writing so within the block, though nobody may write to them."""
        with self._lock:
            self._lent.update(places)
        try:
            yield
        finally:
            with self._lock:
                self._lent.subtract(places)

    def let_idle_go(self, seconds: float) -> float:
        """Let go of the locks of tables to which nothing was written for so long; return the seconds until one is due.

        Each costs requests as long as it is held. A write takes it again.
        """
        with self._lock:
            writing = [(place, table) for place, table in self._tables.items() if not table.read_only]
        due = [table.idle >= seconds and not self._lent[place] for place, table in writing]
        for (place, table), is_due in zip(writing, due, strict=True):
            if is_due:
                self._let_go(place, table)
        waiting = [table.idle for (_, table), is_due in zip(writing, due, strict=True) if not is_due]
        return max(seconds - max(waiting, default=0.0), 1.0)

    def _let_go(self, place: Place, table: TsTable) -> None:
        with self._lock:
            if self._tables.get(place) is table and not self._closed:
                with self.publishing:  # a query that is about to pin it looks for another
                    self.generation += 1
                try:
                    table.close()
                finally:
                    if table.closed:  # whoever needs it opens it, should that fail now
                        self._closed_tables[place] = self._tables.pop(place)
                self._take(place)  # what tells of a time before the last writes to it
                self._tables[place] = self._open(place)

    def writers(self) -> list[TsTable]:
        """Return the tables that are open for writing."""
        with self._lock:
            return [table for table in self._tables.values() if not table.read_only]

    def flush(self, epochs: Mapping[TsTable, int] | None = None) -> None:
        """Make the rows of tables durable, up to the given epochs; default all rows of all tables.

        Raises
        ------
        NotDurableError
            Some could not be; the error is about the first of these. All were tried.
        FencedError
            Another writer has taken one of them over.
        """
        upto = dict.fromkeys(self.writers()) if epochs is None else epochs
        outcomes = self._run_flushes(lambda item: caught(lambda: make_durable(*item)), upto.items())
        raise_first(self._of_kept_tables(zip(upto, outcomes, strict=True)))

    def _run_flushes(self, call: Callable[[Any], Any], items: Collection[Any]) -> list[Any]:
        """Flush several tables at a time; one alone in this thread, which costs less than to hand it over.

        But not in the main thread: a signal's handler that closes the store would wait there for what it interrupts.
        """
        alone = len(items) == 1 and threading.current_thread() is not threading.main_thread()
        return list(map(call, items)) if alone else self._each(call, items)

    def _of_kept_tables(self, outcomes: Iterable[tuple[TsTable, MeasureFSError | None]]) -> list[object]:
        """Return what tables raised, without those whose rows were dropped, perhaps by another process, meanwhile."""
        failed = [(table, error) for table, error in outcomes if error is not None]
        if not (self._closed or all(isinstance(error, FencedError) for _, error in failed)):
            with contextlib.suppress(MeasureFSError):
                self.look()
        with self._lock:
            kept = set(self._tables.values())
            return [error for table, error in failed if table in kept]

    def close(self) -> None:
        """Close every table, and only then raise what the first that failed raised."""
        with self._lock:
            tables = list(self._tables.values())
            outcomes = self._each(lambda table: caught(table.close), tables)
            raise_first(self._of_kept_tables(zip(tables, outcomes, strict=True)))
            self._closed = True

    def abandon(self) -> None:
        """Close every table without making its rows durable; then raise what the first that failed raised."""
        with self._lock:
            self._closed = True
            raise_first(self._each(lambda table: caught(table.abandon), self._tables.values()))

    def _check_open(self) -> None:
        if self._closed:  # while the caller's rows were on their way here
            raise ClosedError(
                f"measure {unescape(self._root)!r} is closed; get it from an open database again"
            )


def _is_unfit(table: TsTable, floats: Collection[str]) -> bool:
    if not floats:
        return False
    with table.pin() as snapshot:
        return any(inexact_value(part.held, floats) is not None for part in snapshot.memory_parts)
