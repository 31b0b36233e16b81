"""The order of values: of many strings several times as fast as Arrow finds it."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import compute as pc
from measurefs.codec.columns import values_of

_FEW = 1_000
_WORD = 8
_MASKS = np.array([2**64 - 2 ** (64 - 8 * count) for count in range(_WORD + 1)], np.uint64)


def order_of(values: pa.Array) -> npt.NDArray[np.int64]:
    """Return the positions of values in their order: strings byte by byte, NaN after numbers, nulls last."""
    text = pa.types.is_string(values.type) or pa.types.is_binary(values.type)
    found = _order_of_text(values) if text and len(values) > _FEW and not values.null_count else None
    return values_of(pc.array_sort_indices(values)).astype(np.int64) if found is None else found


def _order_of_text(values: pa.Array) -> npt.NDArray[np.int64] | None:
    """Sort by the first 8 bytes in which any two of the strings differ; None if those leave some of them equal."""
    ends = pc.min_max(values.cast(pa.binary()))
    least, greatest = ends["min"].as_py(), ends["max"].as_py()
    if least == greatest:
        return None
    words = _words(values, _common_prefix(least, greatest))
    order = np.argsort(words)
    ordered = words[order]
    return None if (ordered[1:] == ordered[:-1]).any() else order


def _words(values: pa.Array, prefix: int) -> npt.NDArray[np.uint64]:
    """Return the 8 bytes of each string that follow the prefix, as a number; zeros follow its end."""
    offsets = np.frombuffer(values.buffers()[1], np.int32, len(values) + 1, 4 * values.offset)
    first, last = int(offsets[0]), int(offsets[-1])
    data = np.frombuffer(values.buffers()[2], np.uint8, last - first, first)
    padded = np.concatenate([data, np.zeros(_WORD, np.uint8)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WORD)
    words = windows[offsets[:-1] - first + prefix].view(">u8").ravel().astype(np.uint64)
    masked: npt.NDArray[np.uint64] = words & _MASKS[np.minimum(np.diff(offsets) - prefix, _WORD)]
    return masked


def _common_prefix(one: bytes, other: bytes) -> int:
    """Return how many bytes two strings, and so all between them, begin with alike."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
