"""Where a history takes place: stores whose writer can die at any moment, and be followed by another."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterator

from measurefs.fs import FileSystem, FileSystemError, FileSystemWrapper, LockFile, open_url
from measurefs.testing import CrashFileSystem, Fault, FaultFileSystem
from tests.conftest import Store

LEASE = 0.3


class World(abc.ABC):
    """A store; ``fs`` is what its present writer works on."""

    fs: FaultFileSystem

    @abc.abstractmethod
    def crash(self, survivors: int | str) -> None:
        """Let the writer die, and the power fail where a store can play that; a new ``fs`` shows what is left."""

    @abc.abstractmethod
    def reader(self) -> contextlib.AbstractContextManager[FileSystem]:
        """Another process's view of the store."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of everything."""


class PowerCuts(World):
    """Memory that forgets what was not synced."""

    def __init__(self) -> None:
        self._disk = CrashFileSystem()
        self.fs = FaultFileSystem(self._disk)

    def crash(self, survivors: int | str) -> None:
        self._disk = self._disk.kill() if survivors == "killed" else self._disk.crash(survivors)  # type: ignore[arg-type]
        self.fs = FaultFileSystem(self._disk)

    @contextlib.contextmanager
    def reader(self) -> Iterator[FileSystem]:
        yield self._disk

    def close(self) -> None:
        return


class _Mortal(FileSystemWrapper):
    """Remembers the locks that were taken through it, to drop them as the death of their holder does."""

    def __init__(self, wrapped: FileSystem) -> None:
        super().__init__(wrapped)
        self._locks: list[LockFile] = []

    def create_lock_file(self, path: str) -> LockFile:
        lock = super().create_lock_file(path)
        self._locks.append(lock)
        return lock

    def die(self) -> None:
        for lock in self._locks:
            lock.abandon()  # type: ignore[attr-defined] - those of the local and the S3 backend can
        self.close()


class Deaths(World):
    """A store of the backends' own, whose writer dies while the machine goes on."""

    def __init__(self, open_store: Callable[[], FileSystem]) -> None:
        self._open = open_store
        self._start()

    def _start(self) -> None:
        self._mortal = _Mortal(self._open())
        self.fs = FaultFileSystem(self._mortal)

    def crash(self, survivors: int | str) -> None:
        self.fs.heal()
        self.fs.add(Fault(times=None))  # whatever of the dead still moves reaches nothing
        self._mortal.die()
        self._start()

    @contextlib.contextmanager
    def reader(self) -> Iterator[FileSystem]:
        with self._open() as fs:
            yield fs

    def close(self) -> None:
        with contextlib.suppress(FileSystemError):
            self._mortal.die()


def on(store: Store) -> World:
    """A world on an empty store."""
    options = store.options | ({"lease": LEASE} if store.url.startswith("s3:") else {})
    return Deaths(lambda: open_url(store.url, **options))
