"""Random conditions: rows are found as Arrow or plain Python finds them, and no chunk with one is passed over."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from measurefs.codec import columns as codec
from measurefs.codec.numbers import default_encoding
from measurefs.codec.types import ColumnType
from measurefs.part.series import encode_series, entity_keys, xxh3
from measurefs.query import Condition
from measurefs.query.conditions.pruning import Statistics

ENTITY = {"host": ColumnType.STRING, "port": ColumnType.INT64}
COLUMNS = {
    "region": ColumnType.STRING,
    "raw": ColumnType.BINARY,
    "labels": ColumnType.STRING_LIST,
    "usage": ColumnType.FLOAT64,
    "n": ColumnType.INT64,
    "up": ColumnType.BOOL,
}
NAN, INF = float("nan"), float("inf")
FEW = [-1, 0, 1, 2]
"""Integers that may be compared with floats, whatever they are cast to for that."""
EXTREME = [*FEW, -(2**63), 2**63 - 1]
TIMES = [-(2**63), -5, 0, 5, 6, 2**63 - 1]
POOLS: dict[str, list[Any]] = {
    "time": TIMES,
    "host": ["", "a", "ab", "b"],
    "port": EXTREME,
    "region": [None, "", "x", "xy", "ü"],
    "raw": [None, b"", b"x", b"\xff"],
    "labels": [None, [], ["x"], ["x", "y"], [None, "y"], ["z", "z"]],
    "usage": [None, NAN, INF, -INF, -0.0, 0.0, 0.5, 1.0, 2.0, 1e300, 5e-324],
    "n": [None, *EXTREME],
    "up": [None, True, False],
    "version": EXTREME,
}
TIME_TYPE = pa.timestamp("ns", "UTC")
TYPES = {name: kind.arrow for name, kind in (ENTITY | COLUMNS).items()} | {
    "time": TIME_TYPE,
    "version": pa.int64(),
}
COMPARE: list[Callable[[Any, Any], Any]] = [
    pc.equal,
    pc.not_equal,
    pc.less,
    pc.less_equal,
    pc.greater,
    pc.greater_equal,
]


def a_table(rng: random.Random) -> pa.Table:
    """Return rows of few distinct values each, with columns of nulls and of one value among them."""
    count = rng.randint(1, 12)
    columns = {}
    for name, pool in POOLS.items():
        values = rng.choice([pool, pool, pool[:1], pool[-1:], pool[1:3]])
        columns[name] = pa.array(rng.choices(values, k=count), TYPES[name])
    return pa.table(columns)


def literal(value: Any, kind: pa.DataType) -> pc.Expression:
    return pc.scalar(pa.scalar(value, kind))


def a_leaf(rng: random.Random) -> pc.Expression:
    """Return a condition that Arrow can evaluate for all values that there are."""
    name = rng.choice(["time", "host", "port", "region", "raw", "usage", "n", "up", "version"])
    pool, kind, field = POOLS[name], TYPES[name], pc.field(name)
    form = rng.choice(["compare", "compare", "compare", "in", "null", "valid", "special", "constant"])
    if form == "compare":
        sides = [field, literal(rng.choice(pool), kind)]
        rng.shuffle(sides)
        return rng.choice(COMPARE)(*sides)
    if form == "in":
        values = pa.array(rng.choices(pool, k=rng.randint(0, 4)), kind)
        return pc.Expression._call(
            "is_in", [field], pc.SetLookupOptions(values, skip_nulls=rng.random() < 0.5)
        )
    if form == "null":
        return field.is_null(nan_is_null=rng.random() < 0.5)
    if form == "valid":
        return field.is_valid()
    if form == "constant":
        return literal(rng.choice([True, False, None]), pa.bool_())
    return rng.choice(SPECIAL)


SPECIAL = [
    pc.field("up"),
    pc.field("usage").is_nan(),
    pc.field("usage") > pc.scalar(1),
    pc.field("usage") == pa.scalar(0.5, pa.float32()),
    pc.field("usage").isin(pa.array([0.5, 1.0], pa.float64())),
    pc.field("host") == pa.scalar("a", pa.large_string()),
    pc.field("raw") == "x",
    pc.field("port") == pa.scalar(1, pa.uint8()),
    pc.field("time") <= pa.scalar(0, pa.timestamp("s", "UTC")),
    pc.field("n") == pc.field("version"),
    pc.coalesce(pc.field("n"), pc.field("port")) > 0,
    pc.if_else(pc.field("up"), pc.field("n") > 0, pc.field("usage") > 0.0),
    pc.starts_with(pc.field("region"), "x"),
    pc.match_substring_regex(pc.field("host"), "^a"),
    pc.list_value_length(pc.field("labels")) > 1,
    pc.field("region").is_null() == pc.field("up"),
]


def an_expression(rng: random.Random, leaves: int) -> pc.Expression:
    if leaves == 1:
        found = a_leaf(rng)
    else:
        left = rng.randint(1, leaves - 1)
        pair = [an_expression(rng, left), an_expression(rng, leaves - left)]
        found = rng.choice(JOIN)(*pair)
    return ~found if rng.random() < 0.2 else found


JOIN: list[Callable[[pc.Expression, pc.Expression], pc.Expression]] = [
    lambda left, right: left & right,
    lambda left, right: left & right,
    lambda left, right: left | right,
    lambda left, right: pc.Expression._call("and", [left, right]),
    lambda left, right: pc.Expression._call("or", [left, right]),
]


class Rows:
    """A table as a part holds it: series apart, strings as codes, columns of nulls left out."""

    def __init__(self, table: pa.Table, coded: bool) -> None:
        self.count = len(table)
        self.times = np.asarray(table["time"].combine_chunks().cast(pa.int64()))
        entities = pa.record_batch([table[name].combine_chunks() for name in ENTITY], names=list(ENTITY))
        self.series, self.codes = encode_series(entities)
        self.columns = {name: table[name].combine_chunks() for name in table.column_names}
        for name in COLUMNS:
            if self.columns[name].null_count == self.count:
                del self.columns[name]
        self.given = {name: _coded(column) if coded else column for name, column in self.columns.items()}

    def found(self, condition: Condition) -> np.ndarray:
        """Return which rows a condition finds, in the way a query asks it."""
        mask = np.array([condition.start <= time < condition.end for time in self.times.tolist()])
        if condition.series is not None:
            mask &= condition.series.mask(self.series)[self.codes]
        wanted = condition.columns | condition.keys
        rows = condition.rows({name: self.given[name] for name in wanted & self.given.keys()}, self.count)
        assert (rows is None) == condition.always
        return mask if rows is None else mask & rows

    def statistics(self, start: int, stop: int) -> dict[str, Statistics]:
        """Return what the index says of some of the rows."""
        rows = np.array([stop - start])
        known = {}
        for name, kind in COLUMNS.items():
            if name not in self.columns:
                known[name] = Statistics.absent(kind, rows)
            elif kind.is_number:
                chunk = codec.encode(self.columns[name].slice(start, stop - start), default_encoding(1))
                numbers = (np.array([number]) for number in (chunk.nulls, chunk.low, chunk.high))
                known[name] = Statistics(kind, rows, *numbers)
        return known


def _coded(column: pa.Array) -> pa.Array:
    """Return text as codes into a dictionary with more in it than occurs."""
    if not (pa.types.is_string(column.type) or pa.types.is_binary(column.type)):
        return column
    coded = column.dictionary_encode()
    more = pa.array([b"~unused"], pa.binary()).cast(column.type)
    return pa.DictionaryArray.from_arrays(coded.indices, pa.concat_arrays([more, coded.dictionary])[1:])


def check(table: pa.Table, where: Any, expected: list[bool], rng: random.Random) -> None:
    """Find the rows, and ask of each chunk whether it may hold some."""
    condition = Condition(where, ENTITY, COLUMNS, xxh3)
    rows = Rows(table, coded=rng.random() < 0.5)
    assert rows.found(condition).tolist() == expected, (where, table.to_pylist())
    if condition.series is not None and condition.series.ids is not None:
        keys = entity_keys(rows.series.entities)
        matching = condition.series.matches(rows.series.entities)
        ids = {xxh3(key) for key, matches in zip(keys, matching, strict=True) if matches}
        assert ids <= set(condition.series.ids.tolist()), (where, table.to_pylist())
    edges = sorted({0, *(rng.randint(0, len(table)) for _ in range(3)), len(table)})
    for start, stop in itertools.pairwise(edges):
        possible = condition.possible(rows.statistics(start, stop))
        assert possible.tolist() == [True] or not any(expected[start:stop]), (
            where,
            table.slice(start, stop - start).to_pylist(),
        )


SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 200))]
CONDITIONS = 60


@pytest.mark.parametrize("seed", SEEDS)
def test_expressions_find_what_arrow_finds(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(CONDITIONS):
        table, where = a_table(rng), an_expression(rng, rng.randint(1, 6))
        numbered = table.append_column("row", pa.array(range(len(table))))
        found = set(numbered.filter(where)["row"].to_pylist())
        check(table, where, [row in found for row in range(len(table))], rng)


def same(value: Any, wanted: Any) -> bool:
    """Whether a value is the wanted one; NaN is NaN."""
    if isinstance(value, float) and isinstance(wanted, float) and math.isnan(value):
        return math.isnan(wanted)
    return bool(value == wanted) and (value is None) == (wanted is None)


def is_among(value: Any, wanted: list[Any]) -> bool:
    if isinstance(value, list):
        return any(element is not None and element in wanted for element in value)
    return any(same(value, one) for one in wanted)


MODEL: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda value, wanted: value < wanted,
    "<=": lambda value, wanted: value <= wanted,
    ">": lambda value, wanted: value > wanted,
    ">=": lambda value, wanted: value >= wanted,
    "==": same,
    "!=": lambda value, wanted: not same(value, wanted),
    "not_in": lambda value, wanted: not is_among(value, wanted),
    "prefix": lambda value, wanted: value.startswith(wanted),
    "regex": lambda value, wanted: re.search(wanted, value) is not None,
    "contains": is_among,
    "all": lambda value, wanted: all(one in value for one in wanted),
}
"""What operators say of a value that is not null."""


def holds(value: Any, operator: str, wanted: Any) -> bool:
    if operator == "null":
        return (value is None) == wanted
    if operator in {"given", "in"}:
        choices = wanted if isinstance(wanted, list) else [wanted]
        return None in choices if value is None else is_among(value, choices)
    return value is not None and MODEL[operator](value, wanted)


def a_dict(rng: random.Random) -> dict[str, Any]:
    """Return conditions on some columns: values, lists of them, and operators."""
    return {name: asked_of(name, rng) for name in rng.sample([*POOLS], rng.choice([1, 1, 1, 2, 3]))}


def asked_of(name: str, rng: random.Random) -> Any:
    values = ["x", "y", "z"] if name == "labels" else [value for value in POOLS[name] if value is not None]
    one, several = rng.choice(values), rng.choices(values, k=rng.randint(0, 3))
    with_null = rng.choices([None, *values], k=rng.randint(0, 3))
    operators: dict[str, Any] = {"null": rng.random() < 0.5}
    if name == "labels":
        operators |= {"contains": several, "all": several}
    else:
        operators |= {each: rng.choice(values) for each in ("<", "<=", ">", ">=", "==", "!=")}
        operators |= {"in": with_null, "not_in": several}
    if name in {"host", "region"}:
        operators |= {"prefix": one, "regex": rng.choice(["x", "^a|y$", "b?"])}
    chosen = {each: operators[each] for each in rng.sample([*operators], rng.choice([1, 1, 2]))}
    return rng.choice([None, one, several, with_null, *[chosen] * 6])


@pytest.mark.parametrize("seed", SEEDS)
def test_dicts_find_what_plain_python_finds(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(CONDITIONS):
        table, where = a_table(rng), a_dict(rng)
        place = table.column_names.index("time")
        rows = table.set_column(place, "time", table["time"].cast(pa.int64())).to_pylist()
        expected = [
            all(
                holds(row[name], operator, wanted)
                for name, asked in where.items()
                for operator, wanted in (asked if isinstance(asked, dict) else {"given": asked}).items()
            )
            for row in rows
        ]
        check(table, where, expected, rng)
