"""Several threads on one table."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import Buffer, ClosedError, CountingFileSystem, FencedError, FileSystem, FileSystemWrapper
from measurefs.table import Background
from measurefs.table.grouping import Group
from tests.table.tables import batch, contents, contents_of, one, ones, open_table, snapshots_in, stored

WRITERS = 8
COMMITS = (".log", ".snp")


class Gate(FileSystemWrapper):
    """Holds the next commit back, or another kind of file, until the gate is opened."""

    def __init__(self, wrapped: FileSystem, held: tuple[str, ...] = COMMITS) -> None:
        super().__init__(wrapped)
        self.held = held
        self.opened = threading.Event()
        self.reached = threading.Event()
        self.commits: list[str] = []

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        if path.endswith(self.held):
            self.commits.append(path[-4:])
            self.reached.set()
            assert self.opened.wait(30)
        return super().write(path, data, exclusive=exclusive)


@pytest.fixture
def gate():
    gate = Gate(MemoryFileSystem())
    gate.opened.set()
    return gate


def close(gate: Gate) -> None:
    gate.opened.clear()
    gate.reached.clear()
    gate.commits = []


@pytest.mark.parametrize(("log_bytes", "commits"), [(4 << 20, [".log", ".log"]), (0, [".snp", ".snp"])])
def test_durable_writers_share_commits(gate, log_bytes, commits):
    """While one commit is under way the others gather, and the next one is for all of them."""
    with open_table(gate, log_bytes=log_bytes) as table, ThreadPoolExecutor(WRITERS) as pool:
        close(gate)
        first = pool.submit(lambda: table.flush(table.add(one(0))))
        assert gate.reached.wait(30)
        added = threading.Barrier(WRITERS)

        def write(number: int) -> None:
            epoch = table.add(one(number))
            added.wait(30)
            table.flush(epoch)

        others = [pool.submit(write, number) for number in range(1, WRITERS)]
        added.wait(30)
        gate.opened.set()
        for done in (first, *others):
            done.result(30)
        assert gate.commits == commits
        assert stored(gate) == ones(*range(WRITERS))


class Slow(FileSystemWrapper):
    """Takes its time for each commit, as disks and object stores do."""

    commits = 0

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        if path.endswith(COMMITS):
            self.commits += 1
            threading.Event().wait(0.06)
        return super().write(path, data, exclusive=exclusive)


def test_durable_writers_that_come_back_share_the_next_commit():
    """The first one to come back waits a moment for the others, or some would always miss the commit of the rest."""
    slow, rounds, writers = Slow(MemoryFileSystem()), 10, 4
    with open_table(slow) as table, ThreadPoolExecutor(writers) as pool:

        def write(first: int) -> None:
            for number in range(first, writers * rounds, writers):
                table.flush(table.add(one(number)))

        slow.commits = 0
        list(pool.map(write, range(writers)))
        assert slow.commits <= 1.7 * rounds
        assert contents(table) == ones(*range(writers * rounds))


def test_who_writes_alone_waits_for_nobody():
    group = Group(iter(range(0, 10**6, 1000)).__next__)  # each flush seems to take very long
    begun = time.monotonic()
    for _ in range(50):
        with group.turn(lambda: False) as mine, group.together():
            assert mine
        with group.turn() as mine:
            assert mine
    assert time.monotonic() - begun < 50 * 0.1 / 2


def test_nobody_waits_for_who_commits_once():
    """Such as who flushes all there is, also if that came while others made their rows durable."""
    group = Group(iter(range(0, 10**6, 1000)).__next__)
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        for _ in range(50):
            came = threading.Event()
            with group.turn(lambda: False), group.together():
                other = pool.submit(take_turn, group, came)
                assert came.wait(30)
            other.result(30)
    assert time.monotonic() - begun < 50 * 0.1 / 2


def take_turn(group, came):
    came.set()
    with group.turn():
        pass


def test_who_is_served_by_others_has_no_turn():
    group, served, came = Group(lambda: 0.0), threading.Event(), threading.Event()

    def is_served() -> bool:
        came.set()
        return served.is_set()

    with ThreadPoolExecutor(2) as pool:
        with group.turn() as mine:
            assert mine

            def other() -> bool:
                with group.turn(is_served) as mine:
                    return mine

            waiting, next_one = pool.submit(other), pool.submit(lambda: group.turn().__enter__())
            assert came.wait(30)
            served.set()
        assert waiting.result(30) is False
        assert next_one.result(30) is True


def test_a_turn_that_fails_is_over():
    group = Group(lambda: 0.0)
    with pytest.raises(ValueError, match="full"), group.turn(), group.together():
        raise ValueError("full")
    with group.turn() as mine:
        assert mine


def test_reading_never_waits_for_a_commit(gate):
    with open_table(gate) as table, ThreadPoolExecutor(1) as pool:
        table.add(one(1))
        close(gate)
        flushing = pool.submit(table.flush)
        assert gate.reached.wait(30)
        assert contents(table) == ones(1)
        table.add(one(2))
        assert contents(table) == ones(1, 2)
        assert stored(gate) == {}
        assert not flushing.done()
        gate.opened.set()
        flushing.result(30)
        assert stored(gate) == ones(1)
        assert contents(table) == ones(1, 2)


def test_rows_added_during_a_flush_are_not_lost(gate):
    """They are newer than the part being written, and stay so."""
    with open_table(gate) as table, ThreadPoolExecutor(1) as pool:
        table.add(batch([1], [1], [1]))
        close(gate)
        flushing = pool.submit(table.flush)
        assert gate.reached.wait(30)
        table.add(batch([1, 2], [1, 2], [100, 200]))
        gate.opened.set()
        flushing.result(30)
        assert contents(table) == {(1, 1): 100, (2, 2): 200}
        table.flush()
        assert contents(table) == {(1, 1): 100, (2, 2): 200}
    assert stored(gate) == {(1, 1): 100, (2, 2): 200}


def test_waiting_for_an_epoch(gate):
    with open_table(gate) as table, ThreadPoolExecutor(2) as pool:
        epoch = table.epoch
        assert table.wait(epoch)
        assert not table.wait(epoch + 1, timeout=0)
        waiting = pool.submit(table.wait, epoch + 2, 30)
        never = pool.submit(table.wait, epoch + 1000, 30)
        table.add(one(1))
        table.add(one(2))
        assert waiting.result(30)
        table.abandon()
        assert not never.result(30)


@pytest.mark.parametrize("background", [False, True], ids=["", "background"])
def test_writers_flushers_collectors_and_readers_at_once(store_fs, background):
    """Every reader sees, of each writer, a prefix of what it wrote; in the end everything is stored."""
    counted = CountingFileSystem(store_fs)
    thread = Background() if background else None
    settings = {"background": thread, "flush_interval": 0.005, "gc_interval": 0.01, "keep_snapshots": 1}
    batches, writers = (6, 2) if store_fs.remote else (12, 4)
    with open_table(counted, **settings) as table:
        left = threading.Semaphore(0)

        def write(writer: int) -> None:
            try:
                for number in range(batches):
                    epoch = table.add(batch([writer], [number], [number]))
                    if number % 3 == 2:
                        table.flush(epoch)
                        table.gc()
            finally:
                left.release()

        def read() -> int:
            reads = 0
            while reads < 5 or not left.acquire(blocking=False):
                reads += 1
                with table.pin() as snapshot:
                    found = contents_of(table.fs, snapshot)
                    for writer in range(writers):
                        times = sorted(time for entity, time in found if entity == writer)
                        assert times == list(range(len(times)))
                    assert contents_of(table.fs, snapshot) == found
            return reads

        with ThreadPoolExecutor(writers * 2) as pool:
            work = [pool.submit(write, writer) for writer in range(writers)]
            work += [pool.submit(read) for _ in range(writers)]
            for done in work:
                done.result(60)
        table.flush()
        everything = {(writer, number): number for writer in range(writers) for number in range(batches)}
        assert contents(table) == everything
    if thread is not None:
        thread.close()
    assert stored(store_fs) == everything


def test_epochs_differ_and_are_in_the_order_of_what_each_thread_did():
    fs = MemoryFileSystem()
    with open_table(fs) as table, ThreadPoolExecutor(WRITERS) as pool:
        lists = list(pool.map(lambda n: [table.add(one(n * 100 + i)) for i in range(50)], range(WRITERS)))
        epochs = [epoch for each in lists for epoch in each]
        assert len(set(epochs)) == len(epochs)
        assert all(each == sorted(each) for each in lists)
        assert max(epochs) == table.epoch
        table.flush()
        assert len(snapshots_in(fs)) == 2
        assert len(stored(fs)) == WRITERS * 50


def test_closing_while_others_write_loses_nothing_that_was_flushed():
    fs = MemoryFileSystem()
    table = open_table(fs)
    flushed = []

    def write(writer: int) -> None:
        for number in range(1000):
            try:
                table.flush(table.add(one(writer * 1000 + number)))
            except (ClosedError, FencedError):
                return
            flushed.append(writer * 1000 + number)

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(write, writer) for writer in range(4)]
        while len(flushed) < 20:
            table.wait(table.epoch + 1, 1)
        table.close()
        for done in work:
            done.result(60)
    assert stored(fs).items() >= ones(*flushed).items()
    with open_table(fs) as again:
        assert contents(again) == stored(fs)


def test_rows_added_while_the_table_closes_are_refused_or_stored(gate):
    table = open_table(gate)
    table.add(one(1))
    close(gate)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(table.close)
        assert gate.reached.wait(30)
        try:
            table.add(one(2))
            expected = ones(1, 2)
        except ClosedError:
            expected = ones(1)
        gate.opened.set()
        closing.result(30)
    assert stored(gate) == expected
