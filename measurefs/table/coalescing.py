"""Small parts in memory become one: who writes row by row has thousands, and a query looks into each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pyarrow as pa

from measurefs.codec.types import decoded_type
from measurefs.part.memory_part import MemoryPart
from measurefs.part.part import Part
from measurefs.part.rows import Rows, concat_in_order

_MANY, _MOST = 32, 1 << 10
_SMALL_ROWS, _SMALL_BYTES = 1 << 12, 1 << 20
"""What is larger stays as it is, so that no row is put in order more than some hundred times."""


def coalesced(parts: Sequence[Part], claimed: float, block_rows: int) -> Sequence[Part]:
    """Return a table's parts, the last ones as one if these are many and small.

    Parameters
    ----------
    parts : sequence of Part
        In order of arrival.
    claimed : float
        Parts up to this number are being made durable, or are in the log: they stay as they are.
    block_rows : int
        See `MemoryPart`.
    """
    small = list(itertools.islice(_small(parts, claimed), _MOST))
    if len(small) < _MANY:
        return parts
    alike, types = _of_the_same_types(small)
    if len(alike) < _MANY:
        return parts
    rows = concat_in_order([_by_own_series(part.held) for part in reversed(alike)], types)
    return [*parts[: -len(alike)], MemoryPart(parts[-1].id, rows, block_rows)]


def _small(parts: Sequence[Part], claimed: float) -> Iterator[MemoryPart]:
    """Yield the last parts, the very last first, as long as they are small and not claimed."""
    for part in reversed(parts):
        if not isinstance(part, MemoryPart) or part.id <= claimed or not _is_small(part):
            return
        yield part


def _is_small(part: MemoryPart) -> bool:
    return part.rows <= _SMALL_ROWS and part.nbytes <= _SMALL_BYTES


def _of_the_same_types(parts: Sequence[MemoryPart]) -> tuple[list[MemoryPart], dict[str, pa.DataType]]:
    """Return the first parts up to where a column is of another type, and the columns that any of them has."""
    alike: list[MemoryPart] = []
    types: dict[str, pa.DataType] = {}
    for part in parts:
        kinds = {name: decoded_type(column.type) for name, column in part.held.columns.items()}
        if any(types.get(name, kind) != kind for name, kind in kinds.items()):
            break
        types |= kinds
        alike.append(part)
    return alike, types


def _by_own_series(rows: Rows) -> Rows:
    """Return rows without the series of others: a few late ones came with all of a large batch."""
    return rows if len(rows.series) <= 2 * len(rows) else rows.narrowed()
