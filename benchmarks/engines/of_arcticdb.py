"""ArcticDB (C++): on LMDB, or in a bucket."""

# ruff: noqa: D102 - `Engine` says what each method does

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from benchmarks.engines.engine import Engine
from benchmarks.fleet import WHOLE, Asked
from benchmarks.places import KEY, REGION, SECRET, Bucket, Folder, Place

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = WHOLE[1:]


class ArcticDB(Engine):
    """ArcticDB: all hosts in one symbol by time; once arranged also a symbol for each host. The better one answers."""

    name = layout = "ArcticDB"
    package = module = "arcticdb"
    remote = True
    concurrent = False

    @staticmethod
    def imports() -> None:
        import arcticdb
        import pandas  # noqa: F401

        _ = arcticdb.Arctic

    @staticmethod
    def form(batch: pa.Table) -> Any:
        return (
            batch.set_column(0, "time", batch["time"].cast(pa.timestamp("ns"))).to_pandas().set_index("time")
        )

    def __init__(self, place: Place, *, write: bool = False, merging: bool = True) -> None:
        import arcticdb
        import pandas

        self.query, self.request, self.pandas = arcticdb.QueryBuilder, arcticdb.ReadRequest, pandas
        self.arrow = arcticdb.OutputFormat.PYARROW  # where that is faster than pandas
        self.store = arcticdb.Arctic(_url(place))
        self.fleet = self.store.get_library("fleet", create_if_missing=write)
        arranged = isinstance(place, Folder) and self.store.has_library("hosts")
        self.hosts = self.store.get_library("hosts") if arranged else None

    def add(self, batch: Any) -> None:
        self.fleet.append("cpu", batch, validate_index=False)

    def compact(self) -> None:
        self.fleet.compact_data("cpu", prune_previous_versions=True)

    def arrange(self) -> None:
        hosts = self.store.create_library("hosts")
        for host, rows in self.fleet.read("cpu").data.groupby("host"):
            hosts.write(host, rows)
        self.hosts = hosts

    def rewrite(self, batch: Any) -> None:
        self.fleet.update("cpu", batch)

    def close(self) -> None:
        del self.fleet, self.hosts, self.store

    def series_hour(self, asked: Asked) -> pd.DataFrame:
        hour = self._hour(asked)
        if self.hosts is not None:
            return self.hosts.read(asked.host, columns=COLUMNS, date_range=hour).data
        query = self.query()
        query = query[query["host"] == asked.host]
        return self.fleet.read("cpu", columns=COLUMNS, date_range=hour, query_builder=query).data

    def eight_series_hour(self, asked: Asked) -> pd.DataFrame:
        hour = self._hour(asked)
        found = self.hosts.read_batch(
            [self.request(host, columns=COLUMNS, date_range=hour) for host in asked.hosts]
        )
        return self.pandas.concat([each.data for each in found])

    def all_hour(self, asked: Asked) -> pd.DataFrame:
        return self.all_hour_by_time(asked).sort_values("host", kind="stable")

    def all_hour_by_time(self, asked: Asked) -> pd.DataFrame:
        return self.fleet.read("cpu", columns=COLUMNS, date_range=self._hour(asked)).data

    def scan_value(self, asked: Asked) -> pd.DataFrame:
        return self.fleet.read("cpu", columns=["f0"]).data.reset_index(drop=True)  # by time, not by series

    def scan_rows(self, asked: Asked) -> pa.Table:
        return self.fleet.read("cpu", columns=["host", "f0"], output_format=self.arrow).data  # the same

    def mean_by_series(self, asked: Asked) -> pa.Table:
        query = self.query().groupby("host").agg({"f0": "mean"})
        return self.fleet.read("cpu", query_builder=query, output_format=self.arrow).data

    def hourly_by_region(self, asked: Asked) -> pd.DataFrame:
        rows = self.fleet.read("cpu", columns=["region", "f0"]).data
        return rows.groupby([rows.index.floor("h"), "region"])["f0"].mean().reset_index()

    def last_rows(self, asked: Asked) -> pd.DataFrame:
        rows = self.fleet.read("cpu", columns=COLUMNS).data.reset_index()
        return rows.groupby("host").last().reset_index()

    def newest_of_series(self, asked: Asked) -> pd.DataFrame:
        return self.hosts.tail(asked.host, 10, columns=COLUMNS).data.iloc[::-1]

    def count_high(self, asked: Asked) -> pa.Table:
        query = self.query()
        found = self.fleet.read("cpu", columns=["f0"], query_builder=query[query["f0"] > asked.high])
        return pa.table({"count": [len(found.data)]})

    def _hour(self, asked: Asked) -> tuple[Any, Any]:
        end = self.pandas.Timestamp(asked.end - 1)  # its ranges include their ends
        return self.pandas.Timestamp(asked.start), end


def _url(place: Place) -> str:
    if isinstance(place, Bucket):
        keys = f"port={place.port}&access={KEY}&secret={SECRET}&region={REGION}"
        return f"s3://127.0.0.1:{place.name}?{keys}"
    return f"lmdb://{place.path}?map_size=20GB"
