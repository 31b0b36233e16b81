"""Deleting rows of a table."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from measurefs import PartOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import FencedError, FileSystemError, PermissionError_
from measurefs.table.verify import verify_table
from measurefs.testing import Fault, FaultFileSystem, Stall
from tests.part.made import EVER, only
from tests.table.tables import (
    BY_HAND,
    ROOT,
    SEVEN,
    batch,
    contents,
    contents_of,
    grow,
    kinds,
    one,
    ones,
    open_table,
    parts_in,
    stored,
)


@kinds
def test_a_span_of_time_is_gone_at_once_and_for_good(store_fs, compact_bytes):
    grow(store_fs, *SEVEN, compact_bytes=compact_bytes)
    with open_table(store_fs, part=PartOptions(compact_bytes=compact_bytes)) as table:
        table.add(one(8))
        assert table.delete(3, 6) == 3
        assert contents(table) == stored(store_fs) == ones(1, 2, 6, 7, 8)
        table.add(one(4))
        assert contents(table) == ones(1, 2, 4, 6, 7, 8)
    assert stored(store_fs) == ones(1, 2, 4, 6, 7, 8)
    assert verify_table(store_fs, ROOT).ok


def test_of_some_series_only():
    fs = MemoryFileSystem()
    with open_table(fs) as table:
        for time in range(4):
            table.add(batch([1, 2, 3], [time] * 3, [time] * 3))
            table.flush()
        assert table.delete(1, 3, only(1, 3)) == 4
        left = {(1, 0), (1, 3), (3, 0), (3, 3), (2, 0), (2, 1), (2, 2), (2, 3)}
        assert contents(table).keys() == left
    assert stored(fs).keys() == left


def test_every_version_of_a_row_goes():
    fs = MemoryFileSystem()
    with open_table(fs, merge=BY_HAND) as table:
        for version in (3, 9, 1):
            table.add(batch([1, 2], [5, 5], [version] * 2, [version] * 2), arrival=False)
            table.flush()
        assert table.delete(5, 6, only(1)) == 3
        assert contents(table) == {(2, 5): 9}
        table.add(batch([1], [5], [0], [0]), arrival=False)
        assert contents(table) == {(1, 5): 0, (2, 5): 9}


def test_nothing_to_delete_changes_nothing():
    fs = MemoryFileSystem()
    grow(fs, *SEVEN)
    with open_table(fs) as table:
        parts = parts_in(fs)
        assert table.delete(100, 200) == table.delete(1, 7, only(99)) == table.delete(3, 3) == 0
        assert parts_in(fs) == parts
        assert contents(table) == ones(*SEVEN)


def test_everything():
    fs = MemoryFileSystem()
    grow(fs, *SEVEN)
    with open_table(fs, keep_snapshots=1) as table:
        assert table.delete(*EVER) == 7
        assert contents(table) == stored(fs) == {}
        table.gc()
        assert parts_in(fs) == []
        table.add(one(1))
    assert stored(fs) == ones(1)


def test_the_files_go_when_no_snapshot_and_no_reader_needs_them():
    fs = MemoryFileSystem()
    grow(fs, *SEVEN)
    with open_table(fs, keep_snapshots=1) as table:
        with table.pin() as before:
            table.delete(1, 5)
            table.gc()
            assert contents_of(fs, before) == ones(*SEVEN)
        table.compact()
        table.gc()
        assert len(parts_in(fs)) == 1
        assert contents(table) == ones(5, 6, 7)


def test_rows_taken_meanwhile_stay():
    stall = Stall()
    fs = FaultFileSystem(MemoryFileSystem())
    with open_table(fs) as table, ThreadPoolExecutor(1) as pool:
        table.add(batch([1, 1], [1, 2], [1, 2]))
        table.flush()
        fs.add(Fault("write", "*.part", error=None, stall=stall))
        deleting = pool.submit(table.delete, 2, 10)
        assert stall.wait_until_reached(30)
        table.add(batch([1], [3], [3]))
        table.flush()
        stall.release()
        assert deleting.result(30) == 1
        assert contents(table) == {(1, 1): 1, (1, 3): 3}
    assert stored(fs) == {(1, 1): 1, (1, 3): 3}


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("method", "path"), [("write", "*.part"), ("sync_path", "t"), ("read_ranges", "*"), ("write", "*.snp")]
)
def test_after_a_failure_all_rows_are_there_or_none(method, path, late):
    fs = FaultFileSystem(MemoryFileSystem())
    with open_table(fs) as table:
        for number in (1, 2, 3):
            table.add(batch([number] * 4, range(4), range(4)))
            table.flush()
        fs.add(Fault(method, path, after=late))
        with pytest.raises(FileSystemError):
            table.delete(1, 3)
        assert len(contents(table)) == (6 if path == "*.snp" else 12)
        table.delete(1, 3)
        assert len(contents(table)) == len(stored(fs)) == 6


def test_who_may():
    fs = MemoryFileSystem()
    grow(fs, *SEVEN)
    with open_table(fs, read_only=True) as table, pytest.raises(PermissionError_):
        table.delete(*EVER)
    zombie = open_table(fs)
    fs.break_locks()
    with open_table(fs) as table:
        with pytest.raises(FencedError):
            zombie.delete(2, 4)
        assert contents(table) == stored(fs) == ones(*SEVEN)
    zombie.abandon()


spans = st.tuples(st.integers(0, 12), st.integers(0, 12), st.sets(st.integers(0, 3)))
writes = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10)), min_size=1, max_size=12)


@given(st.lists(st.one_of(writes, spans, st.just("merge")), max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_sequence_is_what_a_dictionary_does(steps):
    fs, model = MemoryFileSystem(), {}
    with open_table(fs, part=PartOptions(block_rows=2)) as table:
        for number, step in enumerate(steps):
            if step == "merge":
                table.compact()
            elif isinstance(step, list):
                ids, times = zip(*step, strict=True)
                table.add(batch(ids, times, [number] * len(ids)))
                model |= dict.fromkeys(step, number)
            else:
                start, end, series = step
                table.delete(start, end, only(*series))
                model = {
                    (entity, time): value
                    for (entity, time), value in model.items()
                    if not (start <= time < end and entity in series)
                }
            assert contents(table) == model
    assert stored(fs) == model
