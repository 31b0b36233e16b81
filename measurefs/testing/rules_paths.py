"""Which paths a file system refuses, and which it must take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from measurefs.fs import FileSystem, InvalidPathError, join
from measurefs.testing.harness import RawAccess, Suite, names_in, refused

Call = Callable[[FileSystem, str], Any]

FILE_CALLS: dict[str, Call] = {
    "create_file": lambda fs, path: fs.create_file(path),
    "open_file": lambda fs, path: fs.open_file(path),
    "write": lambda fs, path: fs.write(path, b"x"),
    "write exclusive": lambda fs, path: fs.write(path, b"x", exclusive=True),
    "read": lambda fs, path: fs.read(path),
    "delete_file": lambda fs, path: fs.delete_file(path),
    "create_lock_file": lambda fs, path: fs.create_lock_file(path),
    "write_all": lambda fs, path: fs.write_all({path: b"x"}),
    "read_ranges": lambda fs, path: fs.read_ranges([(path, 0, 1)]),
}
DIRECTORY_CALLS: dict[str, Call] = {
    "make_dir": lambda fs, path: fs.make_dir(path),
    "read_dir": lambda fs, path: fs.read_dir(path),
    "must_rm_all": lambda fs, path: fs.must_rm_all(path),
    "sync_path": lambda fs, path: fs.sync_path(path),
}
ALL_CALLS = FILE_CALLS | DIRECTORY_CALLS

INVALID = [
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "./a",
    "a/.",
    "..",
    "../a",
    "a/..",
    "a/../b",
    "nul\0byte",
    "back\\slash",
]

UNUSUAL = [
    "with space",
    " leading",
    "per%25cent%",
    "plus+plus",
    "ünï-雪-🙂",
    "equals=at@comma,tilde~",
    "semi;colon&and",
    "hash#mark",
    "quote's",
    "(round)[square]{curly}",
    "dollar${HOME}",
    ".hidden",
    "dots.in.name",
    "...",
    "-dash",
    "n" * 200,
]


class PathRules(Suite):
    """Paths are plain relative ones, and any plain name will do."""

    @pytest.mark.parametrize("path", INVALID)
    @pytest.mark.parametrize("call", ALL_CALLS)
    def test_invalid_path_is_refused(self, fs: FileSystem, raw: RawAccess, call: str, path: str) -> None:
        """Every method refuses a path that is not a plain relative one, and touches nothing."""
        with refused(InvalidPathError, path):
            ALL_CALLS[call](fs, path)
        assert raw.names() == set()

    @pytest.mark.parametrize("call", FILE_CALLS)
    def test_root_is_no_file(self, fs: FileSystem, call: str) -> None:
        """Every method about a file refuses the root."""
        with refused(InvalidPathError, ""):
            FILE_CALLS[call](fs, "")

    def test_invalid_path_is_a_value_error(self, fs: FileSystem) -> None:
        """The error is the matching built-in, too."""
        with pytest.raises(ValueError, match="read"):
            fs.read("../outside")

    @pytest.mark.parametrize("name", UNUSUAL)
    def test_unusual_name(self, fs: FileSystem, another: FileSystem, raw: RawAccess, name: str) -> None:
        """A name is stored and listed letter by letter, as a file's and as a directory's."""
        path = join(name, name)
        fs.make_dir(name)
        fs.write(path, b"one")
        with fs.create_file(path + "2") as file:
            file.write(b"two")
        assert raw.names() == {path, path + "2"}
        assert names_in(another) == [name]
        assert names_in(another, name) == sorted([name, name + "2"])
        assert another.read(path) == b"one"
        assert another.read_ranges([(path + "2", 1, 2)]) == [b"wo"]
        fs.delete_file(path)
        fs.must_rm_all(name)
        assert names_in(another) == []

    def test_deep_path(self, fs: FileSystem, another: FileSystem) -> None:
        """Twenty directories inside each other are not too many."""
        path = "/".join(f"level-{number}" for number in range(20))
        fs.make_dir(path)
        fs.write(join(path, "file"), b"deep")
        assert another.read(join(path, "file")) == b"deep"
        assert names_in(another, path) == ["file"]
        assert names_in(another, "level-0/level-1") == ["level-2"]
