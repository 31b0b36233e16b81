"""Processes to work in, to kill and to fork, and what they tell through a pipe."""

from __future__ import annotations

import dataclasses
import faulthandler
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, Self

from measurefs.fs import FileSystem, open_url
from tests.conftest import Store
from tests.s3_server import S3Server, _session

# Each child is forked from a process of one thread that has all imports made: a real process in some milliseconds.
CONTEXT: Any = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
if hasattr(os, "fork"):
    CONTEXT.set_forkserver_preload(["tests.processes.preload"])

PATIENCE = 60.0
"""Seconds after which what never comes is a failure: something hangs."""

LEASE = 0.6
"""Seconds after which the lock of a killed process on S3 may be taken over."""


class ChildError(AssertionError):
    """What a child process was to do has failed there."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a store is, in a form that can be sent to another process."""

    url: str
    options: dict[str, Any]

    @classmethod
    def of(cls, store: Store, **more: Any) -> Place:
        """Describe a store; on S3 with a short lease."""
        options = {name: value for name, value in store.options.items() if name != "session"}
        lease = {"lease": LEASE} if store.url.startswith("s3:") else {}
        return cls(store.url, options | lease | more)

    @classmethod
    def of_s3(cls, server: S3Server) -> Place:
        """Describe a new bucket."""
        return cls.of(Store(f"s3://{server.make_bucket()}/store", server.options))

    @property
    def remote(self) -> bool:
        """Whether it is on S3."""
        return self.url.startswith("s3:")

    def storage_options(self) -> dict[str, Any]:
        """Return the options with which this process opens it."""
        if not self.remote:
            return dict(self.options)
        return self.options | {"session": _session()}

    def open(self) -> FileSystem:
        """Open its file system."""
        return open_url(self.url, **self.storage_options())


class Child:
    """A process that runs a function with one end of a pipe, the other end of which is here.

    Parameters
    ----------
    function : callable
        Of a module; called with the pipe's end and the arguments. What it raises is raised here by `receive`.
    """

    def __init__(self, function: Callable[..., None], *arguments: Any) -> None:
        self._pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_run, args=(function, theirs, arguments))
        self.process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Its number."""
        pid: int = self.process.pid
        return pid

    def send(self, message: Any) -> None:
        """Tell it something."""
        self._pipe.send(message)

    def waits(self, seconds: float) -> bool:
        """Whether there is something to receive (its end included) within so many seconds."""
        there: bool = self._pipe.poll(seconds)
        return there

    def receive(self) -> Any:
        """Return what it says next; `EOFError` when it has ended."""
        assert self.waits(PATIENCE), f"process {self.pid} says nothing and does not end"
        message = self._pipe.recv()
        if isinstance(message, _Failure):
            raise ChildError(f"process {self.pid} failed:\n{message.text}")
        return message

    def rest(self) -> Iterator[Any]:
        """Yield all it says until it ends."""
        while True:
            try:
                yield self.receive()
            except (EOFError, ConnectionResetError):
                return

    def next(self) -> Any:
        """Return what it says next; it must not have ended."""
        try:
            return self.receive()
        except (EOFError, ConnectionResetError) as error:
            self.process.join(PATIENCE)
            raise ChildError(f"process {self.pid} ended: exit status {self.process.exitcode}") from error

    def kill(self) -> None:
        """Send SIGKILL and wait until it is dead; what it said before can still be received."""
        self.process.kill()
        self.process.join(PATIENCE)

    def finish(self) -> list[Any]:
        """Wait until it ends by itself, without a failure; return what it said until then."""
        said = list(self.rest())
        self.process.join(PATIENCE)
        assert self.process.exitcode == 0, f"exit status {self.process.exitcode}"
        return said

    def close(self) -> None:
        """Kill it if it still runs, and let go of everything."""
        self.kill()
        self.process.close()
        self._pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclasses.dataclass(frozen=True)
class _Failure:
    text: str


def _run(function: Callable[..., None], pipe: Connection, arguments: tuple[Any, ...]) -> None:
    faulthandler.enable()
    try:
        function(pipe, *arguments)
    except BaseException:
        pipe.send(_Failure(traceback.format_exc()))
        raise
