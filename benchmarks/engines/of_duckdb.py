"""DuckDB: a table in its own file."""

# ruff: noqa: D102 - `Engine` says what each method does

from __future__ import annotations

import contextlib
import os
from typing import Any, Self

import pyarrow as pa

from benchmarks.data import HOUR
from benchmarks.engines.engine import Engine
from benchmarks.fleet import WHOLE, Asked
from benchmarks.places import Folder, Place

COLUMNS = ", ".join(WHOLE)


class DuckDB(Engine):
    """A table in DuckDB's own file, in the end in order of host and time."""

    name = layout = "DuckDB"
    package = module = "duckdb"

    @staticmethod
    def imports() -> None:
        import duckdb  # noqa: F401

    @staticmethod
    def form(batch: pa.Table) -> pa.Table:
        return batch.set_column(0, "time", batch["time"].cast(pa.timestamp("ns")))

    def __init__(self, place: Place, *, write: bool = False, merging: bool = True) -> None:
        import duckdb

        assert isinstance(place, Folder)
        place.path.mkdir(exist_ok=True)
        self.path = place.path / "cpu.duckdb"
        self.db = duckdb.connect(self.path, read_only=not write)
        self._within = False

    def another(self) -> Self:
        twin = object.__new__(type(self))
        twin.path, twin.db, twin._within = self.path, self.db.cursor(), False
        return twin

    def add(self, batch: Any) -> None:
        if not self._within:
            self.db.begin()
            self._within = True
        self._insert(batch)

    def flush(self) -> None:
        if self._within:
            self.db.commit()
            self._within = False

    def compact(self) -> None:
        new = self.path.with_suffix(".new")
        self.db.execute(f"attach '{new}' as sorted")
        self.db.execute("create table sorted.cpu as select * from cpu order by host, time")
        self.db.execute("detach sorted")
        self.db.close()
        os.replace(new, self.path)
        with contextlib.suppress(FileNotFoundError):
            os.remove(f"{self.path}.wal")
        self.__init__(Folder(self.path.parent), write=True)  # type: ignore[misc]

    def rewrite(self, batch: Any) -> None:
        self.db.begin()
        self.db.register("rows", batch)
        since, until = "(select min(time) from rows)", "(select max(time) from rows)"
        self.db.execute(f"delete from cpu where time between {since} and {until}")
        self._insert(batch)
        self.db.commit()

    def close(self) -> None:
        self.db.close()

    def _insert(self, batch: Any) -> None:
        self.db.register("rows", batch)
        self.db.execute("create table if not exists cpu as select * from rows limit 0")
        self.db.execute("insert into cpu select * from rows")

    def _ask(self, query: str) -> pa.Table:
        return self.db.sql(query).to_arrow_table()

    def series_hour(self, asked: Asked) -> pa.Table:
        return self._ask(f"select {COLUMNS} from cpu where host = '{asked.host}' and {_hour(asked)}")

    def eight_series_hour(self, asked: Asked) -> pa.Table:
        return self._ask(f"select {COLUMNS} from cpu where host in {asked.hosts} and {_hour(asked)}")

    def all_hour(self, asked: Asked) -> pa.Table:
        return self._ask(f"select {COLUMNS} from cpu where {_hour(asked)}")

    def all_hour_by_time(self, asked: Asked) -> pa.Table:
        return self._ask(f"select {COLUMNS} from cpu where {_hour(asked)} order by time")

    def scan_value(self, asked: Asked) -> pa.Table:
        return self._ask("select f0 from cpu")

    def scan_rows(self, asked: Asked) -> pa.Table:
        return self._ask("select time, host, f0 from cpu")

    def mean_by_series(self, asked: Asked) -> pa.Table:
        return self._ask("select host, avg(f0) as f0 from cpu group by host")

    def hourly_by_region(self, asked: Asked) -> pa.Table:
        hour = f"epoch_ns(time) // {HOUR} * {HOUR}"
        return self._ask(f"select {hour} as time, region, avg(f0) as f0 from cpu group by all")

    def last_rows(self, asked: Asked) -> pa.Table:
        newest = "select host, max(time) from cpu group by host"
        return self._ask(f"select {COLUMNS} from cpu where (host, time) in ({newest})")

    def newest_of_series(self, asked: Asked) -> pa.Table:
        return self._ask(f"select {COLUMNS} from cpu where host = '{asked.host}' order by time desc limit 10")

    def count_high(self, asked: Asked) -> pa.Table:
        return self._ask(f"select count(*) as count from cpu where f0 > {asked.high!r}")


def _hour(asked: Asked) -> str:
    return f"time >= make_timestamp_ns({asked.start}) and time < make_timestamp_ns({asked.end})"
