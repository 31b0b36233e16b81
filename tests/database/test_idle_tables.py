"""Tables to which nobody writes any more: their locks are let go of, and taken again when that is needed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from measurefs import Database, LockError, TableOptions
from measurefs.table import Runtime
from measurefs.testing import Fault, FaultFileSystem, Stall
from tests.conftest import Store
from tests.database.helpers import DAY, one_row, open_store, values_of
from tests.table.tables import until

IDLE = 900.0


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def opened(store: Store, clock: Clock, idle: float | None = IDLE) -> Database:
    runtime = Runtime(monotonic=clock)
    return open_store(store, runtime=runtime, background=False, options=TableOptions(idle=idle))


def write(db: Database, time: int, **how: bool) -> None:
    cpu = db.create_measure("cpu", entity=["host"], fields={"v": "int64"}, exist_ok=True)
    cpu.write(one_row(time=time, host="a", v=time), **how)


def test_another_process_can_write_what_is_not_written_to_any_more(store_url: Store) -> None:
    clock = Clock()
    with opened(store_url, clock) as first, opened(store_url, Clock()) as second:
        write(first, 1)
        write(first, DAY)
        clock.seconds = IDLE / 2
        first.step()
        write(first, DAY + 1)
        clock.seconds = IDLE
        first.step()
        write(second, 2, durable=True)
        with pytest.raises(LockError):
            write(second, DAY + 2)
        with pytest.raises(LockError):
            write(first, 3)
        first.refresh()
        assert values_of(first.measure("cpu"), "v") == [1, 2, DAY, DAY + 1]
    with opened(store_url, Clock()) as db:
        assert values_of(db.measure("cpu"), "v") == [1, 2, DAY, DAY + 1]


def test_a_write_takes_the_lock_again(store_url: Store) -> None:
    clock = Clock()
    with opened(store_url, clock) as db:
        for number in range(1, 5):
            write(db, number)
            clock.seconds += IDLE
            db.step()  # the rows wait to be flushed
            clock.seconds += IDLE
            db.step()
        assert values_of(db.measure("cpu"), "v") == [1, 2, 3, 4]
        (stats,) = db.measure("cpu").stats().values()
        assert "merge_error" not in stats, "it is open for writing"


def test_what_was_written_is_seen_when_the_lock_is_let_go_of(store_url: Store) -> None:
    """Without a look at what others have made since: the table is opened anew, as it is by now."""
    with opened(store_url, Clock()) as db:
        write(db, 1)
        write(db, 2)
    clock = Clock()
    with opened(store_url, clock) as db:
        write(db, 3, durable=True)
        clock.seconds = IDLE
        db.step()
        assert values_of(db.measure("cpu"), "v") == [1, 2, 3]
        assert db.measure("cpu").delete(start=2, end=3) == 1
        assert values_of(db.measure("cpu"), "v") == [1, 3]


def test_two_who_take_a_lock_for_a_moment_do_not_disturb_each_other(memory_store: Store) -> None:
    with memory_store.open() as plain:
        with opened(memory_store, Clock()) as db:
            for number in range(4):
                write(db, number)
                db.flush()
        held = Stall()
        faulty = FaultFileSystem(plain, Fault("write", "*.snp", error=None, stall=held))
        with opened(Store(faulty), Clock()) as db, ThreadPoolExecutor(2) as others:
            cpu = db.measure("cpu")
            deleting = others.submit(cpu.delete, start=1, end=2)
            assert held.wait_until_reached(30)
            compacting = others.submit(cpu.compact)
            until(lambda: cpu._tables._lent.total() == 2)
            held.release()
            assert deleting.result(timeout=30) == 1
            compacting.result(timeout=30)
            assert values_of(cpu, "v") == [0, 2, 3]
            with opened(memory_store, Clock()) as other:
                write(other, 9)


@pytest.mark.parametrize(("kind", "lets_go"), [("local", False), ("s3", True)])
def test_by_itself_only_where_holding_costs_requests(
    request: pytest.FixtureRequest, kind: str, lets_go: bool
) -> None:
    store: Store = request.getfixturevalue(f"{kind}_store")
    clock = Clock()
    with opened(store, clock, idle=None) as db:
        write(db, 1, durable=True)
        clock.seconds = 1e6
        db.step()
        with store.open(**({"lock_wait": False} if kind == "s3" else {})) as fs:
            if lets_go:
                fs.create_lock_file("cpu/seg-19700101/shard-0/LOCK").close()
            else:
                with pytest.raises(LockError):
                    fs.create_lock_file("cpu/seg-19700101/shard-0/LOCK")


def test_rows_that_cannot_be_made_durable_keep_the_lock(memory_store: Store) -> None:
    clock = Clock()
    with memory_store.open() as fs:
        faulty = FaultFileSystem(fs)
        runtime = Runtime(monotonic=clock)
        with open_store(
            Store(faulty), runtime=runtime, background=False, options=TableOptions(idle=IDLE)
        ) as db:
            write(db, 1, durable=True)
            write(db, 2)
            faulty.add(Fault("write", "*.snp", times=None))
            clock.seconds = 2 * IDLE
            db.step()
            with pytest.raises(LockError), opened(memory_store, Clock()) as other:
                write(other, 3)
            faulty.heal()
            clock.seconds = 4 * IDLE
            db.step()
            with opened(memory_store, Clock()) as other:
                write(other, 3)
            db.refresh()
            assert values_of(db.measure("cpu"), "v") == [1, 2, 3]


def test_opening_and_letting_go_has_no_end(memory_store: Store) -> None:
    """Nothing is kept of how a table was open before, once no reader needs it."""
    with open_store(memory_store, background=False) as db:
        write(db, 1, durable=True)
    with open_store(memory_store, background=False) as db:
        cpu = db.measure("cpu")
        with cpu.query() as pinned:
            for _ in range(700):
                cpu.gc()  # takes the table's lock for a moment
            assert pinned.to_arrow().num_rows == 1
        assert values_of(cpu, "v") == [1]
