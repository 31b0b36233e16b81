"""What reading a part costs in requests and bytes."""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pytest

from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec.types import ColumnType
from measurefs.fs import CorruptionError, CountingFileSystem
from measurefs.part import writer
from measurefs.part.fetch import fetch, together
from measurefs.part.file_part import FilePart
from measurefs.part.held import Cache
from measurefs.part.metadata import Column
from measurefs.part.part import Scan
from measurefs.part.series import xxh3
from tests.part.made import ALL_TYPES, COMPACT, EVER, WIDE, listed, make_rows, many_rows, only, read, store

kinds = pytest.mark.parametrize("compact_bytes", [COMPACT, WIDE], ids=["compact", "wide"])


@pytest.fixture
def counted():
    return CountingFileSystem(MemoryFileSystem())


@kinds
@pytest.mark.parametrize("block_rows", [4, 4096])
def test_a_cold_read_takes_two_round_trips_and_a_warm_one_none(counted, compact_bytes, block_rows):
    metadata = store(counted, many_rows(1000), ALL_TYPES, block_rows=block_rows, compact_bytes=compact_bytes)
    counted.reset()
    part = FilePart("", metadata)
    assert len(read(counted, part)) == 1000
    assert counted.calls["read_ranges"] == 2
    assert counted.calls.total() == counted.calls["read_ranges"]
    counted.reset()
    assert len(read(counted, part)) == 1000
    assert counted.calls.total() == 0


@kinds
def test_a_long_list_of_pages_is_read_when_it_is_needed(counted, compact_bytes, monkeypatch):
    monkeypatch.setattr(writer, "_SHORT_PAGES", 10)
    metadata = store(counted, many_rows(1000), ALL_TYPES, compact_bytes=compact_bytes)
    assert metadata.pages == b""
    counted.reset()
    assert len(read(counted, FilePart("", metadata))) == 1000
    assert counted.calls["read_ranges"] == 3


def test_a_list_of_pages_that_is_not_the_parts_is_corruption(counted):
    first, second = (store(counted, many_rows(1000, seed=seed), ALL_TYPES, number=seed) for seed in (1, 2))
    with pytest.raises(CorruptionError, match=first.name):
        read(counted, FilePart("", msgspec.structs.replace(first, pages=second.pages)))


@kinds
def test_what_does_not_fit_the_cache_is_read_again(counted, compact_bytes):
    metadata = store(counted, many_rows(1000), ALL_TYPES, compact_bytes=compact_bytes)
    part = FilePart("", metadata, Cache(0))
    first = read(counted, part)
    counted.reset()
    assert listed(read(counted, part)) == listed(first)
    assert counted.calls["read_ranges"] == 2  # pages and chunks; the list of pages stays


@kinds
def test_what_lies_outside_is_not_read_at_all(counted, compact_bytes):
    part = FilePart("", store(counted, many_rows(600), ALL_TYPES, block_rows=4, compact_bytes=compact_bytes))
    read(counted, part)
    counted.reset()
    assert len(read(counted, part, start=10**9)) == 0
    assert len(read(counted, part, series=only(999))) == 0
    assert len(read(counted, part, series=only(999, hasher=xxh3))) == 0
    assert counted.calls.total() == 0


@kinds
def test_blocks_are_found_without_reading_rows(counted, compact_bytes):
    part = FilePart("", store(counted, many_rows(600), ALL_TYPES, block_rows=4, compact_bytes=compact_bytes))
    counted.reset()
    fetch(counted, part.blocks(Scan(*EVER, [])))
    assert dict(counted.calls) == {"read_ranges": 1}  # the list of pages stands in the metadata
    fetch(counted, part.blocks(Scan(*EVER, [])))
    assert dict(counted.calls) == {"read_ranges": 1}


def test_many_parts_are_read_in_as_many_round_trips_as_one(counted):
    parts = [
        FilePart("", store(counted, many_rows(100, seed=number), ALL_TYPES, number=number))
        for number in range(1, 9)
    ]
    counted.reset()
    found = fetch(counted, together(*(part.read(Scan(*EVER, ["n", "host"])) for part in parts)))
    assert [len(rows) for rows in found] == [100] * 8
    assert counted.calls["read_ranges"] <= 3


@kinds
def test_a_point_query_reads_little_of_a_large_part(counted, compact_bytes):
    count = 60_000
    noise = [number * 2_654_435_761 % 2**61 for number in range(count)]
    columns = {name: pa.array(noise) for name in ("a", "b")}
    rows = make_rows([number // 1000 for number in range(count)], range(count), columns)
    metadata = store(
        counted,
        rows,
        [Column(name, ColumnType.INT64) for name in columns],
        block_rows=1000,
        compact_bytes=compact_bytes,
    )
    part = FilePart("", metadata)
    fetch(counted, part.blocks(Scan(*EVER, [])))
    counted.reset()
    found = read(counted, part, ["a"], start=30_100, end=30_110, series=only(30, hasher=xxh3))
    assert found.columns["a"].to_pylist() == noise[30_100:30_110]
    assert dict(counted.calls) == {"read_ranges": 1}
    assert counted.bytes["read"] < metadata.compressed_bytes / 30


@kinds
def test_writing_a_part_takes_few_requests(counted, compact_bytes):
    store(counted, many_rows(100), ALL_TYPES, compact_bytes=compact_bytes)
    if compact_bytes == COMPACT:
        assert dict(counted.calls) == {"write": 1}
    else:
        assert dict(counted.calls) == {"make_dir": 1, "write_all": 1, "write": 1, "sync_path": 1}
