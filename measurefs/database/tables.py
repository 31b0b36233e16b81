"""The tables of a measure: one per segment and shard, opened when they are first needed."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from measurefs.database.batch import Place
from measurefs.database.intervals import Interval, segment_start
from measurefs.fs.errors import (
    ClosedError,
    CorruptionError,
    FencedError,
    FileSystemError,
    MeasureFSError,
    NotDurableError,
    NotExistError,
)
from measurefs.fs.filesystem import DirEntry, FileSystem
from measurefs.fs.paths import join, unescape
from measurefs.table import Background, MemoryBudget, Runtime, TableOptions, TableSchema, TsTable

SHARD = re.compile(r"shard-(0|[1-9][0-9]*)")


class Tables:
    """Opens a measure's tables for reading when they are found, and for writing when they are written to.

    Parameters
    ----------
    fs : FileSystem
    root : str
        The measure's directory.
    interval : Interval
        The span of a segment.
    schema : callable
        Returns what the tables need of the measure's schema, as it is now.
    """

    def __init__(
        self,
        fs: FileSystem,
        root: str,
        interval: Interval,
        schema: Callable[[], TableSchema],
        options: TableOptions,
        runtime: Runtime,
        background: Background | None,
        memory: MemoryBudget,
    ) -> None:
        self._fs = fs
        self._root = root
        self._interval = interval
        self._schema = schema
        self._options = options
        self._runtime = runtime
        self._background = background
        self._memory = memory
        self._tables: dict[Place, TsTable] = {}
        self._found: set[Place] | None = None
        self._closed = False
        self._lock = threading.RLock()

    def path(self, place: Place) -> str:
        """Return the directory of a table."""
        return join(self._root, self._interval.segment_name(place.segment), f"shard-{place.shard}")

    def places(self) -> list[Place]:
        """Return where there are tables, by time and shard, as of the last `refresh`."""
        with self._lock:
            if self._found is None:
                self._found = set(self._find())
            return sorted(self._found)

    def _find(self) -> Iterator[Place]:
        for segment in _list(self._fs, self._root):
            start = segment_start(segment.name) if segment.is_dir else None
            if start is None:
                continue
            for entry in _list(self._fs, join(self._root, segment.name)):
                match = SHARD.fullmatch(entry.name) if entry.is_dir else None
                if match:
                    yield Place(start, int(match.group(1)))

    def refresh(self) -> None:
        """See the tables, and in those not opened for writing the rows, that others have made since."""
        with self._lock:
            self._found = set(self._find()) | set(self._tables)
            self._each(TsTable.refresh, self._tables.values())

    def reading(self, places: Sequence[Place]) -> list[TsTable]:
        """Return tables to read from."""
        with self._lock:
            self._check_open()
            missing = [place for place in places if place not in self._tables]
            opened = self._each(lambda place: self._open(place, read_only=True), missing)
            self._tables.update(zip(missing, opened, strict=True))
            return [self._tables[place] for place in places]

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
                if self._found is not None:
                    self._found.add(place)
            return [self._tables[place] for place in places]

    def _is_missing(self, place: Place) -> bool:
        table = self._tables.get(place)
        return table is None or table.read_only

    def _opened(self, places: Sequence[Place]) -> Iterator[tuple[Place, TsTable]]:
        """Open tables for writing and yield them; then raise what the first that failed raised."""

        def attempt(place: Place) -> TsTable | MeasureFSError:
            try:
                return self._open(place, read_only=False, predecessor=self._tables.get(place))
            except MeasureFSError as error:
                return error

        outcomes = self._each(attempt, places)
        yield from (
            (place, found)
            for place, found in zip(places, outcomes, strict=True)
            if isinstance(found, TsTable)
        )
        raise_first(outcomes)

    def _each(self, call: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Make a call for each item, several at a time."""
        return list(self._runtime.run_io(call, list(items)))

    def _open(self, place: Place, *, read_only: bool, predecessor: TsTable | None = None) -> TsTable:
        table = TsTable(
            self._fs,
            self.path(place),
            self._options,
            schema=self._schema(),
            read_only=read_only,
            runtime=self._runtime,
            background=self._background,
            memory=self._memory,
            predecessor=predecessor,
        )
        try:
            self._check_home(table, place)
        except BaseException:
            table.abandon()
            raise
        return table

    def _check_home(self, table: TsTable, place: Place) -> None:
        """Raise unless all rows are of the segment after which the table's directory is named."""
        end = place.segment + self._interval.nanoseconds
        with table.pin() as snapshot:
            for part in snapshot.file_parts:
                if part.rows and not (place.segment <= part.min_time and part.max_time < end):
                    raise CorruptionError(
                        part.path,
                        "it has rows of times outside its segment; was a directory renamed or moved? "
                        "run 'measurefs verify'",
                    )

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
        raise_first(self._each(lambda item: caught(lambda: _make_durable(*item)), upto.items()))

    def close(self) -> None:
        """Close every table, and only then raise what the first that failed raised."""
        with self._lock:
            raise_first(self._each(lambda table: caught(table.close), self._tables.values()))
            self._closed = True

    def _check_open(self) -> None:
        if self._closed:  # while the caller's rows were on their way here
            raise ClosedError(
                f"measure {unescape(self._root)!r} is closed; get it from an open database again"
            )


def _make_durable(table: TsTable, epoch: int | None) -> None:
    try:
        table.flush(epoch)
    except FencedError:
        raise
    except FileSystemError as error:
        raise NotDurableError(
            "make durable",
            table.root,
            f"{error}; the rows are stored, readable and kept in memory, and it will be tried again by itself; "
            "call flush() to wait for it",
            error.errno,
        ) from error


def caught(call: Callable[[], None]) -> MeasureFSError | None:
    """Make a call and return the error it raised, if any, to make the other calls before `raise_first`."""
    try:
        call()
    except MeasureFSError as error:
        return error
    return None


def raise_first(outcomes: Iterable[object]) -> None:
    """Raise the first of the outcomes that is an error."""
    for outcome in outcomes:
        if isinstance(outcome, MeasureFSError):
            raise outcome


def _list(fs: FileSystem, path: str) -> list[DirEntry]:
    try:
        return fs.read_dir(path)
    except NotExistError:
        return []
