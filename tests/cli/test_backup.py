"""``measurefs backup``, ``measurefs restore`` and ``measurefs copy``."""

from __future__ import annotations

from collections.abc import Callable

import measurefs
from tests.cli.conftest import Run, figures
from tests.cli.test_inspect import fill
from tests.conftest import Store


def to_options(typed: list[str]) -> list[str]:
    return ["--to-option" if word == "--storage-option" else word for word in typed]


def test_there_and_back(
    run: Run, options: Callable[[Store], list[str]], local_store: Store, s3_store: Store, tmp_path: object
) -> None:
    fill(local_store.url)
    typed = options(s3_store)
    first = figures(
        run("backup", local_store.url, s3_store.url, "--tag", "one", "--json", *to_options(typed))
    )
    assert first["copied"] == first["parts"] > 0
    expected = figures(run("query", local_store.url, "cpu", "--json"))
    run("restore", s3_store.url, f"{tmp_path}/restored", "--tag", "one", *typed)
    assert figures(run("query", f"{tmp_path}/restored", "cpu", "--json")) == expected


def test_within_one_kind_of_store_the_options_are_the_same(
    run: Run, options: Callable[[Store], list[str]], s3_store: Store
) -> None:
    with measurefs.open(s3_store.url, storage_options=s3_store.options) as database:
        database.create_measure("cpu", entity=["host"])
    told = run("copy", s3_store.url, f"{s3_store.url}-other", *options(s3_store)).stdout
    assert "1 measure, 0 tables" in told


def test_again_and_some(run: Run, local_store: Store) -> None:
    fill(local_store.url)
    copy = f"{local_store.url}-copy"
    run("backup", local_store.url, copy)
    assert "0 B copied in 0 parts, 8 were there, 0 removed" in run("backup", local_store.url, copy).stdout
    assert "No damage" in run("verify", copy).stdout
    run("restore", copy, f"{copy}-cpu", "--measure", "cpu")
    assert "1 measure" in run("verify", f"{copy}-cpu").stdout


def test_a_name_that_is_given_up(run: Run, local_store: Store) -> None:
    fill(local_store.url)
    copy = f"{local_store.url}-copy"
    run("backup", local_store.url, copy, "--tag", "one")
    run("backup", local_store.url, copy, "--tag", "two", "--forget", "one")
    assert "unknown tag 'one'" in run("restore", copy, f"{copy}-one", "--tag", "one", status=2).stderr
    run("restore", copy, f"{copy}-two", "--tag", "two")
    assert "read_only=True" in run("gc", copy, status=2).stderr


def test_a_writer_at_work_does_not_mind(run: Run, local_store: Store) -> None:
    with measurefs.open(local_store.url) as database:
        measure = database.create_measure("cpu", entity=["host"], fields={"v": "float64"})
        measure.write({"time": [1], "host": ["a"], "v": [1.0]}, durable=True)
        run("backup", local_store.url, f"{local_store.url}-backup")
    assert "1 measure" in run("verify", f"{local_store.url}-backup").stdout


def test_what_is_refused_says_why(run: Run, local_store: Store) -> None:
    fill(local_store.url)
    copy, missing = f"{local_store.url}-copy", f"{local_store.url}-missing"
    for command in ("backup", "restore", "copy"):
        assert "no measurefs store" in run(command, missing, copy, status=2).stderr
    run("backup", local_store.url, copy)
    assert "a store is there" in run("restore", copy, local_store.url, status=2).stderr
    assert "did you mean 'cpu'" in run("backup", local_store.url, copy, "--measure", "cpi", status=2).stderr
    assert "names the unknown tag 'x'" in run("restore", copy, missing, "--tag", "x", status=2).stderr
    assert "no backup" in run("backup", copy, local_store.url, status=2).stderr


def test_help_has_an_example(run: Run) -> None:
    assert (
        "  measurefs backup ./metrics s3://bucket/backup --tag 2026-01-31" in run("backup", "--help").stdout
    )
    assert "  measurefs restore s3://bucket/backup ./metrics" in run("restore", "--help").stdout
    assert "  measurefs copy ./metrics s3://bucket/metrics" in run("copy", "--help").stdout
