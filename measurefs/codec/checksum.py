"""Checksums: xxh3, as 64 bits for files and 32 for pieces of them."""

from __future__ import annotations

import xxhash

from measurefs.fs.errors import CorruptionError
from measurefs.fs.filesystem import Buffer


def checksum(data: Buffer) -> int:
    """Return the 64-bit xxh3 of data."""
    return int(xxhash.xxh3_64_intdigest(data))


def checksum32(data: Buffer) -> int:
    """Return the low 32 bits of the 64-bit xxh3 of data."""
    return int(xxhash.xxh3_64_intdigest(data)) & 0xFFFFFFFF


def verify(data: Buffer, expected: int, path: str, offset: int, what: str) -> None:
    """Raise unless the 64-bit checksum of data is the expected one.

    Raises
    ------
    CorruptionError
        Naming the file, the offset and what was to be there.
    """
    if checksum(data) != expected:
        raise CorruptionError(path, f"the checksum of {what} does not match", offset)


def verify32(data: Buffer, expected: int, path: str, offset: int, what: str) -> None:
    """Raise unless the 32-bit checksum of data is the expected one, as `verify` does."""
    if checksum32(data) != expected:
        raise CorruptionError(path, f"the checksum of {what} does not match", offset)
