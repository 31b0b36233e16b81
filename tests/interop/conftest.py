"""A measure with rows worth asking for, and what its queries were asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

import measurefs
from measurefs import Database, Measure, PartOptions, TableOptions

START = 1_767_225_600_000_000_000
"""2026-01-01 UTC, nanoseconds."""
SECOND = 1_000_000_000
HOSTS = 20
TIMES = 500


class Watched:
    """A measure, and the queries that it was asked."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self.queries: list[dict[str, Any]] = []
        self.results: list[Any] = []

    def query(self, **asked: Any) -> Any:
        self.queries.append(asked)
        self.results.append(self._measure.query(**asked))
        return self.results[-1]

    def blocks_read(self) -> int:
        """How many blocks the last query has to read."""
        return int(self.results[-1].explain().blocks_read)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._measure, name)


@pytest.fixture(scope="session")
def rows() -> pa.Table:
    """Rows of hosts, 10 s apart, with nulls, NaN, and times between two microseconds."""
    count = HOSTS * TIMES
    hosts = [f"host-{number % HOSTS:02d}" for number in range(count)]
    usage = [
        None if number % 7 == 0 else math.nan if number % 11 == 0 else number % 100 / 4
        for number in range(count)
    ]
    times = [START + number // HOSTS * 10 * SECOND + number // HOSTS % 3 * 300 for number in range(count)]
    return pa.table(
        {
            "time": pa.array(times).view(pa.timestamp("ns", tz="UTC")),
            "host": hosts,
            "region": [None if number % 5 == 0 else f"r{number % HOSTS % 3}" for number in range(count)],
            "labels": [["x"] * (number % 3) for number in range(count)],
            "usage": pa.array(usage, pa.float64()),
            "n": pa.array(range(count), pa.int64()),
            "up": [number % 2 == 0 for number in range(count)],
            "raw": [b"\x00%d" % (number % 4) for number in range(count)],
        }
    )


@pytest.fixture(scope="session")
def database(rows: pa.Table) -> Iterator[Database]:
    """A store with a measure of these rows, ``cpu``, in blocks of one series each."""
    options = TableOptions(part=PartOptions(block_rows=100))
    with measurefs.open("memory://interop", options=options) as db:
        measure = db.create_measure(
            "cpu",
            entity=["host"],
            tags={"region": "string", "labels": "list<string>"},
            fields={"usage": "float64", "n": "int64", "up": "bool", "raw": "binary"},
        )
        measure.write(rows)
        measure.compact()
        yield db


@pytest.fixture
def cpu(database: Database) -> Watched:
    """The measure of these rows, which is not to be written to."""
    return Watched(database.measure("cpu"))


@pytest.fixture
def small(database: Database) -> Iterator[Watched]:
    """A measure of three rows, to do with as one likes."""
    measure = database.create_measure("small", entity=["host"], fields={"n": "int64"})
    measure.write({"time": [START, START + 1, -1], "host": ["a", "b", "old"], "n": [1, 2, 3]})
    yield Watched(measure)
    database.drop_measure("small")
