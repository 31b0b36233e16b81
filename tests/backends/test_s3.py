"""The S3 backend: the rules every file system keeps, its requests, its options."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from measurefs.backends.s3 import S3FileSystem
from measurefs.fs import (
    DirEntry,
    ExistError,
    FileSystem,
    FileSystemError,
    InvalidPathError,
    NotExistError,
    PermissionError_,
    ReadError,
    UnsupportedStoreError,
    WriteError,
    open_url,
)
from measurefs.testing import FileSystemConformance
from tests.backends.conftest import KIB, RawBucket
from tests.s3_proxy import S3Proxy, refuse
from tests.s3_server import S3Server


class TestConformance(FileSystemConformance):
    directories = False
    many = 120
    rounds = 8

    @pytest.fixture(autouse=True)
    def small_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make `many` more than two pages of a listing and two bulk deletes, without a thousand objects."""
        monkeypatch.setattr("measurefs.backends.s3_client.PAGE", 50)
        monkeypatch.setattr("measurefs.backends.s3_delete.BATCH", 40)

    @pytest.fixture
    def fs(self, s3_url: str, s3_options: dict[str, Any]) -> Iterator[FileSystem]:
        with open_url(s3_url, lease=10.0, **s3_options) as fs:
            yield fs

    @pytest.fixture
    def another(self, s3_url: str, s3_options: dict[str, Any]) -> Iterator[FileSystem]:
        with open_url(s3_url, lease=10.0, **s3_options) as fs:
            yield fs

    @pytest.fixture
    def raw(self, raw_bucket: RawBucket) -> RawBucket:
        return raw_bucket


# Requests


def test_write_is_one_put(counted: S3FileSystem, s3_proxy: S3Proxy) -> None:
    counted.write("a/b", b"x")
    counted.write("a/c", b"x", exclusive=True)
    counted.write("a/d", b"", exclusive=True)
    assert s3_proxy.counts == {"PUT": 3}


def test_read_is_one_get(counted: S3FileSystem, s3_proxy: S3Proxy) -> None:
    counted.write("a/b", b"x" * 5)
    s3_proxy.clear()
    assert counted.read("a/b") == b"x" * 5
    assert s3_proxy.counts == {"GET": 1}
    with pytest.raises(NotExistError):
        counted.read("a/c")
    assert s3_proxy.counts == {"GET": 2}


def test_read_dir_is_one_list(counted: S3FileSystem, s3_proxy: S3Proxy) -> None:
    counted.write_all({"a/b": b"12", "a/c/d": b"", "e": b""})
    s3_proxy.clear()
    assert counted.read_dir("a") == [DirEntry("b", False, 2), DirEntry("c", True)]
    assert counted.read_dir("") == [DirEntry("a", True), DirEntry("e", False, 0)]
    assert s3_proxy.counts == {"LIST": 2}


def test_directories_cost_nothing(counted: S3FileSystem, s3_proxy: S3Proxy) -> None:
    counted.make_dir("a/b", exist_ok=True)
    counted.make_dir("a/b")
    counted.sync_path("")
    counted.sync_path("a/b")
    assert not s3_proxy.counts


def test_files_cost_a_head_more(counted: S3FileSystem, s3_proxy: S3Proxy) -> None:
    with counted.create_file("f") as file:
        file.write(b"12345")
        file.writev([b"6", memoryview(b"78")])
    assert s3_proxy.counts == {"HEAD": 1, "PUT": 1}
    s3_proxy.clear()
    with counted.open_file("f") as file:
        assert file.size() == 8
        assert file.read(2, 3) == b"345"
        assert file.read(6, 100) == b"78"
        assert file.read(8, 1) == b""
    assert s3_proxy.counts == {"HEAD": 1, "GET": 2}


def test_delete_costs_a_head_more(counted: S3FileSystem, s3_proxy: S3Proxy) -> None:
    counted.write("f", b"")
    s3_proxy.clear()
    counted.delete_file("f")
    assert s3_proxy.counts == {"HEAD": 1, "DELETE": 1}


def test_trees_are_deleted_in_batches(
    counted: S3FileSystem, s3_proxy: S3Proxy, raw_bucket: RawBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("measurefs.backends.s3_delete.BATCH", 4)
    counted.write_all({f"d/{number}": b"" for number in range(10)})
    s3_proxy.clear()
    counted.must_rm_all("d")
    assert s3_proxy.counts == {"LIST": 1, "DELETE_MANY": 3}
    assert raw_bucket.names() == set()


def test_lock_requests(counted: S3FileSystem, s3_proxy: S3Proxy) -> None:
    counted.create_lock_file("LOCK").close()  # leaves a released generation
    s3_proxy.clear()
    lock = counted.create_lock_file("LOCK")
    assert s3_proxy.counts == {"LIST": 2, "GET": 1, "PUT": 1, "DELETE": 1}
    s3_proxy.clear()
    lock.check()
    assert s3_proxy.counts == {"GET": 1}
    lock.close()
    assert s3_proxy.counts == {"GET": 1, "PUT": 1}


def test_neighbouring_ranges_share_a_request(
    counted: S3FileSystem, s3_proxy: S3Proxy, raw_bucket: RawBucket
) -> None:
    body = os.urandom(100 * KIB)
    raw_bucket.put("f", body)
    raw_bucket.put("g", b"0123456789")
    ranges = [("f", 90 * KIB, 5), ("g", 2, 3), ("f", 0, 2000), ("f", 2500, 2000), ("f", 100, 50), ("g", 9, 0)]
    expected = [body[90 * KIB :][:5], b"234", body[:2000], body[2500:4500], body[100:150], b""]
    assert counted.read_ranges(ranges) == expected
    assert s3_proxy.counts == {"GET": 3}


def test_connections_are_limited(s3_proxy: S3Proxy, s3_url: str) -> None:
    arrived, most = 0, 0
    lock = threading.Lock()

    def watch(request: Any, forward: Any) -> Any:
        nonlocal arrived, most
        with lock:
            arrived += 1
            most = max(most, arrived)
        answer = forward(request)
        with lock:
            arrived -= 1
        return answer

    s3_proxy.on("PUT", watch, times=50)
    with S3FileSystem(s3_url, max_concurrency=3, **s3_proxy.options) as fs:
        fs.write_all({str(number): b"" for number in range(50)})
    assert most <= 3


# Uploads in parts


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("size", [8 * KIB, 8 * KIB + 1, 21 * KIB])
def test_large_write(s3_fs: S3FileSystem, raw_bucket: RawBucket, size: int, exclusive: bool) -> None:
    body = os.urandom(size)
    assert s3_fs.write("f", body, exclusive=exclusive) == size
    assert raw_bucket.get("f") == body
    assert raw_bucket.unfinished() == 0


def test_large_exclusive_write_loses(s3_fs: S3FileSystem, raw_bucket: RawBucket) -> None:
    raw_bucket.put("f", b"theirs")
    with pytest.raises(ExistError):
        s3_fs.write("f", bytes(20 * KIB), exclusive=True)
    assert raw_bucket.get("f") == b"theirs"
    assert raw_bucket.unfinished() == 0


def test_large_file_goes_up_in_parts(counted: S3FileSystem, s3_proxy: S3Proxy, raw_bucket: RawBucket) -> None:
    body = os.urandom(21 * KIB)
    with counted.create_file("f") as file:
        for start in range(0, len(body), 3000):
            file.write(body[start : start + 3000])
        assert file.size() == len(body)
        assert raw_bucket.names() == set()
    assert raw_bucket.get("f") == body
    assert s3_proxy.counts == {"HEAD": 1, "BEGIN": 1, "PART": 9, "COMPLETE": 1}


@pytest.mark.parametrize("size", [10, 20 * KIB])
def test_exception_publishes_nothing(s3_fs: S3FileSystem, raw_bucket: RawBucket, size: int) -> None:
    with pytest.raises(ZeroDivisionError), s3_fs.create_file("f") as file:
        file.write(bytes(size))
        raise ZeroDivisionError
    assert raw_bucket.names() == set()
    assert raw_bucket.unfinished() == 0


@pytest.mark.parametrize("size", [10, 20 * KIB])
def test_file_loses_to_one_created_meanwhile(s3_fs: S3FileSystem, raw_bucket: RawBucket, size: int) -> None:
    file = s3_fs.create_file("f")
    file.write(bytes(size))
    raw_bucket.put("f", b"theirs")
    with pytest.raises(ExistError):
        file.close()
    file.close()
    assert raw_bucket.get("f") == b"theirs"
    assert raw_bucket.unfinished() == 0


def test_file_with_a_hole_is_not_published(
    counted: S3FileSystem, s3_proxy: S3Proxy, raw_bucket: RawBucket
) -> None:
    file = counted.create_file("f")
    s3_proxy.on("PART", refuse(403, "AccessDenied"))
    with pytest.raises(PermissionError_):
        file.write(bytes(9 * KIB))
    with pytest.raises(WriteError, match="earlier write failed"):
        file.close()
    assert raw_bucket.names() == set()
    assert raw_bucket.unfinished() == 0


# Reading


def test_replaced_object_is_not_mixed(s3_fs: S3FileSystem, raw_bucket: RawBucket) -> None:
    raw_bucket.put("f", b"first")
    with s3_fs.open_file("f") as file:
        assert file.read(0, 2) == b"fi"
        raw_bucket.put("f", b"other")
        with pytest.raises(ReadError, match="replaced"):
            file.read(2, 3)


def test_long_ranges_are_split(s3_fs: S3FileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("measurefs.backends.s3.LARGEST", 1000)
    body = os.urandom(3500)
    s3_fs.write("f", body)
    assert s3_fs.read_ranges([("f", 100, 3300)]) == [body[100:3400]]
    with pytest.raises(ReadError, match="ends early"):
        s3_fs.read_ranges([("f", 0, 3501)])


def test_console_placeholders_are_no_files(s3_fs: S3FileSystem, raw_bucket: RawBucket) -> None:
    raw_bucket.put("d/", b"")
    assert s3_fs.read_dir("d") == []
    raw_bucket.put("d/x", b"")
    assert s3_fs.read_dir("d") == [DirEntry("x", False, 0)]


# Where it is called from, and how it is opened


def test_bucket_root(s3_bucket: str, s3_options: dict[str, Any]) -> None:
    with open_url(f"s3://{s3_bucket}", **s3_options) as fs:
        assert fs.read_dir("") == []
        fs.write("a", b"1")
        fs.write("b/c", b"2")
        assert fs.read_dir("") == [DirEntry("a", False, 1), DirEntry("b", True)]
        fs.must_rm_all("")
        assert fs.read_dir("") == []


def test_prefixes_are_apart(s3_bucket: str, s3_options: dict[str, Any]) -> None:
    with (
        open_url(f"s3://{s3_bucket}/p/", **s3_options) as one,
        open_url(f"s3://{s3_bucket}/p2", **s3_options) as two,
    ):
        one.write("f", b"1")
        two.write("f", b"2")
        one.must_rm_all("")
        assert one.read_dir("") == []
        assert two.read("f") == b"2"


def test_bad_urls(s3_options: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedStoreError, match="name a bucket"):
        open_url("s3://", **s3_options)
    with pytest.raises(InvalidPathError):
        open_url("s3://bucket/a/../b", **s3_options)


def test_plain_options(s3_url: str, s3_server: S3Server) -> None:
    """As a user passes them: nothing shared with other clients, and fsspec's own switches overruled."""
    options = {name: value for name, value in s3_server.options.items() if name != "session"}
    caching = {"use_listings_cache": True, "skip_instance_cache": False, "asynchronous": False}
    config = {"config_kwargs": {"retries": {"max_attempts": 7}, "connect_timeout": 2}}
    with (
        open_url(s3_url, **options, **caching, **config) as one,
        open_url(s3_url, **options, **caching) as two,
    ):
        assert two.read_dir("") == []
        one.write("f", b"x")
        assert two.read_dir("") == [DirEntry("f", False, 1)]


def test_missing_bucket(s3_options: dict[str, Any]) -> None:
    with open_url("s3://no-such-bucket-here/p", **s3_options) as fs:
        for call in (lambda: fs.read("a"), lambda: fs.write("a", b""), lambda: fs.read_dir("")):
            with pytest.raises(NotExistError, match="bucket does not exist"):
                call()


def test_user_options_are_kept(s3_url: str, s3_options: dict[str, Any], raw_bucket: RawBucket) -> None:
    extra = {"Metadata": {"team": "blue"}, "ServerSideEncryption": "AES256"}
    with S3FileSystem(s3_url, s3_additional_kwargs=extra, **s3_options) as fs:
        fs.write("f", b"x", exclusive=True)
    bucket, _, prefix = s3_url.removeprefix("s3://").partition("/")
    head = raw_bucket.boto.head_object(Bucket=bucket, Key=f"{prefix}/f")
    assert head["Metadata"]["team"] == "blue"
    assert set(head["Metadata"]) == {"team", "measurefs-owner"}
    assert head["ServerSideEncryption"] == "AES256"


def test_from_within_a_running_loop(s3_fs: S3FileSystem) -> None:
    async def main() -> bytes:
        s3_fs.write("f", b"x")
        return s3_fs.read("f")

    assert asyncio.run(main()) == b"x"


def test_after_close(s3_url: str, s3_options: dict[str, Any]) -> None:
    fs = S3FileSystem(s3_url, **s3_options)
    fs.write("f", b"x")
    fs.close()
    fs.close()
    with pytest.raises(FileSystemError, match="closed"):
        fs.read("f")
    S3FileSystem(s3_url, **s3_options).close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_child_is_refused(s3_fs: S3FileSystem) -> None:
    lock = s3_fs.create_lock_file("LOCK")
    child = os.fork()
    if child == 0:
        verdict = 1
        try:
            s3_fs.read("f")
        except FileSystemError as error:
            verdict = 0 if "forked" in str(error) else 2
        try:
            lock.check()
        except FileSystemError as error:
            verdict |= 0 if "forked" in str(error) else 4
        lock.close()
        s3_fs.close()
        os._exit(verdict)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    lock.check()
    lock.close()


def test_no_request_before_it_is_needed(s3_proxy: S3Proxy, s3_url: str) -> None:
    with S3FileSystem(s3_url, **s3_proxy.options):
        pass
    assert not s3_proxy.requests


def test_unreachable_store_is_given_up(s3_url: str, s3_options: dict[str, Any]) -> None:
    options = s3_options | {"endpoint_url": "http://127.0.0.1:9"}
    with (
        S3FileSystem(s3_url, retry_deadline=0.5, **options) as fs,
        pytest.raises(WriteError, match=r"gave up after \d+ attempts"),
    ):
        fs.write("f", b"x")
