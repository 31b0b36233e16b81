"""The entries of a cache: extents of files, each in a file of its own, under a limit that several processes share.

What is where::

    files/<hash of the store's name and the path>/<offset>-<size>-<when it was fetched>[-end]
    ledger/<bytes>-<random>

An entry begins with a checksum over its bytes and over what they are: the store's name, the path, where in the file.
So one that is damaged, cut short or in another's place is known for that; it is a miss, and removed. The list of a
file's entries is in memory, from one listing of its directory when the file is first asked about. When something is
missing the directory is listed again, unless that was just now, as another process may have fetched it.

*The limit.* Before a process writes, it enters into the ledger how many bytes it is about to write: at first just so
many, then twice as many each time, up to a sixty-fourth of the limit. The names in the ledger add up to at least what
is kept, unless a process died or two met. When they exceed the limit, everything is listed, the entries that were
not used for longest are removed until an eighth of the limit is free, and the ledger begins anew with what was found.
Therefore at most a sixty-fourth of the limit, for each process that writes at that moment, is kept beyond it.

*Not used for longest.* Names tell when an entry was fetched; what it was used for since then only the process knows
that used it. So each spares what it has used itself, and what others use is fetched again at worst.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import xxhash

from measurefs.fs.errors import MeasureFSError, NotExistError
from measurefs.fs.extents import LARGEST, Extent, Extents, Span
from measurefs.fs.filesystem import Buffer, DirEntry, FileSystem
from measurefs.fs.listing import list_dir
from measurefs.fs.paths import join

_log = logging.getLogger(__name__)

_FILES, _LEDGER = "files", "ledger"
_NAME = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{1,8})-([0-9a-f]{1,16})(-end)?")
_LEDGER_NAME = re.compile(r"([0-9a-f]{1,16})-[0-9a-f]{16}")
_CHECK = 16
_BLOCK = 4096
_NAMES_IN_LEDGER = 64
_AT_ONCE = 16
_KNOWN_FILES = 4096


class _Known(msgspec.Struct):
    """What is known of a file's entries, and when each was used last by this process."""

    path: str
    extents: Extents
    listed: float
    used: dict[Extent, float] = msgspec.field(default_factory=dict)

    def is_old(self, now: float) -> bool:
        """Whether it is time to list them again; long lists are made less often."""
        return not 0 <= now - self.listed < max(1.0, len(self.extents) / 1000)


class Entries:
    """Extents of the files of a store, kept in a file system. None of its methods raises a `MeasureFSError`.

    Parameters
    ----------
    fs : FileSystem
        Where they are kept.
    limit : int
        How many bytes, counted in blocks of 4 KiB as on a disk.
    namespace : str
        What tells the store from all others that share the cache.
    clock : callable
        Seconds since 1970.

    Attributes
    ----------
    kept, evicted, damaged, errors : int
        Bytes that were kept and removed, entries that were not what they should be, and calls that failed.
    """

    def __init__(self, fs: FileSystem, limit: int, namespace: str, clock: Callable[[], float]) -> None:
        self.kept = self.evicted = self.damaged = self.errors = 0
        self._fs = fs
        self._limit = limit
        self._namespace = namespace
        self._clock = clock
        self._lock = threading.Lock()
        self._files: dict[str, _Known] = {}
        self._changes = 0
        self._ledger = threading.Lock()
        self._reserved = self._grant = 0

    # Finding.

    def find(self, path: str, spans: Sequence[Span]) -> list[Extent]:
        """Return the extents that have what is known of some spans of a file."""
        found, complete = self._cover(self._known(path), spans)
        if not complete and self._known(path).is_old(self._clock()):
            found, _ = self._cover(self._list(path), spans)
        return found

    def _cover(self, known: _Known, spans: Sequence[Span]) -> tuple[list[Extent], bool]:
        with self._lock:
            covers = [known.extents.cover(*span) for span in spans]
        used = dict.fromkeys(extent for extents, _ in covers for extent in extents)
        return list(used), not any(gaps for _, gaps in covers)

    def size_of(self, path: str) -> int | None:
        """Return the size of a file, if an entry tells."""
        return self._known(path).extents.end

    def _known(self, path: str) -> _Known:
        known = self._files.get(self._directory(path))
        return self._list(path) if known is None else known

    def _list(self, path: str) -> _Known:
        directory, now = self._directory(path), self._clock()
        listed: list[DirEntry] = []
        with self._forgiving("list"):
            listed = list_dir(self._fs, directory)
        extents = Extents(filter(None, map(_extent_of, listed)))
        with self._lock:
            before = self._files.get(directory)
            used = before.used if before else {}
            if before is None and len(self._files) >= _KNOWN_FILES:
                del self._files[next(iter(self._files))]
            known = self._files[directory] = _Known(path, extents, now, used)
        return known

    def load(self, path: str, extent: Extent) -> memoryview | None:
        """Return the bytes of an extent; None if they are gone, damaged, or cannot be read."""
        directory = self._directory(path)
        name = join(directory, _name_of(extent))
        data: bytes | None = None
        with self._forgiving("read"), contextlib.suppress(NotExistError):
            data = self._fs.read(name)
        if data is not None and data[:_CHECK] == self._check(path, extent, memoryview(data)[_CHECK:]):
            with self._lock:
                if directory in self._files:
                    self._files[directory].used[extent] = self._clock()
            return memoryview(data)[_CHECK:]
        with self._lock:
            _forget(self._files.get(directory), extent)
            self.damaged += data is not None
        if data is not None:
            with self._forgiving("remove"):
                self._fs.delete_files([name])
        return None

    # Keeping.

    @property
    def changes(self) -> int:
        """A number that grows whenever something is forgotten."""
        return self._changes

    def keep(self, path: str, data: Mapping[Extent, Buffer], changes: int) -> None:
        """Keep extents of a file, unless something was forgotten since changes were so many."""
        items = [item for item in data.items() if _cost(item[0].size + _CHECK) <= self._limit // 4]
        for start in range(0, len(items), _AT_ONCE):
            with self._forgiving("write"):
                self._keep(path, dict(items[start : start + _AT_ONCE]), changes)

    def _keep(self, path: str, data: Mapping[Extent, Buffer], changes: int) -> None:
        directory, now = self._directory(path), int(self._clock())
        stamped = {extent._replace(since=now): piece for extent, piece in data.items()}
        sealed = {extent: self._check(path, extent, piece) + piece for extent, piece in stamped.items()}
        self._reserve(sum(_cost(len(piece)) for piece in sealed.values()))
        if changes != self._changes:
            return
        self._write(directory, {join(directory, _name_of(extent)): piece for extent, piece in sealed.items()})
        with self._lock:
            known = self._files.get(directory)
            for extent, piece in sealed.items():
                self.kept += len(piece)
                if known is not None:
                    _forget(known, extent)
                    known.extents.add(extent)

    def _write(self, directory: str, files: Mapping[str, Buffer]) -> None:
        try:
            self._fs.write_all(files)
        except NotExistError:  # the first of this directory, or somebody has cleared the cache
            self._fs.make_dir(directory, exist_ok=True)
            self._fs.write_all(files)

    # Forgetting.

    def forget(self, path: str) -> None:
        """Remove the entries of a file; and of files below, as far as this process knows of them."""
        below = f"{path}/" if path else ""
        with self._lock:
            self._changes += 1
            gone = {name for name, known in self._files.items() if known.path.startswith(below)}
            gone |= {self._directory(path)}
            for name in gone:
                self._files.pop(name, None)
        for name in gone:
            with self._forgiving("remove"):
                self._fs.must_rm_all(name)

    # The limit.

    def _reserve(self, needed: int) -> None:
        """Return when so many bytes may be written."""
        with self._ledger:
            if self._reserved < needed:
                self._grant = max(needed, min(2 * self._grant, self._limit // 64))
                self._enter(self._grant)
                self._reserved += self._grant
                names = self._entered()
                total = sum(names.values())
                if total > self._limit:
                    total = self._make_room() + self._reserved
                elif len(names) <= _NAMES_IN_LEDGER:
                    names = {}
                if names:
                    self._enter(total)
                    self._fs.delete_files([join(_LEDGER, name) for name in names])
            self._reserved -= needed

    def _enter(self, size: int) -> None:
        self._write(_LEDGER, {join(_LEDGER, f"{size:x}-{os.urandom(8).hex()}"): b""})

    def _entered(self) -> dict[str, int]:
        names = [entry.name for entry in list_dir(self._fs, _LEDGER)]
        return {name: int(match.group(1), 16) for name in names if (match := _LEDGER_NAME.fullmatch(name))}

    def _make_room(self) -> int:
        """Remove entries until there is room, and return how many bytes are left."""
        found = sorted(self._everything())
        total = sum(cost for _, cost, _, _ in found)
        most = self._limit - self._limit // 8 - self._reserved
        going: dict[str, list[str]] = {}
        for _, cost, directory, name in found:
            if total <= most:
                break
            total -= cost
            going.setdefault(directory, []).append(name)
            self.evicted += cost
        for directory, names in going.items():
            self._evict(directory, names)
        return total

    def _everything(self) -> Iterator[tuple[float, int, str, str]]:
        """List all entries of all stores: when each was used, what it takes, its directory and name."""
        for above in list_dir(self._fs, _FILES):
            directory = join(_FILES, above.name)
            known = self._files.get(directory)
            for entry in list_dir(self._fs, directory):
                extent = _extent_of(entry)
                used = -1.0 if extent is None else float(extent.since)
                if known is not None and extent is not None:
                    used = max(used, known.used.get(extent, used))
                yield used, _cost(entry.size or 0), directory, entry.name

    def _evict(self, directory: str, names: Sequence[str]) -> None:
        self._fs.delete_files([join(directory, name) for name in names])
        with self._lock:
            known = self._files.get(directory)
            for name in names:
                extent = _extent_of(DirEntry(name, False))
                if extent is not None:
                    _forget(known, extent)
            empty = known is None or not len(known.extents)
        if empty and not list_dir(self._fs, directory):
            self._fs.must_rm_all(directory)

    # Names and checks.

    def _directory(self, path: str) -> str:
        return join(_FILES, xxhash.xxh3_128_hexdigest(f"{self._namespace}\0{path}".encode()))

    def _check(self, path: str, extent: Extent, data: Buffer) -> bytes:
        what = f"1\0{self._namespace}\0{path}\0{extent.offset}\0{extent.size}\0{extent.last}\0"
        digest = xxhash.xxh3_128(what.encode())
        digest.update(data)
        return bytes(digest.digest())

    @contextlib.contextmanager
    def _forgiving(self, doing: str) -> Iterator[None]:
        """Count what the cache's file system raises, and tell the log of the first."""
        try:
            yield
        except MeasureFSError as error:
            with self._lock:
                self.errors += 1
                first = self.errors == 1
            if first:
                _log.warning("the cache could not %s, so the store is read instead: %s", doing, error)


def _forget(known: _Known | None, extent: Extent) -> None:
    if known is not None:
        known.extents.discard(extent)
        known.used.pop(extent, None)


def _cost(size: int) -> int:
    """Return what a file of so many bytes takes on a disk."""
    return -(-size // _BLOCK) * _BLOCK


def _name_of(extent: Extent) -> str:
    end = "-end" if extent.last else ""
    return f"{extent.offset:x}-{extent.size:x}-{extent.since:x}{end}"


def _extent_of(entry: DirEntry) -> Extent | None:
    """Return the extent that a file of the cache has by its name; None if it is none, or not whole."""
    match = _NAME.fullmatch(entry.name)
    if match is None or entry.is_dir:
        return None
    offset, size, since = (int(digits, 16) for digits in match.groups()[:3])
    extent = Extent(offset, size, match.group(4) is not None, since)
    whole = entry.size is None or entry.size == size + _CHECK
    return extent if size <= LARGEST and whole and _name_of(extent) == entry.name else None
