"""The memory backend: the conformance suite, and what is its own."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import uuid
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from measurefs.backends import memory
from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import ExistError, FencedError, LockError, NotExistError, UnsupportedStoreError, open_url
from measurefs.testing import FileSystemConformance


@pytest.fixture
def name():
    name = f"test-{uuid.uuid4()}"
    yield name
    MemoryFileSystem.forget(name)


class TestMemoryFileSystem(FileSystemConformance):
    @pytest.fixture
    def fs(self, name):
        return MemoryFileSystem(name)

    @pytest.fixture
    def another(self, fs, name):
        return MemoryFileSystem(name)


def test_named_stores_are_shared_and_outlive_their_file_systems(name):
    with MemoryFileSystem(name) as fs:
        fs.write("file", b"x")
    assert MemoryFileSystem(name).read("file") == b"x"
    assert MemoryFileSystem(name + "-2").read_dir("") == []
    MemoryFileSystem.forget(name + "-2")


def test_forgetting_a_store_leaves_it_to_those_who_have_it(name):
    fs = MemoryFileSystem(name)
    fs.write("file", b"x")
    MemoryFileSystem.forget(name)
    MemoryFileSystem.forget(name)
    assert MemoryFileSystem(name).read_dir("") == []
    assert fs.read("file") == b"x"


def test_stores_without_a_name_are_private():
    one, two = MemoryFileSystem(), MemoryFileSystem()
    one.write("file", b"x")
    assert two.read_dir("") == []


def test_urls(name):
    open_url(f"memory://{name}").write("file", b"x")
    assert open_url(f"memory://{name}/").read("file") == b"x"
    with pytest.raises(NotExistError):
        open_url(f"memory://{name}/below").read("file")
    MemoryFileSystem.forget(f"{name}/below")
    open_url("memory://").write("file", b"x")
    assert open_url("memory://").read_dir("") == []
    with pytest.raises(UnsupportedStoreError, match="region"):
        open_url("memory://", region="here")


def test_repr_tells_the_name():
    assert repr(MemoryFileSystem()) == "MemoryFileSystem()"
    assert repr(MemoryFileSystem("a")) == "MemoryFileSystem('a')"
    MemoryFileSystem.forget("a")


def test_listings_tell_sizes():
    fs = MemoryFileSystem()
    fs.write("file", b"12345")
    assert fs.read_dir("")[0].size == 5


def test_breaking_locks_is_the_death_of_their_holders(name):
    fs, another = MemoryFileSystem(name), MemoryFileSystem(name)
    dead = fs.create_lock_file("LOCK")
    fs.break_locks()
    with pytest.raises(FencedError):
        dead.check()
    with another.create_lock_file("LOCK") as lock:
        assert lock.token == dead.token + 1
        assert not lock.clean
        dead.close()
        lock.check()
        with pytest.raises(LockError):
            fs.create_lock_file("LOCK")
    with fs.create_lock_file("LOCK") as lock:
        assert lock.clean


@pytest.mark.parametrize("loss", ["delete", "replace", "remove everything"])
def test_a_lock_is_lost_with_its_file(loss):
    fs = MemoryFileSystem()
    old = fs.create_lock_file("LOCK")
    match loss:
        case "delete":
            fs.delete_file("LOCK")
        case "replace":
            fs.write("LOCK", fs.read("LOCK")[:-1] + b"}")
        case _:
            fs.must_rm_all("")
    with pytest.raises(FencedError):
        old.check()
    with fs.create_lock_file("LOCK") as new:
        assert new.token > old.token
        old.close()
        new.check()


def test_a_lock_is_no_directory():
    fs = MemoryFileSystem()
    fs.make_dir("d")
    with pytest.raises(LockError):
        fs.create_lock_file("d")


def test_an_open_file_outlives_its_name():
    fs = MemoryFileSystem()
    fs.write("file", b"old")
    with fs.open_file("file") as file:
        fs.write("file", b"new")
        assert file.read(0, 3) == b"old"
        fs.must_rm_all("")
        assert file.read(0, 3) == b"old"


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, -1)])
def test_negative_ranges_are_refused(offset, size):
    fs = MemoryFileSystem()
    fs.write("file", b"0123456789")
    with fs.open_file("file") as file, pytest.raises(OSError, match="file"):
        file.read(offset, size)
    with pytest.raises(OSError, match="file"):
        fs.read_ranges([("file", offset, size)])


def test_the_plugin_gives_a_fresh_store(measurefs_memory):
    assert measurefs_memory.read_dir("") == []
    measurefs_memory.write("file", b"x")
    assert isinstance(measurefs_memory, MemoryFileSystem)


def test_of_two_exclusive_writers_one_succeeds_wherever_the_first_is_interrupted():
    """At each line of its call another thread comes in, and gets as far as it may."""
    for line in itertools.count(1):
        fs = MemoryFileSystem()
        written: list[bytes] = []

        def write(data: bytes, fs=fs, written=written) -> None:
            with contextlib.suppress(ExistError):
                fs.write("file", data, exclusive=True)
                written.append(data)

        second = threading.Thread(target=write, args=(b"second",))
        first = threading.Thread(target=at_line, args=(line, second, lambda write=write: write(b"first")))
        first.start()
        first.join(30)
        if second.ident is None:
            break
        second.join(30)
        assert [fs.read("file")] == written, f"interrupted at its line {line}"
    assert line > 5, "it was interrupted at hardly any line"


def at_line(number: int, other: threading.Thread, call: Callable[[], None]) -> None:
    """Make a call; at the so many-th line that it runs of the backend start another thread."""
    left = number

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != memory.__file__:
            return None
        left -= event == "line"
        if left == 0 and other.ident is None:
            other.start()
            other.join(0.05)  # it ends, unless it has to wait for this thread
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
