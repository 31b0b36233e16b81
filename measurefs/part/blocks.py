"""Where blocks and primary blocks begin.

A block is a run of rows of one series: at most `block_rows` of them, and it ends with the row that brings it
to `block_bytes`. A primary block is a run of whole blocks with at most as much together; it is the unit in
which columns are encoded, so that the cost of encoding follows the rows, not the series.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import compute as pc
from measurefs.codec.columns import values_of
from measurefs.part.rows import Rows
from measurefs.part.series import Codes

MAX_BLOCK_ROWS = 8192
BLOCK_BYTES = 2 << 20
_KEY_BYTES = 16

Positions = npt.NDArray[np.int64]


class Layout(NamedTuple):
    """How sorted rows fall into blocks.

    Attributes
    ----------
    starts : int64 array, shape (blocks + 1,)
        The first row of each block, and at the end the number of rows.
    firsts : int64 array, shape (primary blocks + 1,)
        The first block of each primary block, and at the end the number of blocks.
    bounds : list of int
        The first row of each primary block, and at the end the number of rows.
    uncompressed : int
        The bytes of the rows before any encoding: times, versions and values.
    """

    starts: Positions
    firsts: Positions
    bounds: list[int]
    uncompressed: int

    @classmethod
    def of(cls, starts: Positions, firsts: Positions, uncompressed: int) -> Layout:
        """Make one from the beginnings of its blocks and primary blocks."""
        return cls(starts, firsts, starts[firsts].tolist(), uncompressed)


def lay_out(
    rows: Rows, block_rows: int, block_bytes: int = BLOCK_BYTES, numbers: Collection[str] = ()
) -> Layout:
    """Split rows, sorted by (series, time), into blocks and these into primary blocks.

    Parameters
    ----------
    numbers : collection of str
        Columns that are known to hold numbers, and need not be looked at.
    """
    others = [column for name, column in rows.columns.items() if name not in numbers]
    key = _KEY_BYTES + 8 * len(numbers)
    starts = _split_by_rows(rows.codes, block_rows)
    if all(pa.types.is_dictionary(column.type) for column in others):
        lengths = [_lengths(column.dictionary) for column in others]
        most = key + sum(int(each.max(initial=0)) for each in lengths)
        if block_rows * most <= block_bytes:  # no block gets that large
            firsts = _join_blocks(starts, np.zeros_like(starts), block_rows, block_bytes)
            return Layout.of(starts, firsts, len(rows) * key + sum(map(_total_bytes, others, lengths)))
    sizes = np.full(len(rows), key, np.int64)
    for column in others:
        sizes += _value_bytes(column)
    weight = np.concatenate(([0], np.cumsum(sizes)))
    starts = _split_by_bytes(starts, weight, block_bytes)
    return Layout.of(starts, _join_blocks(starts, weight[starts], block_rows, block_bytes), int(weight[-1]))


def _join_blocks(starts: Positions, ends: Positions, block_rows: int, block_bytes: int) -> Positions:
    """Join blocks; ends are the bytes before each, and at the end all bytes."""
    firsts, first, blocks = [0], 0, len(starts) - 1
    while first < blocks:
        by_rows = np.searchsorted(starts, starts[first] + block_rows, "right") - 1
        by_bytes = np.searchsorted(ends, ends[first] + block_bytes, "right") - 1
        first = max(first + 1, min(int(by_rows), int(by_bytes)))
        firsts.append(first)
    return np.array(firsts, np.int64)


def _split_by_rows(codes: Codes, block_rows: int) -> Positions:
    count = len(codes)
    if count == 0:
        return np.zeros(1, np.int64)
    series = np.concatenate(([0], np.flatnonzero(codes[1:] != codes[:-1]) + 1, [count]))
    lengths = np.diff(series)
    if lengths.max() <= block_rows:
        return series
    pieces = -(-lengths // block_rows)
    nth = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return np.concatenate((np.repeat(series[:-1], pieces) + nth * block_rows, [count]))


def _split_by_bytes(starts: Positions, weight: Positions, block_bytes: int) -> Positions:
    """Cut the blocks that are too large after the row that brings them to the limit."""
    cuts = [starts]
    for block in np.flatnonzero(np.diff(weight[starts]) > block_bytes):
        row, stop = starts[block], starts[block + 1]
        while (row := np.searchsorted(weight, weight[row] + block_bytes)) < stop:
            cuts.append(np.array([row]))
    return starts if len(cuts) == 1 else np.unique(np.concatenate(cuts))


def _total_bytes(column: pa.Array, lengths: Positions) -> int:
    """Return the bytes of all values, of which the dictionary's have these lengths."""
    return int(np.bincount(values_of(column.indices.drop_null()), minlength=len(lengths)) @ lengths)


def _lengths(strings: pa.Array) -> Positions:
    return np.asarray(pc.binary_length(strings)).astype(np.int64)


def _value_bytes(column: pa.Array) -> Positions | int:
    kind = column.type
    if pa.types.is_dictionary(kind):
        lengths = np.append(_lengths(column.dictionary), 0)
        return np.asarray(lengths[np.asarray(column.indices.fill_null(-1))])
    if pa.types.is_list(kind):
        offsets = np.asarray(column.offsets)
        within = np.concatenate(([0], np.cumsum(_broadcast(_value_bytes(column.values), len(column.values)))))
        return np.asarray(np.diff(within[offsets]))
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return np.asarray(pc.binary_length(column).fill_null(0)).astype(np.int64)
    return 8


def _broadcast(sizes: Positions | int, count: int) -> Positions:
    return np.full(count, sizes, np.int64) if isinstance(sizes, int) else sizes
