"""The interface is enough: a file system written against its documentation alone passes the suite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from measurefs.fs import CountingFileSystem, FileSystem, parent
from measurefs.testing import FileSystemConformance, RawAccess
from tests.stranger import SqliteFileSystem


class RawRows:
    """The stored rows, by way of SQLite."""

    def __init__(self, database: str) -> None:
        self._database = database

    def get(self, path: str) -> bytes:
        with closing(sqlite3.connect(self._database, timeout=60)) as db:
            data: bytes = db.execute("SELECT data FROM file WHERE path = ?", (path,)).fetchone()[0]
        return data

    def put(self, path: str, data: bytes) -> None:
        SqliteFileSystem(self._database).make_dir(parent(path), exist_ok=True)
        with closing(sqlite3.connect(self._database, timeout=60)) as db, db:
            db.execute("INSERT OR REPLACE INTO file VALUES (?, ?, ?)", (path, parent(path), data))

    def names(self) -> set[str]:
        with closing(sqlite3.connect(self._database, timeout=60)) as db:
            return {path for (path,) in db.execute("SELECT path FROM file")}


@pytest.fixture
def database(tmp_path: Path) -> str:
    return str(tmp_path / "files.sqlite")


class TestStranger(FileSystemConformance):
    many = 120  # a commit each

    @pytest.fixture
    def fs(self, database: str) -> Iterator[FileSystem]:
        with SqliteFileSystem(database) as fs:
            yield fs

    @pytest.fixture
    def another(self, database: str) -> Iterator[FileSystem]:
        with SqliteFileSystem(database) as fs:
            yield fs

    @pytest.fixture
    def raw(self, fs: FileSystem, database: str) -> RawAccess:
        return RawRows(database)


class TestWrappedStranger(TestStranger):
    """A wrapper of it passes as well."""

    @pytest.fixture
    def fs(self, database: str) -> Iterator[FileSystem]:
        with CountingFileSystem(SqliteFileSystem(database)) as fs:
            yield fs
