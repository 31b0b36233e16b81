"""A batch of rows in columns: what is written, what memory holds, what a part gives back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import memory
from measurefs.codec.columns import values_of
from measurefs.codec.widening import widened
from measurefs.part.series import Codes, SeriesTable, merge_series

Times = npt.NDArray[np.int64]
_RADIX = 1 << 16
_PLAIN = (pa.int64(), pa.float64())


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Rows:
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
        columns = sum(column.nbytes for column in self.columns.values())
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

    def with_versions(self, version: int) -> Rows:
        """Return the same rows, all of this version."""
        return dataclasses.replace(self, versions=np.full(len(self), version, np.int64))


def gather(column: pa.Array, positions: npt.NDArray[np.integer]) -> pa.Array:
    """Take values by position; NumPy is several times as fast as Arrow where there are no nulls."""
    if _is_plain(column):
        return pa.array(memory.take(values_of(column), positions))
    if pa.types.is_dictionary(column.type) and column.null_count == 0:
        codes = memory.take(values_of(column.indices), positions)
        return pa.DictionaryArray.from_arrays(pa.array(codes), column.dictionary, safe=False)
    return column.take(pa.array(positions))


def concat_columns(columns: Sequence[pa.Array]) -> pa.Array:
    """Join arrays of one column end to end; stays a dictionary if all of them are."""
    if len(columns) == 1:
        return columns[0]
    if all(_is_plain(column) for column in columns):
        return pa.array(memory.join([values_of(column) for column in columns]))
    dictionaries = [pa.types.is_dictionary(column.type) for column in columns]
    if any(dictionaries) and not all(dictionaries):
        columns = [
            column.dictionary_decode() if coded else column
            for column, coded in zip(columns, dictionaries, strict=True)
        ]
    chunked = pa.chunked_array(columns)
    if all(dictionaries):
        chunked = chunked.unify_dictionaries()
    joined = chunked.combine_chunks()
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _is_plain(column: pa.Array) -> bool:
    """Whether a column is what NumPy is better at than Arrow: 64-bit numbers without nulls."""
    return column.type in _PLAIN and column.null_count == 0


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
    joined = _join_keys(batches)
    columns = _JoinedColumns(batches, types)
    return dataclasses.replace(joined, columns={name: columns[name] for name in types})


def merge_rows(batches: Sequence[Rows], types: Mapping[str, pa.DataType]) -> Rows:
    """Join batches as `concat_rows` does, and order the rows as `sort_rows` does.

    A column of the result is put together each time it is asked for: who takes them one by one never holds
    all of them.
    """
    joined = _join_keys(batches)
    order = sorted_positions(joined.codes, joined.times, joined.versions)
    keys = joined if order is None else joined.take(order)
    return dataclasses.replace(keys, columns=_JoinedColumns(batches, types, order))


def _join_keys(batches: Sequence[Rows]) -> Rows:
    series, mappings = merge_series([rows.series for rows in batches])
    codes = np.concatenate([to[rows.codes] for rows, to in zip(batches, mappings, strict=True)])
    times = np.concatenate([rows.times for rows in batches])
    versions = np.concatenate([rows.versions for rows in batches])
    return Rows(series, codes, times, versions, {})


class _JoinedColumns(Mapping[str, pa.Array]):
    """The columns of several batches end to end, or in another order; each made when it is asked for."""

    def __init__(
        self,
        batches: Sequence[Rows],
        types: Mapping[str, pa.DataType],
        order: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self._batches = batches
        self._types = types
        self._order = order

    def __getitem__(self, name: str) -> pa.Array:
        kind = self._types[name]
        column = concat_columns([_column_or_nulls(rows, name, kind) for rows in self._batches])
        return column if self._order is None else gather(column, self._order)

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)


def _column_or_nulls(rows: Rows, name: str, kind: pa.DataType) -> pa.Array:
    column = rows.columns.get(name)
    return pa.nulls(len(rows), kind) if column is None else widened(column, kind, name)


def _in_types(rows: Rows, types: Mapping[str, pa.DataType]) -> Rows:
    columns = {name: widened(column, types[name], name) for name, column in rows.columns.items()}
    same = all(column is rows.columns[name] for name, column in columns.items())
    return rows if same else dataclasses.replace(rows, columns=columns)


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


def _argsort_codes(codes: Codes) -> npt.NDArray[np.int64]:
    """Sort stably by code; NumPy does so by radix for 16-bit keys."""
    if len(codes) and codes.max() < _RADIX:
        return np.argsort(codes.astype(np.uint16), kind="stable")
    low = np.argsort((codes & (_RADIX - 1)).astype(np.uint16), kind="stable")
    return low[np.argsort((codes >> 16).astype(np.uint16)[low], kind="stable")]


def _ordered(codes: Codes, times: Times) -> bool:
    same = codes[1:] == codes[:-1]
    return bool(((codes[1:] > codes[:-1]) | (same & (times[1:] >= times[:-1]))).all())


def _strictly_ordered(codes: Codes, times: Times) -> bool:
    same = codes[1:] == codes[:-1]
    return bool(((codes[1:] > codes[:-1]) | (same & (times[1:] > times[:-1]))).all())
