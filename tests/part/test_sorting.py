"""Putting rows in order: whatever the order they come in, and however many."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from measurefs.part.rows import Rows, concat_rows, merge_rows, sort_rows, sorted_positions
from tests.part.made import make_rows

TYPES = {"value": pa.int64(), "late": pa.float64()}
KEYS = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 3))


@given(st.lists(KEYS, max_size=40), st.sampled_from([1, 70_000]), st.integers(1, 100))
def test_the_newest_row_of_each_key_stays(keys: list[tuple[int, int, int]], step: int, times: int) -> None:
    keys = sorted(keys) * times if times > 50 else keys * times  # long runs, or none
    codes = np.array([code * step for code, _, _ in keys], np.int32)
    stamps, versions = (np.array([key[place] for key in keys], np.int64) for place in (1, 2))
    newest: dict[tuple[int, int], tuple[int, int]] = {}
    for place, (code, stamp, version) in enumerate(keys):
        if version >= newest.get((code, stamp), (-1, 0))[0]:
            newest[code, stamp] = version, place
    found = sorted_positions(codes, stamps, versions)
    order = range(len(keys)) if found is None else found.tolist()
    assert list(order) == [newest[key][1] for key in sorted(newest)]


@pytest.mark.parametrize("series", [1, 3, 5_000])
def test_many_rows_of_several_batches_come_in_order(series: int) -> None:
    random = np.random.default_rng(series)
    batches: list[Rows] = []
    for number in range(4):
        ids, stamps = random.integers(0, series, 90_000), random.integers(0, 400_000, 90_000)
        columns = {"value": pa.array(np.arange(90_000) + number)}
        if number == 2:
            columns["late"] = pa.array(random.random(90_000))
        batches.append(sort_rows(make_rows(ids.tolist(), stamps.tolist(), columns)))
    slices = list(merge_rows(batches, TYPES))
    assert len(slices) > 1 or series == 1
    expected, found = sort_rows(concat_rows(batches, TYPES)), concat_rows(slices, TYPES)
    assert found.series.equals(expected.series)
    for name in ("codes", "times", "versions"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    for name in TYPES:
        assert found.columns[name].equals(expected.columns[name])
