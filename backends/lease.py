"""Locks for stores that have none, out of exclusive writes: a chain of generations, and a lease.

A lock named ``path`` is the chain of files ``<path>.<token as 16 hex digits>``, of which the highest is in
force. To acquire is to write the next one exclusively, so of any number of contenders one wins. Each file
tells its holder, whether it let go, and whether its predecessor had.

*Who may create the next generation?* Anybody, at once, when the highest is marked released. Otherwise only
who has itself seen the very same bytes there for a whole lease, by its own monotonic clock: a living holder
rewrites its file every third of the lease. Clocks of different machines are never compared.

*What makes it safe?* Not the lease, which only decides when it is polite to assume a death. A holder that
was merely slow finds out by `LeaseLock.check`, a single read: is the next generation there? This holds
however long it slept, for a generation that follows one that was *not* released is never deleted. Only one
that follows a released generation (of which no holder is left that could ask) is, by its successor. So a
chain of clean closes stays two files long, and every crash adds one small file.

*Breaking a lock* (`LeaseLocks.break_lock`) is to create the next generation marked released, as if somebody had
taken over and died at once: the holder finds it and is fenced, and whoever comes next need not watch anything.

*A name that was deleted can be created again* by a contender that listed the chain and then stalled. So
whoever has created a generation lists again, and gives way unless its own is the highest.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import secrets
import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

import msgspec

from measurefs.fs import (
    ExistError,
    FencedError,
    FileSystem,
    FileSystemError,
    HeldLock,
    LockError,
    LockFile,
    LockHolder,
    NotExistError,
    basename,
    held,
    join,
    parent,
)
from measurefs.fs.structs import decodable

_log = logging.getLogger(__name__)

T = TypeVar("T")

_ATTEMPTS = 10

# The acquisitions that this process holds at the moment: about these no watching is needed.
_ours: set[str] = set()


@decodable
class Generation(LockHolder, frozen=True):
    """The content of one file of the chain.

    Attributes
    ----------
    owner : str
        A random name of this acquisition.
    renewals : int
        How often the holder has rewritten the file; what makes a living holder's file change.
    clean : bool
        Whether the generation before it had been released with nothing unfinished, or there was none.
    breaking : bool
        Whether it was only made to break the lock of the generation before it.
    """

    owner: str = ""
    renewals: int = 0
    clean: bool = False
    breaking: bool = False


class LeaseLocks:
    """Takes and renews the locks of one file system.

    For backend authors: it needs ``read_dir``, ``read``, ``delete_file`` and an atomic
    ``write(exclusive=True)``, nothing else. `names` and `remove` may be overridden with cheaper requests.
    Call `close` when the file system is closed.

    Parameters
    ----------
    fs : FileSystem
        Where the chains are kept.
    lease : float
        Seconds after which a lock that is not renewed may be taken over.
    wait : bool
        Whether `acquire` watches a lock that is held until it is renewed or free. If false it fails at once,
        but remembers since when it has known the lock in that state.
    clock, sleep : callable
        Monotonic seconds, and what waits for some.
    """

    def __init__(
        self,
        fs: FileSystem,
        *,
        lease: float = 30.0,
        wait: bool = True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.fs = fs
        self.lease = lease
        self._wait = wait
        self._clock = clock
        self._sleep = sleep
        self._seen: dict[str, tuple[int, bytes, float]] = {}
        self._locks: weakref.WeakSet[LeaseLock] = weakref.WeakSet()

    def names(self, path: str) -> list[str]:
        """Return the names of the chain's files, and any others, in the lock's directory."""
        try:
            return [entry.name for entry in self.fs.read_dir(parent(path)) if not entry.is_dir]
        except NotExistError:
            return []

    def remove(self, path: str) -> None:
        """Delete a file that may be gone already."""
        try:
            self.fs.delete_file(path)
        except NotExistError:
            return

    def acquire(self, path: str) -> LeaseLock:
        """Take the lock, or raise `LockError`."""
        top = self._highest(path)
        if top == 0:
            return self._create(path, 1, None, clean=True)
        before = self._until_free(path, top)
        return self._create(path, top + 1, before, clean=before is not None and before.left_clean)

    def holder(self, path: str) -> HeldLock | None:
        """Return who holds a lock; None if it is free."""
        return self._at_top(path, self._held_by)

    def _held_by(self, path: str, token: int, content: bytes) -> HeldLock | None:
        if _released(content):
            return None
        return HeldLock(_described(token, content), self.unrenewed(path, token))

    def unrenewed(self, path: str, token: int) -> float | None:
        """Return for how many seconds a generation has not changed, by the store's own clock; None if unknown."""
        del path, token
        return None

    def break_lock(self, path: str) -> LockHolder | None:
        """Fence the holder of a lock, and make it free at once; return who that was, None if it was free."""
        return self._at_top(path, self._break)

    def _break(self, path: str, token: int, content: bytes) -> LockHolder | None:
        if _released(content):
            return None
        here = LockHolder.here(token + 1).leaving(clean=False)
        fence = Generation(
            **msgspec.structs.asdict(here), owner=secrets.token_hex(16), clean=False, breaking=True
        )
        self.fs.write(generation_path(path, token + 1), fence.encode(), exclusive=True)
        if self._highest(path) != token + 1:
            raise _changed(path)  # the name was free again only because many had come and gone since
        return _described(token, content)

    def _at_top(self, path: str, look: Callable[[str, int, bytes], T | None]) -> T | None:
        """Call look with the highest generation and its content, anew if another takes its place meanwhile."""
        for _ in range(_ATTEMPTS):
            top = self._highest(path)
            if top == 0:
                return None
            with contextlib.suppress(NotExistError, ExistError):
                return look(path, top, self.fs.read(generation_path(path, top)))
        raise _changed(path)

    def close(self) -> None:
        """Stop renewing, without letting go: what is still held is free for others a lease later."""
        for lock in list(self._locks):
            lock.abandon()

    def _highest(self, path: str) -> int:
        tokens = (_token(basename(path), name) for name in self.names(path))
        return max((token for token in tokens if token is not None), default=0)

    def _until_free(self, path: str, token: int) -> Generation | None:
        """Return the content of a generation that was released or whose holder is dead; raise if it lives."""
        watched: bytes | None = None
        while True:
            asked = self._clock()
            content, since = self._look(path, token)
            if _released(content) or asked - since >= self.lease:
                return Generation.decode(content)
            renewed = watched is not None and content != watched
            if renewed or not self._wait or _is_ours(content):
                raise self._refusal(path, content)
            watched = content
            self._sleep(min(self.lease / 20, 1.0))

    def _look(self, path: str, token: int) -> tuple[bytes, float]:
        """Read a generation; return its content and since when this object has known exactly that."""
        content = self._content(path, token)
        seen = self._seen.get(path)
        if seen is None or seen[:2] != (token, content):
            seen = self._seen[path] = token, content, self._clock()
        return seen[1:]

    def _content(self, path: str, token: int) -> bytes:
        try:
            return self.fs.read(generation_path(path, token))
        except NotExistError:
            # Its successor has deleted it in the meantime, so somebody took the lock.
            raise self._refusal(path, b"") from None

    def _refusal(self, path: str, content: bytes) -> LockError:
        error = held(path, Generation.decode(content))
        free = f"once unrenewed for {self.lease:g} s, or at once after 'measurefs unlock'"
        hint = f"{error.reason}; if it died, its lock is free {free}"
        return LockError("create_lock_file", path, hint, holder=error.holder)

    def _create(self, path: str, token: int, before: Generation | None, *, clean: bool) -> LeaseLock:
        """Create a generation and give way unless it is the highest; delete its predecessor if allowed."""
        here = LockHolder.here(token)
        content = Generation(token, here.host, here.pid, here.since, owner=secrets.token_hex(16), clean=clean)
        try:
            self.fs.write(generation_path(path, token), content.encode(), exclusive=True)
        except ExistError:
            raise self._refusal(path, self._content(path, token)) from None
        top = self._highest(path)
        if top != token:
            if clean:
                self.remove(generation_path(path, token))
            raise self._refusal(path, self._content(path, top))
        self._seen.pop(path, None)
        if before is not None and before.clean:
            self._remove_litter(generation_path(path, token - 1))
        lock = LeaseLock(self, path, content)
        self._locks.add(lock)
        return lock

    def _remove_litter(self, path: str) -> None:
        try:
            self.remove(path)
        except FileSystemError as error:
            _log.warning("an old generation of a lock stays behind, which is harmless: %s", error)


class LeaseLock(LockFile):
    """A lock of a `LeaseLocks`, renewed by a thread of its own until it is closed or lost.

    It is lost only when somebody else took over or broke it, or deleted its file. A store that cannot be
    reached for longer than a lease does not lose it: nobody else could acquire it there either.
    """

    def __init__(self, locks: LeaseLocks, path: str, content: Generation) -> None:
        self.path = path
        self.token = content.token
        self.clean = content.clean
        self._fs = locks.fs
        self._lease = locks.lease
        self._content = content
        self._lost: FencedError | None = None
        self._over = threading.Event()
        self._pid = os.getpid()
        _ours.add(content.owner)
        self._thread = threading.Thread(
            target=self._keep_renewing, name=f"measurefs-lease-{path}", daemon=True
        )
        self._thread.start()

    def check(self) -> None:
        """Return if nobody took over: one read of a file that is not there.

        Raises
        ------
        FencedError
            Somebody did, or this lock was closed.
        """
        if os.getpid() != self._pid:
            raise FencedError("check", self.path, "the lock belongs to the process this one was forked from")
        if self._lost is None and self._over.is_set():
            raise FencedError("check", self.path, "the lock was closed; open the store again")
        self._find_out()
        if self._lost is not None:
            raise self._lost

    def _find_out(self) -> None:
        """Look whether somebody took over; once that is so it stays so."""
        self._lose(self._lost or self._successor())

    def _lose(self, lost: FencedError | None) -> None:
        if lost is not None:
            self._lost = lost
            self._stop()

    def _successor(self) -> FencedError | None:
        try:
            content = self._fs.read(generation_path(self.path, self.token + 1))
        except NotExistError:
            return None
        holder = Generation.decode(content)
        who = f"process {holder.pid} on {holder.host}, since {holder.since}" if holder else "another process"
        done = "broken" if holder and holder.breaking else "taken over"
        reason = f"{done} by {who}; stop writing and open the store again"
        return FencedError("check", self.path, reason, holder=holder)

    def _vanished(self) -> FencedError | None:
        """Look for the lock's own file: where somebody has deleted it, others see a free lock."""
        try:
            found = Generation.decode(self._fs.read(generation_path(self.path, self.token)))
        except NotExistError:
            what = "deleted"
        else:
            if found is not None and found.owner == self._content.owner:
                return None
            what = "replaced"
        reason = (
            f"the lock's file was {what}, so that others may take it; stop writing and open the store again"
        )
        return FencedError("check", self.path, reason)

    def close(self, *, clean: bool = True) -> None:
        if self._over.is_set():
            return
        self.abandon()
        if self._lost is None and os.getpid() == self._pid:
            self._write(self._content.leaving(clean=clean))

    def abandon(self) -> None:
        """Stop renewing without letting go, as if this process had died."""
        self._stop()
        if os.getpid() == self._pid:  # the thread did not come along into a forked child
            self._thread.join()

    def _stop(self) -> None:
        self._over.set()
        _ours.discard(self._content.owner)

    def _keep_renewing(self) -> None:
        chance = random.Random()
        while not self._over.wait(self._lease / 3 * chance.uniform(0.75, 1.0)):
            try:
                self._renew()
            except FileSystemError as error:
                # The next round tries again, and every commit checks: no decision rests on a renewal.
                _log.warning("a lock could not be renewed, so others may take it over: %s", error)

    def _renew(self) -> None:
        self._find_out()
        if self._lost is None:
            vanished = self._vanished()
            self._lose(vanished and (self._successor() or vanished))  # whoever took over may have deleted it
        if self._lost is None:
            self._write(msgspec.structs.replace(self._content, renewals=self._content.renewals + 1))

    def _write(self, content: Generation) -> None:
        self._content = content
        self._fs.write(generation_path(self.path, self.token), content.encode())


def generation_path(path: str, token: int) -> str:
    """Return the path of one generation of a lock."""
    return join(parent(path), f"{basename(path)}.{token:016x}")


def _token(lock: str, name: str) -> int | None:
    """Return the token in the name of a lock's generation; None for any other name."""
    stem, _, digits = name.rpartition(".")
    if stem != lock or len(digits) != 16 or set(digits) - set("0123456789abcdef"):
        return None
    return int(digits, 16)


def _described(token: int, content: bytes) -> LockHolder:
    """Return the holder that a generation tells of, even where it is unreadable."""
    return Generation.decode(content) or LockHolder(token, "unknown", 0, "unknown")


def _changed(path: str) -> LockError:
    return LockError("break_lock", path, "it changes hands all the time; look again who holds it")


def _released(content: bytes) -> bool:
    found = Generation.decode(content)
    return found is not None and found.released


def _is_ours(content: bytes) -> bool:
    found = Generation.decode(content)
    return found is not None and found.pid == os.getpid() and found.owner in _ours
