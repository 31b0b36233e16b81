"""Figures about a store: what its measures, tables and parts hold, and what that takes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from typing import Any

from measurefs.cli.common import iso
from measurefs.codec.sealed import seal
from measurefs.database import Database, Measure
from measurefs.fs import FileSystem, escape, join
from measurefs.part.file_part import FilePart
from measurefs.part.metadata import METADATA, PartMetadata
from measurefs.part.sections import TRAILER

_PLACE = re.compile(r"seg-(\d+)/shard-(\d+)$")


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """What some parts hold together.

    Attributes
    ----------
    parts, rows, blocks, bytes, raw_bytes : int
        The bytes are those of the parts' files; raw are those of the rows before encoding.
    series : int
        At least so many; that of one part more would be known by reading it.
    first, last : int or None
        Times, nanoseconds since 1970-01-01 UTC; None where there are no rows.
    compact : int
        How many of the parts are one file.
    """

    parts: int = 0
    rows: int = 0
    blocks: int = 0
    bytes: int = 0
    raw_bytes: int = 0
    series: int = 0
    first: int | None = None
    last: int | None = None
    compact: int = 0

    @property
    def kind(self) -> str:
        """Whether parts are files (compact) or directories (wide)."""
        if self.compact not in {0, self.parts}:
            return f"{self.compact} compact, {self.parts - self.compact} wide"
        return "" if not self.parts else "compact" if self.compact else "wide"

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for machines."""
        return {
            "parts": self.parts,
            "compact_parts": self.compact,
            "rows": self.rows,
            "series_at_least": self.series,
            "blocks": self.blocks,
            "bytes": self.bytes,
            "uncompressed_bytes": self.raw_bytes,
            "bytes_per_row": round(self.bytes / self.rows, 3) if self.rows else None,
            "compression_ratio": round(self.raw_bytes / self.bytes, 3) if self.bytes else None,
            "start": iso(self.first),
            "last": iso(self.last),
        }


@dataclasses.dataclass(frozen=True, slots=True)
class TableFigures:
    """One table: a shard of a segment."""

    path: str
    segment: str
    shard: int
    epoch: int
    parts: list[PartMetadata]
    total: Figures


@dataclasses.dataclass(frozen=True, slots=True)
class MeasureFigures:
    """One measure: its tables, and what they hold together."""

    measure: Measure
    tables: list[TableFigures]
    total: Figures

    @property
    def segments(self) -> int:
        """How many spans of time have rows of it."""
        return len({table.segment for table in self.tables})


def part_bytes(part: PartMetadata) -> int:
    """Return what a part's files take: its sections, and what it says of itself."""
    return part.compressed_bytes + len(seal(part)) + (TRAILER.size if part.compact else 0)


def part_figures(part: PartMetadata) -> Figures:
    """Return the figures of one part."""
    return Figures(
        parts=1,
        rows=part.rows,
        blocks=part.blocks,
        bytes=part_bytes(part),
        raw_bytes=part.uncompressed_bytes,
        series=part.series,
        first=part.min_time if part.rows else None,
        last=part.max_time if part.rows else None,
        compact=int(part.compact),
    )


def together(figures: Iterable[Figures], series: int | None = None) -> Figures:
    """Add figures up; of the series of several parts at least the most in one are different ones."""
    every = list(figures)
    firsts = [each.first for each in every if each.first is not None]
    lasts = [each.last for each in every if each.last is not None]
    return Figures(
        parts=sum(each.parts for each in every),
        rows=sum(each.rows for each in every),
        blocks=sum(each.blocks for each in every),
        bytes=sum(each.bytes for each in every),
        raw_bytes=sum(each.raw_bytes for each in every),
        series=max((each.series for each in every), default=0) if series is None else series,
        first=min(firsts, default=None),
        last=max(lasts, default=None),
        compact=sum(each.compact for each in every),
    )


def measure_figures(measure: Measure) -> MeasureFigures:
    """Return the figures of a measure as it is now."""
    tables = list(_tables(measure))
    by_shard: dict[int, int] = {}  # a series is in one shard only, and there in any number of segments
    for table in tables:
        by_shard[table.shard] = max(by_shard.get(table.shard, 0), table.total.series)
    return MeasureFigures(
        measure, tables, together((table.total for table in tables), sum(by_shard.values()))
    )


def _tables(measure: Measure) -> Iterator[TableFigures]:
    snapshots = measure.snapshots()
    try:
        for path, snapshot in snapshots.items():
            place = _PLACE.search(path)
            assert place is not None, path
            parts = [part.metadata for part in snapshot.parts if isinstance(part, FilePart)]
            total = together(part_figures(part) for part in parts)
            yield TableFigures(path, place.group(1), int(place.group(2)), snapshot.epoch, parts, total)
    finally:
        for snapshot in snapshots.values():
            snapshot.release()


def live_bytes(measure: Measure) -> tuple[int, int]:
    """Return how many rows the parts of a measure hold, and their bytes on disk."""
    total = measure_figures(measure).total
    return total.rows, total.bytes


def stored_bytes(fs: FileSystem, path: str = "") -> int:
    """Return the bytes of all files under a path: parts, snapshots, and what waits to be collected."""
    total = 0
    for entry in fs.read_dir(path):
        below = join(path, entry.name)
        if entry.is_dir:
            total += stored_bytes(fs, below)
        elif entry.size is not None:
            total += entry.size
        else:
            with fs.open_file(below) as file:
                total += file.size()
    return total


def measure_bytes(db: Database, name: str) -> int:
    """Return the bytes of all files of a measure."""
    return stored_bytes(db.fs, escape(name))


def sections(part: PartMetadata) -> dict[str, int]:
    """Return the sizes of a part's sections, the largest first."""
    sizes = {name: piece.size for name, piece in part.sections.items()}
    sizes[METADATA] = part_bytes(part) - part.compressed_bytes
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))
