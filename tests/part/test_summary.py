"""Summaries of blocks: what they say is what the rows say, wherever the blocks come from and go to."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec.types import ColumnType
from measurefs.fs import CorruptionError, FileSystem, join
from measurefs.part import writer as part_writer
from measurefs.part.fetch import fetch
from measurefs.part.file_part import FilePart
from measurefs.part.index import Meta
from measurefs.part.merge import Merge, in_batches
from measurefs.part.metadata import SUMMARY, Column
from measurefs.part.rows import Rows, sort_rows
from measurefs.part.summarise import summarise, summarise_chunks
from measurefs.part.summary import NULL, RAW, NumberSummary, Summary, ValueSummary, join_columns
from measurefs.part.verify import verify_part
from measurefs.part.writer import Encodings, PartOptions, PartWriter
from tests.part.made import ALL_TYPES, COMPACT, WIDE, many_rows, read, store, values

LEAST, MOST = -(2**63), 2**63 - 1
floats = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 0.1, 1e300, -1e300, 1e9 + 0.25]),
    st.integers(-500, 500).map(lambda n: n / 100),
)
integers = st.one_of(st.integers(-9, 9), st.sampled_from([LEAST, MOST, 2**62, -(2**62)]))
texts = st.sampled_from(["", "a", "b", "longer than the others"])
KINDS = {
    ColumnType.FLOAT64: floats,
    ColumnType.INT64: integers,
    ColumnType.BOOL: st.booleans(),
    ColumnType.STRING: texts,
    ColumnType.BINARY: texts.map(str.encode),
    ColumnType.STRING_LIST: st.lists(st.none() | texts, max_size=2),
}


def blocks_of(kind: ColumnType) -> st.SearchStrategy[list[list[Any]]]:
    """Blocks of one column: some without nulls, some of nothing else."""
    block = st.one_of(
        st.lists(KINDS[kind], min_size=1, max_size=12),
        st.lists(st.none() | KINDS[kind], min_size=1, max_size=12),
        st.integers(1, 3).map(lambda count: [None] * count),
    )
    return st.lists(block, min_size=1, max_size=8)


def starts_of(blocks: Sequence[Sequence[Any]]) -> np.ndarray:
    return np.cumsum([0, *map(len, blocks)])


def check_numbers(found: NumberSummary, blocks: Sequence[Sequence[Any]]) -> None:
    """Compare with what plain Python says of the values."""
    for place, block in enumerate(blocks):
        there = [(row, value) for row, value in enumerate(block) if value is not None]
        assert found.nulls[place] == len(block) - len(there)
        if not there:
            assert (found.first_row[place], found.last_row[place]) == (NULL, NULL)
            assert (found.sum[place], found.m2[place]) == (0, 0)
            continue
        assert (found.first_row[place], found.last_row[place]) == (there[0][0], there[-1][0])
        given_values = [value for _, value in there]
        assert same(found.first[place], given_values[0])
        assert same(found.last[place], given_values[-1])
        numbers = [value for value in given_values if not math.isnan(value)] or [math.nan]
        assert same(found.low[place], min(numbers))
        assert same(found.high[place], max(numbers))
        check_sums(found, place, given_values)


def check_sums(found: NumberSummary, place: int, block: Sequence[Any]) -> None:
    if found.sum.dtype == np.int64:
        exact = sum(block)
        assert found.overflow[place] == (not LEAST <= exact <= MOST)
        assert found.overflow[place] or found.sum[place] == exact
    elif not all(map(math.isfinite, block)):
        with np.errstate(invalid="ignore"):
            assert same(found.sum[place], float(np.sum(np.array(block))))
        assert math.isnan(found.m2[place])
        return
    else:
        assert found.sum[place] == pytest.approx(
            math.fsum(block), rel=1e-12, abs=1e-12 * max(map(abs, block))
        )
    if max(map(abs, block)) < 1e150:
        mean = statistics.fmean(block)
        squares = math.fsum((value - mean) ** 2 for value in block)
        tiny = len(block) * (1e-12 * max(map(abs, block))) ** 2
        assert found.m2[place] == pytest.approx(squares, rel=1e-9, abs=tiny)


def same(one: Any, other: Any) -> bool:
    return bool(one == other or (math.isnan(one) and math.isnan(other)))


def check_values(
    found: ValueSummary, blocks: Sequence[Sequence[Any]], dictionary: Sequence[Any] | None
) -> None:
    for place, block in enumerate(blocks):
        there = [value for value in block if value is not None]
        assert found.nulls[place] == len(block) - len(there)
        codes = [RAW if dictionary is None else dictionary.index(value) for value in there] or [NULL]
        assert (found.low[place], found.high[place]) == (min(codes), max(codes))
        raw = found.last_raw[place].as_py()
        if block[-1] is None:
            assert (found.last[place], raw) == (NULL, None)
        else:
            assert found.last[place] == codes[-1]
            assert raw == (block[-1] if dictionary is None else None)


def check(found: Any, kind: ColumnType, blocks: Sequence[Sequence[Any]], dictionary: Any = None) -> None:
    if kind.is_number:
        check_numbers(found, blocks)
    else:
        check_values(found, blocks, dictionary)


def decoded(column: Any, kind: ColumnType, lengths: np.ndarray) -> Any:
    """Encode a column, and read it again."""
    summary = Summary(lengths, lengths, {"it": column})
    again = Summary.decode(summary.encode(), {"it": kind}, "here")
    assert again.rows.tolist() == again.last_versions.tolist() == lengths.tolist()
    return again.columns["it"]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_summary_says_what_the_rows_say(kind: ColumnType, data: st.DataObject) -> None:
    """Computed at once or in pieces, from an array or a dictionary, and after it has been stored."""
    blocks = data.draw(blocks_of(kind))
    column = pa.array([value for block in blocks for value in block], kind.arrow)
    starts = starts_of(blocks)
    dictionary = None
    if kind in {ColumnType.STRING, ColumnType.BINARY} and data.draw(st.booleans()):
        column = column.dictionary_encode()
        dictionary = column.dictionary.to_pylist()
    whole = summarise(column, starts)
    check(whole, kind, blocks, dictionary)
    check(decoded(whole, kind, np.diff(starts)), kind, blocks, dictionary)
    cut = data.draw(st.integers(0, len(blocks)))
    halves = [whole.those(slice(0, cut)), whole.those(slice(cut, len(blocks)))]
    check(join_columns(halves), kind, blocks, dictionary)
    pieces = [column[start:stop] for start, stop in itertools.pairwise(starts)]
    check(summarise_chunks(pieces, starts), kind, blocks, dictionary)


@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("mean", [0.0, 50.0, 1e9])
def test_deviations_are_exact_though_the_mean_is_large(mean: float, spread: float) -> None:
    rng = np.random.default_rng(3)
    blocks = [rng.normal(mean, spread, 500) for _ in range(4)]
    found = summarise(np.concatenate(blocks), starts_of(blocks))
    assert isinstance(found, NumberSummary)
    for m2, block in zip(found.m2, blocks, strict=True):
        assert m2 == pytest.approx(statistics.variance(block.tolist()) * 499, rel=1e-9)


def test_deviations_beyond_the_squares_of_floats() -> None:
    found = summarise(np.array([1e200, 1e200, 1e200 * (1 + 1e-9), 3.0, 5.0]), np.array([0, 3, 5]))
    assert isinstance(found, NumberSummary)
    assert math.isnan(found.m2[0])
    assert found.m2[1] == 2.0


# In a part.


def summary_of(fs: FileSystem, part: FilePart, number: int = 0) -> Summary | None:
    return fetch(fs, part.load_summary(fetch(fs, part.load_meta()), number))


def summaries_of(fs: FileSystem, part: FilePart) -> list[Summary | None]:
    return [summary_of(fs, part, number) for number in range(len(fetch(fs, part.load_meta()).first_id))]


def check_part(fs: FileSystem, part: FilePart, *, first: int = 0) -> int:
    """Compare the summaries of a part with its rows; return how many pages have one."""
    fetch(fs, part.load_dictionaries(range(len(part.kinds))))
    rows, summaries = read(fs, part), summaries_of(fs, part)
    meta = fetch(fs, part.load_meta())
    done = 0
    for number, summary in enumerate(summaries):
        page = fetch(fs, part.load_page(meta, number))
        count = int(page.block_rows.sum())
        if summary is not None:
            assert summary.rows.tolist() == page.block_rows.tolist()
            check_page(part, summary, rows.slice(done, done + count))
        done += count
    assert done == len(rows)
    assert verify_part(fs, "", part.metadata).damages == []
    return sum(summary is not None for summary in summaries)


def check_page(part: FilePart, summary: Summary, rows: Rows) -> None:
    starts = np.append(0, np.cumsum(summary.rows))
    lasts = starts[1:] - 1
    assert summary.last_versions.tolist() == rows.versions[lasts].tolist()
    for stored in part.metadata.columns:
        name, kind = stored.column.name, stored.column.type
        column = rows.columns[name]
        dictionary = part.dictionaries.get(name)
        last = summary.last_row(name, kind, dictionary)
        assert values(last) == values(column.take(pa.array(lasts))), name
        blocks = [column[start:stop].to_pylist() for start, stop in itertools.pairwise(starts)]
        if kind.is_number:
            check_numbers(summary.numbers(name), blocks)
        elif dictionary is None:
            check_values(summary.values(name), blocks, None)
        else:
            check_coded(summary.values(name), blocks, dictionary.to_pylist())


def check_coded(found: ValueSummary, blocks: Sequence[Sequence[Any]], dictionary: list[Any]) -> None:
    """Of a column with a dictionary, which some blocks may not use."""
    for place, block in enumerate(blocks):
        coded = found.low[place] != RAW
        check_values(found.those(slice(place, place + 1)), [block], dictionary if coded else None)


@pytest.mark.parametrize("compact_bytes", [COMPACT, WIDE], ids=["compact", "wide"])
@pytest.mark.parametrize("nulls", [False, True])
def test_every_type_in_a_part(compact_bytes: int, nulls: bool) -> None:
    fs = MemoryFileSystem()
    rows = many_rows(3000, series=10, nulls=nulls)
    part = FilePart("", store(fs, rows, ALL_TYPES, block_rows=100, compact_bytes=compact_bytes))
    assert check_part(fs, part) == 1
    assert SUMMARY in part.metadata.sections


def test_all_pages_of_a_part() -> None:
    fs = MemoryFileSystem()
    rows = many_rows(14_000, series=140)
    part = FilePart("", store(fs, rows, ALL_TYPES, block_rows=100))
    assert check_part(fs, part) == len(summaries_of(fs, part)) == 3


def test_short_blocks_have_none_and_cost_nothing() -> None:
    """The list of pages says nothing of summaries either: it is as it was before there were any."""
    fs = MemoryFileSystem()
    part = FilePart("", store(fs, many_rows(3000, series=300), ALL_TYPES))
    assert summaries_of(fs, part) == [None]
    assert SUMMARY not in part.metadata.sections
    meta = fetch(fs, part.load_meta())
    again = Meta.decode(meta.encode(), "here")
    assert again.summary_size.tolist() == [0]
    assert b"summary" not in meta.encode()


def test_what_is_loaded_is_kept() -> None:
    fs = MemoryFileSystem()
    part = FilePart("", store(fs, many_rows(1000), ALL_TYPES))
    assert summary_of(fs, part) is summary_of(fs, part) is not None


def merged(
    fs: FileSystem, parts: Sequence[FilePart], columns: Sequence[Column], number: int
) -> tuple[FilePart, int]:
    """Merge parts as the merger does; return the part and how many primary blocks were copied."""
    options = PartOptions(block_rows=100, compact_bytes=WIDE, summary_rows=64)
    writer = PartWriter(fs, "", number, parts[0].metadata.entity, columns, options, Encodings(4))
    for part in parts:
        fetch(fs, part.load_dictionaries(range(len(part.kinds))))
    writer.begin_with(parts[0].dictionaries)
    types = {column.name: column.type.arrow for column in columns}
    copied = 0
    merge = Merge(fs, types, 1 << 20, copied=lambda part: writer.takes_over(part.columns, part.dictionaries))
    for each in in_batches(merge.run(parts), types, 10_000):
        if isinstance(each, Rows):
            writer.append(each)
        else:
            copied += len(each.counts)
            writer.append_encoded(each)
    return FilePart("", writer.finish()), copied


def later(rows: Rows, by: int) -> Rows:
    return msgspec.structs.replace(rows, times=rows.times + by, versions=rows.versions + by)


class TestMerging:
    def test_what_is_copied_keeps_its_summary(self) -> None:
        fs = MemoryFileSystem()
        rows = sort_rows(many_rows(6000, series=20))
        parts = [
            FilePart("", store(fs, each, ALL_TYPES, number=number, block_rows=100))
            for number, each in enumerate((rows.slice(0, 3000), rows.slice(3000, 6000)), start=1)
        ]
        part, copied = merged(fs, parts, ALL_TYPES, 9)
        assert copied == sum(each.metadata.primary_blocks for each in parts[:1])
        assert check_part(fs, part) == 1

    def test_copied_and_decoded_blocks_side_by_side(self) -> None:
        """The second part reaches into the first, and has strings of its own."""
        fs = MemoryFileSystem()
        rows = many_rows(6000, series=4, seed=1)
        few = later(sort_rows(many_rows(400, series=4, seed=2)), 4005)
        few = msgspec.structs.replace(
            few, columns={**few.columns, "host": pa.array(["new", "newer"] * 200).dictionary_encode()}
        )
        parts = [
            FilePart("", store(fs, rows, ALL_TYPES, number=1, block_rows=100)),
            FilePart("", store(fs, few, ALL_TYPES, number=2, block_rows=100)),
        ]
        part, copied = merged(fs, parts, ALL_TYPES, 9)
        assert 10 < copied < part.metadata.primary_blocks - 4
        assert {"new", "newer"} < set(read(fs, part).columns["host"].to_pylist())
        assert check_part(fs, part) == len(summaries_of(fs, part))

    def test_a_copy_of_a_copy(self) -> None:
        fs = MemoryFileSystem()
        part = FilePart("", store(fs, many_rows(3000, series=10), ALL_TYPES, number=1, block_rows=100))
        once, _ = merged(fs, [part], ALL_TYPES, 2)
        twice, copied = merged(fs, [once], ALL_TYPES, 3)
        assert copied == twice.metadata.primary_blocks
        assert check_part(fs, twice) == 1
        assert fs.read(join(twice.path, SUMMARY)) == fs.read(join(once.path, SUMMARY))

    def test_what_has_none_has_none_when_it_is_copied(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As parts of before there were any."""
        fs = MemoryFileSystem()
        rows = many_rows(3000, series=10)
        with monkeypatch.context() as before:
            before.setattr(part_writer, "is_worthwhile", lambda rows, blocks, least: False)
            old = FilePart("", store(fs, rows, ALL_TYPES, number=1, block_rows=100))
        assert summaries_of(fs, old) == [None]
        part, copied = merged(fs, [old], ALL_TYPES, 2)
        assert copied == part.metadata.primary_blocks
        assert check_part(fs, part) == 0


# Damaged ones.

NUMBERS = [column for column in ALL_TYPES if column.name in {"n", "x", "host", "raw"}]


@pytest.fixture(scope="module")
def numbers() -> Rows:
    rows = sort_rows(many_rows(1000, series=5))
    return msgspec.structs.replace(
        rows, columns={column.name: rows.columns[column.name] for column in NUMBERS}
    )


def test_every_flip_is_found_where_it_is_read_and_by_checking(numbers: Rows) -> None:
    fs = MemoryFileSystem()
    known = store(fs, numbers, NUMBERS, block_rows=100, compact_bytes=WIDE)
    path = join(known.name, SUMMARY)
    whole = fs.read(path)
    for offset in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << offset % 8
        fs.write(path, bytes(damaged))
        with pytest.raises(CorruptionError, match=path):
            summary_of(fs, FilePart("", known))
    found = verify_part(fs, "", known)
    assert found.verdict == "damaged"
    assert {damage.path for damage in found.damages} == {path}


LIES = {
    "nulls": ("n", lambda array: array + 1),
    "sum": ("x", lambda array: array * (1 + 1e-6) + 1e-3),
    "exact sum": ("n", lambda array: array + 1),
    "m2": ("n", lambda array: array * (1 + 1e-6)),
    "low": ("n", lambda array: array - 1),
    "high": ("n", lambda array: array + 1),
    "first": ("n", lambda array: array + 1),
    "last": ("n", lambda array: array + 1),
    "last_row": ("n", lambda array: array - 1),
    "overflow": ("n", np.logical_not),
    "code": ("host", lambda array: (array + 1) % 4),
}


@pytest.mark.parametrize("what", LIES)
def test_a_summary_that_does_not_agree_with_the_rows_is_found(
    monkeypatch: pytest.MonkeyPatch, numbers: Rows, what: str
) -> None:
    """Though its checksums are right."""
    name, lie = LIES[what]
    field = {"exact sum": "sum", "code": "last"}.get(what, what)
    truth = Summary.encode

    def lying(self: Summary) -> bytes:
        column = self.columns[name]
        changed = msgspec.structs.replace(column, **{field: lie(getattr(column, field))})
        return truth(Summary(self.rows, self.last_versions, {**self.columns, name: changed}))

    monkeypatch.setattr(Summary, "encode", lying)
    fs = MemoryFileSystem()
    known = store(fs, numbers, NUMBERS, block_rows=100, compact_bytes=WIDE)
    found = verify_part(fs, "", known)
    assert found.verdict == "damaged"
    (damage,) = found.damages
    assert damage.path == join(known.name, SUMMARY)
    assert "summary" in damage.reason or f"{field!r} of {name}" in damage.reason


@pytest.mark.parametrize("which", ["rows", "last_versions"])
def test_a_summary_of_other_blocks_is_found(
    monkeypatch: pytest.MonkeyPatch, numbers: Rows, which: str
) -> None:
    truth = Summary.encode

    def lying(self: Summary) -> bytes:
        arrays = {"rows": self.rows, "last_versions": self.last_versions}
        return truth(Summary(**{**arrays, which: arrays[which] + 1}, columns=self.columns))

    monkeypatch.setattr(Summary, "encode", lying)
    fs = MemoryFileSystem()
    known = store(fs, numbers, NUMBERS, block_rows=100, compact_bytes=WIDE)
    (damage,) = verify_part(fs, "", known).damages
    assert damage.path == join(known.name, SUMMARY)


def test_a_code_outside_the_dictionary_is_corruption() -> None:
    column = summarise(pa.array(["a", "b"]).dictionary_encode(), np.array([0, 2]))
    summary = Summary(np.array([2]), np.array([1]), {"it": column}, "some/path")
    assert summary.last_row("it", ColumnType.STRING, pa.array(["a", "b"])).to_pylist() == ["b"]
    for dictionary in (pa.array(["a"]), None):
        with pytest.raises(CorruptionError, match="some/path"):
            summary.last_row("it", ColumnType.STRING, dictionary)
