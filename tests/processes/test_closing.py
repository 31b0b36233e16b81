"""Closing, and what comes after it or at the same time."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

from measurefs import ClosedError, Database, Measure, TableOptions, TsTable
from tests.conftest import Store
from tests.database.helpers import DAY, open_store, rows_of
from tests.processes.children import PATIENCE
from tests.processes.uses import uses

LATER = TableOptions(flush_interval=3600.0, gc_interval=3600.0)


def create(database: Database) -> Measure:
    return database.create_measure("m", entity=["host"], fields={"value": "int64"}, shards=2, exist_ok=True)


def refuses(calls: dict[str, Callable[[], object]]) -> None:
    for name, call in calls.items():
        with pytest.raises(ClosedError, match="open"):
            pytest.fail(f"{name} gave {call()}")


def opened(store: Store) -> tuple[Database, Measure, list[TsTable]]:
    database = open_store(store, options=LATER)
    measure = create(database)
    measure.write({"time": [1, 1, 1], "host": ["a", "b", "c"], "value": [1, 2, 3]})
    return database, measure, measure._tables.writers()


def test_nothing_can_be_used_after_the_database_was_closed(store_url: Store) -> None:
    database, measure, tables = opened(store_url)
    database.close()
    refuses(uses(database, measure))
    for table in tables:
        refuses(uses(table))
        table.close()
    measure.close()
    database.close()


def test_a_closed_measure_cannot_be_used_and_the_database_can(memory_store: Store) -> None:
    database, measure, tables = opened(memory_store)
    with database:
        measure.close()
        refuses(uses(measure, *tables))
        assert len(rows_of(database.measure("m"))) == 3


def together(*calls: Callable[[], object]) -> None:
    """Make calls in threads of their own, at the same moment; all must end, and none may fail."""
    start = threading.Barrier(len(calls))
    failed: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        start.wait()
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "it hangs"
    if failed:
        raise failed[0]


def test_closing_in_several_threads_at_once_is_harmless(local_store: Store) -> None:
    for number in range(1, 9):
        database = open_store(local_store, options=LATER)
        measure = create(database)
        measure.write({"time": [number] * 3, "host": ["a", "b", "c"], "value": [1, 2, 3]})
        tables = measure._tables.writers()
        together(database.close, database.close, measure.close, *(table.close for table in tables))
        with open_store(local_store) as again:
            assert len(rows_of(again.measure("m"))) == 3 * number
            for host in "abc":  # all locks are free
                create(again).write({"time": [number], "host": [host], "value": [0]})


class Writer:
    """Writes batches of two series on two days until it is refused."""

    def __init__(self, measure: Measure, number: int) -> None:
        self.tried: set[int] = set()
        self.taken: set[int] = set()
        self._measure = measure
        self._number = number
        self._chance = random.Random(number)

    def __call__(self) -> None:
        try:
            for count in range(1, 10_000):
                batch = self._number * 10_000 + count
                self.tried.add(batch)
                self._measure.write(batch_of(batch), durable=self._chance.random() < 0.2)
                self.taken.add(batch)
        except ClosedError:
            return


def batch_of(batch: int) -> dict[str, list[object]]:
    """Rows for four tables, now and then for new ones."""
    day = batch % 10_000 // 20
    return {
        "time": [day * DAY + batch, day * DAY + batch, (day + 1) * DAY + batch, (day + 1) * DAY + batch],
        "host": ["a", "b", "a", "b"],
        "value": [batch] * 4,
    }


@pytest.mark.parametrize("seed", range(6))
def test_what_is_written_while_the_store_is_closed_is_stored_or_refused(
    local_store: Store, seed: int
) -> None:
    chance = random.Random(seed)
    database = open_store(local_store)
    measure = create(database)
    writers = [Writer(measure, number) for number in range(3)]
    enough = chance.randint(0, 30)

    def close() -> None:
        while sum(len(writer.taken) for writer in writers) < enough:
            pass
        chance.choice([database.close, measure.close])()

    try:
        together(close, *writers)
        database.close()
        check(local_store, writers)
    finally:
        give_up(measure)


def check(store: Store, writers: list[Writer]) -> None:
    with open_store(store) as again:
        found = [row["value"] for row in rows_of(create(again))]
        taken = set().union(*(writer.taken for writer in writers))
        assert set(found) == taken, "what was taken is not what is stored"
        assert all(found.count(batch) == 4 for batch in taken), "a batch is stored in part"
        for batch in set().union(*(writer.tried for writer in writers)):
            again.measure("m").write(batch_of(batch))  # no lock was left behind


def give_up(measure: Measure) -> None:
    """Close what is still open, which is nothing unless a test fails."""
    for table in measure._tables.writers():
        table.abandon()


def test_a_write_that_was_under_way_when_the_store_was_closed_is_refused(local_store: Store) -> None:
    """Here since the caller's own data took its time."""
    database = open_store(local_store)
    measure = create(database)
    reached, release = threading.Event(), threading.Event()
    table = pa.table({"time": [1], "host": ["a"], "value": [1]})

    def batches() -> Iterator[pa.RecordBatch]:
        reached.set()
        assert release.wait(PATIENCE)
        yield from table.to_batches()

    def write() -> None:
        with pytest.raises(ClosedError):
            measure.write(pa.RecordBatchReader.from_batches(table.schema, batches()))

    def close() -> None:
        assert reached.wait(PATIENCE)
        database.close()
        release.set()

    try:
        together(write, close)
    finally:
        give_up(measure)
    with open_store(local_store) as again:
        assert rows_of(create(again)) == []
        again.measure("m").write({"time": [1], "host": ["a"], "value": [1]})
