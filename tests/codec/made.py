"""Columns of every type, for Hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from measurefs.codec.types import ColumnType

INTEGERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-100, 100),
    st.sampled_from([0, -1, 2**31, -(2**31) - 1, 2**53 + 1, -(2**63), 2**63 - 1]),
)
BITS = st.one_of(
    INTEGERS,
    st.sampled_from(
        [
            -(2**63),  # -0.0
            0x7FF0 << 48,  # infinity
            -(0x0010 << 48),  # minus infinity
            0x7FF8 << 48,  # NaN
            (0x7FF8 << 48) + 42,  # NaN with a payload
            -(0x0008 << 48) + 7,  # negative NaN with a payload
            (0x7FF0 << 48) + 1,  # signalling NaN
            1,  # the least denormal
            (1 << 52) - 1,  # the greatest denormal
            (0x7FF0 << 48) - 1,  # the greatest finite number
        ]
    ),
)
DECIMALS = st.decimals(-(10**9), 10**9, places=3).map(float)

_VALUES: dict[ColumnType, st.SearchStrategy[Any]] = {
    ColumnType.INT64: INTEGERS,
    ColumnType.FLOAT64: st.floats(),
    ColumnType.BOOL: st.booleans(),
    ColumnType.STRING: st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    ColumnType.BINARY: st.binary(max_size=5),
}
_VALUES[ColumnType.STRING_LIST] = st.lists(st.none() | _VALUES[ColumnType.STRING], max_size=4)
_VALUES[ColumnType.INT64_LIST] = st.lists(st.none() | INTEGERS, max_size=4)


@st.composite
def columns(draw: st.DrawFn, kind: ColumnType, min_size: int = 1) -> pa.Array:
    """A column of a type, with or without nulls, sometimes a slice of a longer one."""
    element = _VALUES[kind]
    nulls = draw(st.booleans())
    values = draw(st.lists(st.none() | element if nulls else element, min_size=min_size, max_size=30))
    before = draw(st.lists(st.none() | element, max_size=9))
    after = draw(st.lists(st.none() | element, max_size=2))
    return pa.array([*before, *values, *after], kind.arrow).slice(len(before), len(values))


@st.composite
def floats_of_any_bits(draw: st.DrawFn) -> pa.Array:
    """A float64 column of arbitrary bit patterns."""
    return pa.array(np.array(draw(st.lists(BITS, min_size=1, max_size=40)), np.int64).view(np.float64))
