"""Random batches and random queries answer exactly as a model in plain Python does."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from measurefs import Database, Measure, PartOptions, TableOptions
from measurefs.part.series import xxh3
from tests.conftest import Store
from tests.database.helpers import DAY, HOUR, numbered, open_store
from tests.query.model import ALL, COLUMNS, ENTITY, Model, Row, plain

# Few series and times, so that rows meet: in the same key, on the bounds of a query, in its conditions.
HOSTS = ["", "a", "ü"]
PORTS = [-1, 1]
EDGES = [-(2**63) + 1, -DAY, -HOUR, 0, 6 * HOUR, DAY, 2**63 - 2]
times = st.sampled_from([edge + shift for edge in EDGES for shift in (-1, 0, 1)])
texts = st.sampled_from(["", "x", "ü"])
floats = st.sampled_from([0.0, -0.0, 1.5, -1.5, 1e300, float("inf"), float("-inf"), float("nan")])
integers = st.sampled_from([0, 1, -1, 7, 2**63 - 1, -(2**63)])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "region": st.none() | texts,
    "rack": st.none() | integers,
    "labels": st.none() | st.lists(st.none() | texts, max_size=3),
    "usage": st.none() | floats,
    "n": st.none() | integers,
    "up": st.none() | st.booleans(),
    "note": st.none() | texts,
}
VERSIONS = st.integers(-2, 2)
TYPES = {
    "time": pa.int64(),
    "host": pa.string(),
    "port": pa.int64(),
    "region": pa.string(),
    "rack": pa.int64(),
    "labels": pa.list_(pa.string()),
    "usage": pa.float64(),
    "n": pa.int64(),
    "up": pa.bool_(),
    "note": pa.string(),
    "version": pa.int64(),
}


@dataclasses.dataclass
class Batch:
    rows: list[Row]
    form: str


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Rows with some of the columns; versions for all of them or for none."""
    columns = draw(st.lists(st.sampled_from(COLUMNS), unique=True))
    shape: dict[str, st.SearchStrategy[Any]] = {
        "time": times,
        "host": st.sampled_from(HOSTS),
        "port": st.sampled_from(PORTS),
    } | {name: VALUES[name] for name in columns}
    if draw(st.booleans()):
        shape["version"] = VERSIONS
    rows = draw(st.lists(st.fixed_dictionaries(shape), min_size=1, max_size=20))
    return Batch(rows, draw(st.sampled_from(["arrow", "dicts", "columns"])))


def given_as(batch: Batch) -> Any:
    """Return the rows in one of the forms that `write` takes."""
    names = list(batch.rows[0])
    if batch.form == "dicts":
        return [
            {name: value for name, value in row.items() if value is not None or name == "usage"}
            for row in batch.rows
        ]
    columns = {name: [row[name] for row in batch.rows] for name in names}
    if batch.form == "columns":
        return columns
    return pa.table({name: pa.array(values, TYPES[name]) for name, values in columns.items()})


@dataclasses.dataclass
class Question:
    start: int | None
    end: int | None
    where: dict[str, Any]
    columns: list[str] | None
    order: str
    limit: int | None
    as_expression: bool


def one_or_several(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, max_size=3)


questions = st.builds(
    Question,
    start=st.none() | times,
    end=st.none() | times,
    where=st.lists(
        st.one_of(
            st.tuples(st.just("host"), one_or_several(st.sampled_from([*HOSTS, "nobody"]))),
            st.tuples(st.just("port"), one_or_several(st.sampled_from([*PORTS, 99]))),
            *(
                st.tuples(st.just(name), one_or_several(VALUES[name]))
                for name in ("region", "rack", "usage", "up")
            ),
        ),
        max_size=2,
    ).map(dict),
    columns=st.none() | st.lists(st.sampled_from([*ALL]), unique=True, min_size=1),
    order=st.sampled_from(["time", "-time", "series"]),
    limit=st.none() | st.integers(0, 30),
    as_expression=st.booleans(),
)
STEPS = st.lists(
    st.one_of(batches(), batches(), st.sampled_from(["flush", "flush", "gc", "reopen"])), max_size=10
)


@dataclasses.dataclass(frozen=True)
class Shape:
    """How the store is laid out, which no answer may show."""

    interval: str
    shards: int
    block_rows: int
    compact_bytes: int
    hash: Callable[[bytes], int]

    @property
    def options(self) -> TableOptions:
        return TableOptions(
            gc_grace=0.0,
            keep_snapshots=1,
            series_hash=self.hash,
            part=PartOptions(block_rows=self.block_rows, compact_bytes=self.compact_bytes),
        )


def colliding(key: bytes) -> int:
    """Give many entities the same id."""
    return xxh3(key) % 3


SHAPES = st.builds(
    Shape,
    interval=st.sampled_from(["1h", "6h", "1d", "3d"]),
    shards=st.integers(1, 3),
    block_rows=st.sampled_from([1, 3, 4096]),
    compact_bytes=st.sampled_from([0, 8 << 20]),
    hash=st.sampled_from([xxh3, xxh3, colliding]),
)


def create(database: Database, shape: Shape) -> Measure:
    return database.create_measure(
        "m",
        entity={"host": "string", "port": "int64"},
        tags={"place": {"region": "string", "rack": "int64"}, "other": {"labels": "list<string>"}},
        fields={"usage": "float64", "n": "int64", "up": "bool", "note": "string"},
        interval=shape.interval,
        shards=shape.shards,
    )


def expression(where: dict[str, Any]) -> pc.Expression:
    """Return the same condition as an expression."""
    whole, no = pc.scalar(True), pc.scalar(False)
    for name, wanted in where.items():
        choices = wanted if isinstance(wanted, list) else [wanted]
        one = no
        for choice in choices:
            field = pc.field(name)
            if choice is None:
                same = field.is_null()
            elif plain(choice) == "NaN":
                same = pc.coalesce(pc.is_nan(field), no)
            else:
                same = pc.coalesce(field == pa.scalar(choice, TYPES[name]), no)
            one = one | same
        whole = whole & one
    return whole


def ask(measure: Measure, question: Question, *, as_expression: bool = False) -> list[Row]:
    where: Any = expression(question.where) if as_expression else question.where
    with measure.query(
        question.start,
        question.end,
        where,
        question.columns,
        question.order,  # type: ignore[arg-type]
        question.limit,
    ) as result:
        rows = numbered(result.to_arrow()).to_pylist()
    return [{name: plain(value) for name, value in row.items()} for row in rows]


def order_of_series(measure: Measure) -> list[tuple[Any, ...]]:
    """Return the order of series, which is the store's own affair but must be one and the same."""
    rows = measure.query(columns=ENTITY, order="series").to_arrow().to_pylist()
    series = [tuple(row[name] for name in ENTITY) for row in rows]
    distinct = list(dict.fromkeys(series))
    places = [distinct.index(entity) for entity in series]
    assert places == sorted(places), "the rows of a series are not together"
    return distinct


def check(store: Store, shape: Shape, steps: list[Any], asked: list[Question]) -> None:
    """Write in steps, ask after each, and once more when all is reopened for reading only."""
    database = open_store(store, options=shape.options)
    try:
        measure, model = create(database, shape), Model()
        pinned: list[tuple[Any, list[Row]]] = []
        for arrival, step in enumerate(steps):
            if isinstance(step, Batch):
                assert measure.write(given_as(step)) == len(step.rows)
                # Numbers of arrival are far above the versions that a batch may carry itself.
                model.write(step.rows, 1000 + arrival)
            elif step == "flush":
                measure.flush()
            elif step == "gc":
                measure.gc()
            else:
                database.close()
                database = open_store(store, options=shape.options)
                measure = database.measure("m")
            compare(measure, model, asked[arrival % len(asked) :][:1])
            if step != "reopen" and len(pinned) < 3:
                pinned.append((measure.query(), whole(model)))
            if step == "reopen":
                pinned.clear()
        for result, rows in pinned:
            assert comparable(numbered(result.to_arrow()).to_pylist()) == comparable(rows)
        compare(measure, model, asked)
    finally:
        database.close()
    with open_store(store, options=shape.options, read_only=True) as reader:
        compare(reader.measure("m"), model, asked)


def whole(model: Model) -> list[Row]:
    return [{name: row[name] for name in ALL} for row in model.rows.values()]


def comparable(rows: list[Row]) -> list[str]:
    return sorted(repr([plain(row[name]) for name in ALL]) for row in rows)


def compare(measure: Measure, model: Model, asked: list[Question]) -> None:
    series = order_of_series(measure)
    for question in asked:
        columns = list(ALL) if question.columns is None else question.columns
        expected = model.query(
            series, question.start, question.end, question.where, columns, question.order, question.limit
        )
        assert ask(measure, question) == expected
        if question.as_expression:
            assert ask(measure, question, as_expression=True) == expected


EXAMPLE = given(shape=SHAPES, steps=STEPS, asked=st.lists(questions, min_size=1, max_size=5))
UNSHRUNK = [Phase.explicit, Phase.reuse, Phase.generate]
"""Where an example is slow; what fails there mostly fails in memory too, and is shrunk there."""
ANY_SPEED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]


@settings(max_examples=30, deadline=None, suppress_health_check=ANY_SPEED)
@EXAMPLE
def test_in_memory(shape: Shape, steps: list[Any], asked: list[Question]) -> None:
    check(Store(f"memory://{uuid.uuid4().hex}"), shape, steps, asked)


@settings(max_examples=10, deadline=None, phases=UNSHRUNK, suppress_health_check=ANY_SPEED)
@EXAMPLE
def test_on_disk(
    tmp_path_factory: pytest.TempPathFactory, shape: Shape, steps: list[Any], asked: list[Question]
) -> None:
    check(Store(str(tmp_path_factory.mktemp("store"))), shape, steps, asked)


@settings(max_examples=2, deadline=None, phases=UNSHRUNK, suppress_health_check=ANY_SPEED)
@EXAMPLE
def test_in_a_bucket(
    s3_url: str, s3_options: dict[str, Any], shape: Shape, steps: list[Any], asked: list[Question]
) -> None:
    check(Store(f"{s3_url}/{uuid.uuid4().hex}", s3_options), shape, steps, asked)


def test_the_model_agrees_with_pandas() -> None:
    """The model is checked too: pandas' way of keeping the last row of each key gives the same."""
    rows = [
        {"time": time % 4, "host": HOSTS[time % 3], "port": 0, "n": time, "version": time * 7 % 5}
        for time in range(200)
    ]
    model = Model()
    for first in range(0, 200, 40):
        model.write(rows[first : first + 40], 0)
    frame = pd.DataFrame(rows).sort_values("version", kind="stable")
    last = frame.drop_duplicates(["host", "port", "time"], keep="last").sort_values(["time", "host"])
    series = [(host, 0) for host in sorted(HOSTS)]
    found = model.query(series, 1, 3, {"host": ["a", ""]}, ["time", "host", "n"], "time", None)
    week = last[(last["time"] >= 1) & (last["time"] < 3) & last["host"].isin(["a", ""])]
    assert found == week[["time", "host", "n"]].to_dict("records")
    assert len(found) == 4
