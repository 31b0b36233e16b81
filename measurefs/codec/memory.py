"""Arrays of NumPy and Arrow over the same memory, which for large ones is from Arrow's pool.

NumPy gives the memory of every large array back to the system, and a new one is taken page by page as it is written.
That costs several times as much as decoding or gathering the values. The pool keeps what was given back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_LARGE = 1 << 16


def new_array(count: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array of so many values, which may be anything."""
    wanted = np.dtype(dtype)
    size = count * wanted.itemsize
    return np.empty(count, wanted) if size < _LARGE else np.frombuffer(pa.allocate_buffer(size), wanted)


def array_of(values: npt.NDArray[Any]) -> pa.Array:
    """Return numbers as an Arrow array, without a copy.

    `pyarrow.array` takes six times as long, and its first call imports pandas where that is installed.
    """
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, data], 0)


def take(values: npt.NDArray[Any], positions: npt.NDArray[np.integer]) -> npt.NDArray[Any]:
    """Return the values at these positions, all of which there are."""
    out = new_array(len(positions), values.dtype)
    return values.take(positions, out=out, mode="clip")  # any other mode makes a copy first


def join(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return arrays of one type end to end."""
    return np.concatenate(arrays, out=new_array(sum(map(len, arrays)), arrays[0].dtype))
