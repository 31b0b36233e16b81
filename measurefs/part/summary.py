"""Summaries: what is known of the blocks of a page without decoding them (`summary.bin`).

A query that counts, sums or compares whole blocks, or wants the newest row of each series, reads some bytes of a
block's summary instead of its chunks. A page whose blocks are short has none: it would be as large as they are.
Everything is arrays with an entry per block; they are encoded, and decoded, column by column.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import columns as codec
from measurefs.codec import compute as pc
from measurefs.codec import numbers
from measurefs.codec.arrays import Array, pack_arrays, unpack_arrays
from measurefs.codec.memory import array_of
from measurefs.codec.numbers import NumberEncoding, default_encoding, unordered_encoding
from measurefs.codec.types import ColumnType
from measurefs.fs.errors import CorruptionError
from measurefs.part.blocks import MAX_BLOCK_ROWS

NULL, RAW = -1, -2
"""In the place of a code: there is no value, or it is not in the dictionary."""

_LEVEL = 4
_UNORDERED = unordered_encoding()
_INT: np.dtype[Any] = np.dtype(np.int64)
_FLOAT: np.dtype[Any] = np.dtype(np.float64)
_LENGTH = struct.Struct("<I")

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
S = TypeVar("S", bound="ColumnSummary")


class ColumnSummary(msgspec.Struct, frozen=True, eq=False):
    """What is known of one column in each of b blocks: a `NumberSummary` or a `ValueSummary`.

    Attributes
    ----------
    nulls : int64 array, shape (b,)
        How many of the block's values are null.
    """

    nulls: Ints

    def those(self, which: slice) -> Self:
        """Return some of the blocks."""
        return type(self)(*(getattr(self, name)[which] for name in self.__struct_fields__))


class NumberSummary(ColumnSummary, frozen=True, eq=False):
    """What is known of an int64, float64 or bool column (as 0 and 1); arrays of shape (b,).

    Where all values are null, `sum` and `m2` are 0, the rows are -1, and the other values say nothing.

    Attributes
    ----------
    sum : int64 or float64 array
        Of integers it is exact.
    overflow : bool array
        Where the sum of integers is not an int64, and `sum` says nothing.
    m2 : float64 array
        The sum of the squares of the deviations from the block's mean; NaN where a value is NaN or infinite, or
        where that is beyond float64.
    low, high : int64 or float64 array
        The least and the greatest value; NaN only where there is nothing else.
    first, last : int64 or float64 array
        The first and the last value that is not null.
    first_row, last_row : int64 array
        The row of each of them, counted within the block.
    """

    sum: Array
    overflow: Bools
    m2: npt.NDArray[np.float64]
    low: Array
    high: Array
    first: Array
    last: Array
    first_row: Ints
    last_row: Ints

    def encode(self) -> bytes:
        """Return what `decode` takes."""
        values = np.concatenate((self.low, self.high, self.first, self.last))
        pieces = [_pack(values, unordered_encoding(values))]
        if self.sum.dtype == np.float64:
            pieces.append(_pack(np.concatenate((self.sum, self.m2))))
        else:
            pieces += [_pack(self.sum), _pack(self.m2), _pack(self.overflow.astype(np.int64))]
        pieces.append(_pack(self.nulls))
        if self.nulls.any():
            pieces.append(_pack(np.concatenate((self.first_row, self.last_row))))
        return _framed(pieces)

    @classmethod
    def decode(cls, data: bytes, kind: ColumnType, rows: Ints, path: str) -> NumberSummary:
        """Read what `encode` wrote of blocks of so many rows; raises `CorruptionError`."""
        count = len(rows)
        dtype = _FLOAT if kind is ColumnType.FLOAT64 else _INT
        pieces = _unframed(data, path)
        low, high, first, last = _unpack(pieces, (4, count), dtype, path)
        overflow: Array = np.zeros(count, np.int64)
        if kind is ColumnType.FLOAT64:
            total, m2 = _unpack(pieces, (2, count), _FLOAT, path)
        else:
            runs = (_unpack(pieces, (1, count), each, path) for each in (_INT, _FLOAT, _INT))
            (total,), (m2,), (overflow,) = runs
        (nulls,) = _unpack(pieces, (1, count), _INT, path)
        first_row, last_row = np.zeros(count, np.int64), rows - 1
        if nulls.any():
            first_row, last_row = _unpack(pieces, (2, count), _INT, path)
        _check_rows(nulls, first_row, last_row, rows, path)
        return cls(nulls, total, overflow != 0, m2, low, high, first, last, first_row, last_row)


class ValueSummary(ColumnSummary, frozen=True, eq=False):
    """What is known of a column of strings, binaries or lists; arrays of shape (b,).

    Attributes
    ----------
    low, high : int64 array
        The least and the greatest code into the column's dictionary, all values being the same where they are
        equal; `NULL` where all values are null, `RAW` where they are not in the dictionary.
    last : int64 array
        The code of the last row, `NULL` or `RAW`.
    last_raw : pyarrow.Array
        The value of the last row where that is `RAW`, null elsewhere.
    """

    low: Ints
    high: Ints
    last: Ints
    last_raw: pa.Array

    def encode(self) -> bytes:
        """Return what `decode` takes."""
        pieces = [_pack(np.concatenate((self.nulls, self.low, self.high, self.last)))]
        raw = self.last == RAW
        if raw.any():
            values = self.last_raw.filter(pa.array(raw))
            pieces.append(codec.encode(values, default_encoding(_LEVEL)).data)
        return _framed(pieces)

    @classmethod
    def decode(cls, data: bytes, kind: ColumnType, rows: Ints, path: str) -> ValueSummary:
        """Read what `encode` wrote of blocks of so many rows; raises `CorruptionError`."""
        count = len(rows)
        pieces = _unframed(data, path)
        nulls, low, high, last = _unpack(pieces, (4, count), _INT, path)
        codes = np.concatenate((low, high, last))
        most = NULL if kind.element else np.iinfo(np.int32).max
        if ((codes < RAW) | (codes > most)).any() or ((nulls < 0) | (nulls > rows)).any():
            raise CorruptionError(path, "a summary holds impossible codes")
        raw = last == RAW
        values = pa.nulls(count, kind.arrow)
        if raw.any():
            held = codec.decode(next(pieces, b""), int(raw.sum()), kind, None, path)
            values = held.take(array_of(np.cumsum(raw) - 1, ~raw))
        return cls(nulls, low, high, last, values)


class Summary:
    """What is known of b consecutive blocks.

    Parameters
    ----------
    rows, last_versions : int64 array, shape (b,)
        How many rows each block has, and the version of its last.
    columns : mapping of str to ColumnSummary
        The tags and fields; may decode each when it is first asked for, and then raise `CorruptionError`.
    path : str
        Where it was read; for errors.
    """

    def __init__(
        self, rows: Ints, last_versions: Ints, columns: Mapping[str, ColumnSummary], path: str = ""
    ) -> None:
        self._path = path
        self.rows = rows
        self.last_versions = last_versions
        self.columns = columns

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes of memory, roughly, once all columns have been asked for."""
        return 8 * len(self) * (2 + 10 * len(self.columns))

    def numbers(self, name: str) -> NumberSummary:
        """Return what is known of an int64, float64 or bool column."""
        found = self.columns[name]
        assert isinstance(found, NumberSummary)
        return found

    def values(self, name: str) -> ValueSummary:
        """Return what is known of a column of strings, binaries or lists."""
        found = self.columns[name]
        assert isinstance(found, ValueSummary)
        return found

    def last_row(self, name: str, kind: ColumnType, dictionary: pa.Array | None = None) -> pa.Array:
        """Return a column's value in the last row of each block.

        Parameters
        ----------
        name : str
        kind : ColumnType
            The column's type.
        dictionary : pyarrow.Array, optional
            The column's, if it has one.

        Raises
        ------
        CorruptionError
            The summary is damaged.
        """
        found = self.columns[name]
        if isinstance(found, NumberSummary):
            return array_of(found.last, found.last_row != self.rows - 1).cast(kind.arrow)
        assert isinstance(found, ValueSummary)
        coded = found.last >= 0
        if not coded.any():
            return found.last_raw
        if dictionary is None or found.last.max() >= len(dictionary):
            raise CorruptionError(self._path, f"a summary of {name} points outside its dictionary")
        codes = array_of(found.last.astype(np.int32), ~coded)
        values = pa.DictionaryArray.from_arrays(codes, dictionary)
        if (found.last == RAW).any():
            return pc.coalesce(values.dictionary_decode(), found.last_raw)
        return values

    def those(self, which: slice) -> Summary:
        """Return some of the blocks."""
        columns = {name: self.columns[name].those(which) for name in self.columns}
        return Summary(self.rows[which], self.last_versions[which], columns, self._path)

    def encode(self) -> bytes:
        """Return a page's entry in `summary.bin`."""
        head = pack_arrays({"rows": self.rows.astype(np.uint16), "last_versions": self.last_versions})
        columns = {name: _encode_column(column) for name, column in self.columns.items()}
        return msgspec.msgpack.encode((head, columns))

    @classmethod
    def decode(cls, data: bytes, kinds: Mapping[str, ColumnType], path: str) -> Summary:
        """Read what `encode` wrote, the columns when they are asked for.

        Parameters
        ----------
        data : bytes
            Verified against its checksum.
        kinds : mapping
            The types of the part's tags and fields.
        path : str
            For errors.

        Raises
        ------
        CorruptionError
            It is not the summary of a page with these columns.
        """
        try:
            head, columns = msgspec.msgpack.decode(data, type=tuple[bytes, dict[str, bytes]])
        except (msgspec.DecodeError, ValueError) as error:
            raise CorruptionError(path, f"a summary cannot be read ({error})") from error
        arrays = unpack_arrays(head, path)
        if {name: array.dtype.str for name, array in arrays.items()} != cls._HEAD:
            raise CorruptionError(path, "a summary has other arrays than it must")
        rows = arrays["rows"].astype(np.int64)
        if columns.keys() != kinds.keys() or len(rows) != len(arrays["last_versions"]):
            raise CorruptionError(path, "a summary does not fit its part")
        if len(rows) and not 0 < rows.min() <= rows.max() <= MAX_BLOCK_ROWS:
            raise CorruptionError(path, "a summary tells of blocks of impossible sizes")
        return cls(rows, arrays["last_versions"], _Encoded(columns, kinds, rows, path), path)

    _HEAD: ClassVar[dict[str, str]] = {"rows": "<u2", "last_versions": "<i8"}


class _Encoded(Mapping[str, ColumnSummary]):
    """The columns of a summary, each decoded when it is first asked for."""

    def __init__(
        self, encoded: Mapping[str, bytes], kinds: Mapping[str, ColumnType], rows: Ints, path: str
    ) -> None:
        self._encoded = encoded
        self._kinds = kinds
        self._rows = rows
        self._path = path
        self._known: dict[str, ColumnSummary] = {}

    def __getitem__(self, name: str) -> ColumnSummary:
        known = self._known.get(name)
        if known is None:
            kind = self._kinds[name]
            of: type[NumberSummary | ValueSummary] = NumberSummary if kind.is_number else ValueSummary
            known = self._known[name] = of.decode(self._encoded[name], kind, self._rows, self._path)
        return known

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


def join_summaries(pieces: Sequence[Summary | None]) -> Summary | None:
    """Join summaries of blocks that follow one another; None if one of them is unknown."""
    known = [piece for piece in pieces if piece is not None]
    if len(known) < len(pieces):
        return None
    if len(known) == 1:
        return known[0]
    columns = {name: join_columns([piece.columns[name] for piece in known]) for name in known[0].columns}
    return Summary(
        np.concatenate([piece.rows for piece in known]),
        np.concatenate([piece.last_versions for piece in known]),
        columns,
    )


def join_columns(pieces: Sequence[S]) -> S:
    """Join what is known of one column in blocks that follow one another."""
    if len(pieces) == 1:
        return pieces[0]
    fields = ([getattr(piece, name) for piece in pieces] for name in pieces[0].__struct_fields__)
    return type(pieces[0])(*(_joined(arrays) for arrays in fields))


def _joined(arrays: Sequence[Any]) -> Any:
    return np.concatenate(arrays) if isinstance(arrays[0], np.ndarray) else pa.concat_arrays(arrays)


# Encoding them.


def _encode_column(column: ColumnSummary) -> bytes:
    assert isinstance(column, NumberSummary | ValueSummary)
    return column.encode()


def _pack(values: Array, encoding: NumberEncoding = _UNORDERED) -> bytes:
    """Encode a run of numbers; nothing at all for zeros."""
    if not values.view(np.int64).any():
        return b""
    return numbers.encode(values, encoding).data


def _framed(pieces: Sequence[bytes]) -> bytes:
    return b"".join(_LENGTH.pack(len(piece)) + piece for piece in pieces)


def _unframed(data: bytes, path: str) -> Iterator[bytes]:
    offset = 0
    while offset < len(data):
        if offset + _LENGTH.size > len(data):
            raise CorruptionError(path, "a summary is cut short")
        (size,) = _LENGTH.unpack_from(data, offset)
        offset += _LENGTH.size
        yield data[offset : offset + size]
        offset += size


def _unpack(
    pieces: Iterator[bytes], shape: tuple[int, int], dtype: np.dtype[Any], path: str
) -> npt.NDArray[Any]:
    """Return the next piece as an array of that shape; an empty one is all zeros."""
    out = np.zeros(shape[0] * shape[1], dtype)
    if data := next(pieces, b""):
        numbers.decode_into(data, out, path)
    return out.reshape(shape)


def _check_rows(nulls: Ints, first: Ints, last: Ints, rows: Ints, path: str) -> None:
    inside = (first >= NULL) & (first <= last) & (last < rows)
    if not (inside & (nulls >= 0) & (nulls <= rows) & ((nulls == rows) == (last == NULL))).all():
        raise CorruptionError(path, "a summary names impossible rows")
