"""The span of a query: every form of a bound, to the nanosecond, from 1677 to 2262."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import measurefs
from measurefs import Measure, SchemaError
from measurefs.table import Runtime
from tests.conftest import Store
from tests.database.helpers import DAY, HOUR, open_store, values_of

UTC = datetime.UTC
NEW_YEAR = 1_767_225_600_000_000_000
"""2026-01-01, in nanoseconds."""
UNITS = ["Y", "M", "D", "h", "m", "s", "ms", "us", "ns"]
LEAST, MOST = -(2**63), 2**63 - 1


@pytest.fixture
def measure(memory_store: Store) -> Iterator[Measure]:
    with open_store(memory_store) as database:
        yield database.create_measure("m", entity=["host"], fields={"n": "int64"})


def write_times(measure: Measure, times: list[int]) -> None:
    measure.write({"time": times, "host": ["a"] * len(times)})


FORMS = [
    (NEW_YEAR, NEW_YEAR),
    (np.int64(NEW_YEAR), NEW_YEAR),
    ("2026-01-01", NEW_YEAR),
    ("2026-01-01T00:00", NEW_YEAR),
    ("2026-01-01 00:00:00", NEW_YEAR),
    ("2026-01-01T00:00:00Z", NEW_YEAR),
    ("2026-01-01T00:00:00.000000001", NEW_YEAR + 1),
    ("2026-01-01T02:00:00+02:00", NEW_YEAR),
    ("2026-01-01T05:30:00.000000007+0530", NEW_YEAR + 7),
    ("2025-12-31T19:00:00-05:00", NEW_YEAR),
    (datetime.datetime(2026, 1, 1), NEW_YEAR),
    (datetime.datetime(2026, 1, 1, tzinfo=UTC), NEW_YEAR),
    (datetime.datetime(2026, 1, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2))), NEW_YEAR),
    (datetime.datetime(2026, 1, 1, 0, 0, 0, 1), NEW_YEAR + 1000),
    (datetime.datetime(1969, 12, 31, 23, 59, 59, 999_999), -1000),
    (datetime.date(2026, 1, 1), NEW_YEAR),
    (pd.Timestamp("2026-01-01T00:00:00.000000001"), NEW_YEAR + 1),
    (pd.Timestamp("2026-01-01T00:00:00", tz="Europe/Paris"), NEW_YEAR - HOUR),
    (pd.Timestamp("2026-01-01").as_unit("s"), NEW_YEAR),
    (np.datetime64("2026-01-01T00:00:00.000000001"), NEW_YEAR + 1),
    *((np.datetime64("2026-01-01", unit), NEW_YEAR) for unit in UNITS),
    (pa.scalar(NEW_YEAR), NEW_YEAR),
    (pa.scalar("2026-01-01"), NEW_YEAR),
    (pa.scalar(NEW_YEAR + 1, pa.timestamp("ns")), NEW_YEAR + 1),
    (pa.scalar(NEW_YEAR // 10**9, pa.timestamp("s", "Asia/Tokyo")), NEW_YEAR),
    (pa.scalar(datetime.date(2026, 1, 1)), NEW_YEAR),
    ("1677-09-21T00:12:44Z", -9_223_372_036_000_000_000),
    ("2262-04-11T23:47:16.854775807Z", MOST),
    (LEAST, LEAST),
    (MOST, MOST),
    (0, 0),
]


@pytest.mark.parametrize(("bound", "nanoseconds"), FORMS)
def test_forms_are_exact(measure: Measure, bound: Any, nanoseconds: int) -> None:
    """Rows at the bound itself are in where it is the start, and out where it is the end."""
    around = [time for time in range(nanoseconds - 1, nanoseconds + 2) if LEAST <= time <= MOST]
    write_times(measure, around)
    for _ in range(2):
        assert values_of(measure, "time", start=bound) == [time for time in around if time >= nanoseconds]
        assert values_of(measure, "time", end=bound) == [time for time in around if time < nanoseconds]
        assert values_of(measure, "time", start=bound, end=bound) == []
        measure.flush()


def test_a_result_is_a_bound(measure: Measure) -> None:
    """Times of a result can be given back, as whatever they were read."""
    times = [1, 2, 3]
    write_times(measure, times)
    result = measure.query()
    arrow, pandas = result.to_arrow()["time"], result.to_pandas()["time"]
    polars = result.to_polars()["time"].to_numpy()
    for column in (arrow, pandas, polars, np.array(times)):
        assert values_of(measure, "time", start=column[1], end=column[2]) == [2]


@pytest.mark.parametrize("interval", ["1h", "6h", "1d", "7d", "99999d"])
@pytest.mark.parametrize("stored", [False, True])
def test_across_segments(memory_store: Store, interval: str, stored: bool) -> None:
    """Segment boundaries, before and after 1970 and at the ends of time, are nowhere to be seen."""
    centres = [LEAST + 2, -30 * DAY, -DAY, -6 * HOUR, -HOUR, 0, HOUR, 6 * HOUR, DAY, 7 * DAY, MOST - 2]
    times = sorted({centre + shift for centre in centres for shift in (-2, -1, 0, 1, 2)})
    with open_store(memory_store) as database:
        measure = database.create_measure("m", entity=["host"], interval=interval, shards=2)
        measure.write({"time": times * 2, "host": ["a"] * len(times) + ["b"] * len(times)})
    with open_store(memory_store, read_only=stored) as database:
        measure = database.measure("m")
        assert values_of(measure, "time", where={"host": "a"}) == times
        assert values_of(measure, "time", where={"host": "a"}, order="-time") == times[::-1]
        for start in times[::4]:
            for end in times[::5]:
                expected = [time for time in times for _ in "ab" if start <= time < end]
                assert values_of(measure, "time", start=start, end=end) == expected


@pytest.mark.parametrize(
    "bound",
    [
        *("", "yesterday", "2026-13-01", "2026-01-01T25:00", "3000-01-01", "1500-01-01", "12:00"),
        *(1.5, True, float("nan"), [1], object(), b"2026", 2**63, -(2**63) - 1),
        *(pd.NaT, np.datetime64("NaT"), np.datetime64("NaT", "s"), np.timedelta64(1, "s"), pa.scalar(None)),
        *(pa.scalar(None, pa.timestamp("ns")), pd.Timedelta(1), datetime.timedelta(1), datetime.time()),
        *(datetime.datetime(3000, 1, 1), datetime.date(1, 1, 1), np.datetime64("3000-01-01")),
        *(pd.Timestamp("3000-01-01").as_unit("s"), pd.Period("2026"), pa.scalar(1.5)),
    ],
)
def test_what_is_no_time(measure: Measure, bound: Any) -> None:
    with pytest.raises(SchemaError, match="as start: give ISO 8601"):
        measure.query(start=bound)
    with pytest.raises(SchemaError, match="as end: give ISO 8601"):
        measure.query(end=bound)


def test_an_end_before_the_start_finds_nothing(measure: Measure) -> None:
    write_times(measure, [1, 2, 3])
    assert values_of(measure, "time", start=3, end=1) == []


def test_expired_rows_are_not_found(memory_store: Store) -> None:
    clock = Runtime(now=lambda: 100 * HOUR)
    with measurefs.open(memory_store.url, runtime=clock) as database:
        cpu = database.create_measure("cpu", entity=["host"], ttl="24h")
        cpu.write({"time": [76 * HOUR - 1, 76 * HOUR, 99 * HOUR], "host": ["a", "b", "c"]})
        assert cpu.query().to_arrow().column("host").to_pylist() == ["b", "c"]
        assert cpu.query(start=0, end=90 * HOUR).to_arrow().column("host").to_pylist() == ["b"]
