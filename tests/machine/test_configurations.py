"""The same operations give the same answers, however a store is configured and wherever it is."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

import measurefs
from measurefs import PartOptions, TableOptions
from measurefs.table.policy import MergeOptions
from tests.conftest import Store

DAY = 86_400_000_000_000
OPERATIONS = 20


@dataclasses.dataclass(frozen=True)
class Configuration:
    """One way to have it; ``collect`` and ``compact`` are how often that is done, in operations."""

    kind: str = "memory"
    part: PartOptions = dataclasses.field(default_factory=PartOptions)
    flush_bytes: int = 64 << 20
    log_bytes: int = 4 << 20
    keep_snapshots: int = 2
    collect: int = 0
    compact: int = 0
    merge: MergeOptions = dataclasses.field(default_factory=MergeOptions)
    shards: int = 2
    interval: str = "1d"


CONFIGURATIONS = {
    "small blocks": Configuration(part=PartOptions(block_rows=64)),
    "large blocks": Configuration(part=PartOptions(block_rows=8192)),
    "wide parts": Configuration(part=PartOptions(compact_bytes=0, block_rows=128)),
    "hard compression": Configuration(part=PartOptions(level=9)),
    "flushed at once": Configuration(flush_bytes=1),
    "no log": Configuration(log_bytes=0),
    "flushed often": Configuration(flush_bytes=1 << 14, collect=7),
    "collected always": Configuration(collect=1, keep_snapshots=1),
    "merged eagerly": Configuration(
        flush_bytes=1, merge=MergeOptions(least_inputs=2, ratio=1.01, memory=1), collect=3
    ),
    "never merged": Configuration(flush_bytes=1, merge=MergeOptions(enabled=False)),
    "compacted always": Configuration(compact=1, collect=4, part=PartOptions(compact_bytes=0)),
    "one table": Configuration(shards=1, interval="30d"),
    "many tables": Configuration(shards=5, interval="6h"),
    "local": Configuration("local", collect=5),
    "local, wide": Configuration("local", PartOptions(compact_bytes=0)),
    "s3": Configuration("s3", collect=20, interval="10d"),
}


def batches(seed: int) -> Iterator[dict[str, list[Any]]]:
    """Batches of many kinds of values, late and rewritten rows among them."""
    chance = random.Random(seed)
    for number in range(OPERATIONS):
        size = chance.choice([1, 10, 300])
        version = chance.choice([None, None, number % 3])
        rows: dict[str, list[Any]] = {
            "time": [chance.randrange(-1, 4) * DAY // 2 + chance.randrange(300) * 10**9 for _ in range(size)],
            "host": [f"host-{chance.randrange(8)}" for _ in range(size)],
            "zone": [chance.choice(["a", "b", "", None]) for _ in range(size)],
            "usage": [
                chance.choice([chance.random(), float("nan"), float("-inf"), None]) for _ in range(size)
            ],
            "small": [chance.choice([0, 7, -1, None]) for _ in range(size)],
            "count": [chance.choice([chance.randrange(-(2**63), 2**63), None]) for _ in range(size)],
        }
        yield rows if version is None else rows | {"version": [version] * size}


CHANGES: dict[int, Callable[[measurefs.Measure], object]] = {
    7: lambda measure: measure.evolve(fields={"small": "float64", "new": "bool"}),
    9: lambda measure: measure.tag("then"),
    12: lambda measure: measure.delete(0, DAY // 2 + 10**11, {"host": ["host-1", "host-2"]}),
    14: lambda measure: measure.evolve(interval="12h"),
}
"""What else is done, after which operation."""


def answers(store: Store, how: Configuration, seed: int) -> list[pa.Table]:
    """Do the operations, asking now and then, and once more after opening the store again."""
    options = TableOptions(
        flush_bytes=how.flush_bytes,
        log_bytes=how.log_bytes,
        keep_snapshots=how.keep_snapshots,
        gc_grace=0.0,
        part=how.part,
        merge=how.merge,
    )
    opening: dict[str, Any] = {"storage_options": store.options, "options": options, "background": False}
    found = []
    with measurefs.open(store.url, **opening) as database:
        measure = database.create_measure(
            "m",
            entity=["host"],
            tags={"zone": "string"},
            fields={"usage": "float64", "count": "int64", "small": "int64"},
            shards=how.shards,
            interval=how.interval,
        )
        for number, rows in enumerate(batches(seed)):
            measure.write(rows, durable=number % 5 == 0)
            database.step()
            if how.compact and number % how.compact == 0:
                measure.compact()
            if number in CHANGES:
                CHANGES[number](measure)
            if how.collect and number % how.collect == 0:
                measure.gc()
            if number % 10 == 5:
                found += asked(measure)
    with measurefs.open(store.url, read_only=True, **opening) as database:
        measure = database.measure("m")
        return [*found, *asked(measure), measure.query(as_of="then").to_arrow()]


def asked(measure: measurefs.Measure) -> list[pa.Table]:
    queries: list[dict[str, Any]] = [
        {},
        {"order": "series"},
        {"order": "-time", "limit": 50},
        {"start": 0, "end": DAY, "where": {"zone": ["a", None]}},
        {"where": {"host": "host-3"}, "columns": ["time", "count"]},
    ]
    return [measure.query(**query).to_arrow() for query in queries]


@pytest.fixture(scope="module")
def usual() -> list[pa.Table]:
    return answers(Store("memory://configurations"), Configuration(), seed=1)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_answers_do_not_depend_on_it(
    request: pytest.FixtureRequest, usual: list[pa.Table], name: str
) -> None:
    how = CONFIGURATIONS[name]
    store: Store = request.getfixturevalue(f"{how.kind}_store")
    found = answers(store, how, seed=1)
    assert len(found) == len(usual) == 16
    assert min(table.num_rows for table in found) > 0
    for mine, theirs in zip(found, usual, strict=True):
        assert same(mine, theirs)


def same(one: pa.Table, other: pa.Table) -> bool:
    """Whether two tables are equal; a NaN equals a NaN, and the zeros differ."""
    columns = zip(one.columns, other.columns, strict=True)
    return one.schema == other.schema and all(bits(mine).equals(bits(theirs)) for mine, theirs in columns)


def bits(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Return a column with its floats as the integers of the same bits."""
    return column.combine_chunks().view(pa.int64()) if column.type == pa.float64() else column
