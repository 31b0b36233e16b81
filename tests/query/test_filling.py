"""Rows for buckets without rows."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pyarrow as pa
import pytest

from measurefs import SchemaError
from measurefs.query.aggregation.aggregates import Aggregation
from tests.query.stretches import ENTITY, FIELDS, TAGS, Row, piece_of, random_rows

SECOND = 10**9
NOTHING: Row = dict.fromkeys((*ENTITY, *TAGS, *FIELDS)) | {"host": "a", "port": 1}
VALUES = {"usage": ["mean", "count"], "n": "max", "note": "last"}


def fill(rows: list[Row], **asked: Any) -> list[Row]:
    aggregation = Aggregation(
        ENTITY, TAGS, FIELDS, **{"every": "1s", "values": {"usage": "mean", "*": "count"}} | asked
    )
    accumulation = aggregation.accumulate()
    if rows:
        accumulation.add(aggregation.of_stretch(piece_of(rows, random.Random(0))))
    table = accumulation.finish()
    table.validate(full=True)
    assert table.schema == aggregation.schema
    return table.set_column(0, "time", table["time"].cast(pa.int64())).to_pylist()


def at(second: float, **values: Any) -> Row:
    return NOTHING | {"time": int(second * SECOND)} | values


ROWS = [at(1.5, usage=1.0, n=1), at(3.2, n=10), at(6.1, usage=4.0, n=20)]


@pytest.mark.parametrize(
    ("how", "usage", "n"),
    [
        (None, [1.0, None, 4.0], [1, 10, 20]),
        ("null", [1.0, None, None, None, None, 4.0], [1, None, 10, None, None, 20]),
        ("previous", [1.0, 1.0, 1.0, 1.0, 1.0, 4.0], [1, 1, 10, 10, 10, 20]),
        ("linear", [1.0, 1.6, 2.2, 2.8, 3.4, 4.0], [1, 6, 10, 13, 17, 20]),
        (0, [1.0, 0.0, 0.0, 0.0, 0.0, 4.0], [1, 0, 10, 0, 0, 20]),
        (-1.0, [1.0, -1.0, -1.0, -1.0, -1.0, 4.0], [1, -1, 10, -1, -1, 20]),
    ],
)
def test_empty_buckets_between_the_first_and_the_last_are_filled(
    how: Any, usage: list[Any], n: list[Any]
) -> None:
    found = fill(ROWS, fill=how, values={"usage": ["mean", "count"], "n": "max", "*": "count"})
    seconds = [1, 3, 6] if how is None else range(1, 7)
    assert [row["time"] for row in found] == [second * SECOND for second in seconds]
    assert [row["usage_mean"] for row in found] == pytest.approx(usage)
    assert [row["n_max"] for row in found] == n
    counted = {1: (1, 1), 3: (0, 1), 6: (1, 1)}
    assert [(row["usage_count"], row["count"]) for row in found] == [
        counted.get(each, (0, 0)) for each in seconds
    ]


def test_the_span_asked_for_is_filled_to_its_ends() -> None:
    rows = [at(3, usage=1.0), at(5, usage=3.0)]
    whole = {"start": int(1.5 * SECOND), "end": 8 * SECOND}
    assert [row["time"] // SECOND for row in fill(rows, fill="null", **whole)] == [1, 2, 3, 4, 5, 6, 7]
    linear = [row["usage_mean"] for row in fill(rows, fill="linear", **whole)]
    assert linear == [None, None, 1.0, 2.0, 3.0, None, None], "there is nothing to draw a line to"
    previous = [row["usage_mean"] for row in fill(rows, fill="previous", **whole)]
    assert previous == [None, None, 1.0, 1.0, 3.0, 3.0, 3.0]
    assert [row["time"] // SECOND for row in fill(rows, fill=0, start=2 * SECOND)] == [2, 3, 4, 5]
    assert [row["time"] // SECOND for row in fill(rows, fill=0, end=7 * SECOND + 1)] == [3, 4, 5, 6, 7]


def test_each_group_that_occurs_is_filled() -> None:
    rows = [
        at(1, region="y", usage=1.0),
        at(2, region=None, usage=2.0),
        at(4, region="x", usage=3.0),
        at(4, region="y", usage=9.0, port=2),
    ]
    found = fill(rows, fill="previous", by="region")
    assert [(row["time"] // SECOND, row["region"]) for row in found] == list(
        itertools.product([1, 2, 3, 4], ["x", "y", None])
    )
    assert [row["usage_mean"] for row in found if row["region"] == "y"] == [1.0, 1.0, 1.0, 9.0]
    assert [row["usage_mean"] for row in found if row["region"] == "x"] == [None, None, None, 3.0]
    assert [row["usage_mean"] for row in found if row["region"] is None] == [None, 2.0, 2.0, 2.0]
    assert sum(row["count"] for row in found) == 4


def test_nothing_is_filled_where_no_group_occurs() -> None:
    whole = {"start": 0, "end": 3 * SECOND}
    assert fill([], fill=0, by="host", **whole) == []
    assert fill([], fill=0) == []
    assert fill([], fill=0, start=0) == []
    assert fill([], fill=0, start=5, end=5) == []
    expected = [{"time": second * SECOND, "usage_mean": 0.0, "count": 0} for second in range(3)]
    assert fill([], fill=0, **whole) == expected, "without `by` there is always the one group of everything"


def test_strings_are_filled_with_the_previous_ones() -> None:
    rows = [at(1, note="p", raw=b"r", up=True), at(3)]
    found = fill(rows, fill="previous", values={"note": "last", "raw": "first", "up": "max"}, end=5 * SECOND)
    assert [list(row.values())[1:] for row in found] == [["p", b"r", True]] * 4


def test_lines_follow_the_lengths_of_months() -> None:
    day = 86_400
    rows = [at(0, usage=0.0, n=-(2**63)), at(59 * day, usage=59.0, n=2**63 - 1)]
    found = fill(rows, every="1mo", fill="linear", values={"usage": "mean", "n": "max"})
    assert [row["usage_mean"] for row in found] == [0.0, pytest.approx(31.0), 59.0]
    assert found[1]["n_max"] == pytest.approx(-(2**63) + 2**64 * 31 / 59)


def test_not_a_number_is_a_value() -> None:
    rows = [at(1, usage=math.nan), at(3, usage=1.0)]
    assert math.isnan(fill(rows, fill="previous")[1]["usage_mean"])
    assert math.isnan(fill(rows, fill="linear")[1]["usage_mean"])
    assert math.isnan(fill(rows, fill=0)[0]["usage_mean"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"fill": "zero"}, "cannot use 'zero' as fill; give 'null', 'previous', 'linear', a number, or None"),
        ({"fill": True}, "cannot use True as fill"),
        ({"fill": [0]}, "cannot use [0] as fill"),
        (
            {"fill": 0, "values": {"note": "last"}},
            "cannot fill 'note_last', which is string, with 0; give 'previous'",
        ),
        ({"fill": "linear", "values": {"up": "max"}}, "cannot fill 'up_max', which is bool, with 'linear'"),
        (
            {"fill": 0.5, "values": {"n": "max"}},
            "cannot fill 'n_max', which is int64, with 0.5; give a whole number",
        ),
        ({"fill": math.nan, "values": {"n": "max"}}, "cannot fill 'n_max', which is int64, with nan"),
    ],
)
def test_what_cannot_be_filled_in_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        fill([], **asked)
    assert message in str(caught.value)


def test_a_result_that_would_never_end_is_refused() -> None:
    rows = [at(0, usage=1.0), at(10**9, usage=1.0)]
    with pytest.raises(SchemaError, match="fill would make more than 100,000,000 rows; give a longer every"):
        fill(rows, every="1ns", fill=0)
    with pytest.raises(SchemaError, match="or fewer groups"):
        fill(
            [*rows, at(5, usage=1.0, host="b")],
            every="10s",
            by="host",
            fill=0,
            start=0,
            end=900_000_000 * SECOND,
        )


@pytest.mark.parametrize("seed", range(15))
def test_filled_results_are_those_of_plain_python(seed: int) -> None:
    chance = random.Random(seed)
    rows = [
        row | {"usage": None if row["usage"] is None else chance.gauss(0, 1)}
        for row in random_rows(chance, 60, 40 * SECOND)
    ]
    how = chance.choice(["null", "previous", "linear", 7])
    plain = {(row["time"], row["host"]): row for row in fill(rows, by="host", values={"usage": "mean"})}
    found = fill(rows, by="host", fill=how, values={"usage": "mean"})
    times = range(min(time for time, _ in plain), max(time for time, _ in plain) + 1, SECOND)
    hosts = sorted({host for _, host in plain}, key=str.encode)
    assert [(row["time"], row["host"]) for row in found] == list(itertools.product(times, hosts))
    for host in hosts:
        held = [plain.get((time, host), {}).get("usage_mean") for time in times]
        filled = [row["usage_mean"] for row in found if row["host"] == host]
        assert filled == pytest.approx([one_filled(held, place, how) for place in range(len(held))]), (
            f"seed {seed}"
        )


def one_filled(held: list[Any], place: int, how: Any) -> Any:
    if held[place] is not None or how == "null":
        return held[place]
    before = [other for other in range(place) if held[other] is not None]
    after = [other for other in range(place, len(held)) if held[other] is not None]
    if how == "previous":
        return held[before[-1]] if before else None
    if how == "linear":
        if not before or not after:
            return None
        low, high = before[-1], after[0]
        return held[low] + (held[high] - held[low]) * (place - low) / (high - low)
    return float(how)
