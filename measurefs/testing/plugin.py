"""The pytest plugin of measurefs: readable assertions in the conformance suite, and a fixture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from measurefs.fs import FileSystem

pytest.register_assert_rewrite(
    "measurefs.testing.harness",
    "measurefs.testing.rules_directories",
    "measurefs.testing.rules_files",
    "measurefs.testing.rules_locks",
    "measurefs.testing.rules_paths",
    "measurefs.testing.rules_races",
)


@pytest.fixture
def measurefs_memory() -> Iterator[FileSystem]:
    """Give a test a fresh in-memory file system that nobody else sees."""
    from measurefs.fs import open_url  # noqa: PLC0415 - so that no other test run pays for it

    with open_url("memory://") as fs:
        yield fs
