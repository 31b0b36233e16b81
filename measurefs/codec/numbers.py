"""Runs of int64 or float64 values <-> bytes, through pcodec.

Half of pcodec's encoding time goes into the search for a mode and a delta order. A column keeps both for
long, so they are chosen once from a sample (`choose`) and passed to every chunk (`encode`). Floats that are
decimals (12.34) are stored as the integers 1234 with the number of decimals, where that gives back every bit.
Values that mostly repeat the one before are stored once for each stretch, with its length. `RAW` leaves out
pcodec, for what is read seldom and soon written again.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from pcodec import ChunkConfig, DeltaSpec, ModeSpec, standalone

from measurefs.codec.memory import new_array
from measurefs.fs.errors import CorruptionError

Numbers = npt.NDArray[np.int64] | npt.NDArray[np.float64]

_CONSTANT, _PCO, _REPEATED, _RAW = 0, 1, 2, 3
_BATCH = 256
"""pcodec decodes so many values at a time."""
_STRETCH = 8
"""Values are repeated if they stay the same for so long, on average."""

_NO_DECIMALS = 255
_MAX_DECIMALS = 6
_SAMPLES, _SAMPLE = 2, 1024
_FEW = 64
_QUICK_LEVELS = 2
_FEW_BYTES = 1 / 16
"""What a value may take more for the sake of speed, however little it takes."""

_WIDTHS: tuple[np.dtype[Any], ...] = (np.dtype("<i2"), np.dtype("<i4"), np.dtype("<i8"), np.dtype("<f8"))
_INTEGER_LIMITS = ((_WIDTHS[0], 2**15), (_WIDTHS[1], 2**31))
_TOO_LARGE = 2.0**63
_FLOAT_WIDTH = 3
_HEADER = struct.Struct("<BBB")
_REPEATED_HEADER = struct.Struct("<BII")
_TWO_FLOATS, _TWO_INTEGERS = struct.Struct("<dd"), struct.Struct("<qq")
_CONSTANT_BYTE, _REPEATED_BYTE = _STRETCHES = bytes((_CONSTANT,)), bytes((_REPEATED,))
_RAW_BYTE = bytes((_RAW,))


class NumberEncoding(msgspec.Struct, frozen=True):
    """How a column's values are encoded.

    Attributes
    ----------
    integers, floats : pcodec.ChunkConfig or None
        For values stored as integers, and for floats that are not decimals. None to store them as they are.
    decimals : int or None
        Floats are tried as integers scaled by ``10**decimals``.
    repeated : bool
        Stretches of the same value are looked for.
    """

    integers: ChunkConfig | None
    floats: ChunkConfig | None
    decimals: int | None = None
    repeated: bool = False


RAW = NumberEncoding(None, None)
"""Integers in as few bytes as all of a chunk need, and floats as they are; see `raw_encoding`."""


def default_encoding(level: int) -> NumberEncoding:
    """Return the encoding for a column of which nothing is known: quick to apply, rarely the smallest."""
    return NumberEncoding(
        _config(level, ModeSpec.classic(), DeltaSpec.try_consecutive(1)), ChunkConfig(compression_level=level)
    )


def unordered_encoding(values: Numbers | None = None) -> NumberEncoding:
    """Return an encoding for values that have nothing to do with their neighbours: quick to find, and to apply.

    Parameters
    ----------
    values : int64 or float64 array, optional
        Some that are decimals exactly if all are likely to be.
    """
    if values is None or values.dtype != np.float64:
        return _UNORDERED
    few = values[:_FEW]
    with np.errstate(invalid="ignore", over="ignore"):
        fitting = (d for d in range(_MAX_DECIMALS + 1) if (np.rint(few * 10.0**d) / 10.0**d == few).all())
        return msgspec.structs.replace(_UNORDERED, decimals=next(fitting, None))


def raw_encoding(values: Numbers) -> NumberEncoding:
    """Return the encoding without compression for values like these: `RAW`, but decimals as such integers."""
    return msgspec.structs.replace(RAW, decimals=unordered_encoding(values).decimals)


def choose(values: Numbers, level: int, slack: float = 1.0) -> NumberEncoding:
    """Choose an encoding by trying the likely ones on a sample; any choice is correct for any values.

    Parameters
    ----------
    values : int64 or float64 array, shape (n,)
        Values of the column, neighbours as they will be in its chunks.
    level : int
        pcodec's compression level, 0 to 12.
    slack : float
        The lowest level is taken, which is several times as quick, whose result is not more than so many times as
        large as that of the level asked for.
    """
    samples = _samples(values)
    if not samples:
        return default_encoding(level)
    bits = [each.view(np.int64) for each in samples]
    changes = sum(np.count_nonzero(each[1:] != each[:-1]) for each in bits)
    repeated = int(changes + len(samples)) * _STRETCH <= sum(map(len, samples))
    if values.dtype == np.int64:
        integers = _smallest(samples, _integer_configs(samples), level, slack)
        return NumberEncoding(integers, ChunkConfig(level), repeated=repeated)
    floats = _smallest(samples, _float_configs(), level, slack)
    decimals = _count_decimals(np.concatenate(samples).view(np.float64))
    if decimals is None:
        return NumberEncoding(default_encoding(level).integers, floats, repeated=repeated)
    scaled = [np.rint(each * 10.0**decimals).astype(np.int64) for each in samples]
    return NumberEncoding(
        _smallest(scaled, _integer_configs(scaled), level, slack), floats, decimals, repeated
    )


def _samples(values: Numbers) -> list[Numbers]:
    """Return some stretches of neighbours from all over a column: its first series may be unlike the others."""
    if len(values) <= _SAMPLES * _SAMPLE:
        return [values] if len(values) else []
    starts = [len(values) * (2 * nth + 1) // (2 * _SAMPLES) - _SAMPLE // 2 for nth in range(_SAMPLES)]
    return [values[start : start + _SAMPLE] for start in starts]


class Encoded(NamedTuple):
    """A run of values as bytes, with the bits of its least and greatest value (NaN left out)."""

    data: bytes
    low: int
    high: int


def encode(values: Numbers, encoding: NumberEncoding) -> Encoded:
    """Encode a contiguous run of at least one value; `decode_into` gives back every bit of it."""
    bits = values.view(np.int64)
    if bits[0] == bits[-1] and (bits == bits[0]).all():
        return Encoded(_CONSTANT_BYTE + bits[:1].tobytes(), int(bits[0]), int(bits[0]))
    if encoding.repeated:
        changes = np.flatnonzero(bits[1:] != bits[:-1])
        if len(changes) * _STRETCH < len(bits):
            return _encode_repeated(values, changes + 1, encoding)
    if values.dtype == np.int64:
        least, most = int(np.minimum.reduce(bits)), int(np.maximum.reduce(bits))
        narrow = bits.astype(_narrowest(least, most), copy=False)
        return Encoded(_pack(narrow, encoding.integers, _NO_DECIMALS), least, most)
    floats = values.view(np.float64)
    low, high = _ends(floats)
    if encoding.decimals is not None and (scaled := _scale(floats, encoding.decimals, low, high)) is not None:
        return Encoded(_pack(scaled, encoding.integers, encoding.decimals), *_bits(low, high))
    if math.isnan(low):
        low, high = np.fmin.reduce(floats), np.fmax.reduce(floats)
    return Encoded(_pack(floats, encoding.floats, _NO_DECIMALS), *_bits(low, high))


def encode_runs(values: Numbers, bounds: Sequence[int], encoding: NumberEncoding) -> list[Encoded]:
    """Encode consecutive runs, each as `encode` does, but prepare all of them together.

    Parameters
    ----------
    values : int64 or float64 array, shape (n,)
        Contiguous.
    bounds : sequence of int
        Where each run of at least one value begins, and at the end n.
    """
    runs = list(itertools.pairwise(bounds))
    if len(runs) == 1 or encoding.repeated:  # then most are not prepared at all
        return [encode(values[first:last], encoding) for first, last in runs]
    bits, starts = values.view(np.int64), np.array(bounds[:-1])
    if values.dtype == np.int64:
        lows, highs = np.minimum.reduceat(bits, starts), np.maximum.reduceat(bits, starts)
        stored: npt.NDArray[Any] | None = bits.astype(
            _narrowest(int(lows.min()), int(highs.max())), copy=False
        )
        config, decimals = encoding.integers, _NO_DECIMALS
    else:
        floats = values.view(np.float64)
        ends = np.minimum.reduceat(floats, starts), np.maximum.reduceat(floats, starts)
        lows, highs = (each.view(np.int64) for each in ends)
        stored, config, decimals = floats, encoding.floats, _NO_DECIMALS
        if encoding.decimals is not None:
            stored = _scale(floats, encoding.decimals, float(ends[0].min()), float(ends[1].max()))
            config, decimals = encoding.integers, encoding.decimals
        elif np.isnan(ends[0]).any():
            stored = None
    if stored is None:
        return [encode(values[first:last], encoding) for first, last in runs]
    differs = (bits[starts] != bits[np.array(bounds[1:]) - 1]).tolist()
    return [
        Encoded(_pack(stored[first:last], config, decimals), low, high)
        if several
        else encode(values[first:last], encoding)
        for (first, last), several, low, high in zip(
            runs, differs, lows.tolist(), highs.tolist(), strict=True
        )
    ]


def _encode_repeated(values: Numbers, changes: npt.NDArray[np.int64], encoding: NumberEncoding) -> Encoded:
    """Encode stretches of the same value; changes are where each but the first begins."""
    bounds = np.concatenate(([0], changes, [len(values)]))
    each = encode(values[bounds[:-1]], msgspec.structs.replace(encoding, repeated=False))
    lengths = encode(bounds[1:] - bounds[:-1], _UNORDERED).data
    head = _REPEATED_HEADER.pack(_REPEATED, len(bounds) - 1, len(each.data))
    return Encoded(b"".join((head, each.data, lengths)), each.low, each.high)


def _ends(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the least and the greatest value, NaN if there is any among them."""
    return float(np.minimum.reduce(values)), float(np.maximum.reduce(values))


def _bits(low: float, high: float) -> tuple[int, int]:
    first, second = _TWO_INTEGERS.unpack(_TWO_FLOATS.pack(low, high))
    return first, second


def decode_into(data: bytes, out: Numbers, path: str) -> None:
    """Decode a run into out, which has exactly its length and type; see `decode_runs`."""
    decode_runs([data], out, [(0, len(out))], path)


def decode_runs(runs: Sequence[bytes], out: Numbers, bounds: Sequence[tuple[int, int]], path: str) -> None:
    """Decode several runs into parts of an array; neighbours that are stored alike are converted together.

    Parameters
    ----------
    runs : sequence of bytes
        What `encode` gave.
    out : int64 or float64 array
        Of their type.
    bounds : sequence of (int, int)
        Where in it each belongs, increasing: its first position, and the one behind its last.
    path : str
        For errors.

    Raises
    ------
    CorruptionError
        The bytes do not decode to that many values.
    """
    stored: dict[tuple[int, int], list[tuple[int, int]]] = {}
    scratch: dict[int, npt.NDArray[Any]] = {}
    try:
        first, last = bounds[0][0], bounds[-1][1]
        for data, (start, stop) in zip(runs, bounds, strict=True):
            if data[:1] in _STRETCHES:
                _decode_stretches(data, out[start:stop], path)
                continue
            width, decimals = _stored_as(data, out.dtype, path)
            if _WIDTHS[width] == out.dtype and decimals == _NO_DECIMALS:
                _decompress(data, out[start:stop], path)
                continue
            if width not in scratch:
                scratch[width] = new_array(last - first, _WIDTHS[width])
            _decompress(data, scratch[width][start - first : stop - first], path)
            spans = stored.setdefault((width, decimals), [])
            if spans and spans[-1][1] == start:
                spans[-1] = spans[-1][0], stop
            else:
                spans.append((start, stop))
    except (struct.error, ValueError, IndexError, RuntimeError, TypeError) as error:
        raise CorruptionError(path, f"a chunk of numbers cannot be read ({error})") from error
    for (width, decimals), spans in stored.items():
        for start, stop in spans:
            values = scratch[width][start - first : stop - first]
            if decimals == _NO_DECIMALS:
                out[start:stop] = values
            else:
                np.divide(values, 10.0**decimals, out=out[start:stop])


def decode_parts(
    runs: Sequence[bytes],
    sizes: Sequence[int],
    parts: Sequence[tuple[int, int, int]],
    out: Numbers,
    path: str,
) -> None:
    """Decode some stretches of consecutive values of several runs, one after another, and little else.

    Parameters
    ----------
    runs : sequence of bytes
        What `encode` gave.
    sizes : sequence of int
        How many values each has.
    parts : sequence of (int, int, int)
        In order, the number of a run, the first value that is wanted of it, and the one behind the last.
    out : int64 or float64 array
        Of their type, and as long as the parts together.

    Raises
    ------
    CorruptionError
        The bytes do not decode to that many values.
    """
    ends = {number: last for number, _, last in parts}
    buffer = np.empty(max(sizes, default=0), np.int64)
    start, current, values, scale = 0, -1, out[:0], 1.0
    try:
        for number, first, last in parts:
            if number != current:
                current = number
                values, scale = _beginning(runs[number], sizes[number], ends[number], buffer, out.dtype, path)
            target = out[start : start + last - first]
            start += last - first
            if scale == 1.0:
                target[:] = values[first:last]
            else:
                np.divide(values[first:last], scale, out=target)
    except (struct.error, ValueError, IndexError, RuntimeError, TypeError) as error:
        raise CorruptionError(path, f"a chunk of numbers cannot be read ({error})") from error


def _beginning(
    data: bytes, size: int, count: int, buffer: npt.NDArray[Any], kind: np.dtype[Any], path: str
) -> tuple[npt.NDArray[Any], float]:
    """Decode at least so many of the first values of a run into a buffer; return them, and what to divide them by."""
    if data[:1] in _STRETCHES:
        every: Numbers = buffer[:size].view(kind)
        _decode_stretches(data, every, path)
        return every, 1.0
    width, decimals = _stored_as(data, kind, path)
    values = buffer.view(_WIDTHS[width])[: min(-(-count // _BATCH) * _BATCH, size)]
    _decompress(data, values, path)
    return values, 1.0 if decimals == _NO_DECIMALS else 10.0**decimals


def _stored_as(data: bytes, kind: np.dtype[Any], path: str) -> tuple[int, int]:
    """Return the stored width, and the number of decimals."""
    _, width, decimals = _HEADER.unpack_from(data)
    if kind != np.float64 and (width == _FLOAT_WIDTH or decimals != _NO_DECIMALS):
        raise CorruptionError(path, "a chunk holds floats instead of integers")
    if width == _FLOAT_WIDTH and decimals != _NO_DECIMALS:
        raise CorruptionError(path, "a chunk holds floats that claim to be decimals")
    return width, decimals


def _decode_stretches(data: bytes, target: Numbers, path: str) -> None:
    if data[:1] == _CONSTANT_BYTE:
        target.view(np.int64)[:] = np.frombuffer(data, "<i8", 1, 1)
        return
    _, count, size = _REPEATED_HEADER.unpack_from(data)
    if count > len(target):
        raise CorruptionError(
            path, f"a chunk of {len(target)} values claims to have {count} different stretches"
        )
    first, behind = _REPEATED_HEADER.size, _REPEATED_HEADER.size + size
    if _REPEATED_BYTE in (data[first : first + 1], data[behind : behind + 1]):
        raise CorruptionError(path, "a chunk holds stretches of stretches, which are never written")
    each, lengths = np.empty(count, target.dtype), np.empty(count, np.int64)
    decode_into(data[first:behind], each, path)
    decode_into(data[behind:], lengths, path)
    if lengths.min() < 1 or lengths.max() > len(target) or lengths.sum() != len(target):
        raise CorruptionError(path, f"a chunk of {len(target)} values holds stretches of other lengths")
    target[:] = np.repeat(each, lengths)


def _decompress(data: bytes, target: npt.NDArray[Any], path: str) -> None:
    if data[:1] == _RAW_BYTE:
        target[:] = np.frombuffer(data, target.dtype, len(target), _HEADER.size)
        return
    progress = standalone.simple_decompress_into(data[_HEADER.size :], target)
    if progress.n_processed != len(target):
        raise CorruptionError(path, f"a chunk holds {progress.n_processed} values instead of {len(target)}")


def _pack(values: npt.NDArray[Any], config: ChunkConfig | None, decimals: int) -> bytes:
    kind = _PCO if config is not None else _RAW
    header = _HEADER.pack(kind, _WIDTHS.index(values.dtype), decimals)
    if config is None:
        return header + values.tobytes()
    try:
        body = standalone.simple_compress(values, config)
    except RuntimeError:
        # The mode was chosen for larger values: of 65536 nothing that has 16 bits is a multiple.
        body = standalone.simple_compress(values, ChunkConfig(config.compression_level))
    return b"".join((header, body))


def _narrowest(low: int, high: int) -> np.dtype[Any]:
    """Return the narrowest stored type: pcodec is up to twice as fast on 32 bits as on 64."""
    for width, limit in _INTEGER_LIMITS:
        if -limit <= low and high < limit:
            return width
    return _WIDTHS[2]


def _scale(
    values: npt.NDArray[np.float64], decimals: int, low: float, high: float
) -> npt.NDArray[Any] | None:
    """Return values times ``10**decimals`` as integers if dividing gives back every bit, else None.

    Low and high are their `_ends`.
    """
    power = 10.0**decimals
    if not (low * power >= -_TOO_LARGE and high * power < _TOO_LARGE):  # nor is there a NaN
        return None
    scaled = values * power
    np.rint(scaled, out=scaled)
    integers = scaled.astype(_narrowest(round(low * power), round(high * power)))
    np.divide(integers, power, out=scaled)
    return integers if (scaled.view(np.int64) == values.view(np.int64)).all() else None


def _count_decimals(sample: Numbers) -> int | None:
    floats = sample.view(np.float64)
    ends = _ends(floats)
    return next((d for d in range(_MAX_DECIMALS + 1) if _scale(floats, d, *ends) is not None), None)


def _config(level: int, mode: ModeSpec, delta: DeltaSpec) -> ChunkConfig:
    return ChunkConfig(compression_level=level, mode_spec=mode, delta_spec=delta)


_UNORDERED = NumberEncoding(*(_config(0, ModeSpec.classic(), DeltaSpec.no_op()) for _ in range(2)))


def _integer_configs(samples: Sequence[npt.NDArray[Any]]) -> Iterator[tuple[ModeSpec, DeltaSpec]]:
    modes = [ModeSpec.classic()]
    step = math.gcd(*np.unique(np.concatenate([np.diff(each.astype(np.int64)) for each in samples])).tolist())
    if step > 1:
        modes.append(ModeSpec.try_int_mult(step))
    for mode in modes:
        for delta in (DeltaSpec.try_consecutive(1), DeltaSpec.no_op(), DeltaSpec.try_consecutive(2)):
            yield mode, delta


def _float_configs() -> Iterator[tuple[ModeSpec, DeltaSpec]]:
    yield ModeSpec.classic(), DeltaSpec.no_op()
    yield ModeSpec.classic(), DeltaSpec.try_consecutive(1)
    yield ModeSpec.auto(), DeltaSpec.no_op()


def _smallest(
    samples: Sequence[npt.NDArray[Any]], specs: Iterator[tuple[ModeSpec, DeltaSpec]], level: int, slack: float
) -> ChunkConfig:
    """Return what makes least of samples, or something quicker that makes little more of them."""

    def size(config: ChunkConfig) -> int:
        return sum(len(standalone.simple_compress(each, config)) for each in samples)

    tried = list(specs)
    sizes = [size(_config(level, *spec)) for spec in tried]
    least = min(sizes)
    if slack > 1.0:
        enough = slack * least + sum(map(len, samples)) * _FEW_BYTES
        for lower in range(min(level, _QUICK_LEVELS)):
            for spec in tried:
                if size(_config(lower, *spec)) <= enough:
                    return _config(lower, *spec)
    return _config(level, *tried[sizes.index(least)])
