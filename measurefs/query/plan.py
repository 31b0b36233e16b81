"""What is asked for, checked and in the form that reading needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import pyarrow as pa

from measurefs.codec.types import ColumnType
from measurefs.query.conditions.where import Condition
from measurefs.query.names import TIME, TIME_TYPE, VERSION

Order = Literal["time", "-time", "series"]
ORDERS: tuple[Order, ...] = ("time", "-time", "series")
OnCorrupt = Literal["error", "skip"]
ON_CORRUPT: tuple[OnCorrupt, ...] = ("error", "skip")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What is asked for.

    Attributes
    ----------
    start, end : int
        ``[start, end)``, nanoseconds since 1970-01-01 UTC.
    condition : Condition
    names : sequence of str
        The columns of the result, in order.
    order : str
        ``"time"``, ``"-time"`` or ``"series"``.
    limit : int or None
    entity, columns : mapping
        The measure's entity columns, and its tags and fields, with their types.
    offset : int
        Rows to leave out before the first.
    """

    start: int
    end: int
    condition: Condition
    names: Sequence[str]
    order: Order
    limit: int | None
    entity: Mapping[str, ColumnType]
    columns: Mapping[str, ColumnType]
    offset: int = 0

    @property
    def schema(self) -> pa.Schema:
        """The schema of the result."""
        known = {TIME: TIME_TYPE, VERSION: pa.int64()}
        known |= {name: kind.arrow for name, kind in (*self.entity.items(), *self.columns.items())}
        return pa.schema([(name, known[name]) for name in self.names])

    @property
    def stored(self) -> list[str]:
        """The tags and fields of the result."""
        return [name for name in self.columns if name in self.names]

    @property
    def most(self) -> int | None:
        """How many rows are enough, those left out before the first included; None for all."""
        return None if self.limit is None else self.limit + self.offset
