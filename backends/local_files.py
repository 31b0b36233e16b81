"""Open files of the local backend, and the system calls it rests on."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import warnings
from types import TracebackType
from typing import Self

from measurefs.fs import (
    Buffer,
    ExistError,
    File,
    FileSystemError,
    FlushError,
    ReadError,
    WriteError,
    from_os_error,
)

if sys.platform != "win32":
    import fcntl

TEMPORARY = ".tmp-"
"""What the names of unpublished files start with. No user's name may, and listings leave them out."""

FILE_MODE = 0o600
BINARY = getattr(os, "O_BINARY", 0)

_BUFFER_SIZE = 1 << 20
_LARGE_READ = 1 << 20
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
_REMEDIES = {
    errno.ENOSPC: "free some space on the disk",
    getattr(errno, "EDQUOT", errno.ENOSPC): "free some space, or raise the quota",
    errno.EACCES: "check the owner and the permissions of the store's directory",
    errno.EPERM: "check the owner and the permissions of the store's directory",
    errno.EROFS: "the disk is mounted read-only; open the store with read_only=True",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "raise the system's limit on open files",
    errno.ENAMETOOLONG: "use shorter names",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
}


def explained(
    error: OSError, operation: str, path: str, otherwise: type[FileSystemError] = FileSystemError
) -> FileSystemError:
    """Translate an operating-system error as `from_os_error` does, and add what to do about it."""
    made = from_os_error(error, operation, path, otherwise)
    remedy = _REMEDIES.get(error.errno or 0)
    if remedy is None or made is error:
        return made
    return type(made)(operation, path, f"{made.reason}; {remedy}", made.errno)


class translated:  # noqa: N801 - used like a function
    """A context that turns an `OSError` inside it into the `FileSystemError` of an operation on a path."""

    __slots__ = ("_operation", "_otherwise", "_path")

    def __init__(self, operation: str, path: str, otherwise: type[FileSystemError]) -> None:
        self._operation = operation
        self._path = path
        self._otherwise = otherwise

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and not isinstance(error, FileSystemError):
            raise explained(error, self._operation, self._path, self._otherwise) from error


def octets(data: Buffer) -> memoryview:
    """View a buffer of any item type as bytes."""
    view = memoryview(data)
    return view.cast("B") if view.nbytes else memoryview(b"")  # a view of no items cannot be cast


def write_fully(fd: int, view: memoryview) -> None:
    """Write all of a view at the descriptor's position."""
    while view:
        view = view[os.write(fd, view) :]


def read_at(fd: int, offset: int, size: int) -> bytes:
    """Read size bytes at offset, fewer only at the end of the file."""
    if size > _LARGE_READ:  # so that a far too large size does not allocate as much
        size = min(size, max(0, os.fstat(fd).st_size - offset))
    data = _pread(fd, size, offset)
    while len(data) < size:
        more = _pread(fd, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def sync(fd: int) -> None:
    """Return when the bytes of an open file, or the names in an open directory, are on stable storage."""
    if sys.platform == "darwin":
        # There fsync leaves them in the drive's own cache; not every file system knows the stronger call.
        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        except OSError as error:
            if error.errno not in {errno.ENOTSUP, errno.ENOTTY, errno.EINVAL}:
                raise
        else:
            return
    os.fsync(fd)


class TemporaryFile:
    """A file under a temporary name in the directory where it is to stand, until published or dropped.

    A crash leaves at most the temporary name. Used as a context it drops what was not published.
    """

    def __init__(self, directory: str) -> None:
        # The name it will get is no part of this one: 255 bytes are all that a file system may allow.
        self._name = f"{directory}/{TEMPORARY}{os.urandom(8).hex()}"
        self._fd = os.open(self._name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, FILE_MODE)

    @property
    def is_open(self) -> bool:
        """Whether it is neither published nor dropped."""
        return self._fd >= 0

    def append(self, data: Buffer) -> int:
        """Write data after what is there and return how many bytes that was."""
        view = octets(data)
        write_fully(self._fd, view)
        return len(view)

    def publish(self, target: str, *, exclusive: bool) -> None:
        """Make the bytes durable, then give the file its name; the name is durable once its directory is.

        Raises
        ------
        FileExistsError
            Exclusive, and the name is taken.
        """
        sync(self._fd)
        self._close()
        if exclusive:
            _move_exclusively(self._name, target)
        else:
            os.replace(self._name, target)

    def drop(self) -> None:
        """Remove it, unless it was published. Safe to call at any time, after any error."""
        # Mostly called on the way out of an error, which must be the one that is seen.
        if self.is_open:
            with contextlib.suppress(OSError):
                self._close()
        with contextlib.suppress(OSError):  # what stays is hidden, and swept at the next lock
            os.unlink(self._name)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.drop()


class LocalWriter(File):
    """A file being appended to; only `close` gives it its name.

    After a failed write nothing of it is kept: the temporary file is gone, and `close` says so.
    """

    def __init__(self, path: str, target: str, temporary: TemporaryFile) -> None:
        super().__init__(path)
        self._target = target
        self._temporary = temporary
        self._pending = bytearray()
        self._size = 0
        self._failed = False
        self._lock = threading.Lock()

    def write(self, data: Buffer) -> int:
        view = octets(data)
        with self._lock:
            self._check_open("write")
            try:
                self._append(view)
            except BaseException as error:
                self._failed = True  # part of it may be in the file: it must never be published
                self._temporary.drop()
                if isinstance(error, OSError):
                    raise explained(error, "write", self.path, WriteError) from error
                raise
            self._size += len(view)
        return len(view)

    def _append(self, view: memoryview) -> None:
        if len(self._pending) + len(view) >= _BUFFER_SIZE:
            self._flush()
            self._temporary.append(view)
        else:
            self._pending += view

    def _flush(self) -> None:
        self._temporary.append(self._pending)
        self._pending = bytearray()

    def _check_open(self, operation: str) -> None:
        if not self._temporary.is_open:
            raise WriteError(operation, self.path, "the file was closed, or a write to it failed")

    def size(self) -> int:
        with self._lock:
            self._check_open("size")
            return self._size

    def close(self) -> None:
        with self._lock:
            if self._failed:
                self._failed = False
                raise WriteError(
                    "close", self.path, "an earlier write failed, so nothing was stored; repeat it all"
                )
            if self._temporary.is_open:
                with self._temporary:
                    with translated("close", self.path, WriteError):
                        self._flush()
                    with translated("close", self.path, FlushError):
                        self._temporary.publish(self._target, exclusive=True)

    def discard(self) -> None:
        with self._lock:
            self._failed = False
            if self._temporary.is_open:
                self._temporary.drop()

    def __del__(self) -> None:
        if self._temporary.is_open:
            warnings.warn(
                f"file {self.path!r} was never closed",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
            self._temporary.drop()


class LocalReader(File):
    """A file open for random reads from any thread; replaced or deleted, it still reads the same."""

    def __init__(self, path: str, fd: int) -> None:
        super().__init__(path)
        self._fd = fd
        self._open = True
        self._reading = 0
        self._lock = threading.Lock()

    def read(self, offset: int, size: int) -> bytes:
        fd = self._pin("read")
        try:
            return read_at(fd, offset, size)
        except OSError as error:
            raise explained(error, "read", self.path, ReadError) from error
        finally:
            self._unpin()

    def size(self) -> int:
        fd = self._pin("size")
        try:
            return os.fstat(fd).st_size
        except OSError as error:
            raise explained(error, "size", self.path, ReadError) from error
        finally:
            self._unpin()

    def close(self) -> None:
        with self._lock:
            if not self._open:
                return
            self._open = False
            if not self._reading:
                os.close(self._fd)

    def _pin(self, operation: str) -> int:
        # A descriptor closed under a running read may by then be another file's: the last reader closes it.
        with self._lock:
            if not self._open:
                raise ReadError(operation, self.path, "the file was closed; open it again")
            self._reading += 1
            return self._fd

    def _unpin(self) -> None:
        with self._lock:
            self._reading -= 1
            if not self._open and not self._reading:
                os.close(self._fd)

    def __del__(self) -> None:
        if self._open:
            warnings.warn(f"file {self.path!r} was never closed", ResourceWarning, stacklevel=2, source=self)
            self.close()


def already_there(operation: str, path: str) -> ExistError:
    """Make the error for a name that is taken."""
    return ExistError(operation, path, "it is there already; delete it first, or choose another name")


if sys.platform == "win32":
    _seeking = threading.Lock()

    def sync_directory(directory: str) -> None:
        """Do nothing: Windows has no such call."""

    def _pread(fd: int, size: int, offset: int) -> bytes:
        with _seeking:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.read(fd, size)

    _move_exclusively = os.rename  # refuses an existing target there

else:
    _pread = os.pread

    def sync_directory(directory: str) -> None:
        """Return when the names directly in a directory are on stable storage."""
        fd = os.open(directory, os.O_RDONLY)
        try:
            sync(fd)
        finally:
            os.close(fd)

    def _move_exclusively(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _rename_exclusively(source, target)
            return
        with contextlib.suppress(OSError):  # the file stands; a second, hidden name of it does no harm
            os.unlink(source)

    def _rename_exclusively(source: str, target: str) -> None:
        """Rename unless the target is there, on a file system without links.

        Claiming the name itself (``O_EXCL``) would show readers an empty file, and for ever after a crash.
        So writers exclude each other by a lock on the directory, which dies with its holder: whoever has it
        looks, then renames, and the name appears with all of its bytes or not at all. What takes no part is
        a plain, overwriting write of the same path at that very moment: this file may replace it.
        """
        directory = os.open(os.path.dirname(source), os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            os.rename(source, target)
        finally:
            os.close(directory)
