"""Revisions of a schema: each change is made to the one before it, whoever makes it, and the newest is the schema."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import msgspec
import pytest

import measurefs
from measurefs import CorruptionError, FileSystem, NotExistError, UnsupportedStoreError
from measurefs.codec.sealed import seal, unseal
from measurefs.codec.types import ColumnType
from measurefs.database.schema import MeasureSchema, make_schema
from measurefs.database.schema_chain import change, create, newest
from measurefs.fs import DirEntry, FileSystemWrapper
from measurefs.fs.filesystem import Buffer
from measurefs.testing import CrashFileSystem, SimulatedCrash
from tests.conftest import Store
from tests.processes.children import Child, Place

ROOT = "m"
FIRST = make_schema("m", ["id"], None, {"a": "int64"}, "1d", None, 1)


def adding(*names: str) -> Callable[[MeasureSchema], MeasureSchema]:
    """Return an edit that adds fields."""

    def edit(schema: MeasureSchema) -> MeasureSchema:
        fields = schema.fields | dict.fromkeys(names, ColumnType.INT64)
        return msgspec.structs.replace(schema, fields=fields)

    return edit


def files(fs: FileSystem) -> list[str]:
    return [entry.name for entry in fs.read_dir(ROOT)]


def fields(fs: FileSystem) -> set[str]:
    return set(newest(fs, ROOT).fields)


class Meddling(FileSystemWrapper):
    """Calls somebody else once, before a revision is written, or after a listing was made."""

    def __init__(self, wrapped: FileSystem, moment: str, meddle: Callable[[], object]) -> None:
        super().__init__(wrapped)
        self._moment = moment
        self._meddle = meddle
        self._done = False

    def _now(self, moment: str) -> None:
        if moment == self._moment and not self._done:
            self._done = True
            self._meddle()

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        if exclusive:
            self._now("before writing")
        written = super().write(path, data, exclusive=exclusive)
        if exclusive:
            self._now("after writing")
        return written

    def read_dir(self, path: str) -> list[DirEntry]:
        listed = super().read_dir(path)
        self._now("after listing")
        return listed


@pytest.fixture(params=["local", "memory"])
def fs(request: pytest.FixtureRequest) -> Iterator[FileSystem]:
    store: Store = request.getfixturevalue(f"{request.param}_store")
    with store.open() as opened:
        create(opened, ROOT, FIRST)
        yield opened


class TestChanging:
    def test_each_change_is_a_revision(self, store_fs: FileSystem) -> None:
        create(store_fs, ROOT, FIRST)
        assert newest(store_fs, ROOT) == FIRST
        for number, name in enumerate("bcdef", start=2):
            changed = change(store_fs, ROOT, adding(name))
            assert (changed.revision, list(changed.fields)[-1]) == (number, name)
            assert newest(store_fs, ROOT) == changed
        # All but the first and the newest two are collected.
        assert files(store_fs) == ["schema-00000005.json", "schema-00000006.json", "schema.json"]

    def test_what_changes_nothing_writes_nothing(self, fs: FileSystem) -> None:
        changed = change(fs, ROOT, adding("b"))
        before = files(fs)
        assert change(fs, ROOT, adding("b")) == changed
        assert files(fs) == before

    def test_a_revision_and_a_floor_are_not_the_edit_s_to_change(self, fs: FileSystem) -> None:
        changed = change(
            fs,
            ROOT,
            lambda schema: msgspec.structs.replace(adding("b")(schema), revision=99, floor=99),
        )
        assert (changed.revision, changed.floor) == (2, 0)

    def test_of_what_is_not_there(self, fs: FileSystem) -> None:
        for call in (lambda: newest(fs, "other"), lambda: change(fs, "other", adding("b"))):
            with pytest.raises(NotExistError):
                call()
        change(fs, ROOT, adding("b"))
        fs.delete_file("m/schema.json")  # as dropping does
        for call in (lambda: newest(fs, ROOT), lambda: change(fs, ROOT, adding("c"))):
            with pytest.raises(NotExistError):
                call()

    def test_an_edit_that_refuses_changes_nothing(self, fs: FileSystem) -> None:
        def refuse(schema: MeasureSchema) -> MeasureSchema:
            raise measurefs.SchemaError("no")

        with pytest.raises(measurefs.SchemaError):
            change(fs, ROOT, refuse)
        assert files(fs) == ["schema.json"]


class TestTogether:
    @pytest.mark.parametrize("moment", ["before writing", "after writing", "after listing"])
    @pytest.mark.parametrize("others", [1, 2, 3, 7])
    def test_no_change_is_lost(self, fs: FileSystem, moment: str, others: int) -> None:
        """Others change the schema, so often that the name that we are about to write is collected again."""
        names = [f"other{number}" for number in range(others)]

        def meddle() -> None:
            for name in names:
                change(fs, ROOT, adding(name))

        changed = change(Meddling(fs, moment, meddle), ROOT, adding("mine"))
        assert fields(fs) == {"a", "mine", *names}
        assert changed == newest(fs, ROOT)
        assert len(files(fs)) == 3
        assert fields(fs) | {"later"} == set(change(fs, ROOT, adding("later")).fields)

    @pytest.mark.parametrize("others", [1, 2, 5])
    def test_a_reader_copes_with_a_revision_that_is_collected(self, fs: FileSystem, others: int) -> None:
        change(fs, ROOT, adding("b"))

        def meddle() -> None:
            for number in range(others):
                change(fs, ROOT, adding(f"other{number}"))

        found = newest(Meddling(fs, "after listing", meddle), ROOT)
        # One that was the newest at some time between; a revision that is gone is none.
        assert found.revision == (2 if others == 1 else 2 + others)

    def test_a_late_revision_of_a_dropped_measure_never_counts(self, fs: FileSystem) -> None:
        """It lands in the measure that was created in its place."""
        new = make_schema("m", ["key"], None, {"n": "float64"}, "1d", None, 1)

        def meddle() -> None:
            for name in ("b", "c", "d"):
                change(fs, ROOT, adding(name))
            fs.must_rm_all(ROOT)
            create(fs, ROOT, msgspec.structs.replace(new, floor=7))

        for moment in ("before writing", "after writing"):
            with pytest.raises(NotExistError):
                change(Meddling(fs, moment, meddle), ROOT, adding("mine"))
            assert set(newest(fs, ROOT).fields) == {"n"}
            changed = change(fs, ROOT, adding("more"))
            assert (changed.revision, changed.floor, set(changed.fields)) == (2, 7, {"n", "more"})
            assert newest(fs, ROOT) == changed
            fs.must_rm_all(ROOT)
            create(fs, ROOT, FIRST)

    @pytest.mark.parametrize("kind", ["local", "s3"])
    def test_two_processes_at_once(self, request: pytest.FixtureRequest, kind: str) -> None:
        store: Store = request.getfixturevalue(f"{kind}_store")
        count = 12 if kind == "local" else 4
        with store.open() as fs:
            create(fs, ROOT, FIRST)
            place = Place.of(store)
            with contextlib.ExitStack() as stack:
                children = [stack.enter_context(Child(add_fields, place, who, count)) for who in "xy"]
                assert [child.next() for child in children] == ["ready", "ready"]
                for child in children:
                    child.send("go")
                for child in children:
                    child.finish()
            assert fields(fs) == {"a"} | {f"{who}{number}" for who in "xy" for number in range(count)}
            assert newest(fs, ROOT).revision == 1 + 2 * count


def add_fields(pipe: Connection, place: Place, who: str, count: int) -> None:
    """Add fields one by one, as fast as possible."""
    with place.open() as fs:
        pipe.send("ready")
        pipe.recv()
        for number in range(count):
            change(fs, ROOT, adding(f"{who}{number}"))


class TestDamage:
    @pytest.mark.parametrize("changes", [0, 1, 4])
    def test_of_the_newest_is_an_error_that_names_it(self, fs: FileSystem, changes: int) -> None:
        for number in range(changes):
            change(fs, ROOT, adding(f"b{number}"))
        name = f"schema-{changes + 1:08d}.json" if changes else "schema.json"
        path = f"m/{name}"
        intact = fs.read(path)
        for damaged in (b"", intact[:-1], intact.replace(b"int64", b"inT64", 1)):
            fs.write(path, damaged)
            for call in (lambda: newest(fs, ROOT), lambda: change(fs, ROOT, adding("c"))):
                with pytest.raises(CorruptionError) as caught:
                    call()
                assert caught.value.path == path
        fs.write(path, intact)
        assert newest(fs, ROOT).revision == changes + 1

    def test_a_revision_under_another_name(self, fs: FileSystem) -> None:
        change(fs, ROOT, adding("b"))
        fs.write("m/schema-00000009.json", fs.read("m/schema-00000002.json"))
        with pytest.raises(CorruptionError, match="holds revision 2; was it renamed"):
            newest(fs, ROOT)

    def test_a_newer_release_is_told_apart(self, fs: FileSystem) -> None:
        change(fs, ROOT, adding("b"))
        content = unseal(fs.read("m/schema-00000002.json"), dict, "")
        for more in ({"format": 2}, {"colour": "red"}):
            fs.write("m/schema-00000002.json", seal(content | more))
            with pytest.raises(UnsupportedStoreError, match="use a newer measurefs"):
                newest(fs, ROOT)

    @pytest.mark.parametrize("name", ["schema.json", "schema-00000003.json"])
    def test_of_one_that_was_superseded_is_found_and_mended(self, local_store: Store, name: str) -> None:
        with measurefs.open(local_store.url) as database:
            measure = database.create_measure("m", entity=["id"], fields={"a": "int64"})
            for column in ("b", "c", "d"):
                measure.evolve(fields={column: "int64"})
            schema = measure.schema
            assert database.verify().ok
            files_before = database.verify().files
            database.fs.write(f"m/{name}", b"damage")
            assert [damage.path for damage in database.verify().damages] == [f"m/{name}"]
            assert measurefs.open(database.fs).measure("m").schema == schema
            done = database.repair(apply=True)
            assert [(action.what, action.path) for action in done.actions] == [("rewritten", f"m/{name}")]
            found = database.verify()
            assert (found.ok, found.files, found.set_aside) == (True, files_before, 1)
        with measurefs.open(local_store.url) as database:
            assert database.measure("m").schema == schema


class TestCrashes:
    def survivors(self, fs: CrashFileSystem) -> list[CrashFileSystem]:
        return [fs.kill(), fs.crash("none"), fs.crash("all"), *map(fs.crash, range(3))]

    def made(self, changes: int = 3) -> CrashFileSystem:
        fs = CrashFileSystem()
        create(fs, ROOT, FIRST)
        for number in range(changes):
            change(fs, ROOT, adding(f"b{number}"))
        return fs

    def test_at_every_operation(self) -> None:
        """It leaves the schema as it was or changed, and in either case it can be changed again."""
        outcomes = set()
        for place in itertools.count(2):
            number, after = place // 2, bool(place % 2)
            fs = self.made()
            before = newest(fs, ROOT)
            fs.crash_at(fs.operations + number, after=after)
            with contextlib.suppress(SimulatedCrash):
                change(fs, ROOT, adding("mine"))
            if not fs.crashed:
                break
            for found in self.survivors(fs):
                left = newest(found, ROOT)
                assert left in (before, msgspec.structs.replace(adding("mine")(before), revision=5))
                outcomes.add(left.revision)
                again = change(found, ROOT, adding("mine"))
                assert set(again.fields) == {*before.fields, "mine"}
                assert newest(found.crash("none"), ROOT) == again
        assert outcomes == {4, 5}

    def test_what_was_returned_is_durable(self) -> None:
        fs = self.made(0)
        for name in "bcde":
            changed = change(fs, ROOT, adding(name))
            assert newest(fs.crash("none"), ROOT) == changed

    def test_a_sync_that_fails_is_made_up_for(self) -> None:
        """The name it should have made durable may be lost: the change is written again under another."""
        fs = self.made(1)
        fs.fail_sync(1)
        changed = change(fs, ROOT, adding("mine"))
        assert newest(fs.crash("none"), ROOT).fields == changed.fields

    def test_what_a_dead_process_left_is_durable_before_others_build_on_it(self) -> None:
        fs = self.made(0)
        fs.crash_at(fs.operations + 1, after=True)  # written, and not synced
        with contextlib.suppress(SimulatedCrash):
            change(fs, ROOT, adding("mine"))
        found = fs.kill()
        assert fields(found) == {"a", "mine"}
        change(found, ROOT, adding("mine"))
        assert fields(found.crash("none")) == {"a", "mine"}
