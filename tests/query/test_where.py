"""What is known of a ``where`` before a row is read: spans of time, series, columns, and what chunks can hold."""

from __future__ import annotations

import datetime
import re
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from measurefs import SchemaError
from measurefs.codec.types import ColumnType
from measurefs.part.series import encode_series, xxh3
from measurefs.query import MAX_TIME, MIN_TIME, Condition
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
EVER = (MIN_TIME, MAX_TIME + 1)
NAN, INF = float("nan"), float("inf")
time, usage, n, host, port = map(pc.field, ("time", "usage", "n", "host", "port"))


def at(nanoseconds: int) -> pa.Scalar:
    return pa.scalar(nanoseconds, pa.timestamp("ns", "UTC"))


def condition(where: Any) -> Condition:
    return Condition(where, ENTITY, COLUMNS, xxh3)


@pytest.mark.parametrize(
    ("where", "span", "always"),
    [
        (None, EVER, True),
        ({"time": 5}, (5, 6), True),
        ({"time": "1970-01-01T00:00:01Z"}, (10**9, 10**9 + 1), True),
        ({"time": {">=": 5, "<": 9}}, (5, 9), True),
        ({"time": {">": 5, "<=": 9}}, (6, 10), True),
        ({"time": {"==": MAX_TIME}}, (MAX_TIME, MAX_TIME + 1), True),
        ({"time": {">": MAX_TIME}}, (MAX_TIME + 1, MAX_TIME + 1), True),
        (
            {"time": {">=": datetime.datetime(1970, 1, 1, 0, 0, 1, tzinfo=datetime.UTC)}},
            (10**9, EVER[1]),
            True,
        ),
        ({"time": [9, 5, 7]}, (5, 10), False),
        ({"time": pd.DatetimeIndex([9, 5], tz="UTC")}, (5, 10), False),
        ({"time": pa.array([9, 5], pa.timestamp("ns", "UTC"))}, (5, 10), False),
        ({"time": {"!=": 5}}, EVER, False),
        ({"time": {"null": True}}, EVER, False),
        (time >= at(5), (5, EVER[1]), True),
        (at(5) > time, (MIN_TIME, 5), True),
        ((time >= at(5)) & (time < at(9)) & (time >= at(2)), (5, 9), True),
        ((time >= at(5)) & ((time < at(9)) & (n > 1)), (5, 9), False),
        (time == pa.scalar(1, pa.timestamp("s", "UTC")), (10**9, 10**9 + 1), True),
        (time > pa.scalar(1, pa.timestamp("s", "UTC")), (10**9 + 1, EVER[1]), True),
        (time.isin(pa.array([9, 5], pa.timestamp("ns", "UTC"))), (5, 10), False),
        ((time >= at(5)) | (time < at(2)), EVER, False),
        (~(time < at(5)), EVER, False),
        (pc.hour(time) == 3, EVER, False),
        (pc.scalar(True), EVER, True),
        (pc.scalar(False), EVER, False),
    ],
)
def test_spans_of_time(where: Any, span: tuple[int, int], always: bool) -> None:
    found = condition(where)
    assert ((found.start, found.end), found.always) == (span, always)
    assert found.series is None
    assert found.keys == (
        frozenset() if always or where is None or "false" in str(where) else {"time"} & found.keys
    )


def test_no_time_at_all() -> None:
    for where in ({"time": []}, {"time": None}, time.isin(pa.array([], pa.timestamp("ns", "UTC")))):
        found = condition(where)
        assert found.start >= found.end


@pytest.mark.parametrize(
    ("where", "columns", "keys"),
    [
        ({"host": "a", "usage": 1.0}, {"usage"}, set()),
        ({"version": {">": 3}}, set(), {"version"}),
        (host == "a", set(), set()),
        ((host == "a") | (n == 1), {"n"}, {"host"}),
        ((host == "a") & (n == 1) & (port > 3), {"n"}, set()),
        ((host == "a") & ((n == 1) | (time > at(3))), {"n"}, {"time"}),
        (pc.and_kleene(pc.field("up"), usage > n), {"up", "usage", "n"}, set()),
        (pc.if_else(port > 3, n, pc.field("version")) > 1, {"n"}, {"port", "version"}),
        (pc.field(3) == "x", set(COLUMNS), {"time", "version", *ENTITY}),
    ],
)
def test_what_rows_are_judged_by(where: Any, columns: set[str], keys: set[str]) -> None:
    found = condition(where)
    assert (found.columns, found.keys) == (columns, keys)
    assert found.always == (not columns and not keys)


HOSTS, PORTS = ["a", "b", "web-1", "web-2", ""], [1, 2, 3, -4]
SERIES, _ = encode_series(
    pa.record_batch(
        [
            pa.array([host for host in HOSTS for _ in PORTS]),
            pa.array([port for _ in HOSTS for port in PORTS], pa.int64()),
        ],
        names=list(ENTITY),
    )
)


@pytest.mark.parametrize(
    ("where", "hosts", "ports", "known"),
    [
        ({"host": "a", "port": 1}, ["a"], [1], 1),
        ({"host": ["a", "b", None], "port": {"in": [1, 2]}}, ["a", "b"], [1, 2], 4),
        ({"host": "a"}, ["a"], PORTS, None),
        ({"host": re.compile("^WEB", re.IGNORECASE), "port": 1}, ["web-1", "web-2"], [1], None),
        ({"host": {"prefix": "web", "in": ["web-2", "a"]}, "port": 1}, ["web-2"], [1], 2),
        ({"host": {"==": "a"}, "port": {">": 1, "<=": 3}}, ["a"], [2, 3], None),
        ({"host": {"!=": "a"}, "port": [1]}, HOSTS[1:], [1], None),
        ({"host": [], "port": [1]}, [], [], 0),
        ((host == "a") & (port == 1), ["a"], [1], 1),
        (("a" == host) & port.isin([1, 2]), ["a"], [1, 2], 2),  # noqa: SIM300 - that way round too
        (((host == "a") | (host == "b") | host.isin(["", "a"])) & (port == 1), ["a", "b", ""], [1], 3),
        ((host.isin(["a", "b"]) & (port == pa.scalar(1, pa.int8()))) & (host > "a"), ["b"], [1], 2),
        ((host == pa.scalar("a", pa.large_string())) & (port == 1), ["a"], [1], 1),
        ((host == "a") & (port == 1.0), ["a"], [1], None),
        (~(host == "a") & (port == 1), HOSTS[1:], [1], None),
        (((host == "a") & (port == 1)) | ((host == "b") & (port == 1)), ["a", "b"], [1], 2),
    ],
)
def test_series(where: Any, hosts: list[str], ports: list[int], known: int | None) -> None:
    """The series that match, and for how many ids the others need not be looked at."""
    found = condition(where)
    assert found.always
    assert found.series is not None
    expected = {(host, port) for host in hosts for port in ports}
    entities = SERIES.entities.filter(pa.array(found.series.mask(SERIES)))
    assert set(zip(*(column.to_pylist() for column in entities.columns), strict=True)) == expected
    assert found.series.matches(SERIES.entities).tolist() == found.series.mask(SERIES).tolist()
    ids = found.series.ids
    assert (None if ids is None else len(ids)) == known
    assert ids is None or ids.tolist() == sorted(set(ids.tolist()))


def test_ids_of_too_many_series_are_not_listed() -> None:
    found = condition({"host": [str(number) for number in range(200)], "port": range(200)})
    assert found.series is not None
    assert found.series.ids is None


@pytest.mark.parametrize(
    ("where", "listed"),
    [
        (None, None),
        ({"host": ["b", "a"]}, ["b", "a"]),
        ({"host": {"in": ["b", "a"], "prefix": "b"}, "n": 1}, ["b", "a"]),
        ({"host": ["b", "a"], "port": 1}, None),
        ({"host": {"prefix": "b"}}, None),
        (host.isin(["b", "a"]), None),
    ],
)
def test_the_order_in_which_series_are_listed(where: Any, listed: list[str] | None) -> None:
    found = condition(where).listed()
    assert (None if found is None else found.to_pylist()) == listed


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"usage": {"=>": 1}}, "unknown operator '=>'; did you mean '>"),
        ({"usage": {}}, "'usage' an empty dict; give operators"),
        (
            {"usage": {"prefix": "1"}},
            "cannot use 'prefix' on 'usage', which is float64, with '1'; there are ==",
        ),
        (
            {"labels": {"<": "x"}},
            "cannot use '<' on 'labels', which is list<string>, with 'x'; there are contains",
        ),
        ({"labels": 1}, "cannot compare 'labels', which is list<string>, with 1"),
        ({"labels": {"all": ["x", None]}}, "None in the lists of 'labels'.*'null': True"),
        ({"region": {"contains": "x"}}, "cannot use 'contains' on 'region', which is string"),
        ({"region": {"regex": "(?=x)"}}, "cannot use .* as 'regex' of 'region': Invalid regular expression"),
        ({"region": re.compile("x", re.VERBOSE)}, "IGNORECASE, MULTILINE and DOTALL"),
        ({"region": {"regex": b"x"}}, "cannot compare 'region', which is string, with b'x'"),
        ({"raw": {"prefix": "x"}}, "cannot compare 'raw', which is binary, with 'x'"),
        ({"n": re.compile("1")}, "cannot use 'regex' on 'n', which is int64"),
        ({"n": {"<": 1.5}}, "cannot compare 'n', which is int64, with"),
        ({"n": {"<": "1"}}, "cannot compare 'n', which is int64, with"),
        ({"n": {"<": [1, 2]}}, "cannot compare 'n', which is int64, with .*: '<' takes one value"),
        ({"n": {"==": None}}, "'n' with None by '==', which is never true; give 'null': True"),
        ({"up": {"null": 1}}, "'up': 'null' takes True or False, not 1"),
        ({"time": "soon"}, "cannot use 'soon' as a time in where"),
        ({"time": {">": True}}, "cannot use True as a time in where"),
        ({"tme": 1}, "where names the unknown column 'tme'; did you mean 'time'"),
        (pc.field("usgae") > 1, "it names the unknown column 'usgae'; did you mean 'usage'"),
        (pc.field("usage", "x") > 1, "cannot use .* as where"),
        (pc.field("up") & n, "cannot use .* as where: .*and_kleene"),
        (pc.field(99) > 1, "cannot use .* as where"),
    ],
)
def test_refuses(where: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        condition(where)


def test_an_expression_that_fails_for_some_values() -> None:
    found = condition(pc.match_substring_regex(pc.field("region"), "(?=x)"))
    with pytest.raises(SchemaError, match=r"cannot use .* as where: Invalid regular expression"):
        found.rows({"region": pa.array(["1"])}, 1)
    found = condition(pc.field("region").cast("int64") > 1)
    assert found.rows({"region": pa.array(["1", "2"])}, 2).tolist() == [False, True]
    with pytest.raises(SchemaError, match=r"cannot use .*cast.* as where: Failed to parse"):
        found.rows({"region": pa.array(["1", "x"])}, 2)


def test_a_value_that_only_the_dictionary_holds_is_no_failure() -> None:
    """A part's dictionary holds what other rows have."""
    found = condition(pc.field("region").cast("int64") > 1)
    region = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0, None], pa.int32()), pa.array(["1", "2", "x"]))
    assert found.rows({"region": region}, 4).tolist() == [False, True, False, False]


def test_times_may_be_given_as_integers() -> None:
    found = condition((time == at(5)) | (time == at(7)))
    assert found.rows({"time": pa.array([5, 6, 7])}, 3).tolist() == [True, False, True]


def test_a_long_chain_is_no_trouble() -> None:
    """As programs build them: one `|` after another."""
    hosts = [f"h{number}" for number in range(2000)]
    where = host == hosts[0]
    for name in hosts[1:]:
        where |= host == name
    found = condition(where & (port == 1))
    assert found.series is not None
    assert found.series.ids is not None
    assert len(found.series.ids) == len(hosts)


SKIPPING_NULL = pc.Expression._call(
    "is_in", [usage], pc.SetLookupOptions(pa.array([1.0, None]), skip_nulls=True)
)


def floats(low: float, high: float, rows: int = 4, nulls: int = 0) -> Statistics:
    bits = np.array([low, high], np.float64).view(np.int64)
    return Statistics(ColumnType.FLOAT64, np.array([rows]), np.array([nulls]), bits[:1], bits[1:])


def integers(low: int, high: int, rows: int = 4, nulls: int = 0, kind: str = "int64") -> Statistics:
    return Statistics(ColumnType(kind), *(np.array([number]) for number in (rows, nulls, low, high)))


@pytest.mark.parametrize(
    ("where", "statistics", "possible"),
    [
        # A column of floats, which may hold NaN unseen.
        ({"usage": {">": 2.0}}, floats(0, 2), False),
        ({"usage": {">=": 2.0}}, floats(0, 2), True),
        ({"usage": {"<": 0.0}}, floats(-0.0, 2), False),
        ({"usage": {"<=": -0.0}}, floats(0.0, 2), True),
        ({"usage": 3.0}, floats(0, 2), False),
        ({"usage": [3.0, 1.0]}, floats(0, 2), True),
        ({"usage": [3.0, -1.0]}, floats(0, 2), False),
        ({"usage": NAN}, floats(0, 2), True),
        ({"usage": INF}, floats(0, INF), True),
        ({"usage": {"!=": 1.0}}, floats(1, 1), True),
        ({"usage": {"not_in": [1.0]}}, floats(1, 1), True),
        ({"usage": 1.0}, floats(NAN, NAN), False),
        ({"usage": NAN}, floats(NAN, NAN), True),
        ({"usage": {">": NAN}}, floats(0, 2), False),
        (~(usage > 1), floats(2, 3), True),
        (usage.is_nan(), floats(2, 3), True),
        (usage > 5, floats(2, 3), False),
        (usage != 2, floats(2, 2), True),
        (5 < usage, floats(2, 3), False),  # noqa: SIM300 - that way round too
        # Nulls.
        ({"usage": None}, floats(0, 2), False),
        ({"usage": None}, floats(0, 2, nulls=1), True),
        ({"usage": [None, 5.0]}, floats(0, 2), False),
        ({"usage": {"null": False}}, floats(0, 0, nulls=4), False),
        ({"usage": {"!=": 1.0}}, floats(0, 0, nulls=4), False),
        ({"usage": 0.0}, floats(0, 0, nulls=4), False),
        (usage.is_valid(), floats(0, 0, nulls=4), False),
        (~usage.is_null(), floats(0, 0, nulls=4), False),
        (~usage.isin([1.0]), floats(0, 0, nulls=4), True),
        (~SKIPPING_NULL, floats(0, 0, nulls=4), True),
        (SKIPPING_NULL, floats(2, 3, nulls=2), False),
        (usage == pa.scalar(None, pa.float64()), floats(0, 2), False),
        (usage.is_null(nan_is_null=True), floats(0, 2), True),
        # Integers.
        ({"n": {">": 2**62}}, integers(0, 2**62), False),
        ({"n": {"<": -(2**63)}}, integers(-(2**63), 0), False),
        ({"n": {"!=": 7}}, integers(7, 7), False),
        ({"n": {"not_in": [6, 7]}}, integers(7, 7), False),
        ({"n": {"not_in": [6, 7]}}, integers(6, 7), True),
        (~n.isin([6, 7]), integers(7, 7), False),
        (~(n > 1), integers(2, 3), False),
        (n > 0.5, integers(0, 1), True),
        (n >= 1.0, integers(0, 1), True),
        (n > 1.5, integers(0, 1), False),
        (n == pa.scalar(1, pa.decimal128(20)), integers(3, 4), True),
        # Bools.
        ({"up": True}, integers(0, 0, kind="bool"), False),
        (pc.field("up"), integers(0, 0, kind="bool"), False),
        (~pc.field("up"), integers(0, 0, kind="bool"), True),
        (~pc.field("up"), integers(1, 1, kind="bool"), False),
        # A column that was of a narrower type when the part was written.
        (usage > 2.5, integers(0, 2), False),
        (usage > 1.5, integers(0, 2), True),
        (n > 1, integers(0, 1, kind="bool"), False),
        # Several.
        ((usage > 5) & (n > 5), floats(2, 3), False),
        ((usage > 5) | (usage < 2), floats(2, 3), False),
        ((usage > 5) | (n > 5), floats(2, 3), True),
        (~((usage > 5) | (n.is_null())), floats(2, 3), True),
        (pc.scalar(False) | (usage > 5), floats(2, 3), False),
        # What is not understood.
        (usage + 1 > 5, floats(2, 3), True),
        (usage > n, floats(2, 3), True),
        (pc.coalesce(usage, pa.scalar(9.0)) > 5, floats(2, 3), True),
    ],
)
def test_chunks_that_can_hold_what_is_wanted(where: Any, statistics: Statistics, possible: bool) -> None:
    name = "up" if "up" in str(where) else "n" if statistics.kind is not ColumnType.FLOAT64 else "usage"
    if "usage" in str(where):
        name = "usage"
    assert condition(where).possible({name: statistics}).tolist() == [possible]


def test_columns_that_a_part_does_not_have() -> None:
    absent = {name: Statistics.absent(kind, np.array([3, 5])) for name, kind in COLUMNS.items()}
    for where in (
        {"region": "x"},
        {"region": re.compile("x")},
        {"labels": "x"},
        {"labels": {"all": []}},
        pc.starts_with(pc.field("region"), "x"),
        {"raw": {"<": b"x"}},
    ):
        assert condition(where).possible(absent).tolist() == [False, False]
    for where in ({"region": None}, {"labels": ["x", None]}, pc.field("raw").is_null(), {"host": "a"}, None):
        assert condition(where).possible(absent).tolist() == [True, True]
    assert condition({"region": "x"}).possible({}).shape == ()
