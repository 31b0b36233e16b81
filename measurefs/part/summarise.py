"""Computing what is known of blocks, a column at a time, in a few passes over its values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import columns as codec
from measurefs.codec.arrays import Array
from measurefs.codec.memory import array_of
from measurefs.part.rows import concat_columns
from measurefs.part.summary import NULL, RAW, Bools, ColumnSummary, Ints, NumberSummary, ValueSummary

_FEW_BLOCKS = 16
_NUMBERS = (pa.int64(), pa.float64(), pa.bool_())
_SAFE_SUM = 2.0**62
_HALF = 32
_WELL_CONDITIONED = 4096.0


def is_worthwhile(rows: int, blocks: int, least: int) -> bool:
    """Whether so many rows in so many blocks are to be summarised: at least so many a block.

    A few blocks always are: they may become part of a page of longer ones.
    """
    return rows >= least * blocks or blocks <= _FEW_BLOCKS


def summarise(column: pa.Array | Array, starts: Ints, coded: pa.DataType | None = None) -> ColumnSummary:
    """Summarise the blocks of a column.

    Parameters
    ----------
    column : pyarrow.Array, or int64 or float64 array
        What `codec.columns.encode` takes.
    starts : int64 array, shape (b + 1,)
        Where in it each block begins, and at the end its length; no block is empty.
    coded : pyarrow.DataType, optional
        Of the values of which an array holds the codes.
    """
    if isinstance(column, np.ndarray):
        if coded is not None:
            return summarise_codes(column, pa.nulls(len(starts) - 1, coded), starts)
        return _summarise_numbers(column, None, starts)
    kind = column.type
    if kind in _NUMBERS:
        valid = np.asarray(column.is_valid()) if column.null_count else None
        return _summarise_numbers(codec.values_of(column), valid, starts)
    if pa.types.is_dictionary(kind):
        last_raw = pa.nulls(len(starts) - 1, kind.value_type)
    else:
        last_raw = column.take(array_of(starts[1:] - 1))
    return summarise_codes(codes_of(column), last_raw, starts)


def summarise_chunks(chunks: Sequence[pa.Array], starts: Ints) -> ColumnSummary:
    """Summarise the blocks of a column that comes in several arrays, of which some may be dictionaries."""
    if chunks[0].type in _NUMBERS:
        return summarise(codec.plain(concat_columns(chunks)), starts)
    coded = [pa.types.is_dictionary(chunk.type) for chunk in chunks]
    raw = pa.concat_arrays(
        [
            pa.nulls(len(chunk), chunk.type.value_type) if is_coded else chunk
            for chunk, is_coded in zip(chunks, coded, strict=True)
        ]
    )
    codes = np.concatenate([codes_of(chunk) for chunk in chunks])
    return summarise_codes(codes, raw.take(array_of(starts[1:] - 1)), starts)


def codes_of(column: pa.Array) -> Array:
    """Return the codes of a dictionary array, or `RAW` for the values of another one; `NULL` for nulls."""
    if not pa.types.is_dictionary(column.type):
        return np.where(np.asarray(column.is_valid()), np.int32(RAW), np.int32(NULL))
    codes = codec.values_of(column.indices)
    if column.null_count:
        codes = np.where(np.asarray(column.is_valid()), codes, np.int32(NULL))
    return codes


def summarise_codes(codes: Array, last_raw: pa.Array, starts: Ints) -> ValueSummary:
    """Summarise the blocks of a column of strings, binaries or lists.

    Parameters
    ----------
    codes : int32 array
        Of each row; see `codes_of`.
    last_raw : pyarrow.Array
        The value of each block's last row where it is not in the dictionary, null elsewhere.
    starts : int64 array
        As for `summarise`.
    """
    begins = starts[:-1]
    low, high = (extreme.reduceat(codes, begins).astype(np.int64) for extreme in (np.minimum, np.maximum))
    nulls = np.zeros(len(begins), np.int64)
    if low.min() < 0:
        null = codes == NULL
        nulls = np.add.reduceat(null, begins, dtype=np.int64)
        raw = low == RAW
        low = np.minimum.reduceat(np.where(null, np.iinfo(codes.dtype).max, codes), begins).astype(np.int64)
        low[high == NULL] = NULL
        low[raw] = high[raw] = RAW
    return ValueSummary(nulls, low, high, codes[starts[1:] - 1].astype(np.int64), last_raw)


def _summarise_numbers(values: Array, valid: Bools | None, starts: Ints) -> NumberSummary:
    begins, lengths = starts[:-1], np.diff(starts)
    if valid is None:
        known = _of_runs(values, begins, lengths)
        none = np.zeros(len(begins), np.int64)
        return NumberSummary(none, **known, first_row=none, last_row=lengths - 1)
    counts = np.add.reduceat(valid, begins, dtype=np.int64)
    some = counts > 0
    firsts = (np.cumsum(counts) - counts)[some]
    rows = np.flatnonzero(valid) - np.repeat(begins, counts)
    if len(firsts) == 0:
        known = dict.fromkeys(("low", "high", "first", "last", "sum"), values[:0])
        known |= {"overflow": np.empty(0, np.bool_), "m2": np.empty(0)}
    else:
        known = _of_runs(values[valid], firsts, counts[some])
    return NumberSummary(
        lengths - counts,
        **{name: _spread(array, some, 0) for name, array in known.items()},
        first_row=_spread(rows[firsts], some, NULL),
        last_row=_spread(rows[firsts + counts[some] - 1], some, NULL),
    )


def _spread(values: Array, where: Bools, fill: float) -> Array:
    out = np.full(len(where), fill, values.dtype)
    out[where] = values
    return out


def _of_runs(values: Array, begins: Ints, lengths: Ints) -> dict[str, Array]:
    """Return what is known of runs that together are the values, by the names of `NumberSummary`; none is empty."""
    with np.errstate(all="ignore"):  # of infinities and what is beyond float64
        low, high = np.fmin.reduceat(values, begins), np.fmax.reduceat(values, begins)
        floats = values.astype(np.float64, copy=False)
        total = np.add.reduceat(floats, begins)
        m2 = _squares(floats, total, begins, lengths, low, high)
        overflow = np.zeros(len(begins), np.bool_)
        if values.dtype != np.float64:
            total, overflow = _exact_sums(values, begins, lengths, low, high)
    first, last = values[begins], values[begins + lengths - 1]
    return {
        "sum": total, "overflow": overflow, "m2": m2,
        "low": low, "high": high, "first": first, "last": last,
    }  # fmt: skip


def _squares(
    values: npt.NDArray[np.float64], total: Array, begins: Ints, lengths: Ints, low: Array, high: Array
) -> npt.NDArray[np.float64]:
    """Return the sum of the squares of the deviations from the means.

    By the sum of the squares, in half the time, where little of that is lost in the difference.
    """
    finite = np.isfinite(total)
    means = total / lengths
    same = (low == high) & finite
    if same.all():
        return np.zeros(len(begins))
    squares: npt.NDArray[np.float64] = np.add.reduceat(values * values, begins)
    found = squares - total * means
    poor = finite & ~same & ~(squares <= _WELL_CONDITIONED * found)
    if poor.any():
        some = lengths[poor]
        deviations = values[np.repeat(poor, lengths)] - np.repeat(means[poor], some)
        starts = np.cumsum(some) - some
        rounding = np.add.reduceat(deviations, starts)  # of the means
        exact = np.add.reduceat(deviations * deviations, starts) - rounding * rounding / some
        found[poor] = np.maximum(exact, 0.0)
    found[~np.isfinite(found)] = np.nan
    found[same] = 0.0
    return found


def _exact_sums(values: Ints, begins: Ints, lengths: Ints, low: Ints, high: Ints) -> tuple[Ints, Bools]:
    """Return the sums, and where they are no int64."""
    most = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))
    if (most * lengths < _SAFE_SUM).all():
        return np.add.reduceat(values, begins), np.zeros(len(begins), np.bool_)
    lower = np.add.reduceat(values & (2**_HALF - 1), begins)
    upper = np.add.reduceat(values >> _HALF, begins) + (lower >> _HALF)
    overflow = (upper < -(2 ** (_HALF - 1))) | (upper >= 2 ** (_HALF - 1))
    total = (upper << _HALF) | (lower & (2**_HALF - 1))
    return np.where(overflow, 0, total), overflow
