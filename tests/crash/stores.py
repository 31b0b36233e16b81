"""What workloads run on: a table alone, one of wide parts, or a database with segments and shards."""

from __future__ import annotations

import abc
import contextlib
import itertools
import random
from collections.abc import Sequence

from measurefs import Database, PartOptions, TableOptions
from measurefs import open as open_database
from measurefs.database.batch import check_batch, split
from measurefs.database.database import _open_databases
from measurefs.database.inputs import to_table
from measurefs.database.measure import Measure
from measurefs.fs import FileSystem, MeasureFSError, NotExistError, ReadOnlyFileSystem, basename, join
from measurefs.part.metadata import part_name
from measurefs.table import Runtime, TsTable
from measurefs.table.epochs import snapshot_epoch
from measurefs.table.recovery import read_snapshot
from measurefs.testing import CrashFileSystem
from measurefs.testing.crash_handles import TEMPORARY
from tests.crash.journal import Contents
from tests.crash.leases import LeasedFileSystem, part_company
from tests.table.tables import SCHEMA, Clock, batch, contents, contents_of

Row = tuple[int, int, int | None]
"""id, time, value."""

DAY = 86_400_000_000_000
PERIOD = 3600.0


class StrictFileSystem(CrashFileSystem):
    """Refuses a snapshot of parts that a power cut may take; unless ``strict`` is false.

    Only a writer that is no longer the writer may do that: nobody will ever look at its snapshot.
    """

    strict = True

    def write(self, path, data, *, exclusive=False):
        written = super().write(path, data, exclusive=exclusive)
        root, _, name = path.rpartition("/")
        epoch = snapshot_epoch(name)
        if epoch is not None and self.strict:
            for part in read_snapshot(self, root, epoch).parts:
                assert self.is_durable(join(root, part.name)), (
                    f"{path} names {part.name}, which is not synced"
                )
        return written

    def break_locks(self, path=None):
        super().break_locks(path)
        part_company()

    def _restarted(self):
        part_company()
        return super()._restarted()


class Opened(abc.ABC):
    """A store that is open for writing."""

    clock: Clock

    @abc.abstractmethod
    def homes(self, rows: Sequence[Row]) -> dict[str, Contents]:
        """Divide rows among tables."""

    @abc.abstractmethod
    def add(self, rows: Sequence[Row], version: int | None, *, durable: bool) -> None: ...

    @abc.abstractmethod
    def flush(self) -> None: ...

    @abc.abstractmethod
    def gc(self) -> None: ...

    @abc.abstractmethod
    def step(self) -> None:
        """Do by itself what is due an hour later."""

    @abc.abstractmethod
    def contents(self) -> dict[str, Contents]: ...

    @abc.abstractmethod
    def parts(self) -> dict[str, list[int]]: ...

    @abc.abstractmethod
    def close(self) -> None: ...


class Store(abc.ABC):
    """A kind of store."""

    def __init__(self, name: str, compact_bytes: int = 8 << 20, keep_snapshots: int = 2) -> None:
        self.name = name
        self.options = TableOptions(
            gc_grace=0.0,
            keep_snapshots=keep_snapshots,
            gc_interval=PERIOD,
            part=PartOptions(compact_bytes=compact_bytes),
        )

    def runtime(self) -> Runtime:
        """One clock that stands still, one that ticks, one seed, no threads."""
        ticks = itertools.count(1)
        return Runtime(monotonic=Clock(), now=lambda: next(ticks), random=random.Random(1), run=map)

    @abc.abstractmethod
    def open(self, fs: FileSystem) -> Opened: ...

    @abc.abstractmethod
    def read(self, fs: FileSystem) -> dict[str, Contents]:
        """What a reader finds, who writes nothing."""

    @abc.abstractmethod
    def parts(self, fs: FileSystem) -> dict[str, list[int]]:
        """The parts that a reader finds in each table: equal parts are equal rows, and cost less to compare."""

    def leftovers(self, fs: FileSystem) -> list[str]:
        """What is in the tables' directories that nothing names, and snapshots beyond those to keep."""
        return sorted(path for root in self.roots(fs) for path in _leftovers(fs, root, self.options))

    @abc.abstractmethod
    def roots(self, fs: FileSystem) -> list[str]:
        """The directories of tables."""


def _leftovers(fs: FileSystem, root: str, options: TableOptions) -> list[str]:
    names = {entry.name for entry in fs.read_dir(root) if not entry.name.startswith("LOCK")}
    epochs = sorted(epoch for name in names if (epoch := snapshot_epoch(name)) is not None)
    named = {part.name for epoch in epochs for part in read_snapshot(fs, root, epoch).parts}
    others = {name for name in names - named if snapshot_epoch(name) is None}
    too_many = [part_name(epoch) for epoch in epochs[: -options.keep_snapshots]]
    return [join(root, name) for name in [*others, *too_many]]


class TableStore(Store):
    """One table, ``t``."""

    def open(self, fs):
        return _OpenTable(TsTable(fs, "t", self.options, schema=SCHEMA, runtime=self.runtime()))

    def _reading(self, fs):
        return TsTable(ReadOnlyFileSystem(fs), "t", self.options, schema=SCHEMA, read_only=True)

    def read(self, fs):
        with self._reading(fs) as table:
            return {"t": contents(table)}

    def parts(self, fs):
        with self._reading(fs) as table:
            return _OpenTable(table).parts()

    def roots(self, fs):
        return [entry.name for entry in fs.read_dir("") if entry.is_dir]


class LeasedStore(TableStore):
    """One table, whose lock is a lease."""

    def open(self, fs):
        return super().open(LeasedFileSystem(fs))

    def leftovers(self, fs):
        """An object store has no half-written files, so nobody removes those of this disk."""
        return [path for path in super().leftovers(fs) if not basename(path).startswith(TEMPORARY)]


class _OpenTable(Opened):
    def __init__(self, table: TsTable) -> None:
        self.table = table

    def homes(self, rows):
        return {"t": {(key, time): value for key, time, value in rows}}

    def add(self, rows, version, *, durable):
        ids, times, values = zip(*rows, strict=True)
        versions = None if version is None else [version] * len(rows)
        epoch = self.table.add(batch(ids, times, values, versions), arrival=version is None)
        if durable:
            self.table.flush(epoch)

    def flush(self):
        self.table.flush()

    def gc(self):
        self.table.gc()

    def step(self):
        self.table._runtime.monotonic.seconds += PERIOD
        self.table.step()

    def contents(self):
        return {"t": contents(self.table)}

    def parts(self):
        with self.table.pin() as snapshot:
            return {"t": [part.id for part in snapshot.parts]}

    def close(self):
        self.table.close()


class MeasureStore(Store):
    """A measure ``m`` with a segment per day and two shards."""

    def open(self, fs):
        database = open_database(fs, options=self.options, runtime=self.runtime(), background=False)
        # A process that dies in a test is not there to close its database when the interpreter exits.
        _open_databases.discard(database)
        try:
            measure = database.create_measure(
                "m", entity={"id": "int64"}, fields={"value": "int64"}, shards=2, exist_ok=True
            )
            return _OpenMeasure(database, measure)
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

    def parts(self, fs):
        with self._reading(fs) as measure:
            return _parts_of(measure) if measure else {}

    def roots(self, fs):
        return list(self.parts(fs))


def _parts_of(measure: Measure) -> dict[str, list[int]]:
    found = {}
    for path, snapshot in measure.snapshots().items():
        with snapshot:
            found[path] = [part.id for part in snapshot.parts]
    return found


def _contents_of(measure: Measure) -> dict[str, Contents]:
    found = {}
    for path, snapshot in measure.snapshots().items():
        with snapshot:
            found[path] = contents_of(measure._fs, snapshot)
    rows = measure.query().to_arrow().to_pylist()
    queried = {(row["id"], int(row["time"].value)): row["value"] for row in rows}
    together = dict(item for each in found.values() for item in each.items())
    assert queried == together, "a query gives something else than the tables hold"
    return found


class _OpenMeasure(Opened):
    def __init__(self, database: Database, measure: Measure) -> None:
        self.database = database
        self.measure = measure
        # As a writer would sooner or later, so that all can be collected.
        measure._tables.writing(measure._tables.places())

    def _data(self, rows, version):
        data = {
            "time": [time for _, time, _ in rows],
            "id": [key for key, _, _ in rows],
            "value": [value for _, _, value in rows],
        }
        return data if version is None else data | {"version": [version] * len(rows)}

    def homes(self, rows):
        measure = self.measure
        table = to_table(self._data(rows, None), "time")
        checked = check_batch(table, measure.schema, "time", measure._encoder).rows
        homes = {}
        for place, piece in split(checked, measure._interval, measure.schema.shards):
            ids = piece.series.entities.column(0).take(piece.codes).to_pylist()
            values = piece.columns["value"].to_pylist()
            homes[measure._tables.path(place)] = {
                (key, time): value for key, time, value in zip(ids, piece.times.tolist(), values, strict=True)
            }
        return homes

    def add(self, rows, version, *, durable):
        self.measure.write(self._data(rows, version), durable=durable)

    def flush(self):
        self.measure.flush()

    def gc(self):
        self.measure.gc()

    def step(self):
        self.measure._runtime.monotonic.seconds += PERIOD
        self.database.step()

    def contents(self):
        return _contents_of(self.measure)

    def parts(self):
        return _parts_of(self.measure)

    def close(self):
        self.database.close()


STORES = {
    store.name: store
    for store in (
        TableStore("table"),
        TableStore("wide", compact_bytes=0, keep_snapshots=1),
        LeasedStore("leased"),
        MeasureStore("measure"),
    )
}
__all__ = ["DAY", "STORES", "Opened", "Row", "Store", "StrictFileSystem"]
