"""Taking the writer's lock of a table."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from measurefs.fs.errors import FileSystemError, LockError
from measurefs.fs.filesystem import FileSystem, LockFile
from measurefs.fs.paths import join
from measurefs.table.epochs import MAX_TOKEN, token_of

LOCK = "LOCK"
_RELOCKS = 10_000


def release(lock: LockFile, *, clean: bool) -> None:
    """Let go of a lock; where that cannot be told, the next to take it waits, as after its holder's death."""
    with contextlib.suppress(FileSystemError):
        lock.close(clean=clean)


class _RaisedLock(LockFile):
    """A lock whose tokens are so much higher than its file counts."""

    def __init__(self, lock: LockFile, by: int) -> None:
        self._lock = lock
        self.path = lock.path
        self.token = lock.token + by
        self.clean = lock.clean

    def check(self) -> None:
        self._lock.check()

    def close(self, *, clean: bool = True) -> None:
        self._lock.close(clean=clean)


def take_lock(
    fs: FileSystem, root: str, newest: Callable[[], int], floor: int = 0, base: int = 0
) -> LockFile:
    """Take a table's lock until its token is greater than that of all that was ever published there.

    It is at once, unless somebody removed the lock file, and with it the memory of the tokens given out.

    Parameters
    ----------
    root : str
        The table's directory.
    newest : callable
        Returns the highest number of any snapshot or part there; called with the lock held.
    floor : int
        What the caller adds to the lock's tokens; see `TsTable`.
    base : int
        What is added to them at least, so that they need not be counted up to what was published elsewhere.

    Raises
    ------
    LockError
        Another writer has it.
    """
    path = join(root, LOCK)
    for _ in range(_RELOCKS):
        lock = fs.create_lock_file(path)
        if base > floor:
            lock = _RaisedLock(lock, base - floor)
        try:
            published = token_of(newest())
        except BaseException:
            lock.close(clean=lock.clean)
            raise
        token = floor + lock.token
        if published < token <= MAX_TOKEN:
            return lock
        lock.close(clean=lock.clean)
        if token > MAX_TOKEN:
            break
    raise LockError(
        "create_lock_file",
        path,
        "it counts tokens that do not fit those in use here; make sure that no writer runs, delete it, and try again",
    )
