"""A proxy that does to some requests, at random, all that networks and stores do."""

from __future__ import annotations

import collections
import contextlib
import random
import socket
import time
from typing import Any

from tests.s3_proxy import (
    Answer,
    Fault,
    Forward,
    Request,
    S3Proxy,
    delay,
    deny_after,
    lose_answer,
    lose_request,
    refuse,
    trickle,
    truncate,
)
from tests.s3_server import S3Server

LONGEST_OUTAGE = 2.0
"""Seconds in which every request is refused."""

WEIGHTS = {
    "500": 3,
    "500 though it took effect": 3,
    "503 SlowDown": 3,
    "429": 2,
    "409 of a conditional write": 2,
    "request lost": 3,
    "answer lost": 3,
    "body cut off": 3,
    "delayed": 3,
    "trickles": 1,
    "a connection reset": 3,
    "outage": 0.2,
}


class FaultyProxy(S3Proxy):
    """Keeps connections alive, counts requests without keeping them, and disturbs a share of them.

    Parameters
    ----------
    upstream : S3Server
    seed : int
        Of what is done to the requests, in the order in which they come.
    share : float
        Of requests that something is done to.

    Attributes
    ----------
    injected : Counter
        What was done, how often.
    answered : int
        All requests.
    """

    def __init__(self, upstream: S3Server, seed: int, share: float) -> None:
        self.injected: collections.Counter[str] = collections.Counter()
        self.answered = 0
        self.share = share
        self._chance = random.Random(seed)
        self._down_until = 0.0
        super().__init__(upstream, keep_alive=True)
        # A connection that this proxy has reset may be the one that an answer was about to go out on.
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]

    def _handle(self, request: Request) -> Answer | None:
        sizes = (int(value) for name, value in request.headers.items() if name.lower() == "content-length")
        if len(request.body) < next(sizes, 0):
            return None  # its connection was reset when only some of it was here
        return super()._handle(request)

    def _fault_for(self, request: Request) -> Fault | None:
        with self._lock:
            self.answered += 1
            if time.monotonic() < self._down_until:
                self.injected["503 in an outage"] += 1
                return refuse(503, "SlowDown")
            if self._chance.random() >= self.share:
                return None
            name = self._chance.choices([*WEIGHTS], [*WEIGHTS.values()])[0]
            conditional = any(each.lower() == "if-none-match" for each in request.headers)
            if name == "409 of a conditional write" and not (request.method == "PUT" and conditional):
                return None
            if name == "body cut off" and request.method != "GET":
                name = "answer lost"
            self.injected[name] += 1
            return self._fault(name)

    def _fault(self, name: str) -> Fault | None:
        if name == "outage":
            self._down_until = time.monotonic() + self._chance.uniform(0.1, LONGEST_OUTAGE)
            return refuse(503, "SlowDown")
        if name == "a connection reset":
            if self._open:
                _reset(self._chance.choice(sorted(self._open, key=id)))
            return None
        faults: dict[str, Fault] = {
            "500": refuse(500, "InternalError"),
            "500 though it took effect": deny_after(500, "InternalError"),
            "503 SlowDown": refuse(503, "SlowDown"),
            "429": refuse(429, "TooManyRequests"),
            "409 of a conditional write": refuse(409, "ConditionalRequestConflict"),
            "request lost": lose_request,
            "answer lost": lose_answer,
            "body cut off": _cut,
            "delayed": delay(self._chance.uniform(0.02, 0.8)),
            "trickles": trickle(512, 0.01),
        }
        return faults[name]


def _cut(request: Request, forward: Forward) -> Answer:
    return truncate(request, forward)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may be closed by now
        connection.shutdown(socket.SHUT_RDWR)


def options_through(proxy: S3Proxy, **more: Any) -> dict[str, Any]:
    """Return the storage options with which another process reaches the proxy."""
    return {name: value for name, value in proxy.options.items() if name != "session"} | more
