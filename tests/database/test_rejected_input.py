"""A batch that does not fit is refused whole, and leaves no trace in the store."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from measurefs import FileSystem, Measure, SchemaError, TableOptions
from tests.conftest import Store
from tests.database.helpers import DAY, files_of, numbered, open_store

ROWS = 10_000
BAD = 7_654
GOOD: dict[str, list[Any]] = {
    "time": [row * DAY // 1000 for row in range(ROWS)],
    "host": [f"h{row % 50}" for row in range(ROWS)],
    "region": ["x"] * ROWS,
    "usage": [float(row) for row in range(ROWS)],
    "count": list(range(ROWS)),
}
"""Ten segments of one day, two shards."""


def with_bad(column: str, value: Any) -> dict[str, list[Any]]:
    values = list(GOOD[column])
    values[BAD] = value
    return GOOD | {column: values}


def frame_with_bad(column: str, value: Any) -> pd.DataFrame:
    frame = pd.DataFrame(GOOD)
    frame[column] = frame[column].astype(object)
    frame.loc[BAD, column] = value
    return frame


def failing_reader() -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        yield from pa.table(GOOD).slice(0, 5000).to_batches()
        raise ValueError("the source went away")

    return pa.RecordBatchReader.from_batches(pa.table(GOOD).schema, batches())


ONE: dict[str, Any] = {"time": [1], "host": ["a"]}
ROW = f"row {BAD}|rows {BAD}"
CASES: dict[str, tuple[Callable[[], Any], str]] = {
    # One bad row among ten thousand, in several segments and shards.
    "null time": (lambda: with_bad("time", None), f"'time' is null in 1 of {ROWS} rows.*{BAD}"),
    "null entity": (lambda: with_bad("host", None), f"'host' is null in 1 of {ROWS} rows.*{BAD}"),
    "NaT": (lambda: frame_with_bad("time", pd.NaT), "'time' is null.*rows 7654"),
    "null in the dictionary": (
        lambda: GOOD | {"host": pa.DictionaryArray.from_arrays([0] * BAD + [1] * (ROWS - BAD), ["a", None])},
        f"'host' is null in {ROWS - BAD} of {ROWS} rows.*rows {BAD}, {BAD + 1}, .*\\.\\.\\.",
    ),
    "null entity in Polars": (lambda: pl.DataFrame(with_bad("host", None)), f"'host' is null.*{BAD}"),
    "fraction for an integer": (lambda: with_bad("count", 0.5), f"'count' must be int64.*{ROW}"),
    "text for a number": (lambda: with_bad("usage", "n/a"), f"'usage'.*'n/a' in row {BAD}"),
    "text for a number, in dicts": (
        lambda: (
            [
                *pd.DataFrame(GOOD).to_dict("records")[:BAD],
                {"time": 5, "host": "a", "usage": "n/a"},
            ]
        ),
        f"'usage'.*'n/a' in row {BAD}",
    ),
    "text for a number, in pandas": (lambda: frame_with_bad("usage", "n/a"), "usage"),
    "integer beyond 64 bits": (lambda: with_bad("count", 2**64), f"'count'.*{ROW}"),
    "time beyond 64 bits": (lambda: with_bad("time", 2**63), f"'time'.*{ROW}"),
    "time of no kind": (
        lambda: GOOD | {"time": ["2026-01-01"] * BAD + ["soon"] * (ROWS - BAD)},
        f"'time' must hold times: soon in row {BAD}",
    ),
    "time in the year 3000": (
        lambda: (
            GOOD | {"time": [datetime.datetime(2026, 1, 1)] * (ROWS - 1) + [datetime.datetime(3000, 1, 1)]}
        ),
        f"'time' must hold times.*row {ROWS - 1}",
    ),
    "null version": (
        lambda: GOOD | {"version": [1] * BAD + [None] * (ROWS - BAD)},
        f"'version' is null.*{BAD}",
    ),
    "one dict is none": (lambda: [*pd.DataFrame(GOOD).to_dict("records"), ["x"]], f"row {ROWS} is a list"),
    # The batch as a whole.
    "ragged": (lambda: GOOD | {"usage": [1.0]}, "not equally long.*'usage': 1"),
    "unknown column": (
        lambda: GOOD | {"usaeg": GOOD["usage"]},
        "unknown column 'usaeg'; did you mean 'usage'",
    ),
    "two times": (
        lambda: pa.table([[1], [2], ["a"]], names=["time", "time", "host"]),
        "two columns named 'time'",
    ),
    "a column twice": (
        lambda: pa.table([[1], ["a"], [1], [2]], names=["time", "host", "count", "count"]),
        "two columns named 'count'",
    ),
    "a column twice in pandas": (
        lambda: pd.DataFrame([[1, "a", 1, 2]], columns=["time", "host", "count", "count"]),
        "count",
    ),
    "no time": (lambda: {"host": ["a"]}, "no column 'time'"),
    "no entity": (lambda: {"time": [1]}, "no column 'host'"),
    "floats for times": (lambda: ONE | {"time": [1.0]}, "'time' must hold times"),
    "bools for times": (lambda: ONE | {"time": [True]}, "'time' must hold times"),
    "durations for times": (lambda: ONE | {"time": [datetime.timedelta(1)]}, "'time' must hold times"),
    "a date in the year 1": (
        lambda: ONE | {"time": [datetime.date(1, 1, 1)]},
        "'time' must hold times.*row 0",
    ),
    "unsigned time": (lambda: ONE | {"time": np.array([2**63], np.uint64)}, "'time'.*row 0"),
    "one value for a column": (lambda: ONE | {"usage": 1.5}, "column 'usage' cannot be read"),
    "one text for a column": (lambda: {"time": [1], "host": "a"}, "column 'host' cannot be read"),
    "two dimensions": (lambda: ONE | {"usage": np.zeros((1, 2))}, "column 'usage' cannot be read"),
    "objects": (lambda: ONE | {"usage": [object()]}, "column 'usage' cannot be read.*row 0"),
    "nothing": (lambda: None, "cannot write a NoneType: give a pyarrow Table"),
    "text": (lambda: "time,host\n1,a", "cannot write a str: give a pyarrow Table"),
    "a number": (lambda: 5, "cannot write a int: give"),
    "a generator": (lambda: (row for row in [ONE]), "cannot write a generator: give"),
    "a lazy frame": (lambda: pl.DataFrame(ONE).lazy(), "cannot write a LazyFrame: give"),
    "a series": (lambda: pd.Series([1.0], name="usage"), "cannot read the rows"),
    "lists": (lambda: [[1, "a"]], "row 0 is a list, not a dict"),
    "a reader that fails": (failing_reader, "the source went away"),
}


@pytest.fixture
def measure(store_url: Store) -> Iterator[Measure]:
    # Nothing must be flushed by itself while the files are compared.
    with open_store(store_url, options=TableOptions(flush_interval=3600.0)) as database:
        measure = database.create_measure(
            "m",
            entity=["host"],
            tags={"region": "string"},
            fields={"usage": "float64", "count": "int64"},
            shards=2,
        )
        measure.write({"time": [1, DAY], "host": ["a", "h1"], "usage": [0.5, 1.5]}, durable=True)
        measure.write({"time": [2, 5 * DAY], "host": ["a", "h1"], "usage": [0.25, 1.25]})
        yield measure


def rows_files(fs: FileSystem) -> dict[str, bytes]:
    """Return all files; of the locks only the names, since a lease is renewed whatever is written."""
    return {path: b"" if "/LOCK" in path else data for path, data in files_of(fs).items()}


def test_leaves_no_trace(measure: Measure, store_url: Store) -> None:
    """Neither in memory nor in the files: the store is the same byte for byte after all of them."""
    with store_url.open() as fs:
        files, rows = rows_files(fs), numbered(measure.query().to_arrow())
        for name, (batch, message) in list(CASES.items())[:: 4 if fs.remote else 1]:
            for durable in (False, True):
                with pytest.raises(SchemaError, match=message):
                    measure.write(batch(), durable=durable)
                    pytest.fail(f"{name}: it was stored")
            assert numbered(measure.query().to_arrow()).equals(rows), name
            assert rows_files(fs) == files, name
        assert measure.write(GOOD) == ROWS
