"""Stretches of a file that are known, and what is missing between them."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from typing import NamedTuple

LARGEST = 1 << 20
"""No extent is longer: one that serves a small piece is read, and checked, whole."""

_SLACK = 16 << 10

Span = tuple[int, int]
"""Start, and the end that is no more in it."""


class Extent(NamedTuple):
    """Bytes of a file.

    Attributes
    ----------
    offset, size : int
    last : bool
        Whether the file is known to end where they do.
    since : int
        When they were fetched, in seconds.
    """

    offset: int
    size: int
    last: bool = False
    since: int = 0

    @property
    def stop(self) -> int:
        """Where they end."""
        return self.offset + self.size


class Extents:
    """Extents of one file, which may overlap.

    Attributes
    ----------
    end : int or None
        The size of the file, if an extent has told.
    """

    def __init__(self, extents: Iterable[Extent] = ()) -> None:
        self._sorted = sorted(extents)
        self.end = next((extent.stop for extent in self._sorted if extent.last), None)

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, extent: Extent) -> None:
        """Take in one more."""
        bisect.insort(self._sorted, extent)
        if extent.last:
            self.end = extent.stop

    def discard(self, extent: Extent) -> None:
        """Forget one, if it is known."""
        place = bisect.bisect_left(self._sorted, extent)
        if self._sorted[place : place + 1] == [extent]:
            del self._sorted[place]

    def cover(self, start: int, stop: int) -> tuple[list[Extent], list[Span]]:
        """Return the fewest extents, in order, that have all that is known of a span, and the gaps in between."""
        used: list[Extent] = []
        gaps: list[Span] = []
        at = start
        best: Extent | None = None  # of those that begin no later than `at`, the one that reaches farthest
        for place in range(bisect.bisect_left(self._sorted, (start - LARGEST,)), len(self._sorted)):
            extent = self._sorted[place]
            if extent.offset >= stop or at >= stop:
                break
            if best is not None and best.stop > at and extent.offset > at:
                used.append(best)
                at = best.stop
            if at < extent.offset:
                gaps.append((at, extent.offset))
                at = extent.offset
            if best is None or extent.stop > best.stop:
                best = extent
        if best is not None and at < stop and best.stop > at:
            used.append(best)
            at = best.stop
        if at < stop:
            gaps.append((at, stop))
        return used, gaps


def stretches(gaps: Iterable[Span]) -> list[tuple[int, int]]:
    """Return the pieces of a file to fetch for gaps, as offset and size, in order.

    Gaps are fetched, and kept, together with what lies between them as long as that is no more than they are
    themselves, and a little: what one query leaves out the next may want. None is longer than `LARGEST`.
    """
    joined: list[tuple[int, int, int]] = []  # start, stop, bytes asked for
    for start, stop in sorted(gaps):
        if joined:
            first, end, asked = joined[-1]
            asked += max(stop - max(start, end), 0)
            if max(stop, end) - first <= 2 * asked + _SLACK:
                joined[-1] = first, max(stop, end), asked
                continue
        joined.append((start, stop, stop - start))
    return [piece for start, stop, _ in joined for piece in cut(start, stop)]


def cut(start: int, stop: int) -> list[tuple[int, int]]:
    """Cut a span into pieces of at most `LARGEST` bytes: offset and size of each."""
    return [(offset, min(LARGEST, stop - offset)) for offset in range(start, stop, LARGEST)]


class Pieces:
    """Bytes of a file, by the extents they are."""

    def __init__(self) -> None:
        self._extents = Extents()
        self._data: dict[Extent, memoryview] = {}

    def add(self, extent: Extent, data: bytes | memoryview) -> None:
        """Take in an extent's bytes."""
        self._extents.add(extent)
        self._data[extent] = memoryview(data)

    def gaps(self, spans: Sequence[Span]) -> list[list[Span]]:
        """Return what is missing of each span."""
        return [self._extents.cover(*span)[1] for span in spans]

    def get(self, start: int, stop: int) -> bytes:
        """Return the bytes of a span none of which is missing."""
        found: list[memoryview] = []
        for extent in self._extents.cover(start, stop)[0]:
            until = min(stop, extent.stop)
            found.append(self._data[extent][start - extent.offset : until - extent.offset])
            start = until
        return b"".join(found)
