"""Writing one immutable part from rows in order."""

from __future__ import annotations

import dataclasses
import itertools
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from measurefs.codec import columns as codec
from measurefs.codec.checksum import checksum, checksum32
from measurefs.codec.columns import Chunk
from measurefs.codec.memory import array_of
from measurefs.codec.numbers import RAW, NumberEncoding, Numbers, choose, raw_encoding
from measurefs.codec.types import ColumnType
from measurefs.fs.filesystem import FileSystem
from measurefs.part.blocks import MAX_BLOCK_ROWS, Layout, lay_out
from measurefs.part.encoded import EncodedBlocks, join_encoded
from measurefs.part.index import PAGE_BLOCKS, VERSION, Meta, encode_entities, encode_page
from measurefs.part.metadata import (
    META,
    PRIMARY,
    SERIES,
    SUMMARY,
    TIMESTAMPS,
    Column,
    Commit,
    PartMetadata,
    Piece,
    StoredColumn,
)
from measurefs.part.part import Blocks
from measurefs.part.rows import Rows
from measurefs.part.runs import distinct
from measurefs.part.sections import Sections
from measurefs.part.summarise import is_worthwhile, summarise
from measurefs.part.summary import ColumnSummary, Summary, join_columns

A = TypeVar("A")

_MANY_ROWS, _LASTS_ROWS = 1 << 16, 1 << 21
_SCALED_ROWS = 1 << 11
"""Fewer floats are written as they are in less time than it takes to see that they are decimals."""
_SHORT_PAGES = 2048
_REPEATS = 2
_MOST_DICTIONARY_BYTES, _KEPT_DICTIONARY_BYTES = 8 << 20, 64 << 10
_BLOCKS_AT_ONCE = 16
"""Of one column: their values, and what is made of these, fit the processor's caches."""
_FEW_ROWS = 1 << 14


@dataclasses.dataclass(frozen=True, slots=True)
class PartOptions:
    """How parts are written.

    Attributes
    ----------
    block_rows : int
        Rows per block and per primary block at most, up to 8,192.
    compact_bytes : int
        Parts whose sections are no larger together become one file.
    level : int
        pcodec's compression level, 0 to 12.
    summary_rows : int
        Pages of the index whose blocks have at least so many rows on average have a summary of each block. It takes
        2 % of the bytes at 1,000 rows a block, 7 % at 256.
    slack : float
        A part that is flushed is encoded in the quickest way that takes at most so many times the bytes of the
        smallest, as a sample tells: merging makes it small, and so does compacting. 1.0 for the smallest at once.
    """

    block_rows: int = 8192
    compact_bytes: int = 8 << 20
    level: int = 4
    summary_rows: int = 256
    slack: float = 1.5

    def __post_init__(self) -> None:
        if not 1 <= self.block_rows <= MAX_BLOCK_ROWS:
            raise ValueError(f"block_rows must be from 1 to {MAX_BLOCK_ROWS}, not {self.block_rows}")


class Encodings:
    """Remembers how each column of a table is best encoded, since finding out costs more than encoding.

    Any number of threads may share it.

    Parameters
    ----------
    level : int
        pcodec's compression level.
    slack : float
        See `choose`.
    raw : bool
        Numbers are not compressed; many floats that are decimals are stored as such integers.
    """

    def __init__(self, level: int, slack: float = 1.0, *, raw: bool = False) -> None:
        self._level = level
        self._slack = slack
        self._raw = raw
        self._chosen: dict[tuple[str, pa.DataType], tuple[NumberEncoding, int]] = {}
        self._made: dict[str, tuple[tuple[object, ...], Any]] = {}
        self._directories: dict[str, tuple[pa.Array, bytes]] = {}

    @property
    def quick(self) -> bool:
        """Whether they are chosen for their speed, too."""
        return self._raw or self._slack > 1.0

    def of(self, name: str, column: pa.Array) -> NumberEncoding:
        """Return the encoding for a column; what was chosen from many rows is reconsidered only after many more."""
        if self._raw and (column.type != pa.float64() or len(column) < _SCALED_ROWS):
            return RAW
        key = name, column.type
        chosen, lasts = self._chosen.get(key, (None, 0))
        many = len(column) >= _MANY_ROWS
        if chosen is None or (lasts <= 0 and (many or self._raw)):
            chosen, lasts = self._choose(codec.numbers_of(column), many=many)
        self._chosen[key] = chosen, lasts - len(column)
        return chosen

    def _choose(self, values: Numbers, *, many: bool) -> tuple[NumberEncoding, int]:
        """Return the encoding for values like these, and for how many of them it is not reconsidered."""
        if self._raw:
            return raw_encoding(values), _MANY_ROWS
        return choose(values, self._level, self._slack), _LASTS_ROWS if many else 0

    def of_same(self, what: str, things: tuple[object, ...], make: Callable[[], A]) -> A:
        """Return what was made of the very same things the last time, or make it.

        Small batches often have the same series with the same tags each time, in the same memory (`Labels`).
        """
        last, made = self._made.get(what, ((), None))
        if len(last) != len(things) or any(map(operator.is_not, last, things)):
            made = make()
            self._made[what] = things, made
        found: A = made
        return found

    def dictionary(self, name: str, dictionary: pa.Array) -> bytes:
        """Return a column's dictionary as it is stored; that of small parts often is the same each time."""
        last, encoded = self._directories.get(name, (None, b""))
        if last is not dictionary and (last is None or not last.equals(dictionary)):
            encoded = codec.encode_dictionary(dictionary, self.of(f"{name} dictionary", dictionary))
            if dictionary.nbytes <= _KEPT_DICTIONARY_BYTES:
                self._directories[name] = (dictionary, encoded)
        return encoded


class _Encoded(NamedTuple):
    """One column of some primary blocks, and what is known of their blocks if that was asked for."""

    chunks: list[Chunk]
    summary: ColumnSummary | None = None


class PartWriter:
    """Encodes rows, appended in order of (series, time), into the sections of a part.

    Parameters
    ----------
    fs : FileSystem
    root : str
        The table's directory.
    part_id : int
        The part's number.
    entity : mapping
        The entity columns and their types.
    columns : sequence of Column
        The tags and fields.
    options : PartOptions
    encodings : Encodings
        Shared by the writers of one table.
    spill_bytes : int, optional
        Encoded bytes to keep in memory of a part that is not to be compact; default all.
    commit : Commit, optional
        For a part of the log, which is one file whatever its size.
    """

    def __init__(
        self,
        fs: FileSystem,
        root: str,
        part_id: int,
        entity: Mapping[str, ColumnType],
        columns: Sequence[Column],
        options: PartOptions,
        encodings: Encodings,
        spill_bytes: int | None = None,
        commit: Commit | None = None,
    ) -> None:
        self._id = part_id
        self._entity = dict(entity)
        self._columns = list(columns)
        self._options = options
        self._encodings = encodings
        self._numbers = {column.name for column in columns if column.type.is_number}
        self._tags = {column.name for column in columns if column.family is not None}
        self._section_of = _section_numbers(columns)
        self._commit = commit
        compact_bytes = options.compact_bytes if commit is None else sys.maxsize
        self._sections = Sections(fs, root, part_id, compact_bytes, spill_bytes)
        self._dictionaries: dict[str, pa.Array] = {}
        self._waiting: list[EncodedBlocks] = []
        self._pages: list[tuple[int, ...]] = []
        self._rows = self._blocks = self._primary_blocks = self._series = self._uncompressed = 0
        self._min_time, self._max_time = 2**63 - 1, -(2**63)

    def append(self, rows: Rows) -> None:
        """Encode rows; each (series, time) is greater than all before it."""
        if len(rows) == 0:
            return
        layout = self._lay_out(rows)
        summarised = is_worthwhile(len(rows), len(layout.starts) - 1, self._options.summary_rows)
        encoded = [
            self._encode(name, values, layout, summarised=summarised and place > VERSION)
            for place, (name, values) in enumerate(self._stored_columns(rows))
        ]
        chunks = list(zip(*(column.chunks for column in encoded), strict=True))
        checks = [[checksum32(chunk.data) for chunk in row] for row in chunks]
        first, last = layout.starts[:-1], layout.starts[1:] - 1
        lengths = np.diff(layout.starts)
        blocks = Blocks(rows.series, rows.codes[first], lengths, rows.times[first], rows.times[last])
        summary = None
        if summarised:
            summaries = [column.summary for column in encoded if column.summary is not None]
            names = [column.name for column in self._columns]
            summary = Summary(lengths, rows.versions[last], dict(zip(names, summaries, strict=True)))
        counts, checks_of = np.diff(layout.firsts), np.array(checks, np.int64)
        self.append_encoded(EncodedBlocks(blocks, counts, chunks, checks_of, layout.uncompressed, summary))

    def _lay_out(self, rows: Rows) -> Layout:
        def make() -> Layout:
            return lay_out(rows, self._options.block_rows, numbers=self._numbers)

        if len(rows) > _FEW_ROWS:
            return make()
        weighed = (column for name, column in rows.columns.items() if name not in self._numbers)
        return self._encodings.of_same("layout", (rows.codes, len(self._numbers), *weighed), make)

    def append_encoded(self, piece: EncodedBlocks) -> None:
        """Take primary blocks as they are, of a part that this one `takes_over`; in order like `append`."""
        self._waiting.append(piece)
        if sum(len(each.counts) for each in self._waiting) >= PAGE_BLOCKS:
            self._append_full_pages()
        self._count(piece)
        self._sections.relieve()

    def _append_full_pages(self) -> None:
        waiting = join_encoded(self._waiting)
        full = len(waiting.counts) // PAGE_BLOCKS * PAGE_BLOCKS
        for start in range(0, full, PAGE_BLOCKS):
            self._append_page(waiting.slice(start, start + PAGE_BLOCKS))
        rest = waiting.slice(full, len(waiting.counts))
        self._waiting = [rest] if len(rest.counts) else []

    def begin_with(self, dictionaries: Mapping[str, pa.Array]) -> None:
        """Let the dictionaries of columns begin with those of another part, before anything is appended.

        Its columns may be of narrower types than this part's.
        """
        types = {column.name: column.type.arrow for column in self._columns}
        self._dictionaries = {name: values.cast(types[name]) for name, values in dictionaries.items()}

    def takes_over(self, columns: Sequence[Column], dictionaries: Mapping[str, pa.Array]) -> bool:
        """Whether primary blocks of a part with such columns and dictionaries can be taken as they are."""
        return list(columns) == self._columns and all(
            name in self._dictionaries and self._dictionaries[name][: len(values)].equals(values)
            for name, values in dictionaries.items()
        )

    def _stored_columns(self, rows: Rows) -> Iterator[tuple[str, pa.Array]]:
        """Yield all columns of the chunk table, each made only when it is its turn."""
        yield "", array_of(rows.times)
        yield "version", array_of(rows.versions)
        for column in self._columns:
            yield column.name, self._as_stored(column, rows)

    def _encode(self, name: str, values: pa.Array, layout: Layout, *, summarised: bool) -> _Encoded:
        """Encode a column, and summarise its blocks if that is asked for."""

        def anew() -> _Encoded:
            return self._encode_anew(name, values, layout, summarised=summarised)

        if len(values) > _FEW_ROWS or name not in self._tags:
            return anew()
        return self._encodings.of_same(f"column {name}", (values, layout), anew)

    def _encode_anew(self, name: str, values: pa.Array, layout: Layout, *, summarised: bool) -> _Encoded:
        encoding = self._encodings.of(name, values)
        plain = codec.plain(values)
        coded = values.type.value_type if pa.types.is_dictionary(values.type) else None
        chunks: list[Chunk] = []
        summaries: list[ColumnSummary] = []
        for first in range(0, len(layout.bounds) - 1, _BLOCKS_AT_ONCE):
            window = layout.bounds[first : first + _BLOCKS_AT_ONCE + 1]
            here = plain[window[0] : window[-1]]
            if isinstance(here, np.ndarray):
                within = [bound - window[0] for bound in window]
                chunks += codec.encode_runs(here, within, encoding, codes=coded is not None)
            else:
                chunks += [
                    codec.encode(plain[start:stop], encoding) for start, stop in itertools.pairwise(window)
                ]
            if summarised:
                starts = layout.starts[layout.firsts[first] : layout.firsts[first + len(window) - 1] + 1]
                summaries.append(summarise(here, starts - window[0], coded))
        return _Encoded(chunks, join_columns(summaries) if summarised else None)

    def _count(self, piece: EncodedBlocks) -> None:
        blocks = piece.blocks
        self._rows += piece.rows
        self._blocks += len(blocks.rows)
        self._primary_blocks += len(piece.counts)
        self._uncompressed += piece.uncompressed
        self._min_time = min(self._min_time, int(blocks.min_times.min()))
        self._max_time = max(self._max_time, int(blocks.max_times.max()))

    def _as_stored(self, column: Column, rows: Rows) -> pa.Array:
        """Return a column as it is encoded: strings that repeat become codes into the part's dictionary."""
        values = rows.columns[column.name]
        if column.type not in {ColumnType.STRING, ColumnType.BINARY}:
            return values
        values = codec.coded(values, self._options.block_rows, _REPEATS)
        if not pa.types.is_dictionary(values.type):
            return values
        known = self._dictionaries.get(column.name)
        if known is None:
            self._dictionaries[column.name] = values.dictionary
            return values
        if known.nbytes > _MOST_DICTIONARY_BYTES:  # a merge of any size keeps within its memory
            return values.dictionary_decode()
        both = pa.concat_arrays([known, values.dictionary]).dictionary_encode()
        self._dictionaries[column.name] = both.dictionary
        codes = both.indices[len(known) :].take(values.indices)
        return pa.DictionaryArray.from_arrays(codes, both.dictionary)

    def _append_page(self, held: EncodedBlocks) -> None:
        codes = held.blocks.codes.astype(np.int64)
        used = distinct(codes)
        block_series = used.searchsorted(codes)
        every = held.blocks.series
        series = every if len(used) == len(every) else every.take(used)
        _, _, rows, min_times, max_times = held.blocks
        section_starts = np.array([self._sections.size(name) for name in self._section_of], np.int64)
        self._append_chunks(held.chunks)
        page = encode_page(
            series,
            {"series": block_series, "rows": rows, "min": min_times, "max": max_times},
            held.counts,
            held.chunks,
            held.checks.ravel(),
            section_starts,
        )
        entities = self._encodings.of_same("entities", (series,), lambda: encode_entities(series.entities))
        at_page = self._sections.append(PRIMARY, page)
        at_series = self._sections.append(SERIES, entities)
        self._series += len(series)
        self._pages.append(
            (
                *(int(series.ids[0]), int(series.ids[-1]), int(min_times.min()), int(max_times.max())),
                *(at_page, len(page), checksum32(page), at_series, len(entities), checksum32(entities)),
                *self._append_summary(held),
            )
        )

    def _append_summary(self, held: EncodedBlocks) -> tuple[int, int, int]:
        """Append what is known of a page's blocks, and return where it lies, its size and its checksum."""
        if held.summary is None or held.rows < self._options.summary_rows * len(held.summary):
            return 0, 0, 0
        summary = held.summary.encode()
        return self._sections.append(SUMMARY, summary), len(summary), checksum32(summary)

    def _append_chunks(self, chunks: Sequence[Sequence[Chunk]]) -> None:
        sections = [TIMESTAMPS, TIMESTAMPS, *(column.section for column in self._columns)]
        for row in chunks:
            for section, chunk in zip(sections, row, strict=True):
                self._sections.append(section, chunk.data)

    def finish(self) -> PartMetadata:
        """Write the part into the table.

        Its files are durable on return; their names after `sync_path` of the table's directory. After an error
        nothing names what was written; it is garbage.
        """
        if self._waiting:
            self._append_page(join_encoded(self._waiting))
        self._waiting = []
        stored = [StoredColumn(column, self._write_dictionary(column)) for column in self._columns]
        pages = Meta.from_entries(self._pages).encode()
        self._sections.append(META, pages)

        def describe(size: int, pieces: dict[str, Piece], compact: bool) -> PartMetadata:
            return PartMetadata(
                id=self._id,
                rows=self._rows,
                blocks=self._blocks,
                primary_blocks=self._primary_blocks,
                series=self._series,
                min_time=self._min_time,
                max_time=self._max_time,
                compressed_bytes=size,
                uncompressed_bytes=self._uncompressed,
                entity=self._entity,
                columns=stored,
                sections=pieces,
                compact=compact,
                pages=pages if len(pages) <= _SHORT_PAGES else b"",
                quick=self._encodings.quick and self._rows >= MAX_BLOCK_ROWS,
                commit=self._commit,
            )

        return self._sections.finish(describe)

    def discard(self) -> None:
        """Write no more of it; what is written already is garbage."""
        self._sections.discard()

    def _write_dictionary(self, column: Column) -> Piece | None:
        dictionary = self._dictionaries.get(column.name)
        if dictionary is None:
            return None
        data = self._encodings.dictionary(column.name, dictionary)
        return Piece(self._sections.append(column.directory, data), len(data), checksum(data))


def _section_numbers(columns: Sequence[Column]) -> dict[str, int]:
    """Return the number of each section that holds chunks, in order of their first column."""
    numbers: dict[str, int] = {}
    for name in (TIMESTAMPS, *(column.section for column in columns)):
        numbers.setdefault(name, len(numbers))
    return numbers


def column_sections(columns: Sequence[Column]) -> list[int]:
    """Return the section number of each column of a chunk table: time, version, then these."""
    numbers = _section_numbers(columns)
    return [0, 0, *(numbers[column.section] for column in columns)]


def write_part(
    fs: FileSystem,
    root: str,
    part_id: int,
    slices: Iterable[Rows],
    entity: Mapping[str, ColumnType],
    columns: Sequence[Column],
    options: PartOptions,
    encodings: Encodings,
    commit: Commit | None = None,
) -> PartMetadata:
    """Write sorted rows, some at a time, as one part; see `PartWriter`."""
    writer = PartWriter(fs, root, part_id, entity, columns, options, encodings, commit=commit)
    for rows in slices:
        writer.append(rows)
    return writer.finish()
