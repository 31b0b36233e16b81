"""What networks and stores do to requests, and what a caller of the S3 backend gets to see of it."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from typing import Any

import pytest
import tenacity

from measurefs.backends.s3 import S3FileSystem
from measurefs.fs import (
    DeleteError,
    ExistError,
    FileSystem,
    FileSystemError,
    NotExistError,
    PermissionError_,
    ReadError,
    WriteError,
)
from tests.backends.conftest import KIB, SMALL, RawBucket
from tests.s3_proxy import (
    Answer,
    Fault,
    Forward,
    Hold,
    Request,
    S3Proxy,
    bare_412,
    deny_after,
    error_answer,
    lose_answer,
    lose_request,
    refuse,
    truncate,
)
from tests.s3_server import S3Server

FOREVER = float("inf")

PASSING: dict[str, Fault] = {
    "500": refuse(500, "InternalError"),
    "502": refuse(502),
    "503 SlowDown": refuse(503, "SlowDown"),
    "503 without a body": refuse(503),
    "429": refuse(429, "TooManyRequests"),
    "400 RequestTimeout": refuse(400, "RequestTimeout"),
    "a lost request": lose_request,
    "a lost answer": lose_answer,
    "500 after the fact": deny_after(500, "InternalError"),
}

CALLS: dict[str, tuple[str, Callable[[FileSystem], Any]]] = {
    "write": ("PUT", lambda fs: fs.write("d/f", b"new")),
    "write exclusive": ("PUT", lambda fs: fs.write("d/g", b"new", exclusive=True)),
    "write empty exclusive": ("PUT", lambda fs: fs.write("d/g", b"", exclusive=True)),
    "read": ("GET", lambda fs: fs.read("d/f")),
    "read_ranges": ("GET", lambda fs: fs.read_ranges([("d/f", 1, 2)])),
    "read_dir": ("LIST", lambda fs: fs.read_dir("d")),
    "open_file": ("HEAD", lambda fs: fs.open_file("d/f").close()),
    "delete_file": ("DELETE", lambda fs: fs.delete_file("d/f")),
    "must_rm_all": ("DELETE_MANY", lambda fs: fs.must_rm_all("d")),
    "write in parts": ("PART", lambda fs: fs.write("d/g", bytes(9 * KIB))),
    "complete": ("COMPLETE", lambda fs: fs.write("d/g", bytes(9 * KIB))),
    "complete exclusive": ("COMPLETE", lambda fs: fs.write("d/g", bytes(9 * KIB), exclusive=True)),
}


@pytest.fixture
def impatient(s3_proxy: S3Proxy, s3_url: str) -> Any:
    options = {"retry_deadline": 0.8, "assume_conditional_writes": True, **SMALL}
    with S3FileSystem(s3_url, **options, **s3_proxy.options) as fs:
        yield fs


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that count attempts, not time."""
    pauses = tenacity.wait_random_exponential(multiplier=0.01, max=1)
    monkeypatch.setattr("measurefs.backends.s3_client._BACKOFF", pauses)


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(("kind", "call"), CALLS.values(), ids=CALLS)
def test_what_passes_is_not_noticed(
    counted: S3FileSystem, s3_proxy: S3Proxy, kind: str, call: Callable[[FileSystem], Any]
) -> None:
    for name, fault in PASSING.items():
        counted.must_rm_all("d")
        counted.write("d/f", b"old")
        s3_proxy.clear()
        s3_proxy.on(kind, fault, times=1)
        call(counted)
        assert s3_proxy.counts[kind] >= 2, name


@pytest.mark.parametrize(("kind", "call"), CALLS.values(), ids=CALLS)
def test_what_stays_is_given_up(
    impatient: S3FileSystem, s3_proxy: S3Proxy, kind: str, call: Callable[[FileSystem], Any]
) -> None:
    impatient.write("d/f", b"old")
    s3_proxy.on(kind, refuse(503, "SlowDown"), times=FOREVER)
    with pytest.raises(FileSystemError, match=r"gave up after \d+ attempts .*retry_deadline.*503") as caught:
        call(impatient)
    assert caught.value.errno == errno.ETIMEDOUT
    assert caught.value.__cause__ is not None
    assert s3_proxy.counts[kind] >= 2


@pytest.mark.parametrize(("kind", "call"), CALLS.values(), ids=CALLS)
def test_verdicts_are_not_retried(
    counted: S3FileSystem, s3_proxy: S3Proxy, kind: str, call: Callable[[FileSystem], Any]
) -> None:
    counted.write("d/f", b"old")
    s3_proxy.clear()
    s3_proxy.on(kind, refuse(403, "AccessDenied"), times=FOREVER)
    with pytest.raises(PermissionError_, match=r"credentials") as caught:
        call(counted)
    assert isinstance(caught.value, PermissionError)
    assert s3_proxy.counts[kind] == (5 if kind == "PART" else 1)


# Exclusive writes


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("body", [b"", b"mine", bytes(9 * KIB)], ids=["empty", "small", "in parts"])
@pytest.mark.parametrize("fault", [lose_answer, deny_after(500), deny_after(503, "SlowDown")])
def test_own_success_is_recognised(
    counted: S3FileSystem, s3_proxy: S3Proxy, raw_bucket: RawBucket, fault: Fault, body: bytes
) -> None:
    s3_proxy.on("COMPLETE" if len(body) > KIB else "PUT", fault, times=3)
    assert counted.write("f", body, exclusive=True) == len(body)
    assert raw_bucket.get("f") == body
    with pytest.raises(ExistError):
        counted.write("f", body, exclusive=True)


def test_the_same_bytes_of_somebody_else_are_not_mine(
    counted: S3FileSystem, s3_proxy: S3Proxy, raw_bucket: RawBucket
) -> None:
    def overtaken(request: Request, forward: Forward) -> None:
        raw_bucket.put("f", b"same")

    s3_proxy.on("PUT", overtaken)
    with pytest.raises(ExistError):
        counted.write("f", b"same", exclusive=True)


def test_late_put_cannot_replace(
    s3_proxy: S3Proxy, s3_server: S3Server, s3_url: str, raw_bucket: RawBucket
) -> None:
    """A PUT that lands after its client gave it up loses against the object created meanwhile."""
    late: list[tuple[Request, Forward]] = []

    def keep(request: Request, forward: Forward) -> None:
        late.append((request, forward))

    s3_proxy.on("PUT", keep, times=1)
    with S3FileSystem(s3_url, assume_conditional_writes=True, **s3_proxy.options) as fs:
        fs.write("f", b"mine", exclusive=True)
    request, forward = late[0]
    assert forward(request).status == 412
    assert raw_bucket.get("f") == b"mine"


@pytest.mark.parametrize("size", [4, 9 * KIB])
def test_409_is_no_verdict(
    counted: S3FileSystem, s3_proxy: S3Proxy, raw_bucket: RawBucket, size: int
) -> None:
    kind = "COMPLETE" if size > KIB else "PUT"
    s3_proxy.on(kind, refuse(409, "ConditionalRequestConflict"), times=2)
    counted.write("f", bytes(size), exclusive=True)
    assert raw_bucket.get("f") == bytes(size)
    assert raw_bucket.unfinished() == 0
    # Parts whose completion met a conflict are worth nothing: every new attempt is a new upload.
    assert s3_proxy.counts["BEGIN"] == (3 if size > KIB else 0)


@pytest.mark.parametrize("size", [4, 9 * KIB])
def test_409_may_be_followed_by_the_verdict(
    counted: S3FileSystem, s3_proxy: S3Proxy, raw_bucket: RawBucket, size: int
) -> None:
    """Who was in flight at the same time has won."""

    def conflict(request: Request, forward: Forward) -> Answer:
        raw_bucket.put("f", b"theirs")
        return error_answer(409, "ConditionalRequestConflict")

    s3_proxy.on("COMPLETE" if size > KIB else "PUT", conflict, times=1)
    with pytest.raises(ExistError):
        counted.write("f", bytes(size), exclusive=True)
    assert raw_bucket.get("f") == b"theirs"
    assert raw_bucket.unfinished() == 0


def test_a_conflict_that_stays_is_no_verdict(impatient: S3FileSystem, s3_proxy: S3Proxy) -> None:
    s3_proxy.on("PUT", refuse(409, "ConditionalRequestConflict"), times=FOREVER)
    with pytest.raises(WriteError, match=r"gave up after .* 409") as caught:
        impatient.write("f", b"mine", exclusive=True)
    assert not isinstance(caught.value, FileExistsError)


def test_whether_it_was_mine_may_stay_open(
    impatient: S3FileSystem, s3_proxy: S3Proxy, raw_bucket: RawBucket
) -> None:
    """The answer got lost, and so did those about whose object it is: not "somebody else has it", which is wrong."""
    s3_proxy.on("PUT", lose_answer, times=1)
    s3_proxy.on("HEAD", refuse(503, "SlowDown"), times=FOREVER)
    with pytest.raises(WriteError, match="gave up") as caught:
        impatient.write("f", b"mine", exclusive=True)
    assert not isinstance(caught.value, FileExistsError)
    assert raw_bucket.get("f") == b"mine"


def test_412_without_condition_is_the_verdict(
    counted: S3FileSystem, s3_proxy: S3Proxy, raw_bucket: RawBucket
) -> None:
    raw_bucket.put("f", b"theirs")
    s3_proxy.on("PUT", bare_412)
    with pytest.raises(ExistError) as caught:
        counted.write("f", b"mine", exclusive=True)
    assert isinstance(caught.value, FileExistsError)
    assert raw_bucket.get("f") == b"theirs"


def test_vanished_upload_is_a_write_error(counted: S3FileSystem, s3_proxy: S3Proxy) -> None:
    s3_proxy.on("COMPLETE", refuse(404, "NoSuchUpload"))
    with pytest.raises(WriteError, match="aborted by somebody else"):
        counted.write("f", bytes(9 * KIB))


def test_failed_abort_is_reported_not_raised(
    counted: S3FileSystem, s3_proxy: S3Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    s3_proxy.on("ABORT", refuse(403, "AccessDenied"))
    with pytest.raises(ZeroDivisionError), counted.create_file("f") as file:
        file.write(bytes(9 * KIB))
        raise ZeroDivisionError
    assert "lifecycle rule" in caplog.text


# Reading


@pytest.mark.parametrize("times", [1, 2])
def test_truncated_body_is_read_again(counted: S3FileSystem, s3_proxy: S3Proxy, times: int) -> None:
    counted.write("f", bytes(range(200)))
    s3_proxy.on("GET", truncate, times=times)
    assert counted.read("f") == bytes(range(200))
    s3_proxy.on("GET", truncate, times=times)
    assert counted.read_ranges([("f", 50, 100)]) == [bytes(range(50, 150))]


def test_body_that_stays_truncated(impatient: S3FileSystem, s3_proxy: S3Proxy) -> None:
    impatient.write("f", bytes(1000))
    s3_proxy.on("GET", truncate, times=FOREVER)
    with pytest.raises(ReadError, match="gave up"):
        impatient.read("f")


def test_stalled_answer_is_asked_again(s3_proxy: S3Proxy, s3_url: str) -> None:
    hold = Hold()
    s3_proxy.on("GET", hold, times=1)
    config = {"read_timeout": 0.3}
    with S3FileSystem(s3_url, config_kwargs=config, **s3_proxy.options) as fs:
        fs.write("f", b"x")
        assert fs.read("f") == b"x"
    hold.wait()
    hold.release()
    assert s3_proxy.counts["GET"] == 2


def test_deadline_is_named(impatient: S3FileSystem, s3_proxy: S3Proxy) -> None:
    s3_proxy.on("*", refuse(503), times=FOREVER)
    with pytest.raises(ReadError, match=r"gave up after \d+ attempts in \d+\.\d s \(retry_deadline=0\.8\)"):
        impatient.read("f")
    assert s3_proxy.requests


def test_some_of_many(counted: S3FileSystem, s3_proxy: S3Proxy, raw_bucket: RawBucket) -> None:
    """When one of many parallel requests fails, none is under way any more when the error is raised."""
    s3_proxy.on("PUT", refuse(403, "AccessDenied"), key="/7")
    with pytest.raises(PermissionError_) as caught:
        counted.write_all({f"d/{number}": b"" for number in range(10)})
    assert caught.value.path == "d/7"
    assert raw_bucket.names() == {f"d/{number}" for number in range(10) if number != 7}


# Bulk deletes


def refused_keys(code: str, *names: str) -> Fault:
    """Let a bulk delete pass for all but these keys, for which the answer, of status 200, holds an error."""

    def fault(request: Request, forward: Forward) -> Answer:
        kept, errors = request.body, ""
        for name in names:
            asked = re.search(rb"<Object>(<Key>[^<]*/" + name.encode() + rb"</Key>)</Object>", kept)
            if asked:
                kept = kept.replace(asked[0], b"")
                errors += f"<Error>{asked[1].decode()}<Code>{code}</Code><Message>no</Message></Error>"
        headers = {n: v for n, v in request.headers.items() if "checksum" not in n.lower()}
        headers["Content-Length"] = str(len(kept))
        answer = forward(Request(request.method, request.target, headers, kept))
        assert answer.status == 200
        return Answer(200, answer.headers, f"<DeleteResult>{errors}</DeleteResult>".encode())

    return fault


def test_keys_refused_for_a_while(counted: S3FileSystem, s3_proxy: S3Proxy, raw_bucket: RawBucket) -> None:
    counted.write_all({f"d/{number}": b"" for number in range(5)})
    s3_proxy.on("DELETE_MANY", refused_keys("InternalError", "d/1", "d/3"), times=2)
    counted.must_rm_all("d")
    assert raw_bucket.names() == set()
    assert s3_proxy.counts["DELETE_MANY"] == 3


@pytest.mark.parametrize(
    ("code", "error"), [("AccessDenied", PermissionError_), ("InvalidArgument", DeleteError)]
)
def test_keys_refused_for_good(
    counted: S3FileSystem,
    s3_proxy: S3Proxy,
    raw_bucket: RawBucket,
    code: str,
    error: type[FileSystemError],
) -> None:
    counted.write_all({f"d/{number}": b"" for number in range(5)})
    s3_proxy.on("DELETE_MANY", refused_keys(code, "d/1"), times=1)
    with pytest.raises(error, match="d/1"):
        counted.must_rm_all("d")
    assert raw_bucket.names() == {"d/1"}
    counted.must_rm_all("d")
    assert raw_bucket.names() == set()


def test_keys_refused_beyond_the_deadline(impatient: S3FileSystem, s3_proxy: S3Proxy) -> None:
    impatient.write("d/1", b"")
    s3_proxy.on("DELETE_MANY", refused_keys("SlowDown", "d/1"), times=FOREVER)
    with pytest.raises(DeleteError, match="gave up after"):
        impatient.must_rm_all("d")


@pytest.mark.parametrize("fault", [refuse(501, "NotImplemented"), refuse(405, "MethodNotAllowed")])
def test_store_without_bulk_deletes(
    counted: S3FileSystem, s3_proxy: S3Proxy, raw_bucket: RawBucket, fault: Fault
) -> None:
    counted.write_all({f"d/{number}": b"" for number in range(5)})
    s3_proxy.on("DELETE_MANY", fault, times=FOREVER)
    counted.must_rm_all("d")
    assert raw_bucket.names() == set()


def test_missing_is_told_from_unreachable(counted: S3FileSystem, s3_proxy: S3Proxy) -> None:
    with pytest.raises(NotExistError):
        counted.read("missing")
    s3_proxy.on("GET", refuse(403, "AccessDenied"))
    with pytest.raises(PermissionError_):
        counted.read("missing")
