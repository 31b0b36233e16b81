"""Backup, restore and copy: every row and tag arrives, only what is missing is copied, and nothing is ever mixed up."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec
import pyarrow as pa
import pytest

import measurefs
from measurefs import (
    CorruptionError,
    Database,
    FileSystem,
    FileSystemError,
    LockError,
    Measure,
    NotExistError,
    PartOptions,
    SchemaError,
    TableOptions,
    UnsupportedStoreError,
)
from measurefs.codec.sealed import seal, unseal
from measurefs.database.backup import backup
from measurefs.database.database import _open_databases
from measurefs.database.identity import IDENTITY, Identity
from measurefs.fs import CountingFileSystem, FileSystemWrapper, ReadError, open_url, walk
from measurefs.fs.filesystem import Buffer
from measurefs.table import Runtime
from measurefs.testing import CrashFileSystem, Fault, FaultFileSystem, SimulatedCrash
from measurefs.testing.crash_handles import TEMPORARY
from tests.conftest import Store
from tests.database.helpers import DAY, files_of, numbered, one_row, open_store
from tests.processes.children import Child, Place

WIDE = TableOptions(part=PartOptions(compact_bytes=0), gc_grace=0, keep_snapshots=1)
MIXED = TableOptions(part=PartOptions(compact_bytes=632), gc_grace=0, keep_snapshots=1)

Contents = dict[str, dict[str | None, pa.Table]]


def memory() -> FileSystem:
    return open_url(f"memory://{uuid.uuid4().hex}")


def quiet(fs: FileSystem, options: TableOptions = MIXED, **more: Any) -> Database:
    """Open a database without threads, which nobody closes if the test's process "dies"."""
    database = measurefs.open(fs, background=False, runtime=Runtime(), options=options, **more)
    _open_databases.discard(database)
    return database


def fill(measure: Measure, number: int, days: int = 3) -> None:
    """Write rows of several segments, that are told by their number; some supersede earlier ones."""
    times = [day * DAY + hour * 3600_000_000_000 + number % 2 for day in range(days) for hour in range(8)]
    measure.write(
        {
            "time": times,
            "host": [f"h{place % 3}" for place in range(len(times))],
            "zone": [f"z{number}"] * len(times),
            "v": [number * 1000 + place for place in range(len(times))],
        },
        durable=True,
    )


def make(database: Database, name: str = "a/b") -> Measure:
    return database.create_measure(
        name, entity=["host"], tags={"zone": "string"}, fields={"v": "int64"}, shards=2, exist_ok=True
    )


def contents(database: Database) -> Contents:
    """Return the rows of every measure, now and at each tag."""
    found: Contents = {}
    for name in database.measures():
        measure = database.measure(name)
        moments: list[str | None] = [None, *measure.tags()]
        found[name] = {
            moment: numbered(measure.query(as_of=moment, order="series").to_arrow()) for moment in moments
        }
    return found


def contents_of(place: FileSystem | str, options: Any = None) -> Contents:
    assert measurefs.verify(place, storage_options=options).damages == []
    with measurefs.open(place, read_only=True, storage_options=options) as database:
        return contents(database)


def rows_now(place: FileSystem) -> dict[str, pa.Table]:
    return {name: moments[None] for name, moments in contents_of(place).items()}


@pytest.fixture
def source(memory_store: Store) -> Iterator[Database]:
    """A store with all there is: wide and compact parts, several tables, tags, a second measure."""
    with memory_store.open() as fs, quiet(fs) as database:
        measure = make(database)
        fill(measure, 1)
        measure.tag("first")
        fill(measure, 2)
        make(database, "other").write(one_row(time=5, host="x", v=1), durable=True)
        yield database


class TestRoundTrip:
    @pytest.mark.parametrize("kind", ["local", "memory", "s3"])
    def test_from_and_to_every_kind_of_store(
        self, request: pytest.FixtureRequest, kind: str, tmp_path: Any
    ) -> None:
        store: Store = request.getfixturevalue(f"{kind}_store")
        there = {"target_options": store.options}
        back = {"source_options": store.options}
        days = 1 if kind == "s3" else 3
        with measurefs.open(tmp_path / "source", options=MIXED) as database:
            fill(make(database), 1, days)
            make(database).tag("first")
            fill(make(database), 2, days)
            told: list[tuple[int, int]] = []
            report = database.backup(
                store.url,
                storage_options=store.options,
                tag="monday",
                progress=lambda *done: told.append(done),
            )
            expected = contents(database)
        assert report.copied == report.parts > 0
        assert told[0] == (0, report.bytes)
        assert told[-1] == (report.bytes, report.bytes)
        assert {
            any(path.endswith(ending) for path in walk(store.open())) for ending in (".part", "meta.bin")
        } == ({False, True} if kind == "s3" else {True})
        of_backup = contents_of(store.url, store.options)
        assert of_backup["a/b"].pop("monday") == expected["a/b"][None]
        assert of_backup == expected
        measurefs.restore(store.url, tmp_path / "restored", **back)
        assert contents_of(tmp_path / "restored") == expected
        measurefs.restore(store.url, tmp_path / "tagged", tag="first", **back)
        assert contents_of(tmp_path / "tagged") == {"a/b": {None: expected["a/b"]["first"]}}
        other = f"{store.url}-copy"
        measurefs.copy(tmp_path / "restored", other, **there)
        assert contents_of(other, store.options) == expected
        with measurefs.open(other, storage_options=store.options) as database:
            fill(make(database), 3)
            assert make(database).query(where={"zone": "z3"}).to_arrow().num_rows == 24

    def test_a_restored_store_is_one_of_its_own(self, source: Database) -> None:
        copy, restored = memory(), memory()
        source.backup(copy)
        measurefs.restore(copy, restored)
        names = [unseal(fs.read(IDENTITY), Identity, IDENTITY) for fs in (source.fs, copy, restored)]
        assert len({identity.store for identity in names}) == 3
        assert [identity.origin for identity in names] == ["", names[0].store, ""]
        assert not any(path.startswith(".backup") for path in walk(restored))
        with quiet(restored) as database, pytest.raises(UnsupportedStoreError, match="of another store"):
            database.backup(copy)

    def test_only_some_measures(self, source: Database) -> None:
        copy = memory()
        source.backup(copy, measures=["other"])
        assert set(contents_of(copy)) == {"other"}
        fill(source.measure("other"), 1)
        source.backup(copy, measures=["a/b"])
        found = contents_of(copy)
        assert found["a/b"] == contents(source)["a/b"]
        assert found["other"][None].num_rows == 1
        restored = memory()
        measurefs.restore(copy, restored, measures=["other"])
        assert set(contents_of(restored)) == {"other"}
        with pytest.raises(SchemaError, match="did you mean 'other'"):
            source.backup(memory(), measures=["othr"])

    def test_an_empty_store(self) -> None:
        fs, copy = memory(), memory()
        with quiet(fs) as database:
            database.backup(copy)
            assert contents_of(copy) == {}
            make(database)
            database.backup(copy, tag="monday")
        assert contents_of(copy)["a/b"]["monday"].num_rows == 0
        restored = memory()
        measurefs.restore(copy, restored, tag="monday")
        with quiet(restored) as database:
            fill(make(database), 1)
            assert make(database).query().to_arrow().num_rows == 24

    def test_a_store_without_a_name(self, source: Database) -> None:
        source.fs.write(IDENTITY, seal(Identity()))
        copy = memory()
        for _ in range(2):
            source.backup(copy)
        assert contents_of(copy) == contents(source)

    def test_changed_schemas_and_dropped_segments(self) -> None:
        fs, copy, clock = memory(), memory(), [10 * DAY]
        runtime = Runtime(now=lambda: clock[0])
        with measurefs.open(fs, background=False, runtime=runtime, options=MIXED) as database:
            measure = database.create_measure(
                "a/b", entity=["host"], tags={"zone": "string"}, fields={"v": "int64"}, ttl="12d"
            )
            fill(measure, 1)
            database.backup(copy, tag="before")
            before = numbered(measure.query(order="series").to_arrow())
            measure.evolve(fields={"w": "float64"})
            clock[0] = 14 * DAY + 1
            assert any("seg-" in path for path in measure.gc())
            measure.gc()
            fill(measure, 2)
            database.backup(copy)
            assert measure.schema.dropped_before == 2 * DAY
            now = numbered(measure.query(order="series").to_arrow())
            assert 0 < now.num_rows < before.num_rows
        restored, tagged = memory(), memory()
        measurefs.restore(copy, restored, runtime=runtime)
        measurefs.restore(copy, tagged, tag="before", runtime=runtime)
        with measurefs.open(restored, background=False, runtime=runtime) as database:
            assert numbered(database.measure("a/b").query(order="series").to_arrow()) == now
        clock[0] = 10 * DAY
        with measurefs.open(tagged, background=False, runtime=runtime) as database:
            found = numbered(database.measure("a/b").query(order="series").to_arrow())
            assert found.select(before.column_names) == before


class TestIncremental:
    def test_only_what_is_new_is_copied(self, source: Database) -> None:
        copy = memory()
        first = source.backup(copy)
        counting = CountingFileSystem(copy)
        again = source.backup(counting)
        assert (again.copied, again.bytes, again.parts) == (0, 0, first.parts)
        assert counting.calls["write"] == 1  # its record
        make(source).write(one_row(time=1, host="new", v=7), durable=True)
        more = source.backup(copy)
        assert (more.copied, more.parts) == (1, first.parts + 1)
        assert contents_of(copy) == contents(source)

    def test_what_nothing_names_goes(self, source: Database) -> None:
        copy = memory()
        source.backup(copy)
        measure = make(source)
        measure.compact()
        measure.untag("first")
        fill(measure, 3)
        measure.tag("second")
        measure.gc()
        report = source.backup(copy)
        assert report.removed > 0
        assert contents_of(copy) == contents(source)
        there = {path for path in files_of(copy) if path.startswith("a%2Fb/seg")}
        here = {path for path in files_of(source.fs) if path.startswith("a%2Fb/seg") and "LOCK" not in path}
        assert there == here

    def test_a_tag_made_anew_under_its_name(self, source: Database) -> None:
        copy = memory()
        source.backup(copy)
        measure = make(source)
        measure.untag("first")
        fill(measure, 3)
        measure.tag("first")
        source.backup(copy)
        assert contents_of(copy) == contents(source)

    def test_states_kept_under_names(self, source: Database) -> None:
        copy, states = memory(), {}
        measure = make(source)
        for number in range(3, 7):
            fill(measure, number)
            if number == 5:
                measure.compact()
                measure.gc()
            source.backup(copy, tag=f"day {number}")
            states[f"day {number}"] = {name: moments[None] for name, moments in contents(source).items()}
        for name, state in states.items():
            restored = memory()
            measurefs.restore(copy, restored, tag=name)
            assert rows_now(restored) == state
        with quiet(copy) as database:
            for name in database.measures():
                database.measure(name).untag("day 3")
        source.backup(copy)
        assert set(contents_of(copy)["a/b"]) == {None, "first", "day 4", "day 5", "day 6"}
        with pytest.raises(SchemaError, match="'day 3'"):
            measurefs.restore(copy, memory(), tag="day 3")

    def test_a_dropped_measure_goes_unless_a_name_keeps_it(self, source: Database) -> None:
        copy = memory()
        source.backup(copy)
        source.drop_measure("other")
        assert source.backup(copy, tag="kept").kept == []
        assert set(contents_of(copy)) == {"a/b"}
        before = rows_now(copy)
        source.drop_measure("a/b")
        assert source.backup(copy).kept == ["a/b"]
        restored, last = memory(), memory()
        measurefs.restore(copy, restored, tag="kept")
        assert rows_now(restored) == before
        measurefs.restore(copy, last)
        assert contents_of(last) == {}
        fill(make(source), 9)
        with pytest.raises(UnsupportedStoreError, match="dropped and created again"):
            source.backup(copy)

    def test_a_measure_created_again(self, source: Database) -> None:
        copy = memory()
        source.backup(copy)
        source.drop_measure("a/b")
        source.create_measure("a/b", entity={"host": "int64"}).write(one_row(time=1, host=1), durable=True)
        source.backup(copy)
        assert contents_of(copy) == contents(source)


class TestRefused:
    def test_what_is_no_backup_of_it(self, source: Database) -> None:
        copy, store, used = memory(), memory(), memory()
        quiet(store).close()
        used.write("file", b"")
        source.backup(copy)
        with quiet(memory()) as other:
            for target, why in ((copy, "of another store"), (store, "no backup"), (used, "not empty")):
                before = files_of(target)
                with pytest.raises(UnsupportedStoreError, match=why):
                    other.backup(target)
                assert files_of(target) == before
        for call in (measurefs.restore, measurefs.copy):
            for target in (copy, store, used, source.fs):
                before = files_of(target)
                with pytest.raises(UnsupportedStoreError, match=r"holds a backup|a store is there|not empty"):
                    call(copy, target)
                assert files_of(target) == before
        with pytest.raises(UnsupportedStoreError, match="no backup"):
            source.backup(source.fs)

    def test_no_store(self) -> None:
        for call in (measurefs.restore, measurefs.copy, backup):
            target = memory()
            with pytest.raises(NotExistError, match="no measurefs store"):
                call(memory(), target)
            assert files_of(target) == {}

    def test_names_that_are_taken(self, source: Database) -> None:
        copy = memory()
        source.backup(copy, tag="monday")
        for tag in ("monday", "first", "FIRST"):
            with pytest.raises(SchemaError, match="tag"):
                source.backup(copy, tag=tag)
        make(source).tag("monday")
        with pytest.raises(SchemaError, match="keeps another state"):
            source.backup(copy)
        make(source).untag("monday")
        source.backup(copy)
        with pytest.raises(SchemaError, match="did you mean 'monday'"):
            measurefs.restore(copy, memory(), tag="mondy")

    def test_two_at_once(self, source: Database) -> None:
        copy = memory()
        source.backup(copy)

        def meanwhile(done: int, total: int) -> None:
            with pytest.raises(LockError):
                backup(source.fs, copy)

        fill(make(source), 3)
        assert source.backup(copy, progress=meanwhile).copied > 0

    def test_a_backup_that_was_written_to(self, source: Database) -> None:
        copy = memory()
        source.backup(copy)
        with quiet(copy) as database:
            fill(make(database), 8)
        fill(make(source), 3)
        before = files_of(copy)
        with pytest.raises(UnsupportedStoreError, match="written to the copy"):
            source.backup(copy)
        assert {path: before[path] for path in before if "seg-" in path} == {
            path: data for path, data in files_of(copy).items() if "seg-" in path
        }

    def test_a_store_that_was_put_back(self) -> None:
        """The same names of parts and snapshots, and other rows in them."""
        fs, copy = memory(), memory()
        with quiet(fs) as database:
            fill(make(database), 1)
        earlier = files_of(fs)
        with quiet(fs) as database:
            fill(make(database), 2)
            database.backup(copy)
        there = files_of(copy)
        for other in (3, 2):
            fs = memory()
            for path, data in earlier.items():
                (fs.make_dir(path[:-1], exist_ok=True) if path.endswith("/") else fs.write(path, data))
            with quiet(fs) as database:
                database.measure("a/b").write(one_row(time=1, host="h0", v=other), durable=True)
                if other == 3:
                    fill(make(database), 4)
                with pytest.raises(UnsupportedStoreError, match="put back"):
                    database.backup(copy)
        assert files_of(copy).keys() >= there.keys()
        assert all(files_of(copy)[path] == data for path, data in there.items() if ".backup" not in path)

    def test_an_unfinished_copy_is_no_store(self, source: Database) -> None:
        copy = FaultFileSystem(memory(), Fault("write", IDENTITY))
        with pytest.raises(FileSystemError):
            source.backup(copy)
        with pytest.raises(NotExistError):
            measurefs.open(copy, read_only=True)
        with pytest.raises(UnsupportedStoreError, match="interrupted"):
            measurefs.open(copy)
        source.backup(copy)
        assert contents_of(copy) == contents(source)


class TestDamage:
    @pytest.mark.parametrize("options", [WIDE, TableOptions()], ids=["wide", "compact"])
    def test_a_damaged_part_is_named_and_not_copied(self, options: TableOptions) -> None:
        fs = memory()
        with quiet(fs, options) as database:
            fill(make(database), 1)
        path = next(path for path in walk(fs) if path.endswith(("fields.bin", ".part")))
        whole = fs.read(path)
        copy = memory()
        backup(fs, copy)
        state = contents_of(copy)
        for damaged in (bytes([whole[0] ^ 1]) + whole[1:], whole[:10]):
            fs.write(path, damaged)
            fresh = memory()
            with pytest.raises(CorruptionError) as raised:
                backup(fs, fresh)
            assert raised.value.path == path
            assert path not in list(walk(fresh))
            with contextlib.suppress(CorruptionError):
                assert backup(fs, copy).copied == 0
            assert contents_of(copy) == state  # the backup is better off than the store
            fs.write(path, whole)
            backup(fs, fresh)
            assert contents_of(fresh) == state

    @pytest.mark.parametrize("options", [WIDE, TableOptions()], ids=["wide", "compact"])
    def test_a_missing_part_is_named(self, options: TableOptions) -> None:
        fs = memory()
        with quiet(fs, options) as database:
            fill(make(database), 1)
        path = next(path for path in walk(fs) if path.endswith(("fields.bin", ".part")))
        fs.delete_file(path)
        with pytest.raises(CorruptionError, match="missing") as raised:
            backup(fs, memory())
        assert raised.value.path == path

    def test_a_lost_schema_is_no_dropped_measure(self, source: Database) -> None:
        copy = memory()
        source.backup(copy)
        source.fs.delete_file("other/schema.json")
        with pytest.raises(CorruptionError, match=r"other/schema\.json"):
            backup(source.fs, copy)
        assert "other" in contents_of(copy)

    @pytest.mark.parametrize("options", [WIDE, TableOptions()], ids=["wide", "compact"])
    def test_a_damaged_backup_is_mended(self, options: TableOptions) -> None:
        fs, copy = memory(), memory()
        with quiet(fs, options) as database:
            fill(make(database), 1)
        assert backup(fs, copy, verify=True).copied == 3
        state, path = files_of(copy), next(p for p in walk(copy) if p.endswith(("fields.bin", ".part")))
        whole = state[path]
        for damaged in (bytes([whole[0] ^ 1]) + whole[1:], whole[:10], None):
            copy.write(path, damaged) if damaged else copy.delete_file(path)
            assert backup(fs, copy).copied == 0  # it is not looked at
            assert not measurefs.verify(copy).ok
            assert backup(fs, copy, verify=True).copied == 1
            assert copy.read(path) == whole
        assert backup(fs, copy, verify=True).copied == 0
        assert measurefs.verify(copy).ok

    def test_a_long_section_is_checked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("measurefs.part.copying.WINDOW", 64)
        fs, copy = memory(), memory()
        with quiet(fs, WIDE) as database:
            fill(make(database), 1)
            state = contents(database)
        path = next(path for path in walk(fs) if path.endswith("fields.bin"))
        whole = fs.read(path)
        fs.write(path, whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(CorruptionError):
            backup(fs, copy, runtime=Runtime())
        assert path not in list(walk(copy))
        fs.write(path, whole)
        half = memory()
        for name, data in files_of(copy).items():
            half.make_dir(name[:-1], exist_ok=True) if name.endswith("/") else half.write(name, data)
        half.write(path, whole[:-1] + b"x")  # of the right size, and of somebody else
        backup(fs, half)
        assert contents_of(half) == state


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
    with quiet(
        fs, TableOptions(part=PartOptions(compact_bytes=600), gc_grace=0, keep_snapshots=1)
    ) as database:
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
    assert (record["time"], record["unfinished"], record["kind"]) == (7, False, "backup")


def test_a_backup_is_a_store_to_read(local_store: Store, source: Database) -> None:
    source.backup(local_store.url)
    with open_store(local_store, read_only=True) as database:
        assert contents(database) == contents(source)
        other = memory()
        database.backup(other)  # of the backup, which has a name of its own
        assert contents_of(other) == contents(source)
