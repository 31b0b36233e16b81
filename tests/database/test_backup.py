"""Backup, restore and copy: every row and tag arrives, only what is missing is copied, and nothing is ever mixed up."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

import measurefs
from measurefs import (
    CorruptionError,
    Database,
    FileSystemError,
    LockError,
    NotExistError,
    SchemaError,
    TableOptions,
    UnsupportedStoreError,
)
from measurefs.codec.sealed import seal, unseal
from measurefs.database.backup import backup
from measurefs.database.identity import IDENTITY, Identity
from measurefs.fs import CountingFileSystem, walk
from measurefs.table import Runtime
from measurefs.testing import Fault, FaultFileSystem
from tests.conftest import Store
from tests.database.copied import (
    MIXED,
    WIDE,
    contents,
    contents_of,
    fill,
    make,
    memory,
    quiet,
    rows_now,
)
from tests.database.helpers import DAY, files_of, numbered, one_row


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

    def test_it_is_written_to_as_fast_as_a_new_one(self) -> None:
        """However often its tables were opened before: what they count on from is known."""
        first, second = memory(), memory()
        for number in range(30):
            with quiet(first) as database:
                fill(make(database), number)
        copied, again = CountingFileSystem(memory()), CountingFileSystem(memory())
        measurefs.copy(first, copied)
        with quiet(copied) as database:
            copied.reset()
            fill(make(database), 30)
            assert copied.calls["create_lock_file"] == len(make(database).stats())
            make(database).evolve(fields={"w": "int64"})
        with quiet(copied) as database:
            fill(database.measure("a/b"), 31)
            database.backup(second)
        measurefs.restore(second, again)
        with quiet(again) as database:
            again.reset()
            fill(database.measure("a/b"), 32)
            assert again.calls["create_lock_file"] == len(database.measure("a/b").stats())
            expected = {number % 2: f"z{number}" for number in (31, 32)}
            zones = database.measure("a/b").query(columns=["time", "zone"]).to_arrow()
            assert {(time.value % 2, zone.as_py()) for time, zone in zip(*zones.columns, strict=True)} == set(
                expected.items()
            )
            assert database.verify().ok
            database.drop_measure("a/b")
            fill(make(database), 33)
            assert make(database).query().to_arrow()["zone"].unique().to_pylist() == ["z33"]

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
        source.backup(copy, forget=["day 3"])
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

    def test_a_backup_is_not_written_to(self, source: Database) -> None:
        for name in (source.fs.read(IDENTITY), seal(Identity())):
            source.fs.write(IDENTITY, name)
            copy = memory()
            source.backup(copy)
            before = files_of(copy)
            with pytest.raises(UnsupportedStoreError, match="read_only=True, or restore it"):
                measurefs.open(copy)
            assert files_of(copy) == before
            copy.write(IDENTITY, b"damaged")
            assert measurefs.repair(copy, apply=True).complete
            with pytest.raises(UnsupportedStoreError, match="it is a backup"):
                measurefs.open(copy)

    def test_a_backup_that_was_written_to(self, source: Database) -> None:
        copy = memory()
        source.backup(copy)
        copy.write(IDENTITY, seal(Identity()))
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
