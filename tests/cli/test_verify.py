"""``measurefs verify``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import measurefs
from tests.cli.conftest import Run, figures, tree
from tests.cli.test_inspect import fill
from tests.conftest import Store


def parts_of(store: Path) -> list[Path]:
    return sorted(store.rglob("*.part"))


def flip(path: Path, offset: int = 5) -> None:
    whole = bytearray(path.read_bytes())
    whole[offset] ^= 8
    path.write_bytes(whole)


def test_a_healthy_store(run: Run, options: Callable[[Store], list[str]], store_url: Store) -> None:
    with measurefs.open(store_url.url, storage_options=store_url.options) as db:
        measure = db.create_measure("cpu", entity=["host"], fields={"v": "int64"})
        measure.write({"time": [1, 2], "host": ["a", "b"], "v": [1, 2]})
    text = run("verify", store_url.url, *options(store_url)).stdout
    assert "1 measure, 1 table" in text and "2 rows" in text and "No damage." in text
    report = figures(run("verify", store_url.url, "--json", *options(store_url)))
    assert (report["ok"], report["rows"], report["damages"]) == (True, 2, [])


def test_damage_is_status_1_and_named(run: Run, tmp_path: Path) -> None:
    fill(str(tmp_path))
    path = parts_of(tmp_path)[0]
    flip(path)
    before = tree(tmp_path)
    name = str(path.relative_to(tmp_path))
    failed = run("verify", tmp_path, status=1)
    assert f"{name} at byte 0" in failed.stdout and "checksum" in failed.stdout
    assert "1 damage found" in failed.stderr and f"measurefs repair {tmp_path}" in failed.stderr
    (damage,) = figures(run("verify", tmp_path, "cpu", "--json", status=1))["damages"]
    assert (damage["path"], damage["offset"], damage["min_time"]) == (name, 0, "2026-01-01T00:00:00Z")
    assert damage["rows"] > 0
    assert tree(tmp_path) == before
    assert "No damage" in run("verify", tmp_path, "empty/one").stdout


def test_a_store_that_does_not_open(run: Run, tmp_path: Path) -> None:
    fill(str(tmp_path))
    (tmp_path / "measurefs.json").write_bytes(b"")
    for path in tmp_path.rglob("*.snp"):
        path.unlink()
    report = figures(run("verify", tmp_path, "--json", status=1))
    assert {damage["path"].rpartition("/")[2] for damage in report["damages"]} == {
        "measurefs.json",
        "shard-0",
        "shard-1",
    }


def test_no_store_and_no_measure_are_status_2(run: Run, tmp_path: Path) -> None:
    for command in ("verify", "repair"):
        assert "no measurefs store" in run(command, tmp_path / "missing", status=2).stderr
        assert "no measurefs store" in run(command, "memory://not-there", status=2).stderr
        assert not (tmp_path / "missing").exists()
    fill(str(tmp_path))
    assert "'cpu'" in run("verify", tmp_path, "cpus", status=2).stderr
    assert "'cpu'" in run("repair", tmp_path, "cpus", status=2).stderr


def test_help_has_examples(run: Run) -> None:
    for command in ("verify", "repair"):
        text = run(command, "--help").stdout
        assert f"  measurefs {command}" in text.partition("Example")[2]
        assert "--json" in text and "--storage-option" in text
