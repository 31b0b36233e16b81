"""The log: small durable writes are one file each, and count until a snapshot is later than they are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import measurefs
from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import (
    CorruptionError,
    CountingFileSystem,
    DirEntry,
    FileSystem,
    FileSystemWrapper,
    WriteError,
)
from measurefs.table import Runtime
from measurefs.table.history import Moment
from measurefs.table.repair import repair_table
from measurefs.table.verify import verify_table
from measurefs.testing import CrashFileSystem, Fault, FaultFileSystem, Stall
from tests.table.damaging import flip
from tests.table.tables import (
    BY_HAND,
    Clock,
    batch,
    contents,
    contents_of,
    names_in,
    one,
    ones,
    open_table,
    parts_in,
    snapshots_in,
    stored,
)


def log_in(fs: FileSystem) -> list[str]:
    return names_in(fs, ".log")


def append(table, *numbers):
    """Make each row durable by itself, and return the epochs."""
    epochs = []
    for number in numbers:
        epochs.append(table.add(one(number)))
        table.flush(epochs[-1])
    return epochs


def crashed(fs: FileSystem, *numbers: int) -> None:
    """Leave a table with rows in its log, and its lock as a dead writer does."""
    table = open_table(fs)
    append(table, *numbers)
    table._closed = True  # as far as anybody can tell it is dead: nothing is released
    table._introducer.watcher.close()
    table._lock.close(clean=False)


def copy(url: str, target: str) -> None:
    """Copy a store as a process does that does not write to it."""
    with measurefs.open(url, read_only=True) as database:
        database.backup(target)


class TornListings(FileSystemWrapper):
    """Leaves a name out of the first listing."""

    def __init__(self, fs: FileSystem, lacking: str) -> None:
        super().__init__(fs)
        self.listed = 0
        self._lacking = lacking

    def read_dir(self, path: str) -> list[DirEntry]:
        self.listed += 1
        return [e for e in super().read_dir(path) if self.listed > 1 or e.name != self._lacking]


def now() -> int:
    return 0


class TestWriting:
    def test_a_small_durable_write_is_one_file(self, store_fs):
        with open_table(store_fs) as table:
            before = names_in(store_fs)
            append(table, 1, 2)
            assert len(log_in(store_fs)) == 2
            assert sorted(set(names_in(store_fs)) - set(before)) == sorted(log_in(store_fs))
            assert contents(table) == ones(1, 2)

    def test_it_is_one_write_and_one_sync(self):
        counting = CountingFileSystem(MemoryFileSystem())
        with open_table(counting) as table:
            counting.reset()
            append(table, 1)
            assert counting.calls == {"write": 1, "sync_path": 1}

    def test_what_waits_at_that_time_goes_with_it(self, store_fs):
        with open_table(store_fs) as table:
            for number in (1, 2, 3):
                table.add(one(number))
            append(table, 4)
            assert len(log_in(store_fs)) == 1
            assert stored(store_fs) == ones(1, 2, 3, 4)
            assert table.rows_at_risk() == 0

    def test_nothing_is_written_twice_without_need(self):
        counting = CountingFileSystem(MemoryFileSystem())
        with open_table(counting) as table:
            (epoch,) = append(table, 1)
            counting.reset()
            table.flush(epoch)
            assert counting.calls == {}

    def test_large_batches_become_parts_at_once(self, store_fs):
        with open_table(store_fs, log_bytes=1000) as table:
            many = range(100)
            table.flush(table.add(batch(many, many, many)))
            assert log_in(store_fs) == []
            assert len(parts_in(store_fs)) == 1

    def test_there_is_no_log_where_none_is_wanted(self, store_fs):
        with open_table(store_fs, log_bytes=0, merge=BY_HAND) as table:
            append(table, 1, 2)
            assert log_in(store_fs) == []
            assert len(parts_in(store_fs)) == 2

    def test_closing_leaves_none_that_counts(self, store_fs):
        with open_table(store_fs) as table:
            append(table, 1, 2)
        assert stored(store_fs) == ones(1, 2)
        for name in log_in(store_fs):
            store_fs.delete_file(f"t/{name}")
        assert stored(store_fs) == ones(1, 2)
        assert verify_table(store_fs, "t").ok

    def test_a_long_one_is_flushed_by_itself(self, store_fs):
        with open_table(store_fs, merge=BY_HAND) as table:
            append(table, *range(31))
            assert table.step() > 0
            assert parts_in(store_fs) == []
            append(table, 31)
            table.step()
            assert len(parts_in(store_fs)) == 1
            table.gc()
            assert log_in(store_fs) == []
            assert stored(store_fs) == ones(*range(32))

    def test_it_does_not_grow_for_ever_where_nothing_happens_by_itself(self, store_fs):
        with open_table(store_fs, merge=BY_HAND) as table:
            append(table, *range(100))
            assert parts_in(store_fs)
            assert stored(store_fs) == ones(*range(100))

    def test_rows_in_it_do_not_wait_for_the_next_flush(self):
        clock = Clock()
        with open_table(MemoryFileSystem(), runtime=Runtime(monotonic=clock)) as table:
            append(table, 1)
            clock.seconds += 3600
            table.step()
            assert parts_in(table.fs) == []
            table.add(one(2))
            table.step()
            clock.seconds += 3600
            table.step()
            assert len(parts_in(table.fs)) == 1


class TestReading:
    def test_readers_see_it_when_they_open_and_when_they_refresh(self, store_fs):
        with open_table(store_fs) as table:
            append(table, 1)
            with open_table(store_fs, read_only=True) as reader:
                assert contents(reader) == ones(1)
                assert not reader.refresh()
                append(table, 2, 3)
                assert reader.refresh()
                assert contents(reader) == ones(1, 2, 3)
                table.flush()
                assert reader.refresh()
                assert contents(reader) == ones(1, 2, 3)
                assert not reader.refresh()

    def test_a_refresh_reads_only_what_is_new(self):
        fs = MemoryFileSystem()
        with open_table(fs) as table:
            append(table, 1, 2, 3)
            counting = CountingFileSystem(fs)
            with open_table(counting, read_only=True) as reader:
                counting.reset()
                reader.refresh()
                assert counting.calls == {"read_dir": 1}
                append(table, 4)
                counting.reset()
                reader.refresh()
                assert counting.calls == {"read_dir": 1, "read_ranges": 1}

    def test_the_later_of_equal_versions_counts(self, store_fs):
        with open_table(store_fs) as table:
            for value in (1, 2, 3):
                table.flush(table.add(batch([1], [1], [value], [7]), arrival=False))
            assert stored(store_fs) == {(1, 1): 3}
        crashed(store_fs)
        assert stored(store_fs) == {(1, 1): 3}

    def test_each_moment_of_it_can_be_gone_back_to(self, store_fs):
        with open_table(store_fs) as table:
            epochs = append(table, 1, 2, 3)
            for count, epoch in enumerate(epochs, 1):
                with table.at(Moment(epoch=epoch)) as past:
                    assert contents_of(store_fs, past) == ones(*range(1, count + 1))

    def test_a_time_can_be_gone_back_to(self, store_fs):
        times = iter(range(0, 1000, 10))
        with open_table(store_fs, runtime=Runtime(now=lambda: next(times))) as table:  # 0 made the table
            append(table, 1, 2, 3)
            for time, numbers in ((5, ()), (10, (1,)), (29, (1, 2)), (99, (1, 2, 3))):
                with table.at(Moment(time=time)) as past:
                    assert contents_of(store_fs, past) == ones(*numbers)

    def test_what_is_flushed_can_until_it_is_collected(self, store_fs):
        with open_table(store_fs) as table:
            epochs = append(table, 1, 2, 3)
            table.flush()
            for count, epoch in enumerate(epochs, 1):
                with table.at(Moment(epoch=epoch)) as past:
                    assert contents_of(store_fs, past) == ones(*range(1, count + 1))
            store_fs.delete_file(f"t/{log_in(store_fs)[1]}")
            for epoch in epochs:
                with pytest.raises(measurefs.SchemaError, match="collected"):
                    table.at(Moment(epoch=epoch))
            table.gc()
            with pytest.raises(measurefs.SchemaError, match="collected"):
                table.at(Moment(epoch=epochs[0]))

    def test_a_tag_keeps_what_was_in_it(self, store_fs):
        with open_table(store_fs) as table:
            append(table, 1, 2)
            epoch = table.tag("here")
            append(table, 3)
            table.flush()
            table.gc()
            with table.at(Moment(kept=epoch)) as past:
                assert contents_of(store_fs, past) == ones(1, 2)


class TestCommits:
    """Snapshots that are committed while rows are in the log."""

    def test_a_merge_keeps_it(self, store_fs):
        with open_table(store_fs, merge=BY_HAND, keep_snapshots=1) as table:
            for number in (1, 2, 3):
                table.add(one(number))
                table.flush()
            append(table, 4)
            table._merger.compact()
            append(table, 5)
            table.gc()
            assert len(parts_in(store_fs)) == 1
            assert stored(store_fs) == ones(1, 2, 3, 4, 5)
            table.flush()
            table.gc()
            assert log_in(store_fs) == []
            assert stored(store_fs) == ones(1, 2, 3, 4, 5)

    def test_a_merge_that_was_made_before_and_is_committed_after_it_keeps_it(self, store_fs):
        clock = Clock()
        with open_table(store_fs, merge=BY_HAND, runtime=Runtime(monotonic=clock)) as table:
            for number in range(8):
                table.add(one(number))
                table.flush()
            assert table._merger.merge(patience=60)
            table.add(one(8))
            append(table, 9)
            clock.seconds += 3600
            table._merger.merge(patience=60)
            table.gc()
            assert stored(store_fs) == ones(*range(10))
            append(table, 10)
            assert stored(store_fs) == ones(*range(11))

    def test_collecting_leaves_it_alone(self, store_fs):
        with open_table(store_fs) as table:
            append(table, 1, 2)
            assert table.gc() == []
            assert stored(store_fs) == ones(1, 2)

    def test_it_goes_when_it_is_flushed(self, store_fs):
        with open_table(store_fs) as table:
            append(table, 1, 2)
            table.flush()
            table.gc()
            assert log_in(store_fs) == []

    def test_it_stays_for_readers_elsewhere_for_some_time(self):
        fs, clock = MemoryFileSystem(), Clock()
        with open_table(fs, gc_grace=60.0, runtime=Runtime(monotonic=clock)) as table:
            append(table, 1, 2)
            with open_table(fs, read_only=True) as reader:
                table.flush()
                table.gc()
                clock.seconds += 59
                table.gc()
                assert contents(reader) == ones(1, 2)
                clock.seconds += 1
                table.gc()
                assert log_in(fs) == []

    def test_deleting_deletes_what_is_in_it(self, store_fs):
        with open_table(store_fs) as table:
            append(table, 1, 2, 3)
            assert table.delete(2, 3) == 1
            assert stored(store_fs) == ones(1, 3)
        crashed(store_fs, 4)
        assert stored(store_fs) == ones(1, 3, 4)

    def test_deleting_deletes_what_it_took_along_while_that_was_flushed(self):
        stall = Stall()
        fs = FaultFileSystem(MemoryFileSystem(), Fault("write", "*.part", stall=stall, error=None))
        with open_table(fs, merge=BY_HAND) as table, ThreadPoolExecutor(1) as other:
            table.add(one(1))
            deleting = other.submit(table.delete, 1, 2)
            assert stall.wait_until_reached(30)  # it flushes
            append(table, 2)
            stall.release()
            assert deleting.result(timeout=30) == 1
            assert stored(fs) == contents(table) == ones(2)


def test_many_floats_come_back_bit_by_bit(store_fs):
    """Decimals are stored as integers, and with other values among them as they are."""
    decimals = np.arange(6000) / 100
    others = decimals.copy()
    others[[5, 6, 7]] = np.pi, -0.0, np.nan
    with measurefs.open(store_fs) as database:
        measure = database.create_measure("m", entity=["id"], fields={"v": "float64", "w": "float64"})
        columns = {"id": ["a"] * 6000, "v": decimals, "w": others}
        measure.write({"time": np.arange(6000), **columns}, durable=True)
        measure.write({"time": np.arange(6000, 12000), **columns, "v": others}, durable=True)
        with measurefs.open(store_fs, read_only=True) as reader:
            found = reader.measure("m").query(order="time").to_arrow()
            assert reader.measure("m").stats()["m/seg-19700101/shard-0"]["file_parts"] == 2
    for name, halves in {"v": (decimals, others), "w": (others, others)}.items():
        column = found[name].to_numpy()
        assert column.tobytes() == np.concatenate(halves).tobytes()


class TestCrashes:
    def test_the_next_writer_finds_it_and_makes_a_part_of_it(self, store_fs):
        crashed(store_fs, 1, 2)
        with open_table(store_fs) as table:
            assert len(parts_in(store_fs)) == 1
            assert stored(store_fs) == contents(table) == ones(1, 2)
            table.gc()
            assert log_in(store_fs) == []
            append(table, 3)
            table.gc()
            assert stored(store_fs) == ones(1, 2, 3)
        crashed(store_fs, 4)
        assert stored(store_fs) == ones(1, 2, 3, 4)

    def test_what_a_stalled_writer_adds_after_that_counts_for_nothing(self, store_fs):
        crashed(store_fs, 1, 2)
        _, second = log_in(store_fs)
        late = store_fs.read(f"t/{second}")
        store_fs.delete_file(f"t/{second}")
        with open_table(store_fs) as table:
            assert contents(table) == ones(1)
            store_fs.write(f"t/{second}", late)
            append(table, 3)
            assert stored(store_fs) == ones(1, 3)
            table.gc()
            assert second not in log_in(store_fs)

    @pytest.mark.parametrize("late", [False, True])
    @pytest.mark.parametrize(("method", "path"), [("write", "*.log"), ("sync_path", "t")])
    def test_a_write_that_fails_is_made_good_by_the_next(self, method, path, late):
        fs = FaultFileSystem(MemoryFileSystem())
        with open_table(fs) as table:
            append(table, 1)
            fs.add(Fault(method, path, after=late))
            epoch = table.add(one(2))
            with pytest.raises(WriteError if method == "write" else measurefs.FileSystemError):
                table.flush(epoch)
            assert contents(table) == ones(1, 2)
            table.gc()
            table.flush(epoch)
            assert stored(fs) == ones(1, 2)
            append(table, 3)
            assert stored(fs) == ones(1, 2, 3)
        assert stored(fs) == ones(1, 2, 3)
        assert verify_table(fs, "t").ok

    def test_a_flush_that_fails_leaves_it_in_charge(self):
        fs = FaultFileSystem(MemoryFileSystem())
        with open_table(fs) as table:
            append(table, 1, 2)
            for pattern in ("*.part", "*.snp"):
                fs.add(Fault("write", pattern))
                with pytest.raises(WriteError):
                    table.flush()
                table.gc()
                assert stored(fs) == ones(1, 2)
            (epoch,) = append(table, 3)  # the rows of the flush that failed are in a file that nothing names
            assert stored(fs) == ones(1, 2, 3)
            assert table.rows_at_risk() == 0
            assert epoch

    def test_closing_is_no_error_for_who_was_taken_over_and_has_all_in_it(self):
        fs = CrashFileSystem()
        old = open_table(fs)
        append(old, 1)
        fs.break_locks()
        with open_table(fs) as new:
            assert contents(new) == ones(1)
            old.close()
            assert stored(fs) == ones(1)

    def test_rows_of_a_flush_that_failed_are_at_risk_until_the_next(self):
        fs = FaultFileSystem(MemoryFileSystem())
        with open_table(fs) as table:
            append(table, 1)
            table.add(one(2))
            fs.add(Fault("write", "*.snp"))
            with pytest.raises(WriteError):
                table.flush()
            assert table.rows_at_risk() == 2  # one of them is, and the part has both
            append(table, 3)
            assert table.rows_at_risk() == 0
            assert stored(fs) == ones(1, 2, 3)


class TestDamage:
    def test_a_damaged_one_is_an_error_and_repair_goes_on_without_it(self, store_fs):
        crashed(store_fs, 1, 2, 3)
        damaged = log_in(store_fs)[1]
        data = store_fs.read(f"t/{damaged}")
        store_fs.write(f"t/{damaged}", data[:-30] + b"x" + data[-29:])
        with pytest.raises(CorruptionError, match=damaged):
            stored(store_fs)
        assert [damage.path for damage in verify_table(store_fs, "t").damages] == [f"t/{damaged}"]
        assert repair_table(store_fs, "t", now, apply=True).complete
        assert stored(store_fs) == ones(1, 3)
        assert f"{damaged}.corrupt" in names_in(store_fs)
        assert verify_table(store_fs, "t").ok

    def test_damaged_rows_are_found(self, store_fs):
        crashed(store_fs, 1, 2)
        flip(store_fs, f"t/{log_in(store_fs)[0]}", 5)
        assert not verify_table(store_fs, "t").ok
        assert repair_table(store_fs, "t", now, apply=True).complete
        assert stored(store_fs) == ones(2)

    def test_a_missing_one_is_an_error(self, store_fs):
        crashed(store_fs, 1, 2, 3)
        _, missing, third = log_in(store_fs)
        store_fs.delete_file(f"t/{missing}")
        with pytest.raises(CorruptionError, match="missing"):
            stored(store_fs)
        assert [damage.path for damage in verify_table(store_fs, "t").damages] == [f"t/{third}"]
        assert repair_table(store_fs, "t", now, apply=True).complete
        assert stored(store_fs) == ones(1, 3)

    def test_a_listing_that_is_not_one_moment_is_no_damage(self):
        """As one of a directory that is being written to: it may have the end and not the beginning."""
        fs = MemoryFileSystem()
        with open_table(fs, keep_snapshots=5) as table:
            first, *_ = append(table, 1, 2, 3)
            torn = TornListings(fs, log_in(fs)[1])
            assert stored(torn) == ones(1, 2, 3)
            assert torn.listed > 1
            torn = TornListings(fs, log_in(fs)[1])
            assert verify_table(torn, "t").ok
            assert torn.listed > 1
            torn = TornListings(fs, log_in(fs)[1])
            with open_table(fs, read_only=True) as reader:
                reader.fs = torn
                with reader.at(Moment(epoch=first + 100)) as past:
                    assert contents_of(fs, past) == ones(1, 2, 3)
            assert torn.listed > 1

    def test_a_healthy_one_needs_no_repair(self, store_fs):
        crashed(store_fs, 1, 2)
        report = verify_table(store_fs, "t")
        assert report.ok
        assert report.rows == 2
        assert repair_table(store_fs, "t", now).actions == []

    def test_one_that_was_renamed_is_an_error(self, store_fs):
        crashed(store_fs, 1)
        (name,) = log_in(store_fs)
        other = f"{int(name[:16], 16) + 1:016x}.log"
        store_fs.write(f"t/{other}", store_fs.read(f"t/{name}"))
        with pytest.raises(CorruptionError, match="renamed"):
            stored(store_fs)

    def test_a_snapshot_that_was_set_aside_is_not_missing(self):
        """Its writer may have died before it could commit another."""
        fs = MemoryFileSystem()
        with open_table(fs) as table:
            append(table, 1)
        crashed(fs)  # a snapshot of the same parts
        crashed(fs, 2, 3)
        flip(fs, f"t/{snapshots_in(fs)[-1]}")
        faulty = FaultFileSystem(fs, Fault("write", "*.snp", times=None))
        with pytest.raises(WriteError):
            open_table(faulty)
        assert names_in(fs, ".snp.corrupt")
        assert stored(fs) == ones(1, 2, 3)
        with open_table(fs) as table:
            assert contents(table) == ones(1, 2, 3)

    @pytest.mark.parametrize("snapshots", [1, 2])
    def test_repair_keeps_the_later_of_equal_versions(self, snapshots):
        fs = MemoryFileSystem()
        table = open_table(fs, merge=BY_HAND, keep_snapshots=snapshots)
        table.add(batch([1], [1], [1], [7]), arrival=False)
        table.flush()
        table.flush(table.add(batch([1], [1], [2], [7]), arrival=False))
        table.gc()
        table.abandon()
        flip(fs, f"t/{snapshots_in(fs)[-1]}")
        assert repair_table(fs, "t", now, apply=True).complete
        assert stored(fs) == {(1, 1): 2}

    def test_what_a_repaired_table_held_before_is_not_made_up(self):
        fs = MemoryFileSystem()
        table = open_table(fs, keep_snapshots=5)
        table.add(one(1))
        table.flush()
        second, _ = append(table, 2, 3)
        table.abandon()
        flip(fs, f"t/{log_in(fs)[-1]}", 5)
        assert repair_table(fs, "t", now, apply=True).complete
        with open_table(fs, read_only=True) as reader:
            assert contents(reader) == ones(1, 2)
            with pytest.raises(measurefs.SchemaError, match="collected"):
                reader.at(Moment(epoch=second))


class TestCopies:
    """Copies of stores that another process writes to."""

    @pytest.fixture
    def measure(self, local_store):
        """A store with rows in the log of a writer that is not this one's."""
        database = measurefs.open(local_store.url)
        measure = database.create_measure("m", entity=["host"], fields={"value": "int64"})
        yield measure
        database.close()

    def test_a_copy_has_what_is_in_the_log(self, measure, local_store, tmp_path):
        target = str(tmp_path / "copy")
        for count in (1, 2, 3):
            measure.write({"time": [count], "host": ["a"], "value": [count]}, durable=True)
            copy(local_store.url, target)
            with measurefs.open(target, read_only=True) as there:
                assert there.measure("m").query().to_arrow().num_rows == count
                assert there.verify().ok
            assert not list((tmp_path / "copy").rglob("*.log"))
            if count == 2:
                measure.flush()
        assert list((tmp_path / "store").rglob("*.log"))
