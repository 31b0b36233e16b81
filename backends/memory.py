"""Memory: for tests, and for data that need not outlive the process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from measurefs.fs import (
    Buffer,
    DeleteError,
    DirEntry,
    ExistError,
    FencedError,
    File,
    FileSystem,
    LockError,
    LockFile,
    LockHolder,
    NotExistError,
    OpenError,
    ReadError,
    UnsupportedStoreError,
    WriteError,
    basename,
    check_path,
    exactly,
    held,
    parent,
)


class _Directory(dict[str, "bytes | _Directory"]):
    """Names to files' bytes and to directories."""


class _Store:
    """What all file systems of one name share. Whoever looks into it holds `guard`."""

    def __init__(self) -> None:
        self.guard = threading.RLock()
        self.root = _Directory()
        self.locks: dict[str, MemoryLock] = {}
        self.tokens: dict[str, int] = {}

    def find(self, path: str) -> bytes | _Directory | None:
        """Return what is at a path, or None."""
        found: bytes | _Directory | None = self.root
        for name in path.split("/") if path else ():
            found = found.get(name) if isinstance(found, _Directory) else None
        return found

    def directory_of(self, path: str, operation: str) -> _Directory:
        """Return the directory that a path is in."""
        directory = self.find(parent(path))
        if not isinstance(directory, _Directory):
            raise NotExistError(operation, path, "its directory is missing; call make_dir first")
        return directory

    def put(self, path: str, data: bytes, operation: str, *, exclusive: bool) -> None:
        """Store a file whole."""
        directory = self.directory_of(path, operation)
        there = directory.get(basename(path))
        if there is not None and exclusive:
            raise _already_there(operation, path)
        if isinstance(there, _Directory):
            raise WriteError(operation, path, "it is a directory; choose another name")
        directory[basename(path)] = data

    def get(self, path: str, operation: str) -> bytes:
        """Return a file's bytes."""
        found = self.find(path)
        if found is None:
            raise NotExistError(operation, path, "there is no such file")
        if isinstance(found, _Directory):
            raise OpenError(operation, path, "it is a directory; read_dir lists those")
        return found


class MemoryFileSystem(FileSystem):
    """Files in this process' memory, with the promises and the errors of a disk.

    Data handed in is copied, files are seen only once they are complete, and directories must be made. What
    is written is as durable as the process.

    Parameters
    ----------
    name : str, optional
        File systems of one name share one store, for as long as the process lives or until `forget`.
        Without a name the store is this object's own.
    """

    _named: ClassVar[dict[str, _Store]] = {}
    _naming: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        if name is None:
            self._store = _Store()
        else:
            with self._naming:
                self._store = self._named.setdefault(name, _Store())

    @classmethod
    def from_url(cls, url: str, **storage_options: Any) -> Self:
        """Open ``memory://name``, or a store of one's own as ``memory://``. A name may contain slashes."""
        if storage_options:
            raise UnsupportedStoreError(
                f"cannot open {url!r}: memory takes no options; "
                f"leave out {', '.join(sorted(storage_options))}"
            )
        return cls(url.partition("://")[2].strip("/") or None)

    @classmethod
    def forget(cls, name: str) -> None:
        """Drop a named store. Who has it open keeps it; whoever opens the name next finds it empty."""
        with cls._naming:
            cls._named.pop(name, None)

    def break_locks(self) -> None:
        """Take every lock from its holder as the holder's death would, for tests of crashes.

        Their `LockFile.check` raises `FencedError` from now on, and the next holder finds ``clean`` false.
        """
        with self._store.guard:
            self._store.locks.clear()

    def __repr__(self) -> str:
        return f"MemoryFileSystem({'' if self.name is None else repr(self.name)})"

    def make_dir(self, path: str, *, exist_ok: bool = False) -> None:
        check_path(path, "make_dir", root=True)
        with self._store.guard:
            there = self._store.find(path)
            if there is None:
                self._make_dirs(path)
            elif not (exist_ok and isinstance(there, _Directory)):
                raise ExistError("make_dir", path, "it is there already; pass exist_ok=True if it may be")

    def _make_dirs(self, path: str) -> None:
        directory = self._store.root
        for name in path.split("/"):
            below = directory.setdefault(name, _Directory())
            if not isinstance(below, _Directory):
                raise NotExistError("make_dir", path, f"{name!r} on the way to it is a file")
            directory = below

    def read_dir(self, path: str) -> list[DirEntry]:
        check_path(path, "read_dir", root=True)
        with self._store.guard:
            directory = self._store.find(path)
            if not isinstance(directory, _Directory):
                raise NotExistError("read_dir", path, "there is no such directory")
            return sorted(_entry(name, found) for name, found in directory.items())

    def create_file(self, path: str) -> File:
        check_path(path, "create_file")
        with self._store.guard:
            if basename(path) in self._store.directory_of(path, "create_file"):
                raise _already_there("create_file", path)
        return _MemoryWriter(path, self._store)

    def open_file(self, path: str) -> File:
        check_path(path, "open_file")
        with self._store.guard:
            return _MemoryReader(path, self._store.get(path, "open_file"))

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        check_path(path, "write")
        copy = _copied(data)
        with self._store.guard:
            self._store.put(path, copy, "write", exclusive=exclusive)
        return len(copy)

    def read(self, path: str) -> bytes:
        check_path(path, "read")
        with self._store.guard:
            return self._store.get(path, "read")

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        files: dict[str, bytes] = {}
        for path in {path for path, _, _ in ranges}:
            check_path(path, "read_ranges")
            with self._store.guard:
                files[path] = self._store.get(path, "read_ranges")
        return [
            exactly(_cut(files[path], path, offset, size), path, offset, size)
            for path, offset, size in ranges
        ]

    def delete_file(self, path: str) -> None:
        check_path(path, "delete_file")
        with self._store.guard:
            found = self._store.find(path)
            if found is None:
                raise NotExistError("delete_file", path, "there is no such file")
            if isinstance(found, _Directory):
                raise DeleteError("delete_file", path, "it is a directory; must_rm_all removes those")
            del self._store.directory_of(path, "delete_file")[basename(path)]

    def must_rm_all(self, path: str) -> None:
        check_path(path, "must_rm_all", root=True)
        with self._store.guard:
            if path == "":
                self._store.root.clear()
            elif self._store.find(path) is not None:
                del self._store.directory_of(path, "must_rm_all")[basename(path)]

    def sync_path(self, path: str) -> None:
        check_path(path, "sync_path", root=True)
        with self._store.guard:
            if self._store.find(path) is None:
                raise NotExistError("sync_path", path, "there is no such file or directory")

    def create_lock_file(self, path: str) -> LockFile:
        """Take the lock; a holder's death is what `break_locks` plays."""
        check_path(path, "create_lock_file")
        with self._store.guard:
            return MemoryLock(path, self._store)


class MemoryLock(LockFile):
    """A lock of a `MemoryFileSystem`; lost when its file is deleted or replaced, or by `break_locks`."""

    def __init__(self, path: str, store: _Store) -> None:
        before = store.locks.get(path)
        if before is not None and before.is_held():
            raise held(path, before.holder)
        last = store.find(path)
        if isinstance(last, _Directory):
            raise LockError("create_lock_file", path, "it is a directory; choose another name")
        left = LockHolder.decode(last) if last is not None else None
        self.path = path
        self.token = store.tokens.get(path, 0) + 1
        self.clean = self.token == 1 if left is None else left.left_clean
        self._store = store
        self.holder: LockHolder = LockHolder.here(self.token)
        self._content = self.holder.encode()
        store.put(path, self._content, "create_lock_file", exclusive=False)
        store.tokens[path] = self.token
        store.locks[path] = self

    def is_held(self) -> bool:
        """Whether it was neither released nor lost."""
        # Whoever replaced the file put other bytes there, of equal content perhaps, but not these.
        return self._store.locks.get(self.path) is self and self._store.find(self.path) is self._content

    def check(self) -> None:
        with self._store.guard:
            if not self.is_held():
                raise FencedError("check", self.path, "the lock was released or lost; open the store again")

    def close(self, *, clean: bool = True) -> None:
        with self._store.guard:
            if self.is_held():
                left = self.holder.leaving(clean=clean)
                self._store.put(self.path, left.encode(), "close", exclusive=False)
            if self._store.locks.get(self.path) is self:
                del self._store.locks[self.path]


class _MemoryWriter(File):
    """A file being appended to, part of the store only once it is closed."""

    def __init__(self, path: str, store: _Store) -> None:
        super().__init__(path)
        self._store = store
        self._data = bytearray()
        self._open = True
        self._lock = threading.Lock()

    def _check_open(self, operation: str) -> None:
        if not self._open:
            raise WriteError(operation, self.path, "the file was closed")

    def write(self, data: Buffer) -> int:
        copy = _copied(data)
        with self._lock:
            self._check_open("write")
            self._data += copy
        return len(copy)

    def size(self) -> int:
        with self._lock:
            self._check_open("size")
            return len(self._data)

    def close(self) -> None:
        with self._lock:
            if self._open:
                self._open = False
                with self._store.guard:
                    self._store.put(self.path, bytes(self._data), "close", exclusive=True)

    def discard(self) -> None:
        with self._lock:
            self._open = False


class _MemoryReader(File):
    """An open file; it has its bytes, whatever becomes of its name."""

    def __init__(self, path: str, data: bytes) -> None:
        super().__init__(path)
        self._data: bytes | None = data

    def _bytes(self, operation: str) -> bytes:
        data = self._data
        if data is None:
            raise ReadError(operation, self.path, "the file was closed; open it again")
        return data

    def read(self, offset: int, size: int) -> bytes:
        return _cut(self._bytes("read"), self.path, offset, size)

    def size(self) -> int:
        return len(self._bytes("size"))

    def close(self) -> None:
        self._data = None


def _copied(data: Buffer) -> bytes:
    return data if type(data) is bytes else memoryview(data).tobytes()


def _already_there(operation: str, path: str) -> ExistError:
    return ExistError(operation, path, "it is there already; delete it first, or choose another name")


def _cut(data: bytes, path: str, offset: int, size: int) -> bytes:
    if offset < 0 or size < 0:
        raise ReadError("read", path, f"there is no range of {size} bytes at {offset}")
    return data[offset : offset + size]


def _entry(name: str, found: bytes | _Directory) -> DirEntry:
    return DirEntry(name, True) if isinstance(found, _Directory) else DirEntry(name, False, len(found))
