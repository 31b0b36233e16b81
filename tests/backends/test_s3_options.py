"""Storage options, as fsspec's users know them: each is seen on the wire, and one that does not exist is refused."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

import measurefs
from measurefs.backends.s3 import S3FileSystem
from measurefs.fs import PermissionError_, UnsupportedStoreError, open_url
from tests.backends.conftest import KIB, SMALL
from tests.s3_proxy import Request, S3Proxy, refuse

WRITES = {"PUT", "BEGIN"}
UPLOADS = {"BEGIN", "PART", "COMPLETE"}
ALL = {"PUT", "GET", "HEAD", "LIST", "DELETE", "DELETE_MANY", "ABORT", "UPLOADS", *UPLOADS}


def everything(proxy: S3Proxy, url: str, **options: Any) -> dict[str, list[Request]]:
    """Make requests of every kind with some options, whatever comes of it, and return them by kind."""
    chosen = proxy.options | SMALL | {"assume_conditional_writes": True} | options
    with open_url(url, **{name: value for name, value in chosen.items() if value is not None}) as fs:
        fs.write("f", b"x", exclusive=True)
        fs.write("g", bytes(9 * KIB))
        fs.read("f")
        fs.read_dir("")
        fs.open_file("f").close()
        with fs.create_file("h") as file:
            file.write(bytes(9 * KIB))
            file.discard()
        fs.delete_file("f")
        fs.must_rm_all("")
        fs.create_lock_file("LOCK").close(clean=False)
        fs.create_lock_file("LOCK").close()
    found: dict[str, list[Request]] = {}
    for request in proxy.requests:
        found.setdefault(request.kind, []).append(request)
    assert set(found) == ALL
    return found


def with_header(requests: dict[str, list[Request]], name: str, value: str) -> set[str]:
    """Return the kinds of which each request has a header with that in its value."""

    def has(request: Request) -> bool:
        return any(key.lower() == name and value in found for key, found in request.headers.items())

    return {kind for kind, of_kind in requests.items() if all(map(has, of_kind))}


def test_requester_pays_and_session_token(s3_proxy: S3Proxy, s3_url: str) -> None:
    requests = everything(s3_proxy, s3_url, requester_pays=True, key="mine", token="a-token")
    assert with_header(requests, "authorization", "Credential=mine/") == ALL
    assert with_header(requests, "x-amz-security-token", "a-token") == ALL
    assert with_header(requests, "x-amz-request-payer", "requester") == ALL


def test_server_side_encryption(s3_proxy: S3Proxy, s3_url: str) -> None:
    extra = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "a-key"}
    requests = everything(s3_proxy, s3_url, s3_additional_kwargs=extra)
    assert with_header(requests, "x-amz-server-side-encryption", "aws:kms") == WRITES
    assert with_header(requests, "x-amz-server-side-encryption-aws-kms-key-id", "a-key") == WRITES


def test_a_key_of_the_customer(s3_proxy: S3Proxy, s3_url: str) -> None:
    key = bytes(range(32))
    extra = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}
    requests = everything(s3_proxy, s3_url, s3_additional_kwargs=extra)
    digest = base64.b64encode(hashlib.md5(key).digest()).decode()
    kinds = with_header(requests, "x-amz-server-side-encryption-customer-key-md5", digest)
    assert kinds == {"PUT", "GET", "HEAD", *UPLOADS}


@pytest.mark.parametrize(
    "options",
    [{"region": "eu-west-3"}, {"client_kwargs": {"region_name": "eu-west-3"}, "region_name": "us-west-1"}],
    ids=str,
)
def test_region(s3_proxy: S3Proxy, s3_url: str, options: dict[str, Any]) -> None:
    requests = everything(s3_proxy, s3_url, **({"client_kwargs": None} | options))
    assert with_header(requests, "authorization", "/eu-west-3/s3/") == ALL


def test_profile(s3_proxy: S3Proxy, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = tmp_path / "credentials"
    credentials.write_text("[blue]\naws_access_key_id = of-blue\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    own = {"session": None, "key": None, "secret": None}
    requests = everything(s3_proxy, s3_url, profile="blue", **own)
    assert with_header(requests, "authorization", "Credential=of-blue/") == ALL


def test_anonymous(s3_proxy: S3Proxy, s3_url: str) -> None:
    """Nothing is signed; this bucket then lets nobody read, but anybody write."""
    with S3FileSystem(s3_url, **s3_proxy.options | {"anon": True}) as fs:
        fs.write("f", b"x")
        with pytest.raises(PermissionError_):
            fs.read("f")
        fs.read_dir("")
    assert s3_proxy.counts == {"PUT": 1, "GET": 1, "LIST": 1}
    assert not [
        name for request in s3_proxy.requests for name in request.headers if name.lower() == "authorization"
    ]


def test_path_style(s3_proxy: S3Proxy, s3_url: str) -> None:
    """At an endpoint with a name, buckets are names of hosts unless this is asked for."""
    endpoint = s3_proxy.options["endpoint_url"].replace("127.0.0.1", "localhost")
    config = {"s3": {"addressing_style": "path"}}
    requests = everything(s3_proxy, s3_url, endpoint_url=endpoint, config_kwargs=config)
    bucket = s3_url.split("/")[2]
    assert all(request.target.startswith(f"/{bucket}") for each in requests.values() for request in each)
    assert with_header(requests, "host", "localhost:") == ALL


def test_endpoint_from_the_client(s3_proxy: S3Proxy, s3_url: str) -> None:
    client = {"endpoint_url": s3_proxy.options["endpoint_url"], "region_name": "us-east-1"}
    with S3FileSystem(s3_url, **s3_proxy.options | {"endpoint_url": None, "client_kwargs": client}) as fs:
        fs.write("f", b"x")
    assert s3_proxy.counts == {"PUT": 1}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"endpoint": "http://x"}, "no storage option 'endpoint': did you mean 'endpoint_url'"),
        ({"retry_dedline": 3}, "did you mean 'retry_deadline'"),
        ({"access_key_id_of_mine": "k"}, "no storage option 'access_key_id_of_mine'"),
        (
            {"client_kwargs": {"regio_name": "x"}},
            "'regio_name' in 'client_kwargs': did you mean 'region_name'",
        ),
        ({"client_kwargs": "us-east-1"}, "'client_kwargs' must be a mapping"),
        ({"config_kwargs": {"read_timeot": 3}}, "'config_kwargs' is wrong: .*read_timeot"),
        ({"username": "u"}, "either key or username"),
    ],
    ids=str,
)
def test_what_does_not_exist_is_named(
    s3_proxy: S3Proxy, s3_url: str, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(UnsupportedStoreError, match=told) as caught:
        measurefs.open(s3_url, storage_options=s3_proxy.options | options)
    assert s3_url in str(caught.value)
    assert not s3_proxy.requests


def test_options_are_not_changed(s3_proxy: S3Proxy, s3_url: str) -> None:
    given = s3_proxy.options | {"config_kwargs": {"connect_timeout": 2}, "region": "us-east-1"}
    before = {name: dict(value) if isinstance(value, dict) else value for name, value in given.items()}
    S3FileSystem(s3_url, **given).close()
    assert given == before


def test_repr_tells_where_it_is_and_no_secret(s3_proxy: S3Proxy, s3_url: str) -> None:
    with S3FileSystem(s3_url, **s3_proxy.options | {"secret": "hidden"}) as fs:
        assert repr(fs) == f"S3FileSystem({s3_url!r})"
    with S3FileSystem("s3://bucket/", **s3_proxy.options) as fs:
        assert repr(fs) == "S3FileSystem('s3://bucket')"


# What a writer that died has left of its uploads


def begin(proxy: S3Proxy, url: str, path: str) -> None:
    """Begin an upload in parts and never come back to it."""
    with S3FileSystem(url, **SMALL, **proxy.options) as fs:
        fs.create_file(path).write(bytes(9 * KIB))


@pytest.fixture
def left(s3_proxy: S3Proxy, s3_url: str) -> S3FileSystem:
    """A store in which a writer has died during an upload, and others are at work beside it."""
    for path in ("t/part", "t/below/part", "t2/part", "u/part"):
        begin(s3_proxy, s3_url, path)
    with S3FileSystem(s3_url, **s3_proxy.options) as fs:
        fs.create_lock_file("t/LOCK").close(clean=False)
        fs.create_lock_file("u/LOCK").close()
    s3_proxy.clear()
    return S3FileSystem(s3_url, **s3_proxy.options)


def test_they_are_aborted_by_who_takes_its_lock(
    left: S3FileSystem, s3_proxy: S3Proxy, raw_bucket: Any
) -> None:
    with left, left.create_lock_file("t/LOCK") as lock:
        assert not lock.clean
        assert s3_proxy.counts["ABORT"] == 2
        assert raw_bucket.unfinished() == 2
        lock.close()
        s3_proxy.clear()
        left.create_lock_file("t/LOCK").close()
        left.create_lock_file("u/LOCK").close()
        assert s3_proxy.counts == {"LIST": 4, "GET": 2, "PUT": 4, "DELETE": 1}, (
            "none where there was no crash"
        )
        assert raw_bucket.unfinished() == 2


@pytest.mark.parametrize("refusal", [refuse(501, "NotImplemented"), refuse(403, "AccessDenied")])
def test_a_store_that_cannot_list_them_is_left_alone(
    left: S3FileSystem, s3_proxy: S3Proxy, caplog: pytest.LogCaptureFixture, refusal: Any
) -> None:
    s3_proxy.on("UPLOADS", refusal)
    with left, left.create_lock_file("t/LOCK") as lock:
        lock.check()
    assert "lifecycle rule" in caplog.text
