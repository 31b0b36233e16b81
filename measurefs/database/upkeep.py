"""What keeps a measure in good order: tags, schema changes, compaction, deleting, checking, collecting."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from measurefs.database.evolution import KEEP, Evolution, Keep
from measurefs.database.evolving import evolve
from measurefs.database.held import HeldMeasure
from measurefs.database.rewriting import Progress, collect, compact, delete
from measurefs.database.schema import TagSpec
from measurefs.fs.cached import past_cache
from measurefs.fs.errors import CorruptionError
from measurefs.fs.paths import escape
from measurefs.table import Snapshot

if TYPE_CHECKING:
    from measurefs.table.repair import RepairReport
    from measurefs.table.verify import VerifyReport


class MeasureUpkeep(HeldMeasure):
    """What is done now and then with a measure, see `Measure`."""

    def tag(self, name: str) -> datetime.datetime:
        """Keep what the measure holds now under a name, durably, until `untag`; others write and read meanwhile.

        ``query(as_of=name)`` finds exactly the rows that a query finds at this moment: of every batch all or nothing.
        The files that hold them are kept, also when compaction has replaced them and when the rows expire or are
        deleted, so that a tag costs the space of what has changed since.

        Parameters
        ----------
        name : str
            Any text.

        Returns
        -------
        datetime
            When that was, as in `tags`.

        Raises
        ------
        SchemaError
            There is a tag of that name: untag it first. Or the text cannot name one.
        LockError
            Another writer has a table; a tag needs all of them.
        NotDurableError, FileSystemError
            It could not be made durable. Whether there is a tag, `tags` says.
        FencedError
            Another writer has taken over a table; there is no tag.
        """
        self._check_writable()
        return self._tags.make(name)

    def holding(self) -> contextlib.AbstractContextManager[dict[str, int]]:
        """Keep what the tables that are open for writing here hold at one moment; see `Tags.holding`."""
        self._check_open()
        return self._tags.holding()

    def untag(self, name: str) -> None:
        """Remove a tag; what only it kept is collected as garbage.

        Raises
        ------
        SchemaError
            There is none of that name; the message suggests the nearest.
        LockError
            Another writer has a table.
        FileSystemError
            Something could not be removed. If `tags` does not show it any more, the next `gc` removes the rest.
        """
        self._check_writable()
        self._tags.remove(name)

    def tags(self) -> dict[str, datetime.datetime]:
        """Return the measure's tags, the oldest first, and when each was made (in UTC).

        Raises
        ------
        CorruptionError
            One of them is damaged; repair the store.
        """
        self._check_open()
        return self._tags.all()

    def evolve(
        self,
        *,
        tags: TagSpec | None = None,
        fields: Mapping[str, str] | None = None,
        interval: str | None = None,
        ttl: str | Keep | None = KEEP,
    ) -> None:
        """Add tags and fields, widen their types, or change the interval or the ttl; durable on return.

        In this process writes and queries go by the new schema at once, in others after `refresh`, and when they come
        upon rows that only a newer schema can explain. Rows that were stored before are null in new columns. Several
        processes may do this at once, and nothing is lost. After a crash or a `FileSystemError` it may have been done
        or not; do it again.

        A column that is there already with that type is left alone. Its type can be widened: bool to int64, int64 to
        float64, string to binary. What is stored is cast when it is read. For float64, every integer in the column
        that a file or this process has is looked at first, also in rows that were replaced. A process that does not
        know of the change yet may store integers that float64 does not have: no query gives another value for one,
        those that need the column raise `SchemaError`.

        Parameters
        ----------
        tags, fields : dict, optional
            As `Database.create_measure` takes them. A tag that is given without a family is looked for in all.
        interval : str, optional
            What new segments span. Those that are there stay.
        ttl : str or None, optional
            None for rows that do not expire. What has been dropped already stays so.

        Raises
        ------
        SchemaError
            It cannot be done, and why: an entity column, a narrower or unrelated type, a name that is taken, a value
            that the wider type does not have (with its table). Nothing was changed.
        PermissionError_
            The store was opened with ``read_only=True``.
        ClosedError
            The measure was closed or dropped.
        CorruptionError, FileSystemError
            The schema, or a column that is widened, could not be read, or the schema not be written.
        """
        self._check_writable()
        evolve(self._fs, self._root, self._tables, Evolution(tags, fields, interval, ttl))

    def compact(self, progress: Progress | None = None) -> None:
        """Make one part of each table, of all rows written so far; readers and writers go on meanwhile.

        Tables are merged by themselves as they grow; this is for what is only read from now on. What is replaced is
        removed when nothing needs it any more, see `gc`.

        Parameters
        ----------
        progress : callable, optional
            Called now and then with how many rows are done and how many there are.

        Raises
        ------
        LockError
            Another process has a table that has more than one part. Others may have been compacted.
        FileSystemError, CorruptionError
            Something could not be read or written; nothing is lost.
        """
        self._check_writable()
        compact(self._tables, progress)

    def delete(self, start: Any = None, end: Any = None, where: Mapping[str, Any] | None = None) -> int:
        """Remove rows for good, in any version; at least one of the parameters must be given.

        On return they are gone from every query, but for those at tags made before; a crash does not bring them
        back. Each table changes all at once; after an error or a crash some tables may have lost the rows and others
        not: delete again. Rows that are written meanwhile may stay. The files go when nothing needs them any more:
        with the next snapshots and `gc`.

        Parameters
        ----------
        start, end
            Times from start up to but without end, as `query` takes them.
        where : dict, optional
            Of the entity columns, as `query` takes it: ``{"host": ["a", "b"]}``.

        Returns
        -------
        int
            How many rows went; versions that others had superseded count, too, unless they were merged away before.

        Raises
        ------
        SchemaError
            Nothing is given, where names other columns than the entity's, or a value cannot be understood.
        LockError
            Another process has a table that may hold such rows.
        FileSystemError, CorruptionError
            Something could not be read or written.
        """
        self._check_writable()
        return delete(self._tables, self._options.series_hash, start, end, where)

    def gc(self) -> list[str]:
        """Remove files that nothing needs any more; return their paths.

        Segments all of whose rows are past the ttl are dropped, as a thread of the database's does by itself, and
        their files removed once that is ``options.gc_grace`` ago and no query result in this process needs them.

        Raises
        ------
        FileSystemError, CorruptionError
            Something could not be read or removed; the next call tries again.
        """
        self._check_writable()
        removed = self._retention.run()
        with self._tags.clearing() as clear:
            return removed + collect(self._tables, clear)

    def stats(self) -> dict[str, Any]:
        """Return what the measure holds: for each table its `TsTable.stats`, by its path in the store."""
        self._check_open()
        return {table.root: table.stats() for table in self._tables.reading(self._tables.places())}

    def snapshots(self) -> dict[str, Snapshot]:
        """Return the current snapshot of each table, pinned, by its path; release them when done."""
        self._check_open()
        return {table.root: table.pin() for table in self._tables.reading(self._tables.places())}

    def verify(self) -> VerifyReport:
        """Read every file of the measure and check it; see `Database.verify`."""
        from measurefs.database.verify import Checker, verify_measure  # noqa: PLC0415 - rarely needed

        self._check_open()
        checker = Checker.of(self._options, self._runtime)
        return verify_measure(past_cache(self._fs), escape(self.name), checker)

    def repair(self, *, apply: bool = False) -> RepairReport:
        """Make every damaged table one that opens, with everything in it that can be read.

        Nothing is deleted: damaged snapshots and parts are kept as ``.corrupt``. Of the parts that only a damaged
        snapshot can have named all that are whole are taken in; where rows are there twice, versions decide as ever.
        A crash in the midst leaves tables on which it can be done again.

        Parameters
        ----------
        apply : bool
            Do it; default is to say what would be done, without a lock.

        Returns
        -------
        RepairReport
            What was found, what was (or would be) done, and what is left to you.

        Raises
        ------
        LockError
            A table is to be repaired, and a writer, perhaps in this process, has it. Others may have been repaired.
        FileSystemError
            Something could not be written; repair again.
        """
        from measurefs.database.repair import repair_measure  # noqa: PLC0415 - rarely needed
        from measurefs.database.verify import Checker  # noqa: PLC0415

        if apply:
            self._check_writable()
        self._check_open()
        checker = Checker.of(self._options, self._runtime)
        done = repair_measure(
            past_cache(self._fs), escape(self.name), checker, self._runtime.now, apply=apply
        )
        if apply:
            self.refresh_repaired()
        return done

    def refresh_repaired(self) -> None:
        """See what repair has made of the tables; one that still does not open says so when it is read."""
        self._check_open()
        with contextlib.suppress(CorruptionError):
            self._tables.refresh()
