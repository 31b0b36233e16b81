"""What may become of a measure's schema: more columns, wider types, another interval or ttl."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from measurefs.codec.types import ColumnType
from measurefs.codec.widening import is_narrower, next_wider
from measurefs.database.intervals import Interval
from measurefs.database.schema import (
    DEFAULT_FAMILY,
    MeasureSchema,
    TagSpec,
    check_unique,
    families_of,
    typed_fields,
    typed_tags,
)
from measurefs.fs.errors import SchemaError
from measurefs.part.metadata import PartMetadata


class Keep:
    """The default of an argument of which None means something."""

    def __repr__(self) -> str:
        return "<keep>"


KEEP = Keep()


class Evolution(NamedTuple):
    """What `Measure.evolve` was asked for; see there."""

    tags: TagSpec | None = None
    fields: Mapping[str, str] | None = None
    interval: str | None = None
    ttl: str | Keep | None = KEEP

    def applied(self, schema: MeasureSchema) -> MeasureSchema:
        """Return the schema that becomes of one; equal to it if it has all that is asked for.

        Raises
        ------
        SchemaError
            It cannot, and why.
        """
        tags = {family: dict(columns) for family, columns in schema.tags.items()}
        for family, name, kind in self._wanted_tags(schema):
            columns = tags.setdefault(family, {})
            columns[name] = _typed(schema, name, columns.get(name), kind, f"a tag of family {family!r}")
        fields = dict(schema.fields)
        for name, kind in typed_fields(self.fields or {}).items():
            fields[name] = _typed(schema, name, fields.get(name), kind, "a field")
        changed = msgspec.structs.replace(schema, tags=tags, fields=fields)
        check_unique(changed)
        return self._with_spans(changed)

    def _wanted_tags(self, schema: MeasureSchema) -> Iterator[tuple[str, str, ColumnType]]:
        """Yield family, name and type of each tag; one that is given without a family is where it is already."""
        given = self.tags or {}
        home = {name: family for family, columns in schema.tags.items() for name in columns}
        plain = {name for name, kind in given.items() if not isinstance(kind, Mapping)}
        for family, columns in typed_tags(families_of(given)).items():
            for name, kind in columns.items():
                anywhere = family == DEFAULT_FAMILY and name in plain
                yield home.get(name, family) if anywhere else family, name, kind

    def _with_spans(self, schema: MeasureSchema) -> MeasureSchema:
        if self.interval is not None:
            interval = Interval.parse(self.interval, "interval")
            if interval.nanoseconds != Interval.parse(schema.interval, "interval").nanoseconds:
                first = schema.first_interval or schema.interval
                schema = msgspec.structs.replace(schema, interval=str(interval), first_interval=first)
        if not isinstance(self.ttl, Keep):
            ttl = None if self.ttl is None else str(Interval.parse(self.ttl, "ttl"))
            schema = msgspec.structs.replace(schema, ttl=ttl)
        return schema


def _typed(
    schema: MeasureSchema, name: str, known: ColumnType | None, kind: ColumnType, what: str
) -> ColumnType:
    """Return the type of a column that is asked for, which may be there already."""
    if known is None:
        _check_new(schema, name, what)
        return kind
    if kind is known or next_wider(known) is kind:
        return kind
    if is_narrower(kind, known):
        why = "a narrower type cannot hold all that may be stored"
    elif is_narrower(known, kind):
        why = f"widen it to {next_wider(known)} first"
    else:
        wider = next_wider(known)
        why = "its values are none of that type; add a column of another name" + (
            f", or widen it to {wider}" if wider else ""
        )
    raise SchemaError(
        f"column {name!r} of measure {schema.name!r} is {known} and cannot become {kind}: {why}"
    )


def _check_new(schema: MeasureSchema, name: str, what: str) -> None:
    """Raise unless a column of that name is nothing else yet."""
    if name in schema.entity:
        is_now = "an entity column, and those never change"
    elif name in schema.fields:
        is_now = "a field"
    elif name in schema.columns:
        family = next(family for family, columns in schema.tags.items() if name in columns)
        is_now = f"a tag of family {family!r}"
    else:
        return
    raise SchemaError(
        f"column {name!r} of measure {schema.name!r} is {is_now}; it cannot become {what}: choose another name"
    )


def becoming_floats(old: MeasureSchema, new: MeasureSchema) -> set[str]:
    """Return the columns of which a value may be stored that their type by now cannot hold."""
    if old is new:
        return set()
    wide = {name for name, kind in new.columns.items() if kind is ColumnType.FLOAT64}
    return {name for name in wide if old.columns.get(name) is ColumnType.INT64}


def is_outgrown(schema: MeasureSchema, parts: Iterable[PartMetadata]) -> bool:
    """Whether parts have columns, or types of columns, that only a newer schema can know of."""
    known = schema.columns
    for part in parts:
        for stored in part.columns:
            kind = known.get(stored.column.name)
            if kind is None or is_narrower(kind, stored.column.type):
                return True
    return False
