"""No request hangs for ever: what slow, silent and half-dead servers and lines do to requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import measurefs
from measurefs.backends.s3 import S3FileSystem
from measurefs.fs import FileSystem, ReadError, WriteError
from tests.backends.conftest import KIB
from tests.s3_proxy import Hold, S3Proxy, delay, refuse, trickle
from tests.s3_server import S3Server

FOREVER = float("inf")
MIB = 2**20
HURRIED: dict[str, Any] = {
    "request_timeout": 0.4,
    "minimum_rate": 10 * MIB,
    "assume_conditional_writes": True,
}


@pytest.fixture
def fs(s3_proxy: S3Proxy, s3_url: str) -> Iterator[S3FileSystem]:
    with S3FileSystem(s3_url, **HURRIED, **s3_proxy.options) as fs:
        fs.write("f", bytes(range(250)))
        fs.write("d/f", b"x")
        yield fs


# The fault, and how often the request then comes: what is silent, slow to begin, or slow all along.
@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("GET", lambda fs: fs.read("f")),
        ("GET", lambda fs: fs.read_ranges([("f", 0, 250)])),
        ("LIST", lambda fs: fs.read_dir("")),
    ],
    ids=["read", "read_ranges", "read_dir"],
)
def test_a_trickle_is_given_up_and_asked_again(
    fs: S3FileSystem, s3_proxy: S3Proxy, kind: str, call: Callable[[FileSystem], Any]
) -> None:
    """A byte comes every now and then, so that no silence is ever long."""
    expected = call(fs)
    s3_proxy.clear()
    s3_proxy.on(kind, trickle(1, 0.1), times=1)
    assert call(fs) == expected
    assert s3_proxy.counts[kind] == 2


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("PUT", lambda fs: fs.write("g", b"x")),
        ("PUT", lambda fs: fs.write("g", b"x", exclusive=True)),
        ("GET", lambda fs: fs.read("f")),
        ("DELETE_MANY", lambda fs: fs.must_rm_all("d")),
    ],
    ids=["write", "write exclusive", "read", "must_rm_all"],
)
def test_silence_is_given_up_and_asked_again(
    fs: S3FileSystem, s3_proxy: S3Proxy, kind: str, call: Callable[[FileSystem], Any]
) -> None:
    hold = Hold()
    s3_proxy.clear()
    s3_proxy.on(kind, hold, times=1)
    call(fs)
    assert s3_proxy.counts[kind] == 2
    hold.release()


def test_a_stop_in_mid_body_is_given_up_and_asked_again(fs: S3FileSystem, s3_proxy: S3Proxy) -> None:
    s3_proxy.clear()
    s3_proxy.on("GET", trickle(100, 3600), times=1)
    assert fs.read("f") == bytes(range(250))
    assert s3_proxy.counts["GET"] == 2


def test_an_upload_that_nobody_takes_in_is_given_up_and_sent_again(
    fs: S3FileSystem, s3_proxy: S3Proxy
) -> None:
    body = bytes(16 * MIB)  # more than the sockets' buffers hold
    s3_proxy.stopped = 1
    assert fs.write("big", body) == len(body)
    assert s3_proxy.stopped == 0
    assert len(fs.read("big")) == len(body)


def test_a_trickle_for_ever_ends_with_the_deadline(s3_proxy: S3Proxy, s3_url: str) -> None:
    with S3FileSystem(s3_url, retry_deadline=1.0, **HURRIED, **s3_proxy.options) as fs:
        fs.write("f", bytes(250))
        s3_proxy.on("GET", trickle(1, 0.1), times=FOREVER)
        with pytest.raises(
            ReadError, match=r"gave up after \d+ attempts .*no whole answer .*request_timeout"
        ):
            fs.read("f")
    assert 2 <= s3_proxy.counts["GET"] <= 4


def test_a_long_body_may_take_longer_as_long_as_it_moves(s3_server: S3Server, s3_url: str) -> None:
    """At 1 MiB/s it takes several times the time of a request, in both directions."""
    body = bytes(range(256)) * (4 * KIB)
    with (
        S3Proxy(s3_server, bandwidth=MIB) as proxy,
        S3FileSystem(s3_url, request_timeout=0.5, minimum_rate=512 * KIB, **proxy.options) as fs,
    ):
        begun = time.monotonic()
        fs.write("f", body)
        assert fs.read("f") == body
        assert time.monotonic() - begun >= 1.9
        assert proxy.counts == {"PUT": 1, "GET": 1}


def test_a_line_below_the_minimum_rate_is_given_up(s3_server: S3Server, s3_url: str) -> None:
    with (
        S3Proxy(s3_server, bandwidth=MIB) as proxy,
        S3FileSystem(s3_url, retry_deadline=0.1, **HURRIED, **proxy.options) as fs,
        pytest.raises(WriteError, match="request_timeout"),
    ):
        fs.write("f", bytes(2 * MIB))


# How soon a request is repeated


def test_the_store_says_when_to_come_again(fs: S3FileSystem, s3_proxy: S3Proxy) -> None:
    refusal = refuse(503, "SlowDown", **{"Retry-After": "1"})
    s3_proxy.on("GET", refusal, times=1)
    begun = time.monotonic()
    fs.read("f")
    assert time.monotonic() - begun >= 1


@pytest.mark.parametrize("when", ["3600", "Fri, 31 Dec 2100 23:59:59 GMT", "soon", "-5"])
def test_a_time_beyond_the_deadline_is_not_waited_for(fs: S3FileSystem, s3_proxy: S3Proxy, when: str) -> None:
    s3_proxy.on("GET", refuse(429, "TooManyRequests", **{"Retry-After": when}), times=1)
    assert fs.read("f")


# Connections


def test_stale_connections_are_not_noticed(s3_server: S3Server, s3_url: str) -> None:
    """Each connection is dead when it is used for the second time, and nobody has said so."""
    with (
        S3Proxy(s3_server, stale=True) as proxy,
        S3FileSystem(s3_url, assume_conditional_writes=True, **proxy.options) as fs,
    ):
        fs.write("d/1", b"x")
        fs.write("d/2", b"x", exclusive=True)
        assert fs.read("d/1") == b"x"
        fs.must_rm_all("d")
        assert fs.read_dir("") == []
        assert proxy.connections > 5


def test_connections_are_kept(s3_server: S3Server, s3_url: str) -> None:
    with S3Proxy(s3_server, keep_alive=True) as proxy, S3FileSystem(s3_url, **proxy.options) as fs:
        for number in range(5):
            fs.write(f"d/{number}", b"x")
            assert fs.read(f"d/{number}") == b"x"
        assert proxy.connections == 1


def test_a_store_is_written_and_read_over_a_bad_line(s3_server: S3Server, s3_url: str) -> None:
    with S3Proxy(s3_server, latency=0.005, bandwidth=8 * MIB, stale=True) as proxy:
        proxy.on("*", delay(0.05), times=2)
        with measurefs.open(s3_url, storage_options=proxy.options) as database:
            measure = database.create_measure("m", entity=["host"], fields={"v": "int64"})
            for number in range(3):
                measure.write({"time": [number], "host": ["a"], "v": [number]}, durable=True)
        with measurefs.open(s3_url, read_only=True, storage_options=proxy.options) as database:
            assert database.measure("m").query().to_arrow()["v"].to_pylist() == [0, 1, 2]
