"""A part in files: its index is read when first needed, its chunks when rows are."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import columns as codec
from measurefs.codec.checksum import verify, verify32
from measurefs.codec.columns import Chunk
from measurefs.fs.errors import CorruptionError
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.paths import join
from measurefs.part.chunk_columns import chunk_columns
from measurefs.part.chunks import ColumnChunks, decode_chunks, fetch_chunks, fill
from measurefs.part.encoded import EncodedBlocks
from measurefs.part.excerpts import Excerpt, is_cut, is_worthwhile
from measurefs.part.fetch import Fetch, Range, together
from measurefs.part.held import Cache, Choice, HeldColumn, arranged, with_all
from measurefs.part.index import TIME, VERSION, Meta, Page, decode_page
from measurefs.part.metadata import (
    COMPACT_SUFFIX,
    LOG_SUFFIX,
    META,
    METADATA,
    PRIMARY,
    SERIES,
    SUMMARY,
    Column,
    PartMetadata,
    StoredColumn,
    unseal_document,
)
from measurefs.part.part import ChunkStatistics, Extent, Known, Loaded, Loading, Part, Scan, Within
from measurefs.part.rows import Rows
from measurefs.part.runs import distinct
from measurefs.part.sections import MAGIC, TRAILER
from measurefs.part.selection import Selection, blocks_of, chunk_table, wanted_pages
from measurefs.part.series import SeriesTable
from measurefs.part.summary import Summary
from measurefs.part.tasks import Mapper, Task, run_tasks

_OWN_CACHE_BYTES = 64 << 20
_tokens = itertools.count()


class FilePart(Part):
    """A part that a `PartWriter` wrote.

    Parameters
    ----------
    root : str
        The table's directory.
    metadata : PartMetadata
        From the snapshot, or from `read_metadata`.
    cache : Cache, optional
        Shared with other parts, for decoded pages of the index and columns.

    Attributes
    ----------
    path : str
    kinds, section_of : list
        The type and the section of each column of its chunk tables: time, version, then its own.
    """

    def __init__(self, root: str, metadata: PartMetadata, cache: Cache | None = None) -> None:
        self.metadata = metadata
        self.id = metadata.id
        self.rows = metadata.rows
        self.min_time = metadata.min_time
        self.max_time = metadata.max_time
        self.path = join(root, metadata.name)
        table = chunk_columns(tuple(self.columns))
        self._position, self.kinds, self.section_of, self._section_numbers = table
        self._meta: Meta | None = None
        self._cache = Cache(_OWN_CACHE_BYTES) if cache is None else cache
        self._token = next(_tokens)
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

    def extents(self, scan: Scan) -> Fetch[list[Extent]]:
        """Find the wanted blocks; reads the index where it is not known yet."""
        meta = yield from self.load_meta()
        numbers = wanted_pages(meta, scan)
        pages = yield from self._load_pages(meta, numbers)
        found = []
        for number, page in zip(numbers, pages, strict=True):
            blocks = blocks_of(page)
            touched = scan.touched(blocks)
            if len(touched):
                cut = scan.cut(blocks, touched)
                found.append(Extent(self, number, cut, page.block_starts[touched], touched, page))
        return found

    def load(
        self,
        extent: Extent,
        names: Sequence[str],
        which: npt.NDArray[np.bool_] | None = None,
        *,
        keep: bool = True,
        within: Within | None = None,
    ) -> Fetch[Loading]:
        """Read the chunks of some columns that are not held yet, and the dictionaries they need."""
        page: Page = extent.page
        places = extent.places if which is None else extent.places[which]
        of_block = page.block_primary[places]
        primary = distinct(of_block)
        choice = Choice.of(primary)
        wanted = {name: self._position[name] for name in names if name in self._position}
        keys = {column: (self._token, extent.number, column) for column in wanted.values()}
        known: dict[int, HeldColumn | None] = dict(
            zip(keys, self._cache.get_all(list(keys.values())), strict=True)
        )
        lacking = [column for column, each in known.items() if each is None or not each.has(choice)]
        if lacking and within is not None:
            some = yield from self._load_some(extent, places, wanted, known, within, keep=keep)
            if some is not None:
                return some
        tasks: list[Task] = []
        own = () if keep else lacking  # what is kept must not grow unless the cache is told
        held = {column: each for column, each in known.items() if each is not None and column not in own}
        if lacking:
            reading = fetch_chunks(chunk_table(page, primary), lacking, self.section_of, self.locate)
            _, chunks = yield from together(self.load_dictionaries(lacking), reading)
            for column in lacking:
                held.setdefault(column, self._empty(page, column))
                tasks += fill(held[column], chunks[column], primary)

        def loaded() -> Loaded:
            columns = {name: held[column] for name, column in wanted.items()}
            arrays, shifts = arranged(columns, choice, page.primary_starts)
            for column in lacking if keep else ():
                self._cache.keep(keys[column], held[column], held[column].nbytes)
            return Loaded(arrays, shifts[primary.searchsorted(of_block)])

        return Loading(loaded, tasks, len(primary) * len(lacking))

    def _load_some(
        self,
        extent: Extent,
        places: npt.NDArray[np.int64],
        wanted: Mapping[str, int],
        known: Mapping[int, HeldColumn | None],
        within: Within,
        *,
        keep: bool,
    ) -> Fetch[Loading | None]:
        """Load an excerpt if little is wanted of the chunks; None if they had better be decoded whole.

        So they are if there is an excerpt already, of other rows, and they can be kept. One that is kept has what is
        wanted of all blocks of the extent: a result that comes in slices asks for these one after another.

        Parameters
        ----------
        extent, within, keep
            As for `load`.
        places : int64 array
            The blocks that are wanted, of the page.
        wanted : mapping of str to int
            The columns, by name.
        known : mapping of int to HeldColumn or None
            What is held of them.
        """
        page: Page = extent.page
        every = extent.places if within.keep else places
        key = self._token, extent.number, "rows"
        found: Excerpt | None = self._cache.get(key)
        if found is not None and found.has(every, wanted.values(), within):
            primary = found.primary
        elif found is not None and keep and not found.is_part_of(every, within):
            return None
        elif (within.keep and not keep) or is_worthwhile(page, every, within):
            found, primary = None, distinct(page.block_primary[every])
        else:
            return None
        whole = with_all(known, primary)
        held = whole.keys() if found is None else whole.keys() | found.columns.keys()
        lacking = [column for column in wanted.values() if column not in held]
        chunks = yield from self._fetch(page, primary, lacking)
        decoding = len(lacking) * len(primary)
        if found is not None:
            excerpt = found
        else:
            cut = is_cut(page, every, within)
            if cut and TIME in lacking:
                before = known[TIME] if keep else None
                whole[TIME] = self._times(extent, before, chunks[TIME], primary, keep=keep)
                lacking.remove(TIME)
            excerpt = Excerpt.of(page, every, within, whole[TIME] if cut else None)
        made: dict[int, pa.Array] = {}
        mine = primary.searchsorted(excerpt.primary)

        def decode(column: int) -> None:
            dictionary, some = self._dictionaries.get(column), chunks[column].those(mine)
            made[column] = excerpt.decoded(self.kinds[column], dictionary, some)

        def loaded() -> Loaded:
            for column, each in whole.items():
                if column not in excerpt.columns:
                    made[column] = excerpt.taken_of(each, page)
            full = excerpt.with_columns(made) if made else excerpt
            if within.keep and full is not found:
                self._cache.keep(key, full, full.nbytes)
            return full.loaded(places, wanted)

        return Loading(loaded, [functools.partial(decode, column) for column in lacking], decoding)

    def _times(
        self,
        extent: Extent,
        held: HeldColumn | None,
        chunks: ColumnChunks,
        primary: npt.NDArray[np.int64],
        *,
        keep: bool,
    ) -> HeldColumn:
        """Decode the times of some primary blocks at once: they tell what is wanted of other columns."""
        times = self._empty(extent.page, TIME) if held is None else held
        run_tasks(fill(times, chunks, primary), map)
        if keep:
            self._cache.keep((self._token, extent.number, TIME), times, times.nbytes)
        return times

    def _fetch(
        self, page: Page, primary: npt.NDArray[np.int64], columns: Sequence[int]
    ) -> Fetch[dict[int, ColumnChunks]]:
        if not (len(primary) and columns):
            return dict.fromkeys(columns, ColumnChunks.none())
        reading = fetch_chunks(chunk_table(page, primary), columns, self.section_of, self.locate)
        found: list[Any] = yield from together(self.load_dictionaries(columns), reading)
        chunks: dict[int, ColumnChunks] = found[1]
        return chunks

    def known(self, extent: Extent, names: Sequence[str]) -> Fetch[Known]:
        """Find out what is known of an extent's page; reads its summary."""
        meta = yield from self.load_meta()
        columns = {name: self._position[name] for name in names if name in self._position}
        summary, _ = yield from together(
            self.load_summary(meta, extent.number), self.load_dictionaries(list(columns.values()))
        )
        loaded = self._dictionaries
        held = {name: loaded[column] for name, column in columns.items() if column in loaded}
        return Known(blocks_of(extent.page), summary, held)

    def statistics(self, extent: Extent, name: str) -> ChunkStatistics:
        """Return what the index says of a column's chunks."""
        page: Page = extent.page
        primary = page.block_primary[extent.places]
        rows = np.diff(page.primary_starts)[primary]
        column = self._position.get(name)
        if column is None:
            return ChunkStatistics(None, rows, rows, rows, rows)
        nulls, low, high = (getattr(page, each)[primary, column] for each in ("nulls", "low", "high"))
        return ChunkStatistics(self.kinds[column], rows, nulls, low, high)

    def _empty(self, page: Page, column: int) -> HeldColumn:
        nulls = bool(page.nulls[:, column].any())
        return HeldColumn(
            self.kinds[column], self._dictionaries.get(column), page.primary_starts, nulls=nulls
        )

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

    def load_meta(self) -> Fetch[Meta]:
        """Load the list of pages, unless it is; a short one stands in the metadata."""
        if self._meta is None:
            self._meta = self._decode_meta(self.metadata.pages) if self.metadata.pages else None
        return self._meta or (yield from self.read_meta())

    def read_meta(self) -> Fetch[Meta]:
        """Read the list of pages from the part's files."""
        (data,) = yield [self.locate(META, 0, self.metadata.sections[META].size)]
        self._meta = self._decode_meta(data)
        return self._meta

    def _decode_meta(self, data: bytes) -> Meta:
        piece = self.metadata.sections[META]
        path, offset, _ = self.locate(META, 0, piece.size)
        verify(data, piece.checksum, path, offset, "the list of its pages")
        return Meta.decode(data, path)

    def _load_pages(self, meta: Meta, numbers: Sequence[int]) -> Fetch[list[Page]]:
        held = self._cache.get_all([(self._token, number) for number in numbers])
        if None not in held:
            return held
        pages = dict(zip(numbers, held, strict=True))
        missing = [number for number, page in pages.items() if page is None]
        ranges = [one for number in missing for one in self._page_ranges(meta, number)]
        data = (yield ranges) if ranges else []
        for place, number in enumerate(missing):
            pair = slice(2 * place, 2 * place + 2)
            page = pages[number] = self._decode_page(meta, number, ranges[pair], data[pair])
            self._cache.keep((self._token, number), page, page.nbytes)
        return list(pages.values())

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

    def load_summary(self, meta: Meta, number: int, *, keep: bool = True) -> Fetch[Summary | None]:
        """Load what is known of the blocks of a page, unless it is; None if nothing is known without decoding."""
        key = self._token, number, "summary"
        summary: Summary | None = self._cache.get(key)
        if summary is None and meta.summary_size[number]:
            wanted = self.locate(SUMMARY, meta.summary_offset[number], meta.summary_size[number])
            (data,) = yield [wanted]
            verify32(
                data, int(meta.summary_check[number]), wanted[0], wanted[1], "what is known of its blocks"
            )
            kinds = {column.name: column.type for column in self.columns}
            summary = Summary.decode(data, kinds, wanted[0])
            if keep:
                self._cache.keep(key, summary, summary.nbytes)
        return summary

    def load_dictionaries(self, wanted: Sequence[int]) -> Fetch[None]:
        """Load the dictionaries of columns, unless they are."""
        missing: list[tuple[int, StoredColumn]] = []
        for column in wanted:
            if column > VERSION and column not in self._dictionaries:
                stored = self.metadata.columns[column - VERSION - 1]
                if stored.dictionary is not None:
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

    def empty_rows(self, names: Sequence[str]) -> Rows:
        """Return no rows, of the columns that it has."""
        types = self.metadata.arrow_types()
        none = np.empty(0, np.int64)
        columns = {name: pa.nulls(0, types[name]) for name in names if name in types}
        return Rows(self._no_series(), none.astype(np.int32), none, none, columns)

    def _no_series(self) -> SeriesTable:
        arrays = [pa.array([], kind.arrow) for kind in self.metadata.entity.values()]
        return SeriesTable(np.empty(0, np.uint64), pa.record_batch(arrays, names=list(self.metadata.entity)))


def read_metadata(fs: FileSystem, path: str, end: bytes = b"") -> PartMetadata:
    """Read what a part says of itself, from its directory or, for a compact part, its file.

    Parameters
    ----------
    path : str
    end : bytes, optional
        The last bytes of a compact part, if they are known: often enough of them.

    Raises
    ------
    CorruptionError
        It is not a part, or its metadata are damaged.
    UnsupportedStoreError
        A newer release wrote it.
    """
    compact = path.endswith((COMPACT_SUFFIX, LOG_SUFFIX))
    if not compact:
        path = join(path, METADATA)
    data = (_in_end(end) or _read_trailer(fs, path)) if compact else fs.read(path)
    return unseal_document(data, PartMetadata, path)


def _in_end(end: bytes) -> bytes:
    """Return the metadata in the last bytes of a compact part; nothing if these are too few."""
    if not end.endswith(MAGIC) or len(end) < TRAILER.size:
        return b""
    length, _ = TRAILER.unpack(end[-TRAILER.size :])
    start = len(end) - TRAILER.size - length
    return end[start : -TRAILER.size] if start >= 0 else b""


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
