"""Zstandard on whole buffers; one compressor a thread and level, since they are not shared safely."""

from __future__ import annotations

import threading

import zstandard

from measurefs.fs.errors import CorruptionError
from measurefs.fs.filesystem import Buffer

_local = threading.local()
MOST_EXPANSION = 1 << 15
"""A block is four bytes at least, and holds 128 KiB at most: a frame that claims more is not decoded at all."""


def compress(data: Buffer, level: int = 3) -> bytes:
    """Return a zstd frame that records its content's size."""
    compressors = _local.__dict__.setdefault("compressors", {})
    compressor = compressors.get(level)
    if compressor is None:
        compressor = compressors[level] = zstandard.ZstdCompressor(level=level)
    return bytes(compressor.compress(data))


def decompress(data: Buffer, path: str) -> bytes:
    """Return what `compress` was given.

    Raises
    ------
    CorruptionError
        It is not a zstd frame that records its content's size, or it cannot hold as much as it records.
    """
    decompressor = getattr(_local, "decompressor", None)
    if decompressor is None:
        decompressor = _local.decompressor = zstandard.ZstdDecompressor()
    try:
        size = zstandard.frame_content_size(data)
        if size > MOST_EXPANSION * memoryview(data).nbytes:
            raise CorruptionError(path, f"a compressed piece claims to hold {size} bytes, which it cannot")
        return bytes(decompressor.decompress(data))
    except (zstandard.ZstdError, MemoryError) as error:
        raise CorruptionError(path, f"a compressed piece cannot be read ({error})") from error
