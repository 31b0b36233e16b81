"""Collecting garbage: what nothing names any more really goes, and nothing else ever does."""

from __future__ import annotations

import pytest

from measurefs import PartOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import CorruptionError, DeleteError, FileSystem
from measurefs.table import Runtime, TsTable
from tests.part.made import WIDE
from tests.table.tables import (
    Clock,
    Fault,
    FaultyFileSystem,
    contents,
    contents_of,
    one,
    ones,
    open_table,
    parts_in,
    snapshots_in,
    stored,
)

kinds = pytest.mark.parametrize("compact_bytes", [8 << 20, WIDE], ids=["compact", "wide"])


def unnamed_part(fs: FileSystem, table: TsTable, number: int = 0) -> str:
    """Leave a part behind that no snapshot names, as a dead writer would, and return its name."""
    with table.pin() as snapshot:
        path = snapshot.file_parts[0].path
    name = f"{1 << 40 | 0xDEAD00 + number:016x}"
    if path.endswith(".part"):
        fs.write(f"t/{name}.part", fs.read(path))
        return f"{name}.part"
    fs.make_dir(f"t/{name}")
    for entry in fs.read_dir(path):
        fs.write(f"t/{name}/{entry.name}", fs.read(f"{path}/{entry.name}"))
    return name


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_the_newest_snapshots_are_kept_and_the_others_go(store_fs, keep):
    with open_table(store_fs, keep_snapshots=keep) as table:
        for number in range(6):
            table.add(one(number))
            table.flush()
        all_of_them = snapshots_in(store_fs)
        assert sorted(table.gc()) == all_of_them[:-keep]
        assert snapshots_in(store_fs) == all_of_them[-keep:]
        assert table.gc() == []
        assert contents(table) == ones(*range(6))
    assert stored(store_fs) == ones(*range(6))


@kinds
def test_unnamed_parts_really_go(store_fs, compact_bytes):
    with open_table(store_fs, part=PartOptions(compact_bytes=compact_bytes)) as table:
        table.add(one(1))
        table.flush()
        kept = parts_in(store_fs)
        names = [unnamed_part(store_fs, table, number) for number in range(3)]
        assert set(parts_in(store_fs)) == {*kept, *names}
        assert sorted(table.gc()) == sorted(names)
        assert parts_in(store_fs) == kept
        assert contents(table) == ones(1)


def test_parts_are_kept_for_the_grace():
    fs, clock = MemoryFileSystem(), Clock()
    with open_table(fs, gc_grace=60.0, runtime=Runtime(monotonic=clock)) as table:
        table.add(one(1))
        table.flush()
        name = unnamed_part(fs, table)
        for seconds, removed in [(0, []), (59, []), (1, [name]), (100, [])]:
            clock.seconds += seconds
            assert table.gc() == removed


def test_the_grace_begins_anew_with_each_part():
    fs, clock = MemoryFileSystem(), Clock()
    with open_table(fs, gc_grace=60.0, runtime=Runtime(monotonic=clock)) as table:
        table.add(one(1))
        table.flush()
        first = unnamed_part(fs, table, 1)
        assert table.gc() == []
        clock.seconds += 59
        second = unnamed_part(fs, table, 2)
        assert table.gc() == []
        clock.seconds += 59
        assert table.gc() == [first]
        clock.seconds += 1
        assert table.gc() == [second]


@kinds
def test_what_a_pinned_snapshot_names_stays_until_it_is_released(store_fs, compact_bytes):
    """Parts that a reader in this process still reads from, although no snapshot on disk names them."""
    settings = {"part": PartOptions(compact_bytes=compact_bytes), "keep_snapshots": 1}
    with open_table(store_fs, **settings) as table:
        table.add(one(1))
        table.flush()
        held = table.pin()
        kept = parts_in(store_fs)
        table._introducer.introduce(lambda snapshot, epoch: [])
        table.add(one(2))
        table.flush()
        table.gc()
        assert set(kept) < set(parts_in(store_fs))
        assert contents_of(store_fs, held) == ones(1)
        assert contents(table) == ones(2)
        with held:
            assert table.gc() == []
        assert table.gc() == kept
        assert contents(table) == ones(2)


def test_what_a_kept_snapshot_on_disk_names_stays():
    fs = MemoryFileSystem()
    with open_table(fs, keep_snapshots=2) as table:
        table.add(one(1))
        table.flush()
        (first,) = parts_in(fs)
        table._introducer.introduce(lambda snapshot, epoch: [])
        table.add(one(2))
        table.flush()
        table.gc()
        assert first in parts_in(fs)
        table.add(one(3))
        table.flush()
        assert first in table.gc()
        assert contents(table) == ones(2, 3)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("delete_file", ".snp", times=1, error=lambda path: DeleteError("delete_file", path, "busy")),
        Fault("must_rm_all", times=1, error=lambda path: DeleteError("must_rm_all", path, "busy")),
        Fault("read", ".snp", times=1),
        Fault("read_dir", times=1),
        Fault("delete_file", ".snp", times=1, late=True),
        Fault("must_rm_all", times=1, late=True),
        Fault("sync_path", times=1),
    ],
    ids=lambda fault: f"{fault.method}{' late' * fault.late}",
)
def test_what_failed_is_done_by_the_next_collection(fault):
    fs = MemoryFileSystem()
    with open_table(fs) as table:
        for number in range(4):
            table.add(one(number))
            table.flush()
    faulty = FaultyFileSystem(fs)
    with open_table(faulty) as table:
        names = [unnamed_part(fs, table, number) for number in range(2)]
        faulty.faults.append(fault)
        with pytest.raises(OSError, match=r"busy|no space"):
            table.gc()
        assert contents(table) == ones(*range(4))
        table.gc()
        assert not set(names) & set(parts_in(fs))
        assert len(snapshots_in(fs)) == 2
        assert table.gc() == []
    assert stored(fs) == ones(*range(4))


def test_an_unreadable_snapshot_stops_the_removal_of_parts():
    """Nobody knows what it names."""
    fs = MemoryFileSystem()
    with open_table(fs, keep_snapshots=2) as table:
        for number in range(3):
            table.add(one(number))
            table.flush()
    with open_table(fs, keep_snapshots=2) as table:
        older = snapshots_in(fs)[-2]
        fs.write(f"t/{older}", b"damaged")
        name = unnamed_part(fs, table)
        with pytest.raises(CorruptionError, match=older):
            table.gc()
        assert name in parts_in(fs)
        for number in range(3, 5):
            table.add(one(number))
            table.flush()
        assert name in table.gc()
    assert stored(fs) == ones(*range(5))


def test_files_stay_few_however_long_a_table_lives():
    fs = MemoryFileSystem()
    with open_table(fs) as table:
        for number in range(30):
            table.add(one(number % 3))
            table.flush()
            table.gc()
            assert len(snapshots_in(fs)) <= 2
            with table.pin() as snapshot:
                assert len(parts_in(fs)) == len(snapshot.parts)
