"""Checking a table: snapshots, the parts they name, and a writer who goes on meanwhile."""

from __future__ import annotations

import pytest

from measurefs import PartOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec.sealed import seal, unseal
from measurefs.fs import (
    CountingFileSystem,
    FileSystem,
    FileSystemWrapper,
    ReadOnlyFileSystem,
    UnsupportedStoreError,
)
from measurefs.table.snapshot import SnapshotRecord
from measurefs.table.verify import verify_table
from measurefs.testing import Fault, FaultFileSystem
from tests.table.damaging import contents_of_files, data_path, flip, part_path, snapshot_path
from tests.table.tables import (
    ROOT,
    contents,
    grow,
    kinds,
    one,
    ones,
    open_table,
    parts_in,
    snapshots_in,
)


@kinds
def test_a_healthy_table_is_counted_and_not_changed(store_fs: FileSystem, compact_bytes: int) -> None:
    grow(store_fs, 1, 2, 3, compact_bytes=compact_bytes)
    before = contents_of_files(store_fs)
    report = verify_table(ReadOnlyFileSystem(store_fs), ROOT)
    assert report.ok
    assert (report.tables, report.snapshots, report.parts, report.rows) == (1, 4, 3, 3)
    assert report.files == len(before)
    assert 0 < report.bytes <= sum(map(len, before.values()))
    assert (report.unnamed, report.foreign, report.set_aside) == (0, 0, 0)
    assert contents_of_files(store_fs) == before


def test_a_table_that_a_writer_holds_is_checked_without_the_lock() -> None:
    fs = MemoryFileSystem()
    with open_table(fs) as table:
        table.add(one(1))
        table.flush()
        table.add(one(2))
        assert verify_table(fs, ROOT).rows == 1


def test_an_empty_and_a_missing_table_are_healthy() -> None:
    fs = MemoryFileSystem()
    open_table(fs).close()
    report = verify_table(fs, ROOT)
    assert (report.ok, report.snapshots, report.parts) == (True, 1, 0)
    assert verify_table(fs, "nowhere").ok


def test_a_part_that_several_snapshots_name_is_read_once() -> None:
    fs = MemoryFileSystem()
    grow(fs, 1, 2, 3, 4, 5)
    counting = CountingFileSystem(fs)
    verify_table(counting, ROOT)
    assert counting.calls["read"] == len(snapshots_in(fs))
    once = counting.calls["read_ranges"]
    fs2 = MemoryFileSystem()
    with open_table(fs2, keep_snapshots=1) as table:
        for number in (1, 2, 3, 4, 5):
            table.add(one(number))
            table.flush()
        table.gc()
        assert len(snapshots_in(fs2)) == 1
    counting = CountingFileSystem(fs2)
    verify_table(counting, ROOT)
    assert counting.calls["read_ranges"] == once


def test_foreign_names_and_what_was_set_aside_are_counted_and_no_damage() -> None:
    fs = MemoryFileSystem()
    grow(fs, 1)
    for name in ("README", "0.snp", "zz.part"):
        fs.write(f"{ROOT}/{name}", b"mine")
    fs.write(f"{ROOT}/{'0' * 16}.snp.corrupt", b"old")
    fs.write(f"{ROOT}/00000f0000000001.part", b"garbage of a writer that died")
    report = verify_table(fs, ROOT)
    assert (report.ok, report.foreign, report.set_aside, report.unnamed) == (True, 3, 1, 1)


@pytest.mark.parametrize("number", [0, 1, -1])
def test_every_damaged_snapshot_is_named(number: int) -> None:
    store_fs = MemoryFileSystem()
    grow(store_fs, 1, 2, 3)
    path = snapshot_path(store_fs, number)
    flip(store_fs, path)
    (damage,) = verify_table(store_fs, ROOT).damages
    assert damage.path == path
    assert "checksum" in damage.reason
    if number == -1:  # only this one names the last part
        assert (damage.rows, damage.min_time, damage.max_time) == (1, 3, 3)
    else:
        assert damage.rows is None


def test_snapshots_that_cannot_be_are_damaged() -> None:
    fs = MemoryFileSystem()
    grow(fs, 1, 2)
    path = snapshot_path(fs, -1)
    record = unseal(fs.read(path), SnapshotRecord, path)
    for changed, reason in (
        ({"parts": [*record.parts, record.parts[0]]}, "twice"),
        ({"parent": record.epoch}, "not older"),
    ):
        import msgspec

        fs.write(path, seal(msgspec.structs.replace(record, **changed)))
        (damage,) = verify_table(fs, ROOT).damages
        assert damage.path == path and reason in damage.reason
    other = msgspec.structs.replace(record.parts[0], rows=7)
    fs.write(path, seal(msgspec.structs.replace(record, parts=[other, record.parts[1]])))
    damages = verify_table(fs, ROOT).damages
    assert any("otherwise than a later one" in damage.reason for damage in damages)


def test_a_snapshot_of_a_newer_release_is_refused() -> None:
    fs = MemoryFileSystem()
    grow(fs, 1)
    path = snapshot_path(fs, -1)
    fs.write(path, seal(unseal(fs.read(path), dict, path) | {"format": 2, "surprise": True}))
    with pytest.raises(UnsupportedStoreError, match="format version 2"):
        verify_table(fs, ROOT)


@kinds
def test_a_damaged_part_is_named_once_with_what_it_held(compact_bytes: int) -> None:
    store_fs = MemoryFileSystem()
    grow(store_fs, 1, 2, 3, compact_bytes=compact_bytes)
    path = data_path(store_fs, 1)
    flip(store_fs, path, 5)
    report = verify_table(store_fs, ROOT)
    (damage,) = report.damages
    assert (damage.path, damage.offset, damage.part) == (path, 0, part_path(store_fs, 1))
    assert (damage.rows, damage.min_time, damage.max_time) == (1, 2, 2)
    assert (report.parts, report.damaged_rows) == (3, 1)


@kinds
def test_a_missing_part_is_named_with_what_it_held(compact_bytes: int) -> None:
    store_fs = MemoryFileSystem()
    grow(store_fs, 1, 2, 3, compact_bytes=compact_bytes)
    path = part_path(store_fs, 0)
    store_fs.must_rm_all(path)
    (damage,) = verify_table(store_fs, ROOT).damages
    assert (damage.path, damage.reason) == (path, "it is missing")
    assert (damage.rows, damage.min_time, damage.max_time) == (1, 1, 1)


def test_something_else_in_the_place_of_a_part_is_named() -> None:
    fs = MemoryFileSystem()
    grow(fs, 1)
    path = part_path(fs, 0)
    fs.delete_file(path)
    fs.make_dir(path)
    (damage,) = verify_table(fs, ROOT).damages
    assert (damage.path, damage.rows) == (path, 1)
    assert "something else" in damage.reason


def test_exchanged_parts_are_both_named() -> None:
    fs = MemoryFileSystem()
    grow(fs, 1, 2)
    paths = [part_path(fs, 0), part_path(fs, 1)]
    contents = [fs.read(path) for path in paths]
    for path, content in zip(paths, reversed(contents), strict=True):
        fs.write(path, content)
    assert {damage.path for damage in verify_table(fs, ROOT).damages} == set(paths)


def test_parts_without_any_snapshot_are_damage_and_checked() -> None:
    fs = MemoryFileSystem()
    grow(fs, 1, 2, 3)
    for name in snapshots_in(fs):
        fs.delete_file(f"{ROOT}/{name}")
    flip(fs, part_path(fs, 0), 5)
    report = verify_table(fs, ROOT)
    assert {damage.path for damage in report.damages} == {ROOT, part_path(fs, 0)}
    (whole,) = (damage for damage in report.damages if damage.path == ROOT)
    assert (whole.rows, whole.min_time, whole.max_time) == (3, 1, 3)
    assert (report.parts, report.unnamed) == (3, 0)


def test_what_cannot_be_read_is_told() -> None:
    fs = MemoryFileSystem()
    grow(fs, 1)
    for method, paths in (("read", "*.snp"), ("read_ranges", "*.part"), ("open_file", "*.part")):
        fault = Fault(method, paths, times=None)
        damages = verify_table(FaultFileSystem(fs, fault), ROOT).damages
        assert damages
        assert all("Input/output error" in damage.reason for damage in damages)


class Meanwhile(FileSystemWrapper):
    """Does something else just before the so many-th listing or reading of a file."""

    def __init__(self, wrapped: FileSystem, method: str, act: object) -> None:
        super().__init__(wrapped)
        self.method, self.act = method, act

    def _now(self, method: str) -> None:
        if method == self.method and self.act is not None:
            act, self.act = self.act, None
            act()  # type: ignore[operator]

    def read(self, path: str) -> bytes:
        self._now("read")
        return super().read(path)

    def open_file(self, path: str) -> object:  # type: ignore[override]
        self._now("open_file")
        return super().open_file(path)

    def read_ranges(self, ranges: object) -> list[bytes]:  # type: ignore[override]
        self._now("read_ranges")
        return super().read_ranges(ranges)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["read", "open_file", "read_ranges"])
def test_what_a_writer_collects_meanwhile_is_no_damage(method: str) -> None:
    """As merges will: the parts that it replaces go, with the snapshots that named them."""
    fs = MemoryFileSystem()
    table = open_table(fs, keep_snapshots=1, part=PartOptions())
    table.add(one(1))
    table.flush()
    table.add(one(2))
    table.flush()
    first = parts_in(fs)[0]

    def collect() -> None:
        table._introducer.introduce(lambda snapshot, _: snapshot.parts[1:])
        table.flush()
        assert first in table.gc()

    report = verify_table(Meanwhile(fs, method, collect), ROOT)
    assert first not in parts_in(fs)
    assert report.ok, report.damages
    assert report.rows == 1
    assert contents(table) == ones(2)
    table.close()


def test_damage_that_stays_is_told_though_a_writer_goes_on() -> None:
    fs = MemoryFileSystem()
    table = open_table(fs, keep_snapshots=1)
    for number in (1, 2):
        table.add(one(number))
        table.flush()
    flip(fs, part_path(fs, 0), 5)

    def go_on() -> None:
        table.add(one(3))
        table.flush()
        table.gc()

    report = verify_table(Meanwhile(fs, "read_ranges", go_on), ROOT)
    assert {damage.path for damage in report.damages} == {part_path(fs, 0)}
    assert report.rows == 3
    table.close()
