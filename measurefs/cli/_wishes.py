"""What the command line of ``measurefs ingest`` says of the measure and of the files' columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping

from measurefs.cli.common import BadInput
from measurefs.codec.types import ColumnType
from measurefs.database import MeasureSchema
from measurefs.database.intervals import Interval
from measurefs.query import check_names

TYPES = {str(kind): kind for kind in ColumnType}
"""The types of columns by their names."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line says of the measure and of the files' columns.

    Attributes
    ----------
    time_column, time_unit
        The column of times, and what whole numbers in it count.
    entity, tags, fields : mapping
        Columns, and their types where they were given.
    constants : mapping
        Columns that the files do not have, and their text, with placeholders.
    skip : collection of str
        Columns to leave out.
    interval, ttl, shards
        None where they were not given.
    """

    time_column: str
    time_unit: str | None
    entity: Mapping[str, ColumnType | None]
    tags: Mapping[str, ColumnType | None]
    fields: Mapping[str, ColumnType | None]
    constants: Mapping[str, str]
    skip: Collection[str]
    interval: str | None
    ttl: str | None
    shards: int | None

    @property
    def columns(self) -> dict[str, ColumnType | None]:
        """Entity columns, tags and fields."""
        return {**self.entity, **self.tags, **self.fields}


def parse_columns(given: Iterable[str]) -> dict[str, ColumnType | None]:
    """Read ``NAME[:TYPE]``; a colon that no type follows belongs to the name."""
    columns: dict[str, ColumnType | None] = {}
    for text in given:
        name, _, kind = text.rpartition(":")
        columns[name if kind in TYPES and name else text] = TYPES.get(kind) if name else None
    return columns


def check_same(schema: MeasureSchema, wishes: Wishes) -> None:
    """Raise `BadInput` if the command line describes another measure than the one that is there."""

    def refuse(what: str, there: object, asked: object) -> None:
        if there != asked:
            raise BadInput(
                f"measure {schema.name!r} is there already, and its {what} is {there}, not {asked}; "
                "leave the option out, or ingest into a measure of another name"
            )

    if wishes.entity:
        refuse("entity", ", ".join(schema.entity), ", ".join(wishes.entity))
    known = {**schema.entity, **schema.columns}
    check_names(wishes.columns, known, f"the command, for measure {schema.name!r},")
    for name, kind in wishes.columns.items():
        if kind is not None:
            refuse(f"column {name!r}", known[name], kind)
    for name in wishes.tags:
        refuse(f"column {name!r}", "a field" if name in schema.fields else "a tag", "a tag")
    for name in wishes.fields:
        refuse(f"column {name!r}", "a field" if name in schema.fields else "a tag", "a field")
    for what, there, asked in (
        ("interval", schema.interval, wishes.interval),
        ("ttl", schema.ttl, wishes.ttl),
    ):
        if asked is not None:
            refuse(what, there, str(Interval.parse(asked, f"--{what}")))
    if wishes.shards is not None:
        refuse("number of shards", schema.shards, wishes.shards)
