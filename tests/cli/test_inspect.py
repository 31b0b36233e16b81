"""Figures of a store: for machines, and for people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import measurefs
from tests.cli.conftest import Run, figures, tree
from tests.conftest import Store


def fill(url: str, storage_options: dict[str, object] | None = None) -> None:
    with measurefs.open(url, storage_options=storage_options) as db:
        cpu = db.create_measure(
            "cpu",
            entity=["host"],
            tags={"rack": {"row": "int64"}},
            fields={"v": "float64"},
            shards=2,
            ttl="90000d",
        )
        for day in (1, 2):
            for hour in (0, 12):
                hosts = [f"h{number}" for number in range(8)]
                times = [f"2026-01-0{day}T{hour:02}:00:00Z"] * 8
                cpu.write({"time": times, "host": hosts, "v": list(map(float, range(8)))})
                cpu.flush()
        db.create_measure("empty/one", entity=["host"], fields={"v": "float64"})


def test_json_of_a_store(run: Run, options: Callable[[Store], list[str]], store_url: Store) -> None:
    fill(store_url.url, store_url.options)
    report = figures(run("inspect", store_url.url, "--json", *options(store_url)))
    cpu, empty = report["measures"]
    assert (cpu["name"], cpu["rows"], cpu["series_at_least"], cpu["segments"]) == ("cpu", 32, 8, 2)
    assert (cpu["start"], cpu["last"]) == ("2026-01-01T00:00:00Z", "2026-01-02T12:00:00Z")
    assert cpu["bytes_per_row"] == round(cpu["bytes"] / 32, 3)
    assert (empty["name"], empty["rows"], empty["bytes_per_row"], empty["start"]) == (
        "empty/one",
        0,
        None,
        None,
    )
    assert report["stored_bytes"] > cpu["bytes"]


def test_json_of_a_measure_agrees_with_the_files(run: Run, tmp_path: Path) -> None:
    fill(str(tmp_path))
    before = tree(tmp_path)
    report = figures(run("inspect", tmp_path, "cpu", "--parts", "--json"))
    assert tree(tmp_path) == before
    assert report["schema"]["tags"] == {"rack": {"row": "int64"}}
    assert (report["schema"]["shards"], report["schema"]["ttl"]) == (2, "90000d")
    assert len(report["tables"]) == 4
    parts = {
        f"{table['path']}/{part['name']}": part for table in report["tables"] for part in table["part_list"]
    }
    sizes = {name: len(data) for name, data in before.items()}
    assert {name: part["bytes"] for name, part in parts.items()} == {
        name: number for name, number in sizes.items() if name.endswith(".part")
    }
    for part in parts.values():
        # What is left is the trailer of a file of its own.
        assert part["bytes"] == sum(part["sections"].values())
        assert part["columns"] == {"row": "int64", "v": "float64"} or part["columns"] == {"v": "float64"}
    assert report["bytes"] == sum(part["bytes"] for part in parts.values())
    assert report["rows"] == sum(part["rows"] for part in parts.values()) == 32
    assert report["stored_bytes"] == sum(number for name, number in sizes.items() if name.startswith("cpu/"))


def test_bytes_of_a_wide_part(run: Run, tmp_path: Path) -> None:
    options = measurefs.TableOptions(part=measurefs.PartOptions(compact_bytes=0))
    with measurefs.open(str(tmp_path), options=options) as db:
        db.create_measure("m", entity=["h"], fields={"v": "int64"}).write({"time": [0], "h": ["a"], "v": [1]})
    (table,) = figures(run("inspect", tmp_path, "m", "--parts", "--json"))["tables"]
    (part,) = table["part_list"]
    files = {path.name: path.stat().st_size for path in (tmp_path / table["path"] / part["name"]).iterdir()}
    assert part["sections"] == files
    assert "wide" in run("inspect", tmp_path, "m").stdout


def test_for_people(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    fill(str(tmp_path))
    text = run("inspect", tmp_path).stdout
    assert "2 measures, 32 rows" in text and "empty/one" in text and "2026-01-01 → 2026-01-02" in text
    text = run("inspect", tmp_path, "cpu", "--parts").stdout
    assert "host string" in text and "row int64 (family rack)" in text and "20260102/1" in text
    assert "timestamps.bin" in text and "compact" in text
    assert all(len(line.rstrip()) <= 100 for line in text.splitlines() if "shard-" not in line)
    assert "no rows yet" in run("inspect", tmp_path, "empty/one").stdout


def test_many_segments(run: Run, tmp_path: Path) -> None:
    with measurefs.open(str(tmp_path)) as db:
        measure = db.create_measure("m", entity=["h"], fields={"v": "int64"}, interval="1h")
        measure.write(
            {"time": [hour * 3_600_000_000_000 for hour in range(25)], "h": ["a"] * 25, "v": [1] * 25}
        )
    text = run("inspect", tmp_path, "m").stdout
    assert "and 5 before these" in text and "1970010200" in text and "1970010100" not in text
    assert "1970010100" in run("inspect", tmp_path, "m", "--all").stdout


def test_an_empty_store_and_a_missing_measure(run: Run, tmp_path: Path) -> None:
    with measurefs.open(str(tmp_path)):
        pass
    assert "no measures yet" in run("inspect", tmp_path).stdout
    assert figures(run("inspect", tmp_path, "--json"))["measures"] == []
    run("inspect", tmp_path, "cpu", status=2)
