"""Aggregates, newest rows and what a query took, on the command line."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import measurefs
from tests.cli.conftest import Run, figures

MINUTE = 60 * 10**9
DAY = "2026-03-28"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two days of two hosts, a row each ten minutes, with an hour missing; and one host without a region."""
    url = str(tmp_path_factory.mktemp("aggregates") / "store")
    start = pa.scalar(DAY).cast(pa.timestamp("ns")).value
    times = [start + number * 10 * MINUTE for number in range(288) if not 60 <= number < 66]
    with measurefs.open(url) as db:
        measure = db.create_measure(
            "m",
            entity=["host"],
            tags={"region": "string", "labels": "list<string>"},
            fields={"usage": "float64", "hits": "int64", "up": "bool", "note": "string"},
        )
        for host, region in (("a", "eu"), ("b", "us"), ("c", None)):
            measure.write(
                {
                    "time": times,
                    "host": [host] * len(times),
                    "region": [region] * len(times),
                    "usage": [float(time // MINUTE % 97) for time in times],
                    "hits": [time // MINUTE % 13 for time in times],
                    "up": [True] * len(times),
                    "note": [f"at {time}" for time in times],
                }
            )
    return url


def found(store: str, question: str, **how: object) -> list[dict[str, object]]:
    with measurefs.open(store, read_only=True) as db:
        rows: list[dict[str, object]] = getattr(db.measure("m"), question)(**how).to_arrow().to_pylist()
    return rows


@pytest.mark.parametrize(
    ("words", "how"),
    [
        (["--agg", "count"], {}),
        (["--agg", "count", "--by", "host"], {"by": ["host"]}),
        (["--agg", "mean"], {"values": {"usage": "mean", "hits": "mean"}}),
        (["--agg", "mean, max"], {"values": {"usage": ["mean", "max"], "hits": ["mean", "max"]}}),
        (
            ["--agg", "usage:mean,p99.9", "--agg", "hits:sum", "--agg", "count"],
            {"values": {"usage": ["mean", "p99.9"], "hits": "sum", "*": "count"}},
        ),
        (["--agg", "count,usage:min,hits:max"], {"values": {"*": "count", "usage": "min", "hits": "max"}}),
        (["--agg", "usage:mean", "--agg", "usage:mean,max"], {"values": {"usage": ["mean", "max"]}}),
        (["--agg", "note:last,count"], {"values": {"note": ["last", "count"]}}),
        (["--agg", "*:count"], {"values": {"*": "count"}}),
        (["--agg", "labels:count"], {"values": {"labels": "count"}}),
        (
            ["--agg", "usage:max", "--every", "6h", "--by", "region,host"],
            {"values": {"usage": "max"}, "every": "6h", "by": ["region", "host"]},
        ),
        (
            ["--agg", "hits:sum", "--every", "1d", "--timezone", "Europe/Berlin"],
            {"values": {"hits": "sum"}, "every": "1d", "timezone": "Europe/Berlin"},
        ),
        (
            ["--agg", "usage:mean", "--every", "30m", "--fill", "linear", "--where", "host=a"],
            {"values": {"usage": "mean"}, "every": "30m", "fill": "linear", "where": {"host": "a"}},
        ),
        (
            ["--agg", "hits:max", "--every", "30m", "--fill", "-1", "--start", DAY, "--end", "2026-03-29"],
            {"values": {"hits": "max"}, "every": "30m", "fill": -1, "start": DAY, "end": "2026-03-29"},
        ),
    ],
)
def test_the_same_as_in_python(
    run: Run, store: str, tmp_path: Path, words: list[str], how: dict[str, object]
) -> None:
    run("query", store, "m", *words, "--output", tmp_path / "rows.parquet")
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert rows == found(store, "aggregate", **how)
    assert rows


def test_count_of_rows(run: Run, store: str) -> None:
    assert run("query", store, "m", "--agg", "count").stdout == f"count\n{3 * 282}\n"
    assert run("query", store, "m", "--agg", "count", "--where", "host=nobody").stdout == "count\n0\n"


def test_the_first_buckets_only(run: Run, store: str) -> None:
    words = ("query", store, "m", "--agg", "usage:mean", "--every", "1h", "--json")
    rows = figures(run(*words))
    assert len(rows) == 47
    assert figures(run(*words, "--limit", "3", "--offset", "2")) == rows[2:5]
    assert figures(run(*words, "--offset", "45")) == rows[45:]
    assert figures(run(*words, "--limit", "0")) == figures(run(*words, "--offset", "100")) == []


def test_newest_rows(run: Run, store: str, tmp_path: Path) -> None:
    run("query", store, "m", "--last", "--output", tmp_path / "rows.parquet")
    assert pq.read_table(tmp_path / "rows.parquet").to_pylist() == found(store, "last")
    words = ("--end", "2026-03-28T10:30", "--where", "region is not null", "--columns", "host,time")
    rows = figures(run("query", store, "m", "--last", *words, "--json"))
    assert sorted(row["host"] for row in rows) == ["a", "b"]
    assert {row["time"] for row in rows} == {"2026-03-28T09:50:00Z"}
    assert figures(run("query", store, "m", "--last", *words, "--json", "--limit", "1")) == rows[:1]


def test_a_table(run: Run, store: str) -> None:
    text = run("query", store, "m", "--agg", "usage:mean", "--by", "region", "--format", "table").stdout
    assert "usage_mean" in text
    assert [line.split()[0] for line in text.splitlines() if line.split()][2:] == ["eu", "us", "null"]


def test_explain(run: Run, store: str) -> None:
    rows = figures(run("query", store, "m", "--where", "host=a", "--explain", "--json"))
    assert rows["rows"] == 282
    assert rows["parts_read"] >= 1 and rows["bytes"] > 0 and rows["seconds"] > 0
    text = run("query", store, "m", "--where", "host=a", "--explain").stdout
    assert "282 rows" in text and "blocks" in text and "kB" in text
    assert "blocks" in run("query", store, "m", "--agg", "usage:mean", "--every", "1d", "--explain").stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--last", "--agg", "mean"], "--agg COL:last"),
        (["--columns", "usage", "--agg", "mean"], "--agg usage:mean"),
        (["--order", "-time", "--agg", "mean"], "--order"),
        (["--order", "-time", "--last"], "--order"),
        (["--every", "1h"], "--agg count"),
        (["--by", "host"], "--agg count"),
        (["--fill", "null", "--agg", "mean"], "--every"),
        (["--timezone", "UTC", "--agg", "mean"], "--every"),
        (["--agg", "mean", "--every", "1h", "--fill", "zero"], "linear"),
        (["--agg", "mean", "--every", "hourly"], "'1h'"),
        (["--agg", "mean", "--every", "1d", "--timezone", "Europe/Berln"], "Europe/Berlin"),
        (["--agg", "usage"], "--agg usage:mean"),
        (["--agg", "usage:"], "no function"),
        (["--agg", ""], "no function"),
        (["--agg", ":mean"], "no function"),
        (["--agg", "usge:mean"], "'usage'"),
        (["--agg", "usage:avg"], "avg"),
        (["--agg", "note:mean"], "string"),
        (["--agg", "mean", "--by", "usage"], "usage"),
        (["--agg", "mean", "--by", "hots"], "'host'"),
        (["--explain", "--output", "x.csv"], "--output"),
        (["--explain", "--format", "csv"], "--format"),
    ],
)
def test_what_does_not_go_together(run: Run, store: str, words: list[str], told: str) -> None:
    assert told in run("query", store, "m", *words, status=2).stderr


def test_a_measure_without_numbers(run: Run, tmp_path: Path) -> None:
    with measurefs.open(str(tmp_path)) as db:
        db.create_measure("m", entity=["h"], fields={"s": "string"}).write(
            {"time": [0], "h": ["a"], "s": ["x"]}
        )
    assert "--agg count" in run("query", tmp_path, "m", "--agg", "mean", status=2).stderr
    assert run("query", tmp_path, "m", "--agg", "s:last").stdout == "s_last\nx\n"
