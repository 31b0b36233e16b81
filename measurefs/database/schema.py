"""What a measure looks like: entity, tags by family, fields, segments, shards."""

from __future__ import annotations

import collections
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import msgspec

from measurefs.codec.types import ColumnType
from measurefs.database.intervals import Interval
from measurefs.fs.errors import SchemaError
from measurefs.fs.structs import decodable
from measurefs.part.metadata import FORMAT_VERSION, Column
from measurefs.query import TIME, VERSION
from measurefs.table import TableSchema
from measurefs.table.epochs import MAX_TOKEN

DEFAULT_FAMILY = "default"
_SURROGATE = re.compile("[\ud800-\udfff]")
_RESERVED = frozenset({TIME, VERSION})
_ENTITY_TYPES = frozenset({ColumnType.STRING, ColumnType.INT64, ColumnType.BINARY})
_FIELD_TYPES = frozenset(
    {ColumnType.INT64, ColumnType.FLOAT64, ColumnType.STRING, ColumnType.BINARY, ColumnType.BOOL}
)
_TAG_TYPES = frozenset(
    {
        ColumnType.STRING,
        ColumnType.INT64,
        ColumnType.BINARY,
        ColumnType.STRING_LIST,
        ColumnType.INT64_LIST,
    }
)

EntitySpec: TypeAlias = "Sequence[str] | Mapping[str, str]"
TagSpec: TypeAlias = "Mapping[str, str | Mapping[str, str]]"


@decodable
class MeasureSchema(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a measure's ``schema.json``.

    Attributes
    ----------
    name : str
    entity : dict
        The columns that tell series apart, and their types (string, int64 or binary).
    tags : dict
        Tag family to its columns and their types.
    fields : dict
        Columns and their types.
    interval : str
        The span of a segment.
    ttl : str or None
        The age at which rows are not found any more.
    shards : int
    revision : int
        Grows with each change of the schema.
    first_interval : str or None
        The interval that the measure was created with, if that is another one than now: what plain names of
        segments span.
    dropped_before : int or None
        Rows before this time (nanoseconds since 1970-01-01 UTC) were dropped for good.
    floor : int
        The tokens up to this one were used by measures of the same name that were dropped; see `TsTable`.
    base : int
        What is added to the tokens of the tables' locks, if that is more than the floor: of a copied measure, the
        highest token of the one it is a copy of.
    """

    name: str
    entity: dict[str, ColumnType]
    tags: dict[str, dict[str, ColumnType]]
    fields: dict[str, ColumnType]
    interval: str
    ttl: str | None
    shards: int
    revision: int = 1
    format: int = FORMAT_VERSION
    first_interval: str | None = None
    dropped_before: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    floor: Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKEN)] = 0
    base: Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKEN)] = 0

    @property
    def columns(self) -> dict[str, ColumnType]:
        """Tags and fields with their types, in order."""
        tags = {name: kind for family in self.tags.values() for name, kind in family.items()}
        return tags | self.fields

    @property
    def names(self) -> list[str]:
        """The columns of a row: time, entity, tags, fields."""
        return [TIME, *self.entity, *self.columns]

    def for_table(self) -> TableSchema:
        """Return what a table needs of it."""
        tags = [
            Column(name, kind, family)
            for family, columns in self.tags.items()
            for name, kind in columns.items()
        ]
        return TableSchema(self.entity, [*tags, *(Column(name, kind) for name, kind in self.fields.items())])

    def same_columns(self, other: MeasureSchema) -> bool:
        """Whether both are of the same measure, apart from what has happened to it."""
        history = ("revision", "first_interval", "dropped_before", "floor", "base")
        kept = {name: getattr(other, name) for name in history}
        return msgspec.structs.replace(self, **kept) == other


def make_schema(
    name: str,
    entity: EntitySpec,
    tags: TagSpec | None,
    fields: Mapping[str, str] | None,
    interval: str,
    ttl: str | None,
    shards: int,
) -> MeasureSchema:
    """Check what a user asks for and return it as a schema.

    Raises
    ------
    SchemaError
        A name is empty or given twice, a type is not one of those allowed there, or a span of time is not one.
    """
    _check_text(name, "a measure")
    if isinstance(entity, str) or not entity:
        raise SchemaError(f"measure {name!r} needs a list of entity columns, such as entity=['host']")
    columns = dict(entity) if isinstance(entity, Mapping) else dict.fromkeys(entity, "string")
    if len(columns) < len(entity):
        raise SchemaError(f"measure {name!r} has an entity column twice: {', '.join(map(str, entity))}")
    schema = MeasureSchema(
        name=name,
        entity=_typed(columns, _ENTITY_TYPES, "entity column"),
        tags=typed_tags(families_of(tags or {})),
        fields=typed_fields(fields or {}),
        interval=str(Interval.parse(interval, "interval")),
        ttl=None if ttl is None else str(Interval.parse(ttl, "ttl")),
        shards=_checked_shards(shards),
    )
    check_unique(schema)
    return schema


def _checked_shards(shards: Any) -> int:
    if isinstance(shards, bool) or not isinstance(shards, int) or not 1 <= shards <= 1024:
        raise SchemaError(f"shards must be a whole number from 1 to 1024, not {shards!r}")
    return shards


def families_of(tags: TagSpec) -> dict[str, Mapping[str, str]]:
    """Put tags given without a family into the default one."""
    plain = {name: kind for name, kind in tags.items() if not isinstance(kind, Mapping)}
    named = {family: columns for family, columns in tags.items() if isinstance(columns, Mapping)}
    if plain and DEFAULT_FAMILY in named:
        raise SchemaError(
            f"the tags {', '.join(map(str, plain))} belong to the family {DEFAULT_FAMILY!r}; give them in there"
        )
    return ({DEFAULT_FAMILY: plain} if plain else {}) | named


def typed_tags(families: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, ColumnType]]:
    """Return tags by family with their types; raises `SchemaError` for a type that tags cannot have."""
    return {family: _typed(columns, _TAG_TYPES, "tag") for family, columns in families.items()}


def typed_fields(fields: Mapping[str, str]) -> dict[str, ColumnType]:
    """Return fields with their types; raises `SchemaError` for a type that fields cannot have."""
    return _typed(fields, _FIELD_TYPES, "field")


def _typed(columns: Mapping[str, str], allowed: frozenset[ColumnType], what: str) -> dict[str, ColumnType]:
    typed: dict[str, ColumnType] = {}
    for name, kind in columns.items():
        known = {str(each): each for each in allowed}
        if _spelled(kind) not in known:
            types = ", ".join(sorted(allowed))
            raise SchemaError(
                f"{what} {name!r} cannot be of type {kind!r}; the types of a {what} are {types}"
            )
        typed[name] = known[_spelled(kind)]
    return typed


def _spelled(kind: str) -> str:
    """Return a type's name as we spell it: ``list of string``, ``list[string]`` and the like are one."""
    match = re.fullmatch(r"list\s*(?:of\s+|[<\[(]\s*)(\w+)\s*[>\])]?", str(kind).strip())
    return f"list<{match.group(1)}>" if match else str(kind).strip()


def _check_text(name: Any, what: str) -> None:
    if not isinstance(name, str) or not name or _SURROGATE.search(name):
        raise SchemaError(f"{what} needs a name of Unicode text, not {name!r}")


def check_unique(schema: MeasureSchema) -> None:
    """Raise `SchemaError` for a name that is none, or that is given twice."""
    seen: set[str] = set(_RESERVED)
    folded = collections.Counter(family.casefold() for family in schema.tags)
    for family in schema.tags:
        if folded[family.casefold()] > 1:
            raise SchemaError(
                f"tag family {family!r} of measure {schema.name!r} differs from another only in case, and their files "
                "would be the same on some disks; choose another name"
            )
    tags = [name for family in schema.tags.values() for name in family]
    for name in (*schema.tags, *schema.entity, *tags, *schema.fields):
        _check_text(name, f"every column and family of measure {schema.name!r}")
    for name in (*schema.entity, *tags, *schema.fields):
        if name in seen:
            why = "is taken: every row has it" if name in _RESERVED else "is given twice"
            raise SchemaError(f"the column name {name!r} of measure {schema.name!r} {why}; choose another")
        seen.add(name)
