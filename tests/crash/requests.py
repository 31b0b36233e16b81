"""A table on S3, each request of whose life goes wrong in turn, in every manner; over HTTP.

::

    python -m tests.crash.requests            # every request, every fault
    python -m tests.crash.requests --at 7 --fault "a lost answer"
"""

from __future__ import annotations

import argparse
import collections
import itertools
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

from measurefs.fs import FencedError, FileSystem, FileSystemError, open_url
from tests.backends.test_s3_faults import PASSING
from tests.conftest import Store as Place
from tests.crash.journal import Journal, Piece
from tests.crash.stores import Opened, TableStore
from tests.crash.workloads import one
from tests.s3_proxy import Answer, Fault, Forward, Request, S3Proxy, refuse, truncate
from tests.s3_server import S3Server

STORE = TableStore("table")
PATIENCE = 3
FOREVER = 10**9


class At:
    """A fault that befalls some requests, counted from 1, and leaves all others alone."""

    def __init__(self, fault: Fault, at: int, times: int = 1) -> None:
        self.seen = 0
        self._fault = fault
        self._which = range(at, at + times)

    def __call__(self, request: Request, forward: Forward) -> Answer | None:
        self.seen += 1
        return (self._fault if self.seen in self._which else _pass)(request, forward)


def _pass(request: Request, forward: Forward) -> Answer:
    return forward(request)


class Late:
    """Keeps a request under way: the client gets no answer, and it takes effect when `land` is called."""

    def __init__(self) -> None:
        self._under_way: list[Callable[[], object]] = []

    def __call__(self, request: Request, forward: Forward) -> None:
        self._under_way.append(lambda: forward(request))

    def land(self) -> None:
        """Let it take effect now, whatever has happened since."""
        for arrive in self._under_way:
            arrive()


FAULTS: dict[str, tuple[Fault, int]] = {name: (fault, 1) for name, fault in PASSING.items()} | {
    "503 three times": (refuse(503, "SlowDown"), 3),
    "half a body": (truncate, 1),
    "403": (refuse(403, "AccessDenied"), 1),
    "409": (refuse(409, "ConditionalRequestConflict"), 1),
    "down": (refuse(503, "SlowDown"), FOREVER),
    "late": (Late(), 1),
}


class Life:
    """One writer after another, with what was written and what of it acknowledged."""

    def __init__(self, proxy: S3Proxy, server: S3Server, fault: Fault, at: int, times: int) -> None:
        url = f"s3://{server.make_bucket()}/{uuid.uuid4().hex}"
        self.place = Place(url, server.options)
        self.journal = Journal()
        self.told = 0
        self.fault = At(fault, at, times)
        self._proxy = proxy
        proxy.clear()
        proxy.on("*", self.fault, times=FOREVER)
        self._fs = open_url(url, **proxy.options, retry_deadline=0.3, lease=0.3)

    def step(self, work: Callable[[], Any]) -> Any:
        """Do something, again while it fails; the store works again after some failures."""
        for _ in range(PATIENCE):
            try:
                return work()
            except FencedError:
                raise
            except FileSystemError:
                self.told += 1
        self._proxy.clear()
        return work()

    def live(self) -> None:
        """Write, commit, collect, close; twice."""
        for numbers in ((1,), (2, 3)):
            writer: Opened = self.step(lambda: STORE.open(self._fs))
            for number in numbers:
                rows = [one(number)]
                pieces = self.journal.add(writer.homes(rows), None)
                self.step(lambda rows=rows, writer=writer: writer.add(rows, None, durable=False))
                self.step(writer.log if number % 2 else writer.flush)
                self.acknowledge(pieces)
            self.step(writer.gc)
            self.step(writer.close)

    def acknowledge(self, pieces: list[Piece]) -> None:
        """Check at once, past the proxy, what somebody was told is durable."""
        for piece in pieces:
            piece.acknowledged = True
        with self.place.open() as fs:
            self.journal.check(STORE.read(fs))

    def verify(self) -> None:
        """What a next writer finds and leaves."""
        with self.place.open(lease=0.3) as fs:
            self.journal.check(STORE.read(fs))
            self._prove(fs)
            self.journal.check(STORE.read(fs))
            assert STORE.leftovers(fs) == []

    def _prove(self, fs: FileSystem) -> None:
        writer = STORE.open(fs)
        pieces = self.journal.add(writer.homes([one(900)]), None)
        writer.add([one(900)], None, durable=True)
        pieces[0].acknowledged = True
        writer.flush()
        writer.gc()
        writer.close()

    def close(self) -> None:
        self._proxy.clear()
        self._fs.close()


def healthy(proxy: S3Proxy, server: S3Server) -> int:
    """Live with nothing going wrong; return the number of requests."""
    life = Life(proxy, server, _pass, 1, 0)
    try:
        life.live()
        life.verify()
        assert not life.told
        return life.fault.seen
    finally:
        life.close()


def go_wrong(proxy: S3Proxy, server: S3Server, at: int, name: str) -> int:
    """Live through a fault; return how many errors came out."""
    fault, times = FAULTS[name]
    if isinstance(fault, Late):
        fault = Late()
    life = Life(proxy, server, fault, at, times)
    try:
        life.live()
        if isinstance(fault, Late):
            fault.land()
        life.verify()
    except Exception as error:
        replay = f'python -m tests.crash.requests --at {at} --fault "{name}"'
        raise AssertionError(f"{type(error).__name__}: {error}\nreplay: {replay}") from error
    finally:
        life.close()
    return life.told


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.crash.requests", description=__doc__.splitlines()[0])
    parser.add_argument("--at", type=int, help="one case: the request")
    parser.add_argument("--fault", choices=FAULTS, help="only this one")
    given = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    begun = time.monotonic()
    with S3Server() as server, S3Proxy(server) as proxy:
        if given.at is not None:
            print(f"it holds; errors that came out: {go_wrong(proxy, server, given.at, given.fault)}")
            return 0
        counts["requests"] = healthy(proxy, server)
        names = [given.fault] if given.fault else list(FAULTS)
        for at, name in itertools.product(range(1, counts["requests"] + 1), names):
            counts["faults"] += 1
            try:
                counts["errors that came out"] += go_wrong(proxy, server, at, name)
            except AssertionError as error:
                failures.append(str(error))
    print(*failures, sep="\n\n")
    for name, count in (*counts.items(), ("failures", len(failures))):
        print(f"{name:.<24}{count:.>10,}")
    print(f"{time.monotonic() - begun:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
