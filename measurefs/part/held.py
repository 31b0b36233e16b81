"""Decoded columns, kept for the next query as far as a limit of bytes allows.

A column is held page by page, in spans: primary blocks that were decoded together into one array. What a query takes
out of one span needs no copy, and spans that it takes all of become one. Spans never change, so any number of threads
may read and add them; two that need the same primary blocks at the same time both decode them.
"""

from __future__ import annotations

import collections
import itertools
import operator
import threading
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import columns as codec
from measurefs.codec.memory import array_of, new_array
from measurefs.codec.types import ColumnType
from measurefs.part.rows import concat_columns

Places = npt.NDArray[np.int64]
PLAIN = {ColumnType.INT64: np.dtype(np.int64), ColumnType.FLOAT64: np.dtype(np.float64)}
_SMALL = 256
_MOST_UNWANTED = 4
"""How many rows there may be in an array for one that is wanted, where leaving out the others takes a copy."""


class Choice(NamedTuple):
    """Some primary blocks of a page.

    Attributes
    ----------
    places : int64 array
        Their numbers, at least one, increasing.
    first, last : int
        The first and the last of them.
    run : bool
        Whether they follow one another.
    """

    places: Places
    first: int
    last: int
    run: bool

    @classmethod
    def of(cls, places: Places) -> Choice:
        """Return the choice of these primary blocks."""
        first, last = int(places[0]), int(places[-1])
        return cls(places, first, last, last - first + 1 == len(places))


class Span(NamedTuple):
    """The rows of some primary blocks, one after another.

    Attributes
    ----------
    blocks : Choice
    starts : int64 array
        Where in the array each begins, and at the end how many rows there are.
    array : pyarrow.Array
    """

    blocks: Choice
    starts: Places
    array: pa.Array

    @classmethod
    def of(cls, blocks: Choice, page: Places, array: pa.Array) -> Span:
        """Return the rows of primary blocks of a page, given where each of its primary blocks starts."""
        lengths = page[blocks.places + 1] - page[blocks.places]
        return cls(blocks, np.concatenate(([0], lengths.cumsum())), array)

    def holds(self, choice: Choice) -> bool:
        """Whether all of these are among its primary blocks."""
        mine = self.blocks
        if choice.first < mine.first or choice.last > mine.last:
            return False
        return mine.run or bool((mine.places[mine.places.searchsorted(choice.places)] == choice.places).all())

    def rows(self, run: Choice) -> pa.Array:
        """Return the rows of some of its primary blocks, which follow one another."""
        mine = self.blocks
        at = run.first - mine.first if mine.run else int(mine.places.searchsorted(run.first))
        begin = int(self.starts[at])
        return self.array.slice(begin, int(self.starts[at + len(run.places)]) - begin)

    def pieces(self, choice: Choice) -> list[tuple[int, pa.Array]]:
        """Return what it has of some primary blocks, each piece with the place in the choice where it begins."""
        wanted = np.isin(choice.places, self.blocks.places, assume_unique=True).nonzero()[0]
        at = self.blocks.places.searchsorted(choice.places[wanted])
        cuts = ((np.diff(wanted) != 1) | (np.diff(at) != 1)).nonzero()[0] + 1
        pieces = []
        for there, here in zip(np.split(wanted, cuts), np.split(at, cuts), strict=True):
            if len(there):
                begin, end = int(self.starts[here[0]]), int(self.starts[here[-1] + 1])
                pieces.append((int(there[0]), self.array.slice(begin, end - begin)))
        return pieces


class HeldColumn:
    """One column of one page, decoded as far as anybody has needed it.

    Parameters
    ----------
    kind : ColumnType
        Its type.
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
        self.kind = kind
        self._dictionary = dictionary
        self._starts = starts
        self._nulls = nulls
        self._spans: tuple[Span, ...] = ()
        self._lock = threading.Lock()

    def span(self, choice: Choice) -> Span | None:
        """Return the span that has all of some primary blocks, None if none does."""
        for span in self._spans:
            if span.holds(choice):
                return span
        return None

    def has(self, choice: Choice) -> bool:
        """Whether some primary blocks are all decoded."""
        return self.span(choice) is not None or not len(self.missing(choice))

    def missing(self, choice: Choice) -> Places:
        """Return which of some primary blocks are not decoded."""
        have = np.zeros(len(self._starts), np.bool_)
        for span in self._spans:
            have[span.blocks.places] = True
        return choice.places[~have[choice.places]]

    def decode(self, places: Places, chunks: Sequence[bytes], path: str) -> None:
        """Decode the chunks of primary blocks, which are increasing.

        Raises
        ------
        CorruptionError
            The bytes are not what was written.
        """
        choice = Choice.of(places)
        ends = np.cumsum(np.diff(self._starts)[places])
        starts = np.append(0, ends)
        array = self._decode(chunks, list(itertools.pairwise(starts.tolist())), path)
        span = Span(choice, starts, array)
        with self._lock:
            free = self.missing(choice)
            if len(free) < len(places):  # somebody else has been at it, too
                if not len(free):
                    return
                choice = Choice.of(free)
                span = Span.of(choice, self._starts, _joined(span.pieces(choice)))
            self._spans = (*self._spans, span)

    def _decode(self, chunks: Sequence[bytes], bounds: Sequence[tuple[int, int]], path: str) -> pa.Array:
        """Decode chunks, one after another."""
        if not self._nulls and self.kind in PLAIN:
            values = new_array(bounds[-1][1], PLAIN[self.kind])
            codec.decode_numbers(chunks, values, bounds, path)
            return array_of(values)
        if not self._nulls and self._dictionary is not None and all(map(codec.is_coded, chunks)):
            return codec.decode_codes(chunks, bounds, self._dictionary, path)
        pieces = [
            codec.decode(data, end - begin, self.kind, self._dictionary, path)
            for data, (begin, end) in zip(chunks, bounds, strict=True)
        ]
        return concat_columns(pieces)

    def array(self, choice: Choice) -> pa.Array:
        """Return the rows of some primary blocks, all of them decoded, one after another."""
        span = self.span(choice)
        if span is not None and choice.run:
            return span.rows(choice)
        spans = self._spans if span is None else (span,)
        found = [(each, pieces) for each in spans if (pieces := each.pieces(choice))]
        array = _joined([piece for _, pieces in found for piece in pieces])
        if len(found) > 1 and sum(len(each.blocks.places) for each, _ in found) == len(choice.places):
            self._replace([each for each, _ in found], Span.of(choice, self._starts, array))
        return array

    def _replace(self, spans: Sequence[Span], joined: Span) -> None:
        """Hold what some spans have together in their place, so that it is joined once."""
        old = set(map(id, spans))
        with self._lock:
            kept = tuple(span for span in self._spans if id(span) not in old)
            if len(kept) + len(spans) == len(self._spans):  # nobody has joined some of them otherwise
                self._spans = (*kept, joined)

    @property
    def nbytes(self) -> int:
        """Bytes of memory, roughly."""
        return _SMALL + sum(_SMALL + int(_own(span.array).nbytes) for span in self._spans)


def arranged(
    columns: Mapping[str, HeldColumn], choice: Choice, page: Places
) -> tuple[dict[str, pa.Array], Places]:
    """Return the rows of some primary blocks, in arrays that may hold others between them if that saves a copy.

    Parameters
    ----------
    columns : mapping of str to HeldColumn
        They have decoded all of these blocks.
    choice : Choice
    page : int64 array
        Where in the page each of its primary blocks starts.

    Returns
    -------
    dict of str to pyarrow.Array
    int64 array
        For each of the primary blocks, what to add to a row's number in the page to get its place in the arrays.
    """
    if choice.run:
        shifts = np.full(len(choice.places), -page[choice.first])
        return {name: column.array(choice) for name, column in columns.items()}, shifts
    starts, lengths = page[choice.places], page[choice.places + 1] - page[choice.places]
    spans = {name: span for name, column in columns.items() if (span := column.span(choice)) is not None}
    if len(spans) == len(columns) and _are_alike(list(spans.values())):
        one = next(iter(spans.values()))
        at = one.blocks.places.searchsorted(choice.places)
        begin, end = int(one.starts[at[0]]), int(one.starts[at[-1] + 1])
        if end - begin <= _MOST_UNWANTED * int(lengths.sum()):
            arrays = {name: span.array.slice(begin, end - begin) for name, span in spans.items()}
            return arrays, one.starts[at] - begin - starts
    arrays = {name: column.array(choice) for name, column in columns.items()}
    return arrays, lengths.cumsum() - lengths - starts


def with_all(known: Mapping[int, HeldColumn | None], primary: Places) -> dict[int, HeldColumn]:
    """Return the columns of which some primary blocks are all decoded."""
    if not len(primary):
        return {}
    choice = Choice.of(primary)
    return {column: each for column, each in known.items() if each is not None and each.has(choice)}


def _are_alike(spans: Sequence[Span]) -> bool:
    """Whether there are spans, all of the same primary blocks."""
    return len(
        {(span.blocks.first, span.blocks.last, len(span.blocks.places)) for span in spans}
    ) == 1 and all(
        span.blocks.run or np.array_equal(span.blocks.places, spans[0].blocks.places) for span in spans
    )


def _joined(pieces: Sequence[tuple[int, pa.Array]]) -> pa.Array:
    """Return pieces of rows, each with its place in their order, one after another."""
    return concat_columns([piece for _, piece in sorted(pieces, key=operator.itemgetter(0))])


def _own(array: pa.Array) -> pa.Array:
    """Return what of an array is not shared with others: without its dictionary."""
    return array.indices if pa.types.is_dictionary(array.type) else array


_NOTHING = (None, 0)


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
        return self.get_all([key])[0]

    def get_all(self, keys: Sequence[Hashable]) -> list[Any]:
        """Return what is kept under each of some keys, None where nothing is."""
        held = self._held
        with self._lock:
            found = [held.get(key, _NOTHING)[0] for key in keys]
            for key, value in zip(keys, found, strict=True):
                if value is not None:
                    held.move_to_end(key)
        return found

    def pop(self, key: Hashable) -> Any:
        """Return what is kept under a key, None if nothing is, and keep it no more."""
        with self._lock:
            value, nbytes = self._held.pop(key, (None, 0))
            self.nbytes -= nbytes
            return value

    def keep(self, key: Hashable, value: Any, nbytes: int) -> None:
        """Keep a value, or take note that it has grown."""
        with self._lock:
            self.nbytes += nbytes - self._held.pop(key, _NOTHING)[1]
            self._held[key] = value, nbytes
            while self.nbytes > self.limit and self._held:
                self.nbytes -= self._held.popitem(last=False)[1][1]
