"""The local disk."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self
from urllib.parse import unquote

from measurefs.backends.local_files import (
    BINARY,
    TEMPORARY,
    LocalReader,
    LocalWriter,
    TemporaryFile,
    already_there,
    explained,
    read_at,
    sync,
    sync_directory,
    translated,
)
from measurefs.backends.local_lock import LocalLock, acquire
from measurefs.fs import (
    Buffer,
    DeleteError,
    DirEntry,
    File,
    FileSystem,
    FileSystemError,
    FlushError,
    InvalidPathError,
    NotExistError,
    OpenError,
    PermissionError_,
    ReadError,
    UnsupportedStoreError,
    WriteError,
    check_path,
    exactly,
    scheme_of,
)

_DIRECTORY_MODE = 0o700
# Windows makes only files durable that are open for writing.
_READ_FLAGS = BINARY | (os.O_RDWR if os.name == "nt" else os.O_RDONLY)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_IS_LINK = {errno.ELOOP, errno.EMLINK}  # what opening one with O_NOFOLLOW gives; the BSDs have the second
_WRITERS = 4
_GAP = 64 << 10
_LONGEST_READ = 16 << 20
_KNOWN_DIRECTORIES = 4096

_TRANSIENT = {errno.EBUSY, errno.ENOTEMPTY, errno.EEXIST, errno.EAGAIN, errno.EMFILE, errno.ENFILE}
if os.name == "nt":
    _TRANSIENT |= {errno.EACCES}  # of a file that somebody has open

_Range = tuple[int, int, int]  # offset, size, and the place in the list asked for


class LocalFileSystem(FileSystem):
    """Files below a directory of the local disk.

    Files have mode 0600 and directories 0700. A file is written under a temporary name beside its final one,
    made durable, and then renamed, or linked where it must be new; so a crash at any moment leaves the old
    content, the new content, or a hidden temporary file that the next `create_lock_file` in that directory
    removes. The root is created by the first write. Symbolic links lead nowhere outside of it.

    Parameters
    ----------
    root : path-like
        The directory. It may itself be a symbolic link.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.path.abspath(root)
        self._prefix = os.path.join(self.root, "")
        self._known: dict[str, tuple[int, int]] = {}
        self._making = threading.Lock()
        self._pool = _Pool()

    @classmethod
    def from_url(cls, url: str, **storage_options: Any) -> Self:
        """Open ``./path``, ``~/path``, ``/path`` or ``file:///path``."""
        if storage_options:
            raise UnsupportedStoreError(
                f"cannot open {url!r}: a local directory takes no options; "
                f"leave out {', '.join(sorted(storage_options))}"
            )
        return cls(_path_of(url))

    def __repr__(self) -> str:
        return f"LocalFileSystem({self.root!r})"

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self.root,)

    # Directories

    def make_dir(self, path: str, *, exist_ok: bool = False) -> None:
        name = self._name(path, "make_dir", root=True)
        with translated("make_dir", path, WriteError):
            made = self._make_dirs(name, path, "make_dir")
            if not made and not (exist_ok and os.path.isdir(name)):
                raise already_there("make_dir", path)

    def read_dir(self, path: str) -> list[DirEntry]:
        name = self._name(path, "read_dir", root=True)
        with translated("read_dir", path, ReadError):
            if path == "" and not os.path.lexists(name):  # nothing was written to it yet
                return []
            self._check_inside(name, path, "read_dir")
            with os.scandir(name) as entries:
                found = [_entry(entry) for entry in entries]
        return sorted(
            (entry for entry in found if not entry.name.startswith(TEMPORARY)), key=lambda entry: entry.name
        )

    def sync_path(self, path: str) -> None:
        name = self._name(path, "sync_path", root=True)
        with translated("sync_path", path, FlushError):
            if os.path.isdir(name):
                self._check_inside(name, path, "sync_path")
                sync_directory(name)
            elif path or os.path.lexists(name):  # a root that was never written to has nothing to lose
                fd, _ = self._open(name, path, "sync_path")
                try:
                    sync(fd)
                finally:
                    os.close(fd)

    # Files

    def create_file(self, path: str) -> File:
        name = self._name(path, "create_file")
        with translated("create_file", path, OpenError):
            directory = self._directory_to_write(name, path, "create_file")
            if os.path.lexists(name):
                raise already_there("create_file", path)
            return LocalWriter(path, name, TemporaryFile(directory))

    def open_file(self, path: str) -> File:
        name = self._name(path, "open_file")
        with translated("open_file", path, OpenError):
            return LocalReader(path, self._open(name, path, "open_file")[0])

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        name = self._name(path, "write")
        with translated("write", path, WriteError):
            directory = self._directory_to_write(name, path, "write")
            if exclusive and os.path.lexists(name):  # spares the bytes; publishing has the last word
                raise already_there("write", path)
            with TemporaryFile(directory) as temporary:
                size = temporary.append(data)
                temporary.publish(name, exclusive=exclusive)
        return size

    def write_all(self, files: Mapping[str, Buffer]) -> None:
        if len(files) < 2:
            super().write_all(files)
            return
        # The disk makes several files durable in little more time than one.
        pending = [self._pool.submit(self.write, path, data) for path, data in files.items()]
        for error in [future.exception() for future in pending]:  # all are waited for before one is raised
            if error is not None:
                raise error

    def read(self, path: str) -> bytes:
        name = self._name(path, "read")
        try:
            fd, size = self._open(name, path, "read")
            try:
                return read_at(fd, 0, size)
            finally:
                os.close(fd)
        except FileSystemError:
            raise
        except OSError as error:
            raise explained(error, "read", path, ReadError) from error

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        found = [b""] * len(ranges)
        by_path: dict[str, list[_Range]] = {}
        for place, (path, offset, size) in enumerate(ranges):
            by_path.setdefault(path, []).append((offset, size, place))
        for path, wanted in by_path.items():
            self._read_ranges(path, sorted(wanted), found)
        return found

    def _read_ranges(self, path: str, wanted: Sequence[_Range], found: list[bytes]) -> None:
        name = self._name(path, "read_ranges")
        with translated("read_ranges", path, ReadError):
            fd, _ = self._open(name, path, "read_ranges")
            try:
                for start, end, run in _runs(wanted):
                    data = read_at(fd, start, end - start)
                    for offset, size, place in run:
                        piece = data[offset - start : offset - start + size]
                        found[place] = exactly(piece, path, offset, size)
            finally:
                os.close(fd)

    def delete_file(self, path: str) -> None:
        name = self._name(path, "delete_file")
        with translated("delete_file", path, DeleteError):
            self._check_inside(os.path.dirname(name), path, "delete_file")
            if _is_directory(name):
                raise DeleteError(
                    "delete_file", path, "it is a directory; must_rm_all removes those", errno.EISDIR
                )
            os.unlink(name)

    def must_rm_all(self, path: str) -> None:
        name = self._name(path, "must_rm_all", root=True)
        with translated("must_rm_all", path, DeleteError), _missing_is_fine():
            self._check_inside(os.path.dirname(name) if path else name, path, "must_rm_all")
            if path == "":
                _persistently(_remove_tree, name, keep=True)
            elif _is_directory(name):
                _persistently(_remove_tree, name)
            else:
                _persistently(os.unlink, name)

    # Locks

    def create_lock_file(self, path: str) -> LocalLock:
        """Take the lock, by ``flock`` on POSIX; then remove the temporary files that a crash left beside it.

        Who writes files directly in the lock's directory without holding it may see the writing fail.
        """
        name = self._name(path, "create_lock_file")
        with translated("create_lock_file", path, OpenError):
            directory = self._directory_to_write(name, path, "create_lock_file")
        lock = acquire(path, name)
        _sweep(directory)
        return lock

    def close(self) -> None:
        """Let go of the threads. The file system can be used all the same, and starts new ones if need be."""
        self._pool.close()

    # Names

    def _name(self, path: str, operation: str, *, root: bool = False) -> str:
        check_path(path, operation, root=root)
        if TEMPORARY in path and any(name.startswith(TEMPORARY) for name in path.split("/")):
            raise InvalidPathError(
                operation, path, f"names that start with {TEMPORARY!r} are those of unfinished files"
            )
        return self._prefix + path if path else self.root

    def _check_inside(self, directory: str, path: str, operation: str) -> None:
        """Refuse a directory that is reached through a symbolic link out of the root."""
        if len(directory) <= len(self.root):  # the root itself, or, when that is created, one above it
            return
        status = os.stat(directory)
        identity = (status.st_dev, status.st_ino)
        if self._known.get(directory) == identity:  # resolving takes a call per component, this one in all
            return
        self._require_inside(os.path.realpath(directory), path, operation)
        if len(self._known) >= _KNOWN_DIRECTORIES:
            self._known.clear()
        self._known[directory] = identity

    def _require_inside(self, resolved: str, path: str, operation: str) -> None:
        if not resolved.startswith(os.path.join(os.path.realpath(self.root), "")):
            raise PermissionError_(
                operation,
                path,
                f"a symbolic link leads out of {self.root!r}; put what it points to there instead",
            )

    def _directory_to_write(self, name: str, path: str, operation: str) -> str:
        directory = os.path.dirname(name)
        if directory == self.root:
            if not os.path.isdir(directory):
                self._make_dirs(directory, "", operation)
            return directory
        try:
            self._check_inside(directory, path, operation)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotExistError(operation, path, "its directory is missing; call make_dir first") from error
        return directory

    def _make_dirs(self, name: str, path: str, operation: str) -> bool:
        """Make a directory and those above it, and say whether it was missing.

        The names of those above are durable on return, and so is the root's, since nobody else can sync them.
        """
        with self._making:  # or a second thread could find one there whose name is not durable yet
            missing: list[str] = []
            directory = name
            while not os.path.lexists(directory):
                missing.append(directory)
                directory = os.path.dirname(directory)
            self._check_inside(directory, path, operation)
            made = False
            for directory in reversed(missing):
                made = _make_one(directory)
                if directory != name or name == self.root:
                    sync_directory(os.path.dirname(directory))
            return made

    def _open(self, name: str, path: str, operation: str) -> tuple[int, int]:
        """Open a file to read, and return its descriptor and its size."""
        self._check_inside(os.path.dirname(name), path, operation)
        try:
            fd = os.open(name, _READ_FLAGS | _NO_FOLLOW)
        except OSError as error:
            if error.errno not in _IS_LINK:
                raise
            resolved = os.path.realpath(name)
            self._require_inside(resolved, path, operation)
            fd = os.open(resolved, _READ_FLAGS | _NO_FOLLOW)
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            os.close(fd)
            raise OpenError(operation, path, "it is a directory; read_dir lists those", errno.EISDIR)
        return fd, status.st_size


class _Pool:
    """A few threads, started when first needed, and anew in a forked child, which has none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._pid = 0

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        with self._lock:
            if self._threads is None or self._pid != os.getpid():
                self._threads = ThreadPoolExecutor(_WRITERS, thread_name_prefix="measurefs-local")
                self._pid = os.getpid()
            return self._threads.submit(call, *arguments)

    def close(self) -> None:
        with self._lock:
            threads, self._threads = self._threads, None
        if threads is not None and self._pid == os.getpid():
            threads.shutdown()


def _runs(ranges: Sequence[_Range]) -> Iterator[tuple[int, int, list[_Range]]]:
    """Group ranges, sorted by offset, that one read serves: close together, and not too long in all."""
    run: list[_Range] = []
    start = end = 0
    for part in ranges:
        offset, stop = part[0], part[0] + part[1]
        if run and (offset > end + _GAP or stop - start > _LONGEST_READ):
            yield start, end, run
            run = []
        if not run:
            start = end = offset
        end = max(end, stop)
        run.append(part)
    if run:
        yield start, end, run


def _entry(entry: os.DirEntry[str]) -> DirEntry:
    if entry.is_dir():
        return DirEntry(entry.name, True)
    try:
        return DirEntry(entry.name, False, entry.stat().st_size)
    except FileNotFoundError:  # deleted since it was listed, or a link to nothing
        return DirEntry(entry.name, False)


def _is_directory(name: str) -> bool:
    return stat.S_ISDIR(os.lstat(name).st_mode)


def _make_one(directory: str) -> bool:
    try:
        os.mkdir(directory, _DIRECTORY_MODE)
    except FileExistsError:  # another process made it just now
        return False
    return True


def _persistently(remove: Callable[..., None], name: str, **settings: Any) -> None:
    """Remove something, and try again for a while if it is in use."""
    import tenacity  # noqa: PLC0415 - it takes as long as opening a store, and few processes remove anything

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, OSError) and error.errno in _TRANSIENT
        ),
        wait=tenacity.wait_random_exponential(multiplier=0.01, max=0.25),
        stop=tenacity.stop_after_delay(2),
        reraise=True,
    )
    retrying(remove, name, **settings)


def _remove_tree(name: str, *, keep: bool = False) -> None:
    """Remove all under a directory, and itself unless keep; symbolic links go, what they lead to stays."""
    found: list[str] = []
    waiting = [name]
    while waiting:
        directory = waiting.pop()
        found.append(directory)
        with _missing_is_fine(), os.scandir(directory) as entries:
            for entry in list(entries):
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    with _missing_is_fine():
                        os.unlink(entry.path)
    for directory in reversed(found[1:] if keep else found):  # a parent always stands before its children
        with _missing_is_fine():
            os.rmdir(directory)


def _missing_is_fine() -> contextlib.suppress:
    return contextlib.suppress(FileNotFoundError, NotADirectoryError)


def _sweep(directory: str) -> None:
    # What cannot be removed stays hidden, and is the next holder's to try.
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in list(entries):
            if entry.name.startswith(TEMPORARY) and not entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def _path_of(url: str) -> str:
    if scheme_of(url) != "file" or not url:
        raise UnsupportedStoreError(
            f"cannot open {url!r}: a local directory is named by a path or by file:///path"
        )
    if "://" not in url:
        return os.path.expanduser(url)
    host, slash, path = url.partition("://")[2].partition("/")
    if host not in {"", "localhost"} or not slash:
        raise UnsupportedStoreError(f"cannot open {url!r}: write file:///absolute/path, with three slashes")
    return unquote(path if os.name == "nt" else "/" + path)
