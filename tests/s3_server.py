"""A moto S3 server in its own process, reached over real HTTP.

Run as a program it serves until its standard input ends, so it cannot outlive the process that started it.
moto answers concurrent requests without a lock of its own: two conditional PUTs of one key may both succeed.
S3 promises that exactly one does, so every request here passes through one lock.
"""

from __future__ import annotations

import functools
import http.client
import io
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

KEY = SECRET = "testing"
SHARES = 50
"""How many callers share a bucket."""


class OneAtATime:
    """A WSGI application that lets one request at a time into another one."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        from werkzeug.wsgi import get_input_stream

        # Read outside the lock: a client that stalls in the middle of its body must not stop all others.
        body = get_input_stream(environ).read()
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        with self._lock:
            return list(self._app(environ, start_response))


def _remember() -> None:
    """Let moto keep what it would find out anew for each request (its services) and each object listed (dates)."""
    from moto import backends
    from moto.core import serialize

    services = tuple(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: services
    # Not every release of moto has it here.
    if date := getattr(serialize, "parse_to_aware_datetime", None):
        serialize.parse_to_aware_datetime = functools.lru_cache(maxsize=10_000)(date)


def serve() -> None:
    """Serve on a free port, print it, and end when standard input does."""
    # moto reads it on import; S3's own 5 MiB would make every multipart test move megabytes.
    os.environ["S3_UPLOAD_PART_MIN_SIZE"] = "1024"
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    class Handler(MotoRequestHandler):
        def send_response(self, code: int, message: str | None = None) -> None:
            """Leave ``Server`` and ``Date`` to moto: twice they are an error to strict clients."""
            self.send_response_only(code, message)

    _remember()
    app = OneAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Handler)
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


class S3Server:
    """The server's process, seen from the tests: where it is, and buckets made without any client of ours."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the S3 server did not start: exit status {self._process.wait()}")
        self.host, self.port = "127.0.0.1", int(line)
        self.endpoint = f"http://{self.host}:{self.port}"
        self._shared = ""
        self._shares = 0

    @property
    def options(self) -> dict[str, Any]:
        """The storage options with which a client reaches it."""
        return options_for(self.endpoint)

    def make_bucket(self) -> str:
        """Create a bucket of a name never used before and return the name."""
        name = f"test-{uuid.uuid4().hex}"
        status, _ = self.request("PUT", f"/{name}")
        assert status == 200, status
        return name

    def share_bucket(self) -> str:
        """Return the name of a bucket for several callers, who keep below prefixes of their own.

        A client proves first, in each bucket, that conditional writes are honoured, which is seven requests.
        After some callers it is another bucket, because moto looks at all keys of one for each listing.
        """
        if self._shares % SHARES == 0:
            self._shared = self.make_bucket()
        self._shares += 1
        return self._shared

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Send one plain, unsigned request, past every client under test."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def close(self) -> None:
        """End the process."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(timeout=30)
        process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def options_for(endpoint: str) -> dict[str, Any]:
    """Storage options with dummy credentials for an endpoint."""
    return {
        "session": _session(),
        "key": KEY,
        "secret": SECRET,
        "endpoint_url": endpoint,
        # Plain HTTP: to load the certificates of all authorities takes a client longer than most tests.
        "client_kwargs": {"region_name": "us-east-1", "verify": False},
    }


@functools.cache
def _session() -> Any:
    """One session for all clients of this process: reading the model of S3 anew takes longer than a test."""
    from aiobotocore.session import AioSession

    return AioSession()


if __name__ == "__main__":
    serve()
