"""What a part says of itself agrees with its files, whatever the names of families and columns are."""

from __future__ import annotations

import pyarrow as pa
import pytest

from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec.checksum import checksum
from measurefs.codec.types import ColumnType
from measurefs.fs import NotExistError, join
from measurefs.part.blocks import lay_out
from measurefs.part.file_part import FilePart, read_metadata
from measurefs.part.metadata import Column
from measurefs.part.rows import sort_rows
from tests.part.made import ALL_TYPES, COMPACT, WIDE, listed, make_rows, many_rows, read, store

kinds = pytest.mark.parametrize("compact_bytes", [COMPACT, WIDE], ids=["compact", "wide"])
FAMILIES = [
    "a/b",
    "a\\b",
    "..",
    ".",
    ".hidden",
    "ü",
    "CON",
    "a b",
    "100%",
    "a%2Fb",
    "x\0y",
    "~",
    "fields",
    "é" * 20,
]


@kinds
def test_counts_and_sizes(compact_bytes):
    fs, rows = MemoryFileSystem(), many_rows(300, series=7)
    known = store(fs, rows, ALL_TYPES, number=0xABC, block_rows=16, compact_bytes=compact_bytes)
    layout = lay_out(sort_rows(rows), 16)
    assert known.name == "0000000000000abc" + (".part" if compact_bytes else "")
    assert (known.rows, known.series) == (300, 7)
    assert known.blocks == len(layout.starts) - 1
    assert known.primary_blocks == len(layout.firsts) - 1
    assert (known.min_time, known.max_time) == (0, 420)
    assert known.uncompressed_bytes == layout.uncompressed
    assert known.compressed_bytes == sum(piece.size for piece in known.sections.values())
    assert known.entity == {"id": ColumnType.INT64}
    assert [stored.column for stored in known.columns] == ALL_TYPES
    assert read_metadata(fs, known.name) == known


@kinds
def test_checksums_and_places_of_sections(compact_bytes):
    fs = MemoryFileSystem()
    known = store(fs, many_rows(300), ALL_TYPES, compact_bytes=compact_bytes)
    for name, piece in known.sections.items():
        whole = fs.read(known.name if known.compact else join(known.name, name))
        assert checksum(whole[piece.offset : piece.offset + piece.size]) == piece.checksum
        assert known.compact or len(whole) == piece.size
    names = {"meta.bin", "primary.bin", "timestamps.bin", "fields.bin", "series.bin", "where.tf", "where.tfm"}
    assert names <= set(known.sections)


def test_a_wide_part_is_a_directory_of_its_sections(store_fs):
    store_fs.make_dir("t")
    known = store(store_fs, many_rows(50), ALL_TYPES, root="t", compact_bytes=WIDE)
    entries = store_fs.read_dir(f"t/{known.name}")
    assert {entry.name for entry in entries} == {*known.sections, "metadata.json"}
    assert not any(entry.is_dir for entry in entries)


def test_a_compact_part_is_one_file(store_fs):
    store_fs.make_dir("t")
    known = store(store_fs, many_rows(50), ALL_TYPES, root="t", compact_bytes=COMPACT)
    assert [entry.name for entry in store_fs.read_dir("t")] == [known.name]


@pytest.mark.parametrize("over", [0, 1])
def test_the_limit_of_compact_parts(over):
    fs, rows = MemoryFileSystem(), many_rows(100)
    size = store(fs, rows, ALL_TYPES).compressed_bytes
    assert store(fs, rows, ALL_TYPES, number=2, compact_bytes=size - over).compact is not bool(over)


@kinds
def test_families_and_columns_of_any_name(store_fs, compact_bytes):
    columns = [Column(f"{family} tag", ColumnType.STRING, family) for family in FAMILIES]
    columns += [Column(name, ColumnType.INT64) for name in ("", "/", "..", "ü\n", "series", "\0")]
    rows = make_rows(
        [1, 2, 1],
        [1, 2, 3],
        {
            column.name: pa.array([column.name, None, "z"] if column.family else [number, None, -number])
            for number, column in enumerate(columns)
        },
    )
    store_fs.make_dir("t")
    known = store(store_fs, rows, columns, root="t", compact_bytes=compact_bytes)
    assert read_metadata(store_fs, f"t/{known.name}") == known
    assert listed(read(store_fs, FilePart("t", known))) == listed(sort_rows(rows))
    assert [entry.name for entry in store_fs.read_dir("")] == ["t"]
    assert [entry.name for entry in store_fs.read_dir("t")] == [known.name]


@pytest.mark.parametrize("name", ["0000000000000001.part", "0000000000000001"])
def test_a_part_that_is_not_there(store_fs, name):
    with pytest.raises(NotExistError):
        read_metadata(store_fs, name)


@pytest.mark.parametrize(
    ("window", "overlaps"),
    [
        ((0, 10), False),
        ((0, 11), True),
        ((20, 21), True),
        ((21, 30), False),
        ((15, 15), True),
        ((12, 13), True),
    ],
)
def test_which_windows_a_part_overlaps(window, overlaps):
    fs = MemoryFileSystem()
    known = store(fs, make_rows([1, 1], [10, 20]), [])
    assert FilePart("", known).overlaps(*window) == overlaps
