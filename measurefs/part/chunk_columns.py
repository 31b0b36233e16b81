"""The columns of a part's chunk tables: time, version, then its tags and fields."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from measurefs.codec.types import ColumnType
from measurefs.part.index import TIME, VERSION
from measurefs.part.metadata import TIMESTAMPS, Column
from measurefs.part.writer import column_sections

_MOST = 64


class ChunkColumns(NamedTuple):
    """The place of each column by name, and by place its type, its section, and the number of that."""

    position: Mapping[str, int]
    kinds: Sequence[ColumnType]
    section_of: Sequence[str]
    section_numbers: Sequence[int]


@functools.lru_cache(_MOST)
def chunk_columns(columns: tuple[Column, ...]) -> ChunkColumns:
    """Return the columns of parts with these tags and fields, found out once: most parts of a table have the same."""
    names = {column.name: place for place, column in enumerate(columns, start=VERSION + 1)}
    return ChunkColumns(
        {"time": TIME, "version": VERSION} | names,
        [ColumnType.INT64, ColumnType.INT64, *(column.type for column in columns)],
        [TIMESTAMPS, TIMESTAMPS, *(column.section for column in columns)],
        column_sections(columns),
    )
