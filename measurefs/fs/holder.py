"""Who holds a lock: what backends write into lock files, and how a refusal names the holder."""

from __future__ import annotations

import datetime
import os
import socket
from typing import NamedTuple, Self

import msgspec

from measurefs.fs.errors import LockError
from measurefs.fs.structs import decodable


@decodable
class LockHolder(msgspec.Struct, frozen=True):
    """The content of a lock file; for people and for the next acquisition, never for a decision on time.

    Attributes
    ----------
    token : int
        The number of this acquisition.
    host, pid : str, int
        Where the holder runs.
    since : str
        When it took the lock, by its own clock (ISO 8601, UTC).
    released : bool
        Whether it let go.
    unfinished : bool
        Whether it did so although something it had written may still take effect.
    """

    token: int
    host: str
    pid: int
    since: str
    released: bool = False
    unfinished: bool = False

    @classmethod
    def here(cls, token: int) -> LockHolder:
        """Describe this process as the holder of a token."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return cls(token, socket.gethostname(), os.getpid(), now)

    @property
    def left_clean(self) -> bool:
        """Whether it let go, and nothing of it can take effect any more."""
        return self.released and not self.unfinished

    def leaving(self, *, clean: bool) -> Self:
        """Return what to write into the lock file on `LockFile.close`."""
        return msgspec.structs.replace(self, released=True, unfinished=not clean)

    def encode(self) -> bytes:
        """Return the holder as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Self | None:
        """Return the holder, or None where the content is empty or unreadable."""
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


class HeldLock(NamedTuple):
    """A lock that is held at the moment.

    Attributes
    ----------
    holder : LockHolder
        Who holds it.
    unrenewed : float or None
        For how many seconds it has not been renewed, by the store's clock; None where that is not known.
    """

    holder: LockHolder
    unrenewed: float | None = None


def held(path: str, holder: LockHolder | None) -> LockError:
    """Make the error for a lock that somebody else holds."""
    who = f"process {holder.pid} on {holder.host}, since {holder.since}" if holder else "another process"
    return LockError(
        "create_lock_file",
        path,
        f"held by {who}; close that writer, or open with read_only=True",
        holder=holder,
    )
