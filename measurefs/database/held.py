"""A measure that is held open: its schema and tables, and how it is let go of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from measurefs.database.outcomes import caught
from measurefs.database.reading import Planner
from measurefs.database.retention import Retention
from measurefs.database.schema import MeasureSchema
from measurefs.database.tables import Tables
from measurefs.database.tags import Tags
from measurefs.fs.errors import ClosedError, PermissionError_
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.listing import Listing
from measurefs.fs.process import ProcessGuard
from measurefs.part.labels import LabelEncoder
from measurefs.table import Background, MemoryBudget, Runtime, TableOptions, TsTable


class HeldMeasure:
    """What a measure keeps open, see `Measure`."""

    def __init__(
        self,
        fs: FileSystem,
        root: str,
        schema: MeasureSchema,
        options: TableOptions,
        runtime: Runtime,
        background: Background | None,
        memory: MemoryBudget,
        listing: Listing,
        *,
        read_only: bool,
        max_age: float | None = None,
    ) -> None:
        self._fs = fs
        self._options = options
        self._runtime = runtime
        self._read_only = read_only
        self._max_age = max_age
        self._guard = ProcessGuard()
        self.closed = self._dropped = False
        self._encoder = LabelEncoder(options.series_hash)
        self._latest_planner = Planner(schema, options.series_hash)
        self._tables = Tables(fs, root, schema, options, runtime, background, memory, listing)
        self._background = background
        self._root = root
        self._tags = Tags(fs, root, self._tables, runtime)
        self._retention = Retention(fs, root, self._tables, options, runtime)
        if background is not None and not read_only:
            background.add(self._retention, slow=True)  # taking locks may take long

    @property
    def schema(self) -> MeasureSchema:
        """Its columns, interval, ttl and shards, as far as they are known here."""
        return self._tables.schema

    def _planner(self, schema: MeasureSchema) -> Planner:
        """Return what understands questions by a schema, of which there is seldom another one."""
        planner = self._latest_planner
        if planner.schema is not schema:
            planner = self._latest_planner = Planner(schema, self._options.series_hash)
        return planner

    @property
    def name(self) -> str:
        """The measure's name."""
        return self.schema.name

    def __repr__(self) -> str:
        return f"<Measure {self.name!r}: {', '.join(self.schema.names)}>"

    def refresh(self) -> None:
        """See what other processes have committed and changed since the measure was opened or refreshed.

        Raises
        ------
        ClosedError
            One of them has dropped the measure; this object is closed then.
        """
        self._check_open()
        try:
            self._tables.refresh()
        except ClosedError:
            self.discard()
            raise

    def step(self) -> float:
        """Do what is due by now, as `Database.step` does."""
        self._check_open()
        tables = self._tables.writers()
        pauses = [pause for table in tables for pause in (table.step(), table.merge())]
        return min([*pauses, self._retention.step()])

    def rows_at_risk(self) -> int:
        """Return how many rows are not durable yet, in tables that are open for writing."""
        self._check_open()
        rows = 0
        for table in self._tables.writers():
            with contextlib.suppress(ClosedError):
                rows += table.rows_at_risk()
        return rows

    def close(self) -> None:
        """Make every row durable and let go of the tables; `Database.close` does it for all measures."""
        if not self.closed and self._guard.at_home:
            self._tables.close()
            if self._background is not None:
                self._background.remove(self._retention)
            self._retention.close()
        self.closed = True

    @contextlib.contextmanager
    def held(self) -> Iterator[list[TsTable]]:
        """Give the tables that are open for writing here, and hold no lock but theirs; for who drops the measure."""
        with self._retention.paused():
            yield self._tables.writers()

    def discard(self) -> None:
        """Let go of the tables of a measure that was dropped, and of their rows in memory."""
        self.closed = self._dropped = True
        if self._background is not None:
            self._background.remove(self._retention)
        caught(self._retention.close)
        caught(self._tables.abandon)  # what cannot be released is not there any more

    def _check_open(self) -> None:
        self._guard.check(f"measure {self.name!r}")
        if self._dropped:
            raise ClosedError(f"measure {self.name!r} was dropped")
        if self.closed:
            raise ClosedError(f"measure {self.name!r} is closed; get it from an open database again")

    def _check_writable(self) -> None:
        self._check_open()
        if self._read_only:
            raise PermissionError_("write", self.name, "it was opened with read_only=True; open it without")
