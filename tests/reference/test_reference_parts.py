"""Parts, blocks and their encodings (reference 5.2: part_test, part_iter_test, block_test, column_test, encoding)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec import columns as codec
from measurefs.codec import numbers
from measurefs.codec.types import ColumnType
from measurefs.part.blocks import lay_out
from measurefs.part.fetch import fetch, together
from measurefs.part.file_part import FilePart, read_metadata
from measurefs.part.index import Meta
from measurefs.part.memory_part import MemoryPart
from measurefs.part.metadata import Column
from measurefs.part.part import Scan
from measurefs.part.rows import sort_rows
from measurefs.part.series import encode_series, entity_keys
from tests.part.made import COMPACT, EVER, WIDE, listed, make_rows, only, read, store
from tests.reference.datasets import (
    BY_NUMBER,
    COLUMNS,
    DPS,
    DPS_TS1,
    DPS_TS2,
    LONG_TEXT,
    Block,
    blocks_of,
    dicts_of,
    full,
    rows_of,
    windows,
)

MAX_BLOCK_ROWS = 8192
SIXTY = range(1000, 1060)
kinds = pytest.mark.parametrize("compact_bytes", [COMPACT, WIDE], ids=["compact", "wide"])


def in_memory(rows, block_rows=MAX_BLOCK_ROWS):
    return MemoryPart(1, sort_rows(rows), block_rows)


def on_disk(fs, rows, columns=COLUMNS, block_rows=MAX_BLOCK_ROWS, compact_bytes=WIDE):
    """Write a part and open it again from what its files say."""
    written = store(fs, rows, columns, block_rows=block_rows, compact_bytes=compact_bytes)
    return FilePart("", read_metadata(fs, written.name))


def counts(fs, part):
    blocks = fetch(fs, part.blocks(Scan(*EVER, [])))
    return blocks.rows.tolist()


def test_the_long_text():
    assert len(LONG_TEXT) == 736


@kinds
@pytest.mark.parametrize("ids_known", [True, False], ids=["by id", "by entity"])
def test_part_iter_next_block(store_fs, compact_bytes, ids_known):
    """Test_partIter_nextBlock."""
    cases = {
        (1, 2, 3): [Block(1, 2), Block(2, 2), Block(3, 2)],
        (): [],
        (1,): [Block(1, 2)],
        (1, 3): [Block(1, 2), Block(3, 2)],
        (4,): [],
        (4, 5, 6): [],
        (1, 4): [Block(1, 2)],
    }
    rows = rows_of(DPS)
    for part in (in_memory(rows), on_disk(store_fs, rows, compact_bytes=compact_bytes)):
        for series, expected in cases.items():
            if ids_known:
                assert blocks_of(store_fs, [part], series, 1, 220) == expected
            found = dicts_of(
                read(store_fs, part, series=only(*series, hasher=BY_NUMBER if ids_known else None))
            )
            assert found == [full(row) for row in DPS if row["id"] in series]


class TestMustInitFromDataPoints:
    """TestMustInitFromDataPoints: in memory, then flushed and opened again."""

    @kinds
    @pytest.mark.parametrize(
        ("rows", "figures", "times"),
        [
            pytest.param([], (0, 0), None, id="empty"),
            pytest.param(DPS_TS1[:1], (1, 1), (1, 1), id="one row"),
            pytest.param(DPS, (6, 3), (1, 220), id="dps"),
        ],
    )
    def test_counts(self, store_fs, compact_bytes, rows, figures, times):
        made = rows_of(rows)
        if rows:
            memory = in_memory(made)
            assert (memory.rows, len(counts(store_fs, memory))) == figures
            assert (memory.min_time, memory.max_time) == times
        part = on_disk(store_fs, made, compact_bytes=compact_bytes)
        assert part.id == 1
        assert (part.metadata.rows, part.metadata.blocks) == figures
        assert part.metadata.compressed_bytes > 0
        assert times is None or (part.min_time, part.max_time) == times
        assert len(read(store_fs, part)) == figures[0]

    def test_every_family_is_there(self, store_fs):
        part = on_disk(store_fs, rows_of(DPS))
        names = {entry.name for entry in store_fs.read_dir("0000000000000001")}
        assert {"arrTag.tf", "binaryTag.tf", "singleTag.tf"} <= names
        assert names == {*part.metadata.sections, "metadata.json"}

    def test_a_family_that_a_batch_does_not_have_leaves_no_files(self):
        """Defect 24: there, pooled parts wrote empty files for other measures' families."""
        fs = MemoryFileSystem()
        for columns in (COLUMNS, COLUMNS[7:]):
            rows = rows_of(DPS_TS1, columns)
            metadata = store(fs, rows, columns, number=len(columns), compact_bytes=WIDE)
            assert any(name.endswith(".tf") for name in metadata.sections) == (columns is COLUMNS)

    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            (DPS_TS1, [(1, 1, 1), (1, 1, 1), (1, 1, 1)]),
            (DPS_TS2, [(1, 2, 2), (1, 2, 2), (1, 2, 2)]),
            (DPS, [(2, 1, 2), (2, 8, 10), (2, 100, 220)]),
        ],
        ids=["dpsTS1", "dpsTS2", "dps"],
    )
    def test_block_facts(self, rows, expected):
        fs = MemoryFileSystem()
        for part in (in_memory(rows_of(rows)), on_disk(fs, rows_of(rows))):
            found = fetch(fs, part.blocks(Scan(*EVER, [])))
            figures = (found.rows, found.min_times, found.max_times)
            assert list(zip(*(array.tolist() for array in figures), strict=True)) == expected


class TestBlockSplit:
    """part.go's figures; a block there could have one row too many (defect 38)."""

    @pytest.mark.parametrize(
        ("rows", "expected"),
        [(8191, [8191]), (8192, [8192]), (8193, [8192, 1]), (8194, [8192, 2]), (20_000, [8192, 8192, 3616])],
    )
    def test_no_block_has_more_than_8192_rows(self, rows, expected):
        fs = MemoryFileSystem()
        made = make_rows([1] * rows, range(rows))
        assert counts(fs, in_memory(made)) == expected
        assert counts(fs, on_disk(fs, made, [])) == expected

    def test_a_new_series_is_a_new_block(self):
        fs = MemoryFileSystem()
        made = make_rows([1] * 8000 + [2] * 8000, [*range(8000), *range(8000)], hasher=BY_NUMBER)
        assert counts(fs, in_memory(made)) == [8000, 8000]
        assert counts(fs, on_disk(fs, made, [])) == [8000, 8000]

    def test_forty_rows_of_100_kib(self, store_fs):
        tags = pa.array([number.to_bytes(2, "big") * (50 << 10) for number in range(40)], pa.binary())
        made = make_rows([1] * 40, range(40), {"tag": tags})
        assert np.diff(lay_out(made, MAX_BLOCK_ROWS).starts).tolist() == [21, 19]
        for part in (in_memory(made), on_disk(store_fs, made, [Column("tag", ColumnType.BINARY, "family")])):
            assert counts(store_fs, part) == [21, 19]
            assert read(store_fs, part).columns["tag"].to_pylist() == tags.to_pylist()

    def test_duplicates_in_one_batch(self):
        """Defect 22: there, both rows of one time came back, or any of them."""
        fs = MemoryFileSystem()
        made = make_rows([1, 1, 1], [5, 5, 5], {"n": pa.array([1, 2, 3])}, [7, 8, 8])
        for part in (in_memory(made), on_disk(fs, made, [Column("n", ColumnType.INT64)])):
            assert read(fs, part).columns["n"].to_pylist() == [3]


class TestFindRange:
    """Test_findRange, and the off-centre windows of defect 3: there 930 of 1,830 were wrong."""

    @pytest.mark.parametrize("block_rows", [MAX_BLOCK_ROWS, 7])
    @pytest.mark.parametrize(
        "times", [SIXTY, [1, 2, 100, 200, 300], [1]], ids=lambda times: f"{times[0]}..{times[-1]}"
    )
    def test_every_window(self, store_fs, times, block_rows):
        asked = list(windows(times))
        made = make_rows([1] * len(times), times, {"n": pa.array(times)})
        scans = [Scan(first, last + 1, ["n"]) for first, last in asked]
        parts = [on_disk(store_fs, made, [Column("n", ColumnType.INT64)], block_rows)]
        if isinstance(store_fs, MemoryFileSystem):
            parts.append(in_memory(made, block_rows))  # the same whatever the store
        for part in parts:
            read(store_fs, part)  # so that all that follow take one step, together
            found = fetch(store_fs, together(*(part.read(scan) for scan in scans)))
            for (first, last), rows in zip(asked, found, strict=True):
                expected = [time for time in times if first <= time <= last]
                assert rows.times.tolist() == rows.columns["n"].to_pylist() == expected, (first, last)

    def test_all_windows_over_sixty_times_are_among_them(self):
        asked = set(windows(SIXTY))
        assert sum((first, last) in asked for first in SIXTY for last in SIXTY if first <= last) == 1830

    @pytest.mark.parametrize(
        ("times", "window", "expected"),
        [
            ([], (1, 10), (0, 0)),
            ([1], (1, 1), (0, 1)),
            ([1, 2, 3, 4, 5], (6, 10), (0, 0)),
            ([1, 2, 3, 4, 5], (2, 4), (1, 4)),
            ([1, 2, 3, 4, 5], (1, 5), (0, 5)),
            ([1, 2, 100, 200, 300], (2, 2), (1, 2)),
            ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], (9, 9), (8, 9)),
        ],
    )
    def test_cases(self, times, window, expected):
        fs = MemoryFileSystem()
        made = make_rows([1] * len(times), times)
        part = on_disk(fs, made, [])
        found = read(fs, part, start=window[0], end=window[1] + 1)
        assert found.times.tolist() == times[slice(*expected)]


class TestBlocks:
    """block_test: the conventional block, rows 1 and 2 of dps."""

    @kinds
    def test_marshal_and_unmarshal_block(self, store_fs, compact_bytes):
        """Test_block_mustInitFromDataPoints, Test_marshalAndUnmarshalBlock."""
        rows = rows_of(DPS[:2])
        for part in (in_memory(rows), on_disk(store_fs, rows, compact_bytes=compact_bytes)):
            assert dicts_of(read(store_fs, part)) == [full(row) for row in DPS[:2]]

    def test_marshal_and_unmarshal_tag_families(self, store_fs):
        """Test_marshalAndUnmarshalTagFamily: one family at a time."""
        part = on_disk(store_fs, rows_of(DPS[:2]))
        for family in ("arrTag", "binaryTag", "singleTag", None):
            names = [column.name for column in COLUMNS if column.family == family]
            assert list(read(store_fs, part, names).columns) == names
            found = dicts_of(read(store_fs, part, names))
            assert found == [full({n: row.get(n) for n in ("id", "time", *names)}) for row in DPS[:2]]

    def test_times_of_every_block(self, store_fs):
        """Defect 4: there, every block after the first had the first one's times."""
        steps = {1: [0, 60, 120], 2: [0, 30, 60], 3: [8, 10, 11]}
        made = make_rows(
            [series for series in steps for _ in range(3)],
            [time for times in steps.values() for time in times],
            hasher=BY_NUMBER,
        )
        for block_rows in (MAX_BLOCK_ROWS, 3, 1):
            part = on_disk(store_fs, made, [], block_rows)
            assert listed(read(store_fs, part)) == [
                ((series,), time, 0) for series, times in steps.items() for time in times
            ]
            store_fs.must_rm_all(part.path)

    def test_write_and_read_timestamps(self):
        """Test_mustWriteAndReadTimestamps."""
        for times in (
            [1, 2, 3, 4, 5],
            np.random.default_rng(1).integers(-(2**63), 2**63 - 1, 20_000).tolist(),
        ):
            fs = MemoryFileSystem()
            part = on_disk(fs, make_rows([1] * len(times), times), [])
            assert read(fs, part).times.tolist() == sorted(set(times))


class TestColumns:
    """column_test, and the null numbers of defect 25."""

    @pytest.mark.parametrize(
        ("kind", "values"),
        [
            (ColumnType.STRING, ["value1", None, "value2", None]),
            (ColumnType.STRING, ["", None, "", None]),
            (ColumnType.INT64, [1, None, -(2**63), None]),
            (ColumnType.FLOAT64, [1.5, None, -0.25, None]),
            (ColumnType.BINARY, [b"value1", None, b"", None]),
            (ColumnType.STRING_LIST, [["a|b", "c\\d"], None, [], None]),
            (ColumnType.INT64_LIST, [[25, 30], None, [], None]),
        ],
    )
    def test_write_and_read_values(self, kind, values):
        """TestColumn_mustWriteTo_mustReadValues: nulls and empty values come back as what they were."""
        fs = MemoryFileSystem()
        made = make_rows([1] * 4, range(4), {"c": pa.array(values, kind.arrow)})
        for family in (None, "family"):
            part = on_disk(fs, made, [Column("c", kind, family)])
            assert read(fs, part).columns["c"].to_pylist() == values
            fs.must_rm_all(part.path)

    def test_metadata(self):
        """Test_columnMetadata, Test_columnFamilyMetadata, Test_blockMetadata: they come back as they were."""
        fs = MemoryFileSystem()
        columns = [Column("tag1", ColumnType.STRING, "one"), Column("field1", ColumnType.INT64)]
        for chosen in (columns, columns[:1], columns[1:], []):
            made = make_rows(
                [1, 2], [1, 2], {column.name: pa.nulls(2, column.type.arrow) for column in chosen}
            )
            metadata = store(fs, made, chosen, compact_bytes=WIDE)
            assert read_metadata(fs, metadata.name) == metadata
            assert [stored.column for stored in metadata.columns] == chosen
            fs.must_rm_all(metadata.name)

    def test_primary_metadata(self):
        """Test_dataBlock, Test_timestampsMetadata, primaryBlockMetadata: the list of pages."""
        for entries in (
            [],
            [(1,) * 13],
            [(2**64 - 1, 2**64 - 1, -(2**63), 2**63 - 1, *range(9))] * 2,
        ):
            meta = Meta.from_entries(entries)
            again = Meta.decode(meta.encode(), "meta.bin")
            for name in Meta.__struct_fields__:
                assert getattr(again, name).tolist() == getattr(meta, name).tolist()

    def test_an_index_of_any_size_is_read_whole(self):
        """Defects 5 and 26: there, an index over 512 bytes could not be read, and names got mixed up."""
        fs = MemoryFileSystem()
        count = 6000
        columns = [
            Column("short", ColumnType.INT64, "f"),
            Column("a longer name", ColumnType.INT64, "another family"),
        ]
        values = {"short": pa.array(range(count)), "a longer name": pa.array(range(count, 2 * count))}
        made = make_rows(list(range(count)), [0] * count, values, hasher=BY_NUMBER)
        part = on_disk(fs, made, columns, 4)
        assert part.metadata.sections["meta.bin"].size > 512
        found = read(fs, part)
        assert found.columns["short"].to_pylist() == list(range(count))
        assert found.columns["a longer name"].to_pylist() == list(range(count, 2 * count))


class TestEncoding:
    """pkg/encoding: the values come back; how they are encoded is each one's own."""

    @pytest.mark.parametrize(
        "values",
        [
            [0, 2, 1, 3, 4],
            [0, 1, 4, 6, 9],
            [0] * 5,
            [0, 1, 2, 3, 4],
            [0, 1, -1, 63, -63, 64, -64, 1234567890, -1234567890, 2**63 - 1, -(2**63)],
            [2**63 - 1],
            [-(2**63)] * 3,
        ],
        ids=["delta", "delta of delta", "const", "delta const", "varints", "one", "constant extreme"],
    )
    def test_int64_lists(self, values):
        array = pa.array(values, pa.int64())
        for encoding in (numbers.default_encoding(4), numbers.choose(np.array(values), 4)):
            data = codec.encode(array, encoding).data
            assert codec.decode(data, len(values), ColumnType.INT64, None, "f").to_pylist() == values

    def test_constant_lists_take_no_room(self):
        data = codec.encode(pa.array([7] * MAX_BLOCK_ROWS), numbers.default_encoding(4)).data
        assert len(data) <= 10

    def test_bytes(self):
        values = [b"Hello, ", b"world!", b"Testing bytes"]
        data = codec.encode(pa.array(values), numbers.default_encoding(4)).data
        assert codec.decode(data, 3, ColumnType.BINARY, None, "f").to_pylist() == values

    @pytest.mark.parametrize(
        "value", ["plainText", "text|with|delimiter", "text\\with\\escape", "text|with\\both"]
    )
    def test_entity_values(self, value):
        """pb/v1: values come back whatever delimiters they hold, and others' keys are not theirs."""
        rows = [(value, "x"), (f"{value}|x", ""), ("", f"{value}|x"), (f"{value}\\", "x"), (value, "|x")]
        batch = pa.record_batch([pa.array(column) for column in zip(*rows, strict=True)], names=["a", "b"])
        series, codes = encode_series(batch)
        found = series.entities.to_pylist()
        assert [tuple(found[code].values()) for code in codes] == rows
        assert len(set(entity_keys(batch))) == len(rows)
