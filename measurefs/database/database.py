"""`Database`: the measures under one root, and how it is opened."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

from measurefs.database.dropping import create, drop
from measurefs.database.identity import IDENTITY, SCHEMA, identify
from measurefs.database.measure import Measure
from measurefs.database.outcomes import caught, raise_first
from measurefs.database.schema import EntitySpec, MeasureSchema, TagSpec, make_schema
from measurefs.database.schema_chain import newest
from measurefs.database.store_backup import StoreBackup
from measurefs.fs.cached import DEFAULT_LIMIT, CachedFileSystem, cache_of, past_cache
from measurefs.fs.errors import (
    ClosedError,
    ExistError,
    FileSystemError,
    NotExistError,
    PermissionError_,
    SchemaError,
)
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.listing import Listing, list_dir
from measurefs.fs.paths import escape, join, unescape
from measurefs.fs.process import ProcessGuard
from measurefs.fs.urls import open_url
from measurefs.fs.wrappers import ReadOnlyFileSystem
from measurefs.query import check_names
from measurefs.table import Background, MemoryBudget, Runtime, TableOptions

if TYPE_CHECKING:
    from measurefs.table.repair import RepairReport
    from measurefs.table.verify import VerifyReport


class Database(StoreBackup):
    """Measures under one root; use `open`.

    Several threads may use it at once. It holds no lock itself: each table is locked when it is first written
    to, so that processes may share a measure by its shards. A forked child cannot use it, and opens the store
    anew; closing it there changes nothing in the parent.

    What is open when the main thread ends is closed then, and what cannot be made durable is told on stderr.
    Threads that still write get `ClosedError`. There is no such end after SIGKILL, ``os._exit`` or SIGTERM, unless
    you handle that, as with ``signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))``.
    """

    def __init__(
        self,
        fs: FileSystem,
        options: TableOptions,
        runtime: Runtime,
        background: Background | None,
        *,
        read_only: bool,
        owns_fs: bool,
        max_age: float | None = None,
    ) -> None:
        self.fs = fs
        self.read_only = read_only
        self._owns_fs = owns_fs
        self._max_age = max_age
        self._options = options
        self._runtime = runtime
        self._background = background
        self._memory = MemoryBudget(options.memory_limit)
        self._measures: dict[str, Measure] = {}
        self._lock = threading.RLock()
        self._guard = ProcessGuard()
        self._closed = False

    def create_measure(
        self,
        name: str,
        *,
        entity: EntitySpec,
        tags: TagSpec | None = None,
        fields: Mapping[str, str] | None = None,
        interval: str = "1d",
        ttl: str | None = None,
        shards: int = 1,
        exist_ok: bool = False,
    ) -> Measure:
        """Create a measure.

        Parameters
        ----------
        name : str
            Any text.
        entity : list of str, or dict
            The columns whose values together tell series apart, such as ``["host"]``; with other types than
            string as a dict, such as ``{"host": "string", "port": "int64"}``.
        tags : dict, optional
            Columns that describe a row: name to type (string, int64, binary, list<string>, list<int64>); or
            family to such a dict, to store together what is read together.
        fields : dict, optional
            Columns that are measured: name to type (float64, int64, bool, string, binary).
        interval : str
            Each segment spans so many whole hours or days (UTC).
        ttl : str, optional
            Rows older than this, such as ``"30d"``, are neither found nor stored. A segment all of whose rows are is
            dropped, for good: its files are removed ``TableOptions.gc_grace`` later, by a process that has the
            measure open to write (in the background, or by `Measure.gc`), unless another process writes to it.
            What a tag holds is kept.
        shards : int
            Tables per segment, among which series are divided; each may have a writer of its own.
        exist_ok : bool
            Return the measure that is there, if it is the same, with all that `Measure.evolve` has made of it.

        Raises
        ------
        SchemaError
            It is there already, or another one of that name is, or what is asked for is none.
        LockError
            One of that name was dropped, and somebody else is about to create or to drop it; try again.
        """
        schema = make_schema(name, entity, tags, fields, interval, ttl, shards)
        if escape(name) == IDENTITY:
            raise SchemaError(f"a measure cannot be named {name!r}: the store has a file of that name")
        with self._alone():
            self._check_writable()
            try:
                create(self.fs, schema)
            except ExistError:
                self.fs.sync_path(escape(name))  # whoever made it may have died before its name was durable
                return self._existing(schema, exist_ok=exist_ok)
            dropped = self._measures.pop(name, None)
            if dropped is not None and not dropped.closed:
                dropped.discard()  # dropping it has failed once it was gone
            return self.measure(name)

    def _existing(self, schema: MeasureSchema, *, exist_ok: bool) -> Measure:
        measure = self.measure(schema.name)
        if not exist_ok:
            raise SchemaError(f"measure {schema.name!r} is there already; pass exist_ok=True to open it")
        if not measure.schema.same_columns(schema):
            raise SchemaError(
                f"measure {schema.name!r} is there already and is another one: it has {measure.schema}"
            )
        return measure

    def measures(self) -> list[str]:
        """Return the names of all measures, sorted."""
        self._check_open()
        return sorted(unescape(entry.name) for entry in self.fs.read_dir("") if self._is_measure(entry))

    def _is_measure(self, entry: Any) -> bool:
        if not entry.is_dir or escape(unescape(entry.name)) != entry.name:
            return False
        return any(below.name == SCHEMA for below in list_dir(self.fs, entry.name))

    def measure(self, name: str) -> Measure:
        """Return a measure.

        Raises
        ------
        SchemaError
            There is none of that name; the message suggests the nearest.
        """
        with self._alone():
            if name not in self._measures or self._measures[name].closed:
                self._measures[name] = self._open_measure(name)
            return self._measures[name]

    def _open_measure(self, name: str) -> Measure:
        root = escape(name)
        listing = Listing(self.fs, root)
        schema = self._schema_of(name, "measure()", listing)
        if schema.revision > 1 and not self.read_only:
            self.fs.sync_path(root)  # whoever changed it may have died before that was durable
        return Measure(
            self.fs,
            root,
            schema,
            self._options,
            self._runtime,
            self._background,
            self._memory,
            listing,
            read_only=self.read_only,
            max_age=self._max_age,
        )

    def _schema_of(self, name: str, what: str, listing: Listing | None = None) -> MeasureSchema:
        """Return the schema of a measure; raises `SchemaError`, suggesting the nearest, if there is none."""
        root = escape(name)
        try:
            schema = newest(self.fs, root, listing)
        except NotExistError:
            check_names([name], self.measures(), what, "measure")
            raise
        if schema.name != name:  # on a disk that does not tell upper from lower case, for one
            raise SchemaError(
                f"there is no measure {name!r}: {join(root, SCHEMA)!r} is that of measure {schema.name!r}"
            )
        return schema

    def drop_measure(self, name: str) -> None:
        """Remove a measure with all its rows, snapshots and tags, for good.

        Rows that are only in memory are discarded. `Measure` objects of it are closed. A `QueryResult` that is read
        after that gives the right rows or raises `ClosedError`, never wrong ones. A crash leaves the measure whole,
        or gone; files that it leaves are removed when a measure of that name is created. That never shows a row of
        this one, though a process that was stalled writes on: it ignores all that is not its own.

        Processes that have the measure open to read it get `ClosedError` from `Measure.refresh` or a write, and until
        then errors about missing files.

        Raises
        ------
        SchemaError
            There is none of that name; the message suggests the nearest.
        LockError
            Another process writes to it: one of its tables is locked. Nothing was dropped.
        CorruptionError
            Its schema is damaged. Nothing was dropped.
        FileSystemError
            Something could not be written or removed. The measure is whole if `measures` has it, else gone, and the
            rest of its files are removed when one of that name is created.
        """
        with self._alone():
            self._check_writable()
            self._schema_of(name, "drop_measure()")
            measure = self._measures.get(name)
            if measure is None or measure.closed:
                drop(self.fs, name, contextlib.nullcontext(()), lambda: None)
            else:
                drop(self.fs, name, measure.held(), measure.discard)

    def _in_use(self) -> list[Measure]:
        return [measure for measure in self._measures.values() if not measure.closed]

    def refresh(self) -> None:
        """See what other processes have committed, changed and dropped since."""
        with self._alone():
            for measure in self._in_use():
                try:
                    measure.refresh()
                except ClosedError:
                    if not measure.closed:
                        raise  # else it was dropped, and says so to those who use it

    def flush(self) -> None:
        """Return once every row written so far is durable; raises as `Measure.flush`, after all were tried."""
        self._check_writable()
        with self._lock:
            measures = self._in_use()
        raise_first([caught(measure.flush) for measure in measures])

    def step(self) -> float:
        """Flush, collect and drop whatever is due by now, and return the seconds until something is.

        A thread of the database's does this, unless it was opened with ``background=False``. What fails is not
        raised: it shows in `Measure.stats`, and is tried again after a pause.
        """
        self._check_writable()
        with self._lock:
            measures = self._in_use()
        return min((measure.step() for measure in measures), default=math.inf)

    def stats(self) -> dict[str, Any]:
        """Return figures of the store as a whole; for those of its tables see `Measure.stats`.

        Returns
        -------
        dict
            Under ``cache`` the `CachedFileSystem.stats` of the cache; None without one.
        """
        self._check_open()
        cache = cache_of(self.fs)
        return {"cache": None if cache is None else cache.stats()}

    def verify(self) -> VerifyReport:
        """Read every file and check every checksum, order and count; rows that are only in memory are not in files.

        Takes no lock, writes nothing, and does not mind writers at work, in this process or another. Of a store that
        does not open use `measurefs.verify`.

        Returns
        -------
        VerifyReport
            What was checked, and a list of damages: file, offset, what does not agree, and the rows it held.

        Raises
        ------
        FileSystemError
            A directory cannot be listed.
        UnsupportedStoreError
            A newer release wrote some of it.
        """
        from measurefs.database.verify import Checker, verify_store  # noqa: PLC0415 - rarely needed

        self._check_open()
        return verify_store(past_cache(self.fs), Checker.of(self._options, self._runtime))

    def repair(self, *, apply: bool = False) -> RepairReport:
        """Make every damaged table one that opens, with everything in it that can be read; see `Measure.repair`."""
        from measurefs.database.repair import repair_store  # noqa: PLC0415 - rarely needed
        from measurefs.database.verify import Checker  # noqa: PLC0415

        if apply:
            self._check_writable()
        self._check_open()
        checker = Checker.of(self._options, self._runtime)
        done = repair_store(past_cache(self.fs), checker, self._runtime.now, apply=apply)
        if apply:
            with self._alone():
                for measure in self._in_use():
                    measure.refresh_repaired()
        return done

    def close(self) -> None:
        """Make every row durable, stop, and release all locks. Twice is harmless.

        Raises
        ------
        FileSystemError
            Some rows could not be made durable; what could be closed is. Close again to try once more.
        """
        if not self._guard.at_home:
            self._closed = True
            return
        with self._lock:
            if self._closed:
                return
            raise_first([caught(measure.close) for measure in self._measures.values()])
            self._closed = True
        _open_databases.discard(self)
        if self._background is not None:
            self._background.close()
        if self._owns_fs:
            self.fs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads out while something is done with the open database."""
        self._check_open()  # before the lock, too: in a forked child there may be nobody to release it
        with self._lock:
            self._check_open()
            yield

    def _check_open(self) -> None:
        self._guard.check("the database")
        if self._closed:
            raise ClosedError("the database is closed; open it again")

    def _check_writable(self) -> None:
        self._check_open()
        if self.read_only:
            raise PermissionError_("write", "", "the store was opened with read_only=True; open it without")


_open_databases: set[Database] = set()


def _close_all() -> None:
    """Close every database at the end of the interpreter, and say on stderr what could not be made durable."""
    for database in list(_open_databases):
        try:
            database.close()
        except Exception as error:  # noqa: BLE001 - there is nobody to raise it to, and others are to be closed
            losses = {measure.name: measure.rows_at_risk() for measure in database._in_use()}
            _tell_losses(database.fs, losses, error)


def _tell_losses(fs: FileSystem, losses: Mapping[str, int], cause: Exception) -> None:
    rows = ", ".join(f"{rows} of measure {name!r}" for name, rows in losses.items() if rows)
    what = f"rows are lost that could not be made durable ({rows})" if rows else "closing was not completed"
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # it may be closed or broken, and nothing else is left
            sys.stderr.write(f"measurefs: at the end of the program {what}, in {fs!r}: {cause}\n")


# Not by atexit: that comes after the end of all thread pools, which closing needs.
threading._register_atexit(_close_all)  # type: ignore[attr-defined]


def open(
    url: str | FileSystem,
    *,
    read_only: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    options: TableOptions | None = None,
    runtime: Runtime | None = None,
    background: bool = True,
    max_age: float | None = None,
    cache: str | FileSystem | None = None,
    cache_limit: int = DEFAULT_LIMIT,
) -> Database:
    """Open a store, and make it if there is none.

    Parameters
    ----------
    url : str or FileSystem
        ``"./metrics"``, ``"memory://tests"``, ``"s3://bucket/prefix"``, any URL that fsspec serves, or a
        `FileSystem` of your own.
    read_only : bool
        Take no locks and write nothing; any number of readers may do so beside a writer. See `Database.refresh`.
    storage_options : mapping, optional
        What the backend takes: credentials, endpoint...
    options : TableOptions, optional
        How tables behave.
    runtime : Runtime, optional
        Clock and threads, for tests.
    background : bool
        Whether a thread flushes and collects by itself. If not, that is done by `Database.step`, which you call
        whenever you like, by `flush` and `close`, and by a `write` that finds no room.
    max_age : float, optional
        Of what other processes commit, a query sees all that was committed so many seconds before it: it looks first
        if the last look at the measure is longer ago. And a query that finds files gone because they were collected
        since (``options.gc_grace`` after a merge) looks again and starts anew, unless it has given out rows by then.
        Default is to look only at `Database.refresh` and `Measure.refresh`, and to raise `NotExistError`.
    cache : str or FileSystem, optional
        Where to keep what is read of parts, and read it from then on: a local directory beside a store that is far
        away. Processes and stores may share one; it may be removed at any time. See `CachedFileSystem`, and
        `Database.stats` for how often it helped.
    cache_limit : int
        How many bytes the cache may have.

    Raises
    ------
    UnsupportedStoreError
        No backend serves the URL, or a newer release wrote the store.
    NotExistError
        Read-only, and there is no store.
    CorruptionError
        ``measurefs.json`` is damaged.
    """
    fs = url if isinstance(url, FileSystem) else open_url(str(url), **dict(storage_options or {}))
    owned = fs is not url
    runtime = runtime or Runtime.threaded(options)
    try:
        try:
            identity = identify(fs, str(url), runtime.random, read_only=read_only)
        except FileSystemError as error:
            raise type(error)("open", str(url), error.reason, error.errno) from error
        if cache is not None:
            place = cache if isinstance(cache, FileSystem) else str(cache)
            name = identity.name_in_cache("" if isinstance(url, FileSystem) else str(url))
            fs = CachedFileSystem(fs, place, limit=cache_limit, namespace=name, close_wrapped=owned)
            owned = True
        database = Database(
            ReadOnlyFileSystem(fs) if read_only else fs,
            options or TableOptions(),
            runtime,
            Background() if background else None,
            read_only=read_only,
            owns_fs=owned,
            max_age=max_age,
        )
    except BaseException:
        if owned:
            fs.close()
        raise
    _open_databases.add(database)
    return database
