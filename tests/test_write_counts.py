"""What writing costs, in figures that no clock has part in: calls of the store, bytes, and calls of Python.

The bounds are some 15 % above what it took when they were written. What exceeds one is to be found; raising it is last.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

import measurefs
from measurefs import Database, Measure, TableOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs.wrappers import CountingFileSystem
from measurefs.table.policy import MergeOptions

FIELDS = [f"f{number}" for number in range(5)]
SECOND = 1_000_000_000


def readings(series: int, rows: int, batch_rows: int) -> Iterator[pa.Table]:
    """Rows of metrics by time, all series at each: two decimals, and each value near the one before it."""
    random = np.random.default_rng(7)
    walks = 50 + random.normal(0, 0.4, (len(FIELDS), rows, series)).cumsum(1).round(2)
    times = np.repeat(np.arange(rows) * 10 * SECOND, series)
    hosts = np.tile([f"host-{number:06}" for number in range(series)], rows)
    for start in range(0, series * rows, batch_rows):
        part = slice(start, start + batch_rows)
        columns = {name: walk.ravel()[part].copy() for name, walk in zip(FIELDS, walks, strict=True)}
        yield pa.table({"time": times[part], "host": pa.array(hosts[part]), **columns})


@pytest.fixture
def fs() -> CountingFileSystem:
    return CountingFileSystem(MemoryFileSystem())


@pytest.fixture
def db(fs: CountingFileSystem) -> Iterator[Database]:
    """One that does everything in the caller's thread."""
    options = TableOptions(threads=1, merge=MergeOptions(enabled=False))
    with measurefs.open(fs, options=options, background=False) as opened:
        yield opened


@pytest.fixture
def cpu(db: Database) -> Measure:
    return db.create_measure("cpu", entity=["host"], fields=dict.fromkeys(FIELDS, "float64"))


def python_calls(work: Callable[[], object]) -> int:
    """Return how many functions were called; in a thread of its own, since the main one leaves flushing to others."""
    calls = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    def counted() -> None:
        sys.setprofile(count)
        try:
            work()
        finally:
            sys.setprofile(None)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(counted).result()
    return calls


def test_a_durable_append_takes_one_file_and_one_sync(fs: CountingFileSystem, cpu: Measure) -> None:
    """And all of them together a part and a snapshot, sooner or later."""
    first, *others = readings(1_000, 6, 1_000)
    cpu.write(first, durable=True)
    fs.reset()
    for batch in others:
        cpu.write(batch, durable=True)
    assert fs.calls == {"write": len(others), "sync_path": len(others)}
    fs.reset()
    cpu.flush()
    assert fs.calls == {"write": 2, "sync_path": 2}


def test_calls_of_python_per_durable_append(cpu: Measure) -> None:
    first, second, *others = readings(1_000, 12, 1_000)
    for batch in (first, second):
        cpu.write(batch, durable=True)
    calls = python_calls(lambda: [cpu.write(batch, durable=True) for batch in others])
    assert calls <= 1_530 * len(others)


@pytest.mark.parametrize(
    ("series", "rows", "batch_rows", "calls", "size"),
    [(100, 2_000, 10_000, 130, 10.0), (50_000, 4, 50_000, 75, 10.5)],
    ids=["few-series", "many-series"],
)
def test_bulk_ingest(
    fs: CountingFileSystem, cpu: Measure, series: int, rows: int, batch_rows: int, calls: int, size: float
) -> None:
    """Calls of Python per 1,000 rows, bytes per row, and one part for all of them."""
    first, *others = readings(series, rows, batch_rows)
    cpu.write(first)
    cpu.flush()
    fs.reset()

    def ingest() -> None:
        for batch in others:
            cpu.write(batch)
        cpu.flush()

    made = python_calls(ingest)
    count = sum(batch.num_rows for batch in others)
    assert made <= calls * count / 1_000
    assert fs.bytes["written"] <= size * count
    assert fs.calls == {"write": 2, "sync_path": 2}


def test_merging_what_was_just_written_costs_one_part_and_one_commit(
    fs: CountingFileSystem, cpu: Measure
) -> None:
    for batch in readings(1_000, 8, 1_000):
        cpu.write(batch)
        cpu.flush()
    fs.reset()
    calls = python_calls(cpu.compact)
    assert fs.calls == {"write": 2, "sync_path": 2}
    assert calls <= 5_200
