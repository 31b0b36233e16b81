"""Tags from the command line: made, listed, queried, shown and removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import measurefs
from tests.cli.conftest import Run, figures, tree
from tests.conftest import Store

OPTIONS = measurefs.TableOptions(gc_grace=0.0, keep_snapshots=1)


def fill(url: str, value: float, storage_options: dict[str, object] | None = None) -> None:
    with measurefs.open(url, storage_options=storage_options, options=OPTIONS) as db:
        cpu = db.create_measure("cpu", entity=["host"], fields={"v": "float64"}, exist_ok=True)
        cpu.write({"time": ["2026-01-01"], "host": ["a"], "v": [value]})
        cpu.flush()
        cpu.gc()


def values(run: Run, url: object, *more: str) -> list[float]:
    return [row["v"] for row in figures(run("query", url, "cpu", "--json", *more))]


def test_a_tag_is_made_listed_queried_shown_and_removed(
    run: Run, options: Callable[[Store], list[str]], local_store: Store
) -> None:
    url, typed = local_store.url, options(local_store)
    fill(url, 1.0)
    assert "no tags" in run("tag", url, "cpu", *typed).stdout
    made = figures(run("tag", url, "cpu", "before", "--json", *typed))
    assert (made["measure"], made["tag"]) == ("cpu", "before")
    fill(url, 2.0)
    assert values(run, url, *typed) == [2.0]
    assert values(run, url, "--as-of", "before", *typed) == [1.0]
    assert values(run, url, "--as-of", "now", *typed) == [2.0]
    assert "before" in run("tag", url, "cpu", *typed).stdout
    listed = figures(run("tag", url, "cpu", "--json", *typed))
    assert listed == {"measure": "cpu", "tags": [{"name": "before", "time": made["time"]}]}
    assert figures(run("inspect", url, "cpu", "--json", *typed))["tags"] == {"before": made["time"]}
    assert "before (20" in run("inspect", url, "cpu", *typed).stdout
    assert "'before'" in run("tag", url, "cpu", "--delete", "before", *typed).stdout
    assert figures(run("tag", url, "cpu", "--json", *typed))["tags"] == []


def test_help_has_an_example(run: Run) -> None:
    assert "  measurefs tag ./metrics cpu before-upgrade" in run("tag", "--help").stdout
    assert "--as-of" in run("query", "--help").stdout


def test_digits_are_an_epoch_unless_a_tag_is_named_so(run: Run, tmp_path: Path) -> None:
    fill(str(tmp_path), 1.0)
    (table,) = figures(run("inspect", tmp_path, "cpu", "--json"))["tables"]
    epoch = str(table["epoch"])
    assert values(run, tmp_path, "--as-of", epoch) == [1.0]
    fill(str(tmp_path), 2.0)
    assert "collected" in run("query", tmp_path, "cpu", "--as-of", epoch, status=2).stderr
    run("tag", tmp_path, "cpu", epoch)
    fill(str(tmp_path), 3.0)
    assert values(run, tmp_path, "--as-of", epoch) == [2.0]


def test_listing_and_asking_write_nothing(run: Run, tmp_path: Path) -> None:
    fill(str(tmp_path), 1.0)
    run("tag", tmp_path, "cpu", "a")
    before = tree(tmp_path)
    run("tag", tmp_path, "cpu")
    run("query", tmp_path, "cpu", "--as-of", "a")
    run("query", tmp_path, "cpu", "--as-of", "b", status=2)
    run("tag", tmp_path, "cpu", "a", "--delete", "a", status=2)
    run("tag", tmp_path, "cup", "a", status=2)
    assert tree(tmp_path) == before
    run("tag", tmp_path / "none", "cpu", "a", status=2)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("a",), "untag it first"),
        (("A",), "only in case"),
        (("--delete", "b"), "unknown tag 'b'"),
        (("a", "--delete", "a"), "not both"),
    ],
)
def test_what_cannot_be_is_refused(run: Run, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    fill(str(tmp_path), 1.0)
    run("tag", tmp_path, "cpu", "a")
    assert told in run("tag", tmp_path, "cpu", *arguments, status=2).stderr


def test_a_writer_at_work_keeps_others_from_tagging(run: Run, tmp_path: Path) -> None:
    fill(str(tmp_path), 1.0)
    with measurefs.open(str(tmp_path)) as db:
        db.measure("cpu").write({"time": ["2026-01-01"], "host": ["b"], "v": [2.0]})
        assert "held by" in run("tag", tmp_path, "cpu", "a", status=1).stderr
        db.measure("cpu").tag("a")
        assert sorted(values(run, tmp_path, "--as-of", "a")) == [1.0, 2.0]
