"""What the conformance suite stands on: the fixtures that an author supplies, and a few helpers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import pytest

from measurefs.fs import FileSystem, FileSystemError, join, parent, walk


class RawAccess(Protocol):
    """A way to what is stored that goes round the file system under test."""

    def get(self, path: str) -> bytes:
        """Return a stored file's bytes."""
        ...

    def put(self, path: str, data: bytes) -> None:
        """Store a file, and whatever directories it needs."""
        ...

    def names(self) -> set[str]:
        """Return the paths of all stored files, hidden and unfinished ones too."""
        ...


class Suite:
    """The fixtures and the figures that the rules share; `FileSystemConformance` explains them."""

    directories: bool = True
    tells_clean: bool = True
    many: int = 1_200
    racers: int = 8
    rounds: int = 20

    @pytest.fixture
    def fs(self) -> FileSystem:
        """Give a fresh, empty file system."""
        raise NotImplementedError(f"{type(self).__name__} must define the fixture `fs`, an empty file system")

    @pytest.fixture
    def another(self, fs: FileSystem) -> FileSystem:
        """Give a second client of the same storage."""
        return fs

    @pytest.fixture
    def raw(self, another: FileSystem) -> RawAccess:
        """Give access to what is stored, round the code under test."""
        return ThroughFileSystem(another)

    def needs_directories(self) -> None:
        """Skip the test where directories are only prefixes of names."""
        if not self.directories:
            pytest.skip("this store has no real directories")


class ThroughFileSystem:
    """`RawAccess` by way of a file system, for authors who have no better."""

    def __init__(self, fs: FileSystem) -> None:
        self._fs = fs

    def get(self, path: str) -> bytes:
        """Return a file's bytes."""
        return self._fs.read(path)

    def put(self, path: str, data: bytes) -> None:
        """Store a file."""
        self._fs.make_dir(parent(path), exist_ok=True)
        self._fs.write(path, data)

    def names(self) -> set[str]:
        """Return the paths of all files that are listed."""
        return set(walk(self._fs))


@contextlib.contextmanager
def refused(
    kind: type[FileSystemError] | tuple[type[FileSystemError], ...], path: str, *operations: str
) -> Iterator[None]:
    """Expect an error of a kind, that carries what such an error must carry."""
    with pytest.raises(kind) as caught:
        yield
    error = caught.value
    assert error.code == type(error).code
    assert error.path == path
    assert not operations or error.operation in operations
    assert repr(path) in str(error), "the message must name the path"
    assert error.errno


def together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Make all calls at the same moment, each in its thread; return their results, or the errors raised."""
    start = threading.Barrier(len(calls))

    def begin(call: Callable[[], Any]) -> Any:
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(begin, call) for call in calls]
    return [future.exception() or future.result() for future in running]


def succeed(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Make all calls at the same moment, and raise the first error of any."""
    outcomes = together(calls)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return outcomes


def names_in(fs: FileSystem, path: str = "") -> list[str]:
    """Return the names in a directory, as listed."""
    return [entry.name for entry in fs.read_dir(path)]


def put_all(fs: FileSystem, *paths: str, data: bytes = b"x") -> None:
    """Write files, and make their directories."""
    for path in paths:
        fs.make_dir(parent(path), exist_ok=True)
        fs.write(path, data)


def numbered(directory: str, count: int) -> dict[str, bytes]:
    """Return paths in a directory, in order of name, and a different content for each."""
    return {join(directory, f"file-{number:05}"): b"%d" % number for number in range(count)}
