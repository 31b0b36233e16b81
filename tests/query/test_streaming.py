"""Reading a result bit by bit: what is held meanwhile, the batches, and whoever else reads or writes at the time."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import measurefs
from measurefs import Measure, PartOptions, SchemaError, TableOptions
from tests.conftest import Store
from tests.database.helpers import files_of, open_store

ORDERS = ["time", "-time", "series"]
STEP = 10_000_000_000
SERIES = 100
orders = pytest.mark.parametrize("order", ORDERS)


def table(first: int, count: int, series: int = SERIES, add: float = 0.0) -> pa.Table:
    """So many rows of each of so many hosts."""
    times = np.repeat(np.arange(first, first + count), series) * STEP
    hosts = np.tile(np.arange(series), count)
    return pa.table(
        {
            "time": times,
            "host": pa.array([f"host-{number:04d}" for number in range(series)]).take(pa.array(hosts)),
            "region": pa.array([f"region-{number % 3}" for number in range(series)]).take(pa.array(hosts)),
            "usage": np.round(times % 977 / 100 + hosts + add, 2),
            "n": pa.array(times // STEP * hosts, mask=hosts % 5 == 1),
        }
    )


def create(database: measurefs.Database) -> Measure:
    fields = {"usage": "float64", "n": "int64"}
    return database.create_measure(
        "m", entity=["host"], tags={"region": "string"}, fields=fields, interval="30d"
    )


@pytest.fixture(scope="module")
def large() -> Iterator[Measure]:
    """Half a million rows in a few parts that overlap in time but not in rows; nothing of them is kept."""
    options = TableOptions(cache_bytes=0, part=PartOptions(block_rows=4096))
    with measurefs.open(f"memory://{uuid.uuid4().hex}", options=options) as database:
        measure = create(database)
        fill(measure)
        yield measure


def fill(measure: Measure) -> None:
    rows = table(0, 5000)
    for number in range(4):
        measure.write(rows.filter(pa.array(np.arange(len(rows)) // SERIES % 4 == number)))
        measure.flush()


@pytest.fixture
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams may hold a sixteenth of what they usually do."""
    monkeypatch.setattr("measurefs.query.result._STREAM_BYTES", 2 << 20)
    monkeypatch.setattr("measurefs.query.gather._PORTION_BYTES", 2 << 20)
    monkeypatch.setattr("measurefs.query.gather._LEAST_ROWS", 1 << 14)
    monkeypatch.setattr("measurefs.query.read._SLACK_ROWS", 1 << 13)


READ_ALL = """
import json, sys, tracemalloc
import pyarrow as pa
import measurefs
from measurefs.query import gather, read, result
result._STREAM_BYTES = gather._PORTION_BYTES = 2 << 20
gather._LEAST_ROWS, read._SLACK_ROWS = 1 << 14, 1 << 13
with measurefs.open(sys.argv[1], read_only=True, options=measurefs.TableOptions(cache_bytes=0)) as database:
    measure = database.measure("m")
    for order in ("series", "time", "-time"):
        measure.query(end=100_000_000_000, order=order).explain()  # what is imported late is not counted
    tracemalloc.start()
    whole = [sum(each.nbytes for each in measure.query(order=order)) for order in ("series", "time", "-time")]
    held = tracemalloc.get_traced_memory()[1] + pa.default_memory_pool().max_memory()
    print(json.dumps([*whole, held]))
"""
"""Reads a store in every order, holding each batch only until the next comes, and prints bytes."""


class TestMemory:
    def test_is_bounded_in_every_order(self, local_store: Store) -> None:
        """Of results that are many times larger than what may be held, in a process of its own."""
        with open_store(local_store, options=TableOptions(part=PartOptions(block_rows=4096))) as database:
            fill(create(database))
        command = [sys.executable, "-c", READ_ALL, local_store.url]
        *whole, held = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        assert min(whole) > 20_000_000
        assert held < min(whole) * 2 / 3

    @orders
    def test_many_rows_at_one_instant_do_not_bring_later_ones_along(
        self, memory_store: Store, monkeypatch: pytest.MonkeyPatch, order: str
    ) -> None:
        """Each series has a few rows at the beginning of a year and one at its end: the index tells no more."""
        monkeypatch.setattr("measurefs.query.result._STREAM_BYTES", 10_000)
        monkeypatch.setattr("measurefs.query.read._SLACK_ROWS", 0)
        year = 31_536_000_000_000_000
        with open_store(memory_store) as database:
            measure = database.create_measure("m", entity=["host"], fields={"n": "int64"}, interval="2000d")
            times = [*range(10), year - 10, *([year] if order != "time" else [])]
            hosts = [f"h{number}" for number in range(300)]
            measure.write(
                {
                    "time": times * 300,
                    "host": [host for host in hosts for _ in times],
                    "n": [1] * 300 * len(times),
                },
            )
            measure.flush()
            sizes = [batch.num_rows for batch in measure.query(0, order=order).to_batches()]
            assert sum(sizes) == 300 * len(times)
            assert max(sizes) <= 600


class TestBatches:
    @orders
    @pytest.mark.usefixtures("small_budget")
    def test_have_at_most_so_many_rows(self, large: Measure, order: str) -> None:
        result = large.query(end=700 * STEP, order=order)
        sizes = [batch.num_rows for batch in result.to_batches(batch_rows=3_999)]
        assert sum(sizes) == 700 * SERIES
        assert max(sizes) == 3_999
        assert pa.Table.from_batches(result.to_batches(3_999)) == result.to_arrow()
        assert result.to_reader(3_999).read_all() == result.to_arrow()

    @pytest.mark.parametrize("rows", [0, -1, True])
    def test_refused(self, large: Measure, rows: int) -> None:
        with pytest.raises(SchemaError, match="batch_rows must be"):
            large.query().to_batches(rows)

    @orders
    @pytest.mark.usefixtures("small_budget")
    def test_are_the_whole_however_small(self, large: Measure, order: str) -> None:
        result = large.query(order=order, where={"n": {"null": False}})
        batches = list(result.to_batches())
        assert len(batches) > 5
        assert pa.Table.from_batches(batches) == result.to_arrow()


@pytest.mark.usefixtures("small_budget")
class TestMeanwhile:
    @pytest.fixture
    def measure(self, memory_store: Store) -> Iterator[Measure]:
        options = TableOptions(log_bytes=0, gc_grace=0.0, keep_snapshots=1)
        with open_store(memory_store, options=options) as database:
            measure = create(database)
            for number in range(2):
                measure.write(table(1000 * number, 1000), durable=True)
            yield measure

    @pytest.mark.parametrize("how", ["to_batches", "to_reader", "__iter__"])
    def test_who_drops_the_iterator_lets_go_of_the_files(
        self, measure: Measure, memory_store: Store, how: str
    ) -> None:
        kept: Any = getattr(measure.query(), how)()
        next(iter(kept))
        measure.compact()
        measure.gc()
        assert len(part_files(memory_store)) == 3
        del kept
        measure.gc()
        assert len(part_files(memory_store)) == 1

    @orders
    def test_two_threads_read_one_result_and_a_third_one_writes(self, measure: Measure, order: str) -> None:
        result = measure.query(order=order)
        expected = result.to_arrow()
        barrier = threading.Barrier(3)

        def read(_: int) -> pa.Table:
            barrier.wait()
            return pa.Table.from_batches(result.to_batches(), result.schema)

        with ThreadPoolExecutor(2) as pool:
            readers = [pool.submit(read, number) for number in range(2)]
            barrier.wait()
            for number in range(5):
                measure.write(table(400 * number, 20, add=1000.0), durable=number % 2 == 0)
            measure.compact()
            measure.gc()
            assert [reader.result() for reader in readers] == [expected, expected]
        assert result.to_arrow() == expected
        assert measure.query(order=order).to_arrow() != expected


def part_files(store: Store) -> list[str]:
    with store.open() as fs:
        return [path for path in files_of(fs) if path.endswith(".part")]


@orders
def test_threads_change_nothing(memory_store: Store, order: str) -> None:
    """The same bytes, of rows and of the columns' chunks, whatever the number of threads."""
    found = []
    for threads in (1, 4):
        with open_store(memory_store, options=TableOptions(threads=threads)) as database:
            measure = database.create_measure(
                f"m{threads}",
                entity=["host"],
                tags={"region": "string"},
                fields={"usage": "float64", "n": "int64"},
            )
            measure.write(table(0, 1000))
            measure.flush()
            result = measure.query(order=order)
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, result.schema) as stream:
                for batch in result.to_batches():
                    stream.write_batch(batch)
            found.append(sink.getvalue())
    assert found[0] == found[1]
