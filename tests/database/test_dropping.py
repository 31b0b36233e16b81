"""Dropping measures: they are there whole, or gone, and no row of theirs is ever seen in what takes their place."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import pytest

import measurefs
from measurefs import ClosedError, CorruptionError, Database, FileSystem, LockError, Measure, SchemaError
from measurefs.database.database import _open_databases
from measurefs.database.dropping import read_tombstone
from measurefs.fs import FileSystemWrapper, PermissionError_
from measurefs.fs.filesystem import Buffer
from measurefs.table import Runtime
from measurefs.testing import CrashFileSystem, SimulatedCrash
from tests.conftest import Store
from tests.database.helpers import DAY, files_of, one_row, open_store, rows_of, values_of


def quiet(fs: FileSystem, *, read_only: bool = False) -> Database:
    """Open a database without threads, which nobody closes if the test's process "dies"."""
    database = measurefs.open(fs, background=False, runtime=Runtime(), read_only=read_only)
    _open_databases.discard(database)
    return database


def make_old(database: Database) -> Measure:
    measure = database.create_measure("m", entity=["id"], fields={"v": "int64"}, shards=2)
    measure.write({"time": [1, DAY, 2 * DAY], "id": ["x", "y", "z"], "v": [1, 2, 3]}, durable=True)
    return measure


def make_new(database: Database) -> Measure:
    """Of another shape: rows of the old one would not even fit."""
    return database.create_measure("m", entity={"id": "int64"}, fields={"v": "string"}, interval="6h")


@pytest.fixture
def fs(memory_store: Store) -> Iterator[FileSystem]:
    with memory_store.open() as opened:
        yield opened


class TestDropping:
    def test_leaves_nothing_and_makes_room(self, store_url: Store) -> None:
        with open_store(store_url) as database:
            old = make_old(database)
            database.create_measure("other", entity=["id"]).write(one_row(time=1, id="x"))
            database.drop_measure("m")
            assert database.measures() == ["other"]
            left = {path for path in files_of(database.fs) if not path.startswith("other/")}
            left = {path for path in left if not path.startswith(".dropped/m.lock")} - {".dropped/"}
            assert left == {"measurefs.json", ".dropped/m.json"}
            for call in (lambda: old.write(one_row(time=1, id="x")), old.query, old.refresh, old.flush):
                with pytest.raises(ClosedError, match="measure 'm' was dropped"):
                    call()
            with pytest.raises(SchemaError, match="measure 'm'"):
                database.measure("m")
            report = database.verify()
            assert (report.ok, report.foreign, report.measures) == (True, 0, 1)
            new = make_new(database)
            assert rows_of(new) == []
            new.write(one_row(time=1, id=7, v="new"), durable=True)
            assert values_of(new, "v") == ["new"]
        with open_store(store_url) as database:
            assert database.measures() == ["m", "other"]
            assert values_of(database.measure("m"), "v") == ["new"]
            assert database.verify().ok

    def test_again_and_again(self, fs: FileSystem) -> None:
        floors = []
        with quiet(fs) as database:
            for number in range(4):
                measure = database.create_measure("m", entity=["id"], fields={"v": "int64"})
                assert rows_of(measure) == []
                floors.append(measure.schema.floor)
                measure.evolve(fields={"w": "int64"})
                measure.write(one_row(time=1, id="x", v=number, w=number), durable=True)
                assert values_of(measure, "v") == [number]
                database.drop_measure("m")
            assert database.measures() == []
        assert floors == sorted(set(floors))

    def test_of_an_unknown_name(self, fs: FileSystem) -> None:
        with quiet(fs) as database:
            database.create_measure("temperature", entity=["id"])
            with pytest.raises(SchemaError, match="measure 'temprature'; did you mean 'temperature'"):
                database.drop_measure("temprature")
            database.drop_measure("temperature")
            with pytest.raises(SchemaError, match="there are none"):
                database.drop_measure("temperature")

    def test_read_only(self, fs: FileSystem) -> None:
        with quiet(fs) as database:
            make_old(database)
        with quiet(fs, read_only=True) as database, pytest.raises(PermissionError_, match="read_only"):
            database.drop_measure("m")

    def test_of_one_that_is_not_open(self, local_store: Store) -> None:
        with open_store(local_store) as database:
            make_old(database)
        with open_store(local_store) as database:
            database.drop_measure("m")
            assert database.measures() == []

    def test_discards_rows_that_are_only_in_memory(self, fs: FileSystem) -> None:
        with quiet(fs) as database:
            make_old(database).write(one_row(time=5 * DAY, id="x", v=9))
            database.drop_measure("m")
        with quiet(fs) as database:
            assert rows_of(make_new(database)) == []

    def test_names_that_need_escaping(self, local_store: Store) -> None:
        names = [".dropped", "..", "a/b", "m.lock", "m", "ü"]
        with open_store(local_store) as database:
            for name in names:
                database.create_measure(name, entity=["id"]).write(one_row(time=1, id=name))
            for name in names:
                database.drop_measure(name)
            assert database.measures() == []
            for name in names:
                assert rows_of(database.create_measure(name, entity=["id"])) == []
            assert database.verify().ok

    def test_with_a_damaged_schema(self, fs: FileSystem) -> None:
        with quiet(fs) as database:
            make_old(database)
        fs.write("m/schema.json", b"damage")
        before = files_of(fs)
        with quiet(fs) as database, pytest.raises(CorruptionError):
            database.drop_measure("m")
        assert files_of(fs) == before


class TestOthers:
    @pytest.mark.parametrize("kind", ["local", "memory"])
    def test_who_write_to_it_keep_it(self, request: pytest.FixtureRequest, kind: str) -> None:
        """Nothing is dropped, no row is lost, and everybody can go on."""
        store: Store = request.getfixturevalue(f"{kind}_store")
        with open_store(store) as theirs, open_store(store) as ours:
            measure = make_old(theirs)
            mine = ours.measure("m")
            mine.write(one_row(time=9 * DAY, id="x", v=9))  # a table of our own, in memory
            with pytest.raises(LockError):
                ours.drop_measure("m")
            assert ours.measures() == ["m"]
            assert read_tombstone(ours.fs, "m") is None
            mine.write(one_row(time=9 * DAY + 1, id="x", v=10), durable=True)
            measure.write(one_row(time=2, id="x", v=4), durable=True)
            assert values_of(mine, "v", start=9 * DAY) == [9, 10]
            assert values_of(measure, "v") == [1, 4, 2, 3]
            theirs.close()
            ours.drop_measure("m")
            assert ours.measures() == []

    def test_who_have_it_open_find_out(self, store_url: Store) -> None:
        with open_store(store_url) as ours, open_store(store_url) as theirs:
            make_old(ours)
            stale, reader = theirs.measure("m"), theirs.measure("m")
            assert len(rows_of(reader)) == 3
            ours.drop_measure("m")
            with pytest.raises(ClosedError, match="was dropped"):
                stale.write(one_row(time=1, id="x", v=9))
            new = make_new(ours)
            with pytest.raises(ClosedError, match="was dropped"):
                stale.write(one_row(time=20 * DAY, id="x", v=9))
            new.write(one_row(time=1, id=1, v="new"), durable=True)
            theirs.refresh()
            with pytest.raises(ClosedError, match="was dropped"):
                stale.query()
            assert values_of(theirs.measure("m"), "v") == ["new"]
            assert ours.verify().ok

    @pytest.mark.parametrize("created", [False, True])
    def test_who_change_its_schema_do_not_change_the_next_one(self, fs: FileSystem, created: bool) -> None:
        class Stalled(FileSystemWrapper):
            def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
                if path.endswith("schema-00000002.json"):
                    ours.drop_measure("m")
                    if created:
                        make_new(ours)
                return super().write(path, data, exclusive=exclusive)

        with quiet(fs) as ours, quiet(Stalled(fs)) as theirs:
            ours.create_measure("m", entity=["id"], fields={"v": "int64"})
            with pytest.raises(ClosedError, match="was dropped"):
                theirs.measure("m").evolve(fields={"w": "int64"})
            new = ours.measure("m") if created else make_new(ours)
            ours.refresh()
            assert set(new.schema.fields) == {"v"}
            new.evolve(fields={"w": "float64"})
            new.write(one_row(time=1, id=1, v="new", w=0.5), durable=True)
        with quiet(fs) as database:
            assert values_of(database.measure("m"), "w") == [0.5]
            assert database.verify().ok

    def test_who_create_it_at_that_moment_do_not_bring_it_back(self, fs: FileSystem) -> None:
        """Somebody about to create it stalls; it is created, filled and dropped, which crashes in the midst."""
        old = CrashFileSystem()

        class Stalled(FileSystemWrapper):
            done = False

            def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
                if path == "m/schema.json" and not self.done:
                    self.done = True
                    with quiet(old) as other:
                        make_old(other)
                    _drop_and_die(old)
                return super().write(path, data, exclusive=exclusive)

        with quiet(Stalled(old)) as database:
            measure = database.create_measure("m", entity=["id"], fields={"v": "int64"}, shards=2)
            assert rows_of(measure) == []
            assert measure.schema.floor > 0

    @pytest.mark.parametrize("begun", [False, True])
    def test_a_stalled_writer_shows_nothing(self, fs: FileSystem, begun: bool) -> None:
        """What it had begun to write lands in the new measure's directory, later than all else."""
        with quiet(fs) as database:
            make_old(database)
        for number in range(3):  # the tokens grow
            with quiet(fs) as database:
                database.measure("m").write(one_row(time=1, id="x", v=number), durable=True)
        late = {path: data for path, data in files_of(fs).items() if path.startswith("m/seg-")}
        with quiet(fs) as database:
            database.drop_measure("m")
            new = database.create_measure("m", entity=["id"], fields={"v": "int64"}, shards=2)
            if begun:
                new.write({"time": [1, DAY], "id": ["x", "y"], "v": [100, 200]}, durable=True)
            for path, data in late.items():
                if path.endswith("/"):
                    fs.make_dir(path[:-1], exist_ok=True)
                elif not path.endswith("LOCK"):
                    fs.write(path, data)
            new.refresh()
            assert values_of(new, "v") == ([100, 200] if begun else [])
            assert database.verify().ok
        with quiet(fs) as database, quiet(fs, read_only=True) as reader:
            new = database.measure("m")
            assert values_of(new, "v") == ([100, 200] if begun else [])
            new.write({"time": [1, DAY, 2 * DAY], "id": ["x", "y", "z"], "v": [101, 201, 301]}, durable=True)
            for measure in (new, reader.measure("m")):
                assert values_of(measure, "v") == [101, 201, 301]
            assert database.verify().ok
            assert database.repair(apply=True).complete
            assert values_of(database.measure("m"), "v") == [101, 201, 301]

    @pytest.mark.parametrize("kind", ["local", "memory"])
    def test_a_result_that_is_read_meanwhile(self, request: pytest.FixtureRequest, kind: str) -> None:
        store: Store = request.getfixturevalue(f"{kind}_store")
        with open_store(store) as database:
            measure = make_old(database)
            want = rows_of(measure)
            with measure.query() as result, measure.query() as begun:
                batches = begun.to_batches()
                database.drop_measure("m")
                make_new(database).write(one_row(time=1, id=1, v="new"), durable=True)
                for read in (result.to_arrow, lambda: list(batches)):
                    try:
                        assert len(read()) in {len(want), 1}
                    except ClosedError as error:
                        assert "was dropped while a result of it was read" in str(error)


def _drop_and_die(fs: CrashFileSystem) -> None:
    """Drop it, and die once that is committed and its files are still there."""
    names = {"delete_file": 0}
    database = quiet(fs)

    class Dying(FileSystemWrapper):
        def must_rm_all(self, path: str) -> None:
            names["delete_file"] += 1
            raise SimulatedCrash

    database.close()
    with contextlib.suppress(SimulatedCrash):
        quiet(Dying(fs)).drop_measure("m")
    fs.break_locks()
    assert names["delete_file"] == 1
    assert any("seg-" in path for path in files_of(fs))


class TestCrashes:
    def begun(self) -> CrashFileSystem:
        fs = CrashFileSystem()
        with quiet(fs) as database:
            measure = database.create_measure("m", entity=["id"], fields={"v": "int64"})
            measure.write({"time": [1, 2, 3], "id": ["x", "y", "z"], "v": [1, 2, 3]}, durable=True)
        return fs

    def test_of_dropping_and_creating_at_every_operation(self) -> None:
        """The old measure is there whole, or gone; the new one never has a row of it."""
        seen = set()
        for number in itertools.count(1):
            fs = self.begun()
            fs.crash_at(fs.operations + number)
            with contextlib.suppress(SimulatedCrash):
                database = quiet(fs)
                database.drop_measure("m")
                make_new(database).write(one_row(time=1, id=1, v="new"), durable=True)
            if not fs.crashed:
                break
            for found in (fs.kill(), fs.crash("none"), fs.crash("all"), fs.crash(number)):
                seen.add(self.check(found))
        assert seen == {"old", "gone", "new", "new and empty"}

    def check(self, fs: CrashFileSystem) -> str:
        with quiet(fs) as database:
            assert database.verify().ok
            state = "gone"
            if database.measures():
                values = values_of(database.measure("m"), "v")
                assert values in ([1, 2, 3], ["new"], [])
                state = "new and empty" if not values else "new" if "new" in values else "old"
            if state == "old":
                database.drop_measure("m")
            new = database.measure("m") if state.startswith("new") else make_new(database)
            assert values_of(new, "v") == (["new"] if state == "new" else [])
            new.write({"time": [1, 2], "id": [1, 2], "v": ["newer", "newest"]}, durable=True)
        with quiet(fs.crash("none")) as database:
            assert values_of(database.measure("m"), "v") == ["newer", "newest"]
            assert database.verify().ok
        return state

    def test_what_was_returned_is_durable(self) -> None:
        fs = self.begun()
        with quiet(fs) as database:
            database.drop_measure("m")
        with quiet(fs.crash("none")) as database:
            assert database.measures() == []
            assert rows_of(make_new(database)) == []

    def test_an_error_in_the_midst_leaves_it_whole_or_gone(self) -> None:
        for name in ("write", "sync_path", "delete_file", "must_rm_all"):
            fs = self.begun()

            class Failing(FileSystemWrapper):
                def __getattribute__(self, attribute: str, name: str = name) -> object:
                    if attribute == name and object.__getattribute__(self, "armed"):
                        raise measurefs.FileSystemError(name, "m", "the disk is at fault")
                    return super().__getattribute__(attribute)

                armed = False

            failing = Failing(fs)
            database = quiet(failing)
            measure = database.measure("m")
            assert len(rows_of(measure)) == 3
            failing.armed = True
            with pytest.raises(measurefs.FileSystemError, match="the disk is at fault"):
                database.drop_measure("m")
            failing.armed = False
            if database.measures():
                assert values_of(measure, "v") == [1, 2, 3]
                database.drop_measure("m")
            with pytest.raises(ClosedError):
                measure.query()
            assert rows_of(make_new(database)) == []
            assert database.verify().ok

    def test_a_lost_schema_of_the_next_one_is_not_taken_for_a_drop(self, fs: FileSystem) -> None:
        with quiet(fs) as database:
            make_old(database)
            database.drop_measure("m")
            tombstone = fs.read(".dropped/m.json")
            make_old(database)
        for left in (False, True):
            if left:  # as if the last step of creating it had been lost
                fs.write(".dropped/m.json", tombstone)
            kept = fs.read("m/schema.json")
            fs.delete_file("m/schema.json")
            rows = {path for path in files_of(fs) if "/seg-" in path}
            with quiet(fs) as database:
                assert database.measures() == []
                with contextlib.suppress(SchemaError, CorruptionError):
                    make_new(database)
            assert {path for path in files_of(fs) if "/seg-" in path} >= rows
            fs.write("m/schema.json", kept)
            with quiet(fs) as database:
                assert values_of(database.measure("m"), "v") == [1, 2, 3]
