"""Small tables, what is in them, and a file system that fails when told to."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from measurefs.codec.types import ColumnType
from measurefs.fs import Buffer, DirEntry, FileSystem, FileSystemWrapper, WriteError, basename
from measurefs.part.fetch import fetch, together
from measurefs.part.metadata import Column
from measurefs.part.part import Scan
from measurefs.part.rows import Rows, concat_rows, sort_rows
from measurefs.table import Snapshot, TableOptions, TableSchema, TsTable
from tests.part.made import EVER, entity_list, make_rows

SCHEMA = TableSchema({"id": ColumnType.INT64}, [Column("value", ColumnType.INT64)])
ROOT = "t"

Contents = dict[tuple[int, int], int | None]
"""(id, time) to value."""


def batch(
    ids: Sequence[int],
    times: Sequence[int],
    values: Sequence[int | None],
    versions: Sequence[int] | None = None,
) -> Rows:
    """Rows for a table of `SCHEMA`."""
    return make_rows(ids, times, {"value": pa.array(values, pa.int64())}, versions)


def one(number: int) -> Rows:
    """A row of its own: series and time ``number``, and a value that tells it."""
    return batch([number], [number], [number * 10])


def ones(*numbers: int) -> Contents:
    """What a table holds after `one` of each number."""
    return {(number, number): number * 10 for number in numbers}


def open_table(fs: FileSystem, root: str = ROOT, *, schema: TableSchema = SCHEMA, **settings: Any) -> TsTable:
    """Open a table; settings that `TableOptions` has are its, and garbage is collected without grace."""
    names = {field.name for field in dataclasses.fields(TableOptions)}
    options = {"gc_grace": 0.0} | {name: value for name, value in settings.items() if name in names}
    others = {name: value for name, value in settings.items() if name not in names}
    return TsTable(fs, root, TableOptions(**options), schema=schema, **others)


def read_snapshot(fs: FileSystem, snapshot: Snapshot, names: Sequence[str] = ("value",)) -> Rows:
    """A snapshot's rows, those left out that a newer version supersedes."""
    if not snapshot.parts:
        return batch([], [], [])
    scan = Scan(*EVER, names)
    found = fetch(fs, together(*(part.read(scan) for part in snapshot.parts)))
    return sort_rows(concat_rows(found, {name: pa.int64() for name in names}))


def contents_of(fs: FileSystem, snapshot: Snapshot) -> Contents:
    """What a snapshot holds."""
    rows = read_snapshot(fs, snapshot)
    keys = zip((entity[0] for entity in entity_list(rows)), rows.times.tolist(), strict=True)
    return dict(zip(keys, rows.columns["value"].to_pylist(), strict=True))


def contents(table: TsTable) -> Contents:
    """What a table holds now."""
    with table.pin() as snapshot:
        return contents_of(table.fs, snapshot)


def stored(fs: FileSystem, root: str = ROOT) -> Contents:
    """What a reader that opens the table now finds."""
    with open_table(fs, root, read_only=True) as table:
        return contents(table)


def names_in(fs: FileSystem, suffix: str = "", root: str = ROOT) -> list[str]:
    """The names in a table's directory, the lock's left out."""
    entries = fs.read_dir(root)
    return [e.name for e in entries if e.name.endswith(suffix) and not e.name.startswith("LOCK")]


def parts_in(fs: FileSystem, root: str = ROOT) -> list[str]:
    """The names of the parts in a table's directory."""
    return [name for name in names_in(fs, root=root) if name.endswith(".part") or "." not in name]


def snapshots_in(fs: FileSystem, root: str = ROOT) -> list[str]:
    """The names of the snapshots in a table's directory, the oldest first."""
    return names_in(fs, ".snp", root)


def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Return as soon as a condition holds; fail if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.002)


def is_durable(table: TsTable) -> bool:
    """Whether nothing of a table waits to be made durable."""
    stats = table.stats()
    return not stats["memory_parts"] and stats["committed_epoch"] == stats["epoch"]


class Clock:
    """A clock that stands still unless it is told to go on."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@dataclasses.dataclass
class Fault:
    """Calls of a method, on paths whose last component ends so, raise; with ``late`` only after their work is done."""

    method: str
    suffix: str = ""
    times: int = 1_000_000
    late: bool = False
    error: Callable[[str], Exception] = lambda path: WriteError("write", path, "no space left on device", 28)


class FaultyFileSystem(FileSystemWrapper):
    """Fails as its `faults` say, which a test may change at any time; `failed` counts."""

    def __init__(self, wrapped: FileSystem, *faults: Fault) -> None:
        super().__init__(wrapped)
        self.faults = list(faults)
        self.failed = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def _call(self, method: str, path: str) -> Any:
        fault = self._take(method, path)
        if fault is not None and not fault.late:
            raise fault.error(path)
        yield
        if fault is not None:
            raise fault.error(path)

    def _take(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.method == method and basename(path).endswith(fault.suffix) and fault.times > 0:
                    fault.times -= 1
                    self.failed += 1
                    return fault
        return None

    def make_dir(self, path: str, *, exist_ok: bool = False) -> None:
        with self._call("make_dir", path):
            super().make_dir(path, exist_ok=exist_ok)

    def read_dir(self, path: str) -> list[DirEntry]:
        with self._call("read_dir", path):
            return super().read_dir(path)

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        with self._call("write", path):
            return super().write(path, data, exclusive=exclusive)

    def write_all(self, files: Mapping[str, Buffer]) -> None:
        for number, (path, data) in enumerate(files.items()):
            with self._call("write_all", path if number == len(files) // 2 else ""):
                super().write_all({path: data})

    def read(self, path: str) -> bytes:
        with self._call("read", path):
            return super().read(path)

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        with self._call("read_ranges", ranges[0][0] if ranges else ""):
            return super().read_ranges(ranges)

    def delete_file(self, path: str) -> None:
        with self._call("delete_file", path):
            super().delete_file(path)

    def must_rm_all(self, path: str) -> None:
        with self._call("must_rm_all", path):
            super().must_rm_all(path)

    def sync_path(self, path: str) -> None:
        with self._call("sync_path", path):
            super().sync_path(path)
