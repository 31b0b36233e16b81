"""What queries leave decoded for the next one: never other rows, never more than was allowed."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import measurefs
from measurefs import Database, Measure, PartOptions, TableOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import CorruptionError, CountingFileSystem, FileSystem, join
from measurefs.fs.wrappers import FileSystemWrapper
from measurefs.table import Runtime

SERIES, EACH = 40, 400
QUERIES: list[dict[str, Any]] = [
    {},
    {"order": "-time", "limit": 30},
    {"order": "series", "columns": ["usage", "time"]},
    {"where": {"host": ["h3", "h17"]}, "order": "series"},
    {"where": {"usage": {">": 30}}, "columns": ["host", "n"]},
    {"where": {"note": {"prefix": "raw 7"}}},
    {"start": 100, "end": 130},
    {"start": 399, "columns": ["region", "flag", "version"]},
    {"where": {"region": "r1", "n": None}},
]


def rows() -> pa.Table:
    """Rows with a column of each kind that is held in a way of its own."""
    place = np.arange(SERIES * EACH)
    time, host = place // SERIES, place % SERIES
    return pa.table(
        {
            "time": time,
            "host": [f"h{number}" for number in host],
            "region": [f"r{number % 3}" for number in host],
            "usage": time / 10,
            "n": pa.array(place, mask=place % 7 == 0),
            "flag": time % 2 == 0,
            "note": [f"raw {number}" for number in place],
        }
    )


def write(fs: FileSystem) -> None:
    """Two wide parts, one half of the time each, of several pages."""
    options = TableOptions(log_bytes=0, part=PartOptions(block_rows=50, compact_bytes=0))
    with measurefs.open(fs, options=options) as db:
        fields = {"usage": "float64", "n": "int64", "flag": "bool", "note": "string"}
        measure = db.create_measure("m", entity=["host"], tags={"region": "string"}, fields=fields)
        whole = rows()
        measure.write(whole[: len(whole) // 2], durable=True)
        measure.write(whole[len(whole) // 2 :], durable=True)


@pytest.fixture(scope="module")
def written() -> FileSystem:
    fs = MemoryFileSystem()
    write(fs)
    return fs


@pytest.fixture
def fs(written: FileSystem) -> CountingFileSystem:
    return CountingFileSystem(written)


def reading(fs: FileSystem, **options: Any) -> Database:
    return measurefs.open(fs, read_only=True, options=TableOptions(**options))


def answers(measure: Measure) -> list[pa.Table]:
    return [measure.query(**query).to_arrow() for query in QUERIES]


def test_answers_are_the_same_without_and_with_little_of_it(fs: CountingFileSystem) -> None:
    with reading(fs) as db:
        expected = answers(db.measure("m"))
        assert len(expected[0]) == SERIES * EACH
        assert answers(db.measure("m")) == expected
    for size in (0, 300_000):
        with reading(fs, cache_bytes=size) as db:
            assert answers(db.measure("m")) == expected


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_what_was_asked_once_is_not_read_again(fs: CountingFileSystem, query: dict[str, Any]) -> None:
    with reading(fs) as db:
        measure = db.measure("m")
        first = measure.query(**query).to_arrow()
        fs.reset()
        assert measure.query(**query).to_arrow() == first
        assert fs.calls.total() == 0
        work = measure.query(**query).explain()
        assert (work.requests, work.bytes, work.chunks, work.rows) == (0, 0, 0, len(first))


def test_a_query_reads_only_what_earlier_ones_have_not(fs: CountingFileSystem) -> None:
    with reading(fs) as db:
        measure = db.measure("m")
        measure.query(columns=["time", "usage"]).to_arrow()
        alone = reading_of(fs, lambda: measure.query(columns=["time", "usage", "note"]).to_arrow())
    with reading(fs) as db:
        measure = db.measure("m")
        whole = reading_of(fs, lambda: measure.query(columns=["time", "usage", "note"]).to_arrow())
    assert 0 < alone < whole


def reading_of(fs: CountingFileSystem, ask: Callable[[], object]) -> int:
    fs.reset()
    ask()
    return fs.bytes["read"]


class TestLimit:
    LIMIT = 200_000

    @pytest.fixture
    def runtime(self) -> Runtime:
        return Runtime.threaded(TableOptions(cache_bytes=self.LIMIT))

    @pytest.fixture
    def measure(self, fs: CountingFileSystem, runtime: Runtime) -> Iterator[Measure]:
        with measurefs.open(fs, read_only=True, runtime=runtime) as db:
            yield db.measure("m")

    def test_holds_under_many_different_queries(self, measure: Measure, runtime: Runtime) -> None:
        for start in range(0, EACH, 100):
            for query in QUERIES[1:]:
                measure.query(**{"start": start, "end": start + 60} | query).to_arrow()
                assert runtime.cache.nbytes <= self.LIMIT
        assert runtime.cache.nbytes > self.LIMIT // 4, "it keeps hardly anything"

    def test_is_of_what_is_really_held(self, fs: CountingFileSystem) -> None:
        """Reading all, which is too much to keep, adds nothing to the little of each page that was kept before."""
        runtime = Runtime.threaded(TableOptions(cache_bytes=2 * self.LIMIT))
        columns = ["time", "usage", "region", "n", "note"]
        with measurefs.open(fs, read_only=True, runtime=runtime) as db:
            measure = db.measure("m")
            measure.query(columns=columns, order="series").explain()
            runtime.cache.keep("everything", None, runtime.cache.limit + 1)
            tracemalloc.start()
            try:
                measure.query(0, 1, columns=columns).explain()
                known, before = runtime.cache.nbytes, held()
                assert known > 0
                measure.query(columns=columns, order="series").explain()
                unknown = (held() - before) - (runtime.cache.nbytes - known)
            finally:
                tracemalloc.stop()
        assert unknown < self.LIMIT // 2, "more is held than the cache knows of"


def held() -> int:
    """Return the bytes that Arrow and Python hold."""
    gc.collect()
    return pa.total_allocated_bytes() + tracemalloc.get_traced_memory()[0]


class Pausing(FileSystemWrapper):
    """Lets a thread wait, in the midst of its query, just before it gets the chunks that it has asked for."""

    def __init__(self, wrapped: FileSystem) -> None:
        super().__init__(wrapped)
        self.paused: threading.Thread | None = None
        self.arrived = threading.Event()
        self.go = threading.Event()

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        if threading.current_thread() is self.paused:
            self.arrived.set()
            assert self.go.wait(60)
        return super().read_ranges(ranges)


COLUMNS = ["time", "usage", "region", "n", "flag", "note"]
SOME = [
    {"start": 0, "end": 40},
    {"start": 60, "end": 61},
    {"where": {"host": "h5"}},
    {"start": 30, "end": 90, "where": {"host": ["h1", "h2", "h30"]}},
    {},
]


class TestThreads:
    @pytest.mark.parametrize("other", SOME, ids=str)
    @pytest.mark.parametrize("first", SOME[:2], ids=str)
    def test_one_overtakes_another(
        self, fs: CountingFileSystem, first: dict[str, Any], other: dict[str, Any]
    ) -> None:
        """While one waits for its chunks another one reads some of the same."""
        with reading(fs, cache_bytes=0) as db:
            measure = db.measure("m")
            whole, some = (measure.query(columns=COLUMNS, **query).to_arrow() for query in ({}, other))
        slow = Pausing(fs)
        with reading(slow) as db:
            measure = db.measure("m")
            measure.query(columns=COLUMNS, **first).to_arrow()
            found: list[pa.Table] = []
            thread = threading.Thread(target=lambda: found.append(measure.query(columns=COLUMNS).to_arrow()))
            slow.paused = thread
            thread.start()
            assert slow.arrived.wait(60)
            assert measure.query(columns=COLUMNS, **other).to_arrow() == some
            slow.go.set()
            thread.join()
            assert found == [whole]
            assert measure.query(columns=COLUMNS, **other).to_arrow() == some
            assert measure.query(columns=COLUMNS).to_arrow() == whole

    def test_many_at_once_get_the_right_rows(self, fs: CountingFileSystem) -> None:
        with reading(fs, cache_bytes=0) as db:
            measure = db.measure("m")
            queries = [{"columns": COLUMNS, **query} for query in SOME]
            expected = [measure.query(**query).to_arrow() for query in queries]
        usual = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for turn in range(2):
                with reading(fs, cache_bytes=[128 << 20, 100_000][turn % 2]) as db:
                    measure = db.measure("m")
                    barrier = threading.Barrier(4)

                    def ask(number: int, measure: Measure = measure, at: threading.Barrier = barrier) -> None:
                        at.wait()
                        for step in range(len(queries)):
                            place = (number + step) % len(queries)
                            assert measure.query(**queries[place]).to_arrow() == expected[place]

                    with ThreadPoolExecutor(4) as pool:
                        list(pool.map(ask, range(4)))
        finally:
            sys.setswitchinterval(usual)


class TestDamage:
    @pytest.fixture
    def damaged(self) -> tuple[MemoryFileSystem, str, bytes]:
        """A store, the file in which a chunk in the midst of the times is damaged, and what it was."""
        fs = MemoryFileSystem()
        write(fs)
        with measurefs.open(fs, read_only=True) as db:
            ((root, snapshot),) = db.measure("m").snapshots().items()
            path = join(root, snapshot.file_parts[0].metadata.name, "timestamps.bin")
            snapshot.release()
        before = fs.read(path)
        whole = bytearray(before)
        whole[len(whole) // 2] ^= 1
        fs.write(path, whole)
        return fs, path, before

    def test_is_told_to_all_and_nothing_of_it_stays(
        self, damaged: tuple[MemoryFileSystem, str, bytes], fs: CountingFileSystem
    ) -> None:
        bad, path, before = damaged
        with reading(fs) as db:
            expected = [db.measure("m").query(**query).to_arrow() for query in SOME]
        with reading(bad) as db:
            measure = db.measure("m")
            assert measure.query(start=EACH // 2).to_arrow().num_rows == SERIES * EACH // 2
            barrier = threading.Barrier(3)

            def ask(_: int) -> None:
                barrier.wait()
                with pytest.raises(CorruptionError, match=path):
                    measure.query().to_arrow()

            for _ in range(3):
                with ThreadPoolExecutor(3) as pool:
                    list(pool.map(ask, range(3)))
            sound = 0
            for query, right in zip(SOME, expected, strict=True):
                try:
                    assert measure.query(**query).to_arrow() == right
                    sound += 1
                except CorruptionError:
                    continue
            assert 0 < sound < len(SOME), "what does not need the chunk is not affected"
            bad.write(path, before)
            assert [measure.query(**query).to_arrow() for query in SOME] == expected
