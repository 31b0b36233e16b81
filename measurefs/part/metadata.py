"""What a part says about itself, and the names of its files."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
import pyarrow as pa

from measurefs.codec.sealed import unseal
from measurefs.codec.types import ColumnType
from measurefs.fs.errors import CorruptionError, UnsupportedStoreError
from measurefs.fs.paths import escape
from measurefs.fs.structs import decodable

FORMAT_VERSION = 1
"""The version of everything on disk; a store of a higher one is refused."""

METADATA = "metadata.json"
META = "meta.bin"
PRIMARY = "primary.bin"
TIMESTAMPS = "timestamps.bin"
FIELDS = "fields.bin"
SERIES = "series.bin"
SUMMARY = "summary.bin"
"""Only in a part that has summaries."""
COMPACT_SUFFIX, LOG_SUFFIX = ".part", ".log"


def family_data(family: str) -> str:
    """Name the section with the values of a tag family."""
    return f"{escape(family)}.tf"


def family_directory(family: str) -> str:
    """Name the section with the dictionaries of a tag family."""
    return f"{escape(family)}.tfm"


def part_name(part_id: int) -> str:
    """Return a part's name, which is its id as 16 hex digits."""
    return f"{part_id:016x}"


Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Time = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tag or a field.

    Attributes
    ----------
    name : str
    type : ColumnType
    family : str or None
        A tag's family; None for a field.
    """

    name: str
    type: ColumnType
    family: str | None = None

    @property
    def section(self) -> str:
        """The section that holds its chunks."""
        return FIELDS if self.family is None else family_data(self.family)

    @property
    def directory(self) -> str:
        """The section that holds its dictionary."""
        return FIELDS if self.family is None else family_directory(self.family)


class Piece(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A checksummed run of bytes in a section."""

    offset: Count
    size: Count
    checksum: int


class StoredColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column as this part holds it: itself, and where its dictionary lies if it has one."""

    column: Column
    dictionary: Piece | None = None


class Commit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What makes a part count without a snapshot that names it; see `measurefs.table.log`.

    Attributes
    ----------
    epoch : int
        Of the table, when its rows were all that was not durable yet.
    parent : int
        The number of the snapshot or part by which the table was committed before it.
    time : int
        When that was by the writer's clock, nanoseconds since 1970-01-01 UTC; for people.
    """

    epoch: Count
    parent: Count
    time: Time


@decodable
class PartMetadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is known of a part without reading it; snapshots carry it whole.

    Attributes
    ----------
    id : int
        The part's number; later parts have higher ones.
    rows, blocks, primary_blocks, series : int
        Counts. A series that spans several pages counts once in each.
    min_time, max_time : int
        Inclusive, nanoseconds since 1970-01-01 UTC.
    compressed_bytes, uncompressed_bytes : int
        The sizes of the sections together, and of the rows before encoding.
    entity : dict
        The entity columns and their types.
    columns : list of StoredColumn
        The tags and fields that it holds; in any other a row of this part is null.
    sections : dict
        Where each section but this one lies: in its own file (offset 0), or in the compact part's file.
    compact : bool
        Whether the part is one file.
    pages : bytes
        The section ``meta.bin`` once more, if it is short: whoever knows the metadata need not read it.
    quick : bool
        Whether it was encoded in a hurry, and has so many rows that it is worth making smaller.
    commit : Commit or None
        For a part of the log, which is compact.
    format : int
        `FORMAT_VERSION` when it was written.
    """

    id: Count
    rows: Count
    blocks: Count
    primary_blocks: Count
    series: Count
    min_time: Time
    max_time: Time
    compressed_bytes: Count
    uncompressed_bytes: Count
    entity: dict[str, ColumnType]
    columns: list[StoredColumn]
    sections: dict[str, Piece]
    compact: bool
    pages: bytes = b""
    quick: bool = False
    commit: Commit | None = None
    format: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if META not in self.sections:
            raise ValueError(f"the part has no {META}")
        if any(piece.offset + piece.size > self.compressed_bytes for piece in self.sections.values()):
            raise ValueError("a section lies outside the part")
        if self.commit is not None and not self.compact:
            raise ValueError("a part of the log is not one file")

    @property
    def name(self) -> str:
        """The part's file or directory in its table."""
        if self.commit is not None:
            return part_name(self.id) + LOG_SUFFIX
        return part_name(self.id) + (COMPACT_SUFFIX if self.compact else "")

    def arrow_types(self) -> dict[str, pa.DataType]:
        """Return the Arrow types of its columns."""
        return {stored.column.name: stored.column.type.arrow for stored in self.columns}


@decodable
class Header(msgspec.Struct):
    """What any release can read of a document: which format it has."""

    format: int


T = TypeVar("T")


def unseal_document(data: bytes, kind: type[T], path: str) -> T:
    """Return a sealed document that says its format; raises as `check_format` and `unseal` do."""
    check_format(unseal(data, Header, path).format, path)
    return unseal(data, kind, path)


def check_format(version: int, path: str) -> None:
    """Raise unless this release reads that format.

    Raises
    ------
    UnsupportedStoreError
        A newer release wrote it.
    CorruptionError
        No release ever did.
    """
    if version > FORMAT_VERSION:
        raise UnsupportedStoreError(
            f"cannot open {path!r}: it has format version {version} and this release reads up to "
            f"{FORMAT_VERSION}; use a newer measurefs"
        )
    if version < 1:
        raise CorruptionError(path, f"it claims the impossible format version {version}")
