"""Small bundles of named NumPy arrays, as the indexes of a part are: MessagePack inside one zstd frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from measurefs.codec.zstd import compress, decompress
from measurefs.fs.errors import CorruptionError

Array = npt.NDArray[Any]

_DTYPES = {np.dtype(code).str: np.dtype(code) for code in "?bBhHiIlLqQfd"}


def pack_arrays(arrays: Mapping[str, Array]) -> bytes:
    """Encode one-dimensional arrays of fixed-width numbers; `unpack_arrays` gives them back by name."""
    plain = {name: (array.dtype.str, np.ascontiguousarray(array).tobytes()) for name, array in arrays.items()}
    return compress(msgspec.msgpack.encode(plain), level=1)


def unpack_arrays(data: bytes, path: str) -> dict[str, Array]:
    """Decode what `pack_arrays` wrote; the arrays are read-only views of one buffer.

    Raises
    ------
    CorruptionError
        The bytes are no such bundle.
    """
    try:
        plain = msgspec.msgpack.decode(decompress(data, path), type=dict[str, tuple[str, bytes]])
        return {name: np.frombuffer(raw, _DTYPES[dtype]) for name, (dtype, raw) in plain.items()}
    except (msgspec.DecodeError, KeyError, ValueError) as error:
        raise CorruptionError(path, f"an index cannot be read ({error})") from error
