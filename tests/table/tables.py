"""Small tables, what is in them, and a file system that fails when told to."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest

from measurefs import PartOptions
from measurefs.codec.types import ColumnType
from measurefs.fs import FileSystem
from measurefs.part.fetch import fetch, together
from measurefs.part.metadata import Column
from measurefs.part.part import Scan
from measurefs.part.rows import Rows, concat_rows, sort_rows
from measurefs.table import Snapshot, TableOptions, TableSchema, TsTable
from measurefs.table.policy import MergeOptions
from tests.part.made import COMPACT, EVER, WIDE, entity_list, make_rows

SCHEMA = TableSchema({"id": ColumnType.INT64}, [Column("value", ColumnType.INT64)])
ROOT = "t"

BY_HAND = MergeOptions(enabled=False)
SEVEN = range(1, 8)

kinds = pytest.mark.parametrize("compact_bytes", [COMPACT, WIDE], ids=["compact", "wide"])
"""For tests of both kinds of parts."""

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


def grow(fs: FileSystem, *numbers: int, compact_bytes: int = 8 << 20) -> None:
    """Add a part for each number, and keep every snapshot."""
    part = PartOptions(compact_bytes=compact_bytes)
    with open_table(fs, keep_snapshots=100, part=part) as table:
        for number in numbers:
            table.add(one(number))
            table.flush()


def read_snapshot(fs: FileSystem, snapshot: Snapshot, names: Sequence[str] = ("value",)) -> Rows:
    """A snapshot's rows, those left out that a newer version supersedes."""
    if not snapshot.parts:
        return batch([], [], [])
    scan = Scan(*EVER, names)
    found = fetch(fs, together(*(part.read(scan) for part in snapshot.parts)))
    types = {name: rows.columns[name].type for rows in found for name in names if name in rows.columns}
    return sort_rows(concat_rows(found, {name: types.get(name, pa.int64()) for name in names}))


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
    return table.rows_at_risk() == 0


class Clock:
    """A clock that stands still unless it is told to go on."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds
