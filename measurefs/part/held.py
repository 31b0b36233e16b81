"""Decoded columns, kept for the next query as far as a limit of bytes allows.

A column is held page by page, in spans: consecutive primary blocks that were decoded together into one array. What a
query takes out of one span needs no copy. Spans never change, so any number of threads may read and add them; two that
need the same primary blocks at the same time both decode them.
"""

from __future__ import annotations

import collections
import itertools
import threading
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import columns as codec
from measurefs.codec.memory import new_array
from measurefs.codec.types import ColumnType
from measurefs.part.rows import concat_columns

Places = npt.NDArray[np.int64]
_PLAIN = {ColumnType.INT64: np.dtype(np.int64), ColumnType.FLOAT64: np.dtype(np.float64)}
_SMALL = 256


class Span(NamedTuple):
    """The rows of the primary blocks from first up to stop."""

    first: int
    stop: int
    array: pa.Array


class HeldColumn:
    """One column of one page, decoded as far as anybody has needed it.

    Parameters
    ----------
    kind : ColumnType
    dictionary : pyarrow.Array or None
        Of its chunks of codes.
    starts : int64 array, shape (p + 1,)
        The first row of each primary block of the page, and at the end the number of rows.
    nulls : bool
        Whether any of its values is null.
    """

    def __init__(
        self, kind: ColumnType, dictionary: pa.Array | None, starts: npt.NDArray[np.int64], *, nulls: bool
    ) -> None:
        self._kind = kind
        self._dictionary = dictionary
        self._starts = starts
        self._nulls = nulls
        self._spans: tuple[Span, ...] = ()
        self._lock = threading.Lock()

    def missing(self, places: Places) -> Places:
        """Return which of some primary blocks are not decoded."""
        have = np.zeros(len(self._starts), np.bool_)
        for span in self._spans:
            have[span.first : span.stop] = True
        return places[~have[places]]

    def decode(self, places: Places, chunks: Sequence[bytes], path: str) -> None:
        """Decode the chunks of primary blocks, which are increasing.

        Raises
        ------
        CorruptionError
            The bytes are not what was written.
        """
        ends = np.cumsum(np.diff(self._starts)[places])
        starts = np.append(0, ends)
        array = self._decode(chunks, list(itertools.pairwise(starts.tolist())), path)
        with self._lock:
            free = self.missing(places)  # somebody else may have been at it, too
            spans = list(self._spans)
            for run in np.split(free, np.flatnonzero(np.diff(free) != 1) + 1):
                if len(run):
                    first, stop = np.searchsorted(places, (run[0], run[-1] + 1)).tolist()
                    piece = array[int(starts[first]) : int(starts[stop])]
                    spans.append(Span(int(run[0]), int(run[-1]) + 1, piece))
            self._spans = tuple(sorted(spans, key=_first))

    def _decode(self, chunks: Sequence[bytes], bounds: Sequence[tuple[int, int]], path: str) -> pa.Array:
        """Decode chunks, one after another."""
        if not self._nulls and self._kind in _PLAIN:
            values = new_array(bounds[-1][1], _PLAIN[self._kind])
            codec.decode_numbers(chunks, values, bounds, path)
            return pa.array(values)
        if not self._nulls and self._dictionary is not None and all(map(codec.is_coded, chunks)):
            return codec.decode_codes(chunks, bounds, self._dictionary, path)
        pieces = [
            codec.decode(data, end - begin, self._kind, self._dictionary, path)
            for data, (begin, end) in zip(chunks, bounds, strict=True)
        ]
        return concat_columns(pieces)

    def array(self, places: Places) -> pa.Array:
        """Return the rows of some primary blocks, all of them decoded, one after another; they are increasing."""
        spans = self._spans
        pieces = [piece for span in spans for piece in self._pieces(span, places)]
        joined = concat_columns(pieces) if len(pieces) > 1 else pieces[0]
        if len(spans) > 1 and len(places) == len(self._starts) - 1:
            with self._lock:
                self._spans = (Span(0, len(places), joined),)
        return joined

    def _pieces(self, span: Span, places: Places) -> list[pa.Array]:
        """Return what a span has of some primary blocks."""
        mine = places[np.searchsorted(places, span.first) : np.searchsorted(places, span.stop)]
        if len(mine) == span.stop - span.first:
            return [span.array]
        offset = self._starts[span.first]
        cuts = np.flatnonzero(np.diff(mine) != 1) + 1
        return [
            span.array[int(self._starts[run[0]] - offset) : int(self._starts[run[-1] + 1] - offset)]
            for run in np.split(mine, cuts)
            if len(run)
        ]

    @property
    def nbytes(self) -> int:
        """Bytes of memory, roughly."""
        return _SMALL + sum(_SMALL + int(_own(span.array).nbytes) for span in self._spans)


def _own(array: pa.Array) -> pa.Array:
    """Return what of an array is not shared with others: without its dictionary."""
    return array.indices if pa.types.is_dictionary(array.type) else array


def _first(span: Span) -> int:
    return span.first


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

    def pop(self, key: Hashable) -> Any:
        """Return what is kept under a key, None if nothing is, and keep it no more."""
        with self._lock:
            value, nbytes = self._held.pop(key, (None, 0))
            self.nbytes -= nbytes
            return value

    def keep(self, key: Hashable, value: Any, nbytes: int) -> None:
        """Keep a value, or take note that it has grown."""
        with self._lock:
            self.nbytes += nbytes - self._held.pop(key, (None, 0))[1]
            self._held[key] = value, nbytes
            while self.nbytes > self.limit and self._held:
                self.nbytes -= self._held.popitem(last=False)[1][1]
