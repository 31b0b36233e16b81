"""A part in files: its index is read when first needed, its chunks when rows are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from measurefs.codec import columns as codec
from measurefs.codec.checksum import verify, verify32
from measurefs.codec.columns import Chunk
from measurefs.codec.sealed import unseal
from measurefs.codec.types import ColumnType
from measurefs.fs.errors import CorruptionError
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.paths import join
from measurefs.part.chunks import decode_chunks, fetch_chunks
from measurefs.part.encoded import EncodedBlocks
from measurefs.part.fetch import Fetch, Range, together
from measurefs.part.index import TIME, VERSION, Meta, Page, decode_page
from measurefs.part.metadata import (
    COMPACT_SUFFIX,
    META,
    METADATA,
    PRIMARY,
    SERIES,
    TIMESTAMPS,
    Column,
    Header,
    PartMetadata,
    StoredColumn,
    check_format,
)
from measurefs.part.part import Blocks, Part, Scan
from measurefs.part.rows import Rows
from measurefs.part.sections import MAGIC, TRAILER
from measurefs.part.selection import Selection, select, wanted_pages
from measurefs.part.series import SeriesTable
from measurefs.part.writer import Mapper, column_sections


class FilePart(Part):
    """A part that a `PartWriter` wrote.

    Parameters
    ----------
    root : str
        The table's directory.
    metadata : PartMetadata
        From the snapshot, or from `read_metadata`.
    run : callable
        ``map``, or an executor's, to decode chunks in parallel.

    Attributes
    ----------
    path : str
    kinds, section_of : list
        The type and the section of each column of its chunk tables: time, version, then its own.
    """

    def __init__(self, root: str, metadata: PartMetadata, run: Mapper[Any, Any] = map) -> None:
        self.metadata = metadata
        self.id = metadata.id
        self.rows = metadata.rows
        self.min_time = metadata.min_time
        self.max_time = metadata.max_time
        self.path = join(root, metadata.name)
        self._run = run
        columns = self.columns
        self._position = {column.name: place for place, column in enumerate(columns, start=VERSION + 1)}
        self.kinds = [ColumnType.INT64, ColumnType.INT64, *(column.type for column in columns)]
        self.section_of = [TIMESTAMPS, TIMESTAMPS, *(column.section for column in columns)]
        self._section_numbers = column_sections(columns)
        self._meta: Meta | None = None
        self._pages: dict[int, Page] = {}
        self._dictionaries: dict[int, pa.Array] = {}

    def locate(self, section: str, offset: int, size: int) -> Range:
        """Return where a run of bytes of a section lies in the part's files."""
        piece = self.metadata.sections.get(section)
        offset, size = int(offset), int(size)  # those of arrays overflow
        if piece is None or min(offset, size) < 0 or offset + size > piece.size:
            raise CorruptionError(self.path, f"its index points outside the section {section}")
        path = self.path if self.metadata.compact else join(self.path, section)
        return path, piece.offset + offset, size

    def column_name(self, column: int) -> str:
        """Return the name of a column of its chunk tables."""
        known = ("time", "version")
        return known[column] if column <= VERSION else self.metadata.columns[column - VERSION - 1].column.name

    @property
    def columns(self) -> list[Column]:
        """Its tags and fields."""
        return [stored.column for stored in self.metadata.columns]

    @property
    def dictionaries(self) -> dict[str, pa.Array]:
        """The dictionaries that are loaded, by the name of their column."""
        return {self.column_name(column): values for column, values in self._dictionaries.items()}

    def dictionary(self, column: int) -> pa.Array | None:
        """Return the dictionary of a column, None if it has none or it is not loaded."""
        return self._dictionaries.get(column)

    def blocks(self, scan: Scan) -> Fetch[Blocks]:
        """Find the wanted blocks; reads the index where it is not known yet."""
        selection = yield from self._select(scan)
        return self._no_blocks() if selection is None else selection.wanted_blocks()

    def read(self, scan: Scan) -> Fetch[Rows]:
        """Read the wanted rows: the index where it is not known yet, then all chunks at once."""
        columns = {name: self._position[name] for name in scan.columns if name in self._position}
        wanted = [TIME, VERSION, *columns.values()]
        selection, _ = yield from together(self._select(scan), self.load_dictionaries(wanted))
        if selection is None or not selection.wanted.any():
            return self._no_rows(list(columns))
        rows = yield from self._decode(selection, columns, self._run)
        keep = selection.row_mask(rows.times, scan)
        return rows if keep is None else rows.take(np.flatnonzero(keep))

    def read_window(
        self, window: Selection, names: Sequence[str], run: Mapper[Any, Any] = map
    ) -> Fetch[Rows]:
        """Read all rows of a selection, those of the columns that it has.

        Parameters
        ----------
        window : Selection
            Of a page of this part; see `windows`.
        names : sequence of str
            Tags and fields.
        run : callable
            ``map``, or an executor's, to decode chunks in parallel.
        """
        columns = {name: self._position[name] for name in names if name in self._position}
        yield from self.load_dictionaries(list(columns.values()))
        rows = yield from self._decode(window, columns, run)
        return rows

    def read_encoded(self, window: Selection) -> Fetch[EncodedBlocks]:
        """Read all chunks of a selection, checked but not decoded; `window` as for `read_window`."""
        wanted = range(len(self.kinds))
        found = yield from fetch_chunks(window.chunks, wanted, self.section_of, self.locate)
        table = window.chunks
        nulls, low, high = table.nulls.tolist(), table.low.tolist(), table.high.tolist()
        chunks = [
            [
                Chunk(found[column].verified(row), nulls[row][column], low[row][column], high[row][column])
                for column in wanted
            ]
            for row in range(len(table.rows))
        ]
        uncompressed = self.metadata.uncompressed_bytes * int(table.rows.sum()) // self.rows
        return EncodedBlocks(
            window.blocks, np.diff(window.block_starts()), chunks, table.checks, uncompressed
        )

    def _decode(self, selection: Selection, columns: Mapping[str, int], run: Mapper[Any, Any]) -> Fetch[Rows]:
        """Read all rows of the primary blocks of a selection."""
        wanted = [TIME, VERSION, *columns.values()]
        chunks = yield from fetch_chunks(selection.chunks, wanted, self.section_of, self.locate)
        kinds = {column: self.kinds[column] for column in wanted}
        decoded = decode_chunks(chunks, kinds, self._dictionaries, run)
        blocks = selection.blocks
        return Rows(
            series=blocks.series,
            codes=np.repeat(blocks.codes, blocks.rows),
            times=codec.values_of(decoded[TIME]),
            versions=codec.values_of(decoded[VERSION]),
            columns={name: decoded[column] for name, column in columns.items()},
        )

    def _select(self, scan: Scan) -> Fetch[Selection | None]:
        meta = yield from self.load_meta()
        pages = yield from self._load_pages(meta, wanted_pages(meta, scan))
        return select(pages, scan) if pages else None

    def load_meta(self) -> Fetch[Meta]:
        """Load the list of pages, unless it is."""
        if self._meta is None:
            piece = self.metadata.sections[META]
            wanted = self.locate(META, 0, piece.size)
            (data,) = yield [wanted]
            verify(data, piece.checksum, wanted[0], wanted[1], "the list of its pages")
            self._meta = Meta.decode(data, wanted[0])
        return self._meta

    def _load_pages(self, meta: Meta, numbers: Sequence[int]) -> Fetch[list[Page]]:
        missing = [number for number in numbers if number not in self._pages]
        ranges = [one for number in missing for one in self._page_ranges(meta, number)]
        data = (yield ranges) if ranges else []
        for place, number in enumerate(missing):
            pair = slice(2 * place, 2 * place + 2)
            self._pages[number] = self._decode_page(meta, number, ranges[pair], data[pair])
        return [self._pages[number] for number in numbers]

    def load_page(self, meta: Meta, number: int) -> Fetch[Page]:
        """Load one page of the index, and do not keep it."""
        ranges = self._page_ranges(meta, number)
        data = yield ranges
        return self._decode_page(meta, number, ranges, data)

    def _page_ranges(self, meta: Meta, number: int) -> list[Range]:
        return [
            self.locate(PRIMARY, meta.primary_offset[number], meta.primary_size[number]),
            self.locate(SERIES, meta.series_offset[number], meta.series_size[number]),
        ]

    def _decode_page(self, meta: Meta, number: int, ranges: list[Range], data: list[bytes]) -> Page:
        checks = (meta.primary_check, meta.series_check)
        whats = ("a page of its index", "a page of its series")
        for (path, offset, _), piece, check, what in zip(ranges, data, checks, whats, strict=True):
            verify32(piece, int(check[number]), path, offset, what)
        page, entities = data
        return decode_page(page, entities, self.metadata.entity, self._section_numbers, ranges[0][0])

    def load_dictionaries(self, wanted: Sequence[int]) -> Fetch[None]:
        """Load the dictionaries of columns, unless they are."""
        missing: list[tuple[int, StoredColumn]] = []
        for column in (each for each in wanted if each > VERSION):
            stored = self.metadata.columns[column - VERSION - 1]
            if stored.dictionary is not None and column not in self._dictionaries:
                missing.append((column, stored))
        ranges = [self._locate_dictionary(stored) for _, stored in missing]
        data = (yield ranges) if ranges else []
        for (column, stored), (path, offset, _), piece in zip(missing, ranges, data, strict=True):
            assert stored.dictionary is not None
            verify(piece, stored.dictionary.checksum, path, offset, f"the dictionary of {stored.column.name}")
            self._dictionaries[column] = codec.decode_dictionary(piece, stored.column.type, path)

    def _locate_dictionary(self, stored: StoredColumn) -> Range:
        assert stored.dictionary is not None
        return self.locate(stored.column.directory, stored.dictionary.offset, stored.dictionary.size)

    def _no_blocks(self) -> Blocks:
        none = np.empty(0, np.int64)
        return Blocks(self._no_series(), none.astype(np.int32), none, none, none)

    def _no_rows(self, names: Sequence[str]) -> Rows:
        types = self.metadata.arrow_types()
        none = np.empty(0, np.int64)
        columns = {name: pa.nulls(0, types[name]) for name in names}
        return Rows(self._no_series(), none.astype(np.int32), none, none, columns)

    def _no_series(self) -> SeriesTable:
        arrays = [pa.array([], kind.arrow) for kind in self.metadata.entity.values()]
        return SeriesTable(np.empty(0, np.uint64), pa.record_batch(arrays, names=list(self.metadata.entity)))


def read_metadata(fs: FileSystem, path: str) -> PartMetadata:
    """Read what a part says of itself, from its directory or, for a compact part, its file.

    Raises
    ------
    CorruptionError
        It is not a part, or its metadata are damaged.
    UnsupportedStoreError
        A newer release wrote it.
    """
    compact = path.endswith(COMPACT_SUFFIX)
    if not compact:
        path = join(path, METADATA)
    data = _read_trailer(fs, path) if compact else fs.read(path)
    check_format(unseal(data, Header, path).format, path)
    return unseal(data, PartMetadata, path)


def _read_trailer(fs: FileSystem, path: str) -> bytes:
    with fs.open_file(path) as file:
        size = file.size()
        trailer = file.read(max(size - TRAILER.size, 0), TRAILER.size)
        if len(trailer) < TRAILER.size or trailer[-len(MAGIC) :] != MAGIC:
            raise CorruptionError(
                path, "it does not end as a part does; it was cut short, or is something else"
            )
        length, _ = TRAILER.unpack(trailer)
        if length > size - TRAILER.size:
            raise CorruptionError(path, "its trailer names more metadata than it holds", size - TRAILER.size)
        return file.read(size - TRAILER.size - length, length)
