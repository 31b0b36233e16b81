"""Where in a large part a byte belongs, and the smallest reading that looks at it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

from measurefs.fs import CorruptionError, FileSystem, join
from measurefs.part.fetch import fetch
from measurefs.part.file_part import FilePart, read_metadata
from measurefs.part.index import Page
from measurefs.part.metadata import META, METADATA, PRIMARY, SERIES, SUMMARY, PartMetadata
from measurefs.part.part import Scan, SeriesFilter
from measurefs.table.recovery import recover
from tests.damage.stores import Store
from tests.part.made import EVER, listed


@dataclasses.dataclass(frozen=True)
class Region:
    """A run of bytes of a part.

    Attributes
    ----------
    path : str
    start, stop : int
    what : str
        ``"chunk"``, ``"page"``...
    part : int
        The part's id.
    series : int or None
        The id of a series for whose rows these bytes are read; None for what the part says of itself.
    """

    path: str
    start: int
    stop: int
    what: str
    part: int
    series: int | None


@functools.cache
def regions_of(store: Store) -> list[Region]:
    """All regions of the parts in focus; together they are the parts."""
    fs = store.load()
    return [region for metadata in parts_of(store) for region in _regions(fs, store.focus, metadata)]


@functools.cache
def parts_of(store: Store) -> list[PartMetadata]:
    """The parts that the newest snapshot in focus names."""
    record = recover(store.load(), store.focus).record
    assert record is not None
    return record.parts


def _regions(fs: FileSystem, root: str, metadata: PartMetadata) -> Iterator[Region]:
    part = FilePart(root, metadata)
    meta = fetch(fs, part.load_meta())

    def region(section: str, offset: int, size: int, what: str, series: int) -> Region:
        path, start, size = part.locate(section, offset, size)
        return Region(path, start, start + size, what, part.id, series)

    ids = meta.first_id.tolist()
    yield region(META, 0, metadata.sections[META].size, "list of pages", ids[0])
    for number, first in enumerate(ids):
        yield region(PRIMARY, meta.primary_offset[number], meta.primary_size[number], "page", first)
        yield region(SERIES, meta.series_offset[number], meta.series_size[number], "entities", first)
        if meta.summary_size[number]:
            yield region(SUMMARY, meta.summary_offset[number], meta.summary_size[number], "summary", first)
        page = fetch(fs, part.load_page(meta, number))
        for (block, column), offset in np.ndenumerate(page.offsets):
            series = _series_in(page, block)
            yield region(
                part.section_of[column], int(offset), int(page.sizes[block, column]), "chunk", series
            )
    for stored in metadata.columns:
        if stored.dictionary is not None:
            piece = stored.dictionary
            yield region(stored.column.directory, piece.offset, piece.size, "dictionary", ids[0])
    own = part.path if metadata.compact else join(part.path, METADATA)
    start = metadata.compressed_bytes if metadata.compact else 0
    yield Region(own, start, len(fs.read(own)), "its own metadata", part.id, None)


def _series_in(page: Page, primary: int) -> int:
    block = int(np.flatnonzero(page.block_primary == primary)[0])
    return int(page.series.ids[page.block_series[block]])


def look(fs: FileSystem, store: Store, region: Region) -> object:
    """Read what the region is read for.

    Raises
    ------
    CorruptionError
        It is damaged.
    """
    metadata = next(part for part in parts_of(store) if part.id == region.part)
    if region.series is None:
        found = read_metadata(fs, join(store.focus, metadata.name))
        if found != metadata:
            raise CorruptionError(region.path, "it says something else of itself than the snapshot does")
        return found
    if region.what == "summary":
        return _look_at_summary(fs, FilePart(store.focus, metadata), region)
    wanted = np.array([region.series], np.uint64)
    scan = Scan(
        *EVER, list(metadata.arrow_types()), SeriesFilter(lambda batch: np.ones(len(batch), np.bool_), wanted)
    )
    return listed(fetch(fs, FilePart(store.focus, metadata).read(scan)))


def _look_at_summary(fs: FileSystem, part: FilePart, region: Region) -> object:
    meta = fetch(fs, part.load_meta())
    places = [
        part.locate(SUMMARY, offset, 0)[1] if size else None
        for offset, size in zip(meta.summary_offset, meta.summary_size, strict=True)
    ]
    summary = fetch(fs, part.load_summary(meta, places.index(region.start)))
    assert summary is not None
    return [
        repr(getattr(known, name).tolist())
        for known in summary.columns.values()
        for name in known.__struct_fields__
    ]


@functools.cache
def seen(store: Store, region: Region) -> object:
    """What `look` finds in the undamaged store."""
    return look(store.load(), store, region)
