"""URLs: from a scheme to the backend that serves it."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import pytest

from measurefs.backends.local import LocalFileSystem
from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import FileSystem, FileSystemWrapper, UnsupportedStoreError, open_url, scheme_of
from measurefs.fs.urls import BUILT_IN, GROUP


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("s3://bucket/prefix", "s3"),
        ("S3://bucket", "s3"),
        ("memory://", "memory"),
        ("file:///srv", "file"),
        ("my+own-1.x://a", "my+own-1.x"),
        ("/srv/metrics", "file"),
        ("./metrics", "file"),
        ("metrics", "file"),
        ("", "file"),
        ("C:\\metrics", "file"),
        ("c://metrics", "file"),
        ("a:b", "file"),
        ("./a://b", "file"),
    ],
)
def test_schemes(url, scheme):
    assert scheme_of(url) == scheme


def test_built_in_backends_are_found(tmp_path):
    assert isinstance(open_url(str(tmp_path)), LocalFileSystem)
    assert isinstance(open_url(f"file://{tmp_path}"), LocalFileSystem)
    assert isinstance(open_url("memory://"), MemoryFileSystem)


def test_built_in_backends_are_those_that_are_registered():
    registered = {entry.name: entry.value for entry in entry_points(group=GROUP)}
    fallback = registered.pop("fsspec")
    assert fallback == "measurefs.backends.fsspec:FsspecFileSystem"
    assert registered == BUILT_IN


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Give a function that installs a package with one entry point."""

    def install(name: str, value: str) -> None:
        package = tmp_path / f"{name}-1.0.dist-info"
        package.mkdir()
        (package / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (package / "entry_points.txt").write_text(f"[measurefs.filesystems]\n{name} = {value}\n")

    monkeypatch.syspath_prepend(tmp_path)
    yield install
    sys.modules.pop("their_backend", None)


def test_a_backend_of_somebody_elses_is_found(tmp_path, installed):
    (tmp_path / "their_backend.py").write_text(
        "from measurefs.backends.memory import MemoryFileSystem\n"
        "class Theirs(MemoryFileSystem):\n"
        "    @classmethod\n"
        "    def from_url(cls, url, **storage_options):\n"
        "        fs = cls()\n"
        "        fs.asked = url, storage_options\n"
        "        return fs\n"
    )
    installed("theirs", "their_backend:Theirs")
    fs = open_url("Theirs://some/where", key="x")
    assert type(fs).__name__ == "Theirs"
    assert fs.asked == ("Theirs://some/where", {"key": "x"})


def test_a_backend_that_is_installed_later_is_found(tmp_path, installed):
    with pytest.raises(UnsupportedStoreError):
        open_url("theirs://x")
    (tmp_path / "their_backend.py").write_text(
        "from measurefs.backends.memory import MemoryFileSystem\nclass Theirs(MemoryFileSystem):\n    pass\n"
    )
    installed("theirs", "their_backend:Theirs")
    assert type(open_url("theirs://x")).__name__ == "Theirs"


def test_a_backend_that_lacks_a_package_says_so(tmp_path, installed):
    (tmp_path / "their_backend.py").write_text("import package_that_is_missing\n")
    installed("theirs", "their_backend:Theirs")
    with pytest.raises(UnsupportedStoreError, match="package_that_is_missing") as caught:
        open_url("theirs://x")
    assert isinstance(caught.value.__cause__, ImportError)


def test_an_entry_point_that_is_no_backend_is_refused(installed):
    installed("theirs", "json:dumps")
    with pytest.raises(UnsupportedStoreError, match="is not a measurefs"):
        open_url("theirs://x")


def test_a_class_without_urls_says_so():
    for kind in (FileSystem, FileSystemWrapper):
        with pytest.raises(UnsupportedStoreError, match=f"{kind.__name__} does not serve URLs"):
            kind.from_url("theirs://x")
