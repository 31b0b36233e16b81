"""A batch that was let in is taken, whatever else happens meanwhile."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import ClosedError, FencedError
from measurefs.table import Background
from measurefs.testing import Fault, FaultFileSystem, Stall
from tests.table.tables import contents, one, ones, open_table, stored, until


@pytest.mark.parametrize("end", ["close", "abandon"])
def test_closing_waits_for_whom_was_admitted(end):
    fs = MemoryFileSystem()
    table = open_table(fs)
    with ThreadPoolExecutor(1) as pool:
        with table.admit(100):
            closing = pool.submit(getattr(table, end))
            until(lambda: table._admission.closing)
            with pytest.raises(ClosedError):
                table.add(one(2))
            table.take(one(1))
            assert contents(table) == ones(1)
        closing.result(30)
    assert stored(fs) == (ones(1) if end == "close" else {})


def test_who_waits_for_room_is_refused_when_the_table_is_closed():
    stall = Stall()
    fs = FaultFileSystem(MemoryFileSystem(), Fault("write", "*.part", error=None, stall=stall))
    background = Background()
    settings = {"memory_limit": 10, "flush_bytes": 10, "write_timeout": 1e6}
    table = open_table(fs, background=background, **settings)
    table.add(one(1))
    assert stall.wait_until_reached(30)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(table.add, one(2))
        until(lambda: table._admission._admitted)
        closing = pool.submit(table.close)
        with pytest.raises(ClosedError):
            waiting.result(30)
        stall.release()
        closing.result(30)
    background.close()
    assert stored(fs) == ones(1)


def test_what_was_durable_before_the_end_is_acknowledged_after_it():
    """A writer between its rows and their flush finds that somebody has closed the table, or taken it over."""
    fs = MemoryFileSystem()
    table = open_table(fs)
    epoch = table.add(one(1))
    table.close()
    table.flush(epoch)
    with pytest.raises(ClosedError):
        table.flush()

    table = open_table(fs)
    durable = table.add(one(2))
    table.flush()
    lost = table.add(one(3))
    fs.break_locks()
    with open_table(fs), pytest.raises(FencedError):
        table.flush()
    table.flush(durable)
    with pytest.raises(FencedError):
        table.flush(lost)
    table.close()
    with pytest.raises(ClosedError):
        table.flush(lost)


def test_writers_and_a_close_at_once():
    """Each row is either refused or, after the close, stored."""
    for _ in range(20):
        fs = MemoryFileSystem()
        table = open_table(fs)
        start = threading.Barrier(5)

        def write(writer: int, table=table, start=start) -> list[int]:
            start.wait()
            taken = []
            for number in range(writer * 100, writer * 100 + 20):
                try:
                    table.add(one(number))
                except ClosedError:
                    break
                taken.append(number)
            return taken

        with ThreadPoolExecutor(4) as pool:
            writing = [pool.submit(write, writer) for writer in range(4)]
            start.wait()
            table.close()
            taken = [number for each in writing for number in each.result(30)]
        assert stored(fs) == ones(*taken)
