"""What is asked for, checked and in the form that reading needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import pyarrow as pa

from measurefs.codec.types import ColumnType
from measurefs.query.conditions.where import Condition
from measurefs.query.names import TIME, TIME_TYPE, VERSION

Order = Literal["time", "-time", "series"]
ORDERS: tuple[Order, ...] = ("time", "-time", "series")
OnCorrupt = Literal["error", "skip"]
ON_CORRUPT: tuple[OnCorrupt, ...] = ("error", "skip")


class Shape(msgspec.Struct, frozen=True, eq=False):
    """What of a question depends on the measure's columns, the columns asked for and their order alone.

    Attributes
    ----------
    names : sequence of str
        The columns of the result, in order.
    order : str
        ``"time"``, ``"-time"`` or ``"series"``.
    entity, columns : mapping
        The measure's entity columns, and its tags and fields, with their types.
    loaded : sequence of str
        What is read of every row of the result.
    types : mapping
        The types in which columns are read: times are numbers.
    schema : pyarrow.Schema
        Of the result.
    """

    names: Sequence[str]
    order: Order
    entity: Mapping[str, ColumnType]
    columns: Mapping[str, ColumnType]
    loaded: Sequence[str]
    types: Mapping[str, pa.DataType]
    schema: pa.Schema

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        order: Order,
        entity: Mapping[str, ColumnType],
        columns: Mapping[str, ColumnType],
    ) -> Shape:
        """Return the shape of questions for these columns, each of which there is, in this order."""
        keys = [TIME] if order != "series" or TIME in names else []
        keys += [VERSION] if VERSION in names else []
        types = {TIME: pa.int64(), VERSION: pa.int64()}
        types |= {name: kind.arrow for name, kind in (*entity.items(), *columns.items())}
        shown = types | {TIME: TIME_TYPE}
        return cls(
            names=names,
            order=order,
            entity=entity,
            columns=columns,
            loaded=[*keys, *(name for name in columns if name in names)],
            types=types,
            schema=pa.schema([(name, shown[name]) for name in names]),
        )


class Query(msgspec.Struct, frozen=True, eq=False):
    """What is asked for.

    Attributes
    ----------
    start, end : int
        ``[start, end)``, nanoseconds since 1970-01-01 UTC.
    condition : Condition
    shape : Shape
    limit : int or None
    offset : int
        Rows to leave out before the first.
    """

    start: int
    end: int
    condition: Condition
    shape: Shape
    limit: int | None
    offset: int = 0

    @property
    def most(self) -> int | None:
        """How many rows are enough, those left out before the first included; None for all."""
        return None if self.limit is None else self.limit + self.offset
