"""The backend for any fsspec store: the rules where exclusive create is known to be atomic, refusal elsewhere."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from measurefs.backends.fsspec import FsspecFileSystem
from measurefs.fs import (
    ExistError,
    FileSystem,
    FileSystemError,
    NotExistError,
    PermissionError_,
    ReadError,
    UnsupportedStoreError,
    open_url,
)
from measurefs.testing import FileSystemConformance, RawAccess


class RawDirectory:
    """The stored files, by way of pathlib."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, path: str) -> bytes:
        return (self._root / path).read_bytes()

    def put(self, path: str, data: bytes) -> None:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def names(self) -> set[str]:
        return {str(path.relative_to(self._root)) for path in self._root.rglob("*") if path.is_file()}


class TestLocal(FileSystemConformance):
    many = 200

    @pytest.fixture
    def fs(self, tmp_path: Path) -> Iterator[FileSystem]:
        with open_url(f"local://{tmp_path}", lease=1.0) as fs:
            assert isinstance(fs, FsspecFileSystem)
            yield fs

    @pytest.fixture
    def another(self, tmp_path: Path) -> Iterator[FileSystem]:
        with FsspecFileSystem(fsspec.filesystem("file", skip_instance_cache=True), str(tmp_path)) as fs:
            yield fs

    @pytest.fixture
    def raw(self, tmp_path: Path) -> RawAccess:
        return RawDirectory(tmp_path)


@pytest.fixture
def memory_url() -> Iterator[str]:
    root = f"/{uuid.uuid4().hex}"
    yield f"memory:/{root}"
    if MemoryFileSystem().exists(root):
        MemoryFileSystem().rm(root, recursive=True)


def test_unknown_exclusive_create_is_refused(memory_url: str) -> None:
    with FsspecFileSystem.from_url(memory_url) as fs:
        fs.make_dir("d", exist_ok=True)
        fs.write("d/f", b"12345")
        with pytest.raises(UnsupportedStoreError, match="assume_exclusive_create=True"):
            fs.create_lock_file("d/LOCK")
        with pytest.raises(UnsupportedStoreError, match="MemoryFileSystem"):
            fs.write("d/g", b"", exclusive=True)
        assert fs.read("d/f") == b"12345"
        assert fs.read_ranges([("d/f", 1, 2), ("d/f", 3, 2)]) == [b"23", b"45"]
        assert [entry.name for entry in fs.read_dir("d")] == ["f"]


def test_risk_can_be_taken(memory_url: str) -> None:
    with FsspecFileSystem.from_url(memory_url, assume_exclusive_create=True) as fs:
        fs.make_dir("d")
        assert fs.write("d/f", b"1", exclusive=True) == 1
        with pytest.raises(ExistError):
            fs.write("d/f", b"2", exclusive=True)
        with fs.create_lock_file("d/LOCK") as lock:
            lock.check()


def test_prefix_of_another_store(tmp_path: Path) -> None:
    wrapped = fsspec.filesystem("dir", path=str(tmp_path), fs=fsspec.filesystem("file"))
    with FsspecFileSystem(wrapped, "") as fs:
        fs.make_dir("d")
        fs.write("d/f", b"x", exclusive=True)
        with fs.create_lock_file("d/LOCK") as lock:
            assert lock.token == 1
        assert fs.read("d/f") == b"x"
    assert (tmp_path / "d" / "f").read_bytes() == b"x"


def test_unknown_scheme() -> None:
    with pytest.raises(UnsupportedStoreError, match="nosuchscheme"):
        open_url("nosuchscheme://a/b")


def test_every_error_is_translated(tmp_path: Path) -> None:
    class Broken(fsspec.implementations.local.LocalFileSystem):  # type: ignore[misc]
        def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
            raise RuntimeError("of the library's own")

        def ls(self, path: str, detail: bool = False, **kwargs: object) -> list[str]:
            raise PermissionError("no errno")

        def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
            raise PermissionError("no errno")

    (tmp_path / "f").write_bytes(b"x")
    with FsspecFileSystem(Broken(), str(tmp_path)) as fs:
        for call in (lambda: fs.read("f"), lambda: fs.read_ranges([("f", 0, 1)])):
            with pytest.raises(ReadError, match="RuntimeError: of the library's own") as caught:
                call()
            assert isinstance(caught.value.__cause__, RuntimeError)
        for refused in (lambda: fs.read_dir(""), lambda: fs.must_rm_all("f")):
            with pytest.raises(PermissionError_):
                refused()


def test_failed_exclusive_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FsspecFileSystem(fsspec.filesystem("file"), str(tmp_path)) as fs:

        class Full:
            def __enter__(self) -> Full:
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def write(self, _: bytes) -> None:
                raise OSError(28, "No space left on device")

        def full(path: str, mode: str) -> Full:
            Path(path).touch()
            return Full()

        monkeypatch.setattr(fs._fs, "open", full)
        with pytest.raises(FileSystemError, match="No space") as caught:
            fs.write("f", b"x", exclusive=True)
        assert caught.value.errno == 28
    assert os.listdir(tmp_path) == []


def test_missing_range(tmp_path: Path) -> None:
    with FsspecFileSystem(fsspec.filesystem("file"), str(tmp_path)) as fs, pytest.raises(NotExistError):
        fs.read_ranges([("missing", 0, 1)])
