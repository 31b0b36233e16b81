"""Locks of the local backend: a lock of the operating system on a file that also counts.

The operating system drops the lock when its holder dies, however it dies. The file keeps the token: it has
two slots of a page each, a slot holds one `LockHolder` as JSON after its checksum, and a new record goes to
the slot that does *not* hold the newest one, which is durable by then. So whatever a crash or a power cut
tears, the record before it is still there, and tokens only grow.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import warnings
import weakref
import zlib
from typing import NamedTuple

from measurefs.backends.local_files import (
    BINARY,
    FILE_MODE,
    explained,
    read_at,
    sync,
    sync_directory,
    translated,
    write_fully,
)
from measurefs.fs import CloseError, FencedError, LockError, LockFile, LockHolder, PermissionError_, held

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_SLOT_SIZE = 4096
_BUSY = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}
_LOCKED_BYTE = 1 << 30  # on Windows nobody can read a locked byte, so it is one beyond the content


class _Record(NamedTuple):
    holder: LockHolder
    slot: int


class LocalLock(LockFile):
    """A lock held by this process, from `acquire`. Lost when its file is deleted or replaced."""

    def __init__(self, path: str, name: str, fd: int, record: _Record, *, clean: bool) -> None:
        self._fd = fd
        self.path = path
        self.token = record.holder.token
        self.clean = clean
        self._name = name
        self._record = record
        self._file = _identity(os.fstat(fd))
        self._closing = threading.Lock()
        _held.add(self)

    def check(self) -> None:
        if self._fd < 0:
            raise FencedError("check", self.path, "the lock was released, or is that of a parent process")
        try:
            there = _identity(os.stat(self._name, follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FencedError(
                "check", self.path, "the lock file was deleted; open the store again"
            ) from error
        except OSError as error:
            raise explained(error, "check", self.path, LockError) from error
        if there != self._file:
            raise FencedError("check", self.path, "the lock file was replaced; open the store again")

    def close(self, *, clean: bool = True) -> None:
        fd = self._take()
        if fd < 0:
            return
        with translated("close", self.path, CloseError):
            try:
                _write(fd, _Record(self._record.holder.leaving(clean=clean), 1 - self._record.slot))
            finally:
                _unlock(fd)  # closing is not enough while a child that forked holds the same open file
                os.close(fd)

    def abandon(self) -> None:
        """Let go of the file without a word, as by the holder's death."""
        fd = self._take()
        if fd >= 0:
            os.close(fd)

    def _take(self) -> int:
        with self._closing:
            fd, self._fd = self._fd, -1
        return fd

    def __del__(self) -> None:
        if self._fd >= 0:
            warnings.warn(f"lock {self.path!r} is still held", ResourceWarning, stacklevel=2, source=self)
            self.abandon()


_held: weakref.WeakSet[LocalLock] = weakref.WeakSet()


def _abandon_all() -> None:
    for lock in list(_held):
        lock.abandon()


if hasattr(os, "register_at_fork"):
    # A forked child shares its parent's open files, and would keep the lock alive after the parent's death.
    os.register_at_fork(after_in_child=_abandon_all)


def acquire(path: str, name: str) -> LocalLock:
    """Take a lock at once, or raise `LockError`; its token is durable on return.

    Parameters
    ----------
    path : str
        What the caller calls the lock, for messages.
    name : str
        The absolute name of the lock file, which is created if it is missing.
    """
    with translated("create_lock_file", path, LockError):
        fd = _open_locked(path, name)
        try:
            return _begin(path, name, fd)
        except BaseException:
            os.close(fd)
            raise


def _open_locked(path: str, name: str) -> int:
    while True:
        fd = _open(path, name)
        try:
            _lock(path, fd)
            if _is_named(fd, name):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # deleted or replaced since it was opened: the lock to take is that of the new file


def _begin(path: str, name: str, fd: int) -> LocalLock:
    content = _content(fd)
    newest = _newest(content)
    # Perhaps its writer died before it was durable, and the record beside it is to be overwritten.
    sync(fd)
    if _is_blank(content):
        _write_at(fd, 0, b" " * 2 * _SLOT_SIZE)  # space for both, so that releasing needs none
    # With both records damaged, which no crash does, it counts from the start, as if the file had been deleted.
    token = newest.holder.token + 1 if newest else 1
    record = _Record(LockHolder.here(token), 1 - newest.slot if newest else 0)
    _write(fd, record)
    sync(fd)
    sync_directory(os.path.dirname(name))
    clean = newest.holder.left_clean if newest else _is_blank(content)
    return LocalLock(path, name, fd, record, clean=clean)


def _is_blank(content: bytes) -> bool:
    return not content.strip(b" \0")


def _content(fd: int) -> bytes:
    return read_at(fd, 0, 2 * _SLOT_SIZE)


def _newest(content: bytes) -> _Record | None:
    holders = [_decode(content[slot * _SLOT_SIZE :][:_SLOT_SIZE]) for slot in range(2)]
    records = [_Record(holder, slot) for slot, holder in enumerate(holders) if holder]
    return max(records, key=lambda record: (record.holder.token, record.holder.released), default=None)


def _decode(slot: bytes) -> LockHolder | None:
    checksum, _, body = slot.rstrip(b" ").partition(b" ")
    return LockHolder.decode(body) if checksum == _checksum(body) else None


def _write(fd: int, record: _Record) -> None:
    body = record.holder.encode()
    _write_at(fd, record.slot * _SLOT_SIZE, (_checksum(body) + b" " + body).ljust(_SLOT_SIZE))


def _write_at(fd: int, offset: int, data: bytes) -> None:
    os.lseek(fd, offset, os.SEEK_SET)
    write_fully(fd, memoryview(data))


def _checksum(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body)


def _open(path: str, name: str) -> int:
    try:
        return os.open(name, os.O_RDWR | os.O_CREAT | BINARY | getattr(os, "O_NOFOLLOW", 0), FILE_MODE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PermissionError_(
                "create_lock_file", path, "a lock file must not be a symbolic link"
            ) from error
        raise


def _lock(path: str, fd: int) -> None:
    try:
        if sys.platform == "win32":
            os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _BUSY:
            raise
        newest = _newest(_content(fd))
        # A released record is that of the holder before: the new one has not written its own yet.
        raise held(path, newest.holder if newest and not newest.holder.released else None) from error


def _unlock(fd: int) -> None:
    if sys.platform == "win32":
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(fd, fcntl.LOCK_UN)


def _is_named(fd: int, name: str) -> bool:
    try:
        return _identity(os.stat(name, follow_symlinks=False)) == _identity(os.fstat(fd))
    except FileNotFoundError:
        return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
