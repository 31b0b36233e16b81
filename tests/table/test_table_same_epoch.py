"""Commits under an epoch that is taken: locks are there to prevent it, and it must do no harm all the same."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import Buffer, FencedError, FileSystem, FileSystemWrapper, basename
from measurefs.table.epochs import snapshot_epoch
from measurefs.table.recovery import read_snapshot
from tests.table.tables import ROOT, contents, one, ones, open_table, snapshots_in, stored


class BeforeTheNextSnapshot(FileSystemWrapper):
    """Does something else right before the next snapshot is written, with its path and content."""

    def __init__(self, wrapped: FileSystem) -> None:
        super().__init__(wrapped)
        self.act: Callable[[str, Buffer], None] | None = None

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        if path.endswith(".snp") and self.act is not None:
            act, self.act = self.act, None
            act(path, data)
        return super().write(path, data, exclusive=exclusive)


def test_a_snapshot_of_another_writer_is_never_replaced() -> None:
    """Another has the same token, as after a lock file was restored from a backup, and commits first."""
    disk = MemoryFileSystem()
    fs = BeforeTheNextSnapshot(disk)
    table = open_table(fs)
    table.add(one(1))
    table.flush()
    newest = snapshot_epoch(snapshots_in(disk)[-1]) or 0
    theirs: dict[str, bytes] = {}

    def commit(path: str, _: Buffer) -> None:
        epoch = snapshot_epoch(basename(path)) or 0
        record = msgspec.structs.replace(read_snapshot(disk, ROOT, newest), epoch=epoch, parent=newest)
        theirs[path] = record.encode()
        disk.write(path, theirs[path])

    table.add(one(2))
    fs.act = commit
    with pytest.raises(FencedError):
        table.flush()
    ((path, content),) = theirs.items()
    assert disk.read(path) == content
    assert stored(disk) == ones(1)
    with pytest.raises(FencedError):
        table.add(one(3))
    table.close()
    with open_table(disk) as again:
        assert contents(again) == ones(1)


def test_a_snapshot_of_its_own_that_landed_before_is_recognised() -> None:
    """A client repeats a request whose answer got lost, and finds the name taken, by itself."""
    disk = MemoryFileSystem()
    fs = BeforeTheNextSnapshot(disk)
    with open_table(fs) as table:
        table.add(one(1))
        fs.act = lambda path, data: (disk.write(path, data), None)[1]
        table.flush()
        assert stored(disk) == ones(1)
        table.add(one(2))
    assert stored(disk) == ones(1, 2)
