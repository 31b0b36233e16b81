"""A batch of rows in columns: what is written, what memory holds, what a part gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import compute as pc
from measurefs.codec import memory
from measurefs.codec.columns import is_plain, values_of
from measurefs.codec.widening import widened
from measurefs.part.series import Codes, SeriesTable, merge_series, narrowed

Times = npt.NDArray[np.int64]
Spans = Sequence[tuple[int, int]]
"""Of each of several arrays a run of values, from the first up to the last."""

_RADIX = 1 << 16
_SHORT_RUN = 64
_SLICE_ROWS = 1 << 17
_REPETITIVE = 2


class Rows(msgspec.Struct, frozen=True, eq=False):
    """n rows of one table.

    Attributes
    ----------
    series : SeriesTable
        The series that occur (it may hold more than that).
    codes : int32 array, shape (n,)
        The position of each row's series in it.
    times : int64 array, shape (n,)
        Nanoseconds since 1970-01-01 UTC.
    versions : int64 array, shape (n,)
        Of rows with the same series and time the one with the highest version counts.
    columns : mapping of str to pyarrow.Array
        Tags and fields, n values each; strings and binaries may be dictionaries.
    """

    series: SeriesTable
    codes: Codes
    times: Times
    versions: npt.NDArray[np.int64]
    columns: Mapping[str, pa.Array]

    def __len__(self) -> int:
        return len(self.times)

    @property
    def nbytes(self) -> int:
        """Bytes of memory, roughly."""
        columns = sum(_bytes_of(column) for column in self.columns.values())
        return int(self.codes.nbytes + self.times.nbytes + self.versions.nbytes + columns)

    def take(self, positions: npt.NDArray[np.integer]) -> Rows:
        """Return the rows at these positions, in that order."""
        columns = {name: gather(column, positions) for name, column in self.columns.items()}
        return Rows(
            self.series, self.codes[positions], self.times[positions], self.versions[positions], columns
        )

    def slice(self, start: int, stop: int) -> Rows:
        """Return the rows from start up to stop, without a copy."""
        columns = {name: column.slice(start, stop - start) for name, column in self.columns.items()}
        part = slice(start, stop)
        return Rows(self.series, self.codes[part], self.times[part], self.versions[part], columns)

    def slices(self, most: int) -> Iterator[Rows]:
        """Yield the rows, so many at a time at most: the very same object if they are no more."""
        if len(self) <= most:
            yield self
            return
        for start in range(0, len(self), most):
            yield self.slice(start, min(start + most, len(self)))

    def narrowed(self) -> Rows:
        """Return the same rows, without the series that do not occur if those are most."""
        series, codes = narrowed(self.series, self.codes)
        return msgspec.structs.replace(self, series=series, codes=codes)

    def with_versions(self, version: int) -> Rows:
        """Return the same rows, all of this version."""
        return msgspec.structs.replace(self, versions=same(version, len(self)))


def same(value: int, count: int) -> npt.NDArray[np.int64]:
    """Return an array that holds one value so many times, and takes no memory for that."""
    return np.ndarray(count, np.int64, np.int64(value).tobytes(), strides=(0,))


def gather(column: pa.Array, positions: npt.NDArray[np.integer]) -> pa.Array:
    """Take values by position; NumPy is several times as fast as Arrow where there are no nulls."""
    if is_plain(column):
        return memory.array_of(memory.take(values_of(column), positions))
    if pa.types.is_dictionary(column.type) and column.null_count == 0:
        codes = memory.take(values_of(column.indices), positions)
        return pa.DictionaryArray.from_arrays(memory.array_of(codes), column.dictionary, safe=False)
    return column.take(memory.array_of(positions))


def concat_columns(columns: Sequence[pa.Array]) -> pa.Array:
    """Join arrays of one column end to end; a dictionary if all of them are, or if that is much smaller."""
    return columns[0] if len(columns) == 1 else _joiner(columns)([(0, len(column)) for column in columns])


def _joiner(columns: Sequence[pa.Array]) -> Callable[[Spans], pa.Array]:
    """Return what joins a span of each array of one column end to end; all that can be done once is done here."""
    if all(is_plain(column) for column in columns):
        arrays = [values_of(column) for column in columns]
        return lambda spans: memory.array_of(_spliced(arrays, spans))
    dictionaries = [pa.types.is_dictionary(column.type) for column in columns]
    if not any(dictionaries):
        return lambda spans: pa.concat_arrays(_sliced(columns, spans))
    coded = _alike(columns)
    if not (all(dictionaries) or _is_repetitive(coded)):
        return lambda spans: pa.concat_arrays([each.dictionary_decode() for each in _sliced(coded, spans)])
    if any(column.null_count for column in coded):
        return lambda spans: pa.concat_arrays(_sliced(coded, spans))
    arrays = [values_of(column.indices) for column in coded]
    return lambda spans: pa.DictionaryArray.from_arrays(
        memory.array_of(_spliced(arrays, spans)), coded[0].dictionary, safe=False
    )


def _alike(columns: Sequence[pa.Array]) -> Sequence[pa.DictionaryArray]:
    """Return columns of strings or binaries as codes into one dictionary."""
    coded = [
        column if pa.types.is_dictionary(column.type) else column.dictionary_encode() for column in columns
    ]
    if all(column.dictionary.equals(coded[0].dictionary) for column in coded[1:]):
        return coded
    found: list[pa.DictionaryArray] = pa.chunked_array(coded).unify_dictionaries().chunks
    return found


def _is_repetitive(coded: Sequence[pa.DictionaryArray]) -> bool:
    """Whether the values would take far more than their dictionary if each were written out."""
    lengths = np.asarray(pc.binary_length(coded[0].dictionary), np.int64)
    decoded = sum(int(lengths[values_of(column.indices.drop_null())].sum()) for column in coded)
    return decoded > _REPETITIVE * int(lengths.sum())


def _sliced(columns: Sequence[pa.Array], spans: Spans) -> list[pa.Array]:
    return [column.slice(start, stop - start) for column, (start, stop) in zip(columns, spans, strict=True)]


def _spliced(arrays: Sequence[npt.NDArray[Any]], spans: Spans) -> npt.NDArray[Any]:
    return memory.join([array[start:stop] for array, (start, stop) in zip(arrays, spans, strict=True)])


def _bytes_of(column: pa.Array) -> int:
    """Return how many bytes of memory a column takes; Arrow takes long to say so."""
    return 8 * len(column) if is_plain(column) else int(column.nbytes)


def concat_rows(batches: Sequence[Rows], types: Mapping[str, pa.DataType]) -> Rows:
    """Join batches of one table in the order given, their series tables merged.

    Parameters
    ----------
    batches : sequence of Rows
        At least one.
    types : mapping of str to pyarrow.DataType
        The columns of the result; where a batch lacks one, its rows are null there, and where it has one of a
        narrower type, that is cast.

    Raises
    ------
    SchemaError
        A value would change in the type asked for.
    """
    if len(batches) == 1 and batches[0].columns.keys() == types.keys():
        return _in_types(batches[0], types)
    joint = _Joint(batches, types)
    return joint.rows(joint.whole)


def concat_in_order(batches: Sequence[Rows], types: Mapping[str, pa.DataType]) -> Rows:
    """Join batches as `concat_rows` does and order them as `sort_rows` does, one column after another."""
    if len(batches) == 1:
        return sort_rows(concat_rows(batches, types))
    joint = _Joint(batches, types)
    return joint.ordered(joint.whole)


def merge_rows(batches: Sequence[Rows], types: Mapping[str, pa.DataType]) -> Iterator[Rows]:
    """Join batches, each of which `sort_rows` has ordered, as `concat_rows` does, and order all rows that way.

    They come some series at a time, so that what is put in order fits the processor's caches.
    """
    if len(batches) == 1:
        yield from concat_rows(batches, types).slices(_SLICE_ROWS)
        return
    joint = _Joint(batches, types)
    yield from map(joint.ordered, joint.divided(_SLICE_ROWS))


class _Joint:
    """Batches about to be joined, the same span of rows of all columns at a time.

    Attributes
    ----------
    whole : sequence of (int, int)
        The spans that are all rows of each batch.
    """

    def __init__(self, batches: Sequence[Rows], types: Mapping[str, pa.DataType]) -> None:
        self.whole = [(0, len(rows)) for rows in batches]
        self._series, mappings = merge_series([rows.series for rows in batches])
        self._codes = [
            rows.codes if rows.series is self._series else to[rows.codes]
            for rows, to in zip(batches, mappings, strict=True)
        ]
        self._times = [rows.times for rows in batches]
        self._versions = [rows.versions for rows in batches]
        self._columns = {name: _joiner(_columns_of(batches, name, kind)) for name, kind in types.items()}

    def divided(self, most: int) -> Iterator[Spans]:
        """Yield spans that have all rows of some series, about so many, of batches in order of these."""
        if sum(map(len, self._codes)) <= most:
            yield self.whole
            return
        counts = sum(np.bincount(codes, minlength=len(self._series)) for codes in self._codes)
        ends = np.cumsum(counts)
        cuts = np.unique(np.searchsorted(ends, np.arange(0, ends[-1], most), "right"))
        bounds = [np.append(np.searchsorted(codes, cuts), len(codes)).tolist() for codes in self._codes]
        for place in range(len(cuts)):
            yield [(bound[place], bound[place + 1]) for bound in bounds]

    def rows(self, spans: Spans) -> Rows:
        """Return the rows of spans, joined."""
        return msgspec.structs.replace(self._keys(spans), columns=dict(self._joined(spans)))

    def ordered(self, spans: Spans) -> Rows:
        """Return the rows of spans as `sort_rows` orders them."""
        keys = self._keys(spans)
        order = sorted_positions(keys.codes, keys.times, keys.versions)
        if order is None:
            return msgspec.structs.replace(keys, columns=dict(self._joined(spans)))
        columns = {name: gather(column, order) for name, column in self._joined(spans)}
        return msgspec.structs.replace(keys.take(order), columns=columns)

    def _joined(self, spans: Spans) -> Iterator[tuple[str, pa.Array]]:
        return ((name, join(spans)) for name, join in self._columns.items())

    def _keys(self, spans: Spans) -> Rows:
        codes, times, versions = (
            _spliced(each, spans) for each in (self._codes, self._times, self._versions)
        )
        return Rows(self._series, codes, times, versions, {})


def _columns_of(batches: Sequence[Rows], name: str, kind: pa.DataType) -> list[pa.Array]:
    columns = (rows.columns.get(name) for rows in batches)
    return [
        pa.nulls(len(rows), kind) if column is None else widened(column, kind, name)
        for rows, column in zip(batches, columns, strict=True)
    ]


def _in_types(rows: Rows, types: Mapping[str, pa.DataType]) -> Rows:
    columns = {name: widened(column, types[name], name) for name, column in rows.columns.items()}
    same = all(column is rows.columns[name] for name, column in columns.items())
    return rows if same else msgspec.structs.replace(rows, columns=columns)


def sort_rows(rows: Rows) -> Rows:
    """Order rows by (series, time) and keep one of each: the highest version, the last of equal ones."""
    order = sorted_positions(rows.codes, rows.times, rows.versions)
    return rows if order is None else rows.take(order)


def sorted_positions(
    codes: Codes, times: Times, versions: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64] | None:
    """Return the positions that order rows by (series, time), without the superseded ones.

    None if the rows are in order and distinct already. Rows that arrive in order of time within their series
    cost one radix sort by series; only others a sort by time, and only real duplicates one by version.
    """
    if _strictly_ordered(codes, times):
        return None
    order = _argsort_codes(codes)
    by_series, by_time = codes[order], times[order]
    if _strictly_ordered(by_series, by_time):
        return order
    if not _ordered(by_series, by_time):
        order = np.lexsort((times, codes))
        by_series, by_time = codes[order], times[order]
        if _strictly_ordered(by_series, by_time):
            return order
    order = np.lexsort((versions, times, codes))
    by_series, by_time = codes[order], times[order]
    last = np.ones(len(order), np.bool_)
    last[:-1] = (by_series[1:] != by_series[:-1]) | (by_time[1:] != by_time[:-1])
    return order[last]


def stable_order(codes: Codes) -> npt.NDArray[np.int64] | None:
    """Return the positions that put rows in order of their series, as they came within each; None if they are."""
    return None if (codes[1:] >= codes[:-1]).all() else _argsort_codes(codes)


def _argsort_codes(codes: Codes) -> npt.NDArray[np.int64]:
    """Sort stably by code, by what NumPy does fastest with such codes."""
    runs = 1 + np.count_nonzero(codes[1:] < codes[:-1])
    if runs * _SHORT_RUN <= len(codes):  # batches one after another: merged by timsort
        return np.argsort(codes, kind="stable")
    if codes.max() < _RADIX:  # radix sort
        return np.argsort(codes.astype(np.uint16), kind="stable")
    keys = codes.astype(np.int64) << 32 | np.arange(len(codes))  # vector instructions, where there are such
    keys.sort()
    return keys & (2**32 - 1)


def _ordered(codes: Codes, times: Times) -> bool:
    same = codes[1:] == codes[:-1]
    return bool(((codes[1:] > codes[:-1]) | (same & (times[1:] >= times[:-1]))).all())


def _strictly_ordered(codes: Codes, times: Times) -> bool:
    same = codes[1:] == codes[:-1]
    return bool(((codes[1:] > codes[:-1]) | (same & (times[1:] > times[:-1]))).all())
