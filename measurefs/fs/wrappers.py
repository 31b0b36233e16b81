"""File systems around file systems: the base they share, one that counts, one that refuses to write."""

from __future__ import annotations

import collections
import threading
from collections.abc import Mapping, Sequence

from measurefs.fs.errors import PermissionError_
from measurefs.fs.filesystem import Buffer, DirEntry, File, FileSystem, LockFile
from measurefs.fs.holder import HeldLock, LockHolder


class FileSystemWrapper(FileSystem):
    """Passes every call on to another file system; subclasses change what they are about.

    Parameters
    ----------
    wrapped : FileSystem
        Where the calls go. `innermost` finds the one at the bottom of a stack of wrappers.
    """

    def __init__(self, wrapped: FileSystem) -> None:
        self.wrapped = wrapped
        self.remote = wrapped.remote

    @property
    def innermost(self) -> FileSystem:
        """The file system below all wrappers."""
        below = self.wrapped
        return below.innermost if isinstance(below, FileSystemWrapper) else below

    def make_dir(self, path: str, *, exist_ok: bool = False) -> None:
        self.wrapped.make_dir(path, exist_ok=exist_ok)

    def read_dir(self, path: str) -> list[DirEntry]:
        return self.wrapped.read_dir(path)

    def create_file(self, path: str) -> File:
        return self.wrapped.create_file(path)

    def open_file(self, path: str) -> File:
        return self.wrapped.open_file(path)

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        return self.wrapped.write(path, data, exclusive=exclusive)

    def read(self, path: str) -> bytes:
        return self.wrapped.read(path)

    def delete_file(self, path: str) -> None:
        self.wrapped.delete_file(path)

    def must_rm_all(self, path: str) -> None:
        self.wrapped.must_rm_all(path)

    def sync_path(self, path: str) -> None:
        self.wrapped.sync_path(path)

    def create_lock_file(self, path: str) -> LockFile:
        return self.wrapped.create_lock_file(path)

    def lock_holder(self, path: str) -> HeldLock | None:
        return self.wrapped.lock_holder(path)

    def break_lock(self, path: str) -> LockHolder | None:
        return self.wrapped.break_lock(path)

    def write_all(self, files: Mapping[str, Buffer]) -> None:
        self.wrapped.write_all(files)

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        return self.wrapped.read_ranges(ranges)

    def read_tree(self, path: str, limit: int) -> list[DirEntry] | None:
        return self.wrapped.read_tree(path, limit)

    def delete_files(self, paths: Sequence[str]) -> None:
        self.wrapped.delete_files(paths)

    def close(self) -> None:
        self.wrapped.close()


class CountingFileSystem(FileSystemWrapper):
    """Counts the calls of each method, and the bytes that whole-file and range calls move.

    Attributes
    ----------
    calls : collections.Counter
        Method name to number of calls.
    bytes : collections.Counter
        ``"read"`` and ``"written"`` to number of bytes. What goes through an open `File` is not seen.
    """

    def __init__(self, wrapped: FileSystem) -> None:
        super().__init__(wrapped)
        self.calls: collections.Counter[str] = collections.Counter()
        self.bytes: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def reset(self) -> None:
        """Start counting from nothing."""
        with self._lock:
            self.calls.clear()
            self.bytes.clear()

    def _count(self, method: str, *, read: int = 0, written: int = 0) -> None:
        with self._lock:
            self.calls[method] += 1
            self.bytes["read"] += read
            self.bytes["written"] += written

    def make_dir(self, path: str, *, exist_ok: bool = False) -> None:
        self._count("make_dir")
        super().make_dir(path, exist_ok=exist_ok)

    def read_dir(self, path: str) -> list[DirEntry]:
        self._count("read_dir")
        return super().read_dir(path)

    def create_file(self, path: str) -> File:
        self._count("create_file")
        return super().create_file(path)

    def open_file(self, path: str) -> File:
        self._count("open_file")
        return super().open_file(path)

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        self._count("write", written=memoryview(data).nbytes)
        return super().write(path, data, exclusive=exclusive)

    def read(self, path: str) -> bytes:
        data = super().read(path)
        self._count("read", read=len(data))
        return data

    def delete_file(self, path: str) -> None:
        self._count("delete_file")
        super().delete_file(path)

    def must_rm_all(self, path: str) -> None:
        self._count("must_rm_all")
        super().must_rm_all(path)

    def sync_path(self, path: str) -> None:
        self._count("sync_path")
        super().sync_path(path)

    def create_lock_file(self, path: str) -> LockFile:
        self._count("create_lock_file")
        return super().create_lock_file(path)

    def lock_holder(self, path: str) -> HeldLock | None:
        self._count("lock_holder")
        return super().lock_holder(path)

    def break_lock(self, path: str) -> LockHolder | None:
        self._count("break_lock")
        return super().break_lock(path)

    def write_all(self, files: Mapping[str, Buffer]) -> None:
        self._count("write_all", written=sum(memoryview(data).nbytes for data in files.values()))
        super().write_all(files)

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        self._count("read_ranges", read=sum(size for _, _, size in ranges))
        return super().read_ranges(ranges)

    def read_tree(self, path: str, limit: int) -> list[DirEntry] | None:
        self._count("read_tree")
        return super().read_tree(path, limit)

    def delete_files(self, paths: Sequence[str]) -> None:
        self._count("delete_files")
        super().delete_files(paths)


class ReadOnlyFileSystem(FileSystemWrapper):
    """Refuses every call that would change the store, with `PermissionError_`."""

    def make_dir(self, path: str, *, exist_ok: bool = False) -> None:
        raise _refusal("make_dir", path)

    def create_file(self, path: str) -> File:
        raise _refusal("create_file", path)

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        raise _refusal("write", path)

    def delete_file(self, path: str) -> None:
        raise _refusal("delete_file", path)

    def must_rm_all(self, path: str) -> None:
        raise _refusal("must_rm_all", path)

    def sync_path(self, path: str) -> None:
        raise _refusal("sync_path", path)

    def create_lock_file(self, path: str) -> LockFile:
        raise _refusal("create_lock_file", path)

    def break_lock(self, path: str) -> LockHolder | None:
        raise _refusal("break_lock", path)

    def write_all(self, files: Mapping[str, Buffer]) -> None:
        raise _refusal("write_all", next(iter(files), ""))

    def delete_files(self, paths: Sequence[str]) -> None:
        raise _refusal("delete_files", next(iter(paths), ""))


def _refusal(operation: str, path: str) -> PermissionError_:
    return PermissionError_(operation, path, "the store was opened read-only; open it without read_only=True")
