"""One table as a store."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from measurefs.fs import CorruptionError, ReadOnlyFileSystem, basename
from measurefs.part.part import SeriesFilter
from measurefs.table import TsTable
from measurefs.table.history import Moment
from measurefs.testing.crash_handles import TEMPORARY
from tests.crash.journal import Beside
from tests.crash.leases import LeasedFileSystem
from tests.crash.store import PERIOD, Opened, Store, merge_by_itself
from tests.table.tables import SCHEMA, batch, contents, contents_of


class TableStore(Store):
    """One table, ``t``."""

    def open(self, fs):
        return _OpenTable(TsTable(fs, "t", self.options, schema=SCHEMA, runtime=self.runtime()))

    def _reading(self, fs):
        return TsTable(ReadOnlyFileSystem(fs), "t", self.options, schema=SCHEMA, read_only=True)

    def read(self, fs):
        with self._reading(fs) as table:
            return {"t": contents(table)}

    def beside(self, fs):
        with self._reading(fs) as table:
            return _OpenTable(table).beside()

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

    def log(self):
        """Make durable what was written, and leave it in memory."""
        self.table.flush(self.table.epoch)

    def gc(self):
        self.table.gc()

    def step(self):
        self.table._runtime.monotonic.seconds += PERIOD
        self.table.step()

    def contents(self):
        return {"t": contents(self.table)}

    def close(self):
        self.table.close()

    def merge(self):
        return merge_by_itself(self.table)

    def compact(self):
        self.table.compact()

    def delete(self, start, end, ids):
        self.table.delete(
            start, end, None if ids is None else SeriesFilter(lambda keys: _is_one_of(keys, ids))
        )

    def tag(self, name):
        self.table.tag(name)

    def untag(self, name):
        self.table.untag(name)

    def beside(self):
        return Beside({name: self._kept(epoch) for name, epoch in self.table.tags().items()})

    def _kept(self, epoch):
        try:
            with self.table.at(Moment(kept=epoch)) as snapshot:
                return {"t": contents_of(self.table.fs, snapshot)}
        except CorruptionError:
            return None


def _is_one_of(entities: Any, ids: Collection[int]) -> Any:
    return np.isin(entities.column(0).to_numpy(), list(ids))
