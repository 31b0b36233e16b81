"""Bundles of named arrays."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from measurefs.codec.arrays import pack_arrays, unpack_arrays
from measurefs.fs import CorruptionError

DTYPES = ["<i8", "<u8", "<i4", "<u4", "<f8", "u1"]
ARRAYS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.sampled_from(DTYPES).flatmap(lambda dtype: npst.arrays(dtype, st.integers(0, 20))),
    max_size=4,
)


@settings(deadline=None, max_examples=50)
@given(arrays=ARRAYS)
def test_arrays_come_back_by_name_with_their_types(arrays):
    back = unpack_arrays(pack_arrays(arrays), "file")
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert back[name].tobytes() == array.tobytes()


def test_a_view_with_steps_comes_back():
    array = np.arange(10)[::-2]
    assert unpack_arrays(pack_arrays({"a": array}), "file")["a"].tolist() == [9, 7, 5, 3, 1]


def test_what_comes_back_cannot_be_changed():
    back = unpack_arrays(pack_arrays({"a": np.arange(3)}), "file")["a"]
    with pytest.raises(ValueError, match="read-only"):
        back[0] = 1


@settings(deadline=None, max_examples=120)
@given(arrays=ARRAYS, data=st.data())
def test_damaged_bundles_are_corruption_or_some_bundle(arrays, data):
    packed = bytearray(pack_arrays(arrays))
    if data.draw(st.booleans()):
        del packed[data.draw(st.integers(0, len(packed) - 1)) :]
    else:
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(CorruptionError):
        unpack_arrays(bytes(packed), "file")


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 50])
def test_other_bytes_are_corruption(data):
    with pytest.raises(CorruptionError, match="file"):
        unpack_arrays(data, "file")
