"""Merging parts in slices gives what merging them at once gives."""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec.types import ColumnType
from measurefs.fs import CorruptionError, walk
from measurefs.part.encoded import EncodedBlocks
from measurefs.part.fetch import fetch
from measurefs.part.file_part import FilePart
from measurefs.part.merge import Merge, in_batches
from measurefs.part.metadata import Column
from measurefs.part.part import Scan
from measurefs.part.rows import Rows, concat_rows, sort_rows
from measurefs.part.series import Hash, xxh3
from measurefs.part.verify import verify_part
from measurefs.part.writer import Encodings, PartOptions, PartWriter
from tests.part.made import (
    ALL_TYPES,
    COMPACT,
    WIDE,
    entity_types,
    listed,
    make_rows,
    many_rows,
    only,
    read,
    store,
)

VALUE = [Column("value", ColumnType.INT64)]
TYPES = {"value": pa.int64()}
SMALL, LARGE = 1, 64 << 20
"""Bytes for the windows: a primary block at a time, and everything at once."""

batches = st.lists(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 3)),
        min_size=1,
        max_size=40,
    ),
    min_size=1,
    max_size=8,
)


def weak(key: bytes) -> int:
    """A hash by which different series share an id."""
    return key[0] % 2


def batch(rows: list[tuple[int, int, int]], first: int = 0, hasher: Hash = xxh3) -> Rows:
    """Rows of (series, time, version), each with a value of its own."""
    ids, times, versions = zip(*rows, strict=True)
    values = pa.array(range(first, first + len(rows)), pa.int64())
    return make_rows(ids, times, {"value": values}, versions, hasher)


def parts_of(fs, batches_of_rows, *, block_rows=3, columns=VALUE):
    return [
        FilePart("", store(fs, rows, columns, number=number, block_rows=block_rows, compact_bytes=WIDE))
        for number, rows in enumerate(batches_of_rows, start=1)
    ]


def merge_all(fs, parts, types=TYPES, memory=SMALL, **how) -> list[tuple]:
    return [row for rows in Merge(fs, types, memory, **how).run(parts) for row in listed(rows)]


def written(fs, parts, columns, number=99, *, block_rows=3, hasher=xxh3, **how):
    """Merge parts into one, and return it with how many primary blocks went over as they were."""
    options = PartOptions(block_rows=block_rows, compact_bytes=WIDE, summary_rows=64)
    writer = PartWriter(fs, "", number, parts[0].metadata.entity, columns, options, Encodings(4))
    for part in parts:
        fetch(fs, part.load_dictionaries(range(len(part.kinds))))
    writer.begin_with(parts[0].dictionaries)
    types = {column.name: column.type.arrow for column in columns}
    copied = 0
    merge = Merge(fs, types, copied=lambda part: writer.takes_over(part.columns, part.dictionaries), **how)
    for each in in_batches(merge.run(parts), types, 5):
        if isinstance(each, EncodedBlocks):
            copied += len(each.counts)
            writer.append_encoded(each)
        else:
            writer.append(each)
    part = FilePart("", writer.finish())
    assert verify_part(fs, "", part.metadata, hasher=hasher).damages == []
    return part, copied


@given(batches, st.sampled_from([SMALL, 1000, LARGE]), st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_slices_together_are_the_rows_merged_at_once(given_rows, memory, block_rows):
    fs = MemoryFileSystem()
    arrived = [batch(rows, first=100 * place) for place, rows in enumerate(given_rows)]
    parts = parts_of(fs, arrived, block_rows=block_rows)
    expected = listed(sort_rows(concat_rows(arrived, TYPES)))
    assert merge_all(fs, parts, memory=memory) == expected


def test_every_type_with_nulls_and_columns_that_a_part_lacks():
    fs = MemoryFileSystem()
    whole, newer = many_rows(300, seed=1), many_rows(300, seed=2)
    fewer = msgspec.structs.replace(
        newer, columns={name: newer.columns[name] for name in ("n", "host", "labels")}
    )
    few = [column for column in ALL_TYPES if column.name in fewer.columns]
    types = {column.name: column.type.arrow for column in ALL_TYPES}
    parts = [
        FilePart("", store(fs, whole, ALL_TYPES, number=1, block_rows=7)),
        FilePart("", store(fs, fewer, few, number=2, block_rows=7)),
    ]
    assert merge_all(fs, parts, types) == listed(sort_rows(concat_rows([whole, fewer], types)))


def test_a_slice_is_no_larger_than_two_windows_of_each_part():
    fs = MemoryFileSystem()
    arrived = [
        batch([(series, 8 * time + number, 0) for series in range(20) for time in range(50)])
        for number in range(8)
    ]
    slices = list(Merge(fs, TYPES, SMALL).run(parts_of(fs, arrived, block_rows=10)))
    assert sum(map(len, slices)) == 8000
    assert max(map(len, slices)) <= 2 * 8 * 10


def test_rows_can_be_left_out():
    fs = MemoryFileSystem()
    parts = parts_of(fs, [batch([(series, time, 0) for series in range(4) for time in range(9)])])
    kept = merge_all(fs, parts, without=Scan(3, 6, [], only(1, 2)))
    assert kept == [row for row in merge_all(fs, parts) if not (row[0][0] in {1, 2} and 3 <= row[1] < 6)]


def test_batches_are_as_large_as_allowed():
    slices = [batch([(1, time, 0) for time in range(first, first + 4)]) for first in range(0, 40, 4)]
    joined = list(in_batches(iter(slices), TYPES, 10))
    assert [len(rows) for rows in joined] == [8] * 5
    assert [len(rows) for rows in in_batches(iter(slices), TYPES, 1)] == [4] * 10
    assert [row for rows in joined for row in listed(rows)] == [
        row for rows in slices for row in listed(rows)
    ]


class TestCopying:
    """Primary blocks that no other part reaches into go over as they are."""

    def test_parts_one_after_another(self):
        fs = MemoryFileSystem()
        arrived = [batch([(7, time, 0) for time in range(first, first + 30)]) for first in (0, 30, 60)]
        part, copied = written(fs, parts_of(fs, arrived), VALUE, memory=SMALL)
        assert copied == 30
        assert listed(read(fs, part)) == listed(sort_rows(concat_rows(arrived, TYPES)))

    def test_what_overlaps_is_decoded_and_only_that(self):
        fs = MemoryFileSystem()
        arrived = [
            batch([(7, time, 0) for time in range(60)]),
            batch([(7, time, 1) for time in range(30, 33)], first=1000),
        ]
        part, copied = written(fs, parts_of(fs, arrived), VALUE, memory=LARGE)
        assert copied == 19
        assert listed(read(fs, part)) == listed(sort_rows(concat_rows(arrived, TYPES)))

    def test_small_blocks_are_put_together(self):
        fs = MemoryFileSystem()
        arrived = [batch([(7, time, 0)]) for time in range(30)]
        part, copied = written(fs, parts_of(fs, arrived), VALUE, memory=LARGE, least_rows=2)
        assert copied == 0
        assert part.metadata.primary_blocks < 30

    def test_what_is_left_out_is_decoded_and_only_that(self):
        fs = MemoryFileSystem()
        arrived = [batch([(series, time, 0) for series in range(4) for time in range(9)])]
        without = Scan(3, 6, [], only(2))
        part, copied = written(fs, parts_of(fs, arrived), VALUE, memory=LARGE, without=without)
        assert copied == 11
        expected = [row for row in listed(sort_rows(arrived[0])) if not (row[0] == (2,) and 3 <= row[1] < 6)]
        assert listed(read(fs, part)) == expected

    def test_other_columns_or_dictionaries_are_not_taken_for_the_same(self):
        fs = MemoryFileSystem()
        host = [Column("host", ColumnType.STRING)]
        texts = [["a", "b", "a", "b"], ["a", "b", "a", "b"], ["b", "a", "b", "a"], ["c", "c", "c", "c"]]
        arrived = [
            make_rows([1] * 4, range(4 * place, 4 * place + 4), {"host": pa.array(text).dictionary_encode()})
            for place, text in enumerate(texts)
        ]
        parts = parts_of(fs, arrived, columns=host, block_rows=4)
        part, copied = written(fs, parts, host, memory=LARGE, block_rows=4)
        assert copied == 2
        assert read(fs, part).columns["host"].to_pylist() == [text for row in texts for text in row]
        more = [*host, Column("more", ColumnType.INT64)]
        part, copied = written(fs, parts, more, number=100, memory=LARGE, block_rows=4)
        assert copied == 0
        assert read(fs, part).columns["more"].null_count == 16

    @given(
        batches,
        st.sampled_from([SMALL, 1000, LARGE]),
        st.integers(1, 5),
        st.integers(1, 3),
        st.sampled_from([xxh3, weak]),
    )
    @settings(max_examples=80, deadline=None)
    def test_the_part_has_the_rows_merged_at_once(self, given_rows, memory, block_rows, least_rows, hasher):
        fs = MemoryFileSystem()
        arrived = [batch(rows, 100 * place, hasher) for place, rows in enumerate(given_rows)]
        parts = parts_of(fs, arrived, block_rows=block_rows)
        part, _ = written(
            fs, parts, VALUE, memory=memory, block_rows=block_rows, least_rows=least_rows, hasher=hasher
        )
        assert listed(read(fs, part)) == listed(sort_rows(concat_rows(arrived, TYPES)))


def test_damage_is_told_before_wrong_rows_are():
    fs = MemoryFileSystem()
    parts = parts_of(fs, [batch([(1, time, 0) for time in range(30)]), batch([(1, 99, 0)])])
    path = f"{parts[0].path}/fields.bin"
    data = bytearray(fs.read(path))
    data[-1] ^= 1
    fs.write(path, bytes(data))
    with pytest.raises(CorruptionError) as caught:
        merge_all(fs, parts)
    assert caught.value.path == path


def write_in_pieces(fs, root, rows, compact_bytes, spill_bytes):
    fs.make_dir(root)
    options = PartOptions(block_rows=5, compact_bytes=compact_bytes)
    writer = PartWriter(
        fs, root, 7, entity_types(rows), ALL_TYPES, options, Encodings(4), spill_bytes=spill_bytes
    )
    for start in range(0, len(rows), 50):
        writer.append(rows.slice(start, min(start + 50, len(rows))))
    return writer.finish()


@pytest.mark.parametrize("compact_bytes", [WIDE, 4000, COMPACT])
def test_a_part_written_bit_by_bit_is_the_part_written_at_once(compact_bytes):
    fs = MemoryFileSystem()
    rows = sort_rows(many_rows(400, seed=3))
    contents = []
    for root, spill in (("at-once", None), ("bit-by-bit", 100)):
        metadata = write_in_pieces(fs, root, rows, compact_bytes, spill)
        assert verify_part(fs, root, metadata).damages == []
        assert listed(read(fs, FilePart(root, metadata))) == listed(rows)
        contents.append({path.removeprefix(root): fs.read(path) for path in walk(fs, root)})
    at_once, bit_by_bit = contents
    for data in contents:  # it has the sections in the order in which they came to be
        data.pop("/0000000000000007/metadata.json", None)
    assert at_once == bit_by_bit


def test_a_dictionary_that_is_large_enough_grows_no_further(monkeypatch):
    monkeypatch.setattr("measurefs.part.writer._MOST_DICTIONARY_BYTES", 100)
    fs = MemoryFileSystem()
    host = [Column("host", ColumnType.STRING)]
    arrived = [
        make_rows([1] * 8, range(8 * place, 8 * place + 8), {"host": pa.array([f"part {place}", "b"] * 4)})
        for place in range(30)
    ]
    parts = parts_of(fs, arrived, columns=host, block_rows=8)
    part, _ = written(fs, parts, host, memory=LARGE, block_rows=8)
    found = read(fs, part)
    assert found.columns["host"].to_pylist() == [
        text for rows in arrived for text in rows.columns["host"].to_pylist()
    ]
    assert 100 < part.dictionaries["host"].nbytes < 300
