"""Backups beside writers, and runs that are cut off anywhere: the next one makes it right."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec
import pytest

import measurefs
from measurefs import (
    CorruptionError,
    Database,
    FileSystem,
    FileSystemError,
    NotExistError,
    PartOptions,
    SchemaError,
    TableOptions,
)
from measurefs.database.backup import backup
from measurefs.database.identity import IDENTITY
from measurefs.fs import FileSystemWrapper, ReadError, walk
from measurefs.fs.filesystem import Buffer
from measurefs.table import Runtime
from measurefs.testing import CrashFileSystem, Fault, FaultFileSystem, SimulatedCrash
from measurefs.testing.crash_handles import TEMPORARY
from tests.conftest import Store
from tests.database.copied import (
    MIXED,
    Contents,
    contents,
    contents_of,
    fill,
    make,
    memory,
    quiet,
    rows_now,
)
from tests.database.helpers import DAY, files_of, numbered, one_row, open_store
from tests.processes.children import Child, Place


class Meddling(FileSystemWrapper):
    """Lets something happen before some parts are read."""

    def __init__(self, wrapped: FileSystem, meddle: Callable[[], None], times: int) -> None:
        super().__init__(wrapped)
        self.meddle = meddle
        self.left = times

    def _meddle(self, path: str) -> None:
        if self.left and ("seg-" in path):
            self.left -= 1
            self.meddle()

    def read_ranges(self, ranges: Any) -> list[bytes]:
        self._meddle(ranges[0][0])
        return super().read_ranges(ranges)

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        self._meddle(path)
        return super().write(path, data, exclusive=exclusive)


class TestWriters:
    def test_what_is_collected_meanwhile_is_looked_for_again(
        self, source: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        numbers = itertools.count(10)

        def meddle() -> None:
            fill(make(source), next(numbers), days=1)
            make(source).compact()
            make(source).gc()

        copy = memory()
        backup(Meddling(source.fs, meddle, 3), copy, runtime=Runtime())
        assert contents_of(copy) == contents(source)
        monkeypatch.setattr("measurefs.database.transfer._ATTEMPTS", 3)
        with pytest.raises(ReadError, match="gc_grace"):
            backup(Meddling(source.fs, meddle, 10**6), memory(), runtime=Runtime())
        backup(source.fs, copy, tag="after")
        assert rows_now(copy) == {name: moments[None] for name, moments in contents(source).items()}

    def test_whoever_writes_makes_it_at_one_moment(self, source: Database) -> None:
        measure, expected = make(source), contents(source)
        fill(measure, 5)
        expected["a/b"][None] = numbered(measure.query(order="series").to_arrow())
        numbers = itertools.count(10)

        def meddle() -> None:
            fill(measure, next(numbers), days=6)
            measure.compact()
            measure.gc()
            measure.tag(f"later {next(numbers)}")

        copy = memory()
        source.backup(Meddling(copy, meddle, 5))
        assert contents_of(copy) == expected

    def test_a_measure_that_is_dropped_meanwhile(self, source: Database) -> None:
        for by_writer in (False, True):
            fill(make(source, "third"), 1)
            copy = memory()
            done: list[bool] = []

            def drop(done: list[bool] = done) -> None:
                if not done:
                    done.append(True)
                    source.drop_measure("third")

            if by_writer:
                report = source.backup(Meddling(copy, drop, 1))
            else:
                report = backup(Meddling(source.fs, drop, 1), copy, runtime=Runtime())
            assert report.measures == ["a/b", "other"]
            assert contents_of(copy) == contents(source)
            assert not any(path.startswith("third") for path in walk(copy))

    def test_a_restore_while_the_backup_goes_on(self, source: Database) -> None:
        copy, restored = memory(), memory()
        source.backup(copy)
        numbers = itertools.count(10)

        def meddle() -> None:
            fill(make(source), next(numbers))
            make(source).compact()
            source.backup(copy)

        measurefs.restore(Meddling(copy, meddle, 2), restored, runtime=Runtime())
        assert contents_of(restored) == contents(source)


def small(fs: FileSystem) -> None:
    options = TableOptions(log_bytes=0, part=PartOptions(compact_bytes=600), gc_grace=0, keep_snapshots=1)
    with quiet(fs, options) as database:
        measure = database.create_measure("m", entity=["host"], fields={"v": "int64"})
        measure.write(one_row(time=1, host="x", v=1), durable=True)
        measure.write({"time": range(40), "host": ["x"] * 40, "v": range(40)}, durable=True)
        measure.tag("t")


def change(fs: FileSystem) -> None:
    with quiet(fs, MIXED) as database:
        measure = database.measure("m")
        measure.write(one_row(time=2, host="y", v=5), durable=True)
        measure.compact()
        measure.untag("t")
        measure.write(one_row(time=DAY, host="y", v=5), durable=True)
        measure.tag("u")
        measure.evolve(fields={"w": "int64"})
        measure.gc()


class Stages:
    """A store as it was at two times, and what these hold."""

    def __init__(self) -> None:
        fs = memory()
        small(fs)
        self.first, self.before = copied(fs), contents_of(fs)
        change(fs)
        self.second, self.after = copied(fs), contents_of(fs)


def copied(fs: FileSystem) -> FileSystem:
    other = memory()
    for path, data in files_of(fs).items():
        other.make_dir(path[:-1], exist_ok=True) if path.endswith("/") else other.write(path, data)
    return other


@pytest.fixture(scope="module")
def stages() -> Stages:
    return Stages()


def crashes(
    call: Callable[[CrashFileSystem], Any], after: bool, every: int, there: CrashFileSystem | None = None
) -> Iterator[tuple[int, list[CrashFileSystem]]]:
    """Yield what crashes of a call at every so many-th operation leave."""
    for number in itertools.count(1 + after, every):
        fs = CrashFileSystem() if there is None else there.crash("all")
        fs.crash_at(number, after=after)
        with contextlib.suppress(SimulatedCrash):
            call(fs)
        if not fs.crashed:
            assert number > 20
            return
        outcomes = (fs.kill, partial(fs.crash, "none"), partial(fs.crash, number))
        chosen = outcomes if every == 1 else [outcomes[number // every % 3]]
        yield number, [outcome() for outcome in chosen]


def run_backup(source: FileSystem, target: FileSystem, **more: Any) -> None:
    backup(source, target, runtime=Runtime(), **more)


def without(name: str, found: Contents) -> Contents:
    return {
        measure: {tag: rows for tag, rows in tags.items() if tag != name} for measure, tags in found.items()
    }


class TestInterrupted:
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("call", [measurefs.restore, measurefs.copy, backup])
    def test_the_first_run(self, stages: Stages, call: Callable[..., Any], after: bool) -> None:
        self.check_first_runs(stages, call, after, every=3)

    @pytest.mark.long
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("call", [measurefs.restore, measurefs.copy, backup])
    def test_the_first_run_at_any_operation(
        self, stages: Stages, call: Callable[..., Any], after: bool
    ) -> None:
        self.check_first_runs(stages, call, after, every=1)

    def check_first_runs(self, stages: Stages, call: Callable[..., Any], after: bool, every: int) -> None:
        for number, outcomes in crashes(lambda fs: call(stages.first, fs, runtime=Runtime()), after, every):
            for found in outcomes:
                if any(entry.name == IDENTITY for entry in found.read_dir("")):
                    assert contents_of(found) == stages.before
                    if ".backup/record.json" not in list(walk(found)):
                        continue
                else:
                    with pytest.raises(NotExistError):
                        measurefs.open(found, read_only=True)
                call(stages.first, found, runtime=Runtime())
                assert not [path for path in walk(found) if TEMPORARY in path and "seg-" in path]
                assert contents_of(found.crash("none")) == stages.before, number

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    def test_a_later_run(self, stages: Stages, after: bool) -> None:
        self.check_later_runs(stages, after, every=7)

    @pytest.mark.long
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    def test_a_later_run_at_any_operation(self, stages: Stages, after: bool) -> None:
        self.check_later_runs(stages, after, every=1)

    def check_later_runs(self, stages: Stages, after: bool, every: int) -> None:
        there = CrashFileSystem()
        run_backup(stages.first, there, tag="one")
        run = partial(run_backup, stages.second, tag="two")
        for number, outcomes in crashes(run, after, every, there):
            for found in outcomes:
                contents_of(found)  # it is whole at any time
                one, last = memory(), memory()
                measurefs.restore(found, one, tag="one", runtime=Runtime())
                assert rows_now(one)["m"].select(["time", "host", "v"]) == stages.before["m"][None]
                measurefs.restore(found, last, runtime=Runtime())
                states = (stages.before, stages.after)
                assert rows_now(last)["m"].num_rows in {state["m"][None].num_rows for state in states}
                try:
                    run_backup(stages.second, found, tag="three" if number % 2 else "two")
                except SchemaError:  # it is kept already
                    run_backup(stages.second, found)
                state = contents_of(found.crash("none"))
                kept = state["m"].keys() - {None, "u"}
                assert {"one"} < kept <= {"one", "two", "three"}, number
                for name in kept - {"one"}:
                    assert state["m"].pop(name) == stages.after["m"][None], number
                state["m"].pop("one")
                assert state == stages.after, number

    def test_any_operation_that_fails(self, stages: Stages) -> None:
        target = FaultFileSystem(memory())
        run_backup(stages.first, target)
        run_backup(stages.second, target)
        for number in range(1, sum(target.calls.values()) + 1, 5):
            for after in (False, True):
                fs = memory()
                target = FaultFileSystem(fs, Fault("[!l]*", at=number + after, after=after))
                for state in (stages.first, stages.second):
                    try:
                        run_backup(state, target)
                    except (FileSystemError, CorruptionError):
                        run_backup(state, target)
                assert contents_of(fs) == stages.after

    def test_what_was_copied_is_not_copied_again(self, stages: Stages) -> None:
        fs = memory()
        with contextlib.suppress(FileSystemError):
            run_backup(stages.second, FaultFileSystem(fs, Fault("write", "*.snp")))
        report = backup(stages.second, fs)
        assert report.copied == 0 < report.parts
        assert contents_of(fs) == stages.after

    def test_a_store_that_moved_on(self, stages: Stages) -> None:
        for number in range(1, 30):
            fs = memory()
            with contextlib.suppress(FileSystemError):
                measurefs.restore(
                    stages.first, FaultFileSystem(fs, Fault("write", at=number)), runtime=Runtime()
                )
            if list(walk(fs)) and not any(entry.name == IDENTITY for entry in fs.read_dir("")):
                measurefs.restore(stages.second, fs, runtime=Runtime())
                assert contents_of(fs) == stages.after


def ingest(pipe: Any, place: Place) -> None:
    """Write batches of a known sum, and merge and collect all the time, until told to stop."""
    options = TableOptions(gc_grace=0, keep_snapshots=1, gc_interval=0.001)
    with place.open() as fs, measurefs.open(fs, options=options) as database:
        measure = database.create_measure("m", entity=["host"], fields={"v": "int64"})
        for number in itertools.count():
            rows = range(number * 50, number * 50 + 50)
            measure.write({"time": rows, "host": ["x"] * 50, "v": rows}, durable=True)
            measure.compact()
            measure.gc()
            pipe.send(number)
            if pipe.poll():
                return


def test_beside_a_writer_in_another_process(local_store: Store) -> None:
    copy, counts = memory(), []
    with Child(ingest, Place.of(local_store)) as child:
        child.next()
        for _ in range(4):
            for _ in range(5):
                acknowledged = child.next()
            with contextlib.suppress(ReadError):  # it may be faster each time
                backup(local_store.url, copy)
            with contextlib.suppress(NotExistError), measurefs.open(copy, read_only=True) as database:
                values = database.measure("m").query(columns=["v"]).to_arrow()["v"].to_pylist()
                assert values == list(range(len(values)))
                assert len(values) % 50 == 0
                counts.append((len(values), (acknowledged + 1) * 50))
        child.send("stop")
        child.finish()
    backup(local_store.url, copy)
    with open_store(local_store, read_only=True) as database:
        assert contents_of(copy) == contents(database)
    assert counts


def test_the_record_tells_when(source: Database) -> None:
    copy = memory()
    backup(source.fs, copy, runtime=Runtime(now=lambda: 7))
    record = msgspec.json.decode(copy.read(".backup/record.json"))["body"]
    assert (record["time"], record["begun"], record["kind"]) == (7, {}, "backup")


def test_a_backup_is_a_store_to_read(local_store: Store, source: Database) -> None:
    source.backup(local_store.url)
    with open_store(local_store, read_only=True) as database:
        assert contents(database) == contents(source)
        other = memory()
        database.backup(other)  # of the backup, which has a name of its own
        assert contents_of(other) == contents(source)


def stopped(call: Callable[[FileSystem], Any], target: FileSystem, at: int = 2) -> None:
    """Let a run fail when all is there and only the record does not say so: by default one that was not the first."""
    with pytest.raises(FileSystemError):
        call(FaultFileSystem(target, Fault("write", ".backup/record.json", at=at)))


class TestStoppedBeforeTheRecord:
    def test_a_measure_created_again(self, source: Database) -> None:
        copy, restored = memory(), memory()
        source.backup(copy)
        expected = contents(source)
        source.drop_measure("a/b")
        fill(make(source), 9)
        stopped(source.backup, copy)
        measurefs.restore(copy, restored)
        assert contents_of(restored) == expected
        source.backup(copy)
        assert contents_of(copy) == contents(source)

    def test_a_tag_made_anew_under_its_name(self, source: Database) -> None:
        copy, restored, tagged = memory(), memory(), memory()
        source.backup(copy)
        expected = contents(source)
        make(source).untag("first")
        fill(make(source), 9)
        make(source).tag("first")
        stopped(source.backup, copy)
        measurefs.restore(copy, restored)
        assert contents_of(restored) == expected
        measurefs.restore(copy, tagged, tag="first")
        assert rows_now(tagged) == {"a/b": expected["a/b"]["first"]}

    def test_some_measures_do_not_end_what_was_begun_of_others(self, source: Database) -> None:
        copy = memory()
        source.backup(copy)
        make(source).tag("second")
        stopped(source.backup, copy)
        source.backup(copy, measures=["other"])
        source.backup(copy)
        make(source).untag("second")
        source.backup(copy)
        assert contents_of(copy) == contents(source)

    def test_a_tag_of_a_measure_that_was_looked_at_again(self, source: Database) -> None:
        copy, done = memory(), []

        def meddle() -> None:
            done.append(make(source).compact())
            make(source).gc()
            make(source).tag("late")

        backup(source.fs, copy)
        fill(make(source), 9)
        stopped(partial(backup, Meddling(source.fs, meddle, 1), runtime=Runtime()), copy, at=3)
        assert done
        with measurefs.open(copy, read_only=True) as database:
            assert "late" in database.measure("a/b").tags()
        with pytest.raises(SchemaError, match="'late'"):  # no complete run has brought it
            measurefs.restore(copy, memory(), tag="late")
        make(source).untag("late")
        backup(source.fs, copy)
        assert contents_of(copy) == contents(source)

    def test_a_name_that_another_measure_has_kept(self, source: Database) -> None:
        copy, restored, last = memory(), memory(), memory()
        source.backup(copy, tag="kept", measures=["a/b"])
        expected = contents(source)["a/b"][None]
        fill(make(source), 9)
        stopped(partial(source.backup, tag="kept", measures=["other"]), copy)
        for target in (restored, last):
            assert measurefs.restore(copy, target, tag="kept").measures == ["a/b"]
            assert rows_now(target) == {"a/b": expected}
            source.backup(copy)

    @pytest.mark.parametrize("fault", [Fault("write", IDENTITY), Fault("write", "other/schema.json")])
    def test_a_copy_of_fewer_measures(self, source: Database, fault: Fault) -> None:
        target = memory()
        with pytest.raises(FileSystemError):
            measurefs.copy(source.fs, FaultFileSystem(target, fault))
        assert any(path.startswith("other/") for path in walk(target))
        measurefs.copy(source.fs, target, measures=["a/b"])
        assert contents_of(target) == {"a/b": contents(source)["a/b"]}
        assert not any(path.startswith("other/") for path in walk(target))

    def test_a_finished_copy_that_was_not_cleared_up(self, source: Database) -> None:
        copy, again = memory(), memory()
        with pytest.raises(FileSystemError):
            measurefs.copy(source.fs, FaultFileSystem(copy, Fault("must_rm_all", ".backup")))
        with quiet(copy) as database:
            fill(make(database), 9)
            expected = contents(database)
        measurefs.restore(copy, again)
        assert contents_of(again) == expected
