"""States that a backup keeps under names: they are given up, checked, and brought again."""

from __future__ import annotations

from typing import Any

import pytest

import measurefs
from measurefs import CorruptionError, Database, FileSystem, FileSystemError, SchemaError
from measurefs.database.backup import backup
from measurefs.fs import FileSystemWrapper, walk
from measurefs.testing import Fault, FaultFileSystem
from tests.database.copied import contents, contents_of, fill, make, memory, quiet, rows_now
from tests.database.helpers import DAY, files_of


def parts_of(fs: FileSystem) -> set[str]:
    return {path.partition("/metadata")[0] for path in walk(fs) if path.endswith((".part", "metadata.json"))}


class TestForgetting:
    def test_what_only_it_needed_goes(self, source: Database) -> None:
        copy, plain = memory(), memory()
        source.backup(copy, tag="one")
        fill(make(source), 5)
        make(source).compact()
        source.backup(copy, tag="two")
        two = rows_now(copy)
        with pytest.raises(SchemaError, match="did you mean 'one'"):
            source.backup(copy, forget=["onee"])
        with pytest.raises(SchemaError, match="'first'"):  # that is the measure's own
            source.backup(copy, forget=["first"])
        assert source.backup(copy, forget=["one"]).removed > 0
        assert set(contents_of(copy)["a/b"]) == {None, "first", "two"}
        with pytest.raises(SchemaError, match="'one'"):
            measurefs.restore(copy, memory(), tag="one")
        restored = memory()
        measurefs.restore(copy, restored, tag="two")
        assert rows_now(restored) == two
        source.backup(copy, forget=["two"], tag="one")
        assert set(contents_of(copy)["a/b"]) == {None, "first", "one"}
        source.backup(copy, forget=["one"])
        source.backup(plain)
        assert parts_of(copy) == parts_of(plain)

    def test_it_is_gone_on_with(self, source: Database) -> None:
        source.backup(whole := memory(), tag="one")
        fill(make(source), 5)
        for number in range(1, 12):
            copy = memory()
            for path, data in files_of(whole).items():
                copy.make_dir(path[:-1], exist_ok=True) if path.endswith("/") else copy.write(path, data)
            faulty = FaultFileSystem(copy, Fault("[wd]*", at=number))
            with pytest.raises(FileSystemError):
                source.backup(faulty, forget=["one"])
            if number > 1:  # it knows
                with pytest.raises(SchemaError, match="'one'"):
                    measurefs.restore(copy, memory(), tag="one")
            source.backup(copy, forget=["one"])
            assert contents_of(copy) == contents(source)

    def test_of_a_measure_that_was_dropped(self, source: Database) -> None:
        copy = memory()
        source.backup(copy, tag="one")
        before = rows_now(copy)["a/b"]
        fill(make(source), 5, days=4)
        make(source).compact()
        source.backup(copy, tag="two")
        source.drop_measure("a/b")
        assert source.backup(copy, forget=["two"]).kept == ["a/b"]
        assert set(contents_of(copy)["a/b"]) == {None, "one"}
        restored = memory()
        measurefs.restore(copy, restored, tag="one")
        assert rows_now(restored)["a/b"] == before
        assert source.backup(copy, forget=["one"]).kept == []
        assert contents_of(copy) == contents(source)

    def test_a_measure_of_which_it_was_not_asked(self, source: Database) -> None:
        copy = memory()
        source.backup(copy, tag="one")
        source.backup(copy, forget=["one"], measures=["other"])
        assert "one" not in contents_of(copy)["other"]
        with pytest.raises(SchemaError, match="'one'"):
            measurefs.restore(copy, memory(), tag="one", measures=["a/b"])
        source.backup(copy)
        assert contents_of(copy) == contents(source)


class TestVerifying:
    @pytest.mark.parametrize("damage", [None, b"damaged"])
    def test_what_only_a_name_needs(self, source: Database, damage: bytes | None) -> None:
        copy = memory()
        source.backup(copy, tag="one")
        state = rows_now(copy)
        make(source).untag("first")
        make(source).compact()
        source.backup(copy)
        only = sorted(parts_of(copy) - parts_of_now(source))
        lost = next(path for path in only if path.endswith(".part"))
        copy.write(lost, damage) if damage else copy.delete_file(lost)
        assert source.backup(copy, verify=True).copied == 1  # the store still has it
        restored = memory()
        measurefs.restore(copy, restored, tag="one")
        assert rows_now(restored) == state
        copy.write(lost, damage) if damage else copy.delete_file(lost)
        for _ in range(3):
            make(source).gc()
        assert lost not in set(walk(source.fs))
        with pytest.raises(CorruptionError, match="for 'one', and the store has it no more") as raised:
            source.backup(copy, verify=True)
        assert raised.value.path == lost
        source.backup(copy, verify=True, forget=["one"])
        assert contents_of(copy) == contents(source)

    def test_a_restore_of_a_damaged_backup_says_what_to_do(self, source: Database) -> None:
        copy = memory()
        source.backup(copy)
        lost = next(path for path in walk(copy) if path.endswith(".snp"))
        copy.delete_file(lost)
        with pytest.raises(CorruptionError, match="measurefs backup --verify") as raised:
            measurefs.restore(copy, memory())
        assert raised.value.path == lost
        source.backup(copy, verify=True)
        measurefs.restore(copy, memory())


def parts_of_now(source: Database) -> set[str]:
    backup(source.fs, now := memory())
    return parts_of(now)


def test_tables_that_are_new_meanwhile_are_of_the_same_moment(source: Database) -> None:
    measure, done = make(source), []

    class Meddling(FileSystemWrapper):
        """Has a batch written that needs a new table, when the backup looks at the measure."""

        def read(self, path: str) -> Any:
            if path == "a%2Fb/schema.json" and not done:
                done.append(True)
                times, hosts = [7, 50 * DAY], ["h0", "h0"]
                measure.write({"time": times, "host": hosts, "v": [77, 77]}, durable=True)
            return super().read(path)

    copy, watched = memory(), Meddling(source.fs)
    source.fs = watched
    try:
        source.backup(copy)
    finally:
        source.fs = watched.wrapped
    assert done
    assert contents_of(copy) == contents(source)


def test_reading_for_a_backup_leaves_the_cache_alone() -> None:
    fs, copy = memory(), memory()
    with quiet(fs) as database:
        fill(make(database), 1)
    with quiet(fs, cache=memory()) as database:
        database.backup(copy)
        assert database.stats()["cache"]["kept_bytes"] == 0
        assert contents_of(copy) == contents(database)


def test_a_target_with_what_an_examination_has_left(source: Database) -> None:
    copy = memory()
    for name in ("_probe", "_doctor"):
        copy.make_dir(name)
        copy.write(f"{name}/0123", b"")
    source.backup(copy)
    assert contents_of(copy) == contents(source)


def test_a_repaired_identity_is_another_one(source: Database) -> None:
    source.backup(copy := memory())
    fs = memory()
    measurefs.restore(copy, fs)
    fs.write("measurefs.json", b"damaged")
    assert "new target for its backups" in measurefs.repair(fs).actions[0].detail
