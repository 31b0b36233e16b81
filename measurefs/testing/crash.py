"""`CrashFileSystem`: a file system in memory that knows what is durable, and can lose all the rest."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Iterator
from typing import Literal, Self

from measurefs.fs import (
    Buffer,
    DeleteError,
    DirEntry,
    ExistError,
    File,
    FileSystem,
    FlushError,
    LockFile,
    NotExistError,
    OpenError,
    WriteError,
    basename,
    check_path,
    join,
    parent,
)
from measurefs.testing.crash_handles import TEMPORARY, CrashLock, CrashReader, CrashWriter, copied
from measurefs.testing.crash_tree import Directory, Node, after_power_cut, chooser, torn

Survivors = Literal["none", "all"] | int
"""What outlives a power cut besides what is durable: nothing, everything, or by a seed any part of it."""


class SimulatedCrash(BaseException):
    """The machine stopped here: no error, and for nobody to handle but the test that stopped it."""


class CrashFileSystem(FileSystem):
    """Files in memory, of which a crash leaves exactly what the `FileSystem` interface promises.

    The bytes of a file are durable once `write` or `File.close` has returned. Its name, a new directory's and
    a removal are durable once `sync_path` of the directory they are in has returned, and not a moment
    earlier: before that a power cut may leave the name with what it stood for at any time since the last
    sync. A file is never found in part, except under a temporary name (`TEMPORARY`), which the next
    `create_lock_file` in its directory removes. The token of a lock is durable when `create_lock_file`
    returns, and the release when `LockFile.close` does.

    Operations that change something, also those of open files and locks, count from 1. `crash_at` stops the
    machine at one of them; `crash` then returns what is found after the restart. The crashed file system
    stays as it is, so that a test may look at any number of outcomes of one crash.

    Parameters
    ----------
    keep_trace : bool
        Whether to note every changing operation in `trace`.

    Attributes
    ----------
    operations : int
        How many changing operations have been called.
    trace : list of (str, str)
        Their names and paths, in order, if they are noted: ``trace[n - 1]`` is the n-th.
    crashed : bool
        Whether the machine has stopped.

    Examples
    --------
    ::

        fs = CrashFileSystem()
        fs.crash_at(7)
        with contextlib.suppress(SimulatedCrash):
            workload(fs)
        for survivors in ("none", "all", 1, 2, 3):
            check(fs.crash(survivors))
    """

    def __init__(self, *, keep_trace: bool = False) -> None:
        self.operations = 0
        self.trace: list[tuple[str, str]] = []
        self.crashed = False
        self._keep_trace = keep_trace
        self._guard = threading.RLock()
        self._root = Directory()
        self._tokens: dict[str, int] = {}
        self._locks: dict[str, CrashLock] = {}
        self._unfinished: dict[object, tuple[str, bytearray]] = {}
        self._crash_at = self._sync_to_fail = 0
        self._crash_after = False

    # Crashing.

    def crash_at(self, number: int, *, after: bool = False) -> None:
        """Stop the machine at a changing operation: it and every later call raise `SimulatedCrash`.

        Parameters
        ----------
        number : int
            Which one, counted as `operations` does; 0 for none.
        after : bool
            Whether it takes effect before the machine stops (nobody learns of it) or not.
        """
        with self._guard:
            self._crash_at, self._crash_after = number, after

    def fail_sync(self, number: int) -> None:
        """Let the so many-th `sync_path` of a directory from now on fail, as a dying disk does.

        The files' names that it should have made durable stay at risk whatever is synced later: they must be
        written anew, as the interface says.
        """
        with self._guard:
            self._sync_to_fail = number

    def crash(self, survivors: Survivors = "none") -> Self:
        """Return what is found after a power cut now; this file system itself is left as it is.

        Parameters
        ----------
        survivors : {"none", "all"} or int
            What outlives it of all that is not durable: nothing, everything, or a part that is chosen by this
            seed. Files that were being written may be left under temporary names, torn between blocks of
            4 KiB.
        """
        with self._guard:
            found = self._restarted()
            found._root = after_power_cut(self._root, chooser(survivors))
            for path, data in self._unfinished.values():
                left = torn(bytes(data), survivors)
                if left is not None:
                    found._leave_temporary(path, left, durably=True)
            return found

    def kill(self) -> Self:
        """Return what is found if now all processes die and the machine does not.

        All that was written is there, and what was not synced is still at risk of a later power cut.
        """
        with self._guard:
            found = self._restarted()
            found._root = copy.deepcopy(self._root)
            for path, data in self._unfinished.values():
                found._leave_temporary(path, bytes(data), durably=False)
            return found

    def break_locks(self, path: str | None = None) -> None:
        """Take a lock (default: every one) from its holder, as if that had died, or its lease run out."""
        with self._guard:
            for each in [path] if path is not None else list(self._locks):
                self._locks.pop(each, None)

    def unsynced(self) -> list[str]:
        """Return the paths that a power cut may change, sorted.

        These are names (of files, directories, removed ones too) whose directory was not synced since they
        changed, and files that are still being written. What is in a new directory is not named apart.
        """
        with self._guard:
            unfinished = (path for path, _ in self._unfinished.values())
            return sorted({*self._root.at_risk(), *unfinished})

    def is_durable(self, path: str) -> bool:
        """Whether a file, or a directory with all that is in it, is there after any power cut."""
        if self._find(path) is None:
            return False
        return not any(_is_within(path, risky) or _is_within(risky, path) for risky in self.unsynced())

    def _restarted(self) -> Self:
        found = type(self)(keep_trace=self._keep_trace)
        found._tokens = dict(self._tokens)
        return found

    def _leave_temporary(self, path: str, data: bytes, *, durably: bool) -> None:
        directory = self._find(parent(path))
        if isinstance(directory, Directory):
            name = f"{TEMPORARY}{basename(path)}"
            (directory.put_durably if durably else directory.put)(name, data)

    @contextlib.contextmanager
    def _changing(self, operation: str, path: str, unfinished: Buffer | None = None) -> Iterator[None]:
        """Count a changing operation, and stop the machine before or after it if it is its turn."""
        with self._guard:
            self._check_running()
            self.operations += 1
            if self._keep_trace:
                self.trace.append((operation, path))
            stops = self.operations == self._crash_at
            if stops and not self._crash_after:
                if unfinished is not None:
                    self._unfinished[object()] = path, bytearray(unfinished)
                self._stop(operation, path)
            try:
                yield
            finally:
                if stops:
                    self._stop(operation, path)

    def _stop(self, operation: str, path: str) -> None:
        self.crashed = True
        when = "after" if self._crash_after else "before"
        raise SimulatedCrash(f"the machine stopped {when} operation {self.operations}: {operation} {path!r}")

    def _check_running(self) -> None:
        if self.crashed:
            raise SimulatedCrash("the machine has stopped; look at what crash() or kill() returns")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._guard:
            self._check_running()
            yield

    # What is where.

    def _find(self, path: str) -> Node | None:
        found: Node | None = self._root
        for name in path.split("/") if path else ():
            found = found.get(name) if isinstance(found, Directory) else None
        return found

    def _directory_of(self, path: str, operation: str) -> Directory:
        directory = self._find(parent(path))
        if not isinstance(directory, Directory):
            raise NotExistError(operation, path, "its directory is missing; call make_dir first")
        return directory

    def _put(self, path: str, data: bytes, operation: str, *, exclusive: bool) -> None:
        directory = self._directory_of(path, operation)
        there = directory.get(basename(path))
        if there is not None and exclusive:
            raise ExistError(operation, path, "it is there already; delete it first, or choose another name")
        if isinstance(there, Directory):
            raise WriteError(operation, path, "it is a directory; choose another name")
        directory.put(basename(path), data)

    def _get(self, path: str, operation: str) -> bytes:
        found = self._find(path)
        if found is None:
            raise NotExistError(operation, path, "there is no such file")
        if isinstance(found, Directory):
            raise OpenError(operation, path, "it is a directory; read_dir lists those")
        return found

    # The interface.

    def make_dir(self, path: str, *, exist_ok: bool = False) -> None:
        """Make a directory and those above it; each name is durable after `sync_path` of the one it is in."""
        check_path(path, "make_dir", root=True)
        with self._changing("make_dir", path):
            there = self._find(path)
            if there is not None and not (exist_ok and isinstance(there, Directory)):
                raise ExistError("make_dir", path, "it is there already; pass exist_ok=True if it may be")
            directory = self._root
            for name in path.split("/") if path else ():
                if directory.get(name) is None:
                    directory.put(name, Directory())
                below = directory.get(name)
                if not isinstance(below, Directory):
                    raise NotExistError("make_dir", path, f"{name!r} on the way to it is a file")
                directory = below

    def read_dir(self, path: str) -> list[DirEntry]:
        """List a directory as it is now, durable or not."""
        check_path(path, "read_dir", root=True)
        with self._reading():
            directory = self._find(path)
            if not isinstance(directory, Directory):
                raise NotExistError("read_dir", path, "there is no such directory")
            return sorted(_entry(name, node) for name, node in directory.now().items())

    def create_file(self, path: str) -> File:
        """Create a file; a crash before it is closed leaves at most a torn one under a temporary name."""
        check_path(path, "create_file")
        with self._changing("create_file", path):
            if self._directory_of(path, "create_file").get(basename(path)) is not None:
                raise ExistError("create_file", path, "it is there already; delete it first")
            return CrashWriter(path, self)

    def open_file(self, path: str) -> File:
        """Open a file; it stays what it is, whatever becomes of its name."""
        check_path(path, "open_file")
        with self._reading():
            return CrashReader(path, self._get(path, "open_file"), self)

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        """Write a file whole: its bytes are durable on return, its name after `sync_path`.

        Over an existing file: a power cut before `sync_path` leaves the old content or the new one.
        """
        check_path(path, "write")
        content = copied(data)
        with self._changing("write", path, content):
            self._put(path, content, "write", exclusive=exclusive)
        return len(content)

    def read(self, path: str) -> bytes:
        """Read a file as it is now, durable or not."""
        check_path(path, "read")
        with self._reading():
            return self._get(path, "read")

    def delete_file(self, path: str) -> None:
        """Delete a file; a power cut before `sync_path` of its directory may bring it back."""
        check_path(path, "delete_file")
        with self._changing("delete_file", path):
            found = self._find(path)
            if found is None:
                raise NotExistError("delete_file", path, "there is no such file")
            if isinstance(found, Directory):
                raise DeleteError("delete_file", path, "it is a directory; must_rm_all removes those")
            self._directory_of(path, "delete_file").put(basename(path), None)

    def must_rm_all(self, path: str) -> None:
        """Remove a tree; a power cut before `sync_path` may bring back any part of it."""
        check_path(path, "must_rm_all", root=True)
        with self._changing("must_rm_all", path):
            found = self._find(path)
            if isinstance(found, Directory):
                found.clear()
            if path and found is not None:
                self._directory_of(path, "must_rm_all").put(basename(path), None)

    def sync_path(self, path: str) -> None:
        """Make the names in a directory durable; a file's bytes are so already."""
        check_path(path, "sync_path", root=True)
        with self._changing("sync_path", path):
            found = self._find(path)
            if found is None:
                raise NotExistError("sync_path", path, "there is no such file or directory")
            if isinstance(found, Directory):
                self._sync_to_fail -= 1
                if self._sync_to_fail == 0:
                    found.fail_to_sync()
                    raise FlushError("sync_path", path, "the disk reports an error; write it all anew")
                found.sync()

    def create_lock_file(self, path: str) -> LockFile:
        """Take a lock; its token is durable on return, and a crash of the holder frees it."""
        check_path(path, "create_lock_file")
        with self._changing("create_lock_file", path):
            return CrashLock(path, self)


def _entry(name: str, node: Node) -> DirEntry:
    return DirEntry(name, True) if isinstance(node, Directory) else DirEntry(name, False, len(node))


def _is_within(path: str, above: str) -> bool:
    return path == above or path.startswith(join(above, "")) or above == ""
