"""Snapshots, the introducer, garbage and the watcher (reference 5.2: snapshot_test, gc_test, tstable_test).

The original counts references per part, this one per snapshot. What its cases state is the same: a part lives as
long as any snapshot that names it, and not longer.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from measurefs.fs import FileSystem
from measurefs.part.memory_part import MemoryPart
from measurefs.part.rows import sort_rows
from measurefs.table import Snapshot
from measurefs.table.epochs import snapshot_name
from measurefs.table.garbage import GarbageCleaner, superseded
from measurefs.table.introducer import Introducer
from measurefs.table.snapshot import SnapshotRecord
from measurefs.table.watcher import EpochWatcher
from tests.part.made import make_rows
from tests.reference.datasets import DPS_TS1, DPS_TS2, open_reference, rows_of
from tests.table.tables import snapshots_in


def part(number: int, first: int = 0, last: int = 0) -> MemoryPart:
    return MemoryPart(number, sort_rows(make_rows([1, 2], [first, last])), 8192)


class TestGarbageCleanerCleanSnapshot:
    """The original deletes what was registered with it; this one all up to the committed epoch that is on disk."""

    @pytest.mark.parametrize(
        ("disk", "committed", "after"),
        [
            pytest.param([], 0, [], id="nothing"),
            pytest.param([1, 2, 3], 0, [1, 2, 3], id="nothing committed"),
            pytest.param([], 3, [], id="nothing on disk"),
            pytest.param([1, 3, 5], 5, [5], id="all but the newest"),
            pytest.param([1, 2, 3, 4, 5], 3, [3, 4, 5], id="later ones are not ours"),
            pytest.param([1, 3, 2, 5, 4], 5, [5], id="in any order"),
        ],
    )
    def test_files(self, store_fs: FileSystem, disk: list[int], committed: int, after: list[int]) -> None:
        store_fs.make_dir("t")
        store_fs.write("t/README", b"so that the directory is one everywhere")
        for epoch in disk:
            store_fs.write(f"t/{snapshot_name(epoch)}", SnapshotRecord(epoch, 0, 0, []).encode())
        with store_fs.create_lock_file("t/LOCK") as lock:
            cleaner = GarbageCleaner(store_fs, "t", lock, keep_snapshots=1, grace=0)
            for _ in range(2):
                cleaner.clean(committed, set, 0)
                assert snapshots_in(store_fs) == [snapshot_name(epoch) for epoch in after]

    @pytest.mark.parametrize(("epochs", "deletable"), [([], []), ([1], []), ([4, 2, 1, 3], [1, 2, 3])])
    def test_deletable_epochs(self, epochs: list[int], deletable: list[int]) -> None:
        """TestDeletableEpochs."""
        assert superseded(epochs, 10, 1) == deletable


class TestSnapshotGetParts:
    @pytest.mark.parametrize(
        ("times", "window", "expected"),
        [
            pytest.param([], (0, 10), [], id="no parts"),
            pytest.param([(0, 5), (6, 10)], (11, 15), [], id="none in the window"),
            pytest.param([(0, 5), (6, 10)], (5, 10), [1, 2], id="bounds count"),
            pytest.param([(0, 5), (6, 10)], (0, 5), [1], id="one of them"),
            pytest.param([(6, 10), (0, 5)], (-10, 100), [1, 2], id="the order is kept"),
        ],
    )
    def test_windows(self, times, window, expected):
        parts = [part(number, *span) for number, span in enumerate(times, start=1)]
        first, last = window
        assert [each.id for each in Snapshot(1, parts).parts_in(first, last + 1)] == expected


class TestSnapshotCopyAllTo:
    @pytest.mark.parametrize("numbers", [[], [1, 2]], ids=["empty", "two parts"])
    def test_the_next_snapshot_names_the_same_parts(self, numbers):
        introducer = Introducer(0, [part(number) for number in numbers])
        with introducer.pin() as source:
            assert introducer.introduce(lambda snapshot, _: snapshot.parts) == 1
            with introducer.pin() as copy:
                assert (copy.epoch, copy.references) == (1, 2)
                assert copy.parts == source.parts
            assert source.references == 1
        assert introducer.live_parts() == set(numbers)

    def test_the_source_lives_while_it_is_pinned_and_no_longer(self):
        introducer = Introducer(0, [part(1), part(2)])
        source = introducer.pin()
        introducer.introduce(lambda snapshot, _: [part(3)])
        assert introducer.live_parts() == {1, 2, 3}
        second = source.pin()
        source.release()
        assert introducer.live_parts() == {1, 2, 3}
        second.release()
        assert introducer.live_parts() == {3}
        with pytest.raises(RuntimeError, match="released"):
            source.pin()

    def test_parts_of_both_outlive_the_source(self):
        introducer = Introducer(0, [part(1), part(2)])
        with introducer.pin():
            introducer.introduce(lambda snapshot, _: snapshot.parts)
        assert introducer.live_parts() == {1, 2}


class TestSnapshotMerge:
    @pytest.mark.parametrize(
        ("held", "replaced", "expected"),
        [
            pytest.param([], set(), [], id="empty and empty"),
            pytest.param([1, 2], set(), [1, 2], id="nothing flushed"),
            pytest.param([1, 2], {2, 3}, [1, 9], id="what is not there is not added"),
            pytest.param([1, 2, 3], {1, 2}, [9, 3], id="many become one in their place"),
            pytest.param([1, 2], {7}, [1, 2], id="none of them is there"),
        ],
    )
    def test_flushed_parts_take_the_place_of_those_in_memory(self, held, replaced, expected):
        introducer = Introducer(0, [part(number) for number in held])
        flushed = part(9)
        with introducer.pin():
            introducer.introduce(lambda snapshot, _: snapshot.with_replaced(replaced, flushed))
            assert introducer.live_parts() == {*held, *expected}
        assert introducer.live_parts() == set(expected)
        with introducer.pin() as merged:
            assert [each.id for each in merged.parts] == expected
            assert (merged.epoch, merged.references) == (1, 2)

    def test_parts_may_be_dropped(self):
        assert [each.id for each in Snapshot(1, [part(1), part(2)]).with_replaced({1}, None)] == [2]


class TestTsTableMustAddDataPoints:
    @pytest.mark.parametrize(
        ("writes", "parts"),
        [
            pytest.param([[]], 0, id="empty batch"),
            pytest.param([DPS_TS1[:1]], 1, id="one row"),
            pytest.param([DPS_TS1, DPS_TS2], 2, id="two batches"),
        ],
    )
    def test_each_write_is_a_part(self, store_fs, writes, parts):
        with open_reference(store_fs) as table:
            for rows in writes:
                table.add(rows_of(rows))
            with table.pin() as snapshot:
                numbers = [each.id for each in snapshot.parts]
            assert len(numbers) == parts
            assert numbers == sorted(set(numbers))
            assert all(number > 0 for number in numbers)


class TestWatcher:
    """pkg/watcher: no tests there."""

    def test_those_who_wait_for_the_epoch_or_an_earlier_one_go_on(self):
        watcher = EpochWatcher(5)
        started = threading.Barrier(4)

        def wait(epoch: int) -> bool:
            started.wait(30)
            return watcher.wait(epoch, 30)

        with ThreadPoolExecutor(3) as pool:
            six, seven, nine = (pool.submit(wait, epoch) for epoch in (6, 7, 9))
            started.wait(30)
            watcher.notify(7)
            assert six.result(30)
            assert seven.result(30)
            assert not nine.done()
            watcher.close()
            assert not nine.result(30)

    def test_what_was_reached_needs_no_waiting_even_after_closing(self):
        watcher = EpochWatcher(5)
        assert watcher.wait(5)
        assert not watcher.wait(6, timeout=0)
        watcher.notify(3)
        assert watcher.wait(5)
        watcher.close()
        assert watcher.wait(5)
        assert not watcher.wait(6)
