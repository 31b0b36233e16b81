"""Printing and exporting rows: what is chosen, and that each format holds exactly it."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

import measurefs
from measurefs.cli import _requests
from measurefs.cli.common import BadInput
from tests.cli.conftest import Run
from tests.conftest import Store

SECOND = 1_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    """A measure with every type of column, nulls, and text that CSV must quote."""
    url = str(tmp_path / "store")
    with measurefs.open(url) as db:
        measure = db.create_measure(
            "m",
            entity={"host": "string", "port": "int64"},
            tags={"zone": "string", "labels": "list<string>"},
            fields={"f": "float64", "i": "int64", "b": "bool", "s": "string", "raw": "binary"},
        )
        measure.write(
            {
                "time": ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z", "2026-01-02T00:00:00Z"],
                "host": ["a", "b", "a"],
                "port": [80, 443, 80],
                "zone": ["x,y", None, ""],
                "labels": [["p", "q"], [], None],
                "f": [0.1, float("nan"), None],
                "i": [2**60, None, -1],
                "b": [True, False, None],
                "s": ['say "hi"', "two\nlines", "plain"],
                "raw": [b"\x00\xff", None, b""],
            }
        )
    yield url


def expected(store: str, **how: object) -> pa.Table:
    with measurefs.open(store, read_only=True) as db:
        return db.measure("m").query(**how).to_arrow()  # type: ignore[arg-type]


def same(rows: pa.Table, others: pa.Table) -> bool:
    """Whether two tables are the same; NaN is NaN."""
    return rows.schema.equals(others.schema) and repr(rows.to_pylist()) == repr(others.to_pylist())


def test_exactly_the_rows_that_pandas_finds(
    run: Run, options: Callable[[Store], list[str]], store_url: Store, series_files: dict[str, Path]
) -> None:
    more = options(store_url)
    words = (
        "--time-column",
        "timestamp",
        "--entity",
        "source",
        "--with",
        "source={stem}",
        "--interval",
        "30d",
    )
    run("ingest", store_url.url, "nab", *series_files.values(), *words, *more)
    for name, path in series_files.items():
        frame = pd.read_csv(path, parse_dates=["timestamp"]).drop_duplicates("timestamp", keep="last")
        start, end = "2014-02-15 03:20:00", "2014-02-16T00:00:00Z"
        frame = frame[(frame.timestamp >= start) & (frame.timestamp < "2014-02-16")]
        chosen = ("--where", f"source={name}", "--start", start, "--end", end)
        text = run("query", store_url.url, "nab", *chosen, "--columns", "time,value", *more).stdout
        got = pd.read_csv(io.StringIO(text), parse_dates=["time"])
        assert len(frame) > 100
        assert got["time"].dt.tz_localize(None).tolist() == frame["timestamp"].tolist()
        assert got["value"].tolist() == frame["value"].astype(float).tolist()


def test_csv(run: Run, store: str) -> None:
    assert run("query", store, "m", "--columns", "time,host,port,zone,f").stdout.splitlines() == [
        "time,host,port,zone,f",
        '"2026-01-01T00:00:00.000000000Z","a",80,"x,y",0.1',
        '"2026-01-01T00:00:00.500000000Z","b",443,,nan',
        '"2026-01-02T00:00:00.000000000Z","a",80,"",',
    ]
    bare = "time\n2026-01-01T00:00:00.000000000Z\n"
    assert run("query", store, "m", "--columns", "time", "--limit", "1").stdout == bare
    assert (
        run("query", store, "m", "--columns", "host,i").stdout == "host,i\na,1152921504606846976\nb,\na,-1\n"
    )


def test_what_was_exported_can_be_ingested(run: Run, store: str, tmp_path: Path) -> None:
    columns = ("--columns", "time,host,port,zone,labels,f,i,b,s")
    rows = run("query", store, "m", *columns, "--where", "port=80").stdout
    other = tmp_path / "other"
    types = ("--entity", "host", "--entity", "port:int64", "--tag", "labels:list<string>", "--field", "s")
    run("ingest", other, "m", "-", *types, stdin=rows.encode())
    assert run("query", other, "m", *columns).stdout == rows


def test_jsonl_and_json(run: Run, store: str) -> None:
    lines = run("query", store, "m", "--format", "jsonl").stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows == json.loads(run("query", store, "m", "--json").stdout)
    assert [row["time"] for row in rows] == [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.5Z",
        "2026-01-02T00:00:00Z",
    ]
    assert [row["f"] for row in rows] == [0.1, None, None]
    assert [row["i"] for row in rows] == [2**60, None, -1]
    assert [row["raw"] for row in rows] == ["AP8=", None, ""]
    assert [row["labels"] for row in rows] == [["p", "q"], [], None]
    assert json.loads(run("query", store, "m", "--json", "--limit", "0").stdout) == []


def test_parquet_and_arrow(run: Run, store: str, tmp_path: Path) -> None:
    rows = expected(store)
    run("query", store, "m", "--output", tmp_path / "rows.parquet")
    assert same(pq.read_table(tmp_path / "rows.parquet"), rows)
    run("query", store, "m", "--output", tmp_path / "rows.arrow")
    assert same(pa.ipc.open_file(tmp_path / "rows.arrow").read_all(), rows)
    piped = run("query", store, "m", "--format", "parquet").stdout_bytes
    assert same(pq.read_table(io.BytesIO(piped)), rows)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".partial")]


def test_output_is_whole_or_not_there(run: Run, store: str, tmp_path: Path) -> None:
    (part,) = list((tmp_path / "store").glob("m/seg-20260101/shard-0/*.part"))
    data = bytearray(part.read_bytes())
    data[: len(data) // 2] = bytes(len(data) // 2)
    part.write_bytes(data)
    (tmp_path / "rows.csv").write_text("from before\n")
    assert "damaged" in run("query", store, "m", "-o", tmp_path / "rows.csv", status=1).stderr
    assert (tmp_path / "rows.csv").read_text() == "from before\n"
    run("query", store, "m", "-o", tmp_path / "no" / "such" / "rows.csv", status=2)


@pytest.mark.parametrize(
    ("words", "how"),
    [
        (("--where", "host=a"), {"where": {"host": "a"}}),
        (("--where", "host=a", "--where", "host=b"), {"where": {"host": ["a", "b"]}}),
        (("--where", "port=443", "--where", "host=b"), {"where": {"port": 443, "host": "b"}}),
        (("--where", "f=0.1"), {"where": {"f": 0.1}}),
        (("--where", "b=true"), {"where": {"b": True}}),
        (("--where", "zone=x,y"), {"where": {"zone": "x,y"}}),
        (("--where", "zone="), {"where": {"zone": ""}}),
        (("--start", "2026-01-01T00:00:00.5Z"), {"start": "2026-01-01T00:00:00.5Z"}),
        (("--start", str(1767225600 * SECOND + 1)), {"start": 1767225600 * SECOND + 1}),
        (("--end", "2026-01-02"), {"end": "2026-01-02"}),
        (("--order", "-time", "--limit", "2"), {"order": "-time", "limit": 2}),
        (("--order", "series"), {"order": "series"}),
        (("--offset", "1"), {"offset": 1}),
        (("--order", "-time", "--limit", "1", "--offset", "1"), {"order": "-time", "limit": 1, "offset": 1}),
        (("--columns", "i, time"), {"columns": ["i", "time"]}),
        (("--columns", "version"), {"columns": ["version"]}),
    ],
)
def test_what_is_chosen(
    run: Run, store: str, tmp_path: Path, words: tuple[str, ...], how: dict[str, object]
) -> None:
    run("query", store, "m", *words, "--output", tmp_path / "rows.arrow")
    rows = pa.ipc.open_file(tmp_path / "rows.arrow").read_all()
    assert same(rows, expected(store, **how))
    assert rows.num_rows


def test_times_before_now(run: Run, store: str) -> None:
    with measurefs.open(store) as db:
        now = time.time_ns()
        rows = {"time": [now - 7200 * SECOND, now - 1800 * SECOND], "host": ["n", "n"], "port": [1, 2]}
        db.measure("m").write(rows)
    words = ("query", store, "m", "--where", "host=n", "--columns", "port")
    assert run(*words, "--start", "-1h").stdout == "port\n2\n"
    assert run(*words, "--start", "-1d", "--end", "now").stdout == "port\n1\n2\n"
    assert run(*words, "--start", "now-1w", "--end", "-1h").stdout == "port\n1\n"


def test_parse_time() -> None:
    def parsed(text: str) -> int | None:
        return _requests.parse_time(text, "--start", 10**18)

    assert [parsed(text) for text in ("now", "-90s", "-1.5h", "+1m")] == [
        10**18,
        10**18 - 90 * SECOND,
        10**18 - 5400 * SECOND,
        10**18 + 60 * SECOND,
    ]
    for wrong in ("", "yesterday", "-1", "-1y", "1h", "2026", "2026-13-01"):
        with pytest.raises(BadInput, match="--start"):
            parsed(wrong)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--where", "hots=a"), "'host'"),
        (("--where", "host"), "COL=VALUE"),
        (("--where", "port=http"), "int64"),
        (("--where", "time=now"), "--start"),
        (("--columns", "hots"), "'host'"),
        (("--start", "soon"), "--start"),
        (("--output", "rows.xlsx"), "--format"),
        (("--output", "rows.png"), "--plot"),
        (("--output", "x", "--format", "table"), "table"),
    ],
)
def test_bad_requests(run: Run, store: str, words: tuple[str, ...], told: str) -> None:
    assert told in run("query", store, "m", *words, status=2).stderr


def test_a_table_shows_forty_rows_and_says_how_many_more(run: Run, tmp_path: Path) -> None:
    with measurefs.open(str(tmp_path)) as db:
        measure = db.create_measure("m", entity=["h"], fields={"v": "float64"})
        measure.write(
            {"time": list(range(0, 90)), "h": ["[bold]a"] * 90, "v": [None, *map(float, range(89))]}
        )
    text = run("query", tmp_path, "m", "--format", "table").stdout
    assert text.count("[bold]a") == 40
    assert "50 more rows" in text and "--format csv" in text
    assert "null" in text and "1970-01-01 00:00:00" in text
    few = run("query", tmp_path, "m", "--format", "table", "--limit", "3").stdout
    assert few.count("[bold]a") == 3 and "more" not in few
    assert "No rows" in run("query", tmp_path, "m", "--format", "table", "--limit", "0").stdout


def test_reading_beside_a_writer(run: Run, tmp_path: Path) -> None:
    with measurefs.open(str(tmp_path)) as db:
        measure = db.create_measure("m", entity=["h"], fields={"v": "int64"})
        measure.write({"time": [0], "h": ["a"], "v": [1]}, durable=True)
        assert run("query", tmp_path, "m", "--columns", "v").stdout == "v\n1\n"
