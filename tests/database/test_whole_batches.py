"""A batch over several tables becomes visible in all of them at one moment."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pyarrow.compute as pc
import pytest

import measurefs
from measurefs import ClosedError, Database, LockError, Measure, TableOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.testing import CrashFileSystem
from tests.conftest import Store
from tests.database.helpers import DAY, open_store

HOSTS = ["a", "b", "c", "d"]
SEGMENTS = [0, DAY, 2 * DAY]
ROWS = len(HOSTS) * len(SEGMENTS)
BATCHES = 40


def make(database: Database) -> Measure:
    return database.create_measure("m", entity=["host"], fields={"batch": "int64"}, shards=2, exist_ok=True)


def batch(number: int, segments: list[int] = SEGMENTS) -> dict[str, Any]:
    """A row of each host in each segment: six tables."""
    keys = [(start + number, host) for start in segments for host in HOSTS]
    times, hosts = zip(*keys, strict=True)
    return {"time": list(times), "host": list(hosts), "batch": [number] * len(keys)}


def seen(measure: Measure) -> Counter[int]:
    """How many rows of each batch a query finds."""
    with measure.query(columns=["batch"]) as result:
        return Counter(result.to_arrow()["batch"].to_pylist())


def while_running(work: Callable[[], object], look: Callable[[], None]) -> None:
    """Look again and again until the work, in a thread of its own, is done; and once more."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        look()
    thread.join()
    look()
    assert not failures, failures


@pytest.fixture(autouse=True)
def threads_that_take_turns_often() -> Iterator[None]:
    """So that they meet each other in the midst of what they do."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def database() -> Iterator[Database]:
    options = TableOptions(flush_bytes=1, gc_grace=0.0, gc_interval=0.01)
    with measurefs.open(MemoryFileSystem(), options=options) as database:
        yield database


def test_a_query_has_all_of_a_batch_or_nothing(database: Database) -> None:
    """Also of the first, which makes the tables, and while parts are flushed and collected."""
    measure = make(database)
    most: Counter[int] = Counter()

    def look() -> None:
        counts = seen(measure)
        assert set(counts.values()) <= {ROWS}
        assert counts.keys() >= most.keys()  # and what was seen once is seen for ever
        most.update(counts.keys() - most.keys())

    def work() -> None:
        for number in range(BATCHES):
            assert measure.write(batch(number), durable=number % 10 == 0) == ROWS

    while_running(work, look)
    assert sorted(most) == list(range(BATCHES))


def test_while_new_segments_come(database: Database) -> None:
    measure = make(database)

    def work() -> None:
        for number in range(15):
            measure.write(batch(number, [0, (number + 1) * DAY, (number + 2) * DAY]))

    while_running(work, lambda: check_whole(measure))
    assert len(seen(measure)) == 15


def check_whole(measure: Measure) -> None:
    assert set(seen(measure).values()) <= {ROWS}


def test_while_tables_that_were_read_are_opened_for_writing(local_store: Store) -> None:
    for number in range(6):
        with open_store(local_store) as database:
            measure = make(database)
            check_whole(measure)  # opens all of them to read
            rows = batch(number)
            while_running(partial(measure.write, rows), partial(check_whole, measure))
            assert len(seen(measure)) == number + 1


def test_a_batch_between_the_finding_of_tables_and_their_pinning(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes into a table that the query has found, and makes one that it has not."""
    measure = make(database)
    measure.write(batch(0, [0]))
    reading = measure._tables.reading

    def reading_before_a_batch(places: Any) -> Any:
        found = reading(places)
        monkeypatch.undo()
        measure.write(batch(1))
        return found

    monkeypatch.setattr(measure._tables, "reading", reading_before_a_batch)
    assert seen(measure) == {0: len(HOSTS), 1: ROWS}


def test_of_several_writers(database: Database) -> None:
    measure = make(database)

    def write(numbers: range) -> None:
        for number in numbers:
            measure.write(batch(number))

    def work() -> None:
        threads = [threading.Thread(target=write, args=(range(start, BATCHES, 3),)) for start in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    while_running(work, lambda: check_whole(measure))
    assert len(seen(measure)) == BATCHES


def test_rows_that_replace_others_do_so_together(database: Database) -> None:
    """Every query finds each row once, and all of them from one batch."""
    measure = make(database)

    def write(number: int) -> None:
        measure.write(batch(0) | {"batch": [number] * ROWS})

    def work() -> None:
        for number in range(1, BATCHES):
            write(number)

    write(0)
    while_running(work, lambda: check_one(measure))
    assert seen(measure) == {BATCHES - 1: ROWS}


def check_one(measure: Measure) -> None:
    counts = seen(measure)
    assert list(counts.values()) == [ROWS], counts


def test_a_refused_batch_is_in_no_table(local_store: Store) -> None:
    """One of its six tables belongs to another process, or has no room."""
    with open_store(local_store) as database, open_store(local_store) as other:
        measure, theirs = make(database), make(other)
        mine = batch(1, [DAY])
        first = {name: [values[0]] for name, values in mine.items()}
        theirs.write(first)
        with pytest.raises(LockError, match=r"shard \d of segment seg-19700102 .*Measure\.shard_of"):
            measure.write(batch(2))
        assert seen(measure) == {}
        assert measure.write(batch(3, [0])) == len(HOSTS)


def test_a_batch_that_meets_the_end_of_its_measure_is_whole_or_nothing() -> None:
    fs = MemoryFileSystem()
    written = []
    with measurefs.open(fs) as database:
        measure = make(database)
        started = threading.Event()

        def write() -> None:
            for number in range(10_000):
                try:
                    measure.write(batch(number))
                except ClosedError:
                    return
                written.append(number)
                started.set()

        thread = threading.Thread(target=write)
        thread.start()
        started.wait(60)
        measure.close()
        thread.join()
    with measurefs.open(fs, read_only=True) as database:
        assert seen(database.measure("m")) == dict.fromkeys(written, ROWS)


def test_a_crash_leaves_each_table_whole_and_what_was_acknowledged_in_all() -> None:
    """What `Measure.write` says of batches that nobody was told are durable."""
    fs = CrashFileSystem()
    database = measurefs.open(fs, background=False)
    measurefs.database.database._open_databases.discard(database)
    measure = make(database)
    measure.write(batch(0), durable=True)
    measure.write(batch(1))
    measure._tables.writers()[0].flush()
    found = fs.crash("none")
    with measurefs.open(found, read_only=True) as reader:
        measure = reader.measure("m")
        counts = seen(measure)
        assert counts[0] == ROWS
        assert 0 < counts[1] < ROWS
        with measure.query(where=pc.field("batch") == 1) as result:
            rows = result.to_arrow()
        days = [time.date() for time in rows["time"].to_pylist()]
        tables = Counter(zip(days, measure.shard_of(rows).tolist(), strict=True))
        of_shard = Counter(measure.shard_of({"host": HOSTS}).tolist())
        assert all(count == of_shard[shard] for (_, shard), count in tables.items())
