"""Any store that fsspec knows, for those that have no backend of their own."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import fsspec
import tenacity
from fsspec.core import url_to_fs
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from measurefs.backends.lease import LeaseLocks
from measurefs.backends.ranges import RangeReader, cut, plan
from measurefs.fs import (
    Buffer,
    DeleteError,
    DirEntry,
    ExistError,
    File,
    FileSystem,
    FileSystemError,
    HeldLock,
    LockFile,
    LockHolder,
    NotExistError,
    OpenError,
    PermissionError_,
    ReadError,
    UnsupportedStoreError,
    WriteError,
    check_path,
    from_os_error,
    parent,
)

_UNFINISHED = ".measurefs-unfinished-"
"""How the names begin under which local files are written before they get their own."""

_OTHERWISE: dict[str, type[FileSystemError]] = {
    "create_file": WriteError,
    "delete_file": DeleteError,
    "make_dir": WriteError,
    "must_rm_all": DeleteError,
    "open_file": OpenError,
    "read": ReadError,
    "read_dir": ReadError,
    "read_ranges": ReadError,
    "write": WriteError,
}


class FsspecFileSystem(FileSystem):
    """Files in any fsspec file system, with what all of those have: whole-file writes, range reads, listings.

    What it promises is what the store behind it does. An object store writes a file whole or not at all and
    durably. fsspec's own implementations for disks promise neither: none syncs, and an exclusive write shows
    while it grows. So for those use a backend that does: a plain path or ``file://`` for this machine's.

    fsspec cannot tell whether an exclusive create is atomic. Where that is not known (it is known for its
    local files) exclusive writes and locks are refused: the store opens read-only.

    The lock is the one of `measurefs.backends.lease`, on exclusive writes.

    Parameters
    ----------
    fs : fsspec.AbstractFileSystem
        The file system; best one made with ``skip_instance_cache=True, use_listings_cache=False``.
    root : str
        The path in it under which everything is kept.
    assume_exclusive_create : bool
        Take it that ``pipe_file(path, data, mode="create")`` is atomic on this store. If it is not, two
        writers can destroy each other's data.
    lease : float
        Seconds after which a lock that its holder does not renew may be taken over.
    lock_wait : bool
        Whether `create_lock_file` watches a held lock until it is renewed (`LockError`) or free.
    """

    def __init__(
        self,
        fs: fsspec.AbstractFileSystem,
        root: str,
        *,
        assume_exclusive_create: bool = False,
        lease: float = 30.0,
        lock_wait: bool = True,
    ) -> None:
        self._fs = fs
        self._root = root.rstrip("/")
        store = _innermost(fs)
        self._exclusive = assume_exclusive_create or isinstance(store, LocalFileSystem)
        self.remote = not isinstance(store, LocalFileSystem | MemoryFileSystem)
        self._locks = LeaseLocks(self, lease=lease, wait=lock_wait)
        self._pid = os.getpid()

    @classmethod
    def from_url(cls, url: str, **storage_options: Any) -> FsspecFileSystem:
        """Open what an fsspec URL names; options that are not this class's own go to fsspec.

        Raises
        ------
        UnsupportedStoreError
            fsspec does not know the scheme, or the package that serves it is missing.
        """
        names = {"assume_exclusive_create", "lease", "lock_wait"}
        own = {name: storage_options.pop(name) for name in names & storage_options.keys()}
        storage_options |= {"skip_instance_cache": True, "use_listings_cache": False}
        try:
            fs, root = url_to_fs(url, **storage_options)
        except (ImportError, ValueError) as error:
            raise UnsupportedStoreError(f"cannot open {url!r}: {error}") from error
        return cls(fs, root, **own)

    def _at(self, operation: str, path: str, *, root: bool = False) -> str:
        """Return where a path is in the fsspec file system."""
        check_path(path, operation, root=root)
        if os.getpid() != self._pid and self.remote:
            reason = "the process was forked after the store was opened; open the store again in the child"
            raise FileSystemError(operation, path, reason)
        return f"{self._root}/{path}" if path else self._root

    def make_dir(self, path: str, *, exist_ok: bool = False) -> None:
        there = self._at("make_dir", path, root=True)
        with _translated("make_dir", path):
            if self._fs.isfile(there):
                raise ExistError("make_dir", path, "there is a file of that name")
            self._fs.makedirs(there, exist_ok=exist_ok)

    def read_dir(self, path: str) -> list[DirEntry]:
        there = self._at("read_dir", path, root=True)
        with _translated("read_dir", path):
            try:
                found = self._fs.ls(there, detail=True)
            except FileNotFoundError:
                if path:
                    raise
                return []
            if [item["name"].rstrip("/") for item in found] == [there] and found[0]["type"] == "file":
                raise NotExistError("read_dir", path, "it is a file, not a directory")
        entries = {_entry(item) for item in found if item["name"].rstrip("/") != there}
        return sorted(entry for entry in entries if entry.name and not entry.name.startswith(_UNFINISHED))

    def create_file(self, path: str) -> File:
        there = self._at("create_file", path)
        with _translated("create_file", path):
            if self._fs.exists(there):
                raise ExistError("create_file", path, "it is there already; delete it first")
            self._check_directory("create_file", path)
        return _Writer(path, self)

    def open_file(self, path: str) -> File:
        there = self._at("open_file", path)
        with _translated("open_file", path):
            found = self._fs.info(there)
        if found["type"] != "file":
            raise OpenError("open_file", path, "it is a directory")
        return RangeReader(path, found["size"], self.read_ranges)

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        there = self._at("write", path)
        body = bytes(data)
        if exclusive and not self._exclusive:
            raise self._unsupported("write", path)
        with _translated("write", path):
            self._check_directory("write", path)
            if exclusive:
                self._create(there, body)
            elif isinstance(_innermost(self._fs), LocalFileSystem):
                self._replace(there, path, body)
            else:
                self._fs.pipe_file(there, body)
        return len(body)

    def _replace(self, there: str, path: str, body: bytes) -> None:
        """Write a local file beside its name and rename it, as writing in place would show half of it."""
        if self._fs.isdir(there):
            raise WriteError("write", path, "it is a directory")
        beside = f"{there.rpartition('/')[0]}/{_UNFINISHED}{secrets.token_hex(16)}"
        try:
            self._fs.pipe_file(beside, body)
            self._fs.mv(beside, there)
        except BaseException:
            if self._fs.exists(beside):
                self._fs.rm_file(beside)
            raise

    def _create(self, there: str, body: bytes) -> None:
        store = _innermost(self._fs)
        if getattr(store.pipe_file, "__func__", None) is not fsspec.AbstractFileSystem.pipe_file:
            self._fs.pipe_file(there, body, mode="create")
            return
        # What fsspec offers by default looks whether the name is free and then overwrites; mode x decides.
        file = self._fs.open(there, "xb")
        try:
            with file:
                file.write(body)
        except BaseException:
            self._fs.rm_file(there)
            raise

    def read(self, path: str) -> bytes:
        there = self._at("read", path)
        with _translated("read", path):
            data: bytes = self._fs.cat_file(there)
        return data

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        fetches = plan(ranges)
        paths = [self._at("read_ranges", fetch.path) for fetch in fetches]
        if not paths:
            return [b""] * len(ranges)
        starts, stops = [fetch.start for fetch in fetches], [fetch.stop for fetch in fetches]
        with _translated("read_ranges", fetches[0].path):
            bodies = self._fs.cat_ranges(paths, starts, stops, on_error="return")
        for fetch, body in zip(fetches, bodies, strict=True):
            if isinstance(body, Exception):
                raise _translate(body, "read_ranges", fetch.path) from body
        return cut(ranges, fetches, bodies)

    def delete_file(self, path: str) -> None:
        there = self._at("delete_file", path)
        with _translated("delete_file", path):
            if self._fs.info(there)["type"] == "directory":
                raise DeleteError("delete_file", path, "it is a directory; use must_rm_all")
            self._fs.rm_file(there)

    def must_rm_all(self, path: str) -> None:
        there = self._at("must_rm_all", path, root=True)
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(5),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
            retry=tenacity.retry_if_not_exception_type((PermissionError, ValueError)),
            reraise=True,
        )
        with _translated("must_rm_all", path):
            retrying(self._remove if path else self._empty, there)

    def _remove(self, there: str) -> None:
        try:
            self._fs.rm(there, recursive=True)
        except (FileNotFoundError, NotADirectoryError):
            if self._fs.exists(there):  # somebody else removes the same tree; try again what is left of it
                raise

    def _empty(self, there: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            for item in self._fs.ls(there, detail=True):
                self._remove(item["name"])

    def sync_path(self, path: str) -> None:
        """Do nothing: fsspec has no such call, and the stores it is for are durable when a write returns."""
        there = self._at("sync_path", path, root=True)
        if path and not self.remote and not self._fs.exists(there):
            raise NotExistError("sync_path", path, "there is no such path")

    def create_lock_file(self, path: str) -> LockFile:
        """Take the lock, which is a chain of files ``<path>.<token as 16 hex digits>``.

        Raises
        ------
        LockError
            It is held.
        UnsupportedStoreError
            Whether exclusive create is atomic on this store is not known.
        """
        self._at("create_lock_file", path)
        if not self._exclusive:
            raise self._unsupported("create_lock_file", path)
        return self._locks.acquire(path)

    def lock_holder(self, path: str) -> HeldLock | None:
        self._at("lock_holder", path)
        return self._locks.holder(path)

    def break_lock(self, path: str) -> LockHolder | None:
        self._at("break_lock", path)
        return self._locks.break_lock(path)

    def close(self) -> None:
        """Stop renewing locks; one still held is free when its lease has passed."""
        self._locks.close()

    def _check_directory(self, operation: str, path: str) -> None:
        """Hold local stores to directories that exist, which some of fsspec's make silently."""
        above = self._at(operation, parent(path), root=True)
        if not self.remote and parent(path) and not self._fs.isdir(above):
            raise NotExistError(operation, path, "its directory does not exist; make it first")

    def _unsupported(self, operation: str, path: str) -> UnsupportedStoreError:
        return UnsupportedStoreError(
            f"cannot {operation} {path!r}: it is not known whether exclusive create is atomic on "
            f"{type(_innermost(self._fs)).__name__}, so two writers could not be kept apart; "
            "open with read_only=True, or pass assume_exclusive_create=True if it is, or if no two "
            "writers will ever meet"
        )


class _Writer(File):
    """A file being written, kept in memory until it is closed."""

    def __init__(self, path: str, fs: FsspecFileSystem) -> None:
        super().__init__(path)
        self._fs = fs
        self._buffer = bytearray()
        self._closed = False

    def write(self, data: Buffer) -> int:
        self._check_open("write")
        self._buffer += data
        return memoryview(data).nbytes

    def size(self) -> int:
        self._check_open("size")
        return len(self._buffer)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            # Without exclusive create the check that `create_file` made is all there is.
            self._fs.write(self.path, self._buffer, exclusive=self._fs._exclusive)

    def discard(self) -> None:
        self._closed = True
        self._buffer.clear()

    def _check_open(self, operation: str) -> None:
        if self._closed:
            raise WriteError(operation, self.path, "the file is closed")


def _innermost(fs: fsspec.AbstractFileSystem) -> fsspec.AbstractFileSystem:
    return _innermost(fs.fs) if isinstance(fs, DirFileSystem) else fs


def _entry(item: dict[str, Any]) -> DirEntry:
    name = item["name"].rstrip("/").rpartition("/")[2]
    if item["type"] == "directory":
        return DirEntry(name, True)
    return DirEntry(name, False, item.get("size"))


@contextlib.contextmanager
def _translated(operation: str, path: str) -> Iterator[None]:
    """Turn whatever fsspec and the libraries behind it raise into an error of our family."""
    try:
        yield
    except (FileSystemError, UnsupportedStoreError):
        raise
    except Exception as error:
        raise _translate(error, operation, path) from error


def _translate(error: Exception, operation: str, path: str) -> FileSystemError:
    kind = _OTHERWISE.get(operation, FileSystemError)
    plain: dict[type[OSError], Callable[[str, str, str], FileSystemError]] = {
        FileNotFoundError: NotExistError,
        NotADirectoryError: NotExistError,
        FileExistsError: ExistError,
        PermissionError: PermissionError_,
    }
    for builtin, ours in plain.items():
        # Libraries raise these with a message alone; without an errno the class is all there is to go by.
        if isinstance(error, builtin):
            return ours(operation, path, str(error) or builtin.__name__)
    if isinstance(error, OSError):
        return from_os_error(error, operation, path, kind)
    return kind(operation, path, f"{type(error).__name__}: {error}")
