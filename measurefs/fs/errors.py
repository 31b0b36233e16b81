"""The errors of measurefs: one family, each also the built-in it corresponds to."""

from __future__ import annotations

import enum
import errno as _errno
from typing import Any


class Code(enum.IntEnum):
    """What kind of file-system failure it was."""

    EXIST = 0
    NOT_EXIST = 1
    PERMISSION = 2
    OPEN = 3
    DELETE = 4
    WRITE = 5
    READ = 6
    FLUSH = 7
    CLOSE = 8
    LOCK = 9
    OTHER = 10


class MeasureFSError(Exception):
    """Root of every error that measurefs raises on purpose."""


class FileSystemError(MeasureFSError, OSError):
    """A file-system operation failed; nothing of it is half done unless the method says so.

    Parameters
    ----------
    operation : str
        The `FileSystem` method that failed, such as ``"write"``.
    path : str
        The path it was about, relative to the file system's root.
    reason : str
        What went wrong, and where there is one, what to do now.
    errno : int, optional
        The operating system's number (``ENOSPC`` tells a full disk apart).
    """

    code: Code = Code.OTHER
    default_errno: int = _errno.EIO

    def __init__(self, operation: str, path: str, reason: str, errno: int | None = None) -> None:
        super().__init__(errno if errno is not None else self.default_errno, reason)
        self.operation = operation
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot {self.operation} {self.path!r}: {self.reason}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.operation, self.path, self.reason, self.errno)


class ExistError(FileSystemError, FileExistsError):
    """The path is already there."""

    code = Code.EXIST
    default_errno = _errno.EEXIST


class NotExistError(FileSystemError, FileNotFoundError):
    """The path is not there."""

    code = Code.NOT_EXIST
    default_errno = _errno.ENOENT


class PermissionError_(FileSystemError, PermissionError):  # noqa: N801, N818 - the built-in has the plain name
    """The store refuses access to the path."""

    code = Code.PERMISSION
    default_errno = _errno.EACCES


class OpenError(FileSystemError):
    """The file is there but cannot be opened (a directory, too many open files...)."""

    code = Code.OPEN


class DeleteError(FileSystemError):
    """The file or tree could not be removed."""

    code = Code.DELETE


class WriteError(FileSystemError):
    """The bytes could not be written (a full disk has ``errno`` ``ENOSPC``)."""

    code = Code.WRITE


class ReadError(FileSystemError):
    """The bytes could not be read, or fewer are there than must be."""

    code = Code.READ


class FlushError(FileSystemError):
    """The bytes or the name could not be made durable."""

    code = Code.FLUSH


class NotDurableError(FlushError):
    """Rows are stored and readable, but not durable yet; that is tried again by itself, and by every `flush`."""


class CloseError(FileSystemError):
    """The file could not be closed."""

    code = Code.CLOSE


class LockError(FileSystemError):
    """The lock is held by somebody else; ``holder`` says by whom, where that is known."""

    code = Code.LOCK
    default_errno = _errno.EAGAIN

    def __init__(
        self, operation: str, path: str, reason: str, errno: int | None = None, holder: Any = None
    ) -> None:
        super().__init__(operation, path, reason, errno)
        self.holder = holder

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.operation, self.path, self.reason, self.errno, self.holder)


class FencedError(LockError):
    """The lock was lost: somebody else writes here now, and what was not acknowledged is not durable."""

    default_errno = _errno.ESTALE


class InvalidPathError(FileSystemError, ValueError):
    """The path is not a plain relative one: it is absolute, escapes, or has an empty component or a NUL."""

    default_errno = _errno.EINVAL


class UnsupportedStoreError(MeasureFSError):
    """The store cannot do what is asked of it, or no backend serves its URL."""


class CorruptionError(MeasureFSError):
    """Stored bytes are not what was written; the message names the file and the offset.

    Parameters
    ----------
    path : str
        The damaged file.
    reason : str
        What does not agree, and what to do now.
    offset : int, optional
        Where in the file the damaged piece starts.
    """

    def __init__(self, path: str, reason: str, offset: int | None = None) -> None:
        where = f"{path!r}" if offset is None else f"{path!r} at byte {offset}"
        super().__init__(f"damaged data in {where}: {reason}")
        self.path = path
        self.reason = reason
        self.offset = offset

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.reason, self.offset)


class SchemaError(MeasureFSError, ValueError):
    """The rows, the columns or the request do not fit the measure; nothing was stored."""


class BackpressureError(MeasureFSError, TimeoutError):
    """Memory stayed full for longer than ``write_timeout``; nothing of the batch was stored."""


class ClosedError(MeasureFSError, ValueError):
    """The object was closed, and takes no further calls."""


_BY_ERRNO: dict[int, type[FileSystemError]] = {
    _errno.EEXIST: ExistError,
    _errno.ENOENT: NotExistError,
    _errno.ENOTDIR: NotExistError,
    _errno.EACCES: PermissionError_,
    _errno.EPERM: PermissionError_,
    _errno.EROFS: PermissionError_,
}


def from_os_error(
    error: OSError, operation: str, path: str, otherwise: type[FileSystemError] = FileSystemError
) -> FileSystemError:
    """Translate an operating-system error; the caller raises it ``from`` the original.

    Parameters
    ----------
    error : OSError
        What was caught.
    operation, path : str
        What was being done, and to which path.
    otherwise : type
        The class for errors that are neither about existence nor about permission.
    """
    if isinstance(error, FileSystemError):
        return error
    kind = _BY_ERRNO.get(error.errno or 0, otherwise)
    return kind(operation, path, error.strerror or str(error), error.errno)
