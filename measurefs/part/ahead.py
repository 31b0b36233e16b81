"""Reading parts from front to back in few requests, where each of them is a round trip."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from measurefs.fs.filesystem import FileSystem
from measurefs.fs.wrappers import FileSystemWrapper
from measurefs.part.fetch import Range
from measurefs.part.file_part import FilePart

_LEAST = 256 << 10


class _Stretch(NamedTuple):
    """A run of bytes of a file that is read from its start to its stop."""

    path: str
    start: int
    stop: int


class ReadAhead(FileSystemWrapper):
    """Reads more of a part's section than was asked for, since the rest is asked for next.

    Parts that are small are read whole, and the beginnings of all parts at once.

    Parameters
    ----------
    wrapped : FileSystem
    parts : sequence of FilePart
        What is about to be read, each section of it in order.
    memory : int
        Bytes to hold, roughly.
    """

    def __init__(self, wrapped: FileSystem, parts: Sequence[FilePart], memory: int) -> None:
        super().__init__(wrapped)
        share = memory // max(len(parts), 1)
        stretches = sorted(stretch for part in parts for stretch in _stretches(part, share))
        self._most = max(memory // max(len(stretches), 1), _LEAST)
        self._stretches = stretches
        self._held: dict[_Stretch, tuple[int, bytes]] = {}
        self._fetch({stretch: (stretch.start, stretch.start) for stretch in stretches})

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        """Read ranges; those that are not held are read with what follows them, all at once."""
        stretches = [self._stretch(path, offset) for path, offset, _ in ranges]
        wanted: dict[_Stretch, tuple[int, int]] = {}
        for stretch, (_, offset, size) in zip(stretches, ranges, strict=True):
            start, stop = wanted.get(stretch, (offset, offset))
            wanted[stretch] = min(start, offset), max(stop, offset + size)
        self._fetch({stretch: span for stretch, span in wanted.items() if not self._has(stretch, *span)})
        return [
            self._cut(stretch, offset, size)
            for stretch, (_, offset, size) in zip(stretches, ranges, strict=True)
        ]

    def _stretch(self, path: str, offset: int) -> _Stretch:
        place = bisect.bisect_right(self._stretches, (path, offset, 1 << 63)) - 1
        return self._stretches[place]

    def _has(self, stretch: _Stretch, start: int, stop: int) -> bool:
        begin, data = self._held.get(stretch, (0, b""))
        return begin <= start and stop <= begin + len(data)

    def _cut(self, stretch: _Stretch, offset: int, size: int) -> bytes:
        start, data = self._held[stretch]
        return data[offset - start : offset - start + size]

    def _fetch(self, wanted: dict[_Stretch, tuple[int, int]]) -> None:
        """Hold, of some stretches, what is wanted and what follows it, instead of what is held of them."""
        ranges = [
            (stretch.path, start, max(stop, min(start + self._most, stretch.stop)) - start)
            for stretch, (start, stop) in wanted.items()
        ]
        found = self.wrapped.read_ranges(ranges) if ranges else []
        for stretch, (_, start, _), data in zip(wanted, ranges, found, strict=True):
            self._held[stretch] = start, data


def _stretches(part: FilePart, most: int) -> Iterator[_Stretch]:
    sections = part.metadata.sections
    if part.metadata.compact and part.metadata.compressed_bytes <= most:
        yield _Stretch(part.path, 0, max(piece.offset + piece.size for piece in sections.values()))
        return
    for section, piece in sections.items():
        path, start, size = part.locate(section, 0, piece.size)
        yield _Stretch(path, start, start + size)
