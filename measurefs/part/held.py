"""Decoded columns, kept for the next query as far as a limit of bytes allows.

A column is held page by page: an array as long as the page, of which those primary blocks hold values that somebody
has asked for. What a scan takes from it needs no copy.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import columns as codec
from measurefs.codec.memory import new_array
from measurefs.codec.types import ColumnType
from measurefs.part.rows import concat_columns

_PLAIN = {
    ColumnType.INT64: np.dtype(np.int64),
    ColumnType.FLOAT64: np.dtype(np.float64),
    ColumnType.BOOL: np.dtype(np.bool_),
}
_CODES = np.dtype(np.int32)


class HeldColumn:
    """One column of one page, decoded as far as anybody has needed it.

    Parameters
    ----------
    kind : ColumnType
    dictionary : pyarrow.Array or None
        Of its chunks of codes.
    starts : int64 array, shape (p + 1,)
        The first row of each primary block of the page, and at the end the number of rows.
    plain : bool
        Whether no value is null, and strings are codes of the dictionary: then all lie in one array.

    Attributes
    ----------
    have : bool array, shape (p,)
        The primary blocks that are decoded. What these hold never changes.
    """

    def __init__(
        self, kind: ColumnType, dictionary: pa.Array | None, starts: npt.NDArray[np.int64], *, plain: bool
    ) -> None:
        self.kind = kind
        self.dictionary = dictionary
        self.starts = starts
        self.have = np.zeros(len(starts) - 1, np.bool_)
        self.pieces: list[pa.Array | None] = [None] * len(self.have)
        dtype = _PLAIN.get(kind, _CODES if dictionary is not None else None)
        self.values: npt.NDArray[Any] | None = None
        if plain and dtype is not None:
            self.values = new_array(int(starts[-1]), dtype)
        self._claimed = np.zeros(len(self.have), np.bool_)
        self._lock = threading.Lock()
        self._joined: pa.Array | None = None

    @property
    def coded(self) -> bool:
        """Whether it holds codes of strings in one array."""
        return self.values is not None and self.kind not in _PLAIN

    def copy(self) -> HeldColumn:
        """Return one of its own with what this one has."""
        found = HeldColumn(self.kind, self.dictionary, self.starts, plain=self.values is not None)
        for place in np.flatnonzero(self.have).tolist():
            start, stop = self.starts[place : place + 2].tolist()
            if found.values is not None and self.values is not None:
                found.values[start:stop] = self.values[start:stop]
            else:
                found.pieces[place] = self.pieces[place]
            found.have[place] = True
        return found

    def loosened(self) -> HeldColumn:
        """Return one that holds each primary block in an array of its own, with what this one has."""
        found = HeldColumn(self.kind, self.dictionary, self.starts, plain=False)
        whole = self._whole()
        for place in np.flatnonzero(self.have).tolist():
            start, stop = self.starts[place : place + 2].tolist()
            found.pieces[place] = whole[start:stop]
            found.have[place] = True
        return found

    def decode(self, places: npt.NDArray[np.int64], chunks: Sequence[bytes], path: str) -> None:
        """Decode the chunks of primary blocks that were claimed; they are increasing.

        Raises
        ------
        CorruptionError
            The bytes are not what was written.
        """
        bounds = list(zip(self.starts[places].tolist(), self.starts[places + 1].tolist(), strict=True))
        if self.values is None:
            for place, data, (start, stop) in zip(places.tolist(), chunks, bounds, strict=True):
                self.pieces[place] = codec.decode(data, stop - start, self.kind, self.dictionary, path)
        elif self.coded:
            codec.decode_codes(chunks, self.values, bounds, self.dictionary, path)
        elif self.kind is ColumnType.BOOL:
            bits = new_array(len(self.values), np.int64)
            codec.decode_numbers(chunks, bits, bounds, path)
            for start, stop in bounds:
                self.values[start:stop] = bits[start:stop]
        else:
            codec.decode_numbers(chunks, self.values, bounds, path)

    def claim(self, wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
        """Return those of some primary blocks that the caller is to decode now; None if somebody else is at it."""
        with self._lock:
            missing = wanted[~self.have[wanted]]
            if self._claimed[missing].any():
                return None
            self._claimed[missing] = True
            return missing

    def done(self, places: npt.NDArray[np.int64], *, decoded: bool) -> None:
        """Give claimed primary blocks free, decoded or not."""
        with self._lock:
            self._claimed[places] = False
            if decoded:
                self.have[places] = True
                self._joined = None

    def array(self) -> pa.Array:
        """Return the column of the whole page; what is not decoded holds anything."""
        if self.values is not None:
            return self._whole()
        joined = self._joined
        if joined is None:
            rows = np.diff(self.starts).tolist()
            joined = concat_columns(
                [
                    pa.nulls(count, self.kind.arrow) if piece is None else piece
                    for piece, count in zip(self.pieces, rows, strict=True)
                ]
            )
            self._joined = joined
        return joined

    def _whole(self) -> pa.Array:
        values = pa.array(self.values)
        if self.dictionary is None or self.kind in _PLAIN:
            return values
        return pa.DictionaryArray.from_arrays(values, self.dictionary, safe=False)

    @property
    def nbytes(self) -> int:
        """Bytes of memory, roughly."""
        if self.values is not None:
            return int(np.diff(self.starts)[self.have].sum()) * self.values.itemsize + 256
        return int(sum(piece.nbytes for piece in self.pieces if piece is not None)) + 256


class Cache:
    """What queries have decoded, least recently used first, under a limit of bytes; any number of threads.

    Parameters
    ----------
    limit : int
        Bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nbytes = 0
        self._held: collections.OrderedDict[Hashable, tuple[Any, int]] = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Any:
        """Return what is kept under a key, None if nothing is."""
        with self._lock:
            found = self._held.get(key)
            if found is None:
                return None
            self._held.move_to_end(key)
            return found[0]

    def keep(self, key: Hashable, value: Any, nbytes: int) -> None:
        """Keep a value, or take note that it has grown."""
        with self._lock:
            self.nbytes += nbytes - self._held.pop(key, (None, 0))[1]
            self._held[key] = value, nbytes
            while self.nbytes > self.limit and self._held:
                self.nbytes -= self._held.popitem(last=False)[1][1]
