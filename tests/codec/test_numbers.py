"""Numbers come back bit by bit, whatever they are and whatever encoding was chosen for others."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from measurefs.codec import columns, numbers
from measurefs.codec.types import ColumnType
from measurefs.fs import CorruptionError
from tests.codec.made import DECIMALS, INTEGERS, floats_of_any_bits
from tests.part.made import values


def kind_of(column: pa.Array) -> ColumnType:
    return ColumnType.FLOAT64 if column.type == pa.float64() else ColumnType.INT64


def round_trip(column: pa.Array, encoding: numbers.NumberEncoding) -> columns.Chunk:
    """Encode and decode both ways; return the chunk."""
    chunk = columns.encode(column, encoding)
    back = columns.decode(chunk.data, len(column), kind_of(column), None, "file")
    assert values(back) == values(column)
    out = np.empty(len(column), np.float64 if column.type == pa.float64() else np.int64)
    if column.null_count == 0:
        columns.decode_numbers([chunk.data], out, [(0, len(column))], "file")
        assert values(pa.array(out)) == values(column)
    return chunk


SAMPLES = {
    "nothing": pa.array([], pa.int64()),
    "counter": pa.array(np.arange(0, 3000, 3)),
    "steps of 10 s": pa.array(np.arange(1_700_000_000, 1_700_001_000, 10) * 10**9),
    "decimals": pa.array(np.arange(1000) / 100),
    "noise": pa.array(np.random.default_rng(1).normal(size=1000)),
    "not a number": pa.array(np.full(10, np.nan)),
    "extremes": pa.array([-(2**63), 2**63 - 1]),
}


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_encoding_is_correct_for_any_integers(sample, data):
    column = pa.array(data.draw(st.lists(INTEGERS, min_size=1, max_size=40)), pa.int64())
    round_trip(column, numbers.choose(columns.numbers_of(sample), 4))


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_encoding_is_correct_for_any_floats(sample, data):
    column = data.draw(floats_of_any_bits() | st.lists(DECIMALS, min_size=1, max_size=40).map(pa.array))
    round_trip(column, numbers.choose(columns.numbers_of(sample), 4))


ENCODINGS = {name: numbers.choose(columns.numbers_of(sample), 4) for name, sample in SAMPLES.items()}
ENCODINGS["as they are"] = numbers.RAW
ENCODINGS["decimals as they are"] = numbers.raw_encoding(np.array([12.34, 0.5]))


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_runs_that_are_encoded_together_come_back_each(encoding, data):
    integers = st.lists(INTEGERS, min_size=1, max_size=20) | st.lists(st.just(7), min_size=1, max_size=20)
    decimals = st.lists(DECIMALS, min_size=1, max_size=20).map(pa.array)
    kind = data.draw(
        st.sampled_from(
            [integers.map(lambda run: pa.array(run, pa.int64())), floats_of_any_bits() | decimals]
        )
    )
    runs = data.draw(st.lists(kind, min_size=1, max_size=5))
    bounds = np.cumsum([0, *map(len, runs)]).tolist()
    together = columns.encode_runs(columns.plain(pa.concat_arrays(runs)), bounds, encoding)
    for run, chunk in zip(runs, together, strict=True):
        assert values(columns.decode(chunk.data, len(run), kind_of(run), None, "file")) == values(run)
        alone = columns.encode(run, encoding)
        assert values(pa.array([chunk.low, chunk.high])) == values(pa.array([alone.low, alone.high]))


@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_numbers_stored_as_they_are_and_cut_short_are_corruption(kind):
    column = np.arange(100).astype(kind)
    chunk = columns.encode(column, numbers.RAW)
    for size in (4, 50, len(chunk.data) - 1):
        with pytest.raises(CorruptionError):
            columns.decode_numbers([chunk.data[:size]], np.empty(100, kind), [(0, 100)], "file")


def test_decimals_that_are_not_compressed_take_as_few_bytes_as_their_digits():
    column = pa.array(np.arange(1000) / 100)
    chunk = columns.encode(column, numbers.raw_encoding(columns.numbers_of(column)))
    assert len(chunk.data) < 2 * len(column) + 10
    round_trip(column, numbers.raw_encoding(columns.numbers_of(column)))


@pytest.mark.parametrize("level", [0, 4, 8, 12])
@settings(deadline=None, max_examples=40)
@given(column=st.lists(INTEGERS, min_size=1, max_size=40).map(pa.array) | floats_of_any_bits())
def test_the_encoding_chosen_for_a_column_and_the_default_give_it_back(level, column):
    round_trip(column, numbers.choose(columns.numbers_of(column), level))
    round_trip(column, numbers.default_encoding(level))


@settings(deadline=None, max_examples=30)
@given(column=st.lists(DECIMALS, min_size=1, max_size=60).map(pa.array))
def test_decimals_come_back_bit_by_bit(column):
    round_trip(column, numbers.choose(columns.numbers_of(column), 4))


@pytest.mark.parametrize(
    "value",
    [0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, 2.0**53, 2.0**53 + 2, 2.0**63, -(2.0**63), 1e308, 0.1],
)
def test_one_odd_value_among_decimals_comes_back(value):
    encoding = numbers.choose(np.arange(100) / 100, 4)
    column = pa.array(np.append(np.arange(50) / 100, value))
    round_trip(column, encoding)
    round_trip(pa.array([value]), encoding)
    round_trip(pa.array([value] * 3), encoding)


@pytest.mark.parametrize("limit", [2**15, 2**31, 2**53, 2**63])
def test_integers_at_the_edges_of_their_widths_come_back(limit):
    edges = [n for n in (-limit - 1, -limit, -limit + 1, 0, limit - 1, limit) if -(2**63) <= n < 2**63]
    for low in edges:
        for high in edges:
            round_trip(pa.array([low, high, low]), numbers.default_encoding(4))


@settings(deadline=None, max_examples=100)
@given(
    column=st.lists(INTEGERS, min_size=1, max_size=40).map(pa.array)
    | st.lists(st.floats(allow_nan=False) | DECIMALS, min_size=1, max_size=40).map(pa.array)
)
def test_a_chunk_tells_its_least_and_greatest_value(column):
    array = np.asarray(column)
    for encoding in (numbers.default_encoding(4), numbers.choose(columns.numbers_of(column), 4)):
        chunk = columns.encode(column, encoding)
        low, high = np.array([chunk.low, chunk.high]).view(array.dtype)
        assert (low, high) == (array.min(), array.max())


def test_nan_is_left_out_of_least_and_greatest():
    chunk = columns.encode(pa.array([np.nan, 2.5, -1.0, np.nan]), numbers.default_encoding(4))
    assert np.array([chunk.low, chunk.high]).view(np.float64).tolist() == [-1.0, 2.5]


def test_a_constant_run_costs_a_few_bytes_however_long():
    for column in (pa.array(np.full(8192, -(2**62))), pa.array(np.full(8192, np.nan))):
        assert len(round_trip(column, numbers.default_encoding(4)).data) <= 10


@settings(deadline=None, max_examples=60)
@given(
    step=st.integers(1, 2**33) | st.integers(0, 40).map(lambda bits: 2**bits),
    counts=st.lists(st.integers(0, 1000), min_size=2, max_size=50),
    others=st.lists(st.integers(-1000, 1000), min_size=1, max_size=20),
    floats=st.booleans(),
)
def test_multiples_of_something_and_then_other_numbers_come_back(step, counts, others, floats):
    kind = pa.float64() if floats else pa.int64()
    encoding = numbers.choose(columns.numbers_of(pa.array([step * n for n in counts], kind)), 4)
    round_trip(pa.array([step * n for n in others], kind), encoding)
    round_trip(pa.array(others, kind), encoding)


def test_floats_that_claim_to_be_decimals_are_corruption():
    column = pa.array(np.random.default_rng(1).normal(size=100))
    data = bytearray(columns.encode(column, numbers.default_encoding(4)).data)
    assert data[2:4] == bytes((3, 255))
    data[3] = 2
    with pytest.raises(CorruptionError, match="some/file"):
        columns.decode(bytes(data), 100, ColumnType.FLOAT64, None, "some/file")


STRETCHES = st.lists(st.tuples(INTEGERS, st.integers(1, 400)), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(stretches=STRETCHES, floats=st.booleans(), slack=st.sampled_from([1.0, 1.25]))
def test_values_that_stay_the_same_for_long_come_back(stretches, floats, slack):
    values_, lengths = zip(*stretches, strict=True)
    array = np.repeat(np.array(values_, np.int64), lengths)
    column = pa.array(array.view(np.float64) if floats else array)
    round_trip(column, numbers.choose(columns.numbers_of(column), 4, slack))


@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_values_that_stay_the_same_for_long_cost_by_their_changes(kind):
    column = pa.array(np.repeat(np.random.default_rng(1).integers(0, 2**40, 8), 1024).astype(kind))
    encoding = numbers.choose(columns.numbers_of(column[:8000]), 4)
    assert len(round_trip(column, encoding).data) < 150
    noise = pa.array(np.random.default_rng(1).normal(size=1000).astype(kind))
    round_trip(noise, encoding)


def test_stretches_that_do_not_fit_are_corruption():
    column = pa.array(np.repeat([3, 5, 7], 1000))
    encoding = numbers.choose(columns.numbers_of(column), 4)
    data = columns.encode(column, encoding).data
    nested = struct.pack("<BBII", 0, 2, 3, len(data) - 1) + data[1:] * 2
    for broken, rows in (
        (data, 2999),
        (data, 3001),
        (data, 2),
        (data[:8], 3000),
        (data[:-3], 3000),
        (nested, 3000),
    ):
        with pytest.raises(CorruptionError, match="some/file"):
            columns.decode(broken, rows, ColumnType.INT64, None, "some/file")


@settings(deadline=None, max_examples=40)
@given(column=st.lists(DECIMALS | st.integers(-5, 5).map(float), min_size=1, max_size=200).map(pa.array))
def test_what_is_encoded_in_a_hurry_comes_back_and_takes_little_more(column):
    small, quick = (numbers.choose(columns.numbers_of(column), 4, slack) for slack in (1.0, 1.25))
    sizes = [len(round_trip(column, encoding).data) for encoding in (small, quick)]
    assert sizes[1] <= 1.25 * sizes[0] + len(column) / 16 + 8


def test_numbers_that_are_not_as_many_as_said_are_corruption():
    data = columns.encode(pa.array(np.arange(100)), numbers.default_encoding(4)).data
    with pytest.raises(CorruptionError, match="some/file"):
        columns.decode(data, 101, ColumnType.INT64, None, "some/file")


def test_floats_in_a_column_of_integers_are_corruption():
    encoding = numbers.choose(np.arange(100) / 100, 4)
    for column in (pa.array(np.arange(100) / 100), pa.array(np.random.default_rng(1).normal(size=100))):
        data = columns.encode(column, encoding).data
        with pytest.raises(CorruptionError):
            columns.decode(data, 100, ColumnType.INT64, None, "file")
