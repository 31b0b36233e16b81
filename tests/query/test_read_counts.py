"""What questions cost, by counts that do not depend on the clock: a guard against reading and doing more than before.

A bound that is exceeded for a good reason is raised; one that is far from what is counted by now is lowered.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

import measurefs
from measurefs import Measure, PartOptions, QueryResult, TableOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import CountingFileSystem, FileSystem

SERIES, EACH, STEP = 100, 512, 10
START, END = 1280, 2560
FIELDS = ["f0", "f1", "f2"]
WHOLE = ["time", "host", *FIELDS]
OPTIONS = TableOptions(threads=1, part=PartOptions(block_rows=256, compact_bytes=0, slack=1.0))

Ask = Callable[[Measure], QueryResult]


class Cost(NamedTuple):
    """At most what a question may take.

    Attributes
    ----------
    rows : int
        Rows of the result, exactly.
    requests, ranges, bytes, chunks : int
        Of the first question that is asked of the store.
    calls : int
        Of Python functions, those of NumPy and Arrow included, when it is asked again. A fifth more than Python 3.11
        counts: later ones count fewer, other releases of NumPy some more.
    """

    rows: int
    requests: int
    ranges: int
    bytes: int
    chunks: int
    calls: int


QUESTIONS: dict[str, tuple[Ask, Cost]] = {
    "one series, a span": (
        lambda m: m.query(START, END, {"host": "h017"}, WHOLE, order="series"),
        Cost(128, 2, 4, 4_200, 4, 380),
    ),
    "eight series, a span": (
        lambda m: m.query(START, END, {"host": [f"h{n:03d}" for n in range(8)]}, WHOLE, order="series"),
        Cost(1_024, 2, 14, 17_470, 32, 850),
    ),
    "all series, a span": (
        lambda m: m.query(START, END, columns=WHOLE, order="series"),
        Cost(12_800, 2, 16, 203_800, 400, 830),
    ),
    "all series, a span, by time": (
        lambda m: m.query(START, END, columns=WHOLE),
        Cost(12_800, 2, 16, 203_800, 400, 940),
    ),
    "a field": (lambda m: m.query(columns=["f0"], order="series"), Cost(51_200, 2, 12, 195_790, 200, 650)),
    "the last ten of a series": (
        lambda m: m.query(where={"host": "h017"}, columns=WHOLE, order="-time", limit=10),
        Cost(10, 2, 4, 4_210, 4, 610),
    ),
    "the newest of each series": (lambda m: m.last(columns=WHOLE), Cost(100, 2, 12, 26_590, 0, 1_040)),
    "mean by series": (
        lambda m: m.aggregate(by="host", values={"f0": "mean"}),
        Cost(100, 2, 12, 26_590, 0, 1_100),
    ),
    "mean by tag and time": (
        lambda m: m.aggregate(every=1000, by="region", values={"f0": "mean"}),
        Cost(18, 3, 28, 222_350, 600, 2_080),
    ),
    "count above a bound": (
        lambda m: m.aggregate(where={"f0": {">": 511.0}}),
        Cost(1, 2, 12, 191_530, 99, 1_650),
    ),
}


AFTER_REWRITING: dict[str, tuple[Ask, Cost]] = {
    "a span that was not rewritten": (
        lambda m: m.query(START, START + 320, columns=WHOLE, order="series"),
        Cost(3_200, 2, 16, 203_800, 400, 830),
    ),
    "mean by series": (
        lambda m: m.aggregate(by="host", values={"f0": "mean"}),
        Cost(100, 3, 24, 224_000, 214, 2_750),
    ),
    "the newest of each series": (lambda m: m.last(columns=WHOLE), Cost(100, 2, 14, 26_590, 0, 1_190)),
}
"""Of 16 rows of each series there are two by then, in the midst of its second block."""


def table_of(first: int, stop: int) -> pa.Table:
    """Rows of all series, from one on."""
    place = np.arange(first * SERIES, stop * SERIES)
    row, host = place // SERIES, place % SERIES
    return pa.table(
        {
            "time": row * STEP,
            "host": [f"h{number:03d}" for number in host],
            "region": [f"r{number % 3}" for number in host],
            "f0": row + host / 100,
            "f1": np.round(np.sin(place), 3),
            "f2": np.round(np.cos(place), 3),
        }
    )


def write(fs: FileSystem, *tables: pa.Table) -> FileSystem:
    """Write each as a part of several pages."""
    with measurefs.open(fs, options=OPTIONS) as db:
        measure = db.create_measure(
            "m", entity=["host"], tags={"region": "string"}, fields=dict.fromkeys(FIELDS, "float64")
        )
        for table in tables:
            measure.write(table)
            measure.flush()
    return fs


@pytest.fixture(scope="module")
def written() -> FileSystem:
    """One part: 100 series with 512 rows each, in blocks of 256, of which there are summaries."""
    return write(MemoryFileSystem(), table_of(0, EACH))


@pytest.fixture(scope="module")
def rewritten() -> FileSystem:
    """Another part besides, of rows that supersede some."""
    return write(MemoryFileSystem(), table_of(0, EACH), table_of(376, 392))


@pytest.fixture
def measure(written: FileSystem) -> Iterator[Measure]:
    """It, of which nobody has read anything."""
    with measurefs.open(CountingFileSystem(written), read_only=True, options=OPTIONS) as db:
        yield db.measure("m")


def calls_of(ask: Callable[[], object]) -> int:
    """Return how many calls of Python functions, and resumptions of generators, it takes."""
    count = 0

    def note(_frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        ask()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_a_first_question_reads(measure: Measure, question: str) -> None:
    ask, most = QUESTIONS[question]
    work = ask(measure).explain()
    assert work.rows == most.rows
    found = {name: getattr(work, name) for name in ("requests", "ranges", "bytes", "chunks")}
    assert {name: count for name, count in found.items() if count > getattr(most, name)} == {}


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_a_question_that_is_asked_again_takes(measure: Measure, question: str) -> None:
    """Nothing is read and decoded again; the plan and its results take so many calls."""
    ask, most = QUESTIONS[question]
    for _ in range(2):
        first = ask(measure).to_arrow()
    again = ask(measure).explain()
    assert (again.requests, again.bytes, again.chunks) == (0, 0, 0)
    count = calls_of(lambda: ask(measure).to_arrow())
    assert ask(measure).to_arrow() == first
    assert count <= most.calls


@pytest.mark.parametrize("question", AFTER_REWRITING)
def test_what_questions_take_after_rewriting(rewritten: FileSystem, question: str) -> None:
    """Where rows were rewritten only these are compared; blocks without such are as they were."""
    ask, most = AFTER_REWRITING[question]
    with measurefs.open(CountingFileSystem(rewritten), read_only=True, options=OPTIONS) as db:
        measure = db.measure("m")
        work = ask(measure).explain()
        found = Cost(work.rows, work.requests, work.ranges, work.bytes, work.chunks, 0)
        for _ in range(2):
            ask(measure).to_arrow()
        found = found._replace(calls=calls_of(lambda: ask(measure).to_arrow()))
    over = {name: count for name, count in found._asdict().items() if count > getattr(most, name)}
    assert over == {}, found


def test_a_span_of_a_store_that_does_not_fit_the_cache_is_decoded_once(written: FileSystem) -> None:
    """Its rows do fit, the chunks that they are in do not."""
    options = dataclasses.replace(OPTIONS, cache_bytes=1_000_000)
    with measurefs.open(written, read_only=True, options=options) as db:
        measure = db.measure("m")
        works = [
            measure.query(START, END, columns=WHOLE, order=order).explain()
            for order in 2 * ("series", "time")
        ]
    assert [work.rows for work in works] == 4 * [12_800]
    assert [work.chunks for work in works] == [400, 0, 0, 0]
