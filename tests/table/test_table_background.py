"""What a table does by itself: when, and by whose clock."""

from __future__ import annotations

import threading

import pytest

from measurefs.backends.memory import MemoryFileSystem
from measurefs.table import Background, Runtime
from measurefs.testing import Fault, FaultFileSystem
from tests.table.tables import (
    Clock,
    batch,
    contents,
    is_durable,
    one,
    ones,
    open_table,
    snapshots_in,
    stored,
    until,
)


class TestStep:
    @pytest.fixture
    def clock(self):
        return Clock()

    @pytest.fixture
    def runtime(self, clock):
        return Runtime(monotonic=clock)

    def test_rows_are_flushed_when_the_oldest_has_waited_long_enough(self, clock, runtime):
        fs = MemoryFileSystem()
        with open_table(fs, runtime=runtime, flush_interval=5.0, gc_interval=1000.0) as table:
            assert table.step() == 1000.0
            table.add(one(1))
            assert table.step() == 5.0
            clock.seconds += 3
            table.add(one(2))
            assert table.step() == 2.0
            assert stored(fs) == {}
            clock.seconds += 2
            assert table.step() == 995.0
            assert stored(fs) == ones(1, 2)
            table.add(one(3))
            assert table.step() == 5.0

    def test_rows_are_flushed_when_there_are_many(self, runtime):
        """Soon at first, to go on beside the writer, and as long as they keep coming more at a time."""
        fs = MemoryFileSystem()
        ids = range(100)
        limit = 8 * batch(ids, ids, ids).nbytes
        with open_table(fs, runtime=runtime, flush_bytes=limit, flush_interval=1e9) as table:
            flushed = []
            for number in range(1, 31):
                table.add(batch(ids, [number] * 100, ids))
                table.step()
                flushed.append(len(stored(fs)) // 100)
            assert sorted(set(flushed)) == [0, 2, 6, 14, 22, 30]
            assert all(number - count < 8 for number, count in enumerate(flushed, 1))
            table.add(one(1000))
            table.flush()
            for number in range(31, 33):
                table.add(batch(ids, [number] * 100, ids))
                table.step()
            assert len(stored(fs)) == 3201

    def test_garbage_is_collected_every_so_often(self, clock, runtime):
        fs = MemoryFileSystem()
        with open_table(fs, runtime=runtime, gc_interval=30.0, keep_snapshots=1) as table:
            table.step()
            for number in range(3):
                table.add(one(number))
                table.flush()
            clock.seconds += 29
            table.step()
            assert len(snapshots_in(fs)) == 4
            clock.seconds += 1
            table.step()
            assert len(snapshots_in(fs)) == 1

    def test_nothing_is_flushed_twice(self, clock, runtime):
        fs = MemoryFileSystem()
        with open_table(fs, runtime=runtime) as table:
            table.add(one(1))
            clock.seconds += 60
            table.step()
            before = snapshots_in(fs)
            clock.seconds += 60
            table.step()
            assert snapshots_in(fs)[-1] == before[-1]


class TestThread:
    def test_rows_become_durable_by_themselves(self, store_fs):
        background = Background()
        with open_table(store_fs, background=background, flush_interval=0.01) as table:
            table.add(one(1))
            until(lambda: is_durable(table))
            assert stored(store_fs) == ones(1)
            assert contents(table) == ones(1)
        background.close()

    def test_rows_that_come_while_it_sleeps_do_not_wait_for_the_next_collection(self):
        fs, background = MemoryFileSystem(), Background()
        clock = Clock()
        stepped = threading.Event()

        class Sleeper:
            def step(self) -> float:
                stepped.set()
                return 3600.0

        with open_table(
            fs,
            background=background,
            flush_interval=0.0,
            gc_interval=3600.0,
            runtime=Runtime(monotonic=clock),
        ) as table:
            until(lambda: table.step() == 3600.0)
            background.add(Sleeper())
            assert stepped.wait(30)
            table.add(one(1))
            until(lambda: is_durable(table))
            assert stored(fs) == ones(1)
        background.close()

    def test_two_threads_serve_many_tables_and_end_with_close(self):
        fs, background = MemoryFileSystem(), Background()
        before = threading.active_count()
        tables = [open_table(fs, f"t{n}", background=background, flush_interval=0.01) for n in range(5)]
        assert threading.active_count() == before + 2
        for number, table in enumerate(tables):
            table.add(one(number))
        until(lambda: all(map(is_durable, tables)))
        for number, table in enumerate(tables):
            assert stored(fs, f"t{number}") == ones(number)
            table.close()
        background.close()
        assert threading.active_count() == before

    def test_it_survives_a_store_that_fails_for_a_while(self):
        fs, background = FaultFileSystem(MemoryFileSystem()), Background()
        with open_table(fs, background=background, flush_interval=0.01) as table:
            fs.add(Fault("write", times=2))
            table.add(one(1))
            until(lambda: is_durable(table) and not table.stats()["last_error"])
            assert fs.injected["write"] == 2
            assert stored(fs) == ones(1)
        background.close()

    def test_closed_tables_are_left_alone(self):
        fs, background = MemoryFileSystem(), Background()
        table = open_table(fs, background=background, flush_interval=0.01)
        table.close()
        before = fs.read_dir("t")
        with open_table(fs, "other", background=background, flush_interval=0.01) as other:
            other.add(one(1))
            background.wake()
            until(lambda: is_durable(other))
        assert fs.read_dir("t") == before
        background.close()
        background.close()
