"""Arrays of NumPy and Arrow over the same memory, which for large ones is from Arrow's pool.

NumPy gives the memory of every large array back to the system, and a new one is taken page by page as it is written.
That costs several times as much as decoding or gathering the values. The pool keeps what was given back.
"""

from __future__ import annotations

import functools
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
    if size < _LARGE:
        return np.empty(count, wanted)
    return np.frombuffer(pa.allocate_buffer(size, memory_pool=_pool()), wanted)


@functools.cache
def _pool() -> pa.MemoryPool:
    """Return jemalloc's, where there is one: mimalloc gives memory back within milliseconds, and takes it anew."""
    try:
        return pa.jemalloc_memory_pool()
    except NotImplementedError:
        return pa.default_memory_pool()


def array_of(values: npt.NDArray[Any], missing: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Return integers or floats as an Arrow array, without a copy, null where some are missing.

    `pyarrow.array` takes six times as long, and its first call imports pandas where that is installed.
    """
    data = pa.py_buffer(np.ascontiguousarray(values))
    nulls = 0 if missing is None else int(np.count_nonzero(missing))
    valid = pa.py_buffer(np.packbits(~missing, bitorder="little")) if missing is not None and nulls else None
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [valid, data], nulls)


def one_text(text: str) -> pa.Array:
    """Return an array of one string; see `array_of`."""
    data = text.encode()
    offsets = np.array((0, len(data)), np.int32)
    return pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)], 0)


def copied(column: pa.Array) -> pa.Array:
    """Return an array in memory of its own, which nobody changes and no file is behind."""
    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(copied(column.indices), copied(column.dictionary), safe=False)
    return pa.concat_arrays([column])


def take(values: npt.NDArray[Any], positions: npt.NDArray[np.integer]) -> npt.NDArray[Any]:
    """Return the values at these positions, all of which there are."""
    out = new_array(len(positions), values.dtype)
    return values.take(positions, out=out, mode="clip")  # any other mode makes a copy first


def join(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return arrays of one type end to end."""
    return np.concatenate(arrays, out=new_array(sum(map(len, arrays)), arrays[0].dtype))
