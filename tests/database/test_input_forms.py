"""`Measure.write`: the same rows in every form that users hold them in, and memory that stays theirs."""

from __future__ import annotations

import datetime
import decimal
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from measurefs import Measure, SchemaError
from tests.conftest import Store
from tests.database.helpers import DAY, one_row, open_store, rows_of, values_of

START = 1_767_225_600_000_000_000
"""2026-01-01, in nanoseconds."""
TIMES = [START + 1, START + 2 * DAY + 123_456_789, START]
COLUMNS: dict[str, list[Any]] = {
    "time": TIMES,
    "host": ["a", "b", "a"],
    "region": ["x", None, ""],
    "rack": [1, None, -3],
    "labels": [["p", None], [], None],
    "usage": [0.5, None, -1.5],
    "count": [1, 2, 2**53 + 1],
    "up": [True, None, False],
    "note": ["ü", "", None],
    "raw": [b"\0", None, b""],
}
EXPECTED = sorted(
    ({name: values[row] for name, values in COLUMNS.items()} for row in range(3)), key=lambda row: row["time"]
)
UTC = datetime.UTC


@pytest.fixture
def measure(memory_store: Store) -> Iterator[Measure]:
    with open_store(memory_store) as database:
        yield database.create_measure(
            "m",
            entity=["host"],
            tags={"region": "string", "rack": "int64", "labels": "list<string>"},
            fields={"usage": "float64", "count": "int64", "up": "bool", "note": "string", "raw": "binary"},
        )


def arrow() -> pa.Table:
    return pa.table({name: pa.array(values) for name, values in COLUMNS.items()})


def timestamped() -> pa.Table:
    return arrow().set_column(0, "time", arrow()["time"].cast(pa.timestamp("ns")))


def pandas_frame() -> pd.DataFrame:
    """As pandas holds it of its own accord, but for integers with nulls."""
    frame = pd.DataFrame({name: values for name, values in COLUMNS.items() if name not in {"rack", "up"}})
    frame["time"] = pd.to_datetime(frame["time"])
    frame["rack"] = pd.array(COLUMNS["rack"], "Int64")
    frame["up"] = pd.array(COLUMNS["up"], "boolean")
    return frame


def polars_frame() -> pl.DataFrame:
    return pl.DataFrame(COLUMNS)


def dicts() -> list[dict[str, Any]]:
    return [
        {name: values[row] for name, values in COLUMNS.items() if values[row] is not None} for row in range(3)
    ]


FORMS: dict[str, Callable[[], Any]] = {
    "table": arrow,
    "timestamped table": timestamped,
    "chunked table": lambda: pa.concat_tables([arrow().slice(0, 1), arrow().slice(1, 0), arrow().slice(1)]),
    "sliced table": lambda: pa.concat_tables([arrow(), arrow()]).combine_chunks().slice(2, 3),
    "batch": lambda: arrow().to_batches()[0],
    "reader": lambda: arrow().to_reader(max_chunksize=1),
    "dictionaries": lambda: arrow().set_column(1, "host", arrow()["host"].dictionary_encode()),
    "large types": lambda: arrow().cast(
        pa.schema(
            [
                *(pa.field("time", pa.int64()), pa.field("host", pa.large_string())),
                *(pa.field("region", pa.string_view()), pa.field("rack", pa.int32())),
                *(pa.field("labels", pa.large_list(pa.large_string())), pa.field("usage", pa.float32())),
                *(pa.field("count", pa.uint64()), pa.field("up", pa.bool_())),
                *(pa.field("note", pa.large_string()), pa.field("raw", pa.large_binary())),
            ]
        )
    ),
    "pandas": pandas_frame,
    "pandas, time as nameless index": lambda: pandas_frame().set_index("time").rename_axis(None),
    "pandas, time as index": lambda: pandas_frame().set_index("time"),
    "pandas, index of host and time": lambda: pandas_frame().set_index(["host", "time"]),
    "pandas, another index": lambda: pandas_frame().set_index(pd.Index([7, 8, 9], name="nr")),
    "pandas, aware": lambda: pandas_frame().assign(
        time=pd.to_datetime(TIMES).tz_localize("UTC").tz_convert("Asia/Kolkata")
    ),
    "pandas, categories": lambda: pandas_frame().astype({"host": "category", "region": "category"}),
    "pandas, nullable": lambda: pandas_frame().convert_dtypes(),
    "pandas, of Arrow": lambda: pandas_frame().convert_dtypes(dtype_backend="pyarrow"),
    "pandas, string[pyarrow]": lambda: pandas_frame().astype({"host": "string[pyarrow]"}),
    "pandas, objects": lambda: pandas_frame().astype(object).assign(time=TIMES),
    "polars": polars_frame,
    "polars, times": lambda: polars_frame().with_columns(pl.from_epoch("time", time_unit="ns")),
    "polars, categories": lambda: polars_frame().with_columns(
        pl.col("host").cast(pl.Categorical), pl.col("region").cast(pl.Enum(["", "y", "x"]))
    ),
    "polars, in pieces": lambda: pl.concat([polars_frame()[:1], polars_frame()[1:]], rechunk=False),
    "duckdb": lambda: duckdb.from_arrow(arrow()),
    "dict of lists": lambda: dict(COLUMNS),
    "dict of tuples and other iterables": lambda: {
        name: iter(values) if name == "count" else tuple(values) for name, values in COLUMNS.items()
    },
    "dict of numpy": lambda: (
        COLUMNS
        | {
            "time": np.array(TIMES, "datetime64[ns]"),
            "host": np.array(COLUMNS["host"]),
            "count": np.array(COLUMNS["count"]),
            "note": np.array(COLUMNS["note"], object),
            "rack": np.ma.array([1, 0, -3], mask=[False, True, False]),
        }
    ),
    "dict of arrow": lambda: dict(zip(COLUMNS, arrow().columns, strict=True)),
    "dict of pandas series": lambda: {
        name: pd.Series(pd.to_datetime(values) if name == "time" else pandas_frame()[name])
        for name, values in COLUMNS.items()
    },
    "dict of polars series": lambda: {name: polars_frame()[name] for name in COLUMNS},
    "dicts": dicts,
    "dicts in a deque": lambda: deque(dicts()),
    "dicts of pandas": lambda: pandas_frame().astype(object).replace({np.nan: None}).to_dict("records"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows(measure: Measure, form: str) -> None:
    assert measure.write(FORMS[form]()) == 3
    assert rows_of(measure) == EXPECTED


@pytest.mark.parametrize("form", ["table", "pandas", "polars", "dict of lists", "dicts"])
def test_the_forms_are_the_same_once_stored(store_url: Store, form: str) -> None:
    with open_store(store_url) as database:
        measure = database.create_measure(
            "m",
            entity=["host"],
            tags={"region": "string", "rack": "int64", "labels": "list<string>"},
            fields={"usage": "float64", "count": "int64", "up": "bool", "note": "string", "raw": "binary"},
        )
        measure.write(FORMS[form](), durable=True)
    with open_store(store_url, read_only=True) as database:
        assert rows_of(database.measure("m")) == EXPECTED


class TestTimes:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (5, 5),
            (np.int32(5), 5),
            (np.uint64(5), 5),
            (-(2**63), -(2**63)),
            (2**63 - 1, 2**63 - 1),
            (datetime.datetime(2026, 1, 1), START),
            (datetime.datetime(2026, 1, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2))), START),
            (datetime.datetime(2026, 1, 1, 0, 0, 0, 1), START + 1000),
            (datetime.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1000),
            (datetime.date(2026, 1, 1), START),
            (pd.Timestamp("2026-01-01T00:00:00.000000001"), START + 1),
            (pd.Timestamp("2026-01-01T02:00:00.000000001+02:00"), START + 1),
            (np.datetime64("2026-01-01T00:00:00.000000001"), START + 1),
            ("2026-01-01", START),
            ("2026-01-01T00:00", START),
            ("2026-01-01 00:00:00.000000001", START + 1),
            ("2026-01-01T00:00:00Z", START),
            ("2026-01-01T02:00:00.000000001+02:00", START + 1),
            ("1677-09-21T00:12:44Z", -9_223_372_036_000_000_000),
            ("2262-04-11T23:47:16.854775807Z", 2**63 - 1),
        ],
    )
    def test_of_every_kind(self, measure: Measure, given: Any, expected: int) -> None:
        for form in (one_row(time=given, host="a"), [{"time": given, "host": "a"}]):
            assert measure.write(form) == 1
            assert values_of(measure, "time") == [expected]

    @pytest.mark.parametrize("unit", ["Y", "M", "D", "h", "m", "s", "ms", "us", "ns"])
    def test_numpy_units(self, measure: Measure, unit: str) -> None:
        measure.write({"time": np.array(["2026-01-01"], f"datetime64[{unit}]"), "host": ["a"]})
        assert values_of(measure, "time") == [START]

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    @pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
    def test_arrow_and_pandas_units(self, measure: Measure, unit: str, zone: str | None) -> None:
        index = pd.DatetimeIndex(["2026-01-01"], tz="UTC").as_unit(unit).tz_convert(zone)
        for number, column in enumerate([index, pd.Series(index), pa.array(index)]):
            measure.write({"time": column, "host": ["a"], "count": [number]})
            assert rows_of(measure, columns=["time", "count"]) == [{"time": START, "count": number}]

    def test_naive_and_aware_in_one_list(self, measure: Measure) -> None:
        aware = datetime.datetime(2026, 1, 1, 3, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
        measure.write({"time": [aware, datetime.datetime(2026, 1, 1, 2)], "host": ["a", "a"]})
        assert values_of(measure, "time") == [START + DAY // 24, START + DAY // 12]

    def test_column_of_another_name(self, measure: Measure) -> None:
        frame = pandas_frame().rename(columns={"time": "when"})
        forms = [frame, frame.set_index("when"), pl.DataFrame(COLUMNS).rename({"time": "when"})]
        for form in forms:
            assert measure.write(form, time_column="when") == 3
            assert rows_of(measure) == EXPECTED

    def test_column_of_another_name_is_named_in_messages(self, measure: Measure) -> None:
        with pytest.raises(SchemaError, match="'when'"):
            measure.write(one_row(host="a"), time_column="when")
        with pytest.raises(SchemaError, match="'when' is null in 1 of 1 rows"):
            measure.write(one_row(host="a", when=None), time_column="when")


class TestMemory:
    """What the caller does to its memory after `write` changes nothing that is stored."""

    def check(self, measure: Measure) -> None:
        assert rows_of(measure, columns=["time", "host", "usage", "note"]) == [
            {"time": 1, "host": "a", "usage": 1.0, "note": "x"},
            {"time": 2, "host": "b", "usage": 2.0, "note": "y"},
        ]

    def test_numpy(self, measure: Measure) -> None:
        columns = {
            "time": np.array([1, 2]),
            "host": np.array(["a", "b"]),
            "usage": np.array([1.0, 2.0]),
            "note": np.array(["x", "y"], object),
        }
        measure.write(columns)
        for array in columns.values():
            array[:] = array[::-1].copy()
        self.check(measure)
        measure.flush()
        self.check(measure)

    def test_numpy_views(self, measure: Measure) -> None:
        both = np.array([[1, 2], [1, 2]])
        measure.write({"time": both[0], "host": ["a", "b"], "usage": both[1], "note": ["x", "y"]})
        both[:] = 7
        self.check(measure)

    @pytest.mark.parametrize("own_class", [False, True])
    def test_pandas(self, measure: Measure, own_class: bool) -> None:
        class Readings(pd.DataFrame):
            """As libraries on top of pandas have."""

        columns = {"time": [1, 2], "host": ["a", "b"], "usage": [1.0, 2.0], "note": ["x", "y"]}
        frame = (Readings if own_class else pd.DataFrame)(columns)
        measure.write(frame)
        frame.loc[0, "usage"] = 99.0
        frame.loc[1, "host"] = "zz"
        frame.loc[:, "time"] = 7
        self.check(measure)

    def test_pandas_over_the_callers_numpy(self, measure: Measure) -> None:
        usage = np.array([1.0, 2.0])
        times = np.array([1, 2])
        frame = pd.DataFrame({"usage": usage, "time": times}, copy=False)
        frame["host"] = ["a", "b"]
        frame["note"] = ["x", "y"]
        measure.write(frame)
        usage[:] = 99.0
        times[:] = 7
        self.check(measure)

    def test_pandas_series(self, measure: Measure) -> None:
        usage = np.array([1.0, 2.0])
        series = pd.Series(usage, copy=False)
        measure.write({"time": [1, 2], "host": ["a", "b"], "usage": series, "note": ["x", "y"]})
        usage[:] = 99.0
        self.check(measure)

    def test_polars(self, measure: Measure) -> None:
        frame = pl.DataFrame({"time": [1, 2], "host": ["a", "b"], "usage": [1.0, 2.0], "note": ["x", "y"]})
        measure.write(frame)
        frame[0, "usage"] = 99.0
        frame[1, "host"] = "zz"
        self.check(measure)

    def test_lists_and_dicts(self, measure: Measure) -> None:
        rows = [
            {"time": 1, "host": "a", "usage": 1.0, "note": "x", "labels": ["p"]},
            {"time": 2, "host": "b", "usage": 2.0, "note": "y", "labels": ["q"]},
        ]
        measure.write(rows)
        for row in rows:
            row["labels"].append("more")  # type: ignore[attr-defined]
            row["usage"] = 99.0
        rows.clear()
        self.check(measure)
        assert values_of(measure, "labels") == [["p"], ["q"]]

    def test_what_was_given_is_left_alone(self, measure: Measure) -> None:
        frame, columns, records = pandas_frame(), dict(COLUMNS), dicts()
        indexed = frame.set_index("time").rename_axis(None)
        before = frame.copy(), indexed.copy()
        for form in (frame, indexed, columns, records):
            measure.write(form)
        pd.testing.assert_frame_equal(frame, before[0])
        pd.testing.assert_frame_equal(indexed, before[1])
        assert columns == COLUMNS
        assert records == dicts()


class TestNothing:
    @pytest.mark.parametrize(
        "nothing",
        [
            {"time": [], "host": [], "usage": []},
            {"time": np.array([], "int64"), "host": np.array([], object)},
            arrow().slice(0, 0),
            arrow().schema.empty_table(),
            pandas_frame().iloc[:0],
            polars_frame().clear(),
        ],
    )
    def test_an_empty_batch_changes_nothing(self, measure: Measure, nothing: Any) -> None:
        assert measure.write(nothing) == 0
        assert measure.write(nothing, durable=True) == 0
        assert rows_of(measure) == []
        assert measure.stats() == {}


def test_nan_is_null_in_pandas_and_a_value_elsewhere(measure: Measure) -> None:
    nan = float("nan")
    measure.write(pd.DataFrame({"time": [1], "host": ["a"], "usage": [nan], "note": [None]}))
    measure.write({"time": [2], "host": ["a"], "usage": pd.Series([nan])})
    measure.write({"time": [3], "host": ["a"], "usage": np.array([nan])})
    measure.write(pl.DataFrame({"time": [4], "host": ["a"], "usage": [nan]}))
    measure.write([{"time": 5, "host": "a", "usage": nan}])
    found = values_of(measure, "usage")
    assert found[:2] == [None, None]
    assert all(value != value for value in found[2:])
    assert len(found) == 5


def test_numbers_of_other_kinds(measure: Measure) -> None:
    measure.write(
        {"time": [1], "host": ["a"], "usage": [decimal.Decimal("1.5")], "count": [decimal.Decimal(7)]}
    )
    measure.write(
        {"time": [2], "host": ["a"], "usage": np.array([1.5], "float16"), "count": np.array([7], "i1")}
    )
    measure.write({"time": [3], "host": ["a"], "usage": [2], "count": [7.0]})
    assert values_of(measure, "usage") == [1.5, 1.5, 2.0]
    assert values_of(measure, "count") == [7, 7, 7]


@pytest.mark.parametrize("coded", [False, True])
def test_memory_shared_with_arrow_may_change_once_the_rows_are_durable(
    memory_store: Store, coded: bool
) -> None:
    times, values, hosts = np.arange(10), np.zeros(10), np.zeros(10, np.int64)
    texts = np.frombuffer(bytearray(b"aaaaaaaaaa"), np.uint8).copy()
    offsets = pa.py_buffer(np.arange(11, dtype=np.int32))
    notes = pa.Array.from_buffers(pa.string(), 10, [None, offsets, pa.py_buffer(texts)])
    if coded:
        notes = pa.DictionaryArray.from_arrays(pa.array(range(10), pa.int32()), notes)
    columns = {"time": pa.array(times), "host": pa.array(hosts), "usage": pa.array(values), "note": notes}
    given, expected = pa.table(columns), []
    with open_store(memory_store) as database:
        measure = database.create_measure(
            "m", entity={"host": "int64"}, tags={"note": "string"}, fields={"usage": "float64"}
        )
        for number in range(12):
            measure.write(given, durable=True)
            expected += [
                {"time": time, "host": host, "usage": value, "note": note}
                for time, host, value, note in zip(
                    times.tolist(), hosts.tolist(), values.tolist(), given["note"].to_pylist(), strict=True
                )
            ]
            times += 10
            values += 1.0
            hosts += number % 2
            texts += 1
        measure.compact()
        assert rows_of(measure, columns=["time", "host", "usage", "note"]) == expected
