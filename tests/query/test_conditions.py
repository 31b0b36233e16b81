"""``where``: entities, tags and fields by value, expressions; and what superseded rows have to do with it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from measurefs import Measure, SchemaError, TableOptions
from tests.conftest import Store
from tests.database.helpers import DAY, open_store, values_of

NAN = float("nan")
ROWS: list[dict[str, Any]] = [
    {"n": 0, "host": "a", "port": 1, "region": "x", "rack": 1, "raw": b"p", "usage": 0.0, "up": True},
    {"n": 1, "host": "a", "port": 2, "region": "y", "rack": 2, "raw": b"", "usage": -0.0, "up": False},
    {"n": 2, "host": "b", "port": 1, "region": "", "rack": -1, "raw": b"\0", "usage": NAN, "up": None},
    {"n": 3, "host": "b", "port": 2, "region": None, "rack": None, "usage": None, "up": True, "labels": []},
    {
        "n": 4,
        "host": "",
        "port": -(2**63),
        "region": "x",
        "rack": 2**63 - 1,
        "usage": float("inf"),
        "up": True,
        "labels": ["y", "z"],
    },
    {"n": 5, "host": "ü", "port": 0, "labels": ["x"], "usage": 1.5, "note": "x"},
]


@pytest.fixture(scope="module", params=["in memory", "flushed", "half of each"])
def measure(request: pytest.FixtureRequest) -> Iterator[Measure]:
    """One for all tests, none of which changes it; and nothing flushes by itself what is to stay in memory."""
    with open_store(Store(f"memory://{uuid.uuid4().hex}"), background=False) as database:
        measure = database.create_measure(
            "m",
            entity={"host": "string", "port": "int64"},
            tags={
                "one": {"region": "string", "rack": "int64"},
                "two": {"raw": "binary", "labels": "list<string>"},
            },
            fields={"usage": "float64", "n": "int64", "up": "bool", "note": "string"},
            shards=2,
        )
        rows = [{"time": row["n"] * DAY // 2} | row for row in ROWS]
        measure.write(rows[:3])
        if request.param != "in memory":
            measure.flush()
        measure.write(rows[3:])
        if request.param == "flushed":
            measure.flush()
        yield measure


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (None, [0, 1, 2, 3, 4, 5]),
        ({}, [0, 1, 2, 3, 4, 5]),
        # Entities.
        ({"host": "a"}, [0, 1]),
        ({"host": ["a"]}, [0, 1]),
        ({"host": ("ü", "b", "b", "nobody")}, [2, 3, 5]),
        ({"host": {"a", "b"}}, [0, 1, 2, 3]),
        ({"host": "nobody"}, []),
        ({"host": ""}, [4]),
        ({"host": []}, []),
        ({"host": None}, []),
        ({"host": [None, "a"]}, [0, 1]),
        ({"port": 1}, [0, 2]),
        ({"port": -(2**63)}, [4]),
        ({"port": [2, 1.0]}, [0, 1, 2, 3]),
        ({"host": "a", "port": 2}, [1]),
        ({"host": ["a", "b"], "port": [1, 7]}, [0, 2]),
        ({"host": "a", "port": 0}, []),
        ({"port": 2, "host": "b"}, [3]),
        # Tags.
        ({"region": "x"}, [0, 4]),
        ({"region": ["x", "y", "z"]}, [0, 1, 4]),
        ({"region": ""}, [2]),
        ({"region": None}, [3, 5]),
        ({"region": ["x", None]}, [0, 3, 4, 5]),
        ({"region": "never"}, []),
        ({"rack": 2}, [1]),
        ({"rack": [2**63 - 1, -1]}, [2, 4]),
        ({"rack": None}, [3, 5]),
        ({"raw": b"p"}, [0]),
        ({"raw": b""}, [1]),
        ({"raw": [b"\0", None]}, [2, 3, 4, 5]),
        # Fields.
        ({"usage": 1.5}, [5]),
        ({"usage": 0.0}, [0, 1]),
        ({"usage": -0.0}, [0, 1]),
        ({"usage": 0}, [0, 1]),
        ({"usage": float("inf")}, [4]),
        ({"usage": NAN}, [2]),
        ({"usage": None}, [3]),
        ({"n": [1, 3]}, [1, 3]),
        ({"up": True}, [0, 3, 4]),
        ({"up": [False, None]}, [1, 2, 5]),
        ({"note": "x"}, [5]),
        # Together.
        ({"host": "b", "region": None}, [3]),
        ({"region": "x", "up": True, "port": 1}, [0]),
        # What holds the values.
        ({"host": np.array(["a", "b"])}, [0, 1, 2, 3]),
        ({"n": np.array([1, 3])}, [1, 3]),
        ({"n": np.int64(1)}, [1]),
        ({"host": pd.Series(["a"])}, [0, 1]),
        ({"host": pl.Series(["a"])}, [0, 1]),
        ({"host": pa.array(["a"])}, [0, 1]),
        ({"host": pa.chunked_array([["a"], ["b"]])}, [0, 1, 2, 3]),
        ({"host": pa.scalar("a")}, [0, 1]),
        ({"rack": pa.scalar(None, pa.int64())}, [3, 5]),
        # Expressions.
        (pc.field("usage") > 1, [4, 5]),
        ((pc.field("host") == "a") & (pc.field("port") > 1), [1]),
        (pc.field("region").is_null(), [3, 5]),
        (pc.field("region").isin(["x"]) | (pc.field("n") == 2), [0, 2, 4]),
        (pc.field("time") >= pa.scalar(2 * DAY, pa.timestamp("ns", "UTC")), [4, 5]),
        (pc.list_value_length(pc.field("labels")) == 1, [5]),
        (~pc.field("up"), [1]),
        (pc.field("version") > 2**62, []),
        (pc.scalar(True), [0, 1, 2, 3, 4, 5]),
    ],
)
def test_finds(measure: Measure, where: Any, expected: list[int]) -> None:
    assert values_of(measure, "n", where=where) == expected
    assert values_of(measure, "n", where=where, order="-time") == expected[::-1]
    assert sorted(values_of(measure, "n", where=where, order="series")) == expected
    assert values_of(measure, "n", where=where, limit=1) == expected[:1]
    assert values_of(measure, "n", where=where, start=DAY, end=2 * DAY) == [
        n for n in expected if n in {2, 3}
    ]
    assert len(values_of(measure, "host", where=where)) == len(expected), "columns that where needs are read"


OPERATORS: list[tuple[Any, list[int]]] = [
    # Lists.
    ({"labels": "x"}, [5]),
    ({"labels": ["x", "y"]}, [4, 5]),
    ({"labels": [None, "x"]}, [0, 1, 2, 5]),
    ({"labels": None}, [0, 1, 2]),
    ({"labels": {"contains": "y"}}, [4]),
    ({"labels": {"all": ["y", "z"]}}, [4]),
    ({"labels": {"all": []}}, [3, 4, 5]),
    ({"labels": {"null": False}}, [3, 4, 5]),
    # Operators.
    ({"host": {"==": "a"}}, [0, 1]),
    ({"host": {"!=": "a"}}, [2, 3, 4, 5]),
    ({"host": {">": "a"}, "port": {"<=": 1}}, [2, 5]),
    ({"host": {"in": ["a", "ü"], "not_in": ["a"]}}, [5]),
    ({"host": {"prefix": "b"}}, [2, 3]),
    ({"host": {"regex": "^(a|b)$"}, "port": 2}, [1, 3]),
    ({"host": re.compile("^[AB]$", re.IGNORECASE)}, [0, 1, 2, 3]),
    ({"region": {"!=": "x"}}, [1, 2]),
    ({"region": {"not_in": ["x", "y"]}}, [2]),
    ({"region": {"not_in": []}}, [0, 1, 2, 4]),
    ({"region": {"prefix": ""}}, [0, 1, 2, 4]),
    ({"region": re.compile("x|y")}, [0, 1, 4]),
    ({"region": {"null": True}}, [3, 5]),
    ({"raw": {">=": b"p"}}, [0]),
    ({"raw": {"regex": rb"^\x00"}}, [2]),
    ({"rack": {">": 0, "<": 2**63 - 1}}, [0, 1]),
    ({"rack": {">=": 2.0}}, [1, 4]),
    ({"usage": {">": 0.5}}, [4, 5]),
    ({"usage": {">=": 0, "<": 2}}, [0, 1, 5]),
    ({"usage": {"!=": 1.5}}, [0, 1, 2, 4]),
    ({"usage": {"==": -0.0}}, [0, 1]),
    ({"usage": [0.0, 1.5]}, [0, 1, 5]),
    ({"usage": {"not_in": [-0.0, NAN]}}, [4, 5]),
    ({"usage": {"null": False}}, [0, 1, 2, 4, 5]),
    ({"up": {"!=": True}}, [1]),
    ({"up": {">": False}}, [0, 3, 4]),
    # Time and version.
    ({"time": {">=": DAY, "<": 2 * DAY}}, [2, 3]),
    ({"time": DAY}, [2]),
    ({"time": [0, 2 * DAY, 7]}, [0, 4]),
    ({"time": {"!=": DAY}}, [0, 1, 3, 4, 5]),
    ({"time": {">": "1970-01-02T12:00Z"}, "host": ["b", ""]}, [4]),
    ({"version": {"<": 0}}, []),
    # Expressions.
    ((pc.field("host") == "a") | (pc.field("usage") == 1.5), [0, 1, 5]),
    ((pc.field("time") < pa.scalar(DAY, pa.timestamp("ns", "UTC"))) & (pc.field("port") == 2), [1]),
    (pc.hour(pc.field("time")) == 12, [1, 3, 5]),
    (pc.field(0) == pa.scalar(DAY, pa.timestamp("ns", "UTC")), [2]),
]


def test_finds_by_operators(measure: Measure) -> None:
    for where, expected in OPERATORS:
        assert values_of(measure, "n", where=where) == expected, where
        assert values_of(measure, "n", where=where, end=2 * DAY) == [n for n in expected if n < 4], where


def test_finds_by_a_generator(measure: Measure) -> None:
    assert values_of(measure, "n", where={"host": (host for host in "ab")}) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"hots": "a"}, "where names the unknown column 'hots'; did you mean 'host'"),
        ({"zzz": "a"}, "unknown column 'zzz'; there are host, port, region"),
        ({"time": "soon"}, "cannot use 'soon' as a time in where"),
        ({"labels": {"==": "x"}}, "cannot use '==' on 'labels', which is list<string>"),
        ({"port": "1"}, "cannot compare 'port', which is int64, with '1'"),
        ({"port": 1.5}, "cannot compare 'port', which is int64, with 1.5"),
        ({"rack": [1, 2.5]}, "cannot compare 'rack', which is int64"),
        ({"rack": 2**63}, "cannot compare 'rack', which is int64"),
        ({"host": 1}, "cannot compare 'host', which is string, with 1"),
        ({"usage": "x"}, "cannot compare 'usage', which is float64, with 'x'"),
        ({"up": "yes"}, "cannot compare 'up', which is bool, with 'yes'"),
        ("host = 'a'", "give a dict such as"),
        (["host"], "give a dict such as"),
        (5, "give a dict such as"),
        (lambda row: True, "give a dict such as"),
        (pc.field("usgae") > 1, "cannot use .*usgae.* as where: .*usgae"),
        (pc.field("usage") == "x", "cannot use .* as where"),
        (pc.field("usage") + 1, "cannot use .* as where"),
    ],
)
def test_refuses(measure: Measure, where: Any, message: str) -> None:
    """At once, and not when the result is read."""
    with pytest.raises(SchemaError, match=message):
        measure.query(where=where)


class TestSuperseded:
    """Only the row that counts is judged: an older version that matches is not there."""

    WHERES: tuple[Any, ...] = (
        {"state": "old"},
        {"region": "old"},
        {"n": 1},
        pc.field("state") == "old",
        (pc.field("n") == 1) & (pc.field("host") == "a"),
    )

    @pytest.mark.parametrize("between", ["one batch", "memory", "flush", "reopen"])
    @pytest.mark.parametrize("versioned", [False, True])
    def test_is_not_found(self, memory_store: Store, between: str, versioned: bool) -> None:
        old = {"time": 1, "host": "a", "state": "old", "region": "old", "n": 1, "version": 7}
        new = {"time": 1, "host": "a", "state": "new", "region": "new", "n": 2, "version": 8}
        batches = [[old], [new]] if between != "one batch" else [[old, new]]
        if versioned:
            batches.reverse()
        else:
            batches = [
                [{name: value for name, value in row.items() if name != "version"} for row in batch]
                for batch in batches
            ]
        database = open_store(memory_store, options=TableOptions(gc_grace=0.0))
        measure = database.create_measure(
            "m", entity=["host"], tags={"region": "string"}, fields={"state": "string", "n": "int64"}
        )
        for batch in batches:
            measure.write(batch)
            if between in {"flush", "reopen"}:
                measure.flush()
                measure.gc()
            if between == "reopen":
                database.close()
                database = open_store(memory_store)
                measure = database.measure("m")
        for where in self.WHERES:
            assert values_of(measure, "n", where=where) == []
        assert values_of(measure, "n", where={"state": "new"}) == [2]
        assert values_of(measure, "n") == [2]
        database.close()

    def test_by_one_without_the_column(self, memory_store: Store) -> None:
        with open_store(memory_store) as database:
            measure = database.create_measure("m", entity=["host"], fields={"state": "string", "n": "int64"})
            measure.write([{"time": 1, "host": "a", "state": "old", "n": 1}])
            measure.flush()
            measure.write([{"time": 1, "host": "a", "n": 2}])
            for _ in range(2):
                assert values_of(measure, "n", where={"state": "old"}) == []
                assert values_of(measure, "n", where={"state": None}) == [2]
                measure.flush()


def test_values_that_repeat_and_nulls_among_them(memory_store: Store) -> None:
    """As a part holds them: as codes into a dictionary."""
    regions = ["x", None, "y", None, "x", "x"] * 50
    with open_store(memory_store) as database:
        measure = database.create_measure(
            "m", entity=["host"], tags={"region": "string"}, fields={"n": "int64"}
        )
        measure.write({"time": range(300), "host": ["a"] * 300, "region": regions, "n": range(300)})
        for _ in range(2):
            for wanted in ("x", "y", "z", None, ["y", None]):
                choices = wanted if isinstance(wanted, list) else [wanted]
                expected = [n for n, region in enumerate(regions) if region in choices]
                assert values_of(measure, "n", where={"region": wanted}) == expected
            assert values_of(measure, "region") == regions
            measure.flush()


@pytest.mark.parametrize("many", [50, 30_000])
def test_many_values(memory_store: Store, many: int) -> None:
    with open_store(memory_store) as database:
        measure = database.create_measure("m", entity={"id": "int64"}, fields={"n": "int64"}, shards=3)
        measure.write({"time": [1] * many, "id": range(many), "n": range(many)})
        wanted = list(range(0, 2 * many, 2))
        for _ in range(2):
            assert sorted(values_of(measure, "n", where={"id": wanted})) == list(range(0, many, 2))
            measure.flush()


def test_series_whose_ids_collide_stay_apart(memory_store: Store) -> None:
    with open_store(memory_store, options=TableOptions(series_hash=lambda key: len(key) % 2)) as database:
        measure = database.create_measure("m", entity=["host"], fields={"n": "int64"}, shards=2)
        hosts = ["a", "b", "aa", "bb", "c", "aaa"]
        for _ in range(2):
            for n, host in enumerate(hosts):
                measure.write({"time": [1], "host": [host], "n": [n]})
            for n, host in enumerate(hosts):
                assert values_of(measure, "n", where={"host": host}) == [n]
            assert sorted(values_of(measure, "n")) == list(range(len(hosts)))
            measure.flush()
