"""Stores that fail: rows stay readable, whoever waits for durability is told, and the next try heals."""

from __future__ import annotations

import errno

import pytest

from measurefs import PartOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import (
    BackpressureError,
    Buffer,
    FencedError,
    FileSystemError,
    FileSystemWrapper,
    FlushError,
    WriteError,
)
from measurefs.table import Background, MemoryBudget, Runtime
from measurefs.testing import CrashFileSystem, Fault, FaultFileSystem
from tests.part.made import COMPACT, WIDE
from tests.table.tables import (
    Clock,
    batch,
    contents,
    is_durable,
    one,
    ones,
    open_table,
    parts_in,
    snapshots_in,
    stored,
    until,
)

# Every file-system call of a flush, failing before its work is done and after it.
COMPACT_FLUSH = [("write", "*.part"), ("sync_path", "t"), ("write", "*.snp")]
WIDE_FLUSH = [
    ("make_dir", "t/*"),
    ("write_all", "*"),
    ("write", "*/primary.bin"),
    ("write", "*/metadata.json"),
    ("sync_path", "t/*"),
    ("sync_path", "t"),
    ("write", "*.snp"),
]
FAULTS = [
    pytest.param(compact_bytes, method, path, late, id=f"{name}-{method}-{path}{'-late' * late}")
    for name, compact_bytes, calls in [("compact", COMPACT, COMPACT_FLUSH), ("wide", WIDE, WIDE_FLUSH)]
    for method, path in calls
    for late in (False, True)
]


@pytest.fixture
def fs():
    return FaultFileSystem(MemoryFileSystem())


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(("compact_bytes", "method", "path", "late"), FAULTS)
class TestFlush:
    def test_heals(self, fs, compact_bytes, method, path, late, times):
        with open_table(fs, part=PartOptions(compact_bytes=compact_bytes)) as table:
            table.add(one(1))
            table.flush()
            table.add(one(2))
            fs.add(Fault(method, path, times=times, after=late))
            for attempt in range(times):
                if _told(table):
                    break
                assert contents(table) == ones(1, 2), attempt
            fs.heal()
            table.add(one(3))
            table.flush()
            assert fs.injected.total() > 0
            assert contents(table) == ones(1, 2, 3)
            assert stored(fs) == ones(1, 2, 3)
            table.gc()
            with table.pin() as snapshot:
                assert parts_in(fs) == sorted(part.metadata.name for part in snapshot.file_parts)
        assert stored(fs) == ones(1, 2, 3)

    def test_followed_by_a_crash_loses_only_what_was_not_durable(
        self, fs, compact_bytes, method, path, late, times
    ):
        table = open_table(fs, part=PartOptions(compact_bytes=compact_bytes))
        table.add(one(1))
        table.flush()
        table.add(one(2))
        fs.add(Fault(method, path, times=times, after=late))
        durable = sum(_told(table) for _ in range(times)) > 0
        fs.wrapped.break_locks()
        table.abandon()
        fs.heal()
        with open_table(fs) as again:
            found = contents(again)
            assert found in ([ones(1, 2)] if durable else [ones(1), ones(1, 2)])
            again.gc()
            again.add(one(3))
        assert stored(fs) == found | ones(3)


def _told(table) -> bool:
    """Whether a flush says that it succeeded."""
    try:
        table.flush()
    except FencedError:
        raise
    except FileSystemError:
        return False
    return True


def test_a_full_disk_is_told_apart_and_heals_when_there_is_room(fs):
    with open_table(fs) as table:
        fs.add(Fault("write", error="disk full", times=None))
        table.add(one(1))
        with pytest.raises(WriteError, match="No space left") as raised:
            table.flush()
        assert raised.value.errno == errno.ENOSPC
        fs.heal()
        table.flush()
    assert stored(fs) == ones(1)


def test_close_fails_rather_than_lose_rows_and_may_be_called_again(fs):
    table = open_table(fs)
    table.add(one(1))
    fs.add(Fault("write", error="disk full", times=None))
    with pytest.raises(WriteError):
        table.close()
    assert contents(table) == ones(1)
    table.add(one(2))
    fs.heal()
    table.close()
    assert stored(fs) == ones(1, 2)
    with open_table(fs) as again:
        assert contents(again) == ones(1, 2)


def test_a_failed_flush_leaves_no_part_behind(fs):
    with open_table(fs) as table:
        fs.add(Fault("sync_path", "t", times=3))
        for _ in range(3):
            table.add(one(1))
            with pytest.raises(FlushError):
                table.flush()
        assert parts_in(fs) == []
        table.flush()
        assert len(parts_in(fs)) == 1


def test_a_commit_whose_acknowledgement_was_lost_does_no_harm(fs):
    with open_table(fs) as table:
        table.add(one(1))
        fs.add(Fault("write", "*.snp", after=True))
        with pytest.raises(WriteError):
            table.flush()
        assert contents(table) == stored(fs) == ones(1)
        table.flush()
        assert is_durable(table)
        table.gc()
        assert len(parts_in(fs)) == 1
        assert len(snapshots_in(fs)) <= 2
        table.add(one(2))
    assert stored(fs) == ones(1, 2)


@pytest.mark.parametrize(("log_bytes", "path"), [(4 << 20, "*.log"), (0, "*.snp")])
def test_rows_whose_commit_failed_are_not_taken_for_durable(fs, log_bytes, path):
    with open_table(fs, log_bytes=log_bytes) as table:
        epoch = table.add(one(1))
        fs.add(Fault("write", path, times=3))
        for _ in range(3):
            with pytest.raises(WriteError):
                table.flush(epoch)
            assert table.rows_at_risk() == 1
        table.flush(epoch)
        assert table.rows_at_risk() == 0
        assert stored(fs) == ones(1)


def test_a_snapshot_whose_sync_failed_is_written_again_under_another_name():
    """What was not made durable then may never be, however often its directory is synced."""
    fs = CrashFileSystem()
    table = open_table(fs)
    table.add(one(1))
    fs.fail_sync(2)  # the first is for the part's name
    with pytest.raises(FlushError):
        table.flush()
    table.flush()
    assert stored(fs.crash("none")) == ones(1)
    table.close()


def test_a_table_that_cannot_be_opened_now_can_be_later(fs):
    with open_table(fs) as table:
        table.add(one(1))
    for fault in (Fault("read_dir"), Fault("read", "*.snp"), Fault("make_dir")):
        fs.add(fault)
        with pytest.raises(FileSystemError):
            open_table(fs)
        with open_table(fs) as table:
            assert contents(table) == ones(1)


def test_a_new_table_whose_first_commit_fails_can_be_opened_later(fs):
    fs.add(Fault("write", "*.snp"))
    with pytest.raises(WriteError):
        open_table(fs)
    with open_table(fs) as table:
        assert contents(table) == {}


class TestBackground:
    """What fails by itself is counted, tried again after a growing pause, and forgotten once it works."""

    def test_failures_show_in_stats_and_pauses_grow(self, fs):
        clock = Clock()
        runtime = Runtime(monotonic=clock)
        with open_table(fs, runtime=runtime, flush_interval=5.0, gc_interval=1e9) as table:
            table.step()
            table.add(one(1))
            clock.seconds += 5
            fs.add(Fault("write", error="disk full", times=None))
            pauses = []
            for failures in range(1, 9):
                pauses.append(table.step())
                assert table.stats()["background_failures"] == failures
                assert "No space left" in table.stats()["last_error"]
                attempts = fs.injected.total()
                assert table.step() == pytest.approx(pauses[-1])
                assert fs.injected.total() == attempts, "it does not try before the pause is over"
                clock.seconds += pauses[-1]
            assert pauses[0] < 0.3
            assert pauses[3] > 2 * pauses[0]
            assert max(pauses) <= 10
            assert contents(table) == ones(1)
            fs.heal()
            table.step()
            assert stored(fs) == ones(1)
            assert (table.stats()["background_failures"], table.stats()["last_error"]) == (0, None)

    def test_a_failed_commit_is_tried_again(self, fs):
        clock = Clock()
        with open_table(fs, runtime=Runtime(monotonic=clock), gc_interval=1e9) as table:
            table.step()
            table.add(one(1))
            fs.add(Fault("write", "*.snp", times=None))
            for _ in range(3):
                clock.seconds += 60
                table.step()
                assert table.stats()["last_error"]
            fs.heal()
            clock.seconds += 60
            table.step()
            assert is_durable(table)
            assert stored(fs) == ones(1)

    def test_a_failed_collection_is_tried_again(self, fs):
        clock = Clock()
        with open_table(fs, runtime=Runtime(monotonic=clock), gc_interval=30.0, keep_snapshots=1) as table:
            table.step()
            table.add(one(1))
            table.flush()
            fs.add(Fault("delete_file", error="disk full"))
            clock.seconds += 30
            table.step()
            assert "No space" in table.stats()["last_error"]
            assert len(snapshots_in(fs)) == 2
            clock.seconds += 30
            table.step()
            assert len(snapshots_in(fs)) == 1

    def test_an_error_that_no_backend_should_raise_is_counted_too(self):
        class Buggy(FileSystemWrapper):
            healthy = True

            def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
                if not self.healthy:
                    raise RuntimeError("a backend's bug")
                return super().write(path, data, exclusive=exclusive)

        clock, fs = Clock(), Buggy(MemoryFileSystem())
        with open_table(fs, runtime=Runtime(monotonic=clock)) as table:
            table.add(one(1))
            fs.healthy = False
            clock.seconds += 60
            table.step()
            assert "a backend's bug" in table.stats()["last_error"]
            fs.healthy = True


class TestBackpressure:
    """Memory is bounded: above its limit writers wait for the flusher, and not for ever."""

    ROWS = batch(range(100), range(100), range(100))

    def test_writers_wait_and_then_go_on(self):
        fs = MemoryFileSystem()
        limit = 4 * self.ROWS.nbytes
        background = Background()
        settings = {"memory_limit": limit, "flush_bytes": limit, "flush_interval": 1e9}
        with open_table(fs, background=background, **settings) as table:
            for number in range(50):
                table.add(batch(range(100), [number] * 100, range(100)))
                assert table.stats()["memory_bytes"] <= limit
            assert len(contents(table)) == 5000
        background.close()
        assert len(stored(fs)) == 5000

    def test_without_a_background_the_writer_flushes_itself(self):
        fs = MemoryFileSystem()
        limit = 4 * self.ROWS.nbytes
        with open_table(fs, memory_limit=limit, flush_bytes=limit) as table:
            for number in range(20):
                table.add(batch(range(100), [number] * 100, range(100)))
                assert table.stats()["memory_bytes"] <= limit
            assert len(contents(table)) == 2000

    def test_a_writer_that_waited_too_long_is_refused_and_nothing_of_its_batch_is_stored(self, fs):
        limit = self.ROWS.nbytes
        background = Background()
        settings = {"memory_limit": limit, "flush_bytes": limit, "write_timeout": 0.05}
        fs.add(Fault("write", "*.part", error="disk full", times=None))
        table = open_table(fs, background=background, **settings)
        table.add(self.ROWS)
        before = contents(table)
        until(lambda: table.stats()["last_error"])
        with pytest.raises(BackpressureError, match=r"No space left.*nothing of this batch was stored"):
            table.add(one(7777))
        assert contents(table) == before
        fs.heal()
        until(lambda: is_durable(table))
        table.add(one(7777))
        table.close()
        background.close()
        assert stored(fs) == before | ones(7777)

    def test_a_batch_larger_than_the_limit_gets_in_alone(self):
        fs = MemoryFileSystem()
        with open_table(fs, memory_limit=10, flush_bytes=10) as table:
            table.add(self.ROWS)
            table.add(one(7777))
            assert len(contents(table)) == 101

    def test_tables_that_share_a_budget_keep_it_together(self):
        fs, memory = MemoryFileSystem(), MemoryBudget(10_000_000)
        with open_table(fs, "a", memory=memory) as a, open_table(fs, "b", memory=memory) as b:
            a.add(self.ROWS)
            b.add(self.ROWS)
            assert memory.used == a.stats()["memory_bytes"] + b.stats()["memory_bytes"]
            a.flush()
            assert memory.used == b.stats()["memory_bytes"] > 0
            b.abandon()
            assert memory.used == 0
