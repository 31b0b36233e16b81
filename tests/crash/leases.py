"""The lock of object stores, on a disk that crashes: every step of it is an operation like any other."""

from __future__ import annotations

from measurefs.backends import lease
from measurefs.backends.lease import LeaseLocks
from measurefs.fs import FileSystem, FileSystemWrapper, LockFile

LEASE = 1e6
"""Seconds of a clock that only sleeping moves; no holder's thread lives to renew it."""

_all: list[LeaseLocks] = []


class LeasedFileSystem(FileSystemWrapper):
    """Keeps locks as a chain of files, as the S3 backend does, instead of asking what it wraps for them."""

    def __init__(self, wrapped: FileSystem) -> None:
        super().__init__(wrapped)
        self._now = 0.0
        self._locks = LeaseLocks(wrapped, lease=LEASE, clock=lambda: self._now, sleep=self._sleep)
        _all.append(self._locks)

    def _sleep(self, seconds: float) -> None:
        self._now += LEASE

    def create_lock_file(self, path: str) -> LockFile:
        return self._locks.acquire(path)


def part_company() -> None:
    """From now on whoever holds a lock is, to whoever wants it, another process, of which nothing is known."""
    lease._ours.clear()


def forget_all() -> None:
    """End the threads of all locks, released or not."""
    part_company()
    while _all:
        _all.pop().close()
