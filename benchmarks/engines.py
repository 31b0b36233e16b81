"""The engines of `queries.py`: how each stores the fleet's rows, and how a user of it would ask.

Each has a method for each question. What they return is Arrow, or pandas where the engine's own form is that. All
rows of a series come together and in order of time, unless the question is about another order.
"""

# ruff: noqa: D102 - `QUESTIONS` of queries.py says what each method answers

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from data import FIELDS
from fleet import HOUR, KEYS, TAG_TYPES, Asked, Fleet

if TYPE_CHECKING:
    import pandas as pd

WHOLE = [*KEYS, *FIELDS]
NANOSECONDS = pa.timestamp("ns", tz="UTC")


class Measurefs:
    """measurefs: written durably as it comes, and compacted."""

    name: ClassVar[str] = "measurefs"

    @staticmethod
    def imports() -> None:
        import measurefs

        _ = measurefs.open  # it imports what it needs when asked for it

    def __init__(self, root: Path, asked: Asked) -> None:
        import measurefs

        self.asked = asked
        self.db = measurefs.open(root, read_only=True)
        self.cpu = self.db.measure("cpu")

    def close(self) -> None:
        self.db.close()

    @staticmethod
    def store(fleet: Fleet, root: Path) -> None:
        import measurefs

        with measurefs.open(root, options=measurefs.TableOptions(gc_grace=0.0)) as db:
            cpu = db.create_measure(
                "cpu", entity=["host"], tags=TAG_TYPES, fields=dict.fromkeys(FIELDS, "float64")
            )
            for batch in fleet.by_time():
                cpu.write(batch)
            cpu.flush()
            cpu.compact()
            cpu.gc()

    def series_hour(self) -> pa.Table:
        return self.cpu.query(
            self.asked.start, self.asked.end, {"host": self.asked.host}, WHOLE, order="series"
        ).to_arrow()

    def eight_series_hour(self) -> pa.Table:
        hosts = list(self.asked.hosts)
        return self.cpu.query(
            self.asked.start, self.asked.end, {"host": hosts}, WHOLE, order="series"
        ).to_arrow()

    def all_hour(self) -> pa.Table:
        return self.cpu.query(self.asked.start, self.asked.end, columns=WHOLE, order="series").to_arrow()

    def all_hour_by_time(self) -> pa.Table:
        return self.cpu.query(self.asked.start, self.asked.end, columns=WHOLE).to_arrow()

    def scan_value(self) -> pa.Table:
        return self.cpu.query(columns=["f0"], order="series").to_arrow()

    def scan_rows(self) -> pa.Table:
        return self.cpu.query(columns=[*KEYS, "f0"], order="series").to_arrow()

    def mean_by_series(self) -> pa.Table:
        return self.cpu.aggregate(by=["host"], values={"f0": "mean"}).to_arrow()

    def hourly_by_region(self) -> pa.Table:
        return self.cpu.aggregate(every="1h", by=["region"], values={"f0": "mean"}).to_arrow()

    def last_rows(self) -> pa.Table:
        return self.cpu.last(columns=WHOLE).to_arrow()

    def newest_of_series(self) -> pa.Table:
        return self.cpu.query(
            where={"host": self.asked.host}, columns=WHOLE, order="-time", limit=10
        ).to_arrow()

    def count_high(self) -> pa.Table:
        return self.cpu.aggregate(where={"f0": {">": self.asked.high}}).to_arrow()


class Parquet:
    """A Parquet file sorted by host and time, through pyarrow's dataset."""

    name: ClassVar[str] = "Parquet (pyarrow)"

    @staticmethod
    def imports() -> None:
        import pyarrow.dataset  # noqa: F401

    def __init__(self, root: Path, asked: Asked) -> None:
        import pyarrow.dataset as ds

        self.asked = asked
        self.data = ds.dataset(root / "cpu.parquet")
        form = ds.ParquetFileFormat(dictionary_columns=["host", "region"])
        self.coded = ds.dataset(root / "cpu.parquet", format=form)  # better where no host is picked out
        self.start, self.end = (pa.scalar(each, NANOSECONDS) for each in (asked.start, asked.end))
        self.hour = (pc.field("time") >= self.start) & (pc.field("time") < self.end)

    def close(self) -> None:
        pass

    @staticmethod
    def store(fleet: Fleet, root: Path) -> None:
        import pyarrow.parquet as pq

        root.mkdir()
        pq.write_table(fleet.by_series(), root / "cpu.parquet", compression="snappy", row_group_size=100_000)

    def series_hour(self) -> pa.Table:
        return self.data.to_table(WHOLE, filter=(pc.field("host") == self.asked.host) & self.hour)

    def eight_series_hour(self) -> pa.Table:
        chosen = pc.field("host").isin(list(self.asked.hosts))
        return self.data.to_table(WHOLE, filter=chosen & self.hour)

    def all_hour(self) -> pa.Table:
        return self.coded.to_table(WHOLE, filter=self.hour)

    def all_hour_by_time(self) -> pa.Table:
        return self.all_hour().sort_by("time")

    def scan_value(self) -> pa.Table:
        return self.coded.to_table(["f0"])

    def scan_rows(self) -> pa.Table:
        return self.coded.to_table([*KEYS, "f0"])

    def mean_by_series(self) -> pa.Table:
        rows = self.coded.to_table(["host", "f0"]).unify_dictionaries()
        return rows.group_by("host").aggregate([("f0", "mean")])

    def hourly_by_region(self) -> pa.Table:
        rows = self.coded.to_table(["time", "region", "f0"]).unify_dictionaries()
        hours = pc.floor_temporal(rows["time"], 1, "hour")
        grouped = rows.set_column(0, "time", hours).group_by(["time", "region"])
        return grouped.aggregate([("f0", "mean")])

    def last_rows(self) -> pa.Table:
        rows = self.coded.to_table(WHOLE).unify_dictionaries()
        places = pa.table({"host": rows["host"], "place": pa.array(np.arange(len(rows)))})
        newest = places.group_by("host", use_threads=False).aggregate([("place", "last")])
        return rows.take(newest["place_last"])

    def newest_of_series(self) -> pa.Table:
        rows = self.data.to_table(WHOLE, filter=pc.field("host") == self.asked.host)
        return rows.take(pc.select_k_unstable(rows, 10, [("time", "descending")]))

    def count_high(self) -> pa.Table:
        return pa.table({"count": [self.data.count_rows(filter=pc.field("f0") > self.asked.high)]})


class Polars:
    """The same Parquet file, through Polars' lazy frames."""

    name: ClassVar[str] = "Parquet (Polars)"

    @staticmethod
    def imports() -> None:
        import polars  # noqa: F401

    def __init__(self, root: Path, asked: Asked) -> None:
        import polars as pl

        self.pl = pl
        self.asked = asked
        self.rows = pl.scan_parquet(root / "cpu.parquet")
        start, end = (pl.lit(each).cast(pl.Datetime("ns", "UTC")) for each in (asked.start, asked.end))
        self.hour = (pl.col("time") >= start) & (pl.col("time") < end)

    def close(self) -> None:
        pass

    store = staticmethod(Parquet.store)

    def series_hour(self) -> pa.Table:
        chosen = self.pl.col("host") == self.asked.host
        return self.rows.filter(chosen & self.hour).select(WHOLE).collect().to_arrow()

    def eight_series_hour(self) -> pa.Table:
        chosen = self.pl.col("host").is_in(list(self.asked.hosts))
        return self.rows.filter(chosen & self.hour).select(WHOLE).collect().to_arrow()

    def all_hour(self) -> pa.Table:
        return self.rows.filter(self.hour).select(WHOLE).collect().to_arrow()

    def all_hour_by_time(self) -> pa.Table:
        return self.rows.filter(self.hour).select(WHOLE).sort("time").collect().to_arrow()

    def scan_value(self) -> pa.Table:
        return self.rows.select("f0").collect().to_arrow()

    def scan_rows(self) -> pa.Table:
        return self.rows.select(*KEYS, "f0").collect().to_arrow()

    def mean_by_series(self) -> pa.Table:
        return self.rows.group_by("host").agg(self.pl.col("f0").mean()).collect().to_arrow()

    def hourly_by_region(self) -> pa.Table:
        hours = self.pl.col("time").dt.truncate("1h")
        return self.rows.group_by(hours, "region").agg(self.pl.col("f0").mean()).collect().to_arrow()

    def last_rows(self) -> pa.Table:
        newest = self.rows.select(WHOLE).unique("host", keep="last", maintain_order=True)
        return newest.collect().to_arrow()

    def newest_of_series(self) -> pa.Table:
        chosen = self.rows.filter(self.pl.col("host") == self.asked.host).select(WHOLE)
        return chosen.top_k(10, by="time").sort("time", descending=True).collect().to_arrow()

    def count_high(self) -> pa.Table:
        counted = self.rows.filter(self.pl.col("f0") > self.asked.high).select(count=self.pl.len())
        return counted.collect().to_arrow()


class DuckDB:
    """A table in DuckDB's own file, in order of host and time."""

    name: ClassVar[str] = "DuckDB"

    @staticmethod
    def imports() -> None:
        import duckdb  # noqa: F401

    def __init__(self, root: Path, asked: Asked) -> None:
        import duckdb

        self.asked = asked
        self.db = duckdb.connect(root / "cpu.duckdb", read_only=True)
        self.hour = f"time >= make_timestamp_ns({asked.start}) and time < make_timestamp_ns({asked.end})"
        self.whole = ", ".join(WHOLE)

    def close(self) -> None:
        self.db.close()

    @staticmethod
    def store(fleet: Fleet, root: Path) -> None:
        import duckdb

        root.mkdir()
        with contextlib.closing(duckdb.connect(root / "cpu.duckdb")) as db:
            rows = fleet.by_series()
            db.register("rows", rows)
            db.execute("set timezone = 'UTC'")
            db.execute(
                "create table cpu as select time::timestamp_ns as time, * exclude time from rows order by host, time"
            )
            db.execute("checkpoint")

    def _ask(self, query: str) -> pa.Table:
        return self.db.sql(query).to_arrow_table()

    def series_hour(self) -> pa.Table:
        return self._ask(f"select {self.whole} from cpu where host = '{self.asked.host}' and {self.hour}")

    def eight_series_hour(self) -> pa.Table:
        return self._ask(f"select {self.whole} from cpu where host in {self.asked.hosts} and {self.hour}")

    def all_hour(self) -> pa.Table:
        return self._ask(f"select {self.whole} from cpu where {self.hour}")

    def all_hour_by_time(self) -> pa.Table:
        return self._ask(f"select {self.whole} from cpu where {self.hour} order by time")

    def scan_value(self) -> pa.Table:
        return self._ask("select f0 from cpu")

    def scan_rows(self) -> pa.Table:
        return self._ask("select time, host, f0 from cpu")

    def mean_by_series(self) -> pa.Table:
        return self._ask("select host, avg(f0) as f0 from cpu group by host")

    def hourly_by_region(self) -> pa.Table:
        hour = f"epoch_ns(time) // {HOUR} * {HOUR}"
        return self._ask(f"select {hour} as time, region, avg(f0) as f0 from cpu group by all")

    def last_rows(self) -> pa.Table:
        newest = "select host, max(time) from cpu group by host"
        return self._ask(f"select {self.whole} from cpu where (host, time) in ({newest})")

    def newest_of_series(self) -> pa.Table:
        return self._ask(
            f"select {self.whole} from cpu where host = '{self.asked.host}' order by time desc limit 10"
        )

    def count_high(self) -> pa.Table:
        return self._ask(f"select count(*) as count from cpu where f0 > {self.asked.high!r}")


class ArcticDB:
    """ArcticDB on LMDB, stored twice: as one symbol by time, and as a symbol for each host. The better one answers."""

    name: ClassVar[str] = "ArcticDB"

    @staticmethod
    def imports() -> None:
        import arcticdb  # noqa: F401
        import pandas  # noqa: F401

    def __init__(self, root: Path, asked: Asked) -> None:
        import arcticdb
        import pandas

        self.query, self.request, self.asked = arcticdb.QueryBuilder, arcticdb.ReadRequest, asked
        self.concat = pandas.concat
        self.arrow = arcticdb.OutputFormat.PYARROW  # where that is faster than pandas
        store = arcticdb.Arctic(f"lmdb://{root}")
        self.fleet, self.hosts = store["fleet"], store["hosts"]
        end = pandas.Timestamp(asked.end - 1)  # its ranges include their ends
        self.hour = pandas.Timestamp(asked.start), end

    def close(self) -> None:
        pass

    @staticmethod
    def store(fleet: Fleet, root: Path) -> None:
        import arcticdb

        rows = pa.concat_tables(fleet.by_time())
        frame = rows.set_column(0, "time", rows["time"].cast(pa.timestamp("ns"))).to_pandas()
        frame = frame.set_index("time")
        store = arcticdb.Arctic(f"lmdb://{root}?map_size=10GB")
        store.create_library("fleet").write("cpu", frame)
        hosts = store.create_library("hosts")
        for host, of_host in frame.groupby("host"):
            hosts.write(host, of_host)

    def series_hour(self) -> pd.DataFrame:
        return self.hosts.read(self.asked.host, columns=WHOLE[1:], date_range=self.hour).data

    def eight_series_hour(self) -> pd.DataFrame:
        hosts = self.asked.hosts
        found = self.hosts.read_batch(
            [self.request(host, columns=WHOLE[1:], date_range=self.hour) for host in hosts]
        )
        return self.concat([each.data for each in found])

    def all_hour(self) -> pd.DataFrame:
        return self.all_hour_by_time().sort_values("host", kind="stable")

    def all_hour_by_time(self) -> pd.DataFrame:
        return self.fleet.read("cpu", columns=WHOLE[1:], date_range=self.hour).data

    def scan_value(self) -> pd.DataFrame:
        return self.fleet.read("cpu", columns=["f0"]).data.reset_index(drop=True)  # by time, not by series

    def scan_rows(self) -> pa.Table:
        return self.fleet.read("cpu", columns=["host", "f0"], output_format=self.arrow).data  # the same

    def mean_by_series(self) -> pa.Table:
        query = self.query().groupby("host").agg({"f0": "mean"})
        return self.fleet.read("cpu", query_builder=query, output_format=self.arrow).data

    def hourly_by_region(self) -> pd.DataFrame:
        rows = self.fleet.read("cpu", columns=["region", "f0"]).data
        return rows.groupby([rows.index.floor("h"), "region"])["f0"].mean().reset_index()

    def last_rows(self) -> pd.DataFrame:
        rows = self.fleet.read("cpu", columns=WHOLE[1:]).data.reset_index()
        return rows.groupby("host").last().reset_index()

    def newest_of_series(self) -> pd.DataFrame:
        return self.hosts.tail(self.asked.host, 10, columns=WHOLE[1:]).data.iloc[::-1]

    def count_high(self) -> pa.Table:
        query = self.query()
        found = self.fleet.read("cpu", columns=["f0"], query_builder=query[query["f0"] > self.asked.high])
        return pa.table({"count": [len(found.data)]})


ENGINES: tuple[type[Any], ...] = (Measurefs, Parquet, Polars, DuckDB, ArcticDB)
