"""The whole engine on every kind of file system, a stranger's among them: the same rows from each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import measurefs
from measurefs.fs import CountingFileSystem, FileSystem, ReadOnlyFileSystem, open_url
from tests.conftest import Store
from tests.stranger import SqliteFileSystem

OPTIONS = measurefs.TableOptions(gc_grace=0)


@pytest.fixture(params=["local", "memory", "s3", "fsspec", "stranger", "wrapped"])
def any_fs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FileSystem]:
    if request.param == "stranger":
        fs: FileSystem = SqliteFileSystem(str(tmp_path / "store.sqlite"))
    elif request.param == "fsspec":
        (tmp_path / "store").mkdir()
        fs = open_url(f"local://{tmp_path / 'store'}")
    elif request.param == "wrapped":
        fs = CountingFileSystem(open_url("memory://"))
    else:
        store: Store = request.getfixturevalue(f"{request.param}_store")
        fs = store.open()
    with fs:
        yield fs


def readings() -> pd.DataFrame:
    """Two sources, half a minute apart over three days, one out of order and with a repeated time."""
    times = pd.date_range("2026-01-01", periods=2_000, freq="2min", tz="UTC")
    first = pd.DataFrame({"time": times, "source": "a", "room": "attic", "value": range(2_000)})
    second = first.assign(source="b", room=None, value=first["value"] * 0.5)
    again = second.iloc[[10]].assign(value=-1.0)
    return pd.concat([first, second.iloc[::-1], again], ignore_index=True).astype({"value": float})


def expected(frame: pd.DataFrame) -> list[dict[str, Any]]:
    kept = frame.drop_duplicates(["source", "time"], keep="last")
    return sorted(pa.Table.from_pandas(kept, preserve_index=False).to_pylist(), key=_key)


def stored(db: measurefs.Database) -> list[dict[str, Any]]:
    return sorted(db.measure("room").query().to_arrow().to_pylist(), key=_key)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["source"], row["time"]


def test_rows_survive_flush_collection_and_reopening(any_fs: FileSystem) -> None:
    frame = readings()
    with measurefs.open(any_fs, options=OPTIONS) as db:
        room = db.create_measure(
            "room", entity=["source"], tags={"room": "string"}, fields={"value": "float64"}, interval="1d"
        )
        for start in range(0, len(frame), 1_000):
            room.write(frame.iloc[start : start + 1_000])
            assert stored(db) == expected(frame.iloc[: start + 1_000])
            room.flush()
        assert any(name.endswith(".snp") for name in room.gc())
        assert stored(db) == expected(frame)
    with measurefs.open(any_fs, read_only=True) as db:
        assert stored(db) == expected(frame)
    with measurefs.open(any_fs) as db:
        db.measure("room").write({"time": ["2027-01-01"], "source": ["c"], "value": [1.0]}, durable=True)
        assert len(stored(db)) == len(expected(frame)) + 1


def test_questions_have_the_same_answers(any_fs: FileSystem) -> None:
    frame = readings()
    with measurefs.open(any_fs, options=OPTIONS) as db:
        room = db.create_measure(
            "room", entity=["source"], tags={"room": "string"}, fields={"value": "float64"}, interval="1d"
        )
        for start in range(0, len(frame), 1_500):
            room.write(frame.iloc[start : start + 1_500])
            room.flush()
    rows = frame.drop_duplicates(["source", "time"], keep="last")
    with measurefs.open(any_fs, read_only=True) as db:
        room = db.measure("room")
        high = room.query(
            where={"value": {">": 990}, "source": "a"}, order="-time", limit=5, offset=2
        ).to_pandas()
        wanted = rows[(rows["value"] > 990) & (rows["source"] == "a")].sort_values("time", ascending=False)
        assert high["value"].tolist() == wanted["value"].tolist()[2:7]
        daily = room.aggregate(every="1d", by="source", values={"value": ["mean", "max"]}).to_pandas()
        groups = rows.groupby([rows["time"].dt.floor("D"), "source"])["value"]
        assert daily["value_mean"].tolist() == pytest.approx(groups.mean().tolist())
        assert daily["value_max"].tolist() == groups.max().tolist()
        last = room.last().to_pandas().sort_values("source")
        assert last["value"].tolist() == [
            rows[rows["source"] == each].iloc[-1 if each == "a" else 0]["value"] for each in "ab"
        ]


def test_a_reader_never_writes(any_fs: FileSystem) -> None:
    with measurefs.open(any_fs) as db:
        room = db.create_measure(
            "room", entity=["source"], tags={"room": "string"}, fields={"value": "float64"}
        )
        room.write(readings())
    with measurefs.open(ReadOnlyFileSystem(any_fs), read_only=True) as db:
        assert len(stored(db)) == len(expected(readings()))


def test_rows_are_flushed_when_the_interpreter_exits(tmp_path: Path) -> None:
    script = (
        "import sys, measurefs\n"
        "db = measurefs.open(sys.argv[1])\n"
        "m = db.create_measure('m', entity=['host'], fields={'v': 'int64'})\n"
        "m.write({'time': list(range(100)), 'host': ['a'] * 100, 'v': list(range(100))})\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "store")], check=True)
    with measurefs.open(tmp_path / "store", read_only=True) as db:
        assert db.measure("m").query().to_pandas()["v"].tolist() == list(range(100))


def test_importing_the_interface_does_not_import_arrow() -> None:
    script = "import sys, measurefs; measurefs.FileSystem; assert 'pyarrow' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
