"""Which ranges of files to fetch together when each fetch costs a round trip."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence

from measurefs.fs import File, ReadError, exactly

Range = tuple[str, int, int]
"""Path, offset and size."""

SLACK = 4096
LARGEST = 16 * 2**20


@dataclasses.dataclass
class Fetch:
    """One stretch of one file, and the places in the list of ranges that it serves."""

    path: str
    start: int
    stop: int
    asked: int
    places: list[int]

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.stop - self.start

    def extend(self, start: int, stop: int) -> bool:
        """Take in one more range, which starts no earlier than this fetch, if that pays."""
        if stop <= self.stop:
            return True
        asked = self.asked + stop - max(start, self.stop)
        if stop - self.start > min(LARGEST, 2 * asked + SLACK):
            return False
        self.stop, self.asked = stop, asked
        return True


def plan(ranges: Sequence[Range]) -> list[Fetch]:
    """Merge neighbouring ranges into fetches.

    A fetch grows as long as it stays within twice the bytes that were asked of it (plus 4 KiB, what a
    request of its own would cost in headers and signatures anyway) and within 16 MiB. So small pieces far
    apart are fetched singly and in parallel, large ones across large gaps together, and whatever the
    pattern, reading never costs more than about twice the answer. Empty ranges need no fetch.
    """
    by_path: defaultdict[str, list[int]] = defaultdict(list)
    for place, (path, _, size) in enumerate(ranges):
        if size:
            by_path[path].append(place)
    fetches: list[Fetch] = []
    for path, places in by_path.items():
        fetches += _merge(path, sorted(places, key=lambda place: ranges[place][1:]), ranges)
    return fetches


def _merge(path: str, places: list[int], ranges: Sequence[Range]) -> list[Fetch]:
    """Merge the ranges of one file, given in order of offset."""
    fetches: list[Fetch] = []
    for place in places:
        _, offset, size = ranges[place]
        if not (fetches and fetches[-1].extend(offset, offset + size)):
            fetches.append(Fetch(path, offset, offset + size, size, []))
        fetches[-1].places.append(place)
    return fetches


def cut(ranges: Sequence[Range], fetches: Sequence[Fetch], bodies: Sequence[bytes]) -> list[bytes]:
    """Return the bytes of each range, in order, from what the fetches brought.

    Raises
    ------
    ReadError
        A file ends before one of its ranges does.
    """
    found = [b""] * len(ranges)
    for fetch, body in zip(fetches, bodies, strict=True):
        for place in fetch.places:
            path, offset, size = ranges[place]
            begin = offset - fetch.start
            found[place] = exactly(body[begin : begin + size], path, offset, size)
    return found


class RangeReader(File):
    """A file of known size being read, each time by fetching ranges of it.

    Parameters
    ----------
    path : str
    size : int
        Bytes.
    fetch : callable
        From ranges, all inside the file, to their bytes.
    """

    def __init__(self, path: str, size: int, fetch: Callable[[Sequence[Range]], list[bytes]]) -> None:
        super().__init__(path)
        self._size = size
        self._fetch = fetch
        self._closed = False

    def read(self, offset: int, size: int) -> bytes:
        return self.readv([(offset, size)])[0]

    def readv(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self._check_open("read")
        return self._fetch([self._clip(*window) for window in ranges])

    def _clip(self, offset: int, size: int) -> Range:
        if offset < 0 or size < 0:
            raise ReadError("read", self.path, f"offset {offset} and size {size} must not be negative")
        return self.path, offset, max(0, min(size, self._size - offset))

    def size(self) -> int:
        self._check_open("size")
        return self._size

    def close(self) -> None:
        self._closed = True

    def _check_open(self, operation: str) -> None:
        if self._closed:
            raise ReadError(operation, self.path, "the file is closed")
