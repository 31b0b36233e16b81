"""Wrappers: what they pass on obeys the same rules, counted or refused."""

from __future__ import annotations

import uuid

import pytest

from measurefs.backends.local import LocalFileSystem
from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import (
    CountingFileSystem,
    FileSystem,
    FileSystemWrapper,
    NotExistError,
    PermissionError_,
    ReadOnlyFileSystem,
)
from measurefs.testing import FileSystemConformance


class Suite(FileSystemConformance):
    many = 200
    wrapper: type[FileSystemWrapper] = FileSystemWrapper

    @pytest.fixture
    def fs(self, store):
        with self.wrapper(store) as fs:
            yield fs

    @pytest.fixture
    def another(self, fs, store_again):
        with self.wrapper(store_again) as another:
            yield another


class OnLocal(Suite):
    @pytest.fixture
    def store(self, tmp_path):
        return LocalFileSystem(tmp_path / "root")

    @pytest.fixture
    def store_again(self, tmp_path):
        return LocalFileSystem(tmp_path / "root")


class OnMemory(Suite):
    @pytest.fixture
    def store(self):
        name = f"test-{uuid.uuid4()}"
        yield MemoryFileSystem(name)
        MemoryFileSystem.forget(name)

    @pytest.fixture
    def store_again(self, store):
        return MemoryFileSystem(store.name)


class TestWrapperOnLocal(OnLocal):
    pass


class TestWrapperOnMemory(OnMemory):
    pass


class TestCountingOnLocal(OnLocal):
    wrapper = CountingFileSystem


class TestCountingOnMemory(OnMemory):
    wrapper = CountingFileSystem


@pytest.fixture
def store():
    fs = MemoryFileSystem()
    fs.make_dir("d")
    fs.write("d/file", b"0123456789")
    return fs


def test_a_stack_knows_what_is_below(store):
    top = ReadOnlyFileSystem(CountingFileSystem(FileSystemWrapper(store)))
    assert top.innermost is store
    assert isinstance(top.wrapped, CountingFileSystem)


def test_a_wrapper_is_as_remote_as_what_it_wraps(store):
    assert FileSystemWrapper(store).remote is False
    store.remote = True
    assert FileSystemWrapper(FileSystemWrapper(store)).remote is True


def test_a_wrapper_passes_on_every_method(store):
    """A method that the interface gets and the wrapper lacks would fall back to its default."""
    public = {
        name for name, value in vars(FileSystem).items() if callable(value) and not name.startswith("_")
    }
    assert public - {"from_url"} <= set(vars(FileSystemWrapper))


EVERY_CALL = {
    "make_dir": lambda fs: fs.make_dir("d/new"),
    "create_file": lambda fs: fs.create_file("d/new-1").close(),
    "write": lambda fs: fs.write("d/new-2", b"abc", exclusive=True),
    "write_all": lambda fs: fs.write_all({"d/new-3": b"abcd", "d/new-4": b""}),
    "sync_path": lambda fs: fs.sync_path("d"),
    "create_lock_file": lambda fs: fs.create_lock_file("d/LOCK").close(),
    "delete_file": lambda fs: fs.delete_file("d/file"),
    "must_rm_all": lambda fs: fs.must_rm_all("d"),
    "read": lambda fs: fs.read("d/file"),
    "read_ranges": lambda fs: fs.read_ranges([("d/file", 0, 5), ("d/file", 8, 2)]),
    "read_dir": lambda fs: fs.read_dir("d"),
    "open_file": lambda fs: fs.open_file("d/file").close(),
}
READING = {"read", "read_ranges", "read_dir", "open_file"}


@pytest.mark.parametrize("method", EVERY_CALL)
def test_counting(store, method):
    fs = CountingFileSystem(store)
    EVERY_CALL[method](fs)
    assert fs.calls == {method: 1}
    assert fs.bytes["read"] == {"read": 10, "read_ranges": 7}.get(method, 0)
    assert fs.bytes["written"] == {"write": 3, "write_all": 4}.get(method, 0)
    fs.reset()
    assert not fs.calls
    assert not fs.bytes


def test_counting_counts_attempts(store):
    fs = CountingFileSystem(store)
    with pytest.raises(FileExistsError):
        fs.write("d/file", b"x", exclusive=True)
    with pytest.raises(NotExistError):
        fs.open_file("missing")
    assert fs.calls == {"write": 1, "open_file": 1}


@pytest.mark.parametrize("method", EVERY_CALL)
def test_read_only(store, method):
    fs = ReadOnlyFileSystem(store)
    if method in READING:
        EVERY_CALL[method](fs)
    else:
        with pytest.raises(PermissionError_, match="read-only") as caught:
            EVERY_CALL[method](fs)
        assert caught.value.operation == method
        assert caught.value.path.startswith("d")
        assert isinstance(caught.value, PermissionError)
    assert store.read("d/file") == b"0123456789"
    assert [entry.name for entry in store.read_dir("d")] == ["file"]
