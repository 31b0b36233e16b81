"""A file system whose reads lie: once or for ever, a bit, fewer bytes, or those of another time."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from measurefs.fs import File, FileSystem, FileSystemWrapper

Lie = Callable[[str, int, bytes], bytes]
"""From path, offset and the right bytes to what is returned instead."""


class LyingFileSystem(FileSystemWrapper):
    """Answers reads number ``at`` up to ``at + times`` wrongly; of a call of several ranges each counts.

    Attributes
    ----------
    reads : list of str
        The paths of all reads.
    lies : list of str
        The paths about which it lied.
    """

    def __init__(self, wrapped: FileSystem, lie: Lie, at: int, times: int = 1) -> None:
        super().__init__(wrapped)
        self.reads: list[str] = []
        self.lies: list[str] = []
        self._lie = lie
        self._range = range(at, at + times)

    def told(self, path: str, offset: int, content: bytes) -> bytes:
        """Return the content, or what is said instead."""
        self.reads.append(path)
        if len(self.reads) - 1 not in self._range:
            return content
        lie = self._lie(path, offset, content)
        if lie != content:
            self.lies.append(path)
        return lie

    def read(self, path: str) -> bytes:
        return self.told(path, 0, super().read(path))

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        answers = super().read_ranges(ranges)
        return [self.told(path, offset, one) for (path, offset, _), one in zip(ranges, answers, strict=True)]

    def open_file(self, path: str) -> File:
        return _LyingFile(super().open_file(path), self)


class _LyingFile(File):
    def __init__(self, wrapped: File, fs: LyingFileSystem) -> None:
        super().__init__(wrapped.path)
        self._wrapped = wrapped
        self._fs = fs

    def read(self, offset: int, size: int) -> bytes:
        return self._fs.told(self.path, offset, self._wrapped.read(offset, size))

    def size(self) -> int:
        return self._wrapped.size()

    def close(self) -> None:
        self._wrapped.close()


def a_bit(seed: int) -> Lie:
    """One bit is another."""

    def lie(_: str, __: int, content: bytes) -> bytes:
        if not content:
            return content
        rng = random.Random(seed)
        flipped = bytearray(content)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        return bytes(flipped)

    return lie


def short(seed: int) -> Lie:
    """Fewer bytes than were asked for."""
    return lambda _, __, content: content[: random.Random(seed).randrange(len(content) or 1)]


def stale(before: FileSystem) -> Lie:
    """What was there in another store, at the same place."""

    def lie(path: str, offset: int, content: bytes) -> bytes:
        try:
            return before.read(path)[offset : offset + len(content)]
        except FileNotFoundError:
            return content

    return lie
