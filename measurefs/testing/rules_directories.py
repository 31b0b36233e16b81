"""Directories: making, listing, removing and syncing them."""

from __future__ import annotations

from functools import partial

import pytest

from measurefs.fs import (
    DeleteError,
    DirEntry,
    ExistError,
    FileSystem,
    FileSystemError,
    NotExistError,
    join,
    walk,
)
from measurefs.testing.harness import (
    RawAccess,
    Suite,
    names_in,
    numbered,
    put_all,
    refused,
    succeed,
    together,
)


def is_below(path: str, directory: str) -> bool:
    """Whether a path is in a directory, or deeper."""
    return not directory or path.startswith(f"{directory}/")


class DirectoryRules(Suite):
    """`make_dir`, `read_dir`, `read_tree`, `delete_file`, `delete_files`, `must_rm_all` and `sync_path`."""

    # make_dir

    def test_make_dir_is_seen(self, fs: FileSystem, another: FileSystem) -> None:
        """A new directory is there, empty, for everybody."""
        self.needs_directories()
        fs.make_dir("d")
        assert another.read_dir("") == [DirEntry("d", True)]
        assert another.read_dir("d") == []

    def test_make_dir_makes_parents(self, fs: FileSystem, another: FileSystem) -> None:
        """The directories above it are made, too."""
        self.needs_directories()
        fs.make_dir("a/b/c")
        assert names_in(another) == ["a"]
        assert names_in(another, "a/b") == ["c"]

    def test_make_dir_existing(self, fs: FileSystem, another: FileSystem) -> None:
        """An existing directory is an error."""
        self.needs_directories()
        fs.make_dir("a/b")
        for path in ("a", "a/b", ""):
            with refused(ExistError, path, "make_dir"):
                another.make_dir(path)

    def test_make_dir_exist_ok(self, fs: FileSystem, another: FileSystem) -> None:
        """An existing directory is none with exist_ok, and keeps what is in it."""
        put_all(fs, "a/file")
        for path in ("a", "a/b", "a/b", ""):
            another.make_dir(path, exist_ok=True)
        assert fs.read("a/file") == b"x"

    def test_make_dir_over_file(self, fs: FileSystem) -> None:
        """A file of that name is an error in any case."""
        self.needs_directories()
        fs.write("file", b"x")
        for exist_ok in (False, True):
            with refused(ExistError, "file", "make_dir"):
                fs.make_dir("file", exist_ok=exist_ok)
        assert fs.read("file") == b"x"

    def test_make_dir_under_file(self, fs: FileSystem) -> None:
        """Nothing can be made under a file."""
        self.needs_directories()
        fs.write("file", b"x")
        with refused((ExistError, NotExistError), "file/d", "make_dir"):
            fs.make_dir("file/d", exist_ok=True)

    def test_make_dir_race(self, fs: FileSystem, another: FileSystem) -> None:
        """Of several who make a directory at the same time one succeeds, or all of them with exist_ok."""
        self.needs_directories()
        clients = [fs, another] * (self.racers // 2)
        outcomes = together([partial(client.make_dir, "a/b") for client in clients])
        assert outcomes.count(None) == 1
        assert all(isinstance(outcome, ExistError | None) for outcome in outcomes)
        succeed([partial(client.make_dir, "c/d", exist_ok=True) for client in clients])

    # read_dir

    def test_read_dir_empty_root(self, fs: FileSystem) -> None:
        """The root always exists."""
        assert fs.read_dir("") == []

    def test_read_dir_missing(self, fs: FileSystem) -> None:
        """A missing directory is an error, and the matching built-in."""
        put_all(fs, "there/file")
        for path in ("missing", "there/missing", "missing/below"):
            with refused(NotExistError, path, "read_dir"):
                fs.read_dir(path)
        with pytest.raises(FileNotFoundError):
            fs.read_dir("missing")

    def test_read_dir_of_file(self, fs: FileSystem) -> None:
        """A file is no directory."""
        put_all(fs, "d/file")
        with refused(NotExistError, "d/file", "read_dir"):
            fs.read_dir("d/file")

    def test_read_dir_entries(self, fs: FileSystem) -> None:
        """An entry has a name, a kind, and a size or None."""
        put_all(fs, "d/file", "d/sub/file", data=b"12345")
        file, sub = fs.read_dir("d")
        assert (file.name, file.is_dir) == ("file", False)
        assert file.size in {None, 5}
        assert (sub.name, sub.is_dir) == ("sub", True)

    def test_read_dir_is_sorted(self, fs: FileSystem, another: FileSystem) -> None:
        """Entries are sorted by name, directories among files, whatever the store sorts by."""
        names = ["10", "9", "B", "a", "a b", "a-", "a.", "a0", "aa", "é", "雪", "🙂"]
        for number, name in enumerate(names):  # "a" is a directory: as a prefix, "a/", it stands behind "a-"
            put_all(fs, join("d", name, "file") if number % 2 else join("d", name))
        assert names_in(another, "d") == sorted(names)

    def test_read_dir_is_not_recursive(self, fs: FileSystem) -> None:
        """Only the names directly in the directory are listed, each once."""
        put_all(fs, "d/a/1", "d/a/2", "d/a/b/3", "d/c")
        assert names_in(fs, "d") == ["a", "c"]
        assert list(walk(fs)) == ["d/a/1", "d/a/2", "d/a/b/3", "d/c"]

    def test_read_dir_is_not_confused_by_prefixes(self, fs: FileSystem) -> None:
        """A name that starts like another's is not that one's content."""
        put_all(fs, "part/1", "part-2", "part.3", "part0/4", "par/5")
        assert names_in(fs, "part") == ["1"]
        assert names_in(fs, "par") == ["5"]
        for path in ("pa", "part-"):
            with refused(NotExistError, path, "read_dir"):
                fs.read_dir(path)

    def test_read_dir_many(self, fs: FileSystem, another: FileSystem) -> None:
        """A long listing is complete."""
        fs.make_dir("d")
        files = numbered("d", self.many)
        fs.write_all(files)
        assert [join("d", name) for name in names_in(another, "d")] == list(files)

    def test_read_dir_sees_changes_at_once(self, fs: FileSystem, another: FileSystem, raw: RawAccess) -> None:
        """No listing is stale: not after writing, creating, deleting or removing by anybody."""
        put_all(fs, "d/first")
        assert names_in(another, "d") == names_in(fs, "d") == ["first"]
        fs.write("d/second", b"")
        assert names_in(another, "d") == names_in(fs, "d") == ["first", "second"]
        another.write("d/third", b"", exclusive=True)
        assert names_in(another, "d") == names_in(fs, "d") == ["first", "second", "third"]
        with fs.create_file("d/fourth"):
            pass
        assert names_in(another, "d") == names_in(fs, "d") == ["first", "fourth", "second", "third"]
        another.delete_file("d/first")
        assert names_in(another, "d") == names_in(fs, "d") == ["fourth", "second", "third"]
        raw.put("d/fifth", b"")
        assert names_in(another, "d") == names_in(fs, "d") == ["fifth", "fourth", "second", "third"]
        fs.must_rm_all("d")
        assert names_in(another) == names_in(fs) == []

    def test_missing_is_not_remembered(self, fs: FileSystem, another: FileSystem) -> None:
        """What was missing is found as soon as it is there."""
        for call in (another.read, another.read_dir, another.open_file):
            with refused(NotExistError, "d"):
                call("d")
        put_all(fs, "d/file")
        assert names_in(another, "d") == ["file"]
        assert another.read("d/file") == b"x"

    # delete_file

    def test_delete_file(self, fs: FileSystem, another: FileSystem, raw: RawAccess) -> None:
        """A deleted file is gone for everybody, and its name is free."""
        put_all(fs, "d/file", "d/other")
        assert another.read("d/file") == b"x"
        fs.delete_file("d/file")
        assert raw.names() == {"d/other"}
        for call in (another.read, another.open_file, another.delete_file):
            with refused(NotExistError, "d/file"):
                call("d/file")
        another.write("d/file", b"new", exclusive=True)
        assert fs.read("d/file") == b"new"

    def test_delete_file_missing(self, fs: FileSystem) -> None:
        """A missing file is an error, and the matching built-in."""
        put_all(fs, "d/file")
        for path in ("d/missing", "missing/file", "missing", "d/file/below", "d/fil"):
            with refused(NotExistError, path, "delete_file"):
                fs.delete_file(path)
        with pytest.raises(FileNotFoundError):
            fs.delete_file("missing")

    def test_delete_file_refuses_directories(self, fs: FileSystem) -> None:
        """A directory stays, full or empty."""
        put_all(fs, "full/file")
        fs.make_dir("empty")
        for path in ("full", "empty"):
            with refused(
                DeleteError if self.directories else (DeleteError, NotExistError), path, "delete_file"
            ):
                fs.delete_file(path)
        assert fs.read("full/file") == b"x"

    # must_rm_all

    def test_must_rm_all_tree(self, fs: FileSystem, another: FileSystem, raw: RawAccess) -> None:
        """A directory goes with everything under it, and with nothing else."""
        put_all(fs, "d/file", "d/a/file", "d/a/b/file", "d/c/file", "other/file")
        fs.make_dir("d/empty")
        fs.must_rm_all("d")
        assert raw.names() == {"other/file"}
        assert names_in(another) == ["other"]
        put_all(another, "d/file")
        assert names_in(fs, "d") == ["file"]

    def test_must_rm_all_file(self, fs: FileSystem, raw: RawAccess) -> None:
        """A single file goes, too."""
        put_all(fs, "d/file", "d/other")
        fs.must_rm_all("d/file")
        assert raw.names() == {"d/other"}

    def test_must_rm_all_missing(self, fs: FileSystem, raw: RawAccess) -> None:
        """What is missing needs no removing, however often."""
        put_all(fs, "d/file")
        for path in ("missing", "d/missing", "missing/below", "d/file/below"):
            fs.must_rm_all(path)
            fs.must_rm_all(path)
        assert raw.names() == {"d/file"}

    def test_must_rm_all_root(self, fs: FileSystem, another: FileSystem, raw: RawAccess) -> None:
        """The root stays, emptied, and is as good as new."""
        fs.must_rm_all("")
        put_all(fs, "file", "d/file", "d/e/file")
        another.must_rm_all("")
        assert raw.names() == set()
        assert fs.read_dir("") == []
        fs.write("file", b"new", exclusive=True)
        assert another.read("file") == b"new"

    def test_must_rm_all_keeps_siblings(self, fs: FileSystem, raw: RawAccess) -> None:
        """A name that only starts with the path stays."""
        siblings = ["part-1", "part.1", "part0/file", "part 1/file", "par"]
        put_all(fs, "part/file", *siblings)
        fs.must_rm_all("part")
        assert raw.names() == set(siblings)
        fs.must_rm_all("pa")
        assert raw.names() == set(siblings)

    def test_must_rm_all_many(self, fs: FileSystem, raw: RawAccess) -> None:
        """The number of files makes no difference."""
        fs.make_dir("d/e")
        fs.write_all(numbered("d/e", self.many))
        put_all(fs, "kept")
        fs.must_rm_all("d")
        assert raw.names() == {"kept"}

    def test_must_rm_all_at_the_same_time(self, fs: FileSystem, another: FileSystem, raw: RawAccess) -> None:
        """Several may remove the same tree, and all succeed."""
        for number in range(10):
            fs.make_dir(f"d/{number}")
            fs.write_all(numbered(f"d/{number}", 5))
        succeed([partial(client.must_rm_all, "d") for client in (fs, another, fs, another)])
        assert raw.names() == set()

    # delete_files

    def test_delete_files(self, fs: FileSystem, another: FileSystem, raw: RawAccess) -> None:
        """All of them go, missing ones are no failure, and nothing else goes."""
        put_all(fs, "file", "d/file", "d/e/file", "kept", "d/kept")
        another.delete_files(["file", "missing", "d/file", "d/missing", "d/e/file", "file"])
        assert raw.names() == {"kept", "d/kept"}
        fs.delete_files([])
        fs.delete_files(["file"])
        assert raw.names() == {"kept", "d/kept"}

    def test_delete_files_many(self, fs: FileSystem, raw: RawAccess) -> None:
        """The number of files makes no difference."""
        fs.make_dir("d")
        files = numbered("d", self.many)
        fs.write_all(files)
        put_all(fs, "d/kept")
        fs.delete_files(list(files))
        assert raw.names() == {"d/kept"}

    # read_tree

    def test_read_tree(self, fs: FileSystem, another: FileSystem) -> None:
        """All files below a directory, sorted, and nothing else; or the store says that this is no cheaper."""
        paths = ["a", "d/a", "d/a!b", "d/b/c", "d/b/d/e", "d/b0", "d0/a"]
        put_all(fs, *paths, data=b"12345")
        if another.read_tree("", 100) is None:
            assert another.read_tree("d", 100) is None
            return
        for directory in ("", "d", "d/b", "d/b/d"):
            found = another.read_tree(directory, 100)
            assert found is not None
            below = sorted(path.removeprefix(f"{directory}/") for path in paths if is_below(path, directory))
            assert [(entry.name, entry.is_dir) for entry in found] == [(name, False) for name in below]
            assert all(entry.size in {None, 5} for entry in found)
        fs.delete_file("d/b/c")
        assert [entry.name for entry in another.read_tree("d/b", 100) or ()] == ["d/e"]
        assert another.read_tree("missing", 100) == []

    def test_read_tree_limit(self, fs: FileSystem) -> None:
        """More files than the limit are not listed."""
        put_all(fs, *(f"d/{number}" for number in range(5)))
        if fs.read_tree("d", 100) is not None:
            assert fs.read_tree("d", 4) is None
            assert len(fs.read_tree("d", 5) or ()) == 5

    # sync_path

    def test_sync_path(self, fs: FileSystem) -> None:
        """The root, a directory and a file can be synced."""
        fs.sync_path("")
        put_all(fs, "d/file")
        for path in ("", "d", "d/file"):
            fs.sync_path(path)
        assert fs.read("d/file") == b"x"

    def test_sync_path_missing(self, fs: FileSystem) -> None:
        """A missing path cannot be synced."""
        self.needs_directories()
        put_all(fs, "d/file")
        for path in ("missing", "d/missing", "missing/below", "d/file/below"):
            with refused(NotExistError, path, "sync_path"):
                fs.sync_path(path)

    # The whole

    def test_context_closes(self, fs: FileSystem) -> None:
        """A file system is a context, and may be closed twice."""
        with fs as entered:
            assert entered is fs
            put_all(fs, "file")
        fs.close()

    def test_close_keeps_files(self, fs: FileSystem, another: FileSystem) -> None:
        """Closing touches no file."""
        if another is fs:
            pytest.skip("the suite was given no second client")
        put_all(fs, "d/file")
        fs.close()
        assert another.read("d/file") == b"x"

    def test_remote_is_told(self, fs: FileSystem) -> None:
        """It is said whether calls cost round trips."""
        assert isinstance(fs.remote, bool)

    def test_errors_are_of_one_family(self, fs: FileSystem) -> None:
        """Whatever fails here raises a `FileSystemError`, which is an `OSError`."""
        with pytest.raises(FileSystemError) as caught:
            fs.read("missing")
        assert isinstance(caught.value, OSError)
