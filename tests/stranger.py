"""A file system as a stranger would write one, from the documentation of the interface alone: SQLite rows.

Files are rows of one table, directories rows of another, and locks those of a third. SQLite's transactions
make every call atomic and exclusive, its journal makes it durable, its file lock keeps processes apart.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
from collections.abc import Iterator
from typing import Any

from measurefs.fs import (
    Buffer,
    DeleteError,
    DirEntry,
    ExistError,
    FencedError,
    File,
    FileSystem,
    FileSystemError,
    LockError,
    LockFile,
    LockHolder,
    NotExistError,
    OpenError,
    ReadError,
    WriteError,
    basename,
    check_path,
    parent,
)

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS file (path TEXT PRIMARY KEY, parent TEXT NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS directory (path TEXT PRIMARY KEY, parent TEXT);
CREATE TABLE IF NOT EXISTS lock (path TEXT PRIMARY KEY, token INTEGER NOT NULL, holder BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS file_parent ON file (parent);
INSERT OR IGNORE INTO directory VALUES ('', NULL);
COMMIT;
"""


class SqliteFileSystem(FileSystem):
    """Files in an SQLite database.

    Parameters
    ----------
    database : str
        The path of the database; it is created.
    """

    def __init__(self, database: str) -> None:
        self._database = database
        with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection:
            connection.executescript(_SCHEMA)

    @classmethod
    def from_url(cls, url: str, **storage_options: Any) -> SqliteFileSystem:
        """Open ``sqlite:///path/to/database``."""
        return cls(url.removeprefix("sqlite://"), **storage_options)

    @contextlib.contextmanager
    def _transaction(self, operation: str, path: str) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self._database, timeout=60)) as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
        except sqlite3.Error as error:
            raise FileSystemError(operation, path, str(error)) from error

    def make_dir(self, path: str, *, exist_ok: bool = False) -> None:
        check_path(path, "make_dir", root=True)
        with self._transaction("make_dir", path) as db:
            if _is_dir(db, path):
                if exist_ok:
                    return
                raise ExistError("make_dir", path, "it is there already")
            above = path
            while not _is_dir(db, above):
                if _is_file(db, above):
                    raise ExistError("make_dir", path, f"{above!r} is a file")
                db.execute("INSERT INTO directory VALUES (?, ?)", (above, parent(above)))
                above = parent(above)

    def read_dir(self, path: str) -> list[DirEntry]:
        check_path(path, "read_dir", root=True)
        with self._transaction("read_dir", path) as db:
            if not _is_dir(db, path):
                raise NotExistError("read_dir", path, "there is no such directory")
            files = db.execute("SELECT path, length(data) FROM file WHERE parent = ?", (path,)).fetchall()
            below = db.execute("SELECT path FROM directory WHERE parent = ?", (path,)).fetchall()
        entries = [DirEntry(basename(name), False, size) for name, size in files]
        return sorted(entries + [DirEntry(basename(name), True) for (name,) in below])

    def create_file(self, path: str) -> File:
        check_path(path, "create_file")
        with self._transaction("create_file", path) as db:
            _check_free(db, "create_file", path, exclusive=True)
        return _NewFile(self, path)

    def open_file(self, path: str) -> File:
        check_path(path, "open_file")
        with self._transaction("open_file", path) as db:
            if _is_dir(db, path):
                raise OpenError("open_file", path, "it is a directory")
            return _StoredFile(path, _data(db, "open_file", path))

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        check_path(path, "write")
        body = bytes(data)
        with self._transaction("write", path) as db:
            _check_free(db, "write", path, exclusive=exclusive)
            db.execute("INSERT OR REPLACE INTO file VALUES (?, ?, ?)", (path, parent(path), body))
        return len(body)

    def read(self, path: str) -> bytes:
        check_path(path, "read")
        with self._transaction("read", path) as db:
            return _data(db, "read", path)

    def delete_file(self, path: str) -> None:
        check_path(path, "delete_file")
        with self._transaction("delete_file", path) as db:
            if _is_dir(db, path):
                raise DeleteError("delete_file", path, "it is a directory; use must_rm_all")
            if not db.execute("DELETE FROM file WHERE path = ?", (path,)).rowcount:
                raise NotExistError("delete_file", path, "there is no such file")

    def must_rm_all(self, path: str) -> None:
        check_path(path, "must_rm_all", root=True)
        below = f"{path}/" if path else ""
        with self._transaction("must_rm_all", path) as db:
            for table in ("file", "directory"):
                matches = "path != '' AND (path = ?1 OR substr(path, 1, length(?2)) = ?2)"
                db.execute(f"DELETE FROM {table} WHERE {matches}", (path, below))

    def sync_path(self, path: str) -> None:
        check_path(path, "sync_path", root=True)
        with self._transaction("sync_path", path) as db:
            if not (_is_dir(db, path) or _is_file(db, path)):
                raise NotExistError("sync_path", path, "there is no such path")

    def create_lock_file(self, path: str) -> LockFile:
        check_path(path, "create_lock_file")
        with self._transaction("create_lock_file", path) as db:
            row = db.execute("SELECT token, holder FROM lock WHERE path = ?", (path,)).fetchone()
            token, before = row or (0, b"")
            holder = LockHolder.decode(before)
            if holder is not None and not holder.released and _alive(holder):
                reason = f"held by process {holder.pid} on {holder.host}, since {holder.since}"
                raise LockError("create_lock_file", path, reason, holder=holder)
            mine = LockHolder.here(token + 1)
            db.execute("INSERT OR REPLACE INTO lock VALUES (?, ?, ?)", (path, token + 1, mine.encode()))
        return _SqliteLock(self, path, mine, clean=holder is None or holder.left_clean)


class _SqliteLock(LockFile):
    def __init__(self, fs: SqliteFileSystem, path: str, holder: LockHolder, *, clean: bool) -> None:
        self.path = path
        self.token = holder.token
        self.clean = clean
        self._fs = fs
        self._holder = holder

    def check(self) -> None:
        with self._fs._transaction("check", self.path) as db:
            row = db.execute("SELECT holder FROM lock WHERE path = ?", (self.path,)).fetchone()
        if row != (self._holder.encode(),):
            raise FencedError("check", self.path, "it was closed, or somebody else holds it")

    def close(self, *, clean: bool = True) -> None:
        left = self._holder.leaving(clean=clean)
        with self._fs._transaction("close", self.path) as db:
            change = "UPDATE lock SET holder = ? WHERE path = ? AND holder = ?"
            db.execute(change, (left.encode(), self.path, self._holder.encode()))


class _NewFile(File):
    def __init__(self, fs: SqliteFileSystem, path: str) -> None:
        super().__init__(path)
        self._fs = fs
        self._data = bytearray()
        self._closed = False

    def write(self, data: Buffer) -> int:
        self._check_open("write")
        before = len(self._data)
        self._data += data
        return len(self._data) - before

    def size(self) -> int:
        self._check_open("size")
        return len(self._data)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._fs.write(self.path, self._data, exclusive=True)

    def discard(self) -> None:
        self._closed = True

    def _check_open(self, operation: str) -> None:
        if self._closed:
            raise WriteError(operation, self.path, "the file is closed")


class _StoredFile(File):
    def __init__(self, path: str, data: bytes) -> None:
        super().__init__(path)
        self._data: bytes | None = data

    def read(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0:
            raise ReadError("read", self.path, "offset and size must not be negative")
        return self._open("read")[offset : offset + size]

    def size(self) -> int:
        return len(self._open("size"))

    def close(self) -> None:
        self._data = None

    def _open(self, operation: str) -> bytes:
        if self._data is None:
            raise ReadError(operation, self.path, "the file is closed")
        return self._data


def _is_dir(db: sqlite3.Connection, path: str) -> bool:
    return db.execute("SELECT 1 FROM directory WHERE path = ?", (path,)).fetchone() is not None


def _is_file(db: sqlite3.Connection, path: str) -> bool:
    return db.execute("SELECT 1 FROM file WHERE path = ?", (path,)).fetchone() is not None


def _data(db: sqlite3.Connection, operation: str, path: str) -> bytes:
    row = db.execute("SELECT data FROM file WHERE path = ?", (path,)).fetchone()
    if row is None:
        if _is_dir(db, path):
            raise ReadError(operation, path, "it is a directory")
        raise NotExistError(operation, path, "there is no such file")
    data: bytes = row[0]
    return data


def _check_free(db: sqlite3.Connection, operation: str, path: str, *, exclusive: bool) -> None:
    """Refuse a path that cannot be written: one whose directory is missing, or that is taken."""
    if not _is_dir(db, parent(path)):
        raise NotExistError(operation, path, "its directory does not exist; make it first")
    if exclusive and (_is_file(db, path) or _is_dir(db, path)):
        raise ExistError(operation, path, "it is there already")
    if _is_dir(db, path):
        raise WriteError(operation, path, "it is a directory")


def _alive(holder: LockHolder) -> bool:
    """Tell whether a holder's process lives; on another machine that cannot be told, and it counts as alive."""
    if holder.host != socket.gethostname():
        return True
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
