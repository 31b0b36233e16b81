"""How a write ends: stored, refused, or stored and not yet durable; and driving a database by hand."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import measurefs
from measurefs import FencedError, NotDurableError, TableOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.table import Runtime
from measurefs.testing import Fault, FaultFileSystem, Stall
from tests.table.tables import Clock

ROW = {"time": [1], "host": ["a"], "usage": [0.5]}
TWO_DAYS = {"time": [1, 86_400_000_000_001], "host": ["a", "a"], "usage": [0.5, 0.75]}


@pytest.fixture
def fs() -> FaultFileSystem:
    return FaultFileSystem(MemoryFileSystem())


def opened(fs: measurefs.FileSystem, **settings: Any) -> measurefs.Measure:
    database = measurefs.open(fs, background=False, **settings)
    return database.create_measure("cpu", entity=["host"], fields={"usage": "float64"}, exist_ok=True)


def usage(fs: measurefs.FileSystem) -> list[float]:
    """What another process finds."""
    with measurefs.open(fs, read_only=True) as reader:
        return reader.measure("cpu").query().to_arrow()["usage"].to_pylist()


def test_stored_but_not_durable_is_told_apart_and_needs_no_second_write(fs):
    measure = opened(fs)
    for name in ("*.log", "*.part"):
        fs.add(Fault("write", name, error="disk full", times=None))
    with pytest.raises(NotDurableError, match=r"cpu/.*No space left.*call flush\(\)") as raised:
        measure.write(ROW, durable=True)
    assert raised.value.errno == errno.ENOSPC
    assert measure.query().to_arrow().num_rows == 1
    with pytest.raises(NotDurableError):
        measure.flush()
    assert usage(fs) == []
    fs.heal()
    measure.flush()
    assert usage(fs) == [0.5]
    measure.close()


def test_one_table_that_cannot_be_flushed_does_not_keep_the_others_from_it(fs):
    measure = opened(fs)
    fs.add(Fault("write", "*19700101*.log", times=None))
    with pytest.raises(NotDurableError, match="19700101"):
        measure.write(TWO_DAYS, durable=True)
    assert usage(fs) == [0.75]
    fs.heal()
    measure.close()
    assert usage(fs) == [0.5, 0.75]


def test_refused_means_that_nothing_of_the_batch_is_stored(fs):
    """The second of its tables cannot be opened."""
    measure = opened(fs)
    fs.add(Fault("create_lock_file", "*19700102*"))
    with pytest.raises(measurefs.LockError):
        measure.write(TWO_DAYS, durable=True)
    assert measure.query().to_arrow().num_rows == 0
    assert measure.write(TWO_DAYS, durable=True) == 2
    assert usage(fs) == [0.5, 0.75]
    measure.close()


def test_after_a_takeover_a_retry_with_its_version_is_harmless(fs):
    """The rows were written, and their writer lost the lock before it was told so."""
    old = opened(fs)
    old.write(ROW | {"version": [6]}, durable=True)
    again = ROW | {"usage": [0.75], "version": [7]}
    stall = Stall()
    fs.add(Fault("lock.check", error=None, stall=stall))
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(old.write, again, durable=True)
        assert stall.wait_until_reached(30)
        fs.wrapped.break_locks()
        stall.release()
        with pytest.raises(FencedError):
            writing.result(30)
    new = opened(fs)
    assert new.write(again, durable=True) == 1
    assert new.query().to_arrow().num_rows == 1
    new.close()
    assert usage(fs) == [0.75]


class TestWithoutBackground:
    def test_nothing_happens_until_it_is_stepped(self, fs):
        clock = Clock()
        options = TableOptions(flush_interval=5.0, gc_interval=60.0)
        database = measurefs.open(fs, background=False, options=options, runtime=Runtime(monotonic=clock))
        measure = database.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
        database.step()
        measure.write(ROW)
        assert database.step() == pytest.approx(5.0)
        assert usage(fs) == []
        clock.seconds += 5.0
        assert 0 < database.step() <= 60.0
        assert usage(fs) == [0.5]
        database.close()

    def test_a_store_that_nobody_writes_to_has_nothing_due(self, fs):
        with measurefs.open(fs, background=False) as database:
            assert database.step() == float("inf")

    def test_failures_do_not_come_out_of_a_step(self, fs):
        clock = Clock()
        database = measurefs.open(fs, background=False, runtime=Runtime(monotonic=clock))
        measure = database.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
        measure.write(ROW)
        fs.add(Fault("write", error="disk full", times=None))
        clock.seconds += 60
        assert database.step() < 10
        (stats,) = measure.stats().values()
        assert "No space left" in stats["last_error"]
        fs.heal()
        clock.seconds += 60
        database.step()
        assert usage(fs) == [0.5]
        database.close()
