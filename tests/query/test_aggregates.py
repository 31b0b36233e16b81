"""Aggregates: of rows in pieces and of summaries, against plain Python, DuckDB and pandas; and what is refused."""

from __future__ import annotations

import datetime
import random
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from measurefs import SchemaError
from measurefs.codec.types import ColumnType
from measurefs.part.series import xxh3
from measurefs.query.aggregation.aggregates import Aggregation
from tests.query.aggregate_model import FUNCTIONS_OF, BeyondInt64Error, aggregate, assert_same, series_place
from tests.query.stretches import ENTITY, FIELDS, TAGS, Piece, Row, piece_of, random_rows

SECOND = 10**9
MINUTE = 60 * SECOND
CASES = 80


def ask(**asked: Any) -> Aggregation:
    return Aggregation(ENTITY, TAGS, FIELDS, **asked)


def to_rows(table: pa.Table) -> list[Row]:
    table.validate(full=True)
    if "time" in table.column_names:
        table = table.set_column(0, "time", table["time"].cast(pa.int64()))
    return table.to_pylist()


def answer(
    asked: Aggregation, pieces: list[Piece], *, summaries: bool = False, most_pending: int = 10
) -> pa.Table:
    """Put an answer together; with summaries, read only the blocks that need it."""
    accumulation = asked.accumulate(most_pending)
    for piece in pieces:
        rest = np.ones(len(piece.starts), np.bool_)
        if summaries:
            blocks, known = piece.blocks(), piece.summaries()
            which = asked.answered(blocks, known)
            accumulation.add(asked.of_summaries(blocks, known, piece.dictionaries(), which))
            rest = ~which
        accumulation.add(asked.of_stretch(piece.those(rest)))
    return accumulation.finish()


def cut_up(rows: list[Row], chance: random.Random) -> list[Piece]:
    """Divide rows into pieces, by series or by time, as shards and segments do."""
    pieces = chance.randint(1, 5)
    if chance.random() < 0.5:
        share = [(len(row["host"]) + row["port"]) % pieces for row in rows]
    else:
        span = max((row["time"] for row in rows), default=0) + 1
        share = [row["time"] * pieces // span for row in rows]
    parts = [
        [row for row, number in zip(rows, share, strict=True) if number == each] for each in range(pieces)
    ]
    return [piece_of(part, chance, chance.choice([1, 3, 10**9])) for part in parts if part]


@pytest.mark.parametrize("case", range(CASES))
def test_aggregates_are_those_of_plain_python(case: int) -> None:
    chance = random.Random(case)
    rows = random_rows(chance, chance.choice([0, 1, 30, 300]), chance.choice([5, 100, 10_000]) * SECOND)
    width = chance.choice([None, None, SECOND, 7 * SECOND, 50 * SECOND, 86_400 * SECOND])
    names = [name for name in (*ENTITY, *TAGS) if name != "labels"]
    by = chance.sample(names, chance.choice([0, 0, 1, 1, 2, 4])) if chance.random() < 0.8 else list(ENTITY)
    columns = chance.sample(list(FUNCTIONS_OF), chance.randint(1, 4))
    values: dict[str, Any] = {
        name: chance.sample(FUNCTIONS_OF[name], chance.randint(1, min(4, len(FUNCTIONS_OF[name]))))
        for name in columns
        if name not in by
    }
    values["*"] = ["count"]
    pieces = cut_up(rows, chance)
    summaries = chance.random() < 0.5
    asked = ask(every=width, by=by, values=values)
    bucket = None if width is None else lambda time: time // width * width
    try:
        expected = aggregate(rows, bucket, by, values, series_place)
    except BeyondInt64Error:
        with pytest.raises(SchemaError, match="beyond int64"):
            answer(asked, pieces, summaries=summaries)
        return
    found = answer(asked, pieces, summaries=summaries)
    assert_same(to_rows(found), expected, f"case {case}")


def test_what_summaries_tell_is_what_the_rows_tell() -> None:
    chance = random.Random(5)
    rows = [
        row | {"usage": chance.gauss(0, 1), "region": "x"} for row in random_rows(chance, 500, 1_000 * SECOND)
    ]
    piece = piece_of(rows, random.Random(1), 16)
    values = {
        "usage": ["count", "sum", "mean", "min", "max", "stddev", "first", "last"],
        "n": "count",
        "note": "count",
    }
    asked = ask(by=["region", "host"], values=values)
    assert asked.answered(piece.blocks(), piece.summaries()).all(), "nothing of this needs reading"
    assert_same(to_rows(answer(asked, [piece], summaries=True)), to_rows(answer(asked, [piece])), "summaries")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"values": {"usage": "p99"}}, "quantiles need the values"),
        ({"values": {"usage": "approx_p50"}}, "approximate ones too"),
        ({"values": {"note": "max"}}, "strings are not summarised"),
        ({"by": "load"}, "a NaN does not show"),
        ({"every": "1s"}, "the blocks are longer"),
    ],
)
def test_blocks_are_read_if_their_summaries_do_not_tell(asked: dict[str, Any], why: str) -> None:
    rows = [
        row | {"usage": 1.0, "note": "p", "load": 1.0} for row in random_rows(random.Random(5), 500, 10**12)
    ]
    piece = piece_of(rows, random.Random(1), 16)
    long = piece.stops - piece.starts > 1
    assert not ask(**asked).answered(piece.blocks(), piece.summaries())[long].any(), why


def test_rows_are_counted_without_reading_any() -> None:
    rows = random_rows(random.Random(3), 400, 10**12)
    piece = piece_of(rows, random.Random(1), 16)
    asked = ask(by="host", every="1d")
    which = asked.answered(piece.blocks(), None)
    assert which.all()
    accumulation = asked.accumulate()
    accumulation.add(asked.of_summaries(piece.blocks(), None, {}, which))
    counts = accumulation.finish()["count"].to_pylist()
    assert sum(counts) == len(rows)
    assert asked.columns == []
    assert not ask(by="host").needs_times
    assert not ask(by="region").answered(piece.blocks(), None).any(), "a tag is not in the index"


def test_first_and_last_of_equal_times_go_by_series_also_where_ids_are_equal() -> None:
    rows = [
        {**random_rows(random.Random(1), 1, 1)[0], "host": name, "port": 1, "time": 5, "n": number}
        for number, name in enumerate("abcd")
    ]
    by_key = piece_of(rows, random.Random(0), hasher=lambda key: 7)
    asked = ask(values={"n": ["first", "last"]})
    assert to_rows(answer(asked, [by_key])) == [{"n_first": 0, "n_last": 3}]
    apart = [piece_of([row], random.Random(0)) for row in rows]
    ids = {
        xxh3(b"\x01\0\0\0" + name.encode() + b"\x08\0\0\0" + (1).to_bytes(8, "little")): n
        for n, name in enumerate("abcd")
    }
    expected = [{"n_first": ids[min(ids)], "n_last": ids[max(ids)]}]
    for order in (apart, apart[::-1], [piece_of(rows, random.Random(0))]):
        assert to_rows(answer(asked, order, most_pending=1)) == expected


def test_integers_are_summed_exactly_and_too_large_sums_refused() -> None:
    row = random_rows(random.Random(1), 1, 1)[0]
    values = [2**63 - 1, 2**63 - 1, -(2**63), -(2**63), 5]
    rows = [row | {"time": time, "n": value} for time, value in enumerate(values)]
    for summaries in (False, True):
        pieces = [piece_of(rows[:2], random.Random(0)), piece_of(rows[2:], random.Random(0))]
        found = to_rows(answer(ask(values={"n": ["sum", "mean"]}), pieces, summaries=summaries))
        assert found == [{"n_sum": 3, "n_mean": 0.6}]
        with pytest.raises(SchemaError, match="a sum of 'n' is beyond int64"):
            answer(ask(values={"n": "sum"}), pieces[:1], summaries=summaries)
        mean = to_rows(answer(ask(values={"n": ["mean", "max", "count"]}), pieces[:1], summaries=summaries))
        assert mean == [{"n_mean": 2.0**63, "n_max": 2**63 - 1, "n_count": 2}]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, [{"count": 0}]),
        (
            {"values": {"usage": ["count", "sum", "p50"], "note": "min"}},
            [{"usage_count": 0, "usage_sum": None, "usage_p50": None, "note_min": None}],
        ),
        ({"by": "host"}, []),
        ({"every": "1h"}, []),
        ({"every": "1h", "by": ["host", "region"], "values": {"raw": "last"}}, []),
    ],
)
def test_nothing_has_an_answer_too(asked: dict[str, Any], expected: list[Row]) -> None:
    table = answer(ask(**asked), [])
    assert table.schema == ask(**asked).schema
    assert to_rows(table) == expected


def test_the_schema_is_known_before_anything_is_read() -> None:
    asked = ask(
        every="1d",
        by=["region", "port", "spare"],
        values={
            "usage": ["p99.9", "sum"],
            "n": ["sum", "mean", "min", "approx_p50"],
            "up": ["sum", "max"],
            "*": "count",
            "note": "last",
        },
    )
    assert asked.schema == pa.schema(
        [
            ("time", pa.timestamp("ns", "UTC")),
            ("region", pa.string()),
            ("port", pa.int64()),
            ("spare", pa.bool_()),
            ("usage_p99.9", pa.float64()),
            ("usage_sum", pa.float64()),
            ("n_sum", pa.int64()),
            ("n_mean", pa.float64()),
            ("n_min", pa.int64()),
            ("n_approx_p50", pa.float64()),
            ("up_sum", pa.int64()),
            ("up_max", pa.bool_()),
            ("count", pa.int64()),
            ("note_last", pa.string()),
        ]
    )
    assert asked.columns == ["region", "spare", "usage", "n", "up", "note"]
    rows = random_rows(random.Random(2), 100, 10**15)
    assert answer(asked, [piece_of(rows, random.Random(2))]).schema == asked.schema


def test_a_column_that_was_of_a_narrower_type_is_aggregated_as_what_it_is_now() -> None:
    rows = [row | {"n": 3, "note": "ä", "up": True} for row in random_rows(random.Random(2), 50, 10**9)]
    later = [row | {"time": row["time"] + 10**9} for row in rows]
    wider = Aggregation(
        ENTITY,
        TAGS,
        FIELDS | {"n": ColumnType.FLOAT64, "up": ColumnType.INT64, "note": ColumnType.BINARY},
        values={"n": ["sum", "min", "p50", "last"], "up": ["max", "count"], "note": ["first", "max"]},
    )
    for summaries in (False, True):
        old, new = piece_of(rows, random.Random(1), 1), piece_of(later, random.Random(1), 1)
        for name, kind, value in (
            ("n", pa.float64(), 1.5),
            ("up", pa.int64(), 7),
            ("note", pa.binary(), b"\xff"),
        ):
            new.columns[name] = pa.array([value] * len(new.times), kind)
        found = to_rows(answer(wider, [old, new], summaries=summaries))
        expected = {"n_sum": 4.5 * len(rows), "n_min": 1.5, "n_p50": 2.25, "n_last": 1.5}
        expected |= {"up_max": 7, "up_count": 2 * len(rows), "note_first": "ä".encode(), "note_max": b"\xff"}
        assert_same(found, [expected], "widened")


@pytest.mark.parametrize(("name", "value"), [("region", "x"), ("rack", 1), ("spare", True)])
def test_a_tag_that_is_null_in_some_rows_of_a_block_makes_two_groups(name: str, value: Any) -> None:
    row = random_rows(random.Random(1), 1, 1)[0]
    rows = [row | {"time": time, name: value if time % 2 else None} for time in range(10)]
    piece = piece_of(rows, random.Random(0))
    if name == "region" and not pa.types.is_dictionary(piece.columns[name].type):
        piece.columns[name] = piece.columns[name].dictionary_encode()
    found = to_rows(answer(ask(by=name), [piece], summaries=True))
    assert found == [{name: value, "count": 5}, {name: None, "count": 5}]


def test_first_and_last_values_are_not_those_of_a_block_that_begins_or_ends_with_null() -> None:
    row = random_rows(random.Random(1), 1, 1)[0] | {"host": "a", "port": 1}
    values = {0: None, 10: 1, 20: 2, 30: None}
    rows = [row | {"time": time, "n": value} for time, value in values.items()]
    rows += [row | {"host": "b", "time": 5, "n": 3}, row | {"host": "c", "time": 25, "n": 4}]
    for functions, expected in (("first", {"n_first": 3}), ("last", {"n_last": 4})):
        asked = ask(values={"n": functions})
        assert to_rows(answer(asked, [piece_of(rows, random.Random(0))], summaries=True)) == [expected]


def test_integers_that_are_no_floats_are_refused_whether_blocks_are_read_or_not() -> None:
    rows = [row | {"n": 2**53 + 1} for row in random_rows(random.Random(1), 5, 100)]
    wider = Aggregation(ENTITY, TAGS, FIELDS | {"n": ColumnType.FLOAT64}, values={"n": "max"})
    for summaries in (False, True):
        with pytest.raises(SchemaError, match="'n'"):
            answer(wider, [piece_of(rows, random.Random(0))], summaries=summaries)


def test_summaries_of_blocks_in_many_months() -> None:
    row = random_rows(random.Random(1), 1, 1)[0]
    rows = [row | {"time": month * 31 * 86_400 * SECOND} for month in range(100)]
    asked = ask(every="1mo", timezone="Europe/Berlin")
    piece = piece_of(rows, random.Random(0), 1)
    assert asked.answered(piece.blocks(), None).all()
    assert answer(asked, [piece], summaries=True).equals(answer(asked, [piece]))


def test_duckdb_and_pandas_agree() -> None:
    chance = np.random.default_rng(1)
    count = 20_000
    times = np.sort(chance.choice(10**7, count, replace=False)).astype(np.int64) * 10**8
    frame = pd.DataFrame(
        {
            "time": times,
            "host": chance.choice([f"h{n}" for n in range(40)], count),
            "port": 1,
            "region": chance.choice(["x", "y", None], count),
            "usage": np.where(chance.random(count) < 0.1, None, chance.normal(1e6, 1, count)).astype(float),
            "n": chance.integers(-(10**9), 10**9, count),
        }
    )
    empty = dict.fromkeys((*TAGS, *FIELDS))
    rows = [
        empty | {name: None if value != value else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]
    pieces = [
        piece_of(rows[start : start + 4_000], random.Random(0), 500) for start in range(0, count, 4_000)
    ]
    values = {"usage": ["count", "mean", "stddev", "min", "max", "p90"], "n": ["sum", "median"]}
    found = answer(ask(every="6h", by="region", values=values), pieces).to_pandas()
    hours = 6 * 3600 * SECOND
    sql = f"""
        select time // {hours} * {hours} as time, region, count(usage), avg(usage), stddev_samp(usage), min(usage),
               max(usage), quantile_cont(usage, 0.9), sum(n)::bigint, median(n)
        from data group by all order by 1, region nulls last
    """
    data = pa.table([pa.array([row[name] for row in rows]) for name in frame], frame.columns.tolist())
    with duckdb.connect() as connection:
        connection.register("data", data)
        expected = connection.execute(sql).df()
    expected.columns = found.columns
    found["time"] = found["time"].astype("int64")
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-9)
    by_host = (
        answer(ask(by="host", values={"usage": ["mean", "stddev"]}), pieces).to_pandas().set_index("host")
    )
    in_pandas = frame.groupby("host")["usage"].agg(["mean", "std"])
    np.testing.assert_allclose(by_host.to_numpy(), in_pandas.to_numpy(), rtol=1e-9)


def test_deviations_of_large_numbers_that_differ_little_keep_their_digits() -> None:
    row = random_rows(random.Random(1), 1, 1)[0]
    rows = [row | {"time": time, "usage": 1e9 + time % 2} for time in range(1000)]
    pieces = [piece_of(rows[start : start + 7], random.Random(0)) for start in range(0, 1000, 7)]
    (found,) = answer(ask(values={"usage": "stddev"}), pieces)["usage_stddev"].to_pylist()
    assert found == pytest.approx(np.std([0, 1] * 500, ddof=1), rel=1e-7)


def test_many_groups_of_many_columns_stay_apart() -> None:
    """Codes of several columns are mixed into one number, which must not overflow."""
    names = [f"t{number}" for number in range(8)]
    tags = dict.fromkeys(names, ColumnType.STRING)
    chance = random.Random(1)
    values = {name: [f"{name}-{chance.randrange(10**6)}" for _ in range(3_000)] for name in names}
    piece = piece_of(
        [random_rows(random.Random(1), 1, 1)[0] | {"time": time} for time in range(3_000)], random.Random(9)
    )
    piece.columns = {name: pa.array(held * 2)[: len(piece.times)] for name, held in values.items()}
    laid = [
        tuple(piece.columns[name][row].as_py() for name in names)
        for row in range(int(piece.starts[0]), int(piece.stops[0]))
    ]
    asked = Aggregation(ENTITY, tags, {}, by=names)
    found = answer(asked, [piece])
    assert found.num_rows == len(set(laid))
    assert [tuple(row[name] for name in names) for row in found.to_pylist()] == sorted(set(laid))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"by": "hots"}, "by names the unknown column 'hots'; did you mean 'host'"),
        (
            {"by": ["host", "usage"]},
            "by names the field 'usage'; groups are made by entity columns and tags: host,",
        ),
        ({"by": "time"}, "by names 'time'; to group by time, give every='1h'"),
        ({"by": "labels"}, "cannot group by 'labels', which is list<string>"),
        ({"by": ["host", "host"]}, "by names a column twice"),
        ({"values": {"usge": "mean"}}, "values names the unknown column 'usge'; did you mean 'usage'"),
        ({"values": {"usage": "maen"}}, "values names the unknown function 'maen'; did you mean 'mean'"),
        ({"values": {"usage": ["mean", 5]}}, "values names the unknown function 5"),
        ({"values": {"usage": "p101"}}, "quantiles go from p0 to p100"),
        (
            {"values": {"note": "mean"}},
            "'mean' of 'note', which is string; such columns have count, min, max, first",
        ),
        ({"values": {"note": "p99"}}, "'p99' of 'note', which is string"),
        (
            {"values": {"labels": "first"}},
            "'first' of 'labels', which is list<string>; such columns have count",
        ),
        ({"values": {"*": "mean"}}, "rows; they can be counted"),
        ({"values": {"host": "count"}}, "values names the unknown column 'host'"),
        ({"values": {}}, "cannot use {} as values"),
        ({"values": "usage"}, "cannot use 'usage' as values: give a dict"),
        ({"values": {"usage": []}}, "values asks for no function of 'usage'"),
        ({"values": {"usage": ["mean", "mean"]}}, "two columns named 'usage_mean'"),
        ({"origin": 0}, "origin says something of buckets of time, and there are none"),
        ({"fill": 0}, "fill says something of buckets of time, and there are none"),
        ({"every": "1h", "timezone": "Europe/Berlim"}, "did you mean 'Europe/Berlin'"),
        ({"every": "1 fortnight"}, "cannot use '1 fortnight' as every"),
    ],
)
def test_what_does_not_fit_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        ask(**asked)
    assert message in str(caught.value)


def test_days_of_a_time_zone_are_grouped_as_its_clocks_have_them() -> None:
    row = random_rows(random.Random(1), 1, 1)[0]
    start = int(datetime.datetime(2024, 3, 30, tzinfo=datetime.UTC).timestamp()) * SECOND
    rows = [row | {"time": start + minute * 30 * MINUTE} for minute in range(96)]
    found = answer(ask(every="1d", timezone="Europe/Berlin", by="host"), [piece_of(rows, random.Random(0))])
    assert [str(time) for time in found["time"].to_pylist()] == [
        "2024-03-29 23:00:00+00:00",
        "2024-03-30 23:00:00+00:00",
        "2024-03-31 22:00:00+00:00",
    ]
    assert found["count"].to_pylist() == [46, 46, 4], "the day on which the clocks go forward has 23 hours"
