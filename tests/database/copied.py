"""Stores to copy, and what they hold."""

from __future__ import annotations

import uuid
from typing import Any

import pyarrow as pa

import measurefs
from measurefs import (
    Database,
    FileSystem,
    Measure,
    PartOptions,
    TableOptions,
)
from measurefs.database.database import _open_databases
from measurefs.fs import open_url
from measurefs.table import Runtime
from tests.database.helpers import DAY, numbered

WIDE = TableOptions(log_bytes=0, part=PartOptions(compact_bytes=0), gc_grace=0, keep_snapshots=1)
MIXED = TableOptions(log_bytes=0, part=PartOptions(compact_bytes=648), gc_grace=0, keep_snapshots=1)

Contents = dict[str, dict[str | None, pa.Table]]


def memory() -> FileSystem:
    return open_url(f"memory://{uuid.uuid4().hex}")


def quiet(fs: FileSystem, options: TableOptions = MIXED, **more: Any) -> Database:
    """Open a database without threads, which nobody closes if the test's process "dies"."""
    database = measurefs.open(fs, background=False, runtime=Runtime(), options=options, **more)
    _open_databases.discard(database)
    return database


def fill(measure: Measure, number: int, days: int = 3) -> None:
    """Write rows of several segments, that are told by their number; some supersede earlier ones."""
    times = [day * DAY + hour * 3600_000_000_000 + number % 2 for day in range(days) for hour in range(8)]
    measure.write(
        {
            "time": times,
            "host": [f"h{place % 3}" for place in range(len(times))],
            "zone": [f"z{number}"] * len(times),
            "v": [number * 1000 + place for place in range(len(times))],
        },
        durable=True,
    )


def make(database: Database, name: str = "a/b") -> Measure:
    return database.create_measure(
        name, entity=["host"], tags={"zone": "string"}, fields={"v": "int64"}, shards=2, exist_ok=True
    )


def contents(database: Database) -> Contents:
    """Return the rows of every measure, now and at each tag."""
    found: Contents = {}
    for name in database.measures():
        measure = database.measure(name)
        moments: list[str | None] = [None, *measure.tags()]
        found[name] = {
            moment: numbered(measure.query(as_of=moment, order="series").to_arrow()) for moment in moments
        }
    return found


def contents_of(place: FileSystem | str, options: Any = None) -> Contents:
    assert measurefs.verify(place, storage_options=options).damages == []
    with measurefs.open(place, read_only=True, storage_options=options) as database:
        return contents(database)


def rows_now(place: FileSystem) -> dict[str, pa.Table]:
    return {name: moments[None] for name, moments in contents_of(place).items()}
