"""An S3 server that takes its time, in a process of its own, and notes every request.

Behind it is `s3_memory`, or another server that it passes everything on to.

It keeps connections alive and has any number of requests under way. An answer goes out a fixed time after its request
came in; one that was not ready by then as soon as it is. A second port gives the notes.
Times are the machine's monotonic clock, which all its processes share.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, Self

from aiohttp import ClientSession, TCPConnector, web
from yarl import URL

from benchmarks.s3_memory import Answer, MemoryS3

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect", "server", "date"}
SPECIAL = {
    ("GET", "list-type"): "LIST",
    ("POST", "delete"): "DELETE_MANY",
    ("POST", "uploads"): "BEGIN",
    ("PUT", "partNumber"): "PART",
    ("POST", "uploadId"): "COMPLETE",
    ("DELETE", "uploadId"): "ABORT",
}


@dataclasses.dataclass(frozen=True)
class Noted:
    """One request.

    Attributes
    ----------
    kind : str
        PUT, GET, HEAD, DELETE, LIST, DELETE_MANY, or of an upload in parts BEGIN, PART, COMPLETE, ABORT.
    arrived, answered : float
        When it was there, body included, and when its answer was sent off.
    served : float
        Seconds that the server took.
    up, down : int
        Bytes of the two bodies.
    """

    kind: str
    key: str
    status: int
    arrived: float
    answered: float
    served: float
    up: int
    down: int


def round_trips(requests: Iterable[Noted]) -> int:
    """Return the length of the longest chain in which each request came after the answer to the one before.

    That is how many round trips one after another a client has waited for, if none of them was only by chance after
    another.
    """
    count, free = 0, float("-inf")
    for request in sorted(requests, key=lambda each: each.answered):
        if request.arrived >= free:
            count, free = count + 1, request.answered
    return count


class Backing(Protocol):
    """What answers requests."""

    async def __call__(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Return status, headers and body."""


def in_memory() -> Backing:
    """Return a server of our own."""
    store = MemoryS3()

    async def answer(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return store.answer(method, target, headers, body)

    return answer


def passed_on(upstream: str, session: ClientSession) -> Backing:
    """Return what passes requests on to another server."""

    async def answer(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        sent = {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}
        url = URL(upstream + target, encoded=True)
        async with session.request(method, url, headers=sent, data=body or None) as answered:
            return answered.status, dict(answered.headers), await answered.read()

    return answer


class _Server:
    def __init__(self, backing: Backing, latency: float) -> None:
        self._backing = backing
        self._latency = latency
        self.noted: list[Noted] = []

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request when it is time."""
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await request.content.read()
        arrived = time.monotonic()
        status, headers, found = await self._backing(request.method, request.raw_path, request.headers, body)
        served = time.monotonic() - arrived
        await asyncio.sleep(self._latency - served)
        dropped = HOP_BY_HOP - {"content-length"} if request.method == "HEAD" else HOP_BY_HOP
        kept = {name: value for name, value in headers.items() if name.lower() not in dropped}
        key = request.path.lstrip("/").partition("/")[2]
        kinds = (SPECIAL.get((request.method, name)) for name in request.query)
        kind = next((each for each in kinds if each), request.method)
        self.noted.append(Noted(kind, key, status, arrived, time.monotonic(), served, len(body), len(found)))
        return web.Response(status=status, headers=kept, body=None if request.method == "HEAD" else found)

    async def control(self, request: web.BaseRequest) -> web.StreamResponse:
        """Give the notes, and begin anew."""
        noted, self.noted = self.noted, []
        return web.json_response([dataclasses.astuple(each) for each in noted])


async def _listen(handler: Any) -> int:
    server = web.Server(handler, auto_decompress=False, keepalive_timeout=600)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=512)
    await site.start()
    return int(runner.addresses[0][1])


async def _serve(upstream: str, latency: float, end: threading.Event) -> None:
    connector = TCPConnector(limit=64)
    ours = ["Accept-Encoding", "Accept", "User-Agent"]
    async with ClientSession(connector=connector, auto_decompress=False, skip_auto_headers=ours) as session:
        server = _Server(passed_on(upstream, session) if upstream else in_memory(), latency)
        print(await _listen(server.serve), await _listen(server.control), flush=True)
        await asyncio.to_thread(end.wait)


def serve(upstream: str, latency: float) -> None:
    """Serve on two free ports, print them, and end when standard input does."""
    end = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), end.set()), daemon=True).start()
    asyncio.run(_serve(upstream, latency, end))


class LatencyServer:
    """The server's process, seen from who measures.

    Parameters
    ----------
    latency : float
        Seconds that each request takes at least.
    upstream : str
        ``http://host:port`` of a server to pass requests on to; none, and it is one itself.
    """

    def __init__(self, latency: float, upstream: str = "") -> None:
        command = [sys.executable, "-m", "benchmarks.s3_latency", str(latency), upstream]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server did not start: exit status {self._process.wait()}")
        self.port, self._control = map(int, line.split())
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def request(self, method: str, target: str) -> bytes:
        """Send one plain, unsigned request, past every client that is measured."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, target)
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise RuntimeError(f"{method} {target}: status {response.status}, {body!r}")
            return body
        finally:
            connection.close()

    def take(self) -> Sequence[Noted]:
        """Return what came since the last call."""
        connection = http.client.HTTPConnection("127.0.0.1", self._control, timeout=60)
        try:
            connection.request("GET", "/")
            return [Noted(*each) for each in json.loads(connection.getresponse().read())]
        finally:
            connection.close()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("latency", type=float, help="seconds")
    arguments.add_argument("upstream", help="http://host:port, or nothing")
    given = arguments.parse_args()
    serve(given.upstream, given.latency)
