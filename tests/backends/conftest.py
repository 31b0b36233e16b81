"""Fixtures for the S3 backend: file systems with small parts, and the bucket seen past all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest

from measurefs.backends.s3 import S3FileSystem
from tests.s3_proxy import S3Proxy
from tests.s3_server import S3Server

KIB = 1024
SMALL: dict[str, Any] = {"multipart_threshold": 8 * KIB, "part_size": 2 * KIB}
"""So that tests of uploads in parts move kilobytes."""


class RawBucket:
    """The stored objects, by way of boto3."""

    def __init__(self, boto: Any, url: str) -> None:
        self._bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self.boto = boto

    def get(self, path: str) -> bytes:
        body: bytes = self.boto.get_object(Bucket=self._bucket, Key=self._prefix + path)["Body"].read()
        return body

    def put(self, path: str, data: bytes) -> None:
        self.boto.put_object(Bucket=self._bucket, Key=self._prefix + path, Body=data)

    def names(self) -> set[str]:
        pages = self.boto.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return {key.removeprefix(self._prefix) for key in keys}

    def unfinished(self) -> int:
        """How many uploads in parts were begun and neither completed nor aborted."""
        uploads = self.boto.list_multipart_uploads(Bucket=self._bucket).get("Uploads", ())
        return sum(upload["Key"].startswith(self._prefix) for upload in uploads)


@pytest.fixture(scope="session")
def boto(s3_server: S3Server) -> Iterator[Any]:
    """A client of boto3 for all tests: to make one takes longer than what they do with it."""
    client = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    yield client
    client.close()


@pytest.fixture
def raw_bucket(boto: Any, s3_url: str) -> RawBucket:
    return RawBucket(boto, s3_url)


@pytest.fixture
def s3_fs(s3_url: str, s3_options: dict[str, Any]) -> Iterator[S3FileSystem]:
    with S3FileSystem(s3_url, **SMALL, **s3_options) as fs:
        yield fs


@pytest.fixture
def counted(s3_proxy: S3Proxy, s3_url: str) -> Iterator[S3FileSystem]:
    """The same through the proxy, which has seen nothing yet, and without the proof of conditional writes."""
    with S3FileSystem(s3_url, assume_conditional_writes=True, **SMALL, **s3_proxy.options) as fs:
        yield fs
