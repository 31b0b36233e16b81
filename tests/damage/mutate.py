"""Inputs for decoders: random bytes, and valid ones with something wrong in them."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

import numpy as np

from measurefs.codec.arrays import Array

_NUMBERS = [
    0,
    1,
    2,
    127,
    128,
    255,
    2**15,
    2**16,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**63 - 1,
    2**63,
    2**64 - 1,
]
_WORDS = [
    "-1",
    "0",
    "1",
    "null",
    "true",
    '""',
    "[]",
    "{}",
    "1.5",
    "1e999",
    str(2**31),
    str(2**62),
    str(2**63),
    str(2**64),
    "9" * 400,
]
_DIGITS = re.compile(rb"-?\d+")
_DTYPES = ["?", "<i1", "<u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4", "<f8"]


def noise(rng: random.Random) -> bytes:
    """Random bytes, mostly few; or a run of one byte."""
    size = rng.choice([0, 1, 2, 3, 4, 8, 16, rng.randrange(64), rng.randrange(4096)])
    return rng.randbytes(1) * size if rng.random() < 0.2 else rng.randbytes(size)


def mutated(valid: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """A valid input with one to three things wrong in it."""
    content = bytearray(valid)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        rng.choice(_MUTATIONS)(content, rng)
    if rng.random() < 0.1 and others:
        other = rng.choice(others)
        at = rng.randrange(len(content) + 1)
        content[at:] = other[at:]
    return bytes(content)


def _flip(content: bytearray, rng: random.Random) -> None:
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _flip_near_start(content: bytearray, rng: random.Random) -> None:
    if content:
        content[rng.randrange(min(len(content), 24))] ^= 1 << rng.randrange(8)


def _set(content: bytearray, rng: random.Random) -> None:
    if content:
        content[rng.randrange(len(content))] = rng.choice([0, 1, 127, 128, 255])


def _cut(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content) + 1) :]


def _insert(content: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(content) + 1)
    content[at:at] = rng.randbytes(rng.choice([1, 2, 8]))


def _delete(content: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(content) + 1)
    del content[at : at + rng.choice([1, 2, 8])]


def _repeat(content: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(content) + 1)
    content[at:at] = content[at : at + rng.choice([1, 8, 64])] * rng.choice([1, 10])


def _number(content: bytearray, rng: random.Random) -> None:
    width = rng.choice([1, 2, 4, 8])
    if len(content) >= width:
        at = rng.randrange(min(len(content) - width + 1, rng.choice([16, 1 << 20])))
        number = rng.choice(_NUMBERS) % 256**width
        content[at : at + width] = number.to_bytes(width, rng.choice(["little", "big"]))


_MUTATIONS = [_flip, _flip, _flip_near_start, _set, _cut, _insert, _delete, _repeat, _number, _number]


def mutated_json(valid: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """A document with a number that is another, nested too deep, or mutated as any bytes."""
    chance = rng.random()
    places = list(_DIGITS.finditer(valid))
    if chance < 0.6 and places:
        place = rng.choice(places)
        return valid[: place.start()] + rng.choice(_WORDS).encode() + valid[place.end() :]
    if chance < 0.65:
        depth = rng.choice([10, 1000, 100_000])
        opening, closing = rng.choice([(b"[", b"]"), (b'{"body":', b"}")])
        return opening * depth + b"1" + closing * depth
    return mutated(valid, others, rng)


def mutated_arrays(arrays: Mapping[str, Array], rng: random.Random) -> dict[str, tuple[str, bytes]]:
    """A bundle's content before packing, with one array of another type, length or value, or none."""
    plain = {name: (array.dtype.str, array.tobytes()) for name, array in arrays.items()}
    name = rng.choice(list(plain))
    dtype, content = plain[name]
    array = np.frombuffer(content, dtype).copy()
    chance = rng.random()
    if chance < 0.1:
        del plain[name]
    elif chance < 0.25:
        plain[name] = rng.choice(_DTYPES), content
    elif chance < 0.35:
        plain[name] = dtype, content[: rng.randrange(len(content) + 1)]
    elif chance < 0.45:
        plain[name] = dtype, content * rng.choice([2, 3, 1000])
    elif len(array):
        bits = 8 * array.dtype.itemsize
        number = rng.choice(_NUMBERS) % 2**bits
        at = rng.randrange(len(array))
        width = array.dtype.itemsize
        plain[name] = (
            dtype,
            content[: at * width] + number.to_bytes(width, "little") + content[(at + 1) * width :],
        )
    return plain
