"""What may happen to a table's files."""

from __future__ import annotations

from measurefs.fs import FileSystem, walk
from tests.table.tables import ROOT, parts_in, snapshots_in


def flip(fs: FileSystem, path: str, offset: int = 40) -> None:
    """Change one bit of a file."""
    whole = bytearray(fs.read(path))
    whole[offset] ^= 4
    fs.write(path, whole)


def part_path(fs: FileSystem, number: int) -> str:
    """The path of the so many-th part."""
    return f"{ROOT}/{parts_in(fs)[number]}"


def data_path(fs: FileSystem, number: int) -> str:
    """A file with rows of the so many-th part."""
    path = part_path(fs, number)
    return path if path.endswith(".part") else f"{path}/timestamps.bin"


def snapshot_path(fs: FileSystem, number: int) -> str:
    """The path of the so many-th snapshot."""
    return f"{ROOT}/{snapshots_in(fs)[number]}"


def contents_of_files(fs: FileSystem) -> dict[str, bytes]:
    """Every file, the lock's left out."""
    return {path: fs.read(path) for path in walk(fs) if "LOCK" not in path}
