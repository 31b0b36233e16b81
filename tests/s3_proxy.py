"""An HTTP proxy before an S3 server: it counts requests, and does to them what networks and stores do.

It stands between a client and `tests.s3_server`, over real sockets, in threads of the test process. It closes each
connection after the answer, and says so, unless it is made to keep them.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import http.client
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.s3_server import S3Server, options_for


@dataclasses.dataclass
class Request:
    """One request as it came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """The object key; empty for requests about the bucket."""
        return urlsplit(self.target).path.lstrip("/").partition("/")[2]

    @property
    def kind(self) -> str:
        """PUT, GET, HEAD, DELETE, LIST, DELETE_MANY, or of uploads in parts BEGIN, PART, COMPLETE, ABORT, UPLOADS."""
        query = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        special = {
            ("GET", "list-type"): "LIST",
            ("GET", "uploads"): "UPLOADS",
            ("POST", "delete"): "DELETE_MANY",
            ("POST", "uploads"): "BEGIN",
            ("PUT", "partNumber"): "PART",
            ("POST", "uploadId"): "COMPLETE",
            ("DELETE", "uploadId"): "ABORT",
        }
        return next(
            (special[self.method, name] for name in query if (self.method, name) in special), self.method
        )


@dataclasses.dataclass
class Answer:
    """What goes back; ``None`` instead of it closes the connection without a word."""

    status: int
    headers: dict[str, str]
    body: bytes
    promised: int | None = None  # a Content-Length other than the body's
    pace: tuple[int, float] | None = (
        None  # send so many bytes of the body, then wait so many seconds, and so on
    )


STEP = 64 * 1024
"""How many bytes are carried at a time where the bandwidth is limited."""

Forward = Callable[[Request], Answer]
Fault = Callable[[Request, Forward], Answer | None]
"""What happens to a request: it may be forwarded, or not, and any answer given, or none."""


def refuse(status: int, code: str = "", **headers: str) -> Fault:
    """Answer with an error, without forwarding."""

    def fault(request: Request, forward: Forward) -> Answer:
        return error_answer(status, code, headers)

    return fault


def deny_after(status: int, code: str = "") -> Fault:
    """Let the request take effect, and then answer with an error."""

    def fault(request: Request, forward: Forward) -> Answer:
        forward(request)
        return error_answer(status, code)

    return fault


def lose_request(request: Request, forward: Forward) -> None:
    """Close the connection before the request takes effect."""


def lose_answer(request: Request, forward: Forward) -> None:
    """Let the request take effect, and close the connection instead of answering."""
    forward(request)


def truncate(request: Request, forward: Forward) -> Answer:
    """Send half of the body that was promised, then close the connection."""
    answer = forward(request)
    return dataclasses.replace(answer, body=answer.body[: len(answer.body) // 2], promised=len(answer.body))


def delay(seconds: float) -> Fault:
    """Forward a request so much later."""

    def fault(request: Request, forward: Forward) -> Answer:
        time.sleep(seconds)
        return forward(request)

    return fault


def trickle(size: int, seconds: float) -> Fault:
    """Send so many bytes of the answer's body, then nothing for so many seconds, and so on."""

    def fault(request: Request, forward: Forward) -> Answer:
        return dataclasses.replace(forward(request), pace=(size, seconds))

    return fault


def ignore_condition(request: Request, forward: Forward) -> Answer:
    """Do as stores do that do not know ``If-None-Match`` on writes: overwrite."""
    headers = {name: value for name, value in request.headers.items() if name.lower() != "if-none-match"}
    return forward(dataclasses.replace(request, headers=headers))


def bare_412(request: Request, forward: Forward) -> Answer:
    """Leave the ``Condition`` out of the answer to a failed condition, as MinIO does."""
    answer = forward(request)
    return error_answer(412, "PreconditionFailed") if answer.status == 412 else answer


def error_answer(status: int, code: str, headers: dict[str, str] | None = None) -> Answer:
    """An error as S3 words it."""
    body = f"<Error><Code>{code}</Code><Message>so says the proxy</Message></Error>".encode() if code else b""
    return Answer(status, {"Content-Type": "application/xml", **(headers or {})}, body)


class Hold:
    """A fault that stops requests until the test lets them go; then another fault decides, or none."""

    def __init__(self, then: Fault | None = None) -> None:
        self._then = then
        self._arrived = threading.Semaphore(0)
        self._gate = threading.Event()

    def __call__(self, request: Request, forward: Forward) -> Answer | None:
        self._arrived.release()
        self._gate.wait(30)
        return self._then(request, forward) if self._then else forward(request)

    def wait(self) -> None:
        """Wait until a request has arrived."""
        assert self._arrived.acquire(timeout=30), "no such request came"

    def release(self) -> None:
        """Let all requests go, those held and those to come."""
        self._gate.set()


@dataclasses.dataclass
class _Rule:
    kind: str
    fault: Fault
    times: float
    key: str


class _Line:
    """What all connections together carry: so many bytes a second, in both directions."""

    def __init__(self, bytes_a_second: float) -> None:
        self._rate = bytes_a_second
        self._free_at = 0.0
        self._lock = threading.Lock()

    def carry(self, size: int) -> None:
        """Wait as long as so many bytes take, after all that came before."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + size / self._rate
            wait = self._free_at - time.monotonic()
        time.sleep(max(0.0, wait))


class S3Proxy:
    """The proxy; ``requests`` is what came in, in order.

    Parameters
    ----------
    upstream : S3Server
    latency : float
        Seconds that each request takes more.
    bandwidth : float, optional
        Bytes of bodies a second that all connections carry together, in both directions.
    keep_alive : bool
        Whether connections stay open for further requests, as those of real stores do.
    stale : bool
        Whether a connection that was kept turns out dead when it is used again: it is closed without an answer.

    Attributes
    ----------
    connections : int
        How many have been opened.
    stopped : int
        Of so many uploads to come the proxy reads the first byte, and then nothing more until it is closed.
    """

    def __init__(
        self,
        upstream: S3Server,
        *,
        latency: float = 0.0,
        bandwidth: float | None = None,
        keep_alive: bool = False,
        stale: bool = False,
    ) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.stopped = 0
        self._latency = latency
        self._line = _Line(bandwidth or float("inf"))
        self._keep_alive = keep_alive or stale
        self._stale = stale
        self._open: set[socket.socket] = set()
        self._ending = threading.Event()
        self._upstream = upstream
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False  # so that closing waits for the last answer
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def options(self) -> dict[str, Any]:
        """The storage options with which a client reaches it."""
        return options_for(f"http://127.0.0.1:{self._server.server_port}")

    def on(self, kind: str, fault: Fault, *, times: float = 1, key: str = "") -> None:
        """Apply a fault to the next requests of a kind ("*": any) whose key contains key."""
        with self._lock:
            self._rules.append(_Rule(kind, fault, times, key))

    def clear(self) -> None:
        """Forget faults and requests."""
        with self._lock:
            self._rules.clear()
            self.requests.clear()

    @property
    def counts(self) -> collections.Counter[str]:
        """How many requests of each kind came in since the last `clear`."""
        with self._lock:
            return collections.Counter(request.kind for request in self.requests)

    def close(self) -> None:
        """Stop serving."""
        self._ending.set()
        self._server.shutdown()
        with self._lock:
            for kept in self._open:
                with contextlib.suppress(OSError):  # the other side was faster
                    kept.shutdown(socket.SHUT_RDWR)  # its thread waits for a request that will not come
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fault_for(self, request: Request) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            for rule in self._rules:
                if rule.times > 0 and rule.kind in {"*", request.kind} and rule.key in request.key:
                    rule.times -= 1
                    return rule.fault
        return None

    def _forward(self, request: Request) -> Answer:
        connection = http.client.HTTPConnection(self._upstream.host, self._upstream.port, timeout=30)
        try:
            connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name.lower() not in {"expect", "connection"}:
                    connection.putheader(name, value)
            connection.endheaders(request.body or None)
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())
        finally:
            connection.close()

    def _handle(self, request: Request) -> Answer | None:
        time.sleep(self._latency)
        fault = self._fault_for(request)
        return self._forward(request) if fault is None else fault(request, self._forward)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            requests_here = 0

            def setup(self) -> None:
                super().setup()
                with proxy._lock:
                    proxy.connections += 1
                    proxy._open.add(self.connection)

            def finish(self) -> None:
                with proxy._lock:
                    proxy._open.discard(self.connection)
                super().finish()

            def handle_any(self) -> None:
                self.requests_here += 1
                self.close_connection = not proxy._keep_alive
                if proxy._stale and self.requests_here > 1:
                    self.close_connection = True
                    return
                size = int(self.headers.get("Content-Length", 0))
                body = self.receive(size)
                if len(body) < size:  # the client has given up
                    self.close_connection = True
                    return
                answer = proxy._handle(Request(self.command, self.path, dict(self.headers), body))
                if answer is None:
                    self.close_connection = True
                else:
                    self.send(answer)

            def receive(self, size: int) -> bytes:
                if size and proxy.stopped:
                    proxy.stopped -= 1
                    self.rfile.read(1)
                    proxy._ending.wait(30)
                    return b""
                pieces = []
                for start in range(0, size, STEP):
                    pieces.append(self.rfile.read(min(STEP, size - start)))
                    if not pieces[-1]:
                        break
                    proxy._line.carry(len(pieces[-1]))
                return b"".join(pieces)

            def send(self, answer: Answer) -> None:
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                        self.send_header(name, value)
                if "date" not in {name.lower() for name in answer.headers}:
                    self.send_header("Date", self.date_time_string())  # moto leaves it out of some answers
                length = len(answer.body) if answer.promised is None else answer.promised
                if self.command == "HEAD":
                    length = int(answer.headers.get("content-length", 0))
                elif length != len(answer.body):
                    self.close_connection = True
                self.send_header("Content-Length", str(length))
                if not proxy._keep_alive:
                    self.send_header("Connection", "close")
                self.end_headers()
                if self.command != "HEAD":
                    self.send_body(answer)

            def send_body(self, answer: Answer) -> None:
                step, pause = answer.pace or (STEP, 0.0)
                for start in range(0, len(answer.body), step):
                    if start and pause and proxy._ending.wait(pause):
                        self.close_connection = True
                        return
                    piece = answer.body[start : start + step]
                    proxy._line.carry(len(piece))
                    try:
                        self.wfile.write(piece)
                    except ConnectionError:
                        self.close_connection = True  # whoever asked has given up
                        return

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler
