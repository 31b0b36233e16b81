"""Column chunks and dictionaries: every type, nulls, slices, empty values, and bytes that are no chunk."""

from __future__ import annotations

import contextlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from measurefs.codec import columns, numbers
from measurefs.codec.types import ColumnType
from measurefs.fs import CorruptionError
from tests.codec.made import columns as any_column
from tests.part.made import values

KINDS = list(ColumnType)
CODED = [ColumnType.STRING, ColumnType.BINARY]


def encodings(column: pa.Array) -> list[numbers.NumberEncoding]:
    return [numbers.default_encoding(4), numbers.choose(columns.numbers_of(column), 4)]


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_every_column_comes_back(kind, data):
    column = data.draw(any_column(kind))
    for encoding in encodings(column):
        chunk = columns.encode(column, encoding)
        back = columns.decode(chunk.data, len(column), kind, None, "file")
        assert back.type == kind.arrow
        assert values(back) == values(column)
        assert chunk.nulls == column.null_count


@pytest.mark.parametrize("kind", CODED)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_every_dictionary_column_comes_back(kind, data):
    column = data.draw(any_column(kind)).dictionary_encode()
    start = data.draw(st.integers(0, len(column) - 1))
    column = column.slice(start)
    for encoding in encodings(column):
        coded = columns.encode_dictionary(column.dictionary, numbers.default_encoding(4))
        dictionary = columns.decode_dictionary(coded, kind, "file")
        assert values(dictionary) == values(column.dictionary)
        chunk = columns.encode(column, encoding)
        back = columns.decode(chunk.data, len(column), kind, dictionary, "file")
        assert values(back) == values(column)
        assert chunk.nulls == column.null_count


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_of_nulls_is_one_byte(kind):
    column = pa.nulls(5000, kind.arrow)
    chunk = columns.encode(column, numbers.default_encoding(4))
    assert len(chunk.data) == 1
    assert chunk.nulls == 5000
    assert columns.decode(chunk.data, 5000, kind, None, "file").equals(column)


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        (ColumnType.STRING, ["", None, ""]),
        (ColumnType.STRING, ["", "", ""]),
        (ColumnType.BINARY, [None, b"", None]),
        (ColumnType.STRING_LIST, [[], None, [None], [""]]),
        (ColumnType.STRING_LIST, [[], [], []]),
        (ColumnType.STRING_LIST, [[None, None], [None]]),
        (ColumnType.INT64_LIST, [None, [], [None], [0]]),
        (ColumnType.INT64_LIST, [[], None]),
    ],
)
def test_null_and_empty_stay_apart(kind, column):
    array = pa.array(column, kind.arrow)
    chunk = columns.encode(array, numbers.default_encoding(4))
    assert columns.decode(chunk.data, len(array), kind, None, "file").to_pylist() == column


def test_an_empty_dictionary_comes_back():
    data = columns.encode_dictionary(pa.array([], pa.string()), numbers.default_encoding(4))
    assert columns.decode_dictionary(data, ColumnType.STRING, "file").equals(pa.array([], pa.string()))


def test_null_lists_over_values_do_not_keep_them():
    hidden = pa.ListArray.from_arrays(
        pa.array([0, 2, 4, 5], pa.int32()), pa.array([1, 2, 3, 4, 5]), mask=pa.array([False, True, False])
    )
    chunk = columns.encode(hidden, numbers.default_encoding(4))
    back = columns.decode(chunk.data, 3, ColumnType.INT64_LIST, None, "file")
    assert back.to_pylist() == [[1, 2], None, [5]]


def test_chunks_of_numbers_without_nulls_are_decoded_into_their_places():
    chunks = [[1.5, 2.5], [7.0], [0.1, 1e300, float("inf")], [8.25], [9.5, 9.75]]
    encoded = [columns.encode(pa.array(chunk), numbers.choose(np.array(chunk), 4)).data for chunk in chunks]
    out = np.zeros(12)
    bounds = [(0, 2), (2, 3), (4, 7), (8, 9), (9, 11)]
    columns.decode_numbers(encoded, out, bounds, "file")
    assert out.tolist() == [1.5, 2.5, 7.0, 0, 0.1, 1e300, float("inf"), 0, 8.25, 9.5, 9.75, 0]


def test_a_chunk_with_nulls_is_not_decoded_as_one_without():
    chunk = columns.encode(pa.array([1.5, None, 3.5]), numbers.default_encoding(4))
    with pytest.raises(CorruptionError, match="nulls"):
        columns.decode_numbers([chunk.data], np.zeros(3), [(0, 3)], "file")


def test_codes_without_their_dictionary_are_corruption():
    column = pa.array(["a", "b", "a"]).dictionary_encode()
    chunk = columns.encode(column, numbers.default_encoding(4))
    with pytest.raises(CorruptionError, match="without a dictionary"):
        columns.decode(chunk.data, 3, ColumnType.STRING, None, "file")


def test_codes_beyond_their_dictionary_are_corruption():
    column = pa.array(["a", "b", "a"]).dictionary_encode()
    chunk = columns.encode(column, numbers.default_encoding(4))
    with pytest.raises(CorruptionError, match="outside its dictionary"):
        columns.decode(chunk.data, 3, ColumnType.STRING, pa.array(["a"]), "file")


@st.composite
def damage(draw: st.DrawFn, data: bytes) -> bytes:
    """Cut bytes short, or flip some of their bits: rather the first ones, which steer the rest."""
    if draw(st.booleans()):
        return data[: draw(st.integers(0, len(data) - 1))]
    damaged = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, min(24, len(data) - 1)) | st.integers(0, len(data) - 1))
        damaged[place] ^= 1 << draw(st.integers(0, 7))
    return bytes(damaged)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_damaged_chunks_are_corruption_or_some_column(kind, data):
    """What a checksum would have caught already: no other error, no crash, no endless work.

    Lists are of different lengths here. Of equal ones a flip can make huge ones, of a constant element, which
    take their time and memory and are some column too.
    """
    column = data.draw(any_column(kind))
    if kind.element is not None:
        column = pa.concat_arrays([column, pa.array([[], [None]], kind.arrow)])
    chunk = columns.encode(column, data.draw(st.sampled_from(encodings(column)))).data
    damaged = data.draw(damage(chunk))
    with contextlib.suppress(CorruptionError):
        found = columns.decode(damaged, len(column), kind, None, "file")
        assert len(found) == len(column)
        assert found.type == kind.arrow


@pytest.mark.parametrize("kind", CODED)
@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_damaged_codes_and_dictionaries_are_corruption_or_some_column(kind, data):
    column = data.draw(any_column(kind)).dictionary_encode()
    chunk = columns.encode(column, numbers.default_encoding(4)).data
    coded = columns.encode_dictionary(column.dictionary, numbers.default_encoding(4))
    with contextlib.suppress(CorruptionError):
        columns.decode(data.draw(damage(chunk)), len(column), kind, column.dictionary, "file")
    with contextlib.suppress(CorruptionError):
        columns.decode_dictionary(coded[:4] + data.draw(damage(coded[4:] or b"?")), kind, "file")


@pytest.mark.parametrize("kind", KINDS)
def test_no_bytes_are_corruption(kind):
    with pytest.raises(CorruptionError):
        columns.decode(b"", 1, kind, None, "file")
