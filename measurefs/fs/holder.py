"""Who holds a lock: what backends write into lock files, and how a refusal names the holder."""

from __future__ import annotations

import datetime
import os
import socket

import msgspec

from measurefs.fs.errors import LockError


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
        Whether it let go in good order.
    """

    token: int
    host: str
    pid: int
    since: str
    released: bool = False

    @classmethod
    def here(cls, token: int) -> LockHolder:
        """Describe this process as the holder of a token."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return cls(token, socket.gethostname(), os.getpid(), now)

    def encode(self) -> bytes:
        """Return the holder as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> LockHolder | None:
        """Return the holder, or None where the content is empty or unreadable."""
        try:
            return msgspec.json.decode(data, type=cls)
        except msgspec.DecodeError:
            return None


def held(path: str, holder: LockHolder | None) -> LockError:
    """Make the error for a lock that somebody else holds."""
    who = f"process {holder.pid} on {holder.host}, since {holder.since}" if holder else "another process"
    return LockError(
        "create_lock_file",
        path,
        f"held by {who}; close that writer, or open with read_only=True",
        holder=holder,
    )
