"""Changing a measure while it is used: what is stored is looked at first, and everything that is open goes along."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from measurefs.codec.types import ColumnType
from measurefs.database.evolution import Evolution, becoming_floats
from measurefs.database.exactness import inexact_value
from measurefs.database.schema import MeasureSchema
from measurefs.database.schema_chain import change
from measurefs.database.tables import Tables
from measurefs.fs.errors import ClosedError, NotExistError, SchemaError
from measurefs.fs.filesystem import FileSystem
from measurefs.part.fetch import fetch
from measurefs.part.file_part import FilePart
from measurefs.part.part import Part, Scan
from measurefs.query import MAX_TIME, MIN_TIME

_ATTEMPTS = 100


class _UncheckedError(Exception):
    """Another process has added a column that would have to be looked at first."""


def evolve(fs: FileSystem, root: str, tables: Tables, evolution: Evolution) -> None:
    """Change the schema of a measure; see `Measure.evolve`.

    Parameters
    ----------
    root : str
        The measure's directory.
    tables : Tables
        The measure's; they go on with the new schema, and so do those that are open.
    """
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(_UncheckedError):
            _attempt(fs, root, tables, evolution)
            return
    raise SchemaError(f"measure {tables.schema.name!r} is changed by others all the time; try again")


def _attempt(fs: FileSystem, root: str, tables: Tables, evolution: Evolution) -> None:
    tables.look()
    known = tables.schema
    floats = becoming_floats(known, evolution.applied(known))
    with tables.exact.required(floats):
        if floats:
            tables.refresh()
            _check_exact(fs, tables, floats)
        try:
            changed = change(fs, root, lambda schema: _edited(schema, known, evolution, floats))
        except NotExistError as error:
            raise ClosedError(f"measure {known.name!r} was dropped") from error
        tables.adopt(changed)


def _edited(
    schema: MeasureSchema, known: MeasureSchema, evolution: Evolution, checked: Collection[str]
) -> MeasureSchema:
    if schema.floor != known.floor:
        raise ClosedError(f"measure {known.name!r} was dropped; get the new one from the database")
    evolved = evolution.applied(schema)
    if not becoming_floats(schema, evolved) <= set(checked):
        raise _UncheckedError
    return evolved


def _check_exact(fs: FileSystem, tables: Tables, names: Collection[str]) -> None:
    """Raise unless every stored value of the columns is one that float64 has."""
    places = tables.places()
    with contextlib.ExitStack() as pinned:
        snapshots = [pinned.enter_context(table.pin()) for table in tables.reading(places)]
        for place, snapshot in zip(places, snapshots, strict=True):
            for part in snapshot.parts:
                for name in sorted(names):
                    _check_part(fs, part, name, tables.path(place))


def _check_part(fs: FileSystem, part: Part, name: str, path: str) -> None:
    if isinstance(part, FilePart) and not any(
        stored.column.name == name and stored.column.type is ColumnType.INT64
        for stored in part.metadata.columns
    ):
        return
    value = inexact_value(fetch(fs, part.read(Scan(MIN_TIME, MAX_TIME + 1, [name]))), [name])
    if value is not None:
        raise SchemaError(
            f"column {name!r} cannot become float64, which has no {value[1]}: table {path!r} holds that; "
            "nothing was changed"
        )
