"""Tags of measures, and queries of the past: one moment of all tables, kept whatever happens afterwards."""

from __future__ import annotations

import contextlib
import datetime
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import measurefs
from measurefs import Database, Measure, TableOptions
from measurefs.database.database import _open_databases
from measurefs.fs import FileSystem, LockError, PermissionError_
from measurefs.fs.errors import CorruptionError, SchemaError
from measurefs.table import Runtime
from measurefs.testing import CrashFileSystem, SimulatedCrash
from tests.conftest import Store
from tests.database.helpers import DAY, values_of
from tests.part.made import EVER

SHARDS = 2
DAYS = (1, 2, 3)
IDS = (1, 2, 3, 4)
OPTIONS = TableOptions(gc_grace=0.0, keep_snapshots=1, flush_interval=3600.0)
START = 1_000 * DAY


class Clock:
    """What time it is, when a test says so."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> int:
        self.time += 1_000
        return self.time


def runtime(clock: Clock | None = None) -> Runtime:
    return Runtime(now=clock or Clock())


def open_database(fs: FileSystem, clock: Clock | None = None, **more: Any) -> Database:
    return measurefs.open(fs, options=OPTIONS, runtime=runtime(clock), background=False, **more)


def make(database: Database, **more: Any) -> Measure:
    return database.create_measure(
        "m", entity={"id": "int64"}, fields={"value": "int64"}, shards=SHARDS, exist_ok=True, **more
    )


def write(measure: Measure, value: int, *, durable: bool = False) -> None:
    """Write a batch that has the same value in a row of each segment and each shard, always of the same keys."""
    rows = [(START + day * DAY, number) for day in DAYS for number in IDS]
    measure.write(
        {
            "time": [time for time, _ in rows],
            "id": [number for _, number in rows],
            "value": [value] * len(rows),
        },
        durable=durable,
    )


def whole(measure: Measure, **query: Any) -> int | None:
    """Return the value that all rows have, None if there are none; there is nothing between."""
    values = values_of(measure, "value", **query)
    assert len(values) in {0, len(DAYS) * len(IDS)}
    assert len(set(values)) <= 1, f"a batch in part: {values}"
    return values[0] if values else None


@pytest.fixture(params=["memory", "local"])
def fs(request: pytest.FixtureRequest) -> Iterator[FileSystem]:
    store: Store = request.getfixturevalue(f"{request.param}_store")
    with store.open() as opened:
        yield opened


# Keeping.


def test_a_tag_keeps_exactly_its_rows(fs: FileSystem) -> None:
    clock = Clock()
    with open_database(fs, clock) as database:
        measure = make(database)
        assert isinstance(measure.tag("empty"), datetime.datetime)
        write(measure, 1, durable=True)
        write(measure, 2)
        made = measure.tag("two")
        for value in (3, 4, 5):
            write(measure, value, durable=True)
            measure.gc()
        write(measure, 6)
        assert whole(measure) == 6
        assert whole(measure, as_of="two") == 2
        assert whole(measure, as_of="empty") is None
        assert measure.tags()["two"] == made
        assert database.verify().ok
    with open_database(fs, clock) as database:
        measure = database.measure("m")
        write(measure, 7, durable=True)
        measure.gc()
        with open_database(fs, read_only=True) as reading:
            reader = reading.measure("m")
            assert (whole(reader, as_of="two"), whole(reader, as_of="empty")) == (2, None)
            assert list(reader.tags()) == ["empty", "two"]
        assert measure.tags()["two"] == made
        measure.untag("two")
        assert any(path.endswith(".snp") for path in measure.gc())
        with pytest.raises(SchemaError, match="neither a tag nor a time"):
            measure.query(as_of="two")
        assert whole(measure) == 7
        report = database.verify()
        assert (report.ok, report.foreign, report.unnamed) == (True, 0, 0)
        assert measure.tag("two") > made
        assert whole(measure, as_of="two") == 7


def test_a_tag_keeps_exactly_its_rows_in_an_object_store(s3_store: Store) -> None:
    with s3_store.open() as fs, open_database(fs) as database:
        measure = make(database)
        for value in (1, 2):
            measure.write({"time": [START] * 4, "id": list(IDS), "value": [value] * 4})
            measure.tag(str(value))
        measure.gc()
        with open_database(fs, read_only=True) as reading:
            for value in (1, 2):
                assert values_of(reading.measure("m"), "value", as_of=str(value)) == [value] * 4
        measure.untag("1")
        assert any(path.endswith(".snp") for path in measure.gc())
        assert list(measure.tags()) == ["2"]
        assert database.verify().ok


def test_a_tag_shows_one_moment_of_all_tables(memory_store: Store) -> None:
    options = TableOptions(gc_grace=0.0, keep_snapshots=1, flush_interval=0.05, gc_interval=0.05)
    with memory_store.open() as fs, measurefs.open(fs, options=options) as database:
        measure = make(database)
        write(measure, 0)
        last, stop, failed = [0], threading.Event(), []

        def work() -> None:
            try:
                while not stop.wait(0.002):  # or memory fills with batches before the first tag is made
                    write(measure, last[0] + 1, durable=last[0] % 20 == 0)
                    last[0] += 1
            except BaseException as error:
                failed.append(error)
                raise

        writer = threading.Thread(target=work)
        writer.start()
        found = {}
        try:
            for number in range(6):
                before = last[0]
                measure.tag(f"t{number}")
                value = whole(measure, as_of=f"t{number}")
                assert value is not None
                assert before <= value <= last[0] + 1
                found[f"t{number}"] = value
                if number % 3 == 0:
                    measure.untag(f"t{number}")
                    del found[f"t{number}"]
        finally:
            stop.set()
            writer.join()
        assert not failed
        measure.flush()
        measure.gc()
        assert {name: whole(measure, as_of=name) for name in measure.tags()} == found
        assert len(set(found.values())) > 1
        assert database.verify().ok


def test_results_of_the_past_are_read_while_all_of_it_is_collected(fs: FileSystem) -> None:
    with open_database(fs) as database:
        measure = make(database)
        write(measure, 1)
        measure.tag("one")
        with measure.query(as_of="one") as result:
            for table in measure._tables.writers():
                table.delete(*EVER)
            write(measure, 2, durable=True)
            measure.untag("one")
            measure.gc()
            assert set(result.to_arrow()["value"].to_pylist()) == {1}
        assert any(path.endswith(".part") for path in measure.gc())


# Names.


def test_names_are_any_text_and_given_once(fs: FileSystem) -> None:
    with open_database(fs) as database:
        measure = make(database)
        write(measure, 1)
        names = ["2026-01-01", "a/b", "..", "schema", "größe", "12345", "NUL"]
        for name in names:
            measure.tag(name)
        assert list(measure.tags()) == names
        for name in names:
            assert whole(measure, as_of=name) == 1
            with pytest.raises(SchemaError, match="untag it first"):
                measure.tag(name)
        with pytest.raises(SchemaError, match="only in case"):
            measure.tag("nul")
        with pytest.raises(SchemaError, match="a tag needs a name"):
            measure.tag("")
        with pytest.raises(SchemaError, match="did you mean 'größe'"):
            measure.untag("grösse")
        with pytest.raises(SchemaError, match="did you mean 'schema'"):
            measure.query(as_of="shema")


def test_making_and_removing_need_to_be_the_writer(memory_store: Store) -> None:
    with memory_store.open() as fs, memory_store.open() as other, open_database(fs) as database:
        measure = make(database)
        write(measure, 1)
        measure.tag("mine")
        with open_database(fs, read_only=True) as reading:
            for call in (reading.measure("m").tag, reading.measure("m").untag):
                with pytest.raises(PermissionError_, match="read_only"):
                    call("mine")
        with open_database(other) as second:
            for call in (second.measure("m").tag, second.measure("m").untag):
                with pytest.raises(LockError, match="held by"):
                    call("mine" if call == second.measure("m").untag else "theirs")
        assert list(measure.tags()) == ["mine"]
        assert whole(measure, as_of="mine") == 1


# Moments.


def test_times_and_epochs_go_back_as_far_as_snapshots_are_kept(fs: FileSystem) -> None:
    clock = Clock()
    options = TableOptions(log_bytes=0, gc_grace=0.0, keep_snapshots=3)
    with measurefs.open(fs, options=options, runtime=runtime(clock), background=False) as database:
        measure = make(database)
        times = {}
        for value in range(1, 7):
            write(measure, value, durable=True)
            times[value] = clock()
            measure.gc()
        write(measure, 7)
        for value in (4, 5, 6):
            moment = np.datetime64(times[value], "ns")
            assert whole(measure, as_of=moment) == value
            assert whole(measure, as_of=pd.Timestamp(times[value], tz="UTC")) == value
        assert whole(measure, as_of=str(moment)) == 6
        assert whole(measure) == 7
        epochs = {table["committed_epoch"] for table in measure.stats().values()}
        assert len(epochs) == 1  # they have all done the same
        assert whole(measure, as_of=epochs.pop()) == 6
        with pytest.raises(SchemaError, match="has been collected; there are the epochs"):
            measure.query(as_of=np.datetime64(times[2], "ns"))
        with pytest.raises(SchemaError, match="has been collected; there are the epochs"):
            measure.query(as_of=1)
        assert whole(measure, as_of=np.datetime64(times[2], "ns"), end=START) is None  # no table of that span


def test_times_and_epochs_go_back_to_each_durable_write_since_the_last_flush(fs: FileSystem) -> None:
    clock = Clock()
    with open_database(fs, clock) as database:
        measure = make(database)
        times, epochs = {}, {}
        for value in range(1, 7):
            write(measure, value, durable=True)
            times[value] = clock()
            (epochs[value],) = {table["committed_epoch"] for table in measure.stats().values()}
            measure.gc()
        write(measure, 7)
        with open_database(fs, clock, read_only=True) as reading:
            for asked in (measure, reading.measure("m")):
                for value in range(1, 7):
                    assert whole(asked, as_of=np.datetime64(times[value], "ns")) == value
                    assert whole(asked, as_of=epochs[value]) == value
            (newest,) = {table["committed_epoch"] for table in reading.measure("m").stats().values()}
            assert whole(measure, as_of=newest) == 6
        measure.flush()
        measure.gc()
        with pytest.raises(SchemaError, match="has been collected; there are the epochs"):
            measure.query(as_of=np.datetime64(times[6], "ns"))
        assert whole(measure) == 7


@pytest.mark.parametrize("bad", [True, 1.5, "soon", object(), b"x"])
def test_what_is_no_moment_is_refused(memory_store: Store, bad: object) -> None:
    with memory_store.open() as fs, open_database(fs) as database, pytest.raises(SchemaError, match="as_of"):
        make(database).query(as_of=bad)


def test_readers_see_tables_that_are_newer_than_they_are(fs: FileSystem) -> None:
    with open_database(fs) as database, open_database(fs, read_only=True) as reading:
        measure = make(database)
        reader = reading.measure("m")
        assert whole(reader) is None
        write(measure, 1)
        measure.tag("one")
        assert whole(reader) is None
        assert whole(reader, as_of="one") == 1
        assert whole(reader, as_of=np.datetime64(2**62, "ns")) == 1


def test_age_is_counted_to_the_moment_that_is_shown(fs: FileSystem) -> None:
    clock = Clock()
    with open_database(fs, clock) as database:
        measure = make(database, ttl="10d")
        clock.time = START + 4 * DAY
        write(measure, 1)
        measure.tag("then")
        then = clock()
        assert whole(measure) == 1
        clock.time = (
            START + 12 * DAY + 1
        )  # past the age of the first of the three days, and some of the second
        assert values_of(measure, "value") == [1] * len(IDS)
        assert whole(measure, as_of="then") == 1
        assert whole(measure, as_of=np.datetime64(then, "ns")) == 1
        epoch = next(iter(measure.stats().values()))["committed_epoch"]
        assert whole(measure, as_of=epoch) == 1


def test_a_tag_keeps_rows_that_retention_drops(fs: FileSystem) -> None:
    clock = Clock()
    with open_database(fs, clock) as database:
        measure = make(database, ttl="10d")
        clock.time = START + 4 * DAY
        write(measure, 1)
        measure.tag("then")
        measure.write({"time": [START + 5 * DAY], "id": [1], "value": [5]}, durable=True)
        clock.time = START + 100 * DAY
        measure.gc()
        measure.gc()
        assert values_of(measure, "value") == []
        assert whole(measure, as_of="then") == 1
    with open_database(fs, clock) as database:
        measure = database.measure("m")
        assert whole(measure, as_of="then") == 1
        measure.tag("now")
        assert whole(measure, as_of="now") is None
        measure.untag("then")
        measure.gc()
        measure.gc()
        assert not [entry for entry in fs.read_dir("m") if entry.name.startswith("seg-")]


def test_columns_are_todays(fs: FileSystem) -> None:
    with open_database(fs) as database:
        measure = make(database)
        write(measure, 1)
        measure.tag("then")
        measure.evolve(fields={"more": "int64"})
        measure.write({"time": [START + DAY], "id": [9], "value": [2], "more": [3]}, durable=True)
        with measure.query(as_of="then") as result:
            assert result.schema.names == ["time", "id", "value", "more"]
            rows = result.to_arrow()
        assert set(rows["value"].to_pylist()) == {1}
        assert set(rows["more"].to_pylist()) == {None}


# Unfinished tags.


def test_what_is_left_of_an_unfinished_tag_is_cleared_away(fs: FileSystem) -> None:
    with open_database(fs) as database:
        measure = make(database)
        write(measure, 1, durable=True)
        for table in measure._tables.writers()[1:]:
            table.tag("unfinished")
        measure.tag("whole")
        assert list(measure.tags()) == ["whole"]
        assert all(list(table.tags()) == ["whole"] for table in measure._tables.writers())
        for table in measure._tables.writers()[1:]:
            table.tag("unfinished")
        removed = [path for path in measure.gc() if path.endswith(".tag")]
        assert len(removed) == len(DAYS) * SHARDS - 1
        assert all(list(table.tags()) == ["whole"] for table in measure._tables.writers())
        measure.tag("unfinished")
        assert whole(measure, as_of="unfinished") == 1


def crashing(work: Any) -> Iterator[tuple[str, CrashFileSystem]]:
    """Crash at every operation of some work on a measure with a tag, and yield what is found, again and again."""

    def run(number: int, *, after: bool) -> tuple[CrashFileSystem, int]:
        fs = CrashFileSystem()
        database = open_database(fs)
        # A process that dies in a test is not there to close its database when the interpreter exits.
        _open_databases.discard(database)
        measure = make(database)
        times = [START + DAY, START + 2 * DAY]
        measure.write({"time": times, "id": [1, 2], "value": [1, 1]})
        measure.tag("old")
        measure.write({"time": times, "id": [1, 2], "value": [2, 2]}, durable=True)
        measure.write({"time": times, "id": [1, 2], "value": [3, 3]})
        begun = fs.operations
        fs.crash_at(begun + number if number else 0, after=after)
        with contextlib.suppress(SimulatedCrash):
            work(measure)
        return fs, fs.operations - begun

    _, count = run(0, after=False)
    assert count > 5
    for number in range(1, count + 1):
        for after in (False, True):
            fs, _ = run(number, after=after)
            for survivors in ("none", number) if number % 2 else ("all", number):
                yield (
                    f"operation {number} of {count}, after={after}, survivors={survivors}",
                    fs.crash(survivors),
                )


@pytest.mark.parametrize("name", ["tag", "untag"])
def test_after_a_crash_a_tag_is_there_whole_or_not_at_all(name: str) -> None:
    work = {"tag": lambda measure: measure.tag("new"), "untag": lambda measure: measure.untag("old")}[name]
    seen = set()
    for which, fs in crashing(work):
        with open_database(fs) as database:
            measure = database.measure("m")
            tags = frozenset(measure.tags())
            seen.add(tags)
            measure._tables.writing(measure._tables.places())  # as a writer would sooner or later
            measure.gc()
            for tag, value in {"old": 1, "new": 3}.items():
                if tag in tags:
                    assert values_of(measure, "value", as_of=tag) == [value, value], which
            assert all(tags == table.tags().keys() for table in measure._tables.writers()), which
            missing = "new" if name == "tag" else "old"
            if missing not in tags:
                measure.tag(missing)
                assert values_of(measure, "value", as_of=missing) == values_of(measure, "value"), which
            assert database.verify().ok, which
    assert seen == {frozenset(["old"]), frozenset(["old", "new"] if name == "tag" else [])}


# Damage.


def tagged_store(fs: FileSystem) -> None:
    with open_database(fs) as database:
        measure = make(database)
        write(measure, 1)
        measure.tag("one")
        write(measure, 2)


def test_a_damaged_tag_is_told_skipped_and_repaired(fs: FileSystem) -> None:
    tagged_store(fs)
    data = fs.read("m/tags/one.json")
    fs.write("m/tags/one.json", data[:-1])
    with open_database(fs) as database:
        measure = database.measure("m")
        assert [damage.path for damage in database.verify().damages] == ["m/tags/one.json"]
        with pytest.raises(CorruptionError, match=r"m/tags/one\.json"):
            measure.query(as_of="one")
        with pytest.raises(CorruptionError, match=r"m/tags/one\.json"):
            measure.tags()
        with measure.query(as_of="one", on_corrupt="skip") as result:
            assert set(result.to_arrow()["value"].to_pylist()) == {1}
            assert [error.path for error in result.skipped] == ["m/tags/one.json"]
        assert [action.path for action in measure.repair().actions] == ["m/tags/one.json"]
        assert measure.repair(apply=True).complete
        assert whole(measure, as_of="one") == 1
        measure.gc()
        report = database.verify()
        assert (report.ok, report.set_aside, report.foreign) == (True, 1, 0)
        assert whole(measure, as_of="one") == 1


def test_damage_of_what_a_tag_keeps_is_told_skipped_and_repaired(fs: FileSystem) -> None:
    tagged_store(fs)
    table = "m/" + next(e.name for e in fs.read_dir("m") if e.name.startswith("seg-")) + "/shard-0"
    oldest = next(e.name for e in fs.read_dir(table) if e.name.endswith(".part"))
    snapshot = next(e.name for e in fs.read_dir(table) if e.name.endswith(".tag")).partition("-")[0] + ".snp"
    fs.delete_file(f"{table}/{oldest}")
    with open_database(fs, read_only=True) as database:
        with pytest.raises(CorruptionError, match=oldest):
            database.measure("m").query(as_of="one").to_arrow()
        with database.measure("m").query(as_of="one", on_corrupt="skip") as result:
            assert 0 < len(result.to_arrow()) < len(DAYS) * len(IDS)
            assert [error.path for error in result.skipped] == [f"{table}/{oldest}"]
    assert measurefs.repair(fs, apply=True).complete
    fs.delete_file(f"{table}/{snapshot}")
    assert not measurefs.verify(fs).ok
    measurefs.repair(fs, apply=True)
    assert measurefs.repair(fs, apply=True).complete
    assert measurefs.verify(fs).ok
    with open_database(fs) as database:
        rows = values_of(database.measure("m"), "value", as_of="one")
        assert 0 < len(rows) < len(DAYS) * len(IDS)
        assert set(rows) == {1}
