"""Forks: what a process has opened is not for the processes that are forked from it."""

from __future__ import annotations

import os

from measurefs.fs.errors import ClosedError


class ProcessGuard:
    """Knows the process in which something was opened, and refuses its use in a child forked from that.

    Threads do not come along into a child, and a lock that one of them held there stays locked for ever. So it
    is asked before any lock is taken.
    """

    def __init__(self) -> None:
        self._process = os.getpid()

    @property
    def at_home(self) -> bool:
        """Whether this is the process in which it was made."""
        return os.getpid() == self._process

    def check(self, what: str) -> None:
        """Raise `ClosedError` in a forked child."""
        if not self.at_home:
            raise ClosedError(f"{what} was opened before this process was forked; open it again here")
