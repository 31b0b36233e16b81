"""SQLite, through Python's own module: one table whose primary key, and only index, is host and time."""

# ruff: noqa: D102 - `Engine` says what each method does

from __future__ import annotations

import sqlite3
from typing import Any, Self

import pyarrow as pa

from benchmarks.data import FIELDS, HOUR
from benchmarks.engines.engine import Engine
from benchmarks.fleet import SCHEMA, TAG_TYPES, WHOLE, Asked
from benchmarks.places import Folder, Place

KINDS = {"string": "text", "int64": "integer"}
COLUMNS = ", ".join(WHOLE)
CACHE_KIB = 256 * 1024
WAIT = 60.0
"""Seconds that a thread waits for others to commit."""


class SQLite(Engine):
    """SQLite with a log that is synced with each commit; answers are made into Arrow."""

    name = layout = "SQLite"
    package = module = "sqlite3"
    slow = True

    @staticmethod
    def imports() -> None:
        pa.array([0])  # with its first array of Python's objects Arrow imports pandas, if that is there

    @staticmethod
    def form(batch: pa.Table) -> list[tuple[Any, ...]]:
        numbers = batch.set_column(0, "time", batch["time"].cast(pa.int64()))
        return list(zip(*(column.to_pylist() for column in numbers.columns), strict=True))

    def __init__(self, place: Place, *, write: bool = False, merging: bool = True) -> None:
        assert isinstance(place, Folder)
        place.path.mkdir(exist_ok=True)
        self.place = place
        self.db = sqlite3.connect(
            place.path / "cpu.sqlite", timeout=WAIT, isolation_level=None, check_same_thread=False
        )
        self.db.execute(f"pragma cache_size = -{CACHE_KIB}")
        if write:
            self.db.execute("pragma journal_mode = wal")
            self.db.execute("pragma synchronous = full")
            tags = ", ".join(f"{name} {KINDS[kind]}" for name, kind in TAG_TYPES.items())
            fields = ", ".join(f"{name} real" for name in FIELDS)
            self.db.execute(
                f"create table if not exists cpu (time integer, host text, {tags}, {fields}, "
                "primary key (host, time)) without rowid"
            )

    def another(self) -> Self:
        return type(self)(self.place, write=True)

    def add(self, batch: Any) -> None:
        if not self.db.in_transaction:
            self.db.execute("begin immediate")
        marks = ", ".join("?" * len(SCHEMA))
        self.db.executemany(f"insert or replace into cpu values ({marks})", batch)

    def flush(self) -> None:
        if self.db.in_transaction:
            self.db.execute("commit")

    def compact(self) -> None:
        self.db.execute("vacuum")
        self.db.execute("pragma wal_checkpoint(truncate)")

    def rewrite(self, batch: Any) -> None:
        self.append(batch)

    def close(self) -> None:
        self.db.close()

    def _ask(self, columns: str, rest: str, *values: Any) -> pa.Table:
        cursor = self.db.execute(f"select {columns} from cpu {rest}", values)
        names = [each[0] for each in cursor.description]
        rows = cursor.fetchall()
        if len(names) == 1:
            return pa.table({names[0]: [each[0] for each in rows]})
        return pa.table(dict(zip(names, zip(*rows, strict=True), strict=True)))

    def series_hour(self, asked: Asked) -> pa.Table:
        where = "where host = ? and time >= ? and time < ?"
        return self._ask(COLUMNS, where, asked.host, asked.start, asked.end)

    def eight_series_hour(self, asked: Asked) -> pa.Table:
        hosts = ", ".join("?" * len(asked.hosts))
        where = f"where host in ({hosts}) and time >= ? and time < ?"
        return self._ask(COLUMNS, where, *asked.hosts, asked.start, asked.end)

    def all_hour(self, asked: Asked) -> pa.Table:
        return self._ask(COLUMNS, "where time >= ? and time < ?", asked.start, asked.end)

    def all_hour_by_time(self, asked: Asked) -> pa.Table:
        return self._ask(COLUMNS, "where time >= ? and time < ? order by time", asked.start, asked.end)

    def scan_value(self, asked: Asked) -> pa.Table:
        return self._ask("f0", "")

    def scan_rows(self, asked: Asked) -> pa.Table:
        return self._ask("time, host, f0", "")

    def mean_by_series(self, asked: Asked) -> pa.Table:
        return self._ask("host, avg(f0) as f0", "group by host")

    def hourly_by_region(self, asked: Asked) -> pa.Table:
        return self._ask(f"time / {HOUR} * {HOUR} as time, region, avg(f0) as f0", "group by 1, 2")

    def last_rows(self, asked: Asked) -> pa.Table:
        columns = ", ".join(name for name in WHOLE if name != "time")
        return self._ask(
            f"max(time) as time, {columns}", "group by host"
        )  # others are of the row with the max

    def newest_of_series(self, asked: Asked) -> pa.Table:
        return self._ask(COLUMNS, "where host = ? order by time desc limit 10", asked.host)

    def count_high(self, asked: Asked) -> pa.Table:
        return self._ask("count(*) as count", "where f0 > ?", asked.high)
