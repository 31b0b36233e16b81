"""Parts in files give back what was written, as a part in memory does: whole, and for any scan."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec import columns as codec
from measurefs.codec.types import ColumnType
from measurefs.fs import FileSystem
from measurefs.part.fetch import fetch, together
from measurefs.part.file_part import FilePart, read_metadata
from measurefs.part.memory_part import MemoryPart
from measurefs.part.metadata import Column
from measurefs.part.part import Part, Scan
from measurefs.part.rows import Rows, sort_rows
from measurefs.part.series import xxh3
from measurefs.part.writer import Encodings, PartOptions, PartWriter
from measurefs.table import Runtime
from tests.part.made import (
    ALL_TYPES,
    COMPACT,
    EVER,
    WIDE,
    entity_types,
    keyed,
    listed,
    make_rows,
    many_rows,
    only,
    read,
    store,
)

NAMES = [column.name for column in ALL_TYPES]
kinds = pytest.mark.parametrize("compact_bytes", [COMPACT, WIDE], ids=["compact", "wide"])


def blocks_of(fs: FileSystem, part: Part, **scan: Any) -> list[tuple[Any, ...]]:
    """A part's blocks: entity, rows, first and last time."""
    start, end = scan.pop("start", EVER[0]), scan.pop("end", EVER[1])
    blocks = fetch(fs, part.blocks(Scan(start, end, [], **scan)))
    entities = [row[0] for row in zip(*(c.to_pylist() for c in blocks.series.entities.columns), strict=True)]
    others = (array.tolist() for array in (blocks.rows, blocks.min_times, blocks.max_times))
    return list(zip([entities[code] for code in blocks.codes.tolist()], *others, strict=True))


def memory_part(rows: Rows, block_rows: int = 4096) -> MemoryPart:
    return MemoryPart(1, sort_rows(rows), block_rows)


@kinds
@pytest.mark.parametrize("block_rows", [1, 7, 4096])
@pytest.mark.parametrize("nulls", [True, False], ids=["nulls", "no nulls"])
def test_every_type_comes_back(compact_bytes, block_rows, nulls):
    fs, rows = MemoryFileSystem(), many_rows(500, nulls=nulls)
    metadata = store(fs, rows, ALL_TYPES, block_rows=block_rows, compact_bytes=compact_bytes)
    part = FilePart("", metadata)
    assert listed(read(fs, part)) == listed(sort_rows(rows))
    assert blocks_of(fs, part) == blocks_of(fs, memory_part(rows, block_rows))
    with pytest.raises(StopIteration):
        next(memory_part(rows).read(Scan(*EVER, NAMES)))


@kinds
def test_parts_come_back_from_every_store(store_fs, compact_bytes):
    store_fs.make_dir("table")
    rows = many_rows(200)
    written = store(store_fs, rows, ALL_TYPES, root="table", block_rows=16, compact_bytes=compact_bytes)
    metadata = read_metadata(store_fs, f"table/{written.name}")
    assert metadata == written
    assert metadata.compact == (compact_bytes == COMPACT)
    part = FilePart("table", metadata)
    assert listed(read(store_fs, part)) == listed(sort_rows(rows))
    some = read(store_fs, part, ["x", "labels"], start=30, end=250, series=only(2, 4))
    assert listed(some) == listed(
        read(store_fs, memory_part(rows), ["x", "labels"], start=30, end=250, series=only(2, 4))
    )


class Pages:
    """Parts of many pages, and the same rows in memory: primary blocks of four rows, so a page ends after 256."""

    def __init__(self) -> None:
        self.fs = MemoryFileSystem()
        rows = many_rows(1500, series=37)
        self.held = memory_part(rows, 4)
        self.parts = [
            FilePart("", store(self.fs, rows, ALL_TYPES, number=number, block_rows=4, compact_bytes=limit))
            for number, limit in enumerate([COMPACT, WIDE], start=1)
        ]


@pytest.fixture(scope="module")
def pages() -> Pages:
    return Pages()


TIMES = st.integers(-20, 420) | st.sampled_from(EVER)


@settings(deadline=None, max_examples=80)
@given(
    which=st.integers(0, 1),
    start=TIMES,
    end=TIMES,
    columns=st.lists(st.sampled_from([*NAMES, "unknown"]), unique=True, max_size=3),
    series=st.none() | st.lists(st.integers(-1, 38), unique=True, max_size=6),
    ids_known=st.booleans(),
)
def test_any_scan_finds_what_memory_finds(pages, which, start, end, columns, series, ids_known):
    part = pages.parts[which]
    wanted = None if series is None else only(*series, hasher=xxh3 if ids_known else None)
    scan = {"start": start, "end": end, "series": wanted}
    found = read(pages.fs, part, columns, **scan)
    assert listed(found) == listed(read(pages.fs, pages.held, columns, **scan))
    assert sorted(found.columns) == sorted(set(columns) & set(NAMES))
    assert blocks_of(pages.fs, part, **scan) == blocks_of(pages.fs, pages.held, **scan)
    fresh = FilePart("", part.metadata)
    assert listed(read(pages.fs, fresh, columns, **scan)) == listed(found)


def test_the_pages_are_many(pages):
    assert all(part.metadata.primary_blocks >= 375 for part in pages.parts)


def test_scans_read_in_step_do_not_disturb_each_other(pages):
    parts = [FilePart("", part.metadata) for part in pages.parts]
    scans = [Scan(start, start + 25, ["n"], None) for start in range(0, 400, 20)]
    readings = [part.read(scan) for scan in scans for part in parts]
    found = fetch(pages.fs, together(*readings))
    wanted = [read(pages.fs, pages.held, ["n"], start=scan.start, end=scan.end) for scan in scans]
    assert [listed(rows) for rows in found] == [listed(rows) for rows in wanted for _ in parts]


def test_threads_decode_the_same(pages):
    for part in pages.parts:
        scan = Scan(*EVER, [column.name for column in part.columns])
        again = FilePart("", part.metadata)
        assert listed(fetch(pages.fs, again.read(scan, Runtime.threaded().run))) == listed(pages.held.held)


@kinds
@pytest.mark.parametrize("hasher", [lambda key: 3, lambda key: key[0]], ids=["constant", "first byte"])
def test_a_weak_hash_merges_no_series(compact_bytes, hasher):
    fs = MemoryFileSystem()
    ids = [number * 256 + number % 3 for number in range(300)]
    rows = make_rows(ids, [0] * 300, {"n": pa.array(range(300))}, hasher=hasher)
    metadata = store(fs, rows, [Column("n", ColumnType.INT64)], block_rows=2, compact_bytes=compact_bytes)
    part = FilePart("", metadata)
    assert keyed(read(fs, part)) == keyed(rows)
    for wanted in (ids[0], ids[150], ids[299]):
        for series in (only(wanted), only(wanted, hasher=hasher)):
            assert listed(read(fs, part, series=series)) == [((wanted,), 0, 0, ids.index(wanted))]


@kinds
def test_entities_of_several_columns(compact_bytes):
    fs = MemoryFileSystem()
    entities = {
        "name": pa.array(["a", "a|", "", "ü\0", "a"]),
        "number": pa.array([2**63 - 1, -(2**63), 0, -1, 1]),
        "key": pa.array([b"", b"|", b"", b"\xff\x00", b""]),
    }
    rows = make_rows(entities, [1, 2, 3, 4, 5], {"n": pa.array(range(5))})
    metadata = store(fs, rows, [Column("n", ColumnType.INT64)], compact_bytes=compact_bytes)
    assert keyed(read(fs, FilePart("", metadata))) == keyed(rows)


@kinds
def test_no_rows_are_a_part_too(compact_bytes):
    fs = MemoryFileSystem()
    rows = make_rows([], [], {column.name: pa.nulls(0, column.type.arrow) for column in ALL_TYPES})
    metadata = store(fs, rows, ALL_TYPES, compact_bytes=compact_bytes)
    part = FilePart("", read_metadata(fs, metadata.name))
    assert (part.rows, metadata.blocks, metadata.series) == (0, 0, 0)
    found = read(fs, part)
    assert len(found) == 0
    assert {name: column.type for name, column in found.columns.items()} == metadata.arrow_types()
    assert not part.overlaps(*EVER)


def test_times_and_versions_at_the_ends_of_int64():
    fs = MemoryFileSystem()
    ends = [-(2**63), -(2**63) + 1, 0, 2**63 - 2]
    rows = make_rows([1] * 4, ends, versions=[2**63 - 1, -(2**63), 0, 1])
    part = FilePart("", store(fs, rows, [], block_rows=2))
    assert listed(read(fs, part)) == listed(rows)
    assert read(fs, part, start=0, end=1).times.tolist() == [0]


@kinds
def test_rows_may_be_appended_in_pieces(compact_bytes):
    """As a merge does: dictionaries and choices of one piece must not spoil the next."""
    fs, rows = MemoryFileSystem(), sort_rows(many_rows(900))
    options = PartOptions(block_rows=16, compact_bytes=compact_bytes)
    writer = PartWriter(fs, "", 5, entity_types(rows), ALL_TYPES, options, Encodings(4))
    for start in range(0, 900, 250):
        writer.append(rows.slice(start, min(start + 250, 900)))
    part = FilePart("", writer.finish())
    assert listed(read(fs, part)) == listed(rows)


def test_a_column_whose_values_change_character_between_pieces():
    """Repeating strings get a dictionary, distinct ones none, in one column of one part."""
    fs, options = MemoryFileSystem(), PartOptions(block_rows=8)
    texts = ["a", "b"] * 10 + [f"unique {n}" for n in range(20)] + [None] * 20 + ["b", "c"] * 10
    rows = make_rows([1] * 80, range(80), {"s": pa.array(texts)})
    writer = PartWriter(
        fs, "", 5, entity_types(rows), [Column("s", ColumnType.STRING)], options, Encodings(4)
    )
    for start in range(0, 80, 20):
        writer.append(rows.slice(start, start + 20))
    found = read(fs, FilePart("", writer.finish()))
    assert found.columns["s"].to_pylist() == texts


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(["", "a", "b", None]) | st.text("xyzü", max_size=3), min_size=1, max_size=40))
def test_dictionary_columns_come_back_however_they_come(texts):
    fs = MemoryFileSystem()
    for column in (pa.array(texts, pa.string()), pa.array(texts, pa.string()).dictionary_encode()):
        rows = make_rows([1] * len(texts), range(len(texts)), {"s": column})
        metadata = store(fs, rows, [Column("s", ColumnType.STRING, "f")], block_rows=5)
        assert read(fs, FilePart("", metadata)).columns["s"].to_pylist() == texts


def test_a_long_run_of_rows_is_read_by_its_edges():
    """Blocks of a thousand rows, windows that begin and end inside of them."""
    fs = MemoryFileSystem()
    times = np.cumsum(np.random.default_rng(5).integers(1, 1000, 10_000))
    rows = make_rows([1] * 10_000, times.tolist(), {"n": pa.array(range(10_000))})
    part = FilePart("", store(fs, rows, [Column("n", ColumnType.INT64)], block_rows=1000))
    for start, end in [(0, 1), (999, 1001), (5, 5), (4321, 8765), (9999, 10_000)]:
        window = {"start": int(times[start]), "end": int(times[min(end, 9999)])}
        assert read(fs, part, **window).columns["n"].to_pylist() == list(range(start, min(end, 9999)))


def test_encodings_are_chosen_by_what_is_all_over_a_column() -> None:
    """The series that comes first may be unlike all others."""
    walk = np.cumsum(np.random.default_rng(1).integers(-10, 11, 92_000)) / 100
    column = pa.array(np.concatenate([np.zeros(8_000), walk]))
    encoding = Encodings(4).of("v", column)
    data = codec.encode(column[50_000:58_000], encoding).data
    assert len(data) < 8_000


def test_what_is_remembered_of_dictionaries_is_little() -> None:
    encodings, before = Encodings(4), pa.total_allocated_bytes()
    for number in range(10):
        texts = pa.array([f"{number}-{each}".ljust(100, "x") for each in range(10_000)])
        encodings.dictionary(f"tag {number}", texts)
    del texts
    assert pa.total_allocated_bytes() - before < 1 << 20
