"""A measure as an Arrow dataset gives the rows of its queries, and asks for no more than a scan wants."""

from __future__ import annotations

import gc
import pickle
import weakref
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from measurefs import SchemaError
from measurefs.interop import MeasureDataset
from tests.interop.conftest import SECOND, START, Watched

HOST = pc.field("host") == "host-03"
FIRST = pa.scalar(START + 1000 * SECOND).cast(pa.timestamp("ns", tz="UTC"))


def in_order(table: pa.Table) -> pa.Table:
    """Rows by host and time, in one chunk."""
    return table.sort_by([("host", "ascending"), ("time", "ascending")]).combine_chunks()


def test_all_rows(cpu: Watched, rows: pa.Table) -> None:
    found = MeasureDataset(cpu).to_table()
    assert found.schema == rows.schema
    assert in_order(found).select(["time", "host", "n"]) == in_order(rows).select(["time", "host", "n"])


def test_it_is_a_dataset_with_the_columns_of_the_measure(cpu: Watched, rows: pa.Table) -> None:
    dataset = MeasureDataset(cpu)
    assert isinstance(dataset, ds.Dataset)
    assert dataset.schema == rows.schema


def test_only_the_columns_and_rows_asked_for_are_read(cpu: Watched) -> None:
    everything = cpu.query(columns=["n"]).explain().blocks_read
    found = MeasureDataset(cpu).to_table(["n"], filter=HOST)
    assert found["n"].to_pylist() == list(range(3, 10_000, 20))
    assert cpu.queries[-1]["columns"] == ["n"]
    assert str(cpu.queries[-1]["where"]) == str(HOST)
    assert cpu.blocks_read() * 20 == everything


def test_a_scan_has_the_rows_of_its_moment(small: Watched) -> None:
    dataset = MeasureDataset(small)
    scanner = dataset.scanner(["n"])
    small.write({"time": [START - 1], "host": ["new"]})
    assert scanner.to_table().num_rows == 3
    assert dataset.to_table().num_rows == 4


@pytest.mark.parametrize("unit", ["ns", "us"])
def test_counting(cpu: Watched, rows: pa.Table, unit: Any) -> None:
    dataset = MeasureDataset(cpu, time_unit=unit)
    assert dataset.count_rows() == len(rows)
    assert dataset.count_rows(pc.field("n") < 100) == 100
    assert dataset.count_rows(pc.field("time") < FIRST) == 2000


def test_the_head_asks_for_no_more_rows(cpu: Watched) -> None:
    assert MeasureDataset(cpu).head(7, columns=["n"], filter=HOST)["n"].to_pylist() == list(range(3, 143, 20))
    assert cpu.queries[-1]["limit"] == 7


def test_batches_are_no_larger_than_asked_for(cpu: Watched) -> None:
    batches = list(MeasureDataset(cpu).to_batches(["n"], batch_size=300))
    assert max(batch.num_rows for batch in batches) <= 300
    assert sum(batch.num_rows for batch in batches) == 10_000


def test_computed_columns_read_what_they_need(cpu: Watched) -> None:
    found = MeasureDataset(cpu).to_table({"twice": pc.field("n") * 2, "where": pc.field("host")}, filter=HOST)
    assert found["twice"].to_pylist() == list(range(6, 20_000, 40))
    assert set(found["where"].to_pylist()) == {"host-03"}
    assert set(cpu.queries[-1]["columns"]) == {"n", "host"}


def test_no_columns_count_rows(cpu: Watched) -> None:
    assert MeasureDataset(cpu).to_table([], filter=HOST).num_rows == 500


def test_take(cpu: Watched) -> None:
    assert MeasureDataset(cpu).filter(HOST).take([0, 2], columns=["n"])["n"].to_pylist() == [3, 43]


def test_filters_add_up(cpu: Watched) -> None:
    dataset = MeasureDataset(cpu).filter(HOST).filter(pc.field("n") < 100)
    assert dataset.to_table(["n"], filter=pc.field("n") > 10)["n"].to_pylist() == [23, 43, 63, 83]
    assert dataset.count_rows() == 5


def test_bounds_and_order_are_those_of_the_query(cpu: Watched) -> None:
    dataset = MeasureDataset(cpu, start=START, end=START + 20 * SECOND, order="-time")
    found = dataset.to_table(["n"], filter=HOST)
    assert found["n"].to_pylist() == [23, 3]
    assert cpu.queries[-1]["start"] == START


def test_sorting_and_joining(small: Watched) -> None:
    dataset = MeasureDataset(small, order="time")
    assert dataset.sort_by([("n", "descending")]).to_table()["n"].to_pylist() == [3, 2, 1]
    teams = ds.dataset(pa.table({"host": ["b"], "team": ["x"]}))
    assert dataset.join(teams, "host", join_type="inner").to_table()["n"].to_pylist() == [2]
    own = dataset.filter(pc.field("n") > 1)
    assert dataset.join(own, ["host", "time"], join_type="inner", right_suffix="_own").count_rows() == 2
    recent = dataset.filter(pc.field("n") < 3)  # Arrow takes times before 1970 for late ones here
    teams = ds.dataset(pa.table({"at": recent.to_table()["time"], "team": ["x", "y"]}))
    assert recent.join_asof(teams, "time", [], 10, "at", []).to_table()["team"].to_pylist() == ["x", "y"]


def test_writing_it_as_parquet(cpu: Watched, tmp_path: Path) -> None:
    ds.write_dataset(MeasureDataset(cpu).filter(HOST), tmp_path, format="parquet")
    assert ds.dataset(tmp_path).to_table()["n"].to_pylist() == list(range(3, 10_000, 20))


def test_what_goes_past_it_is_told_so(cpu: Watched) -> None:
    dataset = MeasureDataset(cpu)
    with pytest.raises(NotImplementedError, match="past its methods"):
        ds.Scanner.from_dataset(dataset).to_table()
    with pytest.raises(NotImplementedError, match="past its methods"):
        dataset.get_fragments()
    with pytest.raises(NotImplementedError, match="project them"):
        dataset.replace_schema(dataset.schema)
    with pytest.raises(TypeError, match="open the store where it is needed"):
        pickle.dumps(dataset)


def test_unknown_columns_and_units_are_refused(cpu: Watched) -> None:
    with pytest.raises(SchemaError, match="did you mean 'usage'"):
        MeasureDataset(cpu).to_table(["usag"])
    with pytest.raises(SchemaError, match="time_unit must be"):
        MeasureDataset(cpu, time_unit="ms")  # type: ignore[arg-type]


MICROSECOND = pa.timestamp("us", tz="UTC")
EXACT = START + 10 * SECOND + 300
"""A time that rows have, between two microseconds."""


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("word", ["==", "!=", "<", "<=", ">", ">="])
@pytest.mark.parametrize("nanoseconds", [EXACT, EXACT + 1000, START - 1, -(2**63), 2**63 - 1])
def test_conditions_on_rounded_times_find_the_rows_that_look_like_it(
    cpu: Watched, word: str, nanoseconds: int, flipped: bool
) -> None:
    wanted = pa.scalar(nanoseconds // 1000, pa.int64()).cast(MICROSECOND)
    left, right = pc.field("time"), pc.scalar(wanted)
    if flipped:
        left, right = right, left
    condition = {
        "==": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }[word]
    dataset = MeasureDataset(cpu, time_unit="us")
    expected = dataset.to_table(["time", "n"]).filter(condition)
    assert dataset.to_table(["time", "n"], filter=condition) == expected
    assert cpu.queries[-1]["where"] is not None


@pytest.mark.parametrize(
    "condition",
    [
        (pc.field("time") > pa.scalar(EXACT // 1000).cast(MICROSECOND)) & HOST,
        (pc.field("time") > pa.scalar(EXACT // 1000).cast(MICROSECOND)) | HOST,
        ~(pc.field("time") > pa.scalar(EXACT // 1000).cast(MICROSECOND)) & ~HOST,
        pc.field("time").isin(pa.array([EXACT // 1000]).cast(MICROSECOND)) & HOST,
        (pc.second(pc.field("time")) == 20) & (pc.field("n") < 900),
        pc.field("time") == pa.scalar(EXACT).cast(pa.timestamp("ns", tz="UTC")),
    ],
    ids=str,
)
def test_all_kinds_of_conditions_on_rounded_times(cpu: Watched, condition: pc.Expression) -> None:
    dataset = MeasureDataset(cpu, time_unit="us")
    whole = dataset.to_table()
    assert dataset.to_table(filter=condition).select(["time", "n"]) == whole.filter(condition).select(
        ["time", "n"]
    )
    assert dataset.count_rows(condition) == whole.filter(condition).num_rows
    assert dataset.head(3, columns=["n"], filter=condition) == whole.filter(condition).select(["n"]).slice(
        0, 3
    )


def test_rounded_times_before_1970_are_rounded_down(small: Watched) -> None:
    dataset = MeasureDataset(small, time_unit="us")
    (time,) = dataset.to_table(["time"], filter=pc.field("host") == "old")["time"]
    assert time.value == -1


def test_it_goes_when_nobody_needs_it(cpu: Watched) -> None:
    dataset = MeasureDataset(cpu)
    assert dataset.head(1).num_rows == 1
    alive = weakref.ref(dataset)
    del dataset
    gc.collect()
    assert alive() is None
