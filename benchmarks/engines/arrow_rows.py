"""The questions to an engine that gives an Arrow dataset, and has Arrow do the rest."""

# ruff: noqa: D102 - `Engine` says what each method does

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.engines.engine import Engine
from benchmarks.fleet import KEYS, WHOLE, Asked


class ArrowRows(Engine):
    """An engine with a dataset `data`, and `coded`, whose strings are read as dictionaries where that is faster."""

    data: Any
    coded: Any

    def series_hour(self, asked: Asked) -> pa.Table:
        return self.data.to_table(WHOLE, filter=(pc.field("host") == asked.host) & self._hour(asked))

    def eight_series_hour(self, asked: Asked) -> pa.Table:
        chosen = pc.field("host").isin(list(asked.hosts))
        return self.data.to_table(WHOLE, filter=chosen & self._hour(asked))

    def all_hour(self, asked: Asked) -> pa.Table:
        return self.coded.to_table(WHOLE, filter=self._hour(asked))

    def all_hour_by_time(self, asked: Asked) -> pa.Table:
        return self.all_hour(asked).sort_by("time")

    def scan_value(self, asked: Asked) -> pa.Table:
        return self.coded.to_table(["f0"])

    def scan_rows(self, asked: Asked) -> pa.Table:
        return self.coded.to_table([*KEYS, "f0"])

    def mean_by_series(self, asked: Asked) -> pa.Table:
        rows = self.coded.to_table(["host", "f0"]).unify_dictionaries()
        return rows.group_by("host").aggregate([("f0", "mean")])

    def hourly_by_region(self, asked: Asked) -> pa.Table:
        rows = self.coded.to_table(["time", "region", "f0"]).unify_dictionaries()
        hours = pc.floor_temporal(rows["time"], 1, "hour")
        grouped = rows.set_column(0, "time", hours).group_by(["time", "region"])
        return grouped.aggregate([("f0", "mean")])

    def last_rows(self, asked: Asked) -> pa.Table:
        rows = self.coded.to_table(WHOLE).unify_dictionaries()
        places = pa.table({"host": rows["host"], "place": pa.array(np.arange(len(rows)))})
        newest = places.group_by("host", use_threads=False).aggregate([("place", "last")])
        return rows.take(newest["place_last"])

    def newest_of_series(self, asked: Asked) -> pa.Table:
        rows = self.data.to_table(WHOLE, filter=pc.field("host") == asked.host)
        return rows.take(pc.select_k_unstable(rows, 10, [("time", "descending")]))

    def count_high(self, asked: Asked) -> pa.Table:
        return pa.table({"count": [self.data.count_rows(filter=pc.field("f0") > asked.high)]})

    def _hour(self, asked: Asked) -> pc.Expression:
        kind = self.data.schema.field("time").type
        start, end = (
            pa.scalar(each, pa.timestamp("ns", "UTC")).cast(kind) for each in (asked.start, asked.end)
        )
        return (pc.field("time") >= start) & (pc.field("time") < end)
