"""Collecting garbage: what nothing names any more really goes, and nothing else ever does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from measurefs import PartOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import CorruptionError, CountingFileSystem, FencedError, FileSystem, FileSystemError
from measurefs.table import Runtime, TsTable
from measurefs.table.verify import verify_table
from measurefs.testing import CrashFileSystem, Fault, FaultFileSystem, Stall
from tests.part.made import COMPACT, WIDE
from tests.table.tables import (
    Clock,
    contents,
    contents_of,
    kinds,
    one,
    ones,
    open_table,
    parts_in,
    snapshots_in,
    stored,
)


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
        Fault("delete_file", "*.snp"),
        Fault("delete_file", "*.part"),
        Fault("read", "*.snp"),
        Fault("read_dir"),
        Fault("delete_file", "*.snp", after=True),
        Fault("delete_file", "*.part", after=True),
        Fault("must_rm_all"),
        Fault("must_rm_all", after=True),
        Fault("sync_path"),
    ],
    ids=lambda fault: f"{fault.operation} {fault.path}{' late' * fault.after}",
)
def test_what_failed_is_done_by_the_next_collection(fault):
    fs = MemoryFileSystem()
    wide = fault.operation == "must_rm_all"
    with open_table(fs, part=PartOptions(compact_bytes=WIDE if wide else COMPACT)) as table:
        for number in range(4):
            table.add(one(number))
            table.flush()
    faulty = FaultFileSystem(fs)
    with open_table(faulty) as table:
        names = [unnamed_part(fs, table, number) for number in range(2)]
        faulty.add(fault)
        with pytest.raises(FileSystemError, match="injected"):
            table.gc()
        assert contents(table) == ones(*range(4))
        table.gc()
        assert not set(names) & set(parts_in(fs))
        assert len(snapshots_in(fs)) == 2
        assert table.gc() == []
    assert stored(fs) == ones(*range(4))


def test_an_idle_table_costs_nothing():
    """Where there is nothing to collect nobody looks for it again, until something may have become garbage."""
    fs, clock = CountingFileSystem(MemoryFileSystem()), Clock()
    with open_table(fs, runtime=Runtime(monotonic=clock), gc_interval=30.0, keep_snapshots=1) as table:

        def collects() -> bool:
            clock.seconds += 31
            fs.reset()
            table.step()
            return fs.calls.total() > 0

        table.add(one(1))
        table.flush()
        table.tag("before")
        assert collects()
        assert not collects()
        table.add(one(2))
        table.flush()
        assert collects()
        assert not collects()
        table.untag("before")
        assert collects()
        assert len(snapshots_in(fs)) == 1
        assert not collects()
        unneeded = unnamed_part(fs, table)
        table.add(one(3))
        table.flush()
        assert collects()
        assert unneeded not in parts_in(fs)


def test_a_tag_that_goes_while_garbage_is_collected_is_looked_for_again():
    fs, clock = MemoryFileSystem(), Clock()
    held = Stall()
    faulty = FaultFileSystem(fs)
    with open_table(faulty, runtime=Runtime(monotonic=clock), keep_snapshots=1) as table:
        for number in range(3):
            table.add(one(number))
            table.flush()
            if number == 0:
                table.tag("first")
        faulty.add(Fault("delete_file", "*.snp", error=None, stall=held))
        with ThreadPoolExecutor(1) as others:
            collecting = others.submit(table.gc)
            assert held.wait_until_reached(30)
            table.untag("first")
            held.release()
            collecting.result(timeout=30)
        clock.seconds += 31
        table.step()
        assert len(snapshots_in(fs)) == 1


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


def test_two_collections_at_once_take_turns(store_fs):
    """Else one deletes the snapshot that the other has seen in its listing and is about to read."""
    stall = Stall()
    fs = FaultFileSystem(store_fs)
    with open_table(fs) as table, ThreadPoolExecutor(2) as pool:
        for number in (1, 2):
            table.add(one(number))
            table.flush()
        fs.add(Fault("read", "*.snp", error=None, stall=stall))
        first = pool.submit(table.gc)
        assert stall.wait_until_reached(30)
        table.add(one(3))
        table.flush()
        second = pool.submit(table.gc)
        wait([second], timeout=0.2)  # it cannot end now; if it could, it would
        stall.release()
        first.result(30)
        second.result(30)
        assert contents(table) == ones(1, 2, 3)
    assert len(snapshots_in(store_fs)) == 2


@contextlib.contextmanager
def released(*stalls: Stall) -> Iterator[None]:
    """Let nobody wait for ever where a test fails."""
    try:
        yield
    finally:
        for stall in stalls:
            stall.release()


def test_a_writer_that_was_taken_over_deletes_nothing():
    """Not even what it left itself: its successor may have taken that in."""
    fs = MemoryFileSystem()
    old = open_table(fs, keep_snapshots=1)
    for number in (1, 2):
        old.add(one(number))
        old.flush()
    unnamed_part(fs, old)
    fs.break_locks()
    with open_table(fs, keep_snapshots=1):
        before = fs.read_dir("t")
        with pytest.raises(FencedError):
            old.gc()
        assert fs.read_dir("t") == before
    old.abandon()


def test_parts_of_a_later_writer_are_not_garbage():
    """It took over after the collector had asked for its lock, and has not committed its part yet."""
    fs, stall = MemoryFileSystem(), Stall()
    slow, later = FaultFileSystem(fs), FaultFileSystem(fs)
    old = open_table(slow)
    old.add(one(1))
    old.flush()
    before = parts_in(fs)
    slow.add(Fault("read_dir", error=None, stall=stall))
    with ThreadPoolExecutor(1) as pool, released(stall):
        collecting = pool.submit(old.gc)
        assert stall.wait_until_reached(30)
        fs.break_locks()
        with open_table(later) as new:
            later.add(Fault("write", "*.snp"))
            new.add(one(2))
            with pytest.raises(FileSystemError, match="injected"):
                new.flush()
            (written,) = set(parts_in(fs)) - set(before)
            stall.release()
            assert written not in collecting.result(30)
            new.flush()
            assert contents(new) == ones(1, 2)
    assert stored(fs) == ones(1, 2)
    old.abandon()


def test_a_part_that_is_being_written_is_not_garbage():
    stall = Stall()
    fs = FaultFileSystem(MemoryFileSystem())
    with open_table(fs) as table, ThreadPoolExecutor(1) as pool, released(stall):
        table.add(one(1))
        fs.add(Fault("sync_path", "t", error=None, stall=stall))  # the part is there, and nothing names it
        flushing = pool.submit(table.flush)
        assert stall.wait_until_reached(30)
        (written,) = parts_in(fs)
        assert written not in table.gc()
        stall.release()
        flushing.result(30)
    assert stored(fs) == ones(1)


def test_a_part_begun_while_the_collector_lists_is_not_garbage():
    listing, syncing = Stall(), Stall()
    fs = FaultFileSystem(MemoryFileSystem())
    with open_table(fs) as table, ThreadPoolExecutor(2) as pool, released(listing, syncing):
        table.add(one(1))
        fs.add(Fault("read_dir", error=None, stall=listing))
        fs.add(Fault("sync_path", "t", error=None, stall=syncing))
        collecting = pool.submit(table.gc)
        assert listing.wait_until_reached(30)
        flushing = pool.submit(table.flush)
        assert syncing.wait_until_reached(30)
        (written,) = parts_in(fs.wrapped)
        listing.release()
        assert written not in collecting.result(30)
        syncing.release()
        flushing.result(30)
    assert stored(fs) == ones(1)


def test_a_snapshot_whose_commit_failed_does_not_push_out_the_committed_one():
    """Its name may be at risk for ever: a sync that failed cannot be repeated."""
    fs = CrashFileSystem()
    table = open_table(fs, keep_snapshots=1)
    table.add(one(1))
    table.flush()
    table.gc()
    table.add(one(2))
    fs.fail_sync(2)  # the first is for the part's name
    with pytest.raises(FileSystemError):
        table.flush()
    assert len(snapshots_in(fs)) == 2
    table.gc()
    assert stored(fs.crash("none")) == ones(1)
    table.close()
    assert stored(fs.crash("none")) == ones(1, 2)


def test_no_power_cut_brings_a_snapshot_back_without_its_parts():
    fs = CrashFileSystem()
    with open_table(fs, keep_snapshots=1) as table:
        table.add(one(1))
        table.flush()
        table._introducer.introduce(lambda snapshot, epoch: [])
        table.add(one(2))
        table.flush()
        removed = table.gc()
        assert {name.rpartition(".")[2] for name in removed} == {"snp", "part"}
        for survivors in ("none", "all", *range(20)):
            found = fs.crash(survivors)
            assert verify_table(found, "t").damages == [], survivors
            assert stored(found) == ones(2)
