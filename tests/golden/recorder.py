"""Writes a store always the same way, and keeps a model of what is in it."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import pyarrow as pa

import measurefs
from measurefs import Database, FileSystem, Measure, PartOptions, TableOptions
from measurefs.fs import LockHolder
from measurefs.table import Runtime
from measurefs.table.epochs import snapshot_epoch
from tests.golden import plain

START = 1_704_067_200_000_000_000
"""2024-01-01, when the writers of these stores think they live."""

SCHEMA_FIELDS = ("interval", "first_interval", "ttl", "revision", "dropped_before", "floor")
"""What else there is to a measure."""

_ARRIVAL = 1 << 40
Row = Mapping[str, Any]
Key = tuple[Any, ...]


def _holder(token: int) -> LockHolder:
    return LockHolder(token, "writer.example", 4242, "2024-01-01T00:00:00+00:00")


class Recorder:
    """A store being written: no clock, no threads of its own, no host.

    Parameters
    ----------
    fs : FileSystem
        Where it is written.
    """

    def __init__(self, fs: FileSystem) -> None:
        self.fs = fs
        self.entities: dict[str, list[str]] = {}
        self.rows: dict[str, dict[Key, tuple[int, Row]]] = {}
        self.earlier: dict[str, plain.Rows] = {}
        self._start = START
        self._seconds = itertools.count()
        self._arrivals = itertools.count(_ARRIVAL)

    @contextlib.contextmanager
    def open(
        self,
        compact_bytes: int = 8 << 20,
        block_rows: int = 4096,
        keep_snapshots: int = 1000,
        log_bytes: int = 0,
    ) -> Iterator[Database]:
        """Open it for writing; nothing is merged or collected unless asked for, and each durable write is a part."""
        options = TableOptions(
            flush_interval=1e9,
            log_bytes=log_bytes,
            gc_interval=1e9,
            gc_grace=0.0,
            keep_snapshots=keep_snapshots,
            part=PartOptions(block_rows=block_rows, compact_bytes=compact_bytes, summary_rows=64),
        )
        runtime = Runtime(
            monotonic=lambda: 0.0,
            now=lambda: self._start + next(self._seconds) * 1_000_000_000,
            random=random.Random(1),
            run=map,
        )
        with (
            mock.patch.object(LockHolder, "here", _holder),  # the files must not name this machine
            measurefs.open(self.fs, options=options, runtime=runtime, background=False) as db,
        ):
            yield db

    def create(self, db: Database, name: str, **schema: Any) -> Measure:
        """Create a measure."""
        measure = db.create_measure(name, **schema)
        self.entities[name] = list(measure.schema.entity)
        self.rows.setdefault(name, {})
        return measure

    def write(self, measure: Measure, rows: Sequence[Row], *, durable: bool = True) -> None:
        """Write rows, those with a version or all without."""
        names = dict.fromkeys(name for row in rows for name in row)
        kinds = measure.schema.columns | measure.schema.entity
        columns = {
            name: pa.array(
                [row.get(name) for row in rows], kinds[name].arrow if name in kinds else pa.int64()
            )
            for name in names
        }
        measure.write(columns, durable=durable)
        known = self.rows[measure.name]
        for row in rows:
            key = (*(row[name] for name in self.entities[measure.name]), row["time"])
            version = row.get("version", next(self._arrivals))
            if key not in known or known[key][0] <= version:
                known[key] = version, row

    def pass_time(self, nanoseconds: int) -> None:
        """Let so much time pass."""
        self._start += nanoseconds

    def delete(self, measure: Measure, start: int, end: int) -> None:
        """Delete rows by time."""
        measure.delete(start, end)
        self.forget(measure, lambda time: start <= time < end)

    def forget(self, measure: Measure, gone: Callable[[int], bool]) -> None:
        """Take note that rows of such times are there no more."""
        known = self.rows[measure.name]
        self.rows[measure.name] = {key: row for key, row in known.items() if not gone(key[-1])}

    def evolve(self, measure: Measure, **changes: Any) -> None:
        """Change the schema; what was written before is of the new types."""
        before = measure.schema.columns
        measure.evolve(**changes)
        for name, kind in measure.schema.columns.items():
            if name not in before or before[name] == kind:
                continue
            for key, (version, row) in self.rows[measure.name].items():
                value = pa.scalar(row.get(name), before[name].arrow).cast(kind.arrow).as_py()
                self.rows[measure.name][key] = version, {**row, name: value}

    def drop(self, db: Database, name: str) -> None:
        """Drop a measure."""
        db.drop_measure(name)
        del self.rows[name], self.entities[name]

    def note_snapshot(self, measure: Measure) -> None:
        """Note what the measure holds now, by the one snapshot that its one table has committed last."""
        ((path, stats),) = measure.stats().items()
        name = f"{path}/{stats['committed_epoch']:016x}.snp"
        self.earlier[name] = plain.rows_of(everything(measure))

    def check(self, measure: Measure) -> None:
        """Fail unless the measure holds what was written by the rules: this is not to record a mistake."""
        found = {}
        names = [*measure.schema.names, "version"]
        for values in everything(measure).to_pylist():
            row = {name: values[name] for name in names if name not in ("time", "version")}
            row["time"] = int(values["time"].value)
            key = (*(row[name] for name in self.entities[measure.name]), row["time"])
            assert key not in found, key
            found[key] = values["version"], row
        expected = self.rows[measure.name]
        assert found.keys() == expected.keys()
        for key, (version, row) in expected.items():
            there = {name: row.get(name) for name in names if name != "version"}
            assert repr(found[key][1]) == repr({name: there[name] for name in found[key][1]}), key
            assert "version" not in row or found[key][0] == version, key


def everything(measure: Measure, as_of: Any = None) -> pa.Table:
    """Return all rows in order of series, with their versions."""
    columns = [*measure.schema.names, "version"]
    return measure.query(columns=columns, order="series", as_of=as_of).to_arrow()


def describe(db: Database) -> dict[str, Any]:
    """Return what `expected.json` says of each measure: types, rows, tags, and how its tables are made up."""
    measures = {}
    for name in db.measures():
        measure = db.measure(name)
        table = everything(measure)
        measures[name] = {
            "types": plain.types_of(table),
            "rows": plain.rows_of(table),
            "tags": {tag: plain.rows_of(everything(measure, tag)) for tag in measure.tags()},
            "schema": {field: getattr(measure.schema, field) for field in SCHEMA_FIELDS},
            "tables": {
                path: {
                    "epoch": f"{stats['epoch']:016x}",
                    "parts": stats["file_parts"],
                    "rows": stats["rows"],
                    "blocks": stats["blocks"],
                    "snapshots": _snapshots(db.fs, path),
                }
                for path, stats in measure.stats().items()
            },
        }
    return measures


def _snapshots(fs: FileSystem, path: str) -> list[str]:
    return [entry.name for entry in fs.read_dir(path) if snapshot_epoch(entry.name) is not None]
