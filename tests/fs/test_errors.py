"""Errors: one family, each also the built-in it corresponds to."""

from __future__ import annotations

import errno
import pickle
import re
from pathlib import Path

import pytest

from measurefs import fs as measurefs_fs
from measurefs.fs import (
    BackpressureError,
    ClosedError,
    CloseError,
    Code,
    CorruptionError,
    DeleteError,
    ExistError,
    FencedError,
    FileSystemError,
    FlushError,
    InvalidPathError,
    LockError,
    LockHolder,
    MeasureFSError,
    NotExistError,
    OpenError,
    PermissionError_,
    ReadError,
    SchemaError,
    UnsupportedStoreError,
    WriteError,
    exactly,
    from_os_error,
    held,
)

FILE_SYSTEM_ERRORS = {
    ExistError: (Code.EXIST, FileExistsError),
    NotExistError: (Code.NOT_EXIST, FileNotFoundError),
    PermissionError_: (Code.PERMISSION, PermissionError),
    OpenError: (Code.OPEN, OSError),
    DeleteError: (Code.DELETE, OSError),
    WriteError: (Code.WRITE, OSError),
    ReadError: (Code.READ, OSError),
    FlushError: (Code.FLUSH, OSError),
    CloseError: (Code.CLOSE, OSError),
    LockError: (Code.LOCK, OSError),
    FencedError: (Code.LOCK, LockError),
    InvalidPathError: (Code.OTHER, ValueError),
    FileSystemError: (Code.OTHER, OSError),
}


@pytest.mark.parametrize("kind", FILE_SYSTEM_ERRORS)
def test_file_system_errors(kind):
    code, built_in = FILE_SYSTEM_ERRORS[kind]
    error = kind("write", "a/b", "no luck")
    assert error.code == code
    assert isinstance(error, built_in)
    assert isinstance(error, FileSystemError)
    assert isinstance(error, MeasureFSError)
    assert (error.operation, error.path, error.reason) == ("write", "a/b", "no luck")
    assert str(error) == "cannot write 'a/b': no luck"
    assert error.errno
    assert kind("write", "a/b", "no luck", errno.ENOSPC).errno == errno.ENOSPC


def test_there_are_eleven_codes():
    assert [code.value for code in Code] == list(range(11))
    assert {code for code, _ in FILE_SYSTEM_ERRORS.values()} == set(Code)


@pytest.mark.parametrize(
    ("kind", "built_in"),
    [(SchemaError, ValueError), (ClosedError, ValueError), (BackpressureError, TimeoutError)]
    + [(kind, MeasureFSError) for kind in (UnsupportedStoreError, CorruptionError)],
)
def test_other_errors(kind, built_in):
    assert issubclass(kind, built_in)
    assert issubclass(kind, MeasureFSError)
    assert not issubclass(kind, FileSystemError)


def test_every_error_is_public():
    kinds = {value for value in vars(measurefs_fs.errors).values() if isinstance(value, type)}
    assert {kind.__name__ for kind in kinds if issubclass(kind, MeasureFSError)} <= set(measurefs_fs.__all__)


HOLDER = LockHolder(7, "host", 42, "2026-01-01T00:00:00+00:00")


@pytest.mark.parametrize(
    "error",
    [kind("write", "a/b", "no luck", errno.ENOSPC) for kind in FILE_SYSTEM_ERRORS]
    + [held("LOCK", HOLDER), CorruptionError("a/b", "no luck", 12), CorruptionError("a/b", "no luck")],
    ids=lambda error: type(error).__name__,
)
def test_errors_travel_between_processes(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert getattr(copy, "errno", None) == getattr(error, "errno", None)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EEXIST, ExistError),
        (errno.ENOENT, NotExistError),
        (errno.ENOTDIR, NotExistError),
        (errno.EACCES, PermissionError_),
        (errno.EPERM, PermissionError_),
        (errno.EROFS, PermissionError_),
        (errno.ENOSPC, WriteError),
        (errno.EIO, WriteError),
    ],
)
def test_operating_system_errors_are_translated(number, kind):
    error = from_os_error(OSError(number, "no luck"), "write", "a/b", WriteError)
    assert type(error) is kind
    assert (error.errno, error.operation, error.path, error.reason) == (number, "write", "a/b", "no luck")


def test_errors_without_a_number_are_translated():
    error = from_os_error(OSError("no luck"), "write", "a/b")
    assert type(error) is FileSystemError
    assert "no luck" in str(error)


def test_translated_errors_stay_what_they_are():
    error = WriteError("write", "a/b", "no luck")
    assert from_os_error(error, "read", "c", ReadError) is error


def test_corruption_names_the_place():
    assert str(CorruptionError("a/b", "no luck", 12)) == "damaged data in 'a/b' at byte 12: no luck"
    assert str(CorruptionError("a/b", "no luck")) == "damaged data in 'a/b': no luck"


def test_held_names_the_holder():
    error = held("LOCK", HOLDER)
    assert error.holder is HOLDER
    assert str(error) == (
        "cannot create_lock_file 'LOCK': held by process 42 on host, since 2026-01-01T00:00:00+00:00; "
        "close that writer, or open with read_only=True"
    )
    assert "another process" in str(held("LOCK", None))


def test_holders_are_written_and_read():
    assert LockHolder.decode(HOLDER.encode()) == HOLDER
    here = LockHolder.here(3)
    assert (here.token, here.released) == (3, False)
    assert LockHolder.decode(here.encode()) == here
    for content in (b"", b"{", b"{}", b"\xff", b'{"token": "x"}', HOLDER.encode()[:-1]):
        assert LockHolder.decode(content) is None


def test_exactly():
    assert exactly(b"abc", "a/b", 5, 3) == b"abc"
    with pytest.raises(ReadError, match="3 of 4 bytes are there at offset 5") as caught:
        exactly(b"abc", "a/b", 5, 4)
    assert caught.value.path == "a/b"


def test_every_error_is_documented():
    """And none that does not exist."""

    def family(kind: type[MeasureFSError]) -> set[str]:
        return {kind.__name__}.union(*map(family, kind.__subclasses__()))

    page = Path(__file__).parents[2] / "docs" / "errors.md"
    rows = [
        line.split("|")[1] for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")
    ]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    ours = {name for name in family(MeasureFSError) if hasattr(measurefs_fs, name)}
    assert named == ours
