"""The index of a part: pages of block and chunk entries (`primary.bin`), and a list of pages (`meta.bin`).

It is a tree of three levels, so that a point query reads little of a large part: `meta.bin` has an entry per
page, a page describes `PAGE_BLOCKS` primary blocks, a primary block is a chunk per column. Everything is
arrays; there is no object per block or series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import columns as codec
from measurefs.codec.arrays import Array, pack_arrays, unpack_arrays
from measurefs.codec.columns import Chunk
from measurefs.codec.numbers import default_encoding
from measurefs.codec.types import ColumnType
from measurefs.fs.errors import CorruptionError
from measurefs.part.blocks import MAX_BLOCK_ROWS
from measurefs.part.series import SeriesTable

PAGE_BLOCKS = 64
"""Primary blocks per page."""

TIME, VERSION = 0, 1
"""The first two columns of every chunk table; the part's own columns follow."""


class Meta(msgspec.Struct, frozen=True, eq=False):
    """The pages of a part, in order.

    Attributes
    ----------
    first_id, last_id : uint64 array, shape (pages,)
        Ids of the first and the last series of each page.
    min_time, max_time : int64 array
        Inclusive.
    primary_offset, primary_size, primary_check : int64 array
        Where the page lies in `primary.bin`, and its 32-bit checksum.
    series_offset, series_size, series_check : int64 array
        Where its entities lie in `series.bin`.
    summary_offset, summary_size, summary_check : int64 array
        Where what is known of its blocks lies in `summary.bin`; of size 0 where nothing is.
    """

    first_id: npt.NDArray[np.uint64]
    last_id: npt.NDArray[np.uint64]
    min_time: npt.NDArray[np.int64]
    max_time: npt.NDArray[np.int64]
    primary_offset: npt.NDArray[np.int64]
    primary_size: npt.NDArray[np.int64]
    primary_check: npt.NDArray[np.int64]
    series_offset: npt.NDArray[np.int64]
    series_size: npt.NDArray[np.int64]
    series_check: npt.NDArray[np.int64]
    summary_offset: npt.NDArray[np.int64]
    summary_size: npt.NDArray[np.int64]
    summary_check: npt.NDArray[np.int64]

    def encode(self) -> bytes:
        """Return the content of `meta.bin`."""
        names = _META if self.summary_size.any() else _META.keys() - _OF_SUMMARIES
        return pack_arrays({name: getattr(self, name) for name in _META if name in names})

    @classmethod
    def decode(cls, data: bytes, path: str) -> Meta:
        """Read what `encode` wrote; raises `CorruptionError`."""
        arrays = unpack_arrays(data, path)
        if "summary_size" not in arrays:
            none = np.zeros(len(arrays.get("first_id", ())), np.int64)
            arrays |= dict.fromkeys(_OF_SUMMARIES, none)
        arrays = _typed(arrays, _META, path)
        if len({len(array) for array in arrays.values()}) > 1:
            raise CorruptionError(path, "its list of pages has an unknown form")
        return cls(**arrays)

    @classmethod
    def from_entries(cls, entries: Sequence[tuple[int, ...]]) -> Meta:
        """Make the list from an entry per page, values in the order of the attributes."""
        columns = list(zip(*entries, strict=True)) or [() for _ in cls.__struct_fields__]
        ids, others = columns[:2], columns[2:]
        arrays: list[Array] = [np.array(column, np.uint64) for column in ids]
        return cls(*arrays, *(np.array(column, np.int64) for column in others))


_META = {name: "<u8" if name in {"first_id", "last_id"} else "<i8" for name in Meta.__struct_fields__}
_OF_SUMMARIES = ("summary_offset", "summary_size", "summary_check")
"""Left out where no page has a summary, and by the first releases."""


def _typed(arrays: dict[str, Array], types: Mapping[str, str], path: str) -> dict[str, Array]:
    """Return the arrays of a bundle if they are those that were written, each of its type."""
    if {name: array.dtype.str for name, array in arrays.items()} != types:
        raise CorruptionError(path, "an index has other arrays than it must")
    return arrays


class Page(msgspec.Struct, frozen=True, eq=False):
    """Some consecutive primary blocks of a part: b blocks in p primary blocks with c chunks each.

    Attributes
    ----------
    series : SeriesTable
        The series of its blocks.
    block_series : int32 array, shape (b,)
        The position of each block's series in it.
    block_rows, block_min, block_max : int64 array, shape (b,)
        Rows, and first and last time.
    block_primary : int64 array, shape (b,)
        The primary block (within the page) that holds each block.
    sizes, checks, nulls, low, high : int64 array, shape (p, c)
        Of each chunk: bytes, 32-bit checksum, and its statistics.
    offsets : int64 array, shape (p, c)
        Where each chunk lies in its column's section.
    block_starts : int64 array, shape (b,)
        The first row of each block, counted from the page's first.
    primary_starts : int64 array, shape (p + 1,)
        The first row of each primary block, and at the end the number of rows.
    """

    series: SeriesTable
    block_series: npt.NDArray[np.int32]
    block_rows: npt.NDArray[np.int64]
    block_min: npt.NDArray[np.int64]
    block_max: npt.NDArray[np.int64]
    block_primary: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    checks: npt.NDArray[np.int64]
    nulls: npt.NDArray[np.int64]
    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    block_starts: npt.NDArray[np.int64]
    primary_starts: npt.NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Bytes of memory, roughly."""
        arrays = [getattr(self, name) for name in self.__struct_fields__[1:]]
        return int(sum(array.nbytes for array in (*arrays, self.series.ids, self.series.entities)))


_PAGE = {
    "ids": "<u8",
    "block_series": "<i4",
    "block_rows": "<u4",
    "block_min": "<i8",
    "block_span": "<i8",
    "primary_blocks": "<u4",
    "sizes": "<u4",
    "checks": "<u4",
    "nulls": "<u4",
    "low": "<i8",
    "high": "<i8",
    "section_starts": "<i8",
}
_STATISTICS = ("sizes", "checks", "nulls", "low", "high")


def encode_page(
    series: SeriesTable,
    blocks: Mapping[str, Array],
    primary_blocks: Array,
    chunks: Sequence[Sequence[Chunk]],
    checks: Array,
    section_starts: Array,
) -> bytes:
    """Encode a page for `primary.bin`.

    Parameters
    ----------
    series : SeriesTable
        The page's series; their ids are stored here, their entities in `series.bin`.
    blocks : mapping
        ``series``, ``rows``, ``min`` and ``max`` of each block.
    primary_blocks : int64 array, shape (p,)
        How many blocks each primary block has.
    chunks : p sequences of c chunks
        What was encoded.
    checks : int64 array, shape (p * c,)
        The chunks' checksums.
    section_starts : int64 array
        Where in each section the page's chunks begin (sections in order of their first column).
    """
    return pack_arrays(
        {
            "ids": series.ids,
            "block_series": _steps(blocks["series"]).astype(np.int32),
            "block_rows": blocks["rows"].astype(np.uint32),
            "block_min": _steps(blocks["min"]),
            "block_span": blocks["max"] - blocks["min"],
            "primary_blocks": primary_blocks.astype(np.uint32),
            "sizes": np.array([len(chunk.data) for row in chunks for chunk in row], np.uint32),
            "checks": checks.astype(np.uint32),
            "nulls": np.array([chunk.nulls for row in chunks for chunk in row], np.uint32),
            "low": np.array([chunk.low for row in chunks for chunk in row], np.int64),
            "high": np.array([chunk.high for row in chunks for chunk in row], np.int64),
            "section_starts": section_starts,
        }
    )


def _steps(values: Array) -> Array:
    """Return the first value, and how much each other differs from the one before."""
    steps = values.copy()
    steps[1:] -= values[:-1]
    return steps


def decode_page(
    data: bytes, entities: bytes, entity: Mapping[str, ColumnType], sections: Sequence[int], path: str
) -> Page:
    """Read what `encode_page` and `encode_entities` wrote.

    Parameters
    ----------
    data, entities : bytes
        The page from `primary.bin` and its entities from `series.bin`, both verified.
    entity : mapping
        The entity columns and their types.
    sections : sequence of int
        For each of the c columns, its section's number.

    Raises
    ------
    CorruptionError
        The page and its entities do not agree, or its arrays do not.
    """
    try:
        arrays = _typed(unpack_arrays(data, path), _PAGE, path)
        found = _decode_entities(entities, len(arrays["ids"]), entity, path)
        return _decode_page(arrays, SeriesTable(arrays["ids"], found), np.array(sections))
    except (KeyError, ValueError, IndexError) as error:
        raise CorruptionError(path, f"a page of its index does not fit together ({error})") from error


def _decode_page(arrays: Mapping[str, Array], series: SeriesTable, sections: Array) -> Page:
    shape = (-1, len(sections))
    sizes = arrays["sizes"].astype(np.int64).reshape(shape)
    block_min = np.cumsum(arrays["block_min"])
    block_series = np.cumsum(arrays["block_series"], dtype=np.int32)
    primary_blocks = arrays["primary_blocks"].astype(np.int64)
    if len(primary_blocks) != len(sizes) or primary_blocks.sum() != len(block_series):
        raise ValueError("counts differ")
    for names in (("block_series", "block_rows", "block_min", "block_span"), _STATISTICS):
        if len({len(arrays[name]) for name in names}) > 1:
            raise ValueError(f"the arrays {', '.join(names)} differ in length")
    if len(arrays["section_starts"]) != sections.max() + 1:
        raise ValueError("it tells of other sections")
    if len(block_series) and not (block_series.min() >= 0 and block_series.max() < len(series)):
        raise ValueError("a block names no series")
    block_rows = arrays["block_rows"].astype(np.int64)
    block_primary = np.repeat(np.arange(len(primary_blocks)), primary_blocks)
    primary_rows = np.bincount(block_primary, block_rows, len(primary_blocks)).astype(np.int64)
    if primary_rows.max(initial=0) > MAX_BLOCK_ROWS:
        raise ValueError(f"a primary block has more than {MAX_BLOCK_ROWS} rows")
    return Page(
        series=series,
        block_series=block_series,
        block_rows=block_rows,
        block_min=block_min,
        block_max=block_min + arrays["block_span"],
        block_primary=block_primary,
        sizes=sizes,
        checks=arrays["checks"].astype(np.int64).reshape(shape),
        nulls=arrays["nulls"].astype(np.int64).reshape(shape),
        low=arrays["low"].reshape(shape),
        high=arrays["high"].reshape(shape),
        offsets=_chunk_offsets(sizes, sections, arrays["section_starts"]),
        block_starts=np.cumsum(block_rows) - block_rows,
        primary_starts=np.append(0, np.cumsum(primary_rows)),
    )


def _chunk_offsets(sizes: Array, sections: Array, section_starts: Array) -> npt.NDArray[np.int64]:
    """Within a section chunks lie one after another, primary block by primary block."""
    offsets = np.empty_like(sizes)
    for section, start in enumerate(section_starts.tolist()):
        columns = np.flatnonzero(sections == section)
        flat = sizes[:, columns].ravel()
        offsets[:, columns] = (start + np.cumsum(flat) - flat).reshape(len(sizes), len(columns))
    return offsets


def encode_entities(entities: pa.RecordBatch) -> bytes:
    """Encode a page's entities for `series.bin`: a chunk per entity column."""
    encoding = default_encoding(level=4)
    return b"".join(
        len(data).to_bytes(4, "little") + data
        for data in (codec.encode(column, encoding).data for column in entities.columns)
    )


def _decode_entities(data: bytes, count: int, entity: Mapping[str, ColumnType], path: str) -> pa.RecordBatch:
    columns, offset = [], 0
    for kind in entity.values():
        size = int.from_bytes(data[offset : offset + 4], "little")
        columns.append(codec.decode(data[offset + 4 : offset + 4 + size], count, kind, None, path))
        offset += 4 + size
    return pa.record_batch(columns, names=list(entity))
