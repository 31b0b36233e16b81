"""Where blocks and primary blocks begin: they cover all rows, and keep their limits."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from measurefs.part.blocks import lay_out
from measurefs.part.rows import Rows, sort_rows
from measurefs.part.writer import PartOptions
from tests.part.made import make_rows, many_rows

KEY_BYTES = 16


def size_of(value: Any, kind: pa.DataType) -> int:
    """The bytes of a value before any encoding."""
    if pa.types.is_list(kind):
        return sum(size_of(one, kind.value_type) for one in value or [])
    if pa.types.is_string(kind):
        return len((value or "").encode())
    return len(value or b"") if pa.types.is_binary(kind) else 8


def row_bytes(rows: Rows) -> list[int]:
    sizes = [[size_of(one, column.type) for one in column.to_pylist()] for column in rows.columns.values()]
    return [KEY_BYTES + sum(row) for row in zip(*sizes, strict=True)]


@settings(deadline=None, max_examples=150)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    block_rows=st.integers(1, 12),
    block_bytes=st.sampled_from([1, 50, 200, 1000]),
    seed=st.integers(0, 9),
)
def test_blocks_cover_the_rows_and_keep_their_limits(lengths, block_rows, block_bytes, seed):
    ids = [number for number, length in enumerate(lengths) for _ in range(length)]
    texts = ["x" * size for size in np.random.default_rng(seed).integers(0, 120, len(ids)).tolist()]
    rows = sort_rows(make_rows(ids, list(range(len(ids))), {"s": pa.array(texts)}))
    layout = lay_out(rows, block_rows, block_bytes)
    starts, firsts = layout.starts.tolist(), layout.firsts.tolist()
    weights = row_bytes(rows)

    assert starts[0] == 0
    assert starts[-1] == len(rows)
    assert starts == sorted(set(starts))
    for start, stop in itertools.pairwise(starts):
        assert len(set(rows.codes[start:stop].tolist())) == 1
        assert stop - start <= block_rows
        assert sum(weights[start : stop - 1]) < block_bytes

    assert firsts[0] == 0
    assert firsts[-1] == len(starts) - 1
    assert firsts == sorted(set(firsts))
    for first, stop in itertools.pairwise(firsts):
        held = slice(starts[first], starts[stop])
        assert held.stop - held.start <= block_rows
        assert stop - first == 1 or sum(weights[held]) <= block_bytes
    assert layout.uncompressed == sum(weights)


def test_a_series_without_limits_in_its_way_is_one_block():
    rows = sort_rows(make_rows([1] * 100 + [2] * 50, list(range(150))))
    layout = lay_out(rows, 100)
    assert np.diff(layout.starts).tolist() in ([100, 50], [50, 100])
    assert layout.firsts.tolist() == [0, 1, 2]
    assert lay_out(rows, 150).firsts.tolist() == [0, 2]


def test_short_series_share_a_primary_block():
    """So that the cost of encoding follows the rows, not the series."""
    rows = sort_rows(make_rows(list(range(5000)), [0] * 5000))
    layout = lay_out(rows, 4096)
    assert len(layout.starts) - 1 == 5000
    assert len(layout.firsts) - 1 == 2


def test_no_rows_are_no_blocks():
    layout = lay_out(make_rows([], []), 10)
    assert (layout.starts.tolist(), layout.firsts.tolist(), layout.uncompressed) == ([0], [0], 0)


@pytest.mark.parametrize("nulls", [False, True])
def test_values_of_every_type_have_their_size(nulls):
    rows = many_rows(100, nulls=nulls)
    assert lay_out(sort_rows(rows), 10).uncompressed == sum(row_bytes(rows))


@pytest.mark.parametrize("block_bytes", [4096, 2 << 20])
@pytest.mark.parametrize("third", ["c", None])
def test_dictionaries_weigh_as_much_as_their_strings(block_bytes, third):
    texts = pa.array(["a" * 10, "b" * 1000, third] * 20)
    by_strings, by_codes = (
        lay_out(make_rows([1] * 60, range(60), {"s": column}), 60, block_bytes)
        for column in (texts, texts.dictionary_encode())
    )
    assert by_strings.uncompressed == by_codes.uncompressed == 60 * KEY_BYTES + 20 * (1010 + len(third or ""))
    assert by_strings.starts.tolist() == by_codes.starts.tolist()


@pytest.mark.parametrize("block_rows", [0, -1, 8193])
def test_no_block_may_have_more_than_8192_rows(block_rows):
    with pytest.raises(ValueError, match="block_rows"):
        PartOptions(block_rows=block_rows)
    assert PartOptions(block_rows=8192).block_rows == 8192
