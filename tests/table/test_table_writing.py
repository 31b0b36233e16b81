"""Writing to a table and reading it back: at once, after a flush, from elsewhere, after reopening."""

from __future__ import annotations

import os

import pytest

from measurefs import PartOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec.types import ColumnType
from measurefs.fs import ClosedError, CountingFileSystem, LockError, PermissionError_, ReadOnlyFileSystem
from measurefs.part.metadata import Column
from measurefs.table import TableOptions, TableSchema
from tests.table.tables import (
    SCHEMA,
    batch,
    contents,
    contents_of,
    kinds,
    names_in,
    one,
    ones,
    open_table,
    parts_in,
    read_snapshot,
    snapshots_in,
    stored,
)


def test_rows_are_visible_at_once_and_stored_by_a_flush(store_fs):
    with open_table(store_fs) as table:
        table.add(one(1))
        assert contents(table) == ones(1)
        assert stored(store_fs) == {}
        table.flush()
        assert contents(table) == ones(1)
        assert stored(store_fs) == ones(1)


@kinds
def test_a_table_holds_the_same_after_it_was_reopened(store_fs, compact_bytes):
    part = PartOptions(compact_bytes=compact_bytes, block_rows=3)
    with open_table(store_fs, part=part) as table:
        for number in range(5):
            table.add(batch(range(number, number + 4), [7] * 4, [number * 100 + n for n in range(4)]))
            if number % 2:
                table.flush()
        before, epoch = contents(table), table.epoch
    assert len(before) == 8
    for _ in range(2):
        with open_table(store_fs, part=part) as table:
            assert contents(table) == before
            assert table.epoch > epoch


def test_close_stores_what_was_in_memory(store_fs):
    with open_table(store_fs) as table:
        table.add(one(1))
    assert stored(store_fs) == ones(1)


def test_a_table_left_by_an_exception_keeps_what_was_added():
    fs = MemoryFileSystem()
    with pytest.raises(RuntimeError, match="mine"), open_table(fs) as table:
        table.add(one(1))
        raise RuntimeError("mine")
    assert stored(fs) == ones(1)


def test_abandoning_loses_what_was_in_memory_and_frees_the_lock(store_fs):
    table = open_table(store_fs)
    table.add(one(1))
    table.flush()
    table.add(one(2))
    table.abandon()
    table.close()
    with open_table(store_fs) as again:
        assert contents(again) == ones(1)


def test_one_flush_makes_one_part_of_all_that_waits(store_fs):
    with open_table(store_fs) as table:
        for number in range(20):
            table.add(one(number))
        assert table.stats()["memory_parts"] == 20
        table.flush()
        assert len(parts_in(store_fs)) == 1
        assert (table.stats()["memory_parts"], table.stats()["file_parts"]) == (0, 1)
        assert contents(table) == ones(*range(20))


def test_of_equal_keys_the_later_counts_wherever_they_are():
    fs = MemoryFileSystem()
    with open_table(fs) as table:
        for number in range(6):
            table.add(batch([1, 1], [5, 5], [number, number + 100]))
            assert contents(table) == {(1, 5): number + 100}
            if number in {2, 4}:
                table.flush()
                assert contents(table) == {(1, 5): number + 100}
    assert stored(fs) == {(1, 5): 105}


def test_versions_count_more_than_the_order_of_arrival():
    fs = MemoryFileSystem()
    with open_table(fs) as table:
        for version in (5, 9, 7, 9, 1):
            table.add(batch([1, 2], [0, 0], [version * 10, version], [version, -version]), arrival=False)
            table.flush()
        assert contents(table) == {(1, 0): 90, (2, 0): 1}
        table.add(batch([1], [0], [91], [9]), arrival=False)
        assert contents(table) == {(1, 0): 91, (2, 0): 1}
    assert stored(fs) == {(1, 0): 91, (2, 0): 1}


def test_no_rows_change_nothing():
    with open_table(MemoryFileSystem()) as table:
        epoch = table.epoch
        assert table.add(batch([], [], [])) == epoch
        assert table.epoch == epoch
        assert table.stats()["memory_parts"] == 0


def test_flushing_up_to_an_epoch():
    fs = MemoryFileSystem()
    with open_table(fs) as table:
        first = table.add(one(1))
        table.flush(first)
        second = table.add(one(2))
        table.flush(first)
        assert stored(fs) == ones(1)
        table.flush(second)
        assert stored(fs) == ones(1, 2)


def test_columns_that_a_batch_leaves_out_are_null():
    fs = MemoryFileSystem()
    with open_table(fs) as table:
        table.add(one(1))
        rows = one(2)
        table.add(type(rows)(rows.series, rows.codes, rows.times, rows.versions, {}))
        assert contents(table) == {**ones(1), (2, 2): None}
    assert stored(fs) == {**ones(1), (2, 2): None}


def test_a_column_added_later_is_null_in_older_parts():
    fs = MemoryFileSystem()
    with open_table(fs) as table:
        table.add(one(1))
        table.flush()
        table.schema = TableSchema(SCHEMA.entity, [*SCHEMA.columns, Column("more", ColumnType.INT64)])
        rows = one(2)
        columns = {"more": rows.columns["value"]}
        table.add(type(rows)(rows.series, rows.codes, rows.times, rows.versions, columns))
        for _ in range(2):
            with table.pin() as snapshot:
                found = read_snapshot(fs, snapshot, ["value", "more"])
            values = dict(zip(found.times.tolist(), found.columns["value"].to_pylist(), strict=True))
            more = dict(zip(found.times.tolist(), found.columns["more"].to_pylist(), strict=True))
            assert (values, more) == ({1: 10, 2: None}, {1: None, 2: 20})
            table.flush()


class TestRequests:
    """Requests are money: what each operation costs is fixed."""

    @pytest.fixture
    def counted(self):
        return CountingFileSystem(MemoryFileSystem())

    def test_a_flush_writes_a_part_and_a_snapshot_and_lists_nothing(self, counted):
        with open_table(counted) as table:
            table.add(one(1))
            counted.reset()
            table.flush()
            assert dict(counted.calls) == {"write": 2, "sync_path": 2}

    def test_a_flush_of_nothing_writes_nothing(self, counted):
        with open_table(counted) as table:
            table.add(one(1))
            table.flush()
            counted.reset()
            table.flush()
            table.flush(table.epoch)
        assert not counted.calls

    def test_opening_takes_one_listing_and_one_read(self, counted):
        with open_table(counted) as table:
            for number in range(100):
                table.add(one(number))
                table.flush()
        for read_only in (True, False):
            counted.reset()
            with open_table(counted, read_only=read_only):
                assert (counted.calls["read_dir"], counted.calls["read"]) == (1, 1)
                assert counted.calls["write"] == counted.calls["read_ranges"] == 0

    def test_adding_rows_takes_none(self, counted):
        with open_table(counted) as table:
            counted.reset()
            for number in range(10):
                table.add(one(number))
            contents(table)
            assert not counted.calls


class TestReaders:
    """Tables opened read-only: beside the writer, here or in another process."""

    def test_they_see_what_was_committed_when_they_refresh(self, store_url):
        with store_url.open() as fs, store_url.open() as elsewhere, open_table(fs) as table:
            table.add(one(1))
            table.flush()
            with open_table(elsewhere, read_only=True) as reader:
                assert contents(reader) == ones(1)
                assert reader.epoch == table.epoch
                assert not reader.refresh()
                table.add(one(2))
                assert not reader.refresh()
                table.flush()
                assert contents(reader) == ones(1)
                assert reader.refresh()
                assert contents(reader) == ones(1, 2)
                assert reader.epoch == table.epoch
                assert not reader.refresh()

    def test_they_keep_what_they_read_from_while_they_refresh(self):
        fs = MemoryFileSystem()
        with open_table(fs) as table, open_table(fs, read_only=True) as reader:
            table.add(one(1))
            table.flush()
            reader.refresh()
            with reader.pin() as before:
                table.add(one(2))
                table.flush()
                reader.refresh()
                assert contents_of(fs, before) == ones(1)
            assert contents(reader) == ones(1, 2)

    def test_they_write_nothing_and_take_no_lock(self, store_fs):
        with open_table(store_fs) as table:
            table.add(one(1))
            table.flush()
            before = store_fs.read_dir("t")
            with open_table(ReadOnlyFileSystem(store_fs), read_only=True) as reader:
                reader.refresh()
                assert contents(reader) == ones(1)
                assert reader.stats()["rows"] == 1
                assert reader.step() > 0
            assert store_fs.read_dir("t") == before

    def test_a_table_that_is_not_there_is_empty_until_it_is(self, store_fs):
        with open_table(ReadOnlyFileSystem(store_fs), read_only=True) as reader:
            assert contents(reader) == {}
            with open_table(store_fs) as table:
                table.add(one(1))
            assert reader.refresh()
            assert contents(reader) == ones(1)

    def test_they_refuse_to_write(self):
        with open_table(MemoryFileSystem(), read_only=True) as reader:
            for call in (lambda: reader.add(one(1)), reader.flush, reader.gc):
                with pytest.raises(PermissionError_, match="read_only"):
                    call()

    def test_a_writer_has_nothing_to_refresh(self):
        with open_table(MemoryFileSystem()) as table:
            table.add(one(1))
            assert not table.refresh()
            assert contents(table) == ones(1)


class TestLock:
    """One writer at a time."""

    def test_a_second_writer_is_refused_and_told_by_whom(self, store_fs):
        with open_table(store_fs) as table:
            table.add(one(1))
            with pytest.raises(LockError, match=str(os.getpid())):
                open_table(store_fs)
            table.flush()
        with open_table(store_fs) as again:
            assert contents(again) == ones(1)

    def test_tables_side_by_side_do_not_disturb_each_other(self, store_fs):
        with open_table(store_fs, "a") as one_table, open_table(store_fs, "b") as other:
            one_table.add(one(1))
            other.add(one(2))
        assert (stored(store_fs, "a"), stored(store_fs, "b")) == (ones(1), ones(2))

    def test_a_table_that_could_not_be_opened_is_not_locked(self):
        fs = MemoryFileSystem()
        with open_table(fs) as table:
            table.add(one(1))
        (name,) = parts_in(fs)
        whole = fs.read(f"t/{name}")
        fs.delete_file(f"t/{name}")
        for _ in range(2):
            with pytest.raises(Exception, match=name):
                open_table(fs)
        fs.write(f"t/{name}", whole)
        with open_table(fs) as again:
            assert contents(again) == ones(1)


class TestClosed:
    def test_a_closed_table_takes_no_calls(self):
        table = open_table(MemoryFileSystem())
        table.add(one(1))
        with table.pin() as snapshot:
            table.close()
            table.close()
            assert contents_of(table.fs, snapshot) == ones(1)
        for call in (lambda: table.add(one(2)), table.flush, table.gc, table.pin, table.refresh):
            with pytest.raises(ClosedError, match="closed"):
                call()
        assert table.step() > 0

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    def test_a_forked_child_is_refused_and_harms_nothing(self, local_store):
        with local_store.open() as fs, open_table(fs) as table:
            table.add(one(1))
            reader, writer = os.pipe()
            if (child := os.fork()) == 0:
                try:
                    os.write(
                        writer, b"".join(map(_refused, (lambda: table.add(one(2)), table.flush, table.pin)))
                    )
                    table.close()
                finally:
                    os._exit(0)
            os.close(writer)
            os.waitpid(child, 0)
            assert os.read(reader, 100) == b"yes" * 3
            os.close(reader)
            with pytest.raises(LockError):
                open_table(fs)
            table.add(one(3))
            table.flush()
            assert stored(fs) == ones(1, 3)


def _refused(call):
    try:
        call()
    except ClosedError as error:
        return b"yes" if "forked" in str(error) else b"other error"
    return b"no"


def test_stats_tell_what_is_there():
    with open_table(MemoryFileSystem()) as table:
        assert table.stats()["min_time"] is None
        table.add(batch([1, 2], [5, 9], [1, 2]))
        table.flush()
        table.add(batch([1], [-3], [1]))
        stats = table.stats()
    expected = {"file_parts": 1, "memory_parts": 1, "rows": 3, "blocks": 2, "min_time": -3, "max_time": 9}
    assert {name: stats[name] for name in expected} == expected
    assert stats["compressed_bytes"] > 0
    assert stats["memory_bytes"] > 0
    assert stats["committed_epoch"] < stats["epoch"]
    assert (stats["background_failures"], stats["last_error"], stats["damaged_snapshots"]) == (0, None, [])


def test_what_options_refuse():
    with pytest.raises(ValueError, match="keep_snapshots"):
        TableOptions(keep_snapshots=0)
    with pytest.raises(ValueError, match="memory_limit"):
        TableOptions(memory_limit=1, flush_bytes=2)
    assert TableOptions().grace(remote=False) == 60
    assert TableOptions().grace(remote=True) == 3600
    assert TableOptions(gc_grace=1).grace(remote=True) == 1


def test_the_files_of_a_table_are_parts_and_snapshots(store_fs):
    with open_table(store_fs) as table:
        for number in range(3):
            table.add(one(number))
            table.flush()
    names = names_in(store_fs)
    assert sorted(names) == sorted(parts_in(store_fs) + snapshots_in(store_fs))
    assert all(len(name.partition(".")[0]) == 16 for name in names)
