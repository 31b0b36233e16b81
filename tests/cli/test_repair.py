"""``measurefs repair``."""

from __future__ import annotations

from pathlib import Path

import measurefs
from measurefs.fs import walk
from tests.cli.conftest import Run, figures, tree
from tests.cli.test_inspect import fill
from tests.cli.test_verify import flip, parts_of
from tests.conftest import Store


def test_nothing_to_do(run: Run, tmp_path: Path) -> None:
    fill(str(tmp_path))
    before = tree(tmp_path)
    assert "No damage." in run("repair", tmp_path).stdout
    assert "No damage." in run("repair", tmp_path, "--apply").stdout
    done = figures(run("repair", tmp_path, "--json"))
    assert (done["complete"], done["actions"], done["left"]) == (True, [], [])
    assert tree(tmp_path) == before


def test_first_it_is_shown_then_done(run: Run, local_store: Store) -> None:
    fill(local_store.url, local_store.options)
    with local_store.open() as fs:
        path = next(path for path in walk(fs) if path.endswith(".part"))
        fs.write(path, fs.read(path)[:30])
        before = {each: fs.read(each) for each in walk(fs)}
        shown = run("repair", local_store.url, status=1)
        assert "would be dropped" in shown.stdout and "--apply" in shown.stderr
        assert {each: fs.read(each) for each in walk(fs)} == before
        plan = figures(run("repair", local_store.url, "--json", status=1))
        done = figures(run("repair", local_store.url, "--apply", "--json"))
        assert (plan["applied"], done["applied"]) == (False, True)
        assert plan["actions"] == done["actions"]
        (dropped,) = (action for action in done["actions"] if action["what"] == "dropped")
        assert dropped["path"] == path
        assert fs.read(f"{path}.corrupt") == before[path]
    assert "No damage." in run("verify", local_store.url).stdout
    with measurefs.open(local_store.url, storage_options=local_store.options, read_only=True) as db:
        assert db.measure("cpu").query().to_arrow().num_rows == 32 - dropped["rows"]


def test_for_people(run: Run, tmp_path: Path) -> None:
    fill(str(tmp_path))
    flip(parts_of(tmp_path)[0])
    text = run("repair", tmp_path, "cpu", "--apply").stdout
    for word in ("set aside", "dropped", "committed", "2026-01-01 00:00:00"):
        assert word in text


def test_what_is_left_is_status_1_and_says_what_to_do(run: Run, tmp_path: Path) -> None:
    fill(str(tmp_path))
    (tmp_path / "cpu" / "schema.json").write_bytes(b"{}")
    for more in ((), ("--apply",)):
        failed = run("repair", tmp_path, *more, status=1)
        assert "left to you" in failed.stdout and "backup" in failed.stdout
        assert "cannot be repaired" in failed.stderr


def test_a_living_writer_is_status_1(run: Run, tmp_path: Path) -> None:
    fill(str(tmp_path))
    flip(parts_of(tmp_path)[0])
    with measurefs.open(str(tmp_path)) as db:
        hosts = [f"h{number}" for number in range(8)]
        db.measure("cpu").write({"time": ["2026-01-01"] * 8, "host": hosts, "v": [0.0] * 8})
        assert "lock" in run("repair", tmp_path, "--apply", status=1).stderr.lower()
