"""The files that a table wrote last, for the merge that reads them next."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from measurefs.fs.cached import past_cache
from measurefs.fs.filesystem import Buffer, FileSystem
from measurefs.fs.paths import basename
from measurefs.fs.wrappers import FileSystemWrapper
from measurefs.part.held import Cache
from measurefs.table.epochs import part_id

_MOST = 1 << 20
_tokens = itertools.count()


class RecentFiles(FileSystemWrapper):
    """Keeps small parts in memory as they are written, where reading them back costs requests.

    What is merged is past its use: reads go past the cache of parts on disk, if there is one.

    Parameters
    ----------
    wrapped : FileSystem
    cache : Cache
        Where to keep them, beside what queries have decoded.
    """

    def __init__(self, wrapped: FileSystem, cache: Cache) -> None:
        super().__init__(wrapped)
        self._store = past_cache(wrapped)
        self._most = _MOST if wrapped.remote else 0
        self._cache = cache
        self._token = next(_tokens)

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        """Write a file, and keep it if it is a small part."""
        size = super().write(path, data, exclusive=exclusive)
        if size <= self._most and part_id(basename(path)) is not None:
            self._cache.keep(("recent", self._token, path), bytes(data), size)
        return size

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Read ranges, of files that are kept from memory."""
        kept = {path: data for path in {path for path, _, _ in ranges} if (data := self._kept(path))}
        found = iter(self._store.read_ranges([each for each in ranges if each[0] not in kept]))
        return [
            kept[path][offset : offset + size] if path in kept else next(found)
            for path, offset, size in ranges
        ]

    def _kept(self, path: str) -> bytes | None:
        data: bytes | None = self._cache.get(("recent", self._token, path))
        return data
