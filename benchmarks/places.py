"""Where a store is: a folder of the local disk, or a bucket of an S3 server; and what makes files durable there."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from pathlib import Path
from typing import TypeAlias

KEY = SECRET = "testing"
REGION = "us-east-1"


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder of the local disk."""

    path: Path

    def url(self, name: str) -> str:
        """Return where something of this name is."""
        return str(self.path / name)

    @property
    def rust_options(self) -> dict[str, str]:
        """What Rust's object_store takes, which Delta Lake and Lance use."""
        return {}


@dataclasses.dataclass(frozen=True)
class Bucket:
    """A bucket, and the port of its server on this machine."""

    name: str
    port: int

    def url(self, name: str) -> str:
        """Return where something of this name is."""
        return f"s3://{self.name}/{name}"

    @property
    def endpoint(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def rust_options(self) -> dict[str, str]:
        """What Rust's object_store takes, which Delta Lake and Lance use."""
        return {
            "aws_access_key_id": KEY,
            "aws_secret_access_key": SECRET,
            "aws_region": REGION,
            "aws_endpoint": self.endpoint,
            "allow_http": "true",
            "aws_virtual_hosted_style_request": "false",
        }


Place: TypeAlias = Folder | Bucket


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def sync(path: str | Path) -> None:
    """Make a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class NewFiles:
    """Syncs what an engine wrote that does not do so itself; on an object store there is nothing to do.

    Without this its appends would be told as durable that a power cut takes away.
    """

    def __init__(self, place: Place) -> None:
        self._root = place.path if isinstance(place, Folder) else None
        self._lock = threading.Lock()
        self._synced: set[str] = set()
        if self._root is not None:
            self._synced.update(path for path, _ in self._files(str(self._root)))

    def sync(self) -> None:
        """Sync each file that was not there before, and its folder."""
        if self._root is None:
            return
        with self._lock:
            new = [each for each in self._files(str(self._root)) if each[0] not in self._synced]
            for path, _ in new:
                with contextlib.suppress(
                    FileNotFoundError
                ):  # another thread's, which has given it its name by now
                    sync(path)
            for folder in {folder for _, folder in new}:
                sync(folder)
            self._synced.update(path for path, _ in new)

    def _files(self, folder: str) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        if not os.path.isdir(folder):
            return found
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    found += self._files(entry.path)
                else:
                    found.append((entry.path, folder))
        return found
