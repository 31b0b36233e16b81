"""``measurefs unlock``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner

import measurefs
from measurefs import FencedError, Measure
from measurefs.cli import main
from tests.cli.conftest import Run, figures
from tests.conftest import Store

Typed = Callable[[Store], list[str]]
DAY = 86_400 * 10**9


def write(measure: Measure, day: int, *, durable: bool = True) -> None:
    measure.write({"time": [day * DAY], "host": ["a"], "v": [float(day)]}, durable=durable)


@pytest.fixture
def writer(s3_store: Store) -> Iterator[Measure]:
    """A writer that holds the locks of two tables of a measure, and of one of another."""
    database = measurefs.open(s3_store.url, storage_options=s3_store.options, background=False)
    cpu = database.create_measure("cpu", entity=["host"], fields={"v": "float64"})
    disk = database.create_measure("disk", entity=["host"], fields={"v": "float64"})
    write(cpu, 1)
    write(cpu, 2)
    write(disk, 1)
    yield cpu
    database.close()


def test_who_holds_what_is_shown_and_broken_when_told_to(
    run: Run, options: Typed, s3_store: Store, writer: Measure
) -> None:
    typed = options(s3_store)
    refused = CliRunner().invoke(main, ["unlock", s3_store.url, "cpu", *typed], input=b"n\n")
    assert refused.exit_code == 130
    assert "Break 2 locks?" in refused.stderr
    assert "will be fenced: it loses what it has not made durable" in refused.stderr
    assert refused.stderr.count("process ") >= 2
    write(writer, 1)  # nothing has been done to it
    told = run("unlock", s3_store.url, "cpu", *typed, stdin=b"y\n")
    assert "Broke 2 locks." in told.stdout
    with pytest.raises(FencedError, match="broken"):
        write(writer, 1)
    (lock,) = figures(run("unlock", s3_store.url, "--json", *typed))["locks"]
    assert not lock["broken"], "for machines nothing is asked, and without --yes nothing done"
    (lock,) = figures(run("unlock", s3_store.url, "--json", "--yes", *typed))["locks"]
    assert lock["table"].startswith("disk/")
    assert (lock["pid"], lock["broken"]) == (os.getpid(), True)
    assert set(lock) == {"table", "host", "pid", "since", "unrenewed_seconds", "broken"}
    with measurefs.open(s3_store.url, storage_options=s3_store.options) as database:
        write(database.measure("cpu"), 2)  # at once, without watching anything for a lease
        assert database.measure("cpu").query().to_arrow().num_rows == 2
        write(database.measure("disk"), 1)


def test_where_locks_end_with_their_process(run: Run, local_store: Store) -> None:
    with measurefs.open(local_store.url) as database:
        cpu = database.create_measure("cpu", entity=["host"], fields={"v": "float64"})
        write(cpu, 1)
        assert "ends; end that process" in run("unlock", local_store.url, "--yes", status=2).stderr
        write(cpu, 2)


def test_a_wrong_url_or_name(run: Run, options: Typed, local_store: Store, s3_store: Store) -> None:
    assert "no measurefs store" in run("unlock", local_store.url, status=2).stderr
    typed = options(s3_store)
    with measurefs.open(s3_store.url, storage_options=s3_store.options) as database:
        database.create_measure("cpu", entity=["host"], fields={"v": "float64"})
    with measurefs.open(local_store.url) as database:
        database.create_measure("cpu", entity=["host"], fields={"v": "float64"})
    assert "did you mean 'cpu'" in run("unlock", local_store.url, "cpi", status=2).stderr
    assert "No table is locked." in run("unlock", s3_store.url, *typed).stdout


def test_help_has_an_example(run: Run) -> None:
    assert "  measurefs unlock s3://bucket/metrics cpu" in run("unlock", "--help").stdout
