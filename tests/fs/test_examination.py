"""What an examination finds out about file systems: sound ones, and ones with the faults that stores have."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from random import Random

import pytest

import measurefs
from measurefs.backends.fsspec import FsspecFileSystem
from measurefs.fs import (
    Buffer,
    DirEntry,
    FileSystem,
    FileSystemWrapper,
    LockError,
    NotExistError,
    PermissionError_,
    ReadOnlyFileSystem,
)
from measurefs.fs.examination import SCRATCH, Check, Examination, examine
from measurefs.fs.wrappers import CountingFileSystem
from tests.conftest import Store
from tests.s3_proxy import Fault, S3Proxy, ignore_condition, refuse

MIB = 1 << 20


def look(fs: FileSystem, **how: object) -> Examination:
    return examine(fs, **({"samples": 3, "large": MIB, "random": Random(1)} | how))  # type: ignore[arg-type]


def failed(found: Examination) -> dict[str, Check]:
    return {check.name: check for check in found.failed}


def test_every_store_of_ours_is_fit(store_fs: FileSystem) -> None:
    found = look(store_fs)
    assert (found.verdict, found.fit) == ("fit for one writer and many readers", True), found.failed
    skipped = [check.name for check in found.checks if check.outcome == "skipped"]
    assert skipped in ([], ["list a tree"])
    assert found.latency is not None
    assert set(found.latency.calls) == {"write", "read", "range", "list"}
    for timing in found.latency.calls.values():
        assert 0 < timing.median <= timing.p95
    assert found.latency.first_answer > 0 and found.latency.durable_write
    assert found.left_over == ""
    assert left(store_fs) == []


def left(fs: FileSystem) -> list[str]:
    """What an examination has left, anywhere."""
    try:
        return [entry.name for entry in fs.read_dir("") if entry.name != "_probe"]
    except NotExistError:
        return []


def test_a_store_that_is_there_is_not_touched(memory_store: Store) -> None:
    with memory_store.open() as fs:
        with measurefs.open(fs) as db:
            db.create_measure("cpu", entity=["host"], fields={"v": "float64"})
        fs.make_dir(f"{SCRATCH}/of another examination")
        before = left(fs)
        assert look(fs).fit
        assert left(fs) == before
        assert [entry.name for entry in fs.read_dir(SCRATCH)] == ["of another examination"]


# Reading only.


@pytest.fixture
def reader(store_url: Store) -> Iterator[FileSystem]:
    """A store with a part, which refuses whatever would change it."""
    with measurefs.open(store_url.url, storage_options=store_url.options) as db:
        cpu = db.create_measure("cpu", entity=["host"], fields={"v": "float64"})
        cpu.write({"time": [0, 1], "host": ["a", "b"], "v": [1.0, 2.0]}, durable=True)
    with store_url.open() as fs:
        yield ReadOnlyFileSystem(fs)


def test_reading_needs_no_permission_to_write(reader: FileSystem) -> None:
    found = look(reader, read_only=True)
    assert (found.verdict, found.fit) == ("fit to read", True), found.failed
    assert found.checks[-2].details.endswith(".part")
    assert found.latency is not None
    assert set(found.latency.calls) == {"read", "range", "list"}


def test_what_can_only_be_read_is_fit_to_read_only(reader: FileSystem) -> None:
    found = look(reader)
    assert not found.fit
    assert found.verdict == "fit to read only: nothing can be stored (s3:PutObject)"
    assert found.latency is not None


def test_where_there_is_no_store_nothing_can_be_read(memory_store: Store) -> None:
    with memory_store.open() as fs:
        assert look(fs, read_only=True).verdict == "unfit: no store can be read"


# An object store with faults.


def examined(
    proxy: S3Proxy, url: str, kind: str, fault: Fault, *, key: str = "", **options: object
) -> Examination:
    proxy.on(kind, fault, times=float("inf"))
    with measurefs.fs.open_url(url, **proxy.options, **options) as fs:
        return look(fs)


DENIED = refuse(403, "AccessDenied")


def test_a_store_that_ignores_conditions(s3_proxy: S3Proxy, s3_url: str) -> None:
    found = examined(s3_proxy, s3_url, "PUT", ignore_condition, assume_conditional_writes=True)
    assert found.verdict == "unfit for more than one writer: two writers are not kept apart"
    (check,) = found.failed
    assert "overwrote" in check.details
    assert "If-None-Match" in check.advice
    assert {each.name for each in found.checks if each.outcome == "skipped"} == {"race", "lock"}


def test_a_backend_that_refuses_to_create_exclusively() -> None:
    with FsspecFileSystem.from_url(f"memory://{uuid.uuid4().hex}") as fs:
        found = look(fs)
    assert found.verdict == "unfit for more than one writer: two writers are not kept apart"
    assert "assume_exclusive_create=True" in found.failed[0].details


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("PUT", "unfit: nothing can be stored (s3:PutObject)"),
        ("GET", "unfit: nothing can be stored (s3:GetObject); no store can be read (s3:GetObject)"),
        ("LIST", "unfit: listings fail (s3:ListBucket)"),
        ("DELETE", "unfit: nothing can be deleted (s3:DeleteObject)"),
    ],
)
def test_a_missing_permission_is_named(
    s3_proxy: S3Proxy, s3_url: str, s3_store: Store, kind: str, verdict: str
) -> None:
    found = examined(s3_proxy, s3_url, kind, DENIED)
    assert found.verdict == verdict
    assert all(check.permission in check.advice for check in found.failed)
    with s3_store.open() as fs:
        assert left(fs) == []  # also what could not be listed, and what could be deleted only by the thousand


def test_without_permission_to_list_a_missing_object_is_a_forbidden_one(memory_store: Store) -> None:
    with memory_store.open() as fs:
        found = look(Secretive(fs))
    assert set(failed(found)) == {"missing file"}
    assert failed(found)["missing file"].permission == "s3:ListBucket"


class Secretive(FileSystemWrapper):
    """Does not tell what is missing from what is forbidden, as S3 does to those who may not list."""

    def read(self, path: str) -> bytes:
        try:
            return super().read(path)
        except NotExistError as error:
            raise PermissionError_("read", path, "the store answered 403 AccessDenied") from error


def test_the_permission_that_the_store_names_is_believed() -> None:
    said = "User: x is not authorized to perform: kms:GenerateDataKey on this resource"
    found = look(Refusing("write", said))
    assert found.verdict == "unfit: nothing can be stored (kms:GenerateDataKey)"


class Refusing(CountingFileSystem):
    """Refuses one operation."""

    def __init__(self, operation: str, said: str) -> None:
        super().__init__(measurefs.fs.open_url("memory://refusing"))
        self._refused = operation, said

    def _count(self, method: str, *, read: int = 0, written: int = 0) -> None:
        if method == self._refused[0]:
            raise PermissionError_(method, "", self._refused[1])


def test_what_cannot_be_removed_is_named(memory_store: Store) -> None:
    with memory_store.open() as fs:
        found = look(Keeping(fs))
        assert found.left_over.startswith(f"{SCRATCH}/")
        assert left(fs) == [SCRATCH]
        assert found.verdict == "unfit: nothing can be deleted (s3:DeleteObject)"


class Keeping(FileSystemWrapper):
    """Deletes nothing."""

    def delete_file(self, path: str) -> None:
        raise PermissionError_("delete_file", path, "no")

    def delete_files(self, paths: object) -> None:
        raise PermissionError_("delete_files", str(paths), "no")

    def must_rm_all(self, path: str) -> None:
        raise PermissionError_("must_rm_all", path, "no")


# Other people's file systems.


class StaleListings(FileSystemWrapper):
    """Keeps the listings that it has once made, as fsspec does by default."""

    def __init__(self, wrapped: FileSystem) -> None:
        super().__init__(wrapped)
        self._kept: dict[str, list[DirEntry]] = {}

    def read_dir(self, path: str) -> list[DirEntry]:
        if path not in self._kept:
            self._kept[path] = super().read_dir(path)
        return self._kept[path]


class Forgetful(StaleListings):
    """Sees new files, and shows those that were deleted until something is written."""

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        self._kept.clear()
        return super().write(path, data, exclusive=exclusive)

    def make_dir(self, path: str, *, exist_ok: bool = False) -> None:
        self._kept.clear()
        super().make_dir(path, exist_ok=exist_ok)


class TornWrites(FileSystemWrapper):
    """Shows the first half of a file on the way to the whole, and sees to it that somebody reads in between."""

    def __init__(self, wrapped: FileSystem) -> None:
        super().__init__(wrapped)
        self._read = threading.Event()

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        if not exclusive and path.endswith("/replaced"):
            super().write(path, bytes(data)[: len(data) // 2])
            self._read.clear()
            self._read.wait(0.2)  # at most: there may be no readers any more
        return super().write(path, data, exclusive=exclusive)

    def read(self, path: str) -> bytes:
        data = super().read(path)
        self._read.set()
        return data


class Unequal(FileSystemWrapper):
    """Looks first and creates then, so that several of those who race are told that they have won."""

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        if exclusive and "/race-" in path:
            return super().write(path, data)
        return super().write(path, data, exclusive=exclusive)


class Generous(FileSystemWrapper):
    """Gives a lock to everybody who asks."""

    def create_lock_file(self, path: str) -> measurefs.fs.LockFile:
        try:
            return super().create_lock_file(path)
        except LockError:
            return super().create_lock_file(f"{path}-again")


class Confused(FileSystemWrapper):
    """Raises what no file system may raise."""

    def delete_files(self, paths: object) -> None:
        raise KeyError(paths)


@pytest.mark.parametrize(
    ("wrapper", "check", "seen", "verdict"),
    [
        (StaleListings, "list", "it is stale: it does not show a file", "unfit: listings fail"),
        (
            Forgetful,
            "list after deletes",
            "it is stale: it shows a file",
            "unfit: listings show deleted files",
        ),
        (TornWrites, "replace", "a reader saw a torn file", "unfit: files are not replaced atomically"),
        (Unequal, "race", "8 of 8 were told", "unfit for more than one writer: two writers may both win"),
        (Generous, "lock", "given to a second holder", "unfit for more than one writer: locks fail"),
        (Confused, "delete", "KeyError", "unfit: nothing can be deleted"),
    ],
)
def test_the_fault_of_a_strangers_file_system_is_named(
    memory_store: Store, wrapper: type[FileSystemWrapper], check: str, seen: str, verdict: str
) -> None:
    with memory_store.open() as fs:
        found = look(wrapper(fs))
        assert found.verdict.startswith(verdict)
        assert seen in failed(found)[check].details
        assert failed(found)[check].advice
        assert left(fs) == []
