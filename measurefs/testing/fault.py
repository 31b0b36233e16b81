"""`FaultFileSystem`: makes chosen operations of any file system fail, hang, or succeed without saying so."""
# ruff: noqa: D102 - the interface documents what is passed on

from __future__ import annotations

import collections
import contextlib
import dataclasses
import errno
import fnmatch
import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from measurefs.fs import (
    Buffer,
    CloseError,
    DeleteError,
    DirEntry,
    ExistError,
    File,
    FileSystem,
    FileSystemError,
    FileSystemWrapper,
    FlushError,
    LockError,
    LockFile,
    NotExistError,
    OpenError,
    PermissionError_,
    ReadError,
    WriteError,
)

A = TypeVar("A")
ErrorKind = Literal["io", "disk full", "permission", "time-out"]

_NUMBERS = {
    "io": errno.EIO,
    "disk full": errno.ENOSPC,
    "permission": errno.EACCES,
    "time-out": errno.ETIMEDOUT,
}
_CLASSES: dict[str, type[FileSystemError]] = {
    "create_file": WriteError,
    "create_lock_file": LockError,
    "delete_file": DeleteError,
    "file.close": CloseError,
    "file.read": ReadError,
    "file.write": WriteError,
    "lock.close": CloseError,
    "make_dir": WriteError,
    "must_rm_all": DeleteError,
    "open_file": OpenError,
    "read": ReadError,
    "read_dir": ReadError,
    "read_ranges": ReadError,
    "read_tree": ReadError,
    "sync_path": FlushError,
    "write": WriteError,
    "write_all": WriteError,
}


class Stall:
    """Where a call waits until the test lets it go on."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._released = threading.Event()

    def wait_until_reached(self, timeout: float | None = None) -> bool:
        """Return once a call waits here; False if none does within the time-out, in seconds."""
        return self._reached.wait(timeout)

    def release(self) -> None:
        """Let whoever waits here, and whoever will come, go on."""
        self._released.set()

    def reach(self) -> None:
        """Wake whoever waits in `wait_until_reached`, as a call that arrives here does."""
        self._reached.set()

    def hold(self) -> None:
        """Wait here."""
        self.reach()
        self._released.wait()


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """A rule of a `FaultFileSystem`: which calls go wrong, and how.

    Attributes
    ----------
    operation : str
        A pattern (`fnmatch`) for the name of the method; of open files and locks ``file.read``,
        ``file.write``, ``file.close``, ``lock.check`` and ``lock.close``. Several are separated by ``|``.
    path : str
        A pattern for the path; ``*`` matches slashes, too. Of a call with several paths one must match.
    at : int
        The first of the matching calls to go wrong, counted from 1.
    times : int or None
        How many of them go wrong from there on; None for all.
    probability : float
        How likely each of these is to go wrong, decided by `seed`.
    seed : int
        See `probability`.
    after : bool
        Whether the call takes effect before it fails: the lost acknowledgement.
    later : bool
        Whether the call takes effect after it failed, when `FaultFileSystem.land` says so: a request that timed
        out, on its way. For ``write`` and ``delete_file`` (of ``write_all`` each file is a ``write``).
    error : {"io", "disk full", "permission", "time-out"} or None
        What is raised, always of the class that such a call raises; None to let it succeed after the `stall`.
    stall : Stall, optional
        Where the call waits before anything else.

    Examples
    --------
    ::

        Fault("sync_path")  # the first sync fails
        Fault("write", "*.snp", at=3, after=True)  # the third snapshot lands, but reports failure
        Fault("write", "*.snp", later=True, error="time-out")  # lands when land() is called
        Fault("write*|make_dir|file.write", error="disk full", times=None)  # until heal()
        Fault("read*", probability=0.01, seed=7, times=None, error="time-out")
    """

    operation: str = "*"
    path: str = "*"
    at: int = 1
    times: int | None = 1
    probability: float = 1.0
    seed: int = 0
    after: bool = False
    later: bool = False
    error: ErrorKind | None = "io"
    stall: Stall | None = None

    def matches(self, operation: str, paths: Sequence[str]) -> bool:
        """Whether the rule is about such a call."""
        return any(fnmatch.fnmatchcase(operation, each) for each in self.operation.split("|")) and any(
            fnmatch.fnmatchcase(path, self.path) for path in paths
        )

    def make_error(self, operation: str, path: str) -> FileSystemError:
        """Return the error to raise."""
        number = _NUMBERS[self.error or "io"]
        kind = _CLASSES.get(operation, FileSystemError)
        if self.error == "permission":
            kind = PermissionError_
        elif self.error == "disk full":
            kind = WriteError
        return kind(operation, path, f"{os.strerror(number)} (injected)", number)


class _Rule:
    """A fault and how often it was considered."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._seen = self._fired = 0
        self._chance = random.Random(fault.seed)

    def fires(self, operation: str, paths: Sequence[str]) -> bool:
        """Count a call, and say whether it goes wrong."""
        fault = self.fault
        if not fault.matches(operation, paths):
            return False
        self._seen += 1
        if self._seen < fault.at or (fault.times is not None and self._fired >= fault.times):
            return False
        if fault.probability < 1.0 and self._chance.random() >= fault.probability:
            return False
        self._fired += 1
        return True


class FaultFileSystem(FileSystemWrapper):
    """Passes every call on, except those that a `Fault` is about.

    A call that fails *before* its work has done nothing. One that fails *after* it has done everything: the
    file is written, the lock was taken (and is let go again, since nobody can hold it; its token is used up).
    `write_all` writes its files one by one, and `delete_files` deletes them so, so that any of them may fail.

    Parameters
    ----------
    wrapped : FileSystem
    *faults : Fault
        The first one that fires decides.

    Attributes
    ----------
    calls : collections.Counter
        Name of operation to number of calls, those of open files and locks included.
    injected : collections.Counter
        Name of operation to number of errors raised by this wrapper; a test compares it with those that came
        out at the other end.
    """

    def __init__(self, wrapped: FileSystem, *faults: Fault) -> None:
        super().__init__(wrapped)
        self.calls: collections.Counter[str] = collections.Counter()
        self.injected: collections.Counter[str] = collections.Counter()
        self._rules: list[_Rule] = []
        self._under_way: list[Callable[[], Any]] = []
        self._lock = threading.Lock()
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        """Obey these rules, too, from now on; their calls are counted from here."""
        with self._lock:
            self._rules += map(_Rule, faults)

    def heal(self) -> None:
        """Forget all rules, and let those go on that wait in a `Stall`."""
        with self._lock:
            rules, self._rules = self._rules, []
        for rule in rules:
            if rule.fault.stall is not None:
                rule.fault.stall.release()

    @contextlib.contextmanager
    def calm(self) -> Iterator[None]:
        """Let nothing go wrong within the block, and count no call for any rule: for a test that looks around."""
        with self._lock:
            rules, self._rules = self._rules, []
        try:
            yield
        finally:
            with self._lock:
                self._rules = rules + self._rules

    def land(self) -> int:
        """Let what is under way (see `Fault.later`) take effect, in its order; return how many calls that were.

        As it would on a store: an exclusive write of a path that is there by now, or the deletion of one that is
        gone, does nothing.
        """
        with self._lock:
            calls, self._under_way = self._under_way, []
        for call in calls:
            with contextlib.suppress(ExistError, NotExistError):
                call()
        return len(calls)

    @contextlib.contextmanager
    def _call(self, operation: str, *paths: str, later: Callable[[], Any] | None = None) -> Iterator[None]:
        with self._lock:
            self.calls[operation] += 1
            # Every rule counts the call, also those behind the one that fires.
            due = [rule.fault for rule in self._rules if rule.fires(operation, paths)]
        fault = due[0] if due else None
        if fault is not None and fault.stall is not None:
            fault.stall.hold()
        if fault is None or fault.error is None:
            yield
            return
        if fault.after:
            yield
        with self._lock:
            self.injected[operation] += 1
            if fault.later and later is not None:
                self._under_way.append(later)
        raise fault.make_error(operation, paths[0])

    def _open(self, operation: str, path: str, get: Callable[[str], A], drop: Callable[[A], None]) -> A:
        """Open something; if that fails afterwards, nobody will ever close it but we."""
        opened: A | None = None
        try:
            with self._call(operation, path):
                opened = get(path)
        except FileSystemError:
            if opened is not None:
                drop(opened)
            raise
        return opened

    def make_dir(self, path: str, *, exist_ok: bool = False) -> None:
        with self._call("make_dir", path):
            super().make_dir(path, exist_ok=exist_ok)

    def read_dir(self, path: str) -> list[DirEntry]:
        with self._call("read_dir", path):
            return super().read_dir(path)

    def create_file(self, path: str) -> File:
        return _FaultyFile(
            self._open("create_file", path, super().create_file, lambda file: file.discard()), self
        )

    def open_file(self, path: str) -> File:
        return _FaultyFile(self._open("open_file", path, super().open_file, lambda file: file.close()), self)

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        def later() -> None:
            self.wrapped.write(path, copy, exclusive=exclusive)

        copy = bytes(data)
        with self._call("write", path, later=later):
            return super().write(path, copy, exclusive=exclusive)

    def read(self, path: str) -> bytes:
        with self._call("read", path):
            return super().read(path)

    def delete_file(self, path: str) -> None:
        with self._call("delete_file", path, later=lambda: self.wrapped.delete_file(path)):
            super().delete_file(path)

    def must_rm_all(self, path: str) -> None:
        with self._call("must_rm_all", path):
            super().must_rm_all(path)

    def sync_path(self, path: str) -> None:
        with self._call("sync_path", path):
            super().sync_path(path)

    def create_lock_file(self, path: str) -> LockFile:
        lock = self._open("create_lock_file", path, super().create_lock_file, lambda lock: lock.close())
        return _FaultyLock(lock, self)

    def write_all(self, files: Mapping[str, Buffer]) -> None:
        with self._call("write_all", *(files or [""])):
            for path, data in files.items():
                self.write(path, data)

    def read_tree(self, path: str, limit: int) -> list[DirEntry] | None:
        with self._call("read_tree", path):
            return super().read_tree(path, limit)

    def delete_files(self, paths: Sequence[str]) -> None:
        FileSystem.delete_files(self, paths)

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        with self._call("read_ranges", *([path for path, _, _ in ranges] or [""])):
            return super().read_ranges(ranges)


class _FaultyFile(File):
    def __init__(self, wrapped: File, fs: FaultFileSystem) -> None:
        super().__init__(wrapped.path)
        self._wrapped = wrapped
        self._fs = fs

    def write(self, data: Buffer) -> int:
        with self._fs._call("file.write", self.path):
            return self._wrapped.write(data)

    def read(self, offset: int, size: int) -> bytes:
        with self._fs._call("file.read", self.path):
            return self._wrapped.read(offset, size)

    def size(self) -> int:
        return self._wrapped.size()

    def close(self) -> None:
        with self._fs._call("file.close", self.path):
            self._wrapped.close()

    def discard(self) -> None:
        self._wrapped.discard()


class _FaultyLock(LockFile):
    def __init__(self, wrapped: LockFile, fs: FaultFileSystem) -> None:
        self.path, self.token, self.clean = wrapped.path, wrapped.token, wrapped.clean
        self._wrapped = wrapped
        self._fs = fs

    def check(self) -> None:
        with self._fs._call("lock.check", self.path):
            self._wrapped.check()

    def close(self, *, clean: bool = True) -> None:
        with self._fs._call("lock.close", self.path):
            self._wrapped.close(clean=clean)
