"""The files that a table wrote last, for the merge that reads them next."""

from __future__ import annotations

import collections
import threading
from collections.abc import Sequence

from measurefs.fs.cached import past_cache
from measurefs.fs.filesystem import Buffer, FileSystem
from measurefs.fs.wrappers import FileSystemWrapper
from measurefs.table.epochs import part_id

_BYTES = 4 << 20


class RecentFiles(FileSystemWrapper):
    """Keeps small parts in memory as they are written, where reading them back costs requests.

    What is merged is past its use: reads go past the cache of parts, if there is one.

    Parameters
    ----------
    wrapped : FileSystem
    """

    def __init__(self, wrapped: FileSystem) -> None:
        super().__init__(wrapped)
        self._store = past_cache(wrapped)
        self._most = _BYTES if wrapped.remote else 0
        self._files: collections.OrderedDict[str, bytes] = collections.OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        """Write a file, and keep it if it is a small part."""
        size = super().write(path, data, exclusive=exclusive)
        if size <= self._most // 4 and part_id(path.rpartition("/")[2]) is not None:
            self._keep(path, bytes(data))
        return size

    def _keep(self, path: str, data: bytes) -> None:
        with self._lock:
            self._files[path] = data
            self._bytes += len(data)
            while self._bytes > self._most:
                _, oldest = self._files.popitem(last=False)
                self._bytes -= len(oldest)

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Read ranges, of files that are kept from memory."""
        with self._lock:
            kept = {path: self._files[path] for path, _, _ in ranges if path in self._files}
        found = iter(self._store.read_ranges([each for each in ranges if each[0] not in kept]))
        return [
            kept[path][offset : offset + size] if path in kept else next(found)
            for path, offset, size in ranges
        ]
