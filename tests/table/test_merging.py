"""Merging: fewer parts with the same rows, whatever happens meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

from measurefs import PartOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec.types import ColumnType
from measurefs.fs import ClosedError, CorruptionError, FencedError, FileSystemError, WriteError
from measurefs.fs.wrappers import CountingFileSystem
from measurefs.part.fetch import fetch
from measurefs.part.held import Cache
from measurefs.part.metadata import Column
from measurefs.part.part import Scan
from measurefs.table import Background, Runtime, TableSchema
from measurefs.table.policy import MergeOptions
from measurefs.table.verify import verify_table
from measurefs.testing import Fault, FaultFileSystem, Stall
from tests.part.made import COMPACT, EVER, WIDE, keyed, make_rows
from tests.table.damaging import data_path, flip
from tests.table.tables import (
    BY_HAND,
    ROOT,
    SCHEMA,
    SEVEN,
    Clock,
    batch,
    contents,
    contents_of,
    grow,
    kinds,
    one,
    ones,
    open_table,
    parts_in,
    read_snapshot,
    snapshots_in,
    stored,
    until,
)

EAGER = MergeOptions(least_inputs=4, ratio=1.7)


class TestCompaction:
    @kinds
    def test_makes_one_part_with_the_same_rows(self, store_fs, compact_bytes):
        grow(store_fs, *SEVEN, compact_bytes=compact_bytes)
        part = PartOptions(compact_bytes=compact_bytes)
        with open_table(store_fs, part=part, keep_snapshots=1) as table:
            table.compact()
            assert table.stats()["file_parts"] == 1
            assert contents(table) == ones(*SEVEN)
            table.gc()
            assert len(parts_in(store_fs)) == 1
        assert stored(store_fs) == ones(*SEVEN)
        assert verify_table(store_fs, ROOT).ok

    def test_takes_in_rows_that_are_only_in_memory(self):
        fs = MemoryFileSystem()
        with open_table(fs) as table:
            for number in SEVEN:
                table.add(one(number))
            table.compact()
            assert stored(fs) == ones(*SEVEN)

    def test_goes_through_any_number_of_parts(self):
        fs = MemoryFileSystem()
        grow(fs, *range(1, 101))
        seen = []
        with open_table(fs, merge=BY_HAND) as table:
            table.compact(lambda done, total: seen.append((done, total)))
            assert table.stats()["file_parts"] == 1
            assert contents(table) == ones(*range(1, 101))
        assert seen[-1] == (100, 100)

    def test_makes_what_was_written_in_a_hurry_small(self):
        values = np.cumsum(np.random.default_rng(1).integers(-10, 11, 30_000))

        def parts(table):
            with table.pin() as snapshot:
                return [part.metadata for part in snapshot.file_parts]

        with open_table(MemoryFileSystem(), merge=BY_HAND) as table:
            for first in (0, 20_000):
                times = range(first, first + 10_000)
                table.add(batch([1] * 10_000, times, values[times.start : times.stop].tolist()))
                table.flush()
                before = parts(table)
                table.compact()
                (whole,) = parts(table)
                assert before[-1].quick
                assert not whole.quick
                assert whole.compressed_bytes < sum(part.compressed_bytes for part in before) * 0.95
                table.compact()
                assert parts(table) == [whole]

    def test_an_empty_table_stays_one(self):
        fs = MemoryFileSystem()
        with open_table(fs) as table:
            table.compact()
            assert contents(table) == {}

    def test_a_reader_sees_what_it_pinned_until_it_is_done(self):
        fs = MemoryFileSystem()
        grow(fs, *SEVEN)
        with open_table(fs, keep_snapshots=1) as table:
            with table.pin() as before:
                table.compact()
                table.gc()
                assert contents_of(fs, before) == ones(*SEVEN)
                assert len(parts_in(fs)) == 8
            table.gc()
            assert len(parts_in(fs)) == 1

    def test_the_highest_version_stays_and_of_equal_ones_the_later(self):
        fs = MemoryFileSystem()
        versions = [(5, 50), (7, 70), (6, 60), (7, 71), (1, 10)]
        with open_table(fs, merge=BY_HAND) as table:
            for version, value in versions:
                table.add(batch([1, 2], [1, version], [value, value], [version] * 2), arrival=False)
                table.flush()
            before = contents(table)
            assert before[1, 1] == 71
            table.compact()
            assert contents(table) == before
            table.add(batch([1], [1], [72], [7]), arrival=False)
            table.add(batch([2], [1], [0], [0]), arrival=False)
            assert contents(table) == before | {(1, 1): 72}
            table.compact()
            assert contents(table) == before | {(1, 1): 72}

    @pytest.mark.parametrize(("cached", "read"), [(8 << 20, False), (0, True)])
    def test_reads_nothing_back_that_was_just_written_unless_memory_is_short(self, cached, read):
        fs = CountingFileSystem(MemoryFileSystem())
        schema = TableSchema(SCHEMA.entity, [*SCHEMA.columns, Column("name", ColumnType.STRING)])
        expected = {}
        with open_table(fs, schema=schema, merge=BY_HAND, runtime=Runtime(cache=Cache(cached))) as table:
            for number in range(12):
                values, names = [number, None, number], [f"n{number}", "n", None]
                columns = {"value": pa.array(values, pa.int64()), "name": pa.array(names)}
                table.add(make_rows([1, 2, number], [1, number, 5], columns))
                table.flush()
                keys = [((1,), 1), ((2,), number), ((number,), 5)]
                expected |= dict(zip(keys, zip(values, names, strict=True), strict=True))
            fs.reset()
            table.compact()
            table.add(make_rows([7], [7], {"value": pa.array([7])}))
            table.compact()  # what merging made is merged, too
            expected[(7,), 7] = 7, None
            assert (fs.calls["read_ranges"] > 0) == read
            with table.pin() as snapshot:
                rows = keyed(read_snapshot(fs, snapshot, ("value", "name")))
            assert len(snapshot.parts) == 1
        assert {key: (row["value"], row["name"]) for key, (_, row) in rows.items()} == expected
        assert verify_table(fs, ROOT).ok

    def test_figures_tell_what_it_cost(self):
        fs = MemoryFileSystem()
        with open_table(fs, merge=BY_HAND) as table:
            for number in SEVEN:
                table.add(one(number))
                table.flush()
            flushed = table.stats()["flushed_bytes"]
            assert table.stats()["write_amplification"] == 1
            table.compact()
            stats = table.stats()
        assert (stats["merges"], stats["flushed_bytes"]) == (1, flushed)
        assert stats["merged_bytes"] == stats["compressed_bytes"] > 0
        assert stats["write_amplification"] == pytest.approx(1 + stats["merged_bytes"] / flushed)


class TestInTheBackground:
    @pytest.mark.parametrize("log_bytes", [0, 4 << 20])
    def test_many_small_writes_settle_to_few_parts_and_files(self, store_fs, log_bytes):
        count = 60 if store_fs.remote else 400
        background = Background()
        with open_table(store_fs, background=background, gc_interval=0.1, log_bytes=log_bytes) as table:
            for number in range(count):
                table.flush(table.add(one(number)))
            until(lambda: table.stats()["file_parts"] < 16 and len(store_fs.read_dir(ROOT)) < 50)
            assert contents(table) == ones(*range(count))
        background.close()
        assert stored(store_fs) == ones(*range(count))

    def test_can_be_left_to_the_caller(self):
        fs = MemoryFileSystem()
        with open_table(fs, merge=EAGER) as table:
            for number in SEVEN:
                table.add(one(number))
                table.flush()
            assert table.stats()["file_parts"] == 7
            while table.merge() == 0:
                pass
            assert table.stats()["file_parts"] < 4
            assert contents(table) == ones(*SEVEN)

    def test_a_merge_delays_neither_flushes_nor_readers(self):
        stall = Stall()
        fs = FaultFileSystem(MemoryFileSystem())
        with open_table(fs) as table, ThreadPoolExecutor(1) as pool:
            for number in SEVEN:
                table.add(one(number))
                table.flush()
            fs.add(Fault("write", "*.part", error=None, stall=stall))
            merging = pool.submit(table.compact)
            assert stall.wait_until_reached(30)
            try:
                table.add(one(8))
                table.flush()
                assert contents(table) == stored(fs) == ones(*SEVEN, 8)
            finally:
                stall.release()
            merging.result(30)
            assert table.stats()["file_parts"] == 2
        assert stored(fs) == ones(*SEVEN, 8)

    @kinds
    def test_closing_gives_it_up(self, compact_bytes):
        stall = Stall()
        fs = FaultFileSystem(MemoryFileSystem())
        part = PartOptions(compact_bytes=compact_bytes, block_rows=1)
        grow(fs, *SEVEN, compact_bytes=compact_bytes)
        table = open_table(fs, part=part)
        fs.add(Fault("read_ranges", "*", error=None, stall=stall))
        with ThreadPoolExecutor(2) as pool:
            merging = pool.submit(table.compact)
            assert stall.wait_until_reached(30)
            closing = pool.submit(table.close)
            until(table._merger._cancelled.is_set)
            stall.release()
            closing.result(30)
            with pytest.raises(ClosedError, match="nothing is lost"):
                merging.result(30)
        assert len(parts_in(fs)) == 7
        assert stored(fs) == ones(*SEVEN)


class TestFailures:
    """A merge that fails leaves the table as it was, and nothing of its own; the next one does it."""

    CALLS = (
        (COMPACT, "write", "*.part"),
        (COMPACT, "sync_path", "t"),
        (WIDE, "make_dir", "t/*"),
        (WIDE, "create_file", "*/fields.bin"),
        (WIDE, "write", "*/metadata.json"),
        (WIDE, "sync_path", "t/*"),
        (WIDE, "sync_path", "t"),
    )

    @pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize(("compact_bytes", "method", "path"), CALLS)
    def test_while_writing(self, compact_bytes, method, path, late, monkeypatch):
        monkeypatch.setattr("measurefs.table.merger._SPILL_BYTES", 10)
        monkeypatch.setattr("measurefs.part.writer.PAGE_BLOCKS", 1)
        fs = FaultFileSystem(MemoryFileSystem())
        grow(fs, *SEVEN, compact_bytes=compact_bytes)
        before = parts_in(fs)
        part = PartOptions(compact_bytes=compact_bytes, block_rows=1)
        with open_table(fs, part=part, merge=BY_HAND) as table:
            fs.add(Fault(method, path, error="disk full", after=late))
            with pytest.raises(FileSystemError):
                table.compact()
            assert fs.injected.total() == 1
            assert parts_in(fs) == before
            assert contents(table) == stored(fs) == ones(*SEVEN)
            table.compact()
            assert table.stats()["file_parts"] == 1
        assert stored(fs) == ones(*SEVEN)

    @pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
    def test_while_committing(self, late):
        fs = FaultFileSystem(MemoryFileSystem())
        grow(fs, *SEVEN)
        with open_table(fs, merge=BY_HAND) as table:
            fs.add(Fault("write", "*.snp", after=late))
            with pytest.raises(WriteError):
                table.compact()
            assert contents(table) == stored(fs) == ones(*SEVEN)
            table.gc()
            assert stored(fs) == ones(*SEVEN)
            table.compact()
            table.gc()
            assert len(snapshots_in(fs)) == 2
            assert stored(fs) == ones(*SEVEN)
        assert verify_table(fs, ROOT).ok

    def test_in_the_background_shows_and_is_tried_again(self):
        fs = FaultFileSystem(MemoryFileSystem())
        grow(fs, *SEVEN)
        with open_table(fs, merge=EAGER) as table:
            fs.add(Fault("write", "*.part", error="disk full"))
            table.merge()
            assert "space" in table.stats()["merge_error"]
            assert 0 < table.merge() < 1
            until(lambda: table.merge() > 60)
            assert table.stats()["merge_error"] is None
            assert table.stats()["file_parts"] == 1

    def test_does_not_hold_back_what_was_merged_before(self):
        clock = Clock()
        fs = FaultFileSystem(MemoryFileSystem())
        grow(fs, *range(1, 20))
        with open_table(fs, merge=EAGER, runtime=Runtime(monotonic=clock)) as table:
            table.merge()
            fs.add(Fault("write", "*.part", error="disk full", times=100))
            table.merge()
            assert "space" in table.stats()["merge_error"]
            committed = table.stats()["committed_epoch"]
            clock.seconds += 60
            table.merge()
            assert table.stats()["committed_epoch"] > committed
            assert "space" in table.stats()["merge_error"]
        assert stored(fs) == ones(*range(1, 20))

    def test_a_damaged_part_is_left_alone_and_the_others_are_merged(self):
        fs = MemoryFileSystem()
        grow(fs, *range(1, 10))
        flip(fs, data_path(fs, 4))
        with open_table(fs, merge=EAGER) as table:
            until(lambda: table.merge() > 60)
            assert table.stats()["file_parts"] == 3
            assert "checksum" in table.stats()["merge_error"]
            with pytest.raises(CorruptionError):
                contents(table)
            with pytest.raises(CorruptionError):
                table.compact()
            assert [damage.path for damage in verify_table(fs, ROOT).damages]

    def test_a_zombie_merges_nothing(self):
        fs = MemoryFileSystem()
        grow(fs, *SEVEN)
        zombie = open_table(fs)
        fs.break_locks()
        with open_table(fs) as table:
            table.add(one(8))
            table.flush()
            with pytest.raises(FencedError):
                zombie.compact()
            assert contents(table) == stored(fs) == ones(*SEVEN, 8)
            zombie.abandon()
            table.gc()
            table.compact()
            assert contents(table) == stored(fs) == ones(*SEVEN, 8)


class TestColumns:
    """What a part holds does not depend on who merges it."""

    OLD = TableSchema({"id": ColumnType.INT64}, [])
    WIDER = TableSchema({"id": ColumnType.INT64}, [Column("value", ColumnType.FLOAT64)])

    def test_those_that_the_merging_process_does_not_know_yet_stay(self):
        fs = MemoryFileSystem()
        grow(fs, *SEVEN)
        with open_table(fs, schema=self.OLD) as table:
            table.compact()
            assert table.stats()["file_parts"] == 1
        assert stored(fs) == ones(*SEVEN)

    def test_those_of_a_wider_type_stay_so(self):
        fs = MemoryFileSystem()
        grow(fs, 1)
        with open_table(fs, schema=self.WIDER) as table:
            table.add(make_rows([2], [2], {"value": pa.array([2.5])}))
        with open_table(fs, merge=BY_HAND) as table:
            table.compact()
            with table.pin() as snapshot:
                (part,) = snapshot.parts
                found = fetch(fs, part.read(Scan(*EVER, ["value"])))
        assert sorted(found.columns["value"].to_pylist()) == [2.5, 10.0]

    def test_a_value_that_the_wider_type_lacks_is_left_where_it_is(self):
        fs = MemoryFileSystem()
        with open_table(fs, merge=BY_HAND) as table:
            for number in range(4):
                table.add(batch([number], [number], [2**53 + 1]))
                table.flush()
        with open_table(fs, schema=self.WIDER, merge=BY_HAND) as table:
            for number in range(4, 8):
                table.add(make_rows([number], [number], {"value": pa.array([2.5])}))
                table.flush()
        with open_table(fs) as table:
            while table.merge() < 60:
                pass
            assert table.stats()["rows"] == 8
            assert "value" in table.stats()["merge_error"]
