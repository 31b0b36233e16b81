"""Rows come in the right order however few of them are held at a time, and wherever they lie; by a plain model."""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import measurefs
from measurefs import Database, Measure, PartOptions, TableOptions

Key = tuple[str, int]
YEAR = 31_536_000_000_000_000
LAST = 2**63 - 2
"""The last time there is."""


@dataclasses.dataclass(frozen=True)
class Heap:
    """Rows that lie together in some way: so many series from one on, each at the same times."""

    first: int
    series: int
    times: tuple[int, ...]

    def keys(self) -> list[Key]:
        return [
            (f"h{number}", at) for number in range(self.first, self.first + self.series) for at in self.times
        ]


def crowd(first: int, at: int, behind: int) -> Heap:
    """Many series at one instant, each with a row far behind it, so that nothing tells how many rows are where."""
    return Heap(first, 30, (at, at + behind))


def giant(first: int, at: int, step: int) -> Heap:
    """One series that has more rows than all others together."""
    return Heap(first, 1, tuple(at + number * step for number in range(120)))


def ends(first: int, at: int, length: int) -> Heap:
    """Rows at both ends of long blocks, and none between."""
    return Heap(
        first, 3, tuple(at + number for number in range(8)) + tuple(at + length - n for n in range(8))
    )


def edges(first: int) -> Heap:
    """The first and the last times of 64 bits."""
    return Heap(first, 2, (-(2**63), -(2**63) + 1, -1, 0, LAST - 1, LAST))


def single(first: int, at: int) -> Heap:
    return Heap(first, 1, (at,))


firsts = st.integers(0, 4)
instants = st.sampled_from([-YEAR, -1, 0, 5, 7, 100])
heaps = st.one_of(
    st.builds(crowd, firsts, instants, st.sampled_from([1, 50, YEAR])),
    st.builds(giant, firsts, instants, st.sampled_from([1, 3])),
    st.builds(ends, firsts, instants, st.sampled_from([40, YEAR])),
    st.builds(edges, firsts),
    st.builds(single, firsts, instants),
)


@dataclasses.dataclass(frozen=True)
class Ask:
    """A question, and how many rows may be held for it."""

    order: str
    start: int | None
    end: int | None
    limit: int | None
    offset: int
    hosts: tuple[str, ...] | None
    odd: bool
    rows: int


asks = st.builds(
    Ask,
    order=st.sampled_from(["time", "-time", "series"]),
    start=st.none() | instants,
    end=st.none() | instants.map(lambda at: at + 60),
    limit=st.none() | st.sampled_from([0, 1, 2, 10, 31, 200]),
    offset=st.sampled_from([0, 0, 1, 9, 33, 500]),
    hosts=st.none()
    | st.lists(st.sampled_from([f"h{number}" for number in range(6)]), min_size=1, unique=True).map(tuple),
    odd=st.booleans(),
    rows=st.sampled_from([1, 2, 7, 30, 1000]),
)


@contextlib.contextmanager
def holding(rows: int, columns: int) -> Iterator[None]:
    """Let results hold so many rows at a time, and plan and decode in as small pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("measurefs.query.result._STREAM_BYTES", rows * (24 + 8 * columns))
        patch.setattr("measurefs.query.read._SLACK_ROWS", 0)
        patch.setattr("measurefs.query.read._WAVE_ROWS", 4 * rows)
        patch.setattr("measurefs.query.gather._PORTION_BYTES", rows)
        patch.setattr("measurefs.query.gather._LEAST_ROWS", rows)
        yield


def write(
    database: Database, writes: Sequence[tuple[Heap, bool]], interval: str
) -> tuple[Measure, dict[Key, int]]:
    """Write heaps one after another, some of them flushed; later ones supersede. Return what there is then."""
    measure = database.create_measure("m", entity=["host"], fields={"n": "int64"}, interval=interval)
    model: dict[Key, int] = {}
    for heap, flush in writes:
        keys = heap.keys()
        numbers = range(len(model), len(model) + len(keys))
        model.update(zip(keys, numbers, strict=True))
        hosts, times = zip(*keys, strict=True)
        measure.write({"time": list(times), "host": list(hosts), "n": list(numbers)})
        if flush:
            measure.flush()
    return measure, model


def expected(model: dict[Key, int], ask: Ask, series: Sequence[str]) -> list[tuple[int, str, int]]:
    """Answer from the model; series are in the store's own order."""
    rows = [
        (at, host, n)
        for (host, at), n in model.items()
        if (ask.start is None or at >= ask.start)
        and (ask.end is None or at < ask.end)
        and (ask.hosts is None or host in ask.hosts)
        and (not ask.odd or n % 2)
    ]
    ranks = {
        host: place for place, host in enumerate(ask.hosts if ask.order == "series" and ask.hosts else series)
    }
    if ask.order == "series":
        rows.sort(key=lambda row: (ranks[row[1]], row[0]))
    else:
        sign = -1 if ask.order == "-time" else 1
        rows.sort(key=lambda row: (sign * row[0], ranks[row[1]]))
    return rows[ask.offset :][: ask.limit]


def answer(measure: Measure, ask: Ask) -> list[tuple[int, str, int]]:
    where: dict[str, Any] = {} if ask.hosts is None else {"host": list(ask.hosts)}
    if ask.odd:
        where["n"] = {"in": list(range(1, 2000, 2))}
    result = measure.query(
        ask.start,
        ask.end,
        where,
        ["time", "host", "n"],
        ask.order,
        ask.limit,
        offset=ask.offset,  # type: ignore[arg-type]
    )
    with result, holding(ask.rows, 3):
        table = pa.Table.from_batches(result.to_batches(), result.schema)
    return list(
        zip(
            table["time"].cast(pa.int64()).to_pylist(),
            table["host"].to_pylist(),
            table["n"].to_pylist(),
            strict=True,
        )
    )


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(
    writes=st.lists(st.tuples(heaps, st.booleans()), min_size=1, max_size=5),
    asked=st.lists(asks, min_size=4, max_size=8),
    block_rows=st.sampled_from([1, 5, 64, 4096]),
    interval=st.sampled_from(["1d", "1d", "30d"]),
    merged=st.booleans(),
)
@example(
    writes=[(crowd(0, 0, YEAR), True), (crowd(0, 0, 50), True)],
    asked=[Ask(order, None, None, None, 0, None, False, 7) for order in ("time", "-time", "series")],
    block_rows=4096,
    interval="30d",
    merged=False,
)
@example(
    writes=[(edges(0), True), (giant(1, 0, 1), True), (edges(0), False)],
    asked=[Ask(order, None, None, 10, 1, None, False, 2) for order in ("time", "-time", "series")],
    block_rows=64,
    interval="30d",
    merged=False,
)
def test_any_rows_come_in_order(
    writes: list[tuple[Heap, bool]], asked: list[Ask], block_rows: int, interval: str, merged: bool
) -> None:
    options = TableOptions(part=PartOptions(block_rows=block_rows))
    with measurefs.open(f"memory://{uuid.uuid4().hex}", options=options) as database:
        measure, model = write(database, writes, interval)
        if merged:
            measure.compact()
        series = list(
            dict.fromkeys(measure.query(columns=["host"], order="series").to_arrow()["host"].to_pylist())
        )
        for ask in asked:
            assert answer(measure, ask) == expected(model, ask, series), ask
