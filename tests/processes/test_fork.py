"""Forks of a process that has a store open: the child is refused, harms nothing, and never waits for ever."""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import multiprocessing
import os
import socket
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest

import measurefs
from measurefs import ClosedError, Database, LockError, Measure, TableOptions
from measurefs.table import Background, TsTable, options
from tests.conftest import Store
from tests.database.helpers import DAY, values_of
from tests.processes.children import Child, Place
from tests.processes.uses import uses
from tests.table.tables import SCHEMA, one

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

PATIENCE = 20.0
"""Seconds after which a forked child that does not end says where it waits."""

NEVER = TableOptions(flush_interval=3600.0, gc_interval=3600.0)


def in_fork(work: Callable[[], object]) -> None:
    """Fork, do some work in the child, and wait until it has; raises what went wrong there."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 and later warn of forks in a process of several threads, which is what is tested here.
        warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            faulthandler.dump_traceback_later(PATIENCE, exit=True, file=writer)
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - the parent raises it
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"in the forked child: {said}"


def open_database(place: Place, **more: Any) -> Database:
    return measurefs.open(place.url, storage_options=place.storage_options(), **more)


def create(database: Database) -> Measure:
    return database.create_measure("m", entity=["host"], fields={"value": "int64"}, exist_ok=True)


def row(number: int, day: int = 0) -> dict[str, list[Any]]:
    return {"time": [day * DAY + number], "host": ["a"], "value": [number]}


def seen_afresh(place: Place) -> list[int]:
    """What a reader finds who opens the store here and now, and looks again where a writer was faster."""
    with open_database(place, read_only=True, max_age=0.0) as database:
        return values_of(database.measure("m"), "value")


def refuses(calls: dict[str, Callable[[], object]]) -> None:
    for name, call in calls.items():
        with pytest.raises(ClosedError, match="before this process was forked; open it again here"):
            pytest.fail(f"{name} gave {call()}")


# What runs in processes of their own.


def forks(_: Connection, place: Place) -> None:
    """Fork with durable rows, rows in memory, and a result that is half read."""
    with open_database(place, options=NEVER) as database:
        measure = create(database)
        measure.write(row(1), durable=True)
        measure.write(row(2))
        result = measure.query()
        half_read = iter(result)
        next(half_read)

        def child() -> None:
            refuses(uses(database, measure))
            refuses(
                {
                    "QueryResult.to_arrow": result.to_arrow,
                    "QueryResult.to_batches": result.to_batches,
                    "QueryResult": lambda: next(half_read),
                }
            )
            assert seen_afresh(place) == [1]
            with (
                open_database(place) as own,
                pytest.raises(LockError, match=f"process {os.getppid()} on {socket.gethostname()}"),
            ):
                create(own).write(row(3))
            result.close()
            for _ in range(2):
                measure.close()
                database.close()
            for call in (database.measures, measure.flush):
                with pytest.raises(ClosedError):
                    call()

        for _ in range(2):
            in_fork(child)
        assert seen_afresh(place) == [1], "the child has flushed the parent's rows"
        assert result.to_arrow()["value"].to_pylist() == [1, 2]
        measure.write(row(4), durable=True)
        assert seen_afresh(place) == [1, 2, 4]
        with open_database(place) as other, pytest.raises(LockError):
            create(other).write(row(5))


def forks_while_a_thread_writes(pipe: Connection, place: Place, times: int) -> None:
    """Fork many times while threads write, flush and query."""
    busy = TableOptions(flush_interval=0.02, gc_interval=0.02, gc_grace=0.5)
    over = threading.Event()
    written = itertools.count()
    with open_database(place, options=busy) as database, contextlib.ExitStack() as stack:
        measure = create(database)
        measure.write(row(next(written)), durable=True)

        def write() -> None:
            while not over.is_set():
                number = next(written)
                measure.write(row(number, number % 3), durable=number % 20 == 0)
                values_of(measure, "value", limit=1)

        threads = [threading.Thread(target=write) for _ in range(2)]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(over.set)

        def child() -> None:
            refuses({"write": lambda: measure.write(row(99)), "measure": lambda: database.measure("m")})
            measure.close()
            database.close()
            assert 0 in seen_afresh(place)

        for _ in range(times):
            in_fork(child)
    assert sorted(seen_afresh(place)) == list(range(next(written)))
    pipe.send(times)


@contextlib.contextmanager
def held_by_another_thread(locks: list[Any]) -> Iterator[None]:
    """Let a thread hold locks: so it is, for a moment, with each of them when a busy process forks."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        for lock in locks:
            lock.acquire()
        held.set()
        release.wait()
        for lock in locks:
            lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        release.set()
        thread.join()


def locks_of(table: TsTable) -> list[Any]:
    introducer = table._introducer
    return [
        table._pending._accounting,
        table._background._quick._lock,
        table._background._slow._lock,
        table._merger._merging,
        table._flusher._commits._changed,
        table._flusher._flushes._changed,
        table._memory._changed,
        introducer._changing,
        introducer._swapping,
        introducer.watcher._changed,
        introducer._current._lock,
    ]


def forks_while_locks_are_held(_: Connection, place: Place) -> None:
    """Fork while other threads hold all the locks that there are in a database."""
    with open_database(place, options=NEVER) as database:
        measure = create(database)
        measure.write(row(1), durable=True)
        measure.write(row(2))
        result = measure.query()
        (table,) = measure._tables.writers()

        def child() -> None:
            refuses(uses(database, measure))
            result.close()
            measure.close()
            database.close()
            assert seen_afresh(place) == [1]

        with held_by_another_thread([database._lock, measure._tables._lock, *locks_of(table)]):
            in_fork(child)


def forks_after_a_result_was_dropped(_: Connection, place: Place) -> None:
    """Fork when a result was dropped that nobody has let go of for good yet."""
    with open_database(place, options=NEVER) as database:
        measure = create(database)
        measure.write(row(1), durable=True)
        (table,) = measure._tables.writers()
        measure.query().close()
        with held_by_another_thread(locks_of(table)):
            in_fork(lambda: seen_afresh(place))


def forks_while_threads_are_started(_: Connection, place: Place) -> None:
    """Fork while another thread looks for one that decodes."""
    with open_database(place, options=NEVER) as database:
        create(database).write(row(1), durable=True)
        with held_by_another_thread([options._pools_lock]):
            in_fork(lambda: seen_afresh(place))


def forks_with_a_table(_: Connection, place: Place) -> None:
    """Fork with a table of its own, and close that in the child."""
    background = Background()
    with place.open() as fs, TsTable(fs, "t", NEVER, schema=SCHEMA, background=background) as table:
        table.add(one(1))
        with held_by_another_thread(locks_of(table)):
            in_fork(table.close)
            in_fork(table.abandon)
    background.close()


def run(function: Callable[..., None], *arguments: Any) -> list[Any]:
    with Child(function, *arguments) as child:
        return child.finish()


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest) -> Place:
    store: Store = request.getfixturevalue(f"{request.param}_store")
    return Place.of(store)


def test_what_was_open_before_the_fork_is_refused_and_untouched(place: Place) -> None:
    run(forks, place)


def test_a_fork_in_the_midst_of_writing(local_store: Store) -> None:
    assert run(forks_while_a_thread_writes, Place.of(local_store), 10) == [10]


@pytest.mark.parametrize(
    "function",
    [
        forks_while_locks_are_held,
        forks_after_a_result_was_dropped,
        forks_while_threads_are_started,
        forks_with_a_table,
    ],
)
def test_a_fork_never_waits_for_a_lock_of_its_parents_threads(
    local_store: Store, function: Callable[..., None]
) -> None:
    run(function, Place.of(local_store))


def reads_and_writes(pipe: Connection, place: Place) -> None:
    with open_database(place) as database:
        pipe.send(values_of(database.measure("m"), "value"))
        with pytest.raises(LockError):
            database.measure("m").write(row(3))
        database.measure("m").write(row(7, day=1), durable=True)


def test_a_spawned_process_opens_the_store_for_itself(local_store: Store) -> None:
    place = Place.of(local_store)
    spawn = multiprocessing.get_context("spawn")
    with open_database(place, options=NEVER) as database:
        measure = create(database)
        measure.write(row(1), durable=True)
        measure.write(row(2))
        mine, theirs = spawn.Pipe()
        process = spawn.Process(target=reads_and_writes, args=(theirs, place))
        process.start()
        theirs.close()
        with mine:
            assert mine.recv() == [1]
        process.join()
        assert process.exitcode == 0
        process.close()
        measure.refresh()
        assert values_of(measure, "value") == [1, 2, 7]
