"""A measure as a lazy frame of Polars: its answers, and what of its plans reaches the store."""

from __future__ import annotations

import datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from measurefs.interop.polars import scan
from tests.interop.conftest import SECOND, START, Watched

NOON = datetime.datetime(2026, 1, 1, 0, 10, tzinfo=datetime.UTC)
c = pl.col
PREDICATES = [
    c("host") == "host-03",
    (c("host") == "host-03") & (c("time") < NOON) & (c("time") >= NOON - datetime.timedelta(minutes=5)),
    c("time").is_between(NOON - datetime.timedelta(minutes=1), NOON, closed="left"),
    c("time") > pl.lit(START + 10 * SECOND + 299).cast(pl.Datetime("ns", "UTC")),
    c("usage") > 20,
    c("usage") >= pl.lit(float("nan")),
    c("usage") < 3,
    ~(c("usage") < 3),
    c("usage") != 3,
    c("usage").is_nan(),
    pl.lit(3) > c("usage"),
    c("usage").is_null() | (c("n") < 9),
    c("usage").is_in([3.0, float("nan")]),
    c("usage") > c("n"),
    c("n").is_in([3, 4, 99_999]),
    c("n") % 7 == 3,
    c("n") > 9_990.5,
    c("host").is_in(["host-01", "nobody"]) & c("region").is_not_null(),
    c("host").str.starts_with("host-1") & c("up"),
    c("host").str.ends_with("7") & ~c("up"),
    c("region") != "r1",
    c("region").ne_missing("r1"),
    (c("region") == "r1") | (c("host") == "host-02"),
    c("raw") == b"\x001",
    c("labels").list.len() == 2,
]


@pytest.fixture
def plain(rows: pa.Table) -> pl.LazyFrame:
    """The same rows in memory."""
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame.lazy()


def same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    keys = [name for name in ("host", "time", "n") if name in found.columns]
    assert_frame_equal(found.sort(keys), expected.sort(keys))


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
@pytest.mark.parametrize("predicate", PREDICATES, ids=str)
def test_filters_find_what_they_find_in_memory(
    cpu: Watched, plain: pl.LazyFrame, predicate: pl.Expr, engine: Any
) -> None:
    found, expected = (frame.filter(predicate).collect(engine=engine) for frame in (lazy(cpu), plain))
    same(found, expected)


def lazy(measure: Watched, **more: Any) -> pl.LazyFrame:
    return scan(measure, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_plans_around_filters(cpu: Watched, plain: pl.LazyFrame, engine: Any) -> None:
    def ask(frame: pl.LazyFrame) -> list[pl.DataFrame]:
        few = frame.filter(c("n") > 300)
        plans = [
            few.group_by("host").agg(c("n").sum(), c("usage").drop_nans().mean()),
            few.sort("time", "host").head(3).select("n", "usage"),
            few.top_k(4, by="n").select("n"),
            few.select(pl.len()),
            frame.select("host").unique(),
            frame.filter(c("host") == "host-03").sort("time").tail(2),
            frame.join(few.group_by("host").agg(c("time").max()), on=["host", "time"]).select("host", "n"),
        ]
        return [plan.collect(engine=engine) for plan in plans]

    for found, expected in zip(ask(lazy(cpu)), ask(plain), strict=True):
        same(found, expected)


def test_columns_and_filters_are_asked_of_the_store(cpu: Watched) -> None:
    everything = cpu.query(columns=["n"]).explain().blocks_read
    plan = lazy(cpu).filter(c("host") == "host-03", c("time") < NOON).select("n")
    assert plan.collect()["n"].to_list() == list(range(3, 1200, 20))
    asked = cpu.queries[-1]
    assert set(asked["columns"]) == {"n", "host", "time"}
    assert 'host == "host-03"' in str(asked["where"])
    assert "time < 2026-01-01 00:10:00" in str(asked["where"])
    assert cpu.blocks_read() * 100 == everything


def test_nan_is_greater_than_numbers_only_to_polars(cpu: Watched, plain: pl.LazyFrame) -> None:
    predicate = (c("usage") > 24) & (c("host") == "host-03")
    same(lazy(cpu).filter(predicate).collect(), plain.filter(predicate).collect())
    assert "is_nan" in str(cpu.queries[-1]["where"])


def test_the_head_asks_for_no_more_rows(cpu: Watched) -> None:
    assert lazy(cpu).select("n").head(7).collect().height == 7
    assert cpu.queries[-1]["limit"] == 7


def test_bounds_and_order_are_those_of_the_query(cpu: Watched) -> None:
    frame = lazy(cpu, order="-time", start=START, end=START + 20 * SECOND)
    assert frame.filter(c("host") == "host-03").collect()["n"].to_list() == [23, 3]


def test_the_schema_is_known_before_anything_is_read(cpu: Watched, rows: pa.Table) -> None:
    empty = pl.from_arrow(rows.slice(0, 0))
    assert isinstance(empty, pl.DataFrame)
    assert lazy(cpu).collect_schema() == empty.schema


def test_nothing_found_is_an_empty_frame(cpu: Watched) -> None:
    found = lazy(cpu).filter(c("host") == "nobody").select("usage").collect()
    assert found.schema == {"usage": pl.Float64}
    assert found.height == 0


def test_each_collect_sees_the_rows_of_its_moment(small: Watched) -> None:
    frame = lazy(small)
    before = frame.collect().height
    small.write({"time": [START + 7], "host": ["new"]})
    assert frame.collect().height == before + 1
