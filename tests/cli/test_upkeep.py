"""``measurefs compact`` and ``measurefs gc``."""

from __future__ import annotations

from collections.abc import Callable

import measurefs
from tests.cli.conftest import Run, figures
from tests.cli.test_inspect import fill
from tests.conftest import Store


def test_compact_makes_one_part_of_each_table_and_gc_removes_the_others(
    run: Run, options: Callable[[Store], list[str]], store_url: Store
) -> None:
    fill(store_url.url, store_url.options)
    typed = options(store_url)
    before = figures(run("query", store_url.url, "cpu", "--json", *typed))
    (cpu, empty) = figures(run("compact", store_url.url, "--json", *typed))["measures"]
    assert (cpu["before"]["file_parts"], cpu["after"]["file_parts"], cpu["after"]["rows"]) == (8, 4, 32)
    assert (empty["measure"], empty["after"]["rows"]) == ("empty/one", 0)
    assert "cpu: 32 rows in 4 parts" in run("compact", store_url.url, "cpu", *typed).stdout
    removed = figures(run("gc", store_url.url, "--keep", 1, "--json", *typed))["removed"]
    assert sum(path.endswith(".part") for path in removed) == 8
    assert "Removed 0 files." in run("gc", store_url.url, "cpu", "--keep", 1, *typed).stdout
    assert figures(run("query", store_url.url, "cpu", "--json", *typed)) == before


def test_who_is_still_reading_is_given_a_grace(run: Run, local_store: Store) -> None:
    fill(local_store.url)
    run("compact", local_store.url)
    told = run("gc", local_store.url, "cpu", "--keep", 1, "--grace", 0.01).stdout
    assert told.count(".part") == 8


def test_a_wrong_url_or_name_makes_no_store(run: Run, local_store: Store) -> None:
    for command in ("compact", "gc"):
        assert "no measurefs store" in run(command, local_store.url, status=2).stderr
    with local_store.open() as fs:
        assert fs.read_dir("") == []
    fill(local_store.url)
    for command in ("compact", "gc"):
        assert "did you mean 'cpu'" in run(command, local_store.url, "cpi", status=2).stderr


def test_a_writer_at_work_is_told(run: Run, local_store: Store) -> None:
    with measurefs.open(local_store.url) as database:
        measure = database.create_measure("cpu", entity=["host"], fields={"v": "float64"})
        for number in range(2):
            measure.write({"time": [number], "host": ["a"], "v": [1.0]}, durable=True)
        assert "LOCK" in run("compact", local_store.url, status=1).stderr
        assert measure.query().to_arrow().num_rows == 2


def test_help_has_an_example(run: Run) -> None:
    assert "  measurefs compact ./metrics cpu" in run("compact", "--help").stdout
    assert "  measurefs gc ./metrics cpu" in run("gc", "--help").stdout
