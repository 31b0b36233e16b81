"""Rows: their order, which of several with one key counts, and joining batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from measurefs.part.rows import concat_columns, concat_rows, sort_rows, sorted_positions
from tests.part.made import entity_list, keyed, listed, make_rows, many_rows

ROW = st.tuples(st.integers(0, 3), st.integers(-2, 2), st.integers(-1, 1))
EXTREME = st.tuples(
    st.sampled_from([-(2**63), 0, 2**63 - 1]),
    st.sampled_from([-(2**63), -1, 0, 2**63 - 1]),
    st.sampled_from([-(2**63), 0, 2**63 - 1]),
)


def newest(rows: list[tuple[int, int, int]]) -> dict[tuple[Any, int], tuple[int, dict[str, Any]]]:
    """The model: the highest version of each key, of equal ones the later; the value is the row's number."""
    found: dict[tuple[Any, int], tuple[int, dict[str, Any]]] = {}
    for number, (entity, time, version) in enumerate(rows):
        held = found.get(((entity,), time))
        if held is None or version >= held[0]:
            found[(entity,), time] = version, {"n": number}
    return found


def rows_of(rows: list[tuple[int, int, int]], first: int = 0) -> Any:
    ids, times, versions = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    numbers = pa.array(range(first, first + len(rows)), pa.int64())
    return make_rows(ids, times, {"n": numbers}, versions)


def assert_ordered(rows: Any) -> None:
    keys = list(zip(rows.codes.tolist(), rows.times.tolist(), strict=True))
    assert keys == sorted(set(keys))


@settings(deadline=None, max_examples=200)
@given(rows=st.lists(ROW, max_size=25) | st.lists(EXTREME, max_size=12))
def test_the_highest_version_counts_and_of_equal_ones_the_later(rows):
    found = sort_rows(rows_of(rows))
    assert keyed(found) == newest(rows)
    assert_ordered(found)


@settings(deadline=None, max_examples=100)
@given(batches=st.lists(st.lists(ROW, max_size=10), min_size=1, max_size=4))
def test_joined_batches_are_as_if_they_had_come_in_one(batches):
    made, total = [], 0
    for batch in batches:
        made.append(rows_of(batch, total))
        total += len(batch)
    joined = concat_rows(made, {"n": pa.int64()})
    assert listed(joined) == [row for batch in made for row in listed(batch)]
    assert keyed(sort_rows(joined)) == newest([row for batch in batches for row in batch])


@pytest.mark.parametrize("order", ["sorted", "by time", "mixed", "reversed"])
@pytest.mark.parametrize("series", [3, 70_000])
def test_all_orders_of_arrival_give_the_same(series, order):
    """More series than 16 bits can number, in every order that is told apart."""
    rng = np.random.default_rng(1)
    codes = np.repeat(np.arange(series), 2).astype(np.int32)
    times = np.tile([5, 7], series)
    positions = {
        "sorted": np.arange(len(codes)),
        "by time": np.argsort(times, kind="stable"),
        "mixed": rng.permutation(len(codes)),
        "reversed": np.arange(len(codes))[::-1],
    }[order]
    shuffled, at = codes[positions], times[positions]
    found = sorted_positions(shuffled, at, np.zeros(len(codes), np.int64))
    if found is None:
        found = np.arange(len(codes))
    assert np.array_equal(shuffled[found], codes)
    assert np.array_equal(at[found], times)


def test_rows_already_in_order_are_not_copied():
    rows = sort_rows(many_rows(50))
    assert sort_rows(rows) is rows


def test_the_values_of_every_type_follow_their_rows():
    rows = many_rows(200)
    assert keyed(sort_rows(rows)) == keyed(rows)
    again = many_rows(200, nulls=False)
    assert keyed(sort_rows(again)) == keyed(again)


def test_a_column_that_a_batch_lacks_is_null_in_its_rows():
    one = make_rows([1], [1], {"a": pa.array(["x"])})
    two = make_rows([2], [2], {"b": pa.array([2.5])})
    both = concat_rows([one, two], {"a": pa.string(), "b": pa.float64(), "c": pa.list_(pa.int64())})
    assert {name: column.to_pylist() for name, column in both.columns.items()} == {
        "a": ["x", None],
        "b": [None, 2.5],
        "c": [None, None],
    }


def test_dictionaries_and_plain_strings_join():
    coded = [pa.array(["a", "b", None]).dictionary_encode(), pa.array(["b", "c", "a"]).dictionary_encode()]
    plain = pa.array(["c", None, "d"])
    batches = [make_rows([n] * 3, [1, 2, 3], {"s": s}) for n, s in enumerate([*coded, plain])]
    want = [value for column in [*coded, plain] for value in column.to_pylist()]
    assert concat_rows(batches, {"s": pa.string()}).columns["s"].to_pylist() == want
    only_coded = concat_rows(batches[:2], {"s": pa.string()}).columns["s"]
    assert pa.types.is_dictionary(only_coded.type)
    assert only_coded.to_pylist() == want[:6]


def test_large_values_that_repeat_are_not_written_out():
    """They would be 8 GB: more than Arrow's arrays hold."""
    large = pa.DictionaryArray.from_arrays(pa.array(np.zeros(8192, np.int32)), ["x" * 2**20])
    joined = concat_columns([large, pa.array(["y", None])])
    assert pa.types.is_dictionary(joined.type)
    assert joined[8191:].to_pylist() == ["x" * 2**20, "y", None]


def test_values_that_hardly_repeat_are_written_out():
    coded = pa.array([f"text {number}" for number in range(100)]).dictionary_encode()
    joined = concat_columns([coded, pa.array(["y"])])
    assert joined.type == pa.string()


def test_slices_and_selections_of_slices():
    rows = many_rows(60)
    part = rows.slice(10, 50)
    assert listed(part) == listed(rows)[10:50]
    positions = np.array([3, 3, 0, 39])
    assert listed(part.take(positions)) == [listed(part)[place] for place in positions]
    coded = make_rows([1, 2, 3], [1, 2, 3], {"s": pa.array(["a", "b", "a"]).dictionary_encode()}).slice(1, 3)
    assert coded.take(np.array([1, 0])).columns["s"].to_pylist() == ["a", "b"]
    assert entity_list(coded) == [(2,), (3,)]
