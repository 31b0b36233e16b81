"""Reading files into a measure: types, names, and bad input that leaves no trace."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import measurefs
from measurefs.cli import _ingestion
from tests.cli.conftest import Run, figures, tree
from tests.conftest import Store


def stored(url: object, measure: str = "m", **how: object) -> pa.Table:
    with measurefs.open(str(url), read_only=True) as db:
        return db.measure(measure).query(**how).to_arrow()  # type: ignore[arg-type]


def csv_file(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


GOOD = ("time,host,value", "2026-01-01T00:00:00Z,a,1.5", "2026-01-01T00:00:10Z,b,2.5")


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return csv_file(tmp_path / "good.csv", *GOOD)


# Good input


def test_series_in_files_of_their_own(
    run: Run, options: Callable[[Store], list[str]], store_url: Store, series_files: dict[str, Path]
) -> None:
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
    files = series_files.values()
    report = figures(run("ingest", store_url.url, "nab", *files, *words, "--json", *options(store_url)))
    assert (report["files"], report["rows"]) == (2, 2 * 872)
    with measurefs.open(store_url.url, read_only=True, storage_options=store_url.options) as db:
        assert db.measure("nab").schema.fields == {"value": "float64"}
        for name, path in series_files.items():
            # As texts, since pandas may round numbers.
            read = pd.read_csv(path, parse_dates=["timestamp"], dtype={"value": str})
            frame = read.drop_duplicates("timestamp", keep="last")
            got = db.measure("nab").query(where={"source": name}).to_pandas()
            assert got["time"].dt.tz_localize(None).tolist() == frame["timestamp"].tolist()
            assert got["value"].tolist() == frame["value"].astype(float).tolist()


def test_types_are_found(run: Run, tmp_path: Path) -> None:
    data = csv_file(
        tmp_path / "a.csv",
        "time,host,count,ratio,up,zone,code",
        "2026-01-01 00:00:00,1,7,0.5,true,NA,007",
        '2026-01-01 00:00:01,2,,NA,false,"",A12',
        "2026-01-01 00:00:02,3,-9,1e3,,eu,B1",
    )
    run("ingest", tmp_path / "s", "m", data, "--entity", "host")
    rows = stored(tmp_path / "s").select(["host", "count", "ratio", "up", "zone", "code"])
    assert [str(field.type) for field in rows.schema] == [
        "string",
        "int64",
        "double",
        "bool",
        "string",
        "string",
    ]
    assert rows.to_pylist() == [
        {"host": "1", "count": 7, "ratio": 0.5, "up": True, "zone": "NA", "code": "007"},
        {"host": "2", "count": None, "ratio": None, "up": False, "zone": "", "code": "A12"},
        {"host": "3", "count": -9, "ratio": 1000.0, "up": None, "zone": "eu", "code": "B1"},
    ]
    with measurefs.open(str(tmp_path / "s"), read_only=True) as db:
        schema = db.measure("m").schema
        assert schema.tags == {"default": {"zone": "string", "code": "string"}}
        assert schema.fields == {"count": "int64", "ratio": "float64", "up": "bool"}


@pytest.mark.parametrize("order", [("whole.csv", "parts.csv"), ("parts.csv", "whole.csv")])
def test_whole_numbers_in_one_file_and_fractions_in_another(
    run: Run, tmp_path: Path, order: tuple[str, str]
) -> None:
    csv_file(tmp_path / "whole.csv", "time,h,v", "2026-01-01,a,1", "2026-01-02,a,2")
    csv_file(tmp_path / "parts.csv", "time,h,v", "2026-01-03,a,0.5")
    run("ingest", tmp_path / "s", "m", *(tmp_path / name for name in order), "--entity", "h")
    assert stored(tmp_path / "s")["v"].to_pylist() == [1.0, 2.0, 0.5]


def test_fractions_far_behind_whole_numbers(run: Run, tmp_path: Path) -> None:
    count = 400_000  # several blocks
    lines = [f"{1_700_000_000 + number},a,{number}" for number in range(count)]
    data = csv_file(tmp_path / "a.csv", "time,h,v", *lines, f"{1_700_000_000 + count},a,0.5")
    run("ingest", tmp_path / "s", "m", data, "--entity", "h", "--time-unit", "s", "--batch-rows", "150000")
    values = stored(tmp_path / "s")["v"]
    assert values.type == pa.float64()
    assert values.to_pylist() == [*map(float, range(count)), 0.5]


def test_large_input_is_read_twice_and_is_the_same(
    run: Run, tmp_path: Path, series_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        *series_files.values(),
        "--time-column",
        "timestamp",
        "--entity",
        "source",
        "--with",
        "source={name}",
    )
    run("ingest", tmp_path / "kept", "m", *words, "--interval", "30d")
    monkeypatch.setattr(_ingestion, "_KEPT_BYTES", 0)
    run("ingest", tmp_path / "again", "m", *words, "--interval", "30d")
    assert stored(tmp_path / "kept").equals(stored(tmp_path / "again"))


def test_a_file_that_changes_between_check_and_write(
    run: Run, tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ingestion, "_KEPT_BYTES", 0)
    check = _ingestion._check

    def then_changed(*arguments: object) -> object:
        result = check(*arguments)  # type: ignore[arg-type]
        good.write_text("another\n")
        return result

    monkeypatch.setattr(_ingestion, "_check", then_changed)
    assert "changed" in run("ingest", tmp_path / "s", "m", good, "--entity", "host", status=2).stderr


def test_an_existing_measure_decides_the_types(run: Run, tmp_path: Path) -> None:
    with measurefs.open(str(tmp_path / "s")) as db:
        db.create_measure(
            "m",
            entity={"h": "int64"},
            tags={"t": "list<string>"},
            fields={"v": "float64", "s": "string", "b": "binary"},
        )
    data = csv_file(tmp_path / "a.csv", "time,h,v,s,t,b", '2026-01-01,7,1,12,"[""x"", ""y""]",raw')
    run("ingest", tmp_path / "s", "m", data)
    (row,) = stored(tmp_path / "s").drop_columns(["time"]).to_pylist()
    assert row == {"h": 7, "v": 1.0, "s": "12", "t": ["x", "y"], "b": b"raw"}
    less = csv_file(tmp_path / "b.csv", "time,h", "2026-01-02,8")
    run("ingest", tmp_path / "s", "m", less)
    assert stored(tmp_path / "s")["v"].to_pylist() == [1.0, None]


def test_parquet(run: Run, tmp_path: Path) -> None:
    times = pa.array(pd.date_range("2026-01-01", periods=3, freq="s", tz="Europe/Berlin"))
    hosts = pa.array(["a", "b", "a"]).dictionary_encode()
    table = pa.table(
        {
            "at": times,
            "host": hosts,
            "n": pa.array([1, 2, 3], pa.int32()),
            "f": pa.array([1, None, 2.5], pa.float32()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table.slice(0, 1).set_column(2, "n", pa.array([0.5])), tmp_path / "b.bin")
    words = ("--time-column", "at", "--entity", "host")
    run("ingest", tmp_path / "s", "m", tmp_path / "a.parquet", *words)
    rows = stored(tmp_path / "s")
    assert (
        rows["time"].cast(pa.int64()).to_pylist()
        == times.cast(pa.timestamp("ns")).cast(pa.int64()).to_pylist()
    )
    assert rows["n"].to_pylist() == [1, 2, 3] and rows["f"].to_pylist() == [1.0, None, 2.5]
    run("ingest", tmp_path / "s", "both", tmp_path / "a.parquet", tmp_path / "b.bin", *words)
    assert stored(tmp_path / "s", "both")["n"].to_pylist() == [0.5, 2.0, 3.0]


def test_directories_gzip_and_standard_input(run: Run, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    csv_file(directory / "a.csv", "time,host,v", "2026-01-01,a,1")
    (directory / "b.csv.gz").write_bytes(gzip.compress(b"time,host,v\n2026-01-02,b,2\n"))
    (directory / "notes.txt").write_text("not data")
    rows = b"time,host,v\n2026-01-03,c,3\n"
    report = figures(
        run("ingest", tmp_path / "s", "m", directory, "-", "--entity", "host", "--json", stdin=rows)
    )
    assert report["files"] == 3
    assert stored(tmp_path / "s")["host"].to_pylist() == ["a", "b", "c"]


def test_placeholders(run: Run, tmp_path: Path) -> None:
    (tmp_path / "dc1").mkdir()
    data = csv_file(tmp_path / "dc1" / "web.x.csv", "time,v", "2026-01-01,1")
    constants = ("s={stem}", "n={name}", "p={parent}-{odd}", "k=7")
    words = [word for text in constants for word in ("--with", text)]
    run("ingest", tmp_path / "s", "m", data, "--entity", "s", "--field", "k:int64", *words)
    (row,) = stored(tmp_path / "s").drop_columns(["time"]).to_pylist()
    assert row == {"s": "web.x", "n": "web.x.csv", "p": "dc1-{odd}", "k": 7, "v": 1}


@pytest.mark.parametrize(
    ("text", "unit", "nanoseconds"),
    [
        ("2026-01-01T00:00:00.123456789Z", None, 1767225600_123456789),
        ("2026-01-01T02:00:00+02:00", None, 1767225600_000000000),
        (" 2026-01-01 ", None, 1767225600_000000000),
        ("1767225600", "s", 1767225600_000000000),
        ("1767225600123", "ms", 1767225600_123000000),
        ("1767225600123456789", None, 1767225600_123456789),
    ],
)
def test_times(run: Run, tmp_path: Path, text: str, unit: str | None, nanoseconds: int) -> None:
    data = csv_file(tmp_path / "a.csv", "time,h,v", f"{text},a,1")
    run("ingest", tmp_path / "s", "m", data, "--entity", "h", *(("--time-unit", unit) if unit else ()))
    assert stored(tmp_path / "s")["time"].cast(pa.int64()).to_pylist() == [nanoseconds]


def test_times_with_and_without_zone(run: Run, tmp_path: Path) -> None:
    data = csv_file(tmp_path / "a.csv", "time,h", "2026-01-01T01:00:00+01:00,a", "2026-01-01 00:00:01,a")
    run("ingest", tmp_path / "s", "m", data, "--entity", "h")
    assert stored(tmp_path / "s")["time"].cast(pa.int64()).to_pylist() == [
        1767225600 * 10**9,
        1767225601 * 10**9,
    ]


def test_options_of_a_new_measure(run: Run, tmp_path: Path, good: Path) -> None:
    words = (
        "--entity",
        "host",
        "--field",
        "value:float64",
        "--interval",
        "6h",
        "--ttl",
        "9000d",
        "--shards",
        "2",
    )
    for _ in range(2):  # the second time it is there, and is the same
        run("ingest", tmp_path / "s", "m", good, *words, "--durable")
    with measurefs.open(str(tmp_path / "s"), read_only=True) as db:
        schema = db.measure("m").schema
        assert (schema.interval, schema.ttl, schema.shards) == ("6h", "9000d", 2)


def test_skip_and_text_fields(run: Run, tmp_path: Path) -> None:
    data = csv_file(tmp_path / "a.csv", "time,host,note,junk,v", "2026-01-01,a,hi,x,1")
    run(
        "ingest",
        tmp_path / "s",
        "m",
        data,
        "--entity",
        "host",
        "--field",
        "note",
        "--skip",
        "junk",
        "--tag",
        "v",
    )
    with measurefs.open(str(tmp_path / "s"), read_only=True) as db:
        schema = db.measure("m").schema
        assert (schema.tags, schema.fields) == ({"default": {"v": "string"}}, {"note": "string"})


def test_quiet(run: Run, tmp_path: Path, good: Path) -> None:
    assert run("ingest", tmp_path / "s", "m", good, "--entity", "host", "--quiet").output == ""
    assert "2 rows from 1 file" in run("ingest", tmp_path / "s", "m", good).stdout


# Bad input


BAD_FILES = {
    "one value more": ((*GOOD, "2026-01-01T00:00:20Z,c,1,9"), "line 4"),
    "one value less": ((*GOOD, "2026-01-01T00:00:20Z,c"), "line 4"),
    "no number": ((*GOOD, "2026-01-01T00:00:20Z,c,oops"), "line 4"),
    "no number after a blank line": ((*GOOD, "", "2026-01-01T00:00:20Z,c,oops"), "line 5"),
    "no number after a broken line": (
        (GOOD[0], '2026-01-01,"two\nlines",1', "2026-01-02,b,2", "2026-01-03,b,x"),
        "line 5",
    ),
    "no time": ((*GOOD, "yesterday,c,1"), "line 4"),
    "time far away": ((*GOOD, "3026-01-01T00:00:00Z,c,1"), "line 4"),
    "time missing": ((*GOOD, ",c,1"), "line 4"),
    "entity missing": ((*GOOD, "2026-01-01T00:00:20Z,,1"), "line 4"),
    "time column missing": (("when,host,value", "2026-01-01,a,1"), "--time-column"),
    "entity column missing": (("time,value", "2026-01-01,1"), "'host'"),
    "column twice": (("time,host,value,value", "2026-01-01,a,1,2"), "'value'"),
    "empty file": ((), "empty"),
    "column without name": (("time,host,", "2026-01-01,a,1"), ""),
    "seconds without unit": (("time,host,value", "1767225600,a,1"), "--time-unit"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("where", ["new store", "new measure", "existing measure"])
def test_bad_input_leaves_no_trace(run: Run, tmp_path: Path, good: Path, kind: str, where: str) -> None:
    lines, told = BAD_FILES[kind]
    bad = csv_file(tmp_path / "bad.csv", *lines) if lines else tmp_path / "bad.csv"
    bad.touch()
    store = tmp_path / "store"
    if where != "new store":
        run("ingest", store, "m" if where == "existing measure" else "other", good, "--entity", "host")
    before = tree(store)
    error = run("ingest", store, "m", good, bad, "--entity", "host", status=2).stderr
    assert told in error
    assert where == "existing measure" or "bad.csv" in error or kind == "column without name"
    assert tree(store) == before
    assert store.exists() == (where != "new store")


def test_bad_input_deep_in_a_large_file(run: Run, tmp_path: Path) -> None:
    count = 400_000
    lines = [f"{1_700_000_000 + number},a,{number}" for number in range(count)]
    lines[300_000] = "1700300000,a,12:5"
    data = csv_file(tmp_path / "a.csv", "time,h,v", *lines)
    words = ("ingest", tmp_path / "s", "m", data, "--entity", "h", "--time-unit", "s")
    error = run(*words, status=2).stderr
    assert "line 300002" in error and "'12:5'" in error
    lines[300_000] = "1700300000,a,12,5"
    csv_file(data, "time,h,v", *lines)
    assert "line 300002" in run(*words, status=2).stderr
    assert not (tmp_path / "s").exists()


def test_bad_parquet_leaves_no_trace(run: Run, tmp_path: Path) -> None:
    times = pa.array([0, None, 2], pa.timestamp("ns"))
    pq.write_table(
        pa.table({"time": times, "host": ["a", "b", "c"], "v": [1, 2, 3]}), tmp_path / "null.parquet"
    )
    pq.write_table(pa.table({"time": [10**18], "host": ["a"], "v": [{"x": 1}]}), tmp_path / "struct.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "null.parquet").read_bytes()[:-20])
    for name, told in (("null", "row 2"), ("struct", "'v'"), ("cut", "Parquet")):
        error = run(
            "ingest", tmp_path / "s", "m", tmp_path / f"{name}.parquet", "--entity", "host", status=2
        ).stderr
        assert name in error and told in error
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--entity", "hosts"),
        ("--entity", "host", "--field", "valu"),
        ("--entity", "host", "--field", "value:float46"),
        ("--entity", "host", "--tag", "value:float64"),
        ("--entity", "host", "--skip", "nothing"),
        ("--entity", "host", "--interval", "90s"),
        ("--entity", "host", "--ttl", "long"),
        ("--entity", "host", "--shards", "0"),
        ("--entity", "host", "--with", "nonsense"),
        ("--entity", "host", "--with", "value={stem}"),
        ("--entity", "host", "--format", "parquet"),
        ("--entity", "host", "--storage-option", "unknown=1"),
    ],
)
def test_bad_options_leave_no_trace(run: Run, tmp_path: Path, good: Path, words: tuple[str, ...]) -> None:
    run("ingest", tmp_path / "s", "m", good, *words, status=2)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--entity", "value"),
        ("--interval", "2d"),
        ("--shards", "3"),
        ("--ttl", "1d"),
        ("--tag", "value"),
        ("--field", "x"),
    ],
)
def test_options_that_contradict_the_measure(
    run: Run, tmp_path: Path, good: Path, words: tuple[str, ...]
) -> None:
    run("ingest", tmp_path / "s", "m", good, "--entity", "host")
    before = tree(tmp_path / "s")
    run("ingest", tmp_path / "s", "m", good, *words, status=2)
    assert tree(tmp_path / "s") == before


def test_an_unknown_column_names_the_nearest(run: Run, tmp_path: Path, good: Path) -> None:
    run("ingest", tmp_path / "s", "m", good, "--entity", "host")
    bad = csv_file(tmp_path / "bad.csv", "time,host,valeu", "2026-01-01,a,1")
    error = run("ingest", tmp_path / "s", "m", bad, status=2).stderr
    assert "'valeu'" in error and "'value'" in error and "bad.csv" in error
    run("ingest", tmp_path / "s", "m", bad, "--skip", "valeu")


def test_files_that_are_not_there(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("nosuch.csv", "empty"):
        assert (
            name in run("ingest", tmp_path / "s", "m", tmp_path / name, "--entity", "host", status=2).stderr
        )


def test_a_locked_table_is_status_1(run: Run, tmp_path: Path, good: Path) -> None:
    run("ingest", tmp_path / "s", "m", good, "--entity", "host")
    with measurefs.open(str(tmp_path / "s")) as db:
        db.measure("m").write({"time": ["2026-01-01"], "host": ["x"], "value": [1.0]})
        assert "held by" in run("ingest", tmp_path / "s", "m", good, status=1).stderr
