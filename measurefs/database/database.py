"""`Database`: the measures under one root, and how it is opened."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Any, Self

import msgspec

from measurefs.codec.sealed import seal, unseal
from measurefs.database.measure import Measure
from measurefs.database.schema import EntitySpec, MeasureSchema, TagSpec, make_schema
from measurefs.fs.errors import (
    ClosedError,
    ExistError,
    FileSystemError,
    MeasureFSError,
    NotExistError,
    PermissionError_,
    SchemaError,
    UnsupportedStoreError,
)
from measurefs.fs.filesystem import FileSystem, make_durable_dir
from measurefs.fs.paths import escape, join, unescape
from measurefs.fs.urls import open_url
from measurefs.fs.wrappers import ReadOnlyFileSystem
from measurefs.part.metadata import FORMAT_VERSION, check_format
from measurefs.query import check_names
from measurefs.table import Background, MemoryBudget, Runtime, TableOptions

IDENTITY = "measurefs.json"
SCHEMA = "schema.json"
_INSIDE = re.compile(r"schema\.json|shard-\d+|.*\.snp")


class Identity(msgspec.Struct, frozen=True):
    """The content of ``measurefs.json``, by which a root is known to be a store, and the start of a schema's."""

    format: int = FORMAT_VERSION


class Database:
    """Measures under one root; use `open`.

    Several threads may use it at once. It holds no lock itself: each table is locked when it is first written
    to, so that processes may share a measure by its shards.
    """

    def __init__(
        self, fs: FileSystem, options: TableOptions, runtime: Runtime, *, read_only: bool, owns_fs: bool
    ) -> None:
        self.fs = fs
        self.read_only = read_only
        self._owns_fs = owns_fs
        self._options = options
        self._runtime = runtime
        self._background = Background()
        self._memory = MemoryBudget(options.memory_limit)
        self._measures: dict[str, Measure] = {}
        self._lock = threading.RLock()
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
            Rows older than this, such as ``"30d"``, are not found any more. (Their files are not removed yet.)
        shards : int
            Tables per segment, among which series are divided; each may have a writer of its own.
        exist_ok : bool
            Return the measure that is there, if it is the same.

        Raises
        ------
        SchemaError
            It is there already, or another one of that name is, or what is asked for is none.
        """
        schema = make_schema(name, entity, tags, fields, interval, ttl, shards)
        if escape(name) == IDENTITY:
            raise SchemaError(f"a measure cannot be named {name!r}: the store has a file of that name")
        with self._lock:
            self._check_writable()
            make_durable_dir(self.fs, escape(name))
            try:
                self.fs.write(join(escape(name), SCHEMA), seal(schema), exclusive=True)
            except ExistError:
                self.fs.sync_path(escape(name))  # whoever made it may have died before its name was durable
                return self._existing(schema, exist_ok=exist_ok)
            self.fs.sync_path(escape(name))
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
        return any(below.name == SCHEMA for below in self.fs.read_dir(entry.name))

    def measure(self, name: str) -> Measure:
        """Return a measure.

        Raises
        ------
        SchemaError
            There is none of that name; the message suggests the nearest.
        """
        with self._lock:
            self._check_open()
            if name not in self._measures or self._measures[name].closed:
                self._measures[name] = self._open_measure(name)
            return self._measures[name]

    def _open_measure(self, name: str) -> Measure:
        root = escape(name)
        path = join(root, SCHEMA)
        try:
            data = self.fs.read(path)
        except NotExistError:
            check_names([name], self.measures(), "measure()", "measure")
            raise
        check_format(unseal(data, Identity, path).format, path)
        schema = unseal(data, MeasureSchema, path)
        return Measure(
            self.fs,
            root,
            schema,
            self._options,
            self._runtime,
            self._background,
            self._memory,
            read_only=self.read_only,
        )

    def _in_use(self) -> list[Measure]:
        return [measure for measure in self._measures.values() if not measure.closed]

    def refresh(self) -> None:
        """See what writers in other processes have committed since."""
        with self._lock:
            self._check_open()
            for measure in self._in_use():
                measure.refresh()

    def flush(self) -> None:
        """Return once every row written so far is durable; raises as `Measure.flush`."""
        self._check_writable()
        with self._lock:
            measures = self._in_use()
        for measure in measures:
            measure.flush()

    def close(self) -> None:
        """Make every row durable, stop, and release all locks. Twice is harmless.

        Raises
        ------
        FileSystemError
            Some rows could not be made durable; what could be closed is. Close again to try once more.
        """
        with self._lock:
            if self._closed:
                return
            first: MeasureFSError | None = None
            for measure in self._measures.values():
                try:
                    measure.close()
                except MeasureFSError as error:
                    first = first or error
            if first is not None:
                raise first
            self._closed = True
        _open_databases.discard(self)
        self._background.close()
        if self._owns_fs:
            self.fs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the database is closed; open it again")

    def _check_writable(self) -> None:
        self._check_open()
        if self.read_only:
            raise PermissionError_("write", "", "the store was opened with read_only=True; open it without")


_open_databases: set[Database] = set()


def _close_all() -> None:
    for database in list(_open_databases):
        database.close()


# Not by atexit: that comes after the end of all thread pools, which closing needs.
threading._register_atexit(_close_all)  # type: ignore[attr-defined]


def open(
    url: str | FileSystem,
    *,
    read_only: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    options: TableOptions | None = None,
    runtime: Runtime | None = None,
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
    try:
        try:
            _identify(fs, str(url), read_only=read_only)
        except FileSystemError as error:
            raise type(error)("open", str(url), error.reason, error.errno) from error
        database = Database(
            ReadOnlyFileSystem(fs) if read_only else fs,
            options or TableOptions(),
            runtime or Runtime.threaded(),
            read_only=read_only,
            owns_fs=fs is not url,
        )
    except BaseException:
        if fs is not url:
            fs.close()
        raise
    _open_databases.add(database)
    return database


def _identify(fs: FileSystem, url: str, *, read_only: bool) -> None:
    """Check that the root is a store; make it one unless read_only."""
    try:
        identity = unseal(fs.read(IDENTITY), Identity, IDENTITY)
    except NotExistError as error:
        if read_only:
            raise NotExistError("open", url, "there is no measurefs store") from error
        _found(fs, url)
        return
    check_format(identity.format, IDENTITY)


def _found(fs: FileSystem, url: str) -> None:
    names = [entry.name for entry in fs.read_dir("")]
    if any(map(_INSIDE.fullmatch, names)):
        raise UnsupportedStoreError(
            f"cannot open {url!r}: it is a directory inside a store; open the directory that has {IDENTITY}"
        )
    fs.make_dir("", exist_ok=True)
    try:
        fs.write(IDENTITY, seal(Identity()), exclusive=True)
    except ExistError:
        check_format(unseal(fs.read(IDENTITY), Identity, IDENTITY).format, IDENTITY)
    fs.sync_path("")
