"""Fixtures for every test: the three stores, and the S3 server behind one of them."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from measurefs.fs import FileSystem, open_url
from tests.s3_proxy import S3Proxy
from tests.s3_server import S3Server


@dataclasses.dataclass(frozen=True)
class Store:
    """Where a test may keep files: empty at first, its own, and gone or forgotten afterwards."""

    url: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def open(self, **more: Any) -> FileSystem:
        """Open one more, independent file system on it."""
        return open_url(self.url, **(self.options | more))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A moto server in its own process, one per test process."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    with S3Server() as server:
        yield server


@pytest.fixture
def s3_options(s3_server: S3Server) -> dict[str, Any]:
    """Storage options for the server."""
    return s3_server.options


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> str:
    """The name of a fresh bucket."""
    return s3_server.make_bucket()


@pytest.fixture
def s3_url(s3_server: S3Server) -> str:
    """A fresh prefix, in a bucket where others have been before."""
    return f"s3://{s3_server.share_bucket()}/{uuid.uuid4().hex}/prefix"


@pytest.fixture
def s3_proxy(s3_server: S3Server) -> Iterator[S3Proxy]:
    """A proxy before the server: ``options`` leads through it; it counts, and does damage when told to."""
    with S3Proxy(s3_server) as proxy:
        yield proxy


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    """An empty directory."""
    directory = tmp_path / "store"
    directory.mkdir()
    return Store(str(directory))


@pytest.fixture
def memory_store() -> Store:
    """A named store in this process's memory."""
    return Store(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def s3_store(s3_url: str, s3_options: dict[str, Any]) -> Store:
    """A fresh prefix on the server."""
    return Store(s3_url, s3_options)


@pytest.fixture(params=["local", "memory", "s3"])
def store_url(request: pytest.FixtureRequest) -> Store:
    """Each kind of store in turn, by its ``url`` and ``options``."""
    store: Store = request.getfixturevalue(f"{request.param}_store")
    return store


@pytest.fixture
def store_fs(store_url: Store) -> Iterator[FileSystem]:
    """A fresh file system on each kind of store in turn."""
    with store_url.open() as fs:
        yield fs
