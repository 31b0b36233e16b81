"""Locks of the local disk, interrupted where it hurts."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from measurefs.backends.local import LocalFileSystem
from measurefs.backends.local_lock import LocalLock
from measurefs.fs import LockError

fcntl = pytest.importorskip("fcntl", reason="speaks of POSIX")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def fs(root: Path) -> Iterator[LocalFileSystem]:
    with LocalFileSystem(root) as fs:
        yield fs


@pytest.mark.parametrize("end", ["close", "abandon"])
@pytest.mark.parametrize("acquisitions", [1, 2, 3, 4])
def test_a_record_torn_while_it_is_written_leaves_the_one_before(
    fs: LocalFileSystem, monkeypatch: pytest.MonkeyPatch, acquisitions: int, end: str
) -> None:
    for _ in range(acquisitions):
        getattr(fs.create_lock_file("LOCK"), end)()
    real = os.write

    def torn(fd: int, data: memoryview) -> int:
        real(fd, data[:8])
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", torn)
        with pytest.raises(LockError):
            fs.create_lock_file("LOCK")
    with fs.create_lock_file("LOCK") as lock:
        assert lock.token == acquisitions + 1
        assert lock.clean == (end == "close")


def test_a_lock_file_replaced_between_opening_and_locking_is_not_the_lock(
    fs: LocalFileSystem, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock
    others: list[LocalLock] = []

    def replaced(fd: int, operation: int) -> None:
        if not others:
            monkeypatch.setattr(fcntl, "flock", real)
            (root / "LOCK").unlink()
            others.append(fs.create_lock_file("LOCK"))
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", replaced)
    with pytest.raises(LockError):
        fs.create_lock_file("LOCK")
    (other,) = others
    other.check()
    other.close()
