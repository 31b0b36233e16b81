"""What the local backend has made durable: seen by its system calls, as a disk sees them."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from measurefs.backends.local import LocalFileSystem
from measurefs.fs import ExistError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into open files by /proc")

DATA = b"some bytes " * 1000
LARGE = b"more bytes " * 200_000


class Disk:
    """Keeps of each file the bytes, and of each directory the names, as they were at its last fsync.

    That is all that a power cut has to leave. In `unsynced` are the files that got a name before their bytes were
    durable.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.unsynced: list[str] = []
        self.before_write: list[Callable[[Path], None]] = []
        self.before_naming: list[Callable[[str], None]] = []
        self._files: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        for name, watched in (
            ("fsync", self._fsync),
            ("write", self._write),
            ("link", self._naming),
            ("replace", self._naming),
            ("rename", self._naming),
        ):
            monkeypatch.setattr(os, name, self._watch(watched, getattr(os, name)))

    @staticmethod
    def _watch(watched: Callable[..., None], real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            watched(*arguments)
            return real(*arguments)

        return call

    def _fsync(self, fd: int) -> None:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            entries = Path(f"/proc/self/fd/{fd}").iterdir()
            self._names[status.st_ino] = {entry.name: entry.lstat().st_ino for entry in entries}
        else:
            self._files[status.st_ino] = Path(f"/proc/self/fd/{fd}").read_bytes()

    def _write(self, fd: int, _: object) -> None:
        for act in self.before_write:
            act(Path(os.readlink(f"/proc/self/fd/{fd}")))

    def _naming(self, source: str, target: str) -> None:
        if self._files.get(Path(source).stat().st_ino) != Path(source).read_bytes():
            self.unsynced.append(target)
        while self.before_naming:
            self.before_naming.pop()(target)

    def has(self, path: Path) -> bool:
        """Whether the name of a file or directory is durable in the directory that it is in."""
        names = self._names.get(path.parent.stat().st_ino, {})
        return path.exists() and names.get(path.name) == path.stat().st_ino

    def bytes_of(self, path: Path) -> bytes | None:
        """Return a file's durable bytes."""
        return self._files.get(path.stat().st_ino)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def create(fs: LocalFileSystem, data: bytes) -> None:
    with fs.create_file("d/file") as file:
        file.write(data[:1000])
        file.write(data[1000:])


WRITINGS: dict[str, Callable[[LocalFileSystem, bytes], object]] = {
    "write": lambda fs, data: fs.write("d/file", data),
    "exclusive": lambda fs, data: fs.write("d/file", data, exclusive=True),
    "create": create,
    "write_all": lambda fs, data: fs.write_all({"d/file": data, "d/other": b"x"}),
}


@pytest.mark.parametrize("data", [b"", DATA, LARGE], ids=["empty", "small", "large"])
@pytest.mark.parametrize("way", WRITINGS)
def test_bytes_are_synced_before_they_get_their_name(disk: Disk, root: Path, way: str, data: bytes) -> None:
    """Else a power cut could leave the name with no bytes, or some."""
    with LocalFileSystem(root) as fs:
        fs.make_dir("d")
        WRITINGS[way](fs, data)
        assert fs.read("d/file") == data
        assert disk.bytes_of(root / "d/file") == data
        assert disk.unsynced == []


def test_replacing_a_file_syncs_the_new_bytes_first(disk: Disk, root: Path) -> None:
    with LocalFileSystem(root) as fs:
        for data in (b"old", b"new"):
            fs.write("file", data)
            assert disk.bytes_of(root / "file") == data
        assert disk.unsynced == []


def test_sync_path_syncs_the_directory(disk: Disk, root: Path) -> None:
    with LocalFileSystem(root) as fs:
        fs.make_dir("d")
        fs.write("d/file", DATA)
        assert not disk.has(root / "d/file"), "writing alone needs not make the name durable"
        fs.sync_path("d")
        assert disk.has(root / "d/file")
        fs.delete_file("d/file")
        fs.write("d/next", DATA)
        fs.sync_path("d")
        assert disk.has(root / "d/next")
        (root / "d/foreign").write_bytes(DATA)
        fs.sync_path("d/foreign")
        assert disk.bytes_of(root / "d/foreign") == DATA


def test_the_directories_above_a_new_one_are_synced(disk: Disk, root: Path) -> None:
    """Nobody else could know that they are new."""
    with LocalFileSystem(root / "above" / "store") as fs:
        fs.make_dir("a/b/c")
        top = root / "above" / "store"
        for made in (root / "above", top, top / "a", top / "a/b"):
            assert disk.has(made), made
        fs.sync_path("a/b")
        assert disk.has(top / "a/b/c")


def test_the_first_file_makes_the_roots_name_durable(disk: Disk, root: Path) -> None:
    with LocalFileSystem(root) as fs:
        fs.write("file", DATA)
        fs.sync_path("")
        assert disk.has(root)
        assert disk.has(root / "file")


@pytest.mark.parametrize("way", ["exclusive", "create"])
def test_a_name_taken_between_the_look_and_the_publication_is_not_replaced(
    disk: Disk, root: Path, way: str
) -> None:
    with LocalFileSystem(root) as fs:
        fs.make_dir("d")
        disk.before_naming.append(lambda target: (Path(target).write_bytes(b"theirs"), None)[1])
        with pytest.raises(ExistError):
            WRITINGS[way](fs, DATA)
        assert fs.read("d/file") == b"theirs"
        assert os.listdir(root / "d") == ["file"]


def test_a_token_is_durable_before_the_lock_is_given_out(disk: Disk, root: Path) -> None:
    """Else a power cut could give it out a second time."""
    with LocalFileSystem(root) as fs:
        fs.make_dir("d")
        for _ in range(3):
            with fs.create_lock_file("d/LOCK"):
                assert disk.has(root / "d/LOCK")
                assert disk.bytes_of(root / "d/LOCK") == (root / "d/LOCK").read_bytes()


def test_the_record_before_is_durable_before_the_other_slot_is_overwritten(disk: Disk, root: Path) -> None:
    """Its holder may have died between its write and its sync, and the write that follows may be torn."""
    with LocalFileSystem(root) as fs:
        fs.create_lock_file("LOCK").close()
        fs.create_lock_file("LOCK").abandon()
        left = (root / "LOCK").read_bytes()
        (root / "copy").write_bytes(left)  # the same, and not synced
        (root / "copy").rename(root / "LOCK")
        durable: list[bytes | None] = []
        disk.before_write.append(lambda path: durable.append(disk.bytes_of(path)))
        with fs.create_lock_file("LOCK") as lock:
            assert lock.token == 3
        assert durable[0] == left
