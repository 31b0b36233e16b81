"""A cache of parts: what was read of them once is kept nearer by, as on a local disk before an object store."""

# ruff: noqa: D102 - the interface documents what is passed on

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from measurefs.fs.entries import Entries
from measurefs.fs.errors import ReadError
from measurefs.fs.extents import Extent, Pieces, Span, cut, stretches
from measurefs.fs.filesystem import Buffer, File, FileSystem
from measurefs.fs.paths import check_path
from measurefs.fs.urls import open_url
from measurefs.fs.wrappers import FileSystemWrapper

Range = tuple[str, int, int]
"""Path, offset, size."""

DEFAULT_LIMIT = 10 << 30

# A compact part, and the sections of a wide one: not whatever is in a directory of such a name, as a measure's may be.
_PART = re.compile(r"(?:.*/)?[0-9a-f]{16}(?:\.part|/[^/]+\.(?:bin|tf|tfm))")


def is_kept(path: str) -> bool:
    """Whether a path is of a file of a part: once it is there its bytes never change.

    Snapshots do not change either, but decide what a table holds, and each is read once: they come from the store.
    """
    return _PART.fullmatch(path) is not None


class CachedFileSystem(FileSystemWrapper):
    """Keeps what is read of parts in another file system, and reads it there from then on.

    Only files of parts are kept, which never change; listings, locks, snapshots, schemas and tags always come from the
    store. What is kept is exactly the ranges that were read, and small gaps between them. A range is served from any
    of those that hold it together; what is missing of all ranges of a call is fetched by one call.

    Several threads and processes may use one cache, for several stores; `measurefs.fs.entries` says how. It may be
    damaged, cleared or full at any time: each entry is checked when it is read, and what the cache cannot give comes
    from the store. Trouble with it never fails a read; it shows in `stats` and, once, in the log of ``measurefs.fs``.

    Parameters
    ----------
    wrapped : FileSystem
        The store.
    cache : str or FileSystem
        Where to keep things: a directory, which is made if need be, another URL, or a file system.
    limit : int
        How many bytes the cache may have in all. What was not used for longest is removed; for a moment there may be
        a sixty-fourth more for each process that writes to it.
    namespace : str
        What tells the store from others that use the cache. If two stores have the same, one is read with parts of the
        other (which is found out, as `CorruptionError`).
    close_wrapped : bool
        Whether `close` closes the store, too. The cache it closes if it was not given as a file system.
    clock : callable
        Seconds since 1970, for tests.
    """

    def __init__(
        self,
        wrapped: FileSystem,
        cache: str | FileSystem,
        *,
        limit: int = DEFAULT_LIMIT,
        namespace: str = "",
        close_wrapped: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(wrapped)
        self.cache = cache if isinstance(cache, FileSystem) else open_url(cache)
        self._owns_cache = self.cache is not cache
        self._close_wrapped = close_wrapped
        self._entries = Entries(self.cache, limit, namespace, clock)
        self._counting = threading.Lock()
        self._hits = self._misses = self._served = self._fetched = 0

    def stats(self) -> dict[str, Any]:
        """Return what the cache has done for this file system.

        Returns
        -------
        dict
            ``hits`` and ``misses``, in ranges (a range of which a part is missing is a miss), ``hit_rate`` (None
            before the first), ``served_bytes`` from the cache, ``fetched_bytes`` from the store, ``kept_bytes`` that
            were written to the cache, ``evicted_bytes`` that were removed for want of room, ``damaged`` entries, and
            ``errors`` of the cache's file system.
        """
        with self._counting:
            asked = self._hits + self._misses
            figures = {
                "hits": self._hits,
                "misses": self._misses,
                "hit_rate": self._hits / asked if asked else None,
                "served_bytes": self._served,
                "fetched_bytes": self._fetched,
            }
        entries = self._entries
        return figures | {
            "kept_bytes": entries.kept,
            "evicted_bytes": entries.evicted,
            "damaged": entries.damaged,
            "errors": entries.errors,
        }

    # Reading.

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        return self._read(ranges, self.wrapped.read_ranges)

    def open_file(self, path: str) -> File:
        file = self.wrapped.open_file(path)
        return _CachedFile(file, self) if is_kept(path) else file

    def read(self, path: str) -> bytes:
        if not is_kept(path):
            return self.wrapped.read(path)
        size = self._entries.size_of(check_path(path, "read"))
        if size is not None:
            return self.read_ranges([(path, 0, size)])[0] if size else b""
        changes = self._entries.changes
        data = self.wrapped.read(path)
        self._count(misses=1, fetched=len(data))
        pieces = cut(0, len(data)) or [(0, 0)]
        view = memoryview(data)
        extents = [Extent(offset, length, (offset, length) == pieces[-1]) for offset, length in pieces]
        self._entries.keep(path, {extent: view[extent.offset : extent.stop] for extent in extents}, changes)
        return data

    def _read(self, ranges: Sequence[Range], fetch: Callable[[Sequence[Range]], list[bytes]]) -> list[bytes]:
        """Read ranges from the cache, and what it lacks by one call of fetch."""
        spans: dict[str, list[Span]] = {}
        others: list[Range] = []
        for path, offset, size in ranges:
            if size > 0 and offset >= 0 and is_kept(path):
                spans.setdefault(path, []).append((offset, offset + size))
            else:
                others.append((path, offset, size))
        changes = self._entries.changes
        held = {check_path(path, "read_ranges"): self._held(path, wanted) for path, wanted in spans.items()}
        missing = [
            (path, *piece) for path, wanted in spans.items() for piece in self._missing(held[path], wanted)
        ]
        found = fetch([*others, *missing]) if others or missing else []
        self._keep(held, missing, found[len(others) :], changes)
        rest = iter(found[: len(others)])
        return [
            held[path].get(offset, offset + size) if size > 0 and offset >= 0 and path in held else next(rest)
            for path, offset, size in ranges
        ]

    def _held(self, path: str, spans: Sequence[Span]) -> Pieces:
        """Read from the cache what it has of some spans of a file."""
        held = Pieces()
        tried: set[Extent] = set()
        # Where an entry turns out to be gone or damaged, others may have some of it.
        while wanted := [extent for extent in self._entries.find(path, spans) if extent not in tried]:
            tried.update(wanted)
            for extent in wanted:
                data = self._entries.load(path, extent)
                if data is not None:
                    held.add(extent, data)
        return held

    def _missing(self, held: Pieces, spans: Sequence[Span]) -> list[tuple[int, int]]:
        gaps = held.gaps(spans)
        hits = sum(not each for each in gaps)
        lacking = sum(stop - start for each in gaps for start, stop in each)
        pieces = stretches(gap for each in gaps for gap in each)
        self._count(
            hits=hits,
            misses=len(spans) - hits,
            served=sum(stop - start for start, stop in spans) - lacking,
            fetched=sum(size for _, size in pieces),
        )
        return pieces

    def _keep(
        self, held: Mapping[str, Pieces], missing: Sequence[Range], found: Sequence[bytes], changes: int
    ) -> None:
        new: dict[str, dict[Extent, Buffer]] = {}
        for (path, offset, size), data in zip(missing, found, strict=True):
            extent = Extent(offset, size)
            held[path].add(extent, data)
            new.setdefault(path, {})[extent] = data
        for path, pieces in new.items():
            self._entries.keep(path, pieces, changes)

    def _count(self, *, hits: int = 0, misses: int = 0, served: int = 0, fetched: int = 0) -> None:
        with self._counting:
            self._hits += hits
            self._misses += misses
            self._served += served
            self._fetched += fetched

    # Changing.

    def create_file(self, path: str) -> File:
        file = self.wrapped.create_file(path)
        self._forget([path])
        return file

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        try:
            return self.wrapped.write(path, data, exclusive=exclusive)
        finally:  # a write that failed may have been done all the same
            self._forget([path])

    def write_all(self, files: Mapping[str, Buffer]) -> None:
        try:
            self.wrapped.write_all(files)
        finally:
            self._forget(files)

    def delete_file(self, path: str) -> None:
        try:
            self.wrapped.delete_file(path)
        finally:
            self._forget([path])

    def delete_files(self, paths: Sequence[str]) -> None:
        try:
            self.wrapped.delete_files(paths)
        finally:
            self._forget(paths)

    def must_rm_all(self, path: str) -> None:
        try:
            self.wrapped.must_rm_all(path)
        finally:
            self.forget(path)

    def _forget(self, paths: Sequence[str] | Mapping[str, Any]) -> None:
        for path in paths:
            if is_kept(path):
                self.forget(path)

    def forget(self, path: str) -> None:
        """Remove what is kept of a file, and of files below that this process knows of, as bytes to be doubted."""
        self._entries.forget(path)

    def close(self) -> None:
        if self._close_wrapped:
            super().close()
        if self._owns_cache:
            self.cache.close()


class _CachedFile(File):
    """An open file whose ranges come from the cache as far as it has them."""

    def __init__(self, file: File, fs: CachedFileSystem) -> None:
        super().__init__(file.path)
        self._file = file
        self._fs = fs

    def read(self, offset: int, size: int) -> bytes:
        return self.readv([(offset, size)])[0]

    def readv(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        end = self._file.size()  # raises if the file was closed
        if any(min(each) < 0 for each in ranges):
            return self._file.readv(ranges)
        inside = [(self.path, offset, max(min(size, end - offset), 0)) for offset, size in ranges]
        return self._fs._read(inside, self._fetch)

    def _fetch(self, ranges: Sequence[Range]) -> list[bytes]:
        found = self._file.readv([(offset, size) for _, offset, size in ranges])
        if any(len(data) != size for data, (_, _, size) in zip(found, ranges, strict=True)):
            raise ReadError("read", self.path, "the file ends early; open it again")
        return found

    def size(self) -> int:
        return self._file.size()

    def close(self) -> None:
        self._file.close()


class _PastCache(FileSystemWrapper):
    """Reads from the store, whatever the cache has; passes on all else, so that the cache learns of changes."""

    def __init__(self, wrapped: FileSystem, store: FileSystem) -> None:
        super().__init__(wrapped)
        self._store = store

    def open_file(self, path: str) -> File:
        return self._store.open_file(path)

    def read(self, path: str) -> bytes:
        return self._store.read(path)

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        return self._store.read_ranges(ranges)


def cache_of(fs: FileSystem) -> CachedFileSystem | None:
    """Return the cache in a stack of wrappers, None if there is none."""
    while not isinstance(fs, CachedFileSystem):
        if not isinstance(fs, FileSystemWrapper):
            return None
        fs = fs.wrapped
    return fs


def past_cache(fs: FileSystem) -> FileSystem:
    """Return a file system whose reads see what the store has, for who is to check that; fs itself without a cache."""
    cache = cache_of(fs)
    return fs if cache is None else _PastCache(fs, cache.wrapped)
