"""Open files and locks of a `CrashFileSystem`."""
# ruff: noqa: D102 - the interface documents what they do

from __future__ import annotations

from typing import TYPE_CHECKING

from measurefs.fs import (
    Buffer,
    FencedError,
    File,
    LockError,
    LockFile,
    LockHolder,
    ReadError,
    WriteError,
    basename,
    held,
)
from measurefs.testing.crash_tree import Directory

if TYPE_CHECKING:
    from measurefs.testing.crash import CrashFileSystem

TEMPORARY = ".tmp-"
"""How the names of files start that a crash has left unfinished."""


class CrashLock(LockFile):
    """A lock, free again with the crash of its holder."""

    holder: LockHolder

    def __init__(self, path: str, fs: CrashFileSystem) -> None:
        if path in fs._locks and fs._locks[path].is_held():
            raise held(path, fs._locks[path].holder)
        directory = fs._directory_of(path, "create_lock_file")
        last = directory.get(basename(path))
        if isinstance(last, Directory):
            raise LockError("create_lock_file", path, "it is a directory; choose another name")
        left = LockHolder.decode(last) if last is not None else None
        self.path = path
        self.token = fs._tokens.get(path, 0) + 1
        self.clean = left.left_clean if left else self.token == 1
        self._fs = fs
        self.holder = LockHolder.here(self.token)
        self._content = self.holder.encode()
        directory.put_durably(basename(path), self._content)
        fs._tokens[path] = self.token
        fs._locks[path] = self
        for name in directory.now():
            if name.startswith(TEMPORARY):
                directory.put(name, None)

    def is_held(self) -> bool:
        """Whether it was neither released nor lost."""
        # Whoever replaced the file put other bytes there, of equal content perhaps, but not these.
        return self._fs._locks.get(self.path) is self and self._fs._find(self.path) is self._content

    def check(self) -> None:
        with self._fs._reading():
            if not self.is_held():
                raise FencedError("check", self.path, "the lock was released or lost; open the store again")

    def close(self, *, clean: bool = True) -> None:
        with self._fs._guard:
            if self.is_held():
                with self._fs._changing("lock.close", self.path):
                    directory = self._fs._directory_of(self.path, "close")
                    directory.put_durably(basename(self.path), self.holder.leaving(clean=clean).encode())
            if self._fs._locks.get(self.path) is self:
                del self._fs._locks[self.path]


class CrashWriter(File):
    """A file being appended to, part of the store only once it is closed."""

    def __init__(self, path: str, fs: CrashFileSystem) -> None:
        super().__init__(path)
        self._fs = fs
        self._data = bytearray()
        fs._unfinished[self] = path, self._data

    def _check_open(self, operation: str) -> None:
        if self not in self._fs._unfinished:
            raise WriteError(operation, self.path, "the file was closed")

    def write(self, data: Buffer) -> int:
        copy = copied(data)
        with self._fs._changing("file.write", self.path):
            self._check_open("write")
            self._data += copy
        return len(copy)

    def size(self) -> int:
        with self._fs._reading():
            self._check_open("size")
            return len(self._data)

    def close(self) -> None:
        with self._fs._guard:
            if self in self._fs._unfinished:
                with self._fs._changing("file.close", self.path):
                    del self._fs._unfinished[self]
                    self._fs._put(self.path, bytes(self._data), "close", exclusive=True)

    def discard(self) -> None:
        with self._fs._guard:
            if not self._fs.crashed:  # what a crash finds unfinished stays so
                self._fs._unfinished.pop(self, None)


class CrashReader(File):
    """An open file; it has its bytes, whatever becomes of its name."""

    def __init__(self, path: str, data: bytes, fs: CrashFileSystem) -> None:
        super().__init__(path)
        self._data: bytes | None = data
        self._fs = fs

    def _bytes(self, operation: str) -> bytes:
        with self._fs._reading():
            if self._data is None:
                raise ReadError(operation, self.path, "the file was closed; open it again")
            return self._data

    def read(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0:
            raise ReadError("read", self.path, f"there is no range of {size} bytes at {offset}")
        return self._bytes("read")[offset : offset + size]

    def size(self) -> int:
        return len(self._bytes("size"))

    def close(self) -> None:
        self._data = None


def copied(data: Buffer) -> bytes:
    """Return data as bytes of our own."""
    return data if type(data) is bytes else memoryview(data).tobytes()
