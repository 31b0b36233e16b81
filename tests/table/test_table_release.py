"""How a writer lets go of its table, and what its successor therefore does."""

from __future__ import annotations

import pytest

from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import FileSystem, FileSystemError
from measurefs.table.epochs import snapshot_epoch, token_of
from measurefs.testing import Fault, FaultFileSystem
from tests.table.tables import contents, one, ones, open_table, snapshots_in, stored

UNDER_WAY = Fault("write", "*.snp", later=True, error="time-out")


@pytest.fixture
def fs() -> FaultFileSystem:
    return FaultFileSystem(MemoryFileSystem())


def tokens(fs: FileSystem) -> list[int]:
    return [token_of(snapshot_epoch(name) or 0) for name in snapshots_in(fs)]


def test_a_snapshot_under_way_when_its_writer_gave_up_is_never_anybodys_newest(fs):
    """It lands after its successor has collected the part that it names."""
    first = open_table(fs, keep_snapshots=1)
    first.add(one(1))
    first.flush()
    first.add(one(2))
    fs.add(UNDER_WAY)
    with pytest.raises(FileSystemError):
        first.flush()
    first.abandon()
    with open_table(fs, keep_snapshots=1) as second:
        second.gc()
    assert fs.land() == 1
    assert stored(fs) == ones(1)
    with open_table(fs, keep_snapshots=1) as third:
        assert contents(third) == ones(1)
        third.add(one(3))
    assert stored(fs) == ones(1, 3)


def test_a_later_commit_that_succeeds_makes_up_for_the_one_under_way(fs):
    table = open_table(fs)
    table.add(one(1))
    fs.add(UNDER_WAY)
    with pytest.raises(FileSystemError):
        table.flush()
    table.flush()
    table.close()
    before = snapshots_in(fs)
    with open_table(fs):
        assert snapshots_in(fs) == before, "there is nothing to fence off"
    fs.land()
    assert stored(fs) == ones(1)


@pytest.mark.parametrize("failing", [Fault("write", "*.snp"), Fault("read", "*.snp"), Fault("read_dir")])
def test_a_failed_opening_leaves_the_fence_to_the_next(fs, failing):
    """The one before it crashed, and that is not forgotten until somebody has committed."""
    dead = open_table(fs)
    dead.add(one(1))
    dead.flush()
    dead.add(one(2))
    fs.wrapped.break_locks()
    fs.add(failing)
    with pytest.raises(FileSystemError):
        open_table(fs)
    with open_table(fs) as table:
        assert max(tokens(fs)) > token_of(dead.epoch)
        assert contents(table) == ones(1)
    dead.abandon()


def test_rows_given_up_on_purpose_need_no_fence(fs):
    table = open_table(fs)
    table.add(one(1))
    table.flush()
    table.add(one(2))
    table.abandon()
    before = snapshots_in(fs)
    with open_table(fs) as again:
        assert contents(again) == ones(1)
        assert snapshots_in(fs) == before


def test_a_release_that_fails_closes_the_table_all_the_same(fs):
    table = open_table(fs)
    table.add(one(1))
    fs.add(Fault("lock.close", after=True))
    with pytest.raises(FileSystemError):
        table.close()
    table.close()
    assert stored(fs) == ones(1)
    with open_table(fs) as again:
        assert contents(again) == ones(1)
