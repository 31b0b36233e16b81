"""Column chunks: a run of one column's values as bytes, with what can be known without decoding them.

A chunk is a flag byte, then (where there are nulls) the validity bits, then the values that are not null:

========================  ====================================================================
int64, float64, bool      one run of numbers
string, binary            a run of codes into the column's dictionary; or lengths and bytes
lists                     a run of lengths and the elements, as a chunk of their own
========================  ====================================================================

A null, an empty value and a missing column stay three different things.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import numbers
from measurefs.codec.memory import array_of, new_array
from measurefs.codec.numbers import NumberEncoding
from measurefs.codec.types import ColumnType
from measurefs.codec.zstd import MOST_EXPANSION, compress, decompress
from measurefs.fs.errors import CorruptionError

_HAS_NULLS, _CODES, _ALL_NULL = 1, 2, 4
_ALL_NUMBERS, _ALL_CODES = bytes((0,)), bytes((_CODES,))
_LENGTH = struct.Struct("<I")
_PLAIN = (pa.int64(), pa.float64())


class Chunk(NamedTuple):
    """An encoded run of values and its statistics.

    Attributes
    ----------
    data : bytes
        What `decode` takes.
    nulls : int
        How many of the values are null.
    low, high : int
        The bits of the least and the greatest value (int64, float64 without NaN, bool, codes); 0 elsewhere.
    """

    data: bytes
    nulls: int
    low: int
    high: int


def values_of(column: pa.Array) -> npt.NDArray[Any]:
    """Return a number column's values as an array; what stands at nulls is unspecified.

    Without a copy, except for bools, which become int64.
    """
    if column.type == pa.bool_():
        return np.asarray(column.cast(pa.int8()).fill_null(0)).astype(np.int64)
    dtype = np.float64 if column.type == pa.float64() else column.type.to_pandas_dtype()
    data = column.buffers()[1]
    if data is None or len(column) == 0:
        return np.empty(0, dtype)
    return np.frombuffer(data, dtype, len(column), column.offset * np.dtype(dtype).itemsize)


def numbers_of(column: pa.Array) -> npt.NDArray[Any]:
    """Return the int64 or float64 values by which a column's encoding is chosen (those that are not null)."""
    if pa.types.is_dictionary(column.type):
        column = column.indices
    elif pa.types.is_list(column.type) or not ColumnType(_name(column.type)).is_number:
        return np.empty(0, np.int64)
    valid = column.drop_null() if column.null_count else column
    values = values_of(valid)
    return values.astype(np.int64) if values.dtype == np.int32 else values


def encode(column: pa.Array | npt.NDArray[Any], encoding: NumberEncoding, *, codes: bool = False) -> Chunk:
    """Encode one chunk.

    Parameters
    ----------
    column : pyarrow.Array, or int64 or float64 array
        At least one value, of a `ColumnType`'s Arrow type or a dictionary of string or binary with int32
        codes. The dictionary itself is not stored here. `plain` gives the array for a column without nulls.
    encoding : NumberEncoding
        For the numbers (or codes) in it.
    codes : bool
        An array holds the codes of a dictionary.
    """
    if isinstance(column, np.ndarray):
        data, low, high = numbers.encode(column, encoding)
        return Chunk((_ALL_CODES if codes else _ALL_NUMBERS) + data, 0, low, high)
    nulls = column.null_count
    if nulls == len(column):
        return Chunk(bytes((_ALL_NULL,)), nulls, 0, 0)
    head = b""
    if nulls:
        bits = compress(np.packbits(np.asarray(column.is_valid())).tobytes())
        head = _LENGTH.pack(len(bits)) + bits
        column = column.drop_null()
    is_coded = pa.types.is_dictionary(column.type)
    flags = (_HAS_NULLS if nulls else 0) | (_CODES if is_coded else 0)
    body, low, high = _encode_values(column.indices if is_coded else column, encoding)
    return Chunk(bytes((flags,)) + head + body, nulls, low, high)


def encode_runs(
    values: npt.NDArray[Any], bounds: Sequence[int], encoding: NumberEncoding, *, codes: bool = False
) -> list[Chunk]:
    """Encode consecutive chunks of an int64 or float64 array that holds no nulls, each as `encode` does."""
    flag = _ALL_CODES if codes else _ALL_NUMBERS
    return [
        Chunk(flag + run.data, 0, run.low, run.high) for run in numbers.encode_runs(values, bounds, encoding)
    ]


def plain(column: pa.Array) -> pa.Array | npt.NDArray[Any]:
    """Return a column of numbers without nulls as their array, one of codes as theirs (int64), any other as it is."""
    if column.null_count:
        return column
    if pa.types.is_dictionary(column.type):
        return values_of(column.indices).astype(np.int64)
    return values_of(column) if is_plain(column) else column


def is_plain(column: pa.Array) -> bool:
    """Whether a column is what NumPy is better at than Arrow: 64-bit numbers without nulls."""
    return column.type in _PLAIN and column.null_count == 0


def coded(column: pa.Array, sample: int, repeats: int) -> pa.Array:
    """Return strings or binaries as a dictionary if each value of a sample stands so often in it on average."""
    if not (pa.types.is_string(column.type) or pa.types.is_binary(column.type)):
        return column
    first = column[:sample]
    return column.dictionary_encode() if len(first.unique()) * repeats <= len(first) else column


def _encode_values(column: pa.Array, encoding: NumberEncoding) -> tuple[bytes, int, int]:
    kind = column.type
    if pa.types.is_list(kind):
        return _encode_list(column, encoding), 0, 0
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return _encode_bytes(column, encoding), 0, 0
    stored: np.dtype[Any] = np.dtype(np.float64 if kind == pa.float64() else np.int64)
    return numbers.encode(values_of(column).astype(stored, copy=False), encoding)


def _encode_bytes(column: pa.Array, encoding: NumberEncoding) -> bytes:
    offsets = _offsets(column)
    lengths = numbers.encode(np.diff(offsets).astype(np.int64), encoding).data
    data = column.buffers()[2]
    raw = memoryview(data)[int(offsets[0]) : int(offsets[-1])] if data is not None else b""
    return _LENGTH.pack(len(lengths)) + lengths + compress(raw)


def _encode_list(column: pa.Array, encoding: NumberEncoding) -> bytes:
    offsets = _offsets(column)
    lengths = numbers.encode(np.diff(offsets).astype(np.int64), encoding).data
    elements = column.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    child = encode(elements, encoding).data if len(elements) else b""
    return _LENGTH.pack(len(lengths)) + lengths + child


def _offsets(column: pa.Array) -> npt.NDArray[np.int32]:
    return np.frombuffer(column.buffers()[1], np.int32, len(column) + 1, column.offset * 4)


def decode(data: bytes, rows: int, kind: ColumnType, dictionary: pa.Array | None, path: str) -> pa.Array:
    """Decode one chunk of so many rows.

    Parameters
    ----------
    data : bytes
        What `encode` gave, verified against its checksum.
    dictionary : pyarrow.Array or None
        The column's dictionary, for chunks of codes; the result is then a dictionary array.

    Raises
    ------
    CorruptionError
        The bytes do not decode to that many values of that type.
    """
    try:
        return _decode(data, rows, kind, dictionary, path)
    except (struct.error, ValueError, IndexError, MemoryError, pa.ArrowException) as error:
        raise CorruptionError(path, f"a chunk cannot be read ({error})") from error


def _decode(data: bytes, rows: int, kind: ColumnType, dictionary: pa.Array | None, path: str) -> pa.Array:
    flags = data[0]
    if flags & _ALL_NULL:
        return pa.nulls(rows, kind.arrow)
    valid, body = None, data[1:]
    if flags & _HAS_NULLS:
        valid, body = _decode_validity(body, rows, path)
    count = rows if valid is None else int(np.count_nonzero(valid))
    if flags & _CODES:
        if dictionary is None:
            raise CorruptionError(path, "a chunk of codes stands in a column without a dictionary")
        column = _coded([body], [(0, count)], dictionary, path)
    elif kind.is_number:
        column = _decode_numbers(body, count, kind, path)
    elif kind.element is not None:
        column = _decode_list(body, count, kind, path)
    else:
        column = _decode_bytes(body, count, kind, path)
    return column if valid is None else _spread(column, valid)


def decode_numbers(
    chunks: Sequence[bytes], out: npt.NDArray[Any], bounds: Sequence[tuple[int, int]], path: str
) -> None:
    """Decode chunks of int64 or float64 values without nulls straight into parts of an array.

    Raises
    ------
    CorruptionError
        One has nulls, or does not decode to that many values; see `numbers.decode_runs`.
    """
    numbers.decode_runs(_bodies(chunks, 0, path), out, bounds, path)


def decode_number_parts(
    chunks: Sequence[bytes],
    sizes: Sequence[int],
    parts: Sequence[tuple[int, int, int]],
    out: npt.NDArray[Any],
    path: str,
) -> None:
    """Decode some values of several chunks; see `numbers.decode_parts`, and raises as that does."""
    numbers.decode_parts(_bodies(chunks, 0, path), sizes, parts, out, path)


def decode_codes(
    chunks: Sequence[bytes], bounds: Sequence[tuple[int, int]], dictionary: pa.Array, path: str
) -> pa.Array:
    """Decode chunks of codes without nulls, one after another, as a dictionary array; raises as `decode_numbers`."""
    return _coded(_bodies(chunks, _CODES, path), bounds, dictionary, path)


def _bodies(chunks: Sequence[bytes], flags: int, path: str) -> list[bytes]:
    """Return what follows the flag byte, which says what the index says."""
    head = bytes((flags,))
    if any(chunk[:1] != head for chunk in chunks):
        raise CorruptionError(path, "a chunk has nulls of which its index does not know")
    return [chunk[1:] for chunk in chunks]


def is_coded(data: bytes) -> bool:
    """Whether a chunk of strings holds codes, all of them (a chunk of nulls holds nothing)."""
    return bool(data) and bool(data[0] & _CODES)


def encode_dictionary(dictionary: pa.Array, encoding: NumberEncoding) -> bytes:
    """Encode a column's distinct values: their number, and a chunk of them."""
    count = _LENGTH.pack(len(dictionary))
    return count + encode(dictionary, encoding).data if len(dictionary) else count


def decode_dictionary(data: bytes, kind: ColumnType, path: str) -> pa.Array:
    """Decode what `encode_dictionary` wrote; raises `CorruptionError`."""
    count = int.from_bytes(data[: _LENGTH.size], "little")
    if count > MOST_EXPANSION * len(data):  # they differ, so all but one have a byte
        raise CorruptionError(path, f"a dictionary claims to have {count} values, which it cannot")
    return decode(data[_LENGTH.size :], count, kind, None, path) if count else pa.nulls(0, kind.arrow)


def _decode_validity(body: bytes, rows: int, path: str) -> tuple[npt.NDArray[np.bool_], bytes]:
    bits, rest = _split(body)
    packed = np.frombuffer(decompress(bits, path), np.uint8)
    if len(packed) != -(-rows // 8):
        raise CorruptionError(path, f"a chunk has {len(packed)} bytes of validity for {rows} rows")
    return np.unpackbits(packed, count=rows).astype(np.bool_), rest


def _decode_numbers(body: bytes, count: int, kind: ColumnType, path: str) -> pa.Array:
    out: npt.NDArray[Any] = np.empty(count, np.float64 if kind is ColumnType.FLOAT64 else np.int64)
    numbers.decode_into(body, out, path)
    return pa.array(out.astype(np.bool_)) if kind is ColumnType.BOOL else array_of(out)


def _coded(
    bodies: Sequence[bytes], bounds: Sequence[tuple[int, int]], dictionary: pa.Array, path: str
) -> pa.Array:
    codes = new_array(bounds[-1][1], np.int64)
    numbers.decode_runs(bodies, codes, bounds, path)
    if len(codes) and not (codes.min() >= 0 and codes.max() < len(dictionary)):
        raise CorruptionError(path, "a chunk of codes points outside its dictionary")
    return pa.DictionaryArray.from_arrays(array_of(codes.astype(np.int32)), dictionary, safe=False)


def _decode_bytes(body: bytes, count: int, kind: ColumnType, path: str) -> pa.Array:
    data = decompress(_split(body)[1], path)  # first: it cannot claim what it does not hold, the lengths can
    offsets, _ = _decode_offsets(body, count, path)
    if len(data) != offsets[-1]:
        raise CorruptionError(path, f"a chunk of bytes holds {len(data)} instead of {offsets[-1]}")
    return pa.Array.from_buffers(kind.arrow, count, [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _decode_list(body: bytes, count: int, kind: ColumnType, path: str) -> pa.Array:
    assert kind.element is not None
    offsets, rest = _decode_offsets(body, count, path)
    total = int(offsets[-1])
    elements = _decode(rest, total, kind.element, None, path) if total else pa.nulls(0, kind.element.arrow)
    return pa.ListArray.from_arrays(array_of(offsets), elements)


def _decode_offsets(body: bytes, count: int, path: str) -> tuple[npt.NDArray[np.int32], bytes]:
    stream, rest = _split(body)
    lengths = np.empty(count, np.int64)
    numbers.decode_into(stream, lengths, path)
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if (lengths < 0).any() or offsets[-1] > np.iinfo(np.int32).max:
        raise CorruptionError(path, "a chunk holds impossible lengths")
    return offsets.astype(np.int32), rest


def _split(body: bytes) -> tuple[bytes, bytes]:
    (size,) = _LENGTH.unpack_from(body)
    return body[_LENGTH.size : _LENGTH.size + size], body[_LENGTH.size + size :]


def _spread(column: pa.Array, valid: npt.NDArray[np.bool_]) -> pa.Array:
    """Put the values where valid is true and nulls elsewhere."""
    positions = np.cumsum(valid) - 1
    return column.take(pa.array(positions, mask=~valid))


def _name(kind: pa.DataType) -> str:
    return next(known.value for known in ColumnType if known.arrow == kind)
