"""What is below a directory, seen in one look."""

from __future__ import annotations

import pytest

from measurefs.fs import CountingFileSystem, FileSystem
from measurefs.fs import listing as module
from measurefs.fs.listing import Listing

PATHS = ["m/a", "m/s1/t0/x", "m/s1/t0/y", "m/s1/t1/x", "m/s10/t0/x", "m/s1-/x", "n/a"]


@pytest.fixture
def fs(store_fs: FileSystem) -> CountingFileSystem:
    for path in PATHS:
        store_fs.make_dir(path.rpartition("/")[0], exist_ok=True)
        store_fs.write(path, b"12345")
    return CountingFileSystem(store_fs)


@pytest.mark.parametrize("limit", [2, 2000])
def test_every_directory_is_as_it_was(
    fs: CountingFileSystem, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMIT", limit)
    listing = Listing(fs, "m")
    for path in ("", "s1", "s1/t0", "s1/t1", "s10", "s10/t0", "s1-"):
        assert listing.entries(path) == fs.read_dir(f"m/{path}".rstrip("/"))
    assert listing.entries("missing") == []
    fs.reset()
    for path in ("", "s1", "s1/t0"):
        listing.entries(path)
    assert fs.calls.total() == 0, "a directory was listed twice"
    following = Listing(fs, "m", listing)
    assert fs.calls["read_tree"] == (listing.take("s10") is not None), "it was too much, and was tried again"
    assert following.entries("s1") == listing.entries("s1")


def test_what_is_known_is_handed_over_once(fs: CountingFileSystem) -> None:
    listing = Listing(fs, "m")
    taken = listing.take("s1/t0")
    assert taken == (fs.read_dir("m/s1/t0") if fs.read_tree("m", 100) is not None else None)
    assert listing.take("s1/t0") is None
    assert [entry.name for entry in listing.entries("s1")] == ["t0", "t1"]


def test_a_missing_directory_is_empty(fs: CountingFileSystem) -> None:
    assert Listing(fs, "missing").entries() == []
