"""The stores that are damaged: one whose every byte can be, and a larger one to take samples of."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pyarrow as pa

import measurefs
from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec.sealed import unseal
from measurefs.database.schema import MeasureSchema
from measurefs.fs import FileSystem, LockHolder, basename, join, parent, walk
from measurefs.part.writer import PartOptions
from measurefs.table import Runtime, TableOptions, TsTable

DAY = 86_400_000_000_000
START = 20_000 * DAY
TAGS = {
    "where": {"region": "string", "rack": "int64"},
    "a/b": {"raw": "binary", "labels": "list<string>", "ports": "list<int64>"},
}
FIELDS = {"usage": "float64", "count": "int64", "up": "bool", "note": "string", "blob": "binary"}
COMPACT, WIDE = 8 << 20, 0


@dataclasses.dataclass(frozen=True, eq=False)
class Store:
    """The files of a store at rest.

    Attributes
    ----------
    name : str
        ``"small"`` or ``"large"``.
    files : dict
        Path to content.
    focus : str
        The table whose every byte counts: it has a compact part, a wide one, and two snapshots.
    """

    name: str
    files: dict[str, bytes]
    focus: str

    def load(self) -> MemoryFileSystem:
        """Return a file system of one's own with these files."""
        fs = MemoryFileSystem()
        for path, content in self.files.items():
            fs.make_dir(parent(path), exist_ok=True)
            fs.write(path, content)
        return fs

    @functools.cached_property
    def in_focus(self) -> list[str]:
        """The files of the table in focus, and those that stand above all tables."""
        return [
            path
            for path in self.files
            if path.startswith((f"{self.focus}/", "measurefs.json"))
            or path in {"cpu/schema.json", self.beside}
        ]

    @functools.cached_property
    def beside(self) -> str | None:
        """The newest snapshot of the table beside the one in focus."""
        beside = f"{parent(self.focus)}/shard-1"
        return max(
            (path for path in self.files if parent(path) == beside and path.endswith(".snp")), default=None
        )

    @functools.cached_property
    def snapshots(self) -> list[str]:
        """The snapshots of the table in focus, the oldest first."""
        return sorted(path for path in self.files if parent(path) == self.focus and path.endswith(".snp"))

    @functools.cached_property
    def compact(self) -> str:
        """The compact part in focus."""
        return next(path for path in self.in_focus if path.endswith(".part"))

    @functools.cached_property
    def wide(self) -> str:
        """The directory of the wide part in focus."""
        return next(parent(path) for path in self.in_focus if basename(path) == "metadata.json")


_KINDS = {".snp": "snapshot", ".part": "compact part", ".log": "log", ".tf": "*.tf", ".tfm": "*.tfm"}


def kind_of(path: str) -> str:
    """Return what kind of file a path is: what the table of counts has a line for."""
    name = basename(path)
    if name.startswith("LOCK"):
        return "lock"
    for suffix, kind in _KINDS.items():
        if name.endswith(suffix):
            return kind
    return name if "." in name else "directory"


def options(compact_bytes: int, block_rows: int, log_bytes: int = 0) -> TableOptions:
    """Nothing happens by itself."""
    part = PartOptions(block_rows=block_rows, compact_bytes=compact_bytes, summary_rows=64)
    return TableOptions(flush_interval=3600.0, gc_interval=3600.0, part=part, log_bytes=log_bytes)


def runtime() -> Runtime:
    """One thread, and the same times in each run, so that the same bytes are written."""
    ticks = itertools.count(START + 100 * DAY)
    return Runtime(now=lambda: next(ticks))


def rows(count: int, series: int, days: int, seed: int) -> pa.Table:
    """Rows with a value of every kind in every column, nulls among them, spread over some days."""
    rng = np.random.default_rng(seed)
    number = np.arange(count)

    def some(make: Callable[[int], object], kind: pa.DataType, every: int = 7) -> pa.Array:
        return pa.array([None if i % every == 3 else make(i) for i in number.tolist()], kind)

    times = START + (number * days // count) * DAY + (number // series) * 1_000_000_000 + seed
    return pa.table(
        {
            "time": pa.array(times),
            "host": pa.array([f"host-{i % series}" for i in number.tolist()]),
            "port": pa.array(number % series % 3),
            "region": some(lambda i: ["eu", "us", ""][i % 3], pa.string()),
            "rack": some(lambda i: i % 5 * 2**40, pa.int64()),
            "raw": some(lambda i: rng.bytes(i % 4), pa.binary()),
            "labels": some(lambda i: [None, "", "a"][: i % 4], pa.list_(pa.string())),
            "ports": some(lambda i: [i, None, -i][: i % 4], pa.list_(pa.int64())),
            "usage": pa.array(rng.normal(size=count)),
            "count": some(lambda i: i * i, pa.int64()),
            "up": some(lambda i: i % 2 == 0, pa.bool_()),
            "note": some(lambda i: f"n{i * 7919}", pa.string()),
            "blob": some(lambda i: rng.bytes(3), pa.binary()),
        }
    )


def store_rows(fs: FileSystem, batch: pa.Table, settings: TableOptions, shards: int) -> None:
    """Write a batch durably, and make the store if there is none."""
    with measurefs.open(fs, options=settings, runtime=runtime()) as db:
        cpu = db.create_measure(
            "cpu",
            entity={"host": "string", "port": "int64"},
            tags=TAGS,
            fields=FIELDS,
            shards=shards,
            exist_ok=True,
        )
        cpu.write(batch, durable=True)
        if settings.log_bytes:
            cpu._tables.abandon()  # or it would be flushed


def _fence(fs: FileSystem, root: str) -> None:
    """Open a table after a writer that died: the same parts are committed once more."""
    fs.write(join(root, "LOCK"), LockHolder.here(2).encode())
    schema = unseal(fs.read("cpu/schema.json"), MeasureSchema, "cpu/schema.json").for_table()
    with TsTable(fs, root, options(COMPACT, 16), schema=schema, runtime=runtime()):
        pass


def _files(fs: FileSystem) -> dict[str, bytes]:
    return {path: fs.read(path) for path in walk(fs)}


@functools.cache
def small() -> Store:
    """Two segments of two shards; files of up to some KiB.

    In the table in focus there are a compact part, a wide one, a newest snapshot that names what the one before
    it does, and a log. In the table beside it the newest snapshot names more than all others.
    """
    fs = MemoryFileSystem()
    store_rows(fs, rows(48, 6, 2, seed=1), options(COMPACT, 16), shards=2)
    store_rows(fs, rows(10, 6, 1, seed=2), options(WIDE, 16), shards=2)
    root = _focus(_files(fs))
    _fence(fs, root)
    store_rows(fs, rows(10, 6, 1, seed=5), options(COMPACT, 16, log_bytes=1 << 20), shards=2)
    return Store("small", _files(fs), root)


@functools.cache
def large() -> Store:
    """A part of about a mebibyte with several pages, compact, and one that is wide."""
    fs = MemoryFileSystem()
    store_rows(fs, rows(24_000, 200, 1, seed=3), options(COMPACT, 128), shards=1)
    store_rows(fs, rows(24_000, 200, 1, seed=4), options(WIDE, 128), shards=1)
    files = _files(fs)
    return Store("large", files, _focus(files))


STORES: Mapping[str, Callable[[], Store]] = {"small": small, "large": large}


def _focus(files: Mapping[str, bytes]) -> str:
    """Return the first table with a wide part and a compact one."""
    wide = (parent(parent(path)) for path in files if basename(path) == "metadata.json")
    return next(root for root in sorted(wide) if any(_is_compact(path, root) for path in files))


def _is_compact(path: str, root: str) -> bool:
    return parent(path) == root and path.endswith(".part")


def sections_of(store: Store, part: str) -> Iterator[str]:
    """The files of a wide part."""
    return (path for path in store.files if parent(path) == part)
