"""Small parts in memory become one: who writes row by row has thousands, and a query looks into each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pyarrow as pa

from measurefs.part.memory_part import MemoryPart
from measurefs.part.part import Part
from measurefs.part.rows import concat_in_order

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
    small = list(itertools.islice(_small(parts, claimed), _MOST))[::-1]
    if len(small) < _MANY:
        return parts
    types = _common_types(small)
    if types is None:
        return parts
    rows = concat_in_order([part.held for part in small], types)
    return [*parts[: -len(small)], MemoryPart(small[-1].id, rows, block_rows)]


def _small(parts: Sequence[Part], claimed: float) -> Iterator[MemoryPart]:
    """Yield the last parts, the very last first, as long as they are small and not claimed."""
    for part in reversed(parts):
        if not isinstance(part, MemoryPart) or part.id <= claimed or not _is_small(part):
            return
        yield part


def _is_small(part: MemoryPart) -> bool:
    return part.rows <= _SMALL_ROWS and part.nbytes <= _SMALL_BYTES


def _common_types(parts: Sequence[MemoryPart]) -> dict[str, pa.DataType] | None:
    """Return the columns that any of the parts has, None if one is of several types: its type is being changed."""
    types: dict[str, pa.DataType] = {}
    for part in parts:
        for name, column in part.held.columns.items():
            kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
            if types.setdefault(name, kind) != kind:
                return None
    return types
