"""A database with one measure as a store: segments, shards, tags and a schema that changes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from measurefs import Database
from measurefs import open as open_database
from measurefs.database.batch import check_batch, split
from measurefs.database.database import _open_databases
from measurefs.database.dropping import DROPPED
from measurefs.database.identity import IDENTITY, SCHEMA
from measurefs.database.inputs import to_table
from measurefs.database.measure import Measure
from measurefs.database.retention import expired_before
from measurefs.database.schema import MeasureSchema
from measurefs.database.schema_chain import newest_or_none, revision_of
from measurefs.database.tags import TAGS, read_tag, tag_names
from measurefs.fs import (
    CorruptionError,
    FileSystem,
    MeasureFSError,
    NotExistError,
    SchemaError,
    basename,
    join,
)
from measurefs.fs.listing import list_dir
from measurefs.table.tags import parse_tag
from measurefs.testing.crash_handles import TEMPORARY
from tests.crash.journal import Beside, Contents, Shape
from tests.crash.store import DAY, PERIOD, Opened, Store, merge_by_itself
from tests.database.helpers import rows_of
from tests.table.tables import contents_of

TTL = DAY
"""A day, by a clock that stands still at 1970 unless a workload moves it."""

EXTRA_FROM = 500
"""Rows of ids from here on have their value in the field ``extra``, too, when there is one."""

_KEPT_REVISIONS = 2


class MeasureStore(Store):
    """A measure ``m`` with a segment per day, two shards and a ttl."""

    def open(self, fs):
        database = open_database(fs, options=self.options, runtime=self.runtime(), background=False)
        # A process that dies in a test is not there to close its database when the interpreter exits.
        _open_databases.discard(database)
        try:
            return _OpenMeasure(database, _created(database))
        except MeasureFSError:
            database.close()  # some of its tables may be open, and hold their locks
            raise

    @contextlib.contextmanager
    def _reading(self, fs):
        """A reader's measure; None where there is no store, or not yet the measure."""
        try:
            database = open_database(fs, read_only=True, options=self.options, runtime=self.runtime())
        except NotExistError:
            yield None
            return
        with database:
            yield database.measure("m") if "m" in database.measures() else None

    def read(self, fs):
        with self._reading(fs) as measure:
            return _contents_of(measure) if measure else {}

    def beside(self, fs):
        with self._reading(fs) as measure:
            return _beside(measure) if measure else Beside({})

    def roots(self, fs):
        with self._reading(fs) as measure:
            return list(_contents_of(measure)) if measure else []

    def leftovers(self, fs):
        """Also of dropped segments and measures, of tags, and of the schema."""
        known = {"m.lock", "m.json"}  # of a measure that is there: for whoever drops it next
        found = [join(DROPPED, entry.name) for entry in list_dir(fs, DROPPED) if entry.name not in known]
        found += [entry.name for entry in fs.read_dir("") if entry.name not in (IDENTITY, DROPPED, "m")]
        with self._reading(fs) as measure:
            if measure is not None:
                found += _left_in(fs, measure)
        # Nobody locks these directories, and so nobody removes what a crash has left half-written there.
        return sorted(super().leftovers(fs) + [path for path in found if not _is_unfinished(path)])


def _is_unfinished(path: str) -> bool:
    return basename(path).startswith(TEMPORARY)


def _created(database: Database) -> Measure:
    try:
        return database.create_measure(
            "m", entity={"id": "int64"}, fields={"value": "int64"}, shards=2, ttl="1d", exist_ok=True
        )
    except SchemaError:  # it has been changed since
        return database.measure("m")


def _left_in(fs: FileSystem, measure: Measure) -> Iterator[str]:
    """Yield what is in a measure's directory and none of the measure."""
    tables = {measure._tables.path(place) for place in measure._tables.places()}
    kept = {f"m/{path}": epoch for tag in _tag_records(fs) for path, epoch in tag.tables.items()}
    names = [entry.name for entry in fs.read_dir("m")]
    revisions = sorted(revision for name in names if (revision := revision_of(name)) is not None)
    known = {SCHEMA, TAGS, *(revision.name for revision in revisions[-_KEPT_REVISIONS:])}
    known |= {path.split("/")[1] for path in kept}
    # A crash may leave a segment without tables, for the rows to come.
    segments = [segment for segment in measure._tables.segments() if not measure._tables.is_dropped(segment)]
    known |= {basename(measure._tables.segment_path(segment)) for segment in segments}
    yield from (join("m", name) for name in names if name not in known)
    for table in {*tables, *kept}:
        tags = [tag for entry in list_dir(fs, table) if (tag := parse_tag(entry.name)) is not None]
        named = {record.tag for record in _tag_records(fs) if table.removeprefix("m/") in record.tables}
        yield from (join(table, tag.file) for tag in tags if tag.tag not in named)
    yield from (
        join("m", TAGS, entry.name) for entry in list_dir(fs, join("m", TAGS)) if ".json" not in entry.name
    )


def _tag_records(fs: FileSystem) -> list[Any]:
    return [read_tag(fs, "m", name) for name in tag_names(fs, "m")]


def _contents_of(measure: Measure) -> dict[str, Contents]:
    found = {}
    for path, snapshot in measure.snapshots().items():
        with snapshot:
            found[path] = contents_of(measure._fs, snapshot)
    rows = rows_of(measure)
    since = expired_before(measure.schema, measure._runtime.now())
    _compare(rows, found, since)
    for row in rows:
        if "extra" in row:
            assert row["extra"] == (row["value"] if row["id"] >= EXTRA_FROM else None)
    return found


def _compare(rows: list[dict[str, Any]], found: Mapping[str, Contents], since: int) -> None:
    queried = {(row["id"], row["time"]): row["value"] for row in rows}
    together = {key: value for each in found.values() for key, value in each.items() if key[1] >= since}
    assert queried == together, "a query gives something else than the tables hold"


def _beside(measure: Measure) -> Beside:
    return Beside({name: _kept(measure, name) for name in measure.tags()}, _shape(measure.schema))


def _kept(measure: Measure, name: str) -> dict[str, Contents] | None:
    """What a query as of a tag finds, by table; None if it is damaged."""
    record = read_tag(measure._fs, "m", name)
    try:
        rows = rows_of(measure, as_of=name)
    except CorruptionError:
        return None
    found = _homes(measure, [(row["id"], row["time"], row["value"]) for row in rows])
    assert {path.removeprefix("m/") for path in found} <= record.tables.keys()
    return found


def _shape(schema: MeasureSchema) -> Shape:
    return (*(f"{name}: {kind}" for name, kind in schema.fields.items()), schema.interval, str(schema.ttl))


def _data(measure, rows, version):
    data = {
        "time": [time for _, time, _ in rows],
        "id": [key for key, _, _ in rows],
        "value": [value for _, _, value in rows],
    }
    if "extra" in measure.schema.fields:
        data["extra"] = [value if key >= EXTRA_FROM else None for key, _, value in rows]
    return data if version is None else data | {"version": [version] * len(rows)}


def _homes(measure, rows):
    if not rows:
        return {}
    table = to_table(_data(measure, rows, None), "time")
    checked = check_batch(table, measure.schema, "time", measure._encoder).rows
    homes = {}
    for place, piece in split(checked, measure._tables.division(), measure.schema.shards):
        ids = piece.series.entities.column(0).take(piece.codes).to_pylist()
        values = piece.columns["value"].to_pylist()
        homes[measure._tables.path(place)] = {
            (key, time): value for key, time, value in zip(ids, piece.times.tolist(), values, strict=True)
        }
    return homes


class _OpenMeasure(Opened):
    def __init__(self, database: Database, measure: Measure) -> None:
        self.database = database
        self.measure = measure
        # As a writer would sooner or later, so that all can be collected.
        measure._tables.writing(measure._tables.places())

    def homes(self, rows):
        return _homes(self.measure, rows)

    def add(self, rows, version, *, durable):
        self.measure.write(_data(self.measure, rows, version), durable=durable)

    def flush(self):
        self.measure.flush()

    def gc(self):
        self.measure.gc()

    def step(self):
        self.measure._runtime.monotonic.seconds += PERIOD
        self.database.step()

    def contents(self):
        return _contents_of(self.measure)

    def close(self):
        self.database.close()

    def merge(self):
        return [error for table in self.measure._tables.writers() for error in merge_by_itself(table)]

    def compact(self):
        self.measure.compact()

    def delete(self, start, end, ids):
        self.measure.delete(start, end, None if ids is None else {"id": sorted(ids)})

    def tag(self, name):
        self.measure.tag(name)

    def untag(self, name):
        self.measure.untag(name)

    def beside(self):
        return _beside(self.measure)

    def expire(self, before):
        self.measure._runtime.now.now = max(self.measure._runtime.now.now, before + TTL)
        self.measure._runtime.monotonic.seconds += PERIOD
        self.measure.gc()
        dropped = self.measure.schema.dropped_before
        return dropped is not None and dropped >= before

    def drop(self):
        try:
            self.database.drop_measure("m")
        except SchemaError:
            if newest_or_none(self.database.fs, "m") is not None:
                raise
            return False
        return True

    def create(self):
        self.measure = _created(self.database)

    def evolve(self, change):
        self.measure.evolve(**change)

    def shape(self):
        return _shape(self.measure.schema)
