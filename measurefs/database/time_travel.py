"""Queries of the past: which moment `as_of` means, and what the tables held then."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
import numpy as np

from measurefs.database.batch import Place
from measurefs.database.outcomes import raise_first
from measurefs.database.retention import expired_before
from measurefs.database.schema import MeasureSchema
from measurefs.database.tables import Tables
from measurefs.database.tags import TagRecord, read_tag, rebuilt_tag, tag_names
from measurefs.fs.errors import ClosedError, CorruptionError, MeasureFSError, SchemaError
from measurefs.fs.filesystem import FileSystem
from measurefs.part.file_part import FilePart
from measurefs.query import MIN_TIME, Query, to_nanoseconds
from measurefs.query.names import nearest
from measurefs.table import Runtime, Snapshot, TsTable
from measurefs.table.history import Moment, look_back

AsOf: TypeAlias = TagRecord | Moment
"""What `as_of` means: a tag, or an epoch or a time of each table."""


def understand(
    fs: FileSystem, root: str, tables: Tables, as_of: Any, skipped: list[CorruptionError] | None
) -> AsOf:
    """Return what a user means: an integer is an epoch, a tag's name is that tag, anything else is a time.

    Raises
    ------
    SchemaError
        It is none of these; the message says which tags there are.
    CorruptionError
        The tag's file is damaged. If that is to be skipped, what the tables' own tags say serves instead.
    """
    if isinstance(as_of, bool):
        raise SchemaError(f"as_of must be an epoch, the name of a tag, or a time, not {as_of!r}")
    if isinstance(as_of, int | np.integer):
        return Moment(epoch=int(as_of))
    names = tag_names(fs, root) if isinstance(as_of, str) else []
    if as_of in names:
        try:
            return read_tag(fs, root, as_of)
        except CorruptionError as error:
            if skipped is None:
                raise
            skipped.append(error)
            return rebuilt_tag(fs, root, as_of, tables.schema)
    try:
        return Moment(time=to_nanoseconds(as_of, "as_of"))
    except SchemaError as error:
        if not isinstance(as_of, str):
            raise
        raise _unknown(as_of, names) from error


def _unknown(as_of: str, names: list[str]) -> SchemaError:
    near = nearest(as_of, names)
    hint = f"did you mean {near!r}? " if near else ""
    known = f"the tags are {', '.join(map(repr, names))}" if names else "there are no tags"
    return SchemaError(
        f"as_of={as_of!r} is neither a tag nor a time; {hint}{known}, "
        "and times are ISO 8601, such as '2026-01-31T12:00:00Z'"
    )


def since(schema: MeasureSchema, as_of: AsOf, now: int) -> int:
    """Return the time before which rows had expired; of an epoch that is known when its snapshots are pinned."""
    if isinstance(as_of, TagRecord):
        return as_of.since
    return MIN_TIME if as_of.time is None else expired_before(schema, min(as_of.time, now))


def pin(
    fs: FileSystem,
    tables: Tables,
    as_of: AsOf,
    query: Query,
    skipped: list[CorruptionError] | None,
    runtime: Runtime,
) -> tuple[Query, list[Place], list[Snapshot]]:
    """Pin what the tables that may hold rows that are asked for held then; return also the query with its `since`.

    Raises
    ------
    SchemaError
        A snapshot that showed it has been collected.
    CorruptionError
        Something is damaged, and that is not to be skipped.
    """
    while True:
        generation = tables.generation
        try:
            found = _pin(fs, tables, _wanted(tables, as_of, query), skipped, runtime)
            break
        except ClosedError:
            if tables.generation == generation:
                raise  # else a segment was dropped meanwhile
    if isinstance(as_of, Moment) and as_of.time is None:
        time = max((snapshot.time or 0 for snapshot in found.values()), default=0) or runtime.now()
        query = msgspec.structs.replace(query, start=max(query.start, expired_before(tables.schema, time)))
    return query, list(found), list(found.values())


def _wanted(tables: Tables, as_of: AsOf, query: Query) -> dict[Place, Moment]:
    """Return the tables to look at, in order, each with the moment that is to be shown of it."""
    if isinstance(as_of, TagRecord):
        kept = {tables.place(path): Moment(kept=epoch) for path, epoch in as_of.tables.items()}
        return {
            place: kept[place] for place in sorted(kept) if place.segment.overlaps(query.start, query.end)
        }
    tables.look()
    segments = [
        segment
        for segment in tables.segments()
        if segment.overlaps(query.start, query.end) and not tables.is_dropped(segment)
    ]
    return {Place(segment, shard): as_of for segment in segments for shard in tables.shards_in(segment)}


def _pin(
    fs: FileSystem,
    tables: Tables,
    wanted: Mapping[Place, Moment],
    skipped: list[CorruptionError] | None,
    runtime: Runtime,
) -> dict[Place, Snapshot]:
    opened = {place: _opened(tables, place) for place in _together(tables, wanted)}
    damaged: dict[Place, list[CorruptionError]] = {place: [] for place in wanted}

    def look(place: Place) -> Snapshot | MeasureFSError:
        table, noted = opened[place], None if skipped is None else damaged[place]
        try:
            if table is not None:
                return table.at(wanted[place], noted)
            return _unopened(fs, tables, place, wanted[place], noted, runtime)
        except MeasureFSError as error:
            return error

    outcomes = list(runtime.run_io(look, list(wanted)))
    found = {place: each for place, each in zip(wanted, outcomes, strict=True) if isinstance(each, Snapshot)}
    if len(found) < len(wanted):
        for snapshot in found.values():
            snapshot.release()
        raise_first(outcomes)
    if skipped is not None:
        skipped += [error for place in wanted for error in damaged[place]]
    return found


def _together(tables: Tables, places: Mapping[Place, Moment]) -> list[Place]:
    """Open tables, many at a time."""
    with contextlib.suppress(CorruptionError):
        tables.reading(list(places))
    return list(places)


def _opened(tables: Tables, place: Place) -> TsTable | None:
    """Return a table, None if it does not open: what is damaged now need not be what is asked for."""
    try:
        return tables.reading([place])[0]
    except CorruptionError:
        return None


def _unopened(
    fs: FileSystem,
    tables: Tables,
    place: Place,
    moment: Moment,
    skipped: list[CorruptionError] | None,
    runtime: Runtime,
) -> Snapshot:
    path = tables.path(place)
    try:
        past = look_back(fs, path, moment, whole=skipped is None, floor=tables.schema.floor)
    except CorruptionError as error:
        if skipped is None:
            raise
        skipped.append(error)
        return Snapshot(0, [])
    if skipped is not None:
        skipped += past.damaged
    parts = [FilePart(path, part, runtime.cache) for part in past.parts]
    return Snapshot(past.epoch, parts, time=past.time)
