"""`TsTable`: one directory of parts and snapshots, one writer, any number of readers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Self

from measurefs.fs.errors import (
    BackpressureError,
    ClosedError,
    CorruptionError,
    FencedError,
    PermissionError_,
)
from measurefs.fs.filesystem import DirEntry, FileSystem, LockFile
from measurefs.fs.process import ProcessGuard
from measurefs.part.memory_part import MemoryPart
from measurefs.part.part import Part, Scan, SeriesFilter
from measurefs.part.rows import Rows, sort_rows
from measurefs.table.admission import Admission
from measurefs.table.attempts import Attempts
from measurefs.table.background import Background
from measurefs.table.coalescing import coalesced
from measurefs.table.flusher import Flusher
from measurefs.table.memory import MemoryBudget
from measurefs.table.merger import Progress
from measurefs.table.opening import Opened, open_to_write
from measurefs.table.options import Runtime, TableOptions
from measurefs.table.pending import Pending
from measurefs.table.schema import TableSchema
from measurefs.table.snapshot import Snapshot
from measurefs.table.stats import describe, describe_writing
from measurefs.table.tagging import Tagger
from measurefs.table.view import TableView


class TsTable(TableView):
    """A table of time series rows on a file system.

    Opening takes the table's lock, unless read_only, and finds the newest intact snapshot. Rows that `add`
    took are visible to every reader in the process at once, and durable within ``options.flush_interval``, or
    when `flush` or `close` returns. There is no write-ahead log: a crash takes what was not durable.

    Parameters
    ----------
    fs : FileSystem
    root : str
        The table's directory; made if it is missing.
    options : TableOptions, optional
    schema : TableSchema
        The rows' entity columns, tags and fields.
    read_only : bool
        Take no lock and write nothing.
    runtime : Runtime, optional
        Clock, randomness and threads.
    background : Background, optional
        What drives flushing and collecting; several tables may share one. Without it nothing happens by
        itself: call `step`, or `flush` and `gc`.
    memory : MemoryBudget, optional
        Shared by the tables that are to keep within one limit; default one of ``options.memory_limit``.
    predecessor : TsTable, optional
        This table as it was open before in this process: what its readers still pin is not collected, and what it
        has found to be garbage is once that is long enough ago.
    floor : int
        The token in use is this plus the lock's, and what was published under tokens up to this is not looked
        at: of a table that was dropped from this directory, however late its writer is done.
    base : int
        The token in use is more than this: of a table that was copied here, the highest of the one it is a copy of.
    listed : list of DirEntry, optional
        Read-only: what the directory has, if that was listed just before.

    Raises
    ------
    LockError
        Another writer has the table.
    CorruptionError
        What the newest snapshot names is not there, or there are parts and no snapshot.
    UnsupportedStoreError
        A newer release wrote it.
    """

    def __init__(
        self,
        fs: FileSystem,
        root: str,
        options: TableOptions | None = None,
        *,
        schema: TableSchema,
        read_only: bool = False,
        runtime: Runtime | None = None,
        background: Background | None = None,
        memory: MemoryBudget | None = None,
        predecessor: TsTable | None = None,
        floor: int = 0,
        base: int = 0,
        listed: list[DirEntry] | None = None,
    ) -> None:
        self.fs = fs
        self.root = root
        self.options = options or TableOptions()
        self.read_only = read_only
        self.damaged: list[CorruptionError] = []
        self._runtime = runtime or Runtime()
        self._background = background
        self._schema = schema
        self._floor = floor
        self._guard = ProcessGuard()
        self._closed = False
        self._fenced: FencedError | None = None
        self._lock: LockFile | None = None
        self._flusher: Flusher | None = None
        self._memory = memory or MemoryBudget(self.options.memory_limit)
        self._admission = Admission(self._memory)
        self._predecessor = None if predecessor is None else predecessor._nearest_pinned()
        self.unnamed_since = {} if predecessor is None else predecessor.unnamed_since
        self._pending = Pending(self._memory, self.options, self._runtime)
        self._attempts = Attempts(self._runtime)
        self._collect_at = 0.0
        self._used_at = self._runtime.monotonic()
        if read_only:
            self._introducer = self._open_for_reading(listed)
        else:
            self._begin(
                open_to_write(fs, root, schema, self.options, self._runtime, floor, base, self.unnamed_since)
            )

    def _begin(self, opened: Opened) -> None:
        self._lock, self._introducer, self.damaged = opened.lock, opened.introducer, opened.damaged
        self._outputs, self._flusher, self._merger = opened.outputs, opened.flusher, opened.merger
        self._cleaner = opened.cleaner
        self._tagger = Tagger(
            self.fs, self.root, self._lock, self._flusher, self._introducer, self._cleaner, self._account
        )
        if self._background is not None:
            self._background.add(self)
            self._background.add(self._merger, slow=True)

    # Opening and closing.

    def close(self) -> None:
        """Make every row durable, stop, and release the lock. Twice is harmless.

        Raises
        ------
        FileSystemError
            The rows in memory could not be made durable. The table stays open: free the disk or mend the
            store and close again, or `abandon` it. From the lock: all rows are durable and the table is closed,
            but the next to open it may have to wait (`LockFile.close`).
        """
        if self._closed:
            return
        if not self._guard.at_home:
            self.abandon()
            return
        if self._flusher is not None and self._fenced is None:
            self._admission.close()
            try:
                self.flush()
            except BaseException as error:
                if self.closed:  # by another thread, which has made the rows durable or given them up
                    return
                if not isinstance(error, FencedError) or self.rows_at_risk():  # or all are in the log
                    self._admission.reopen()
                    raise
        untold = self._fenced if self._fenced is self._attempts.last_error else None
        self.abandon()
        if untold is not None:
            raise untold  # rows that were taken are not durable, and never will be

    def abandon(self) -> None:
        """Close without making the rows in memory durable: they are lost."""
        if self._closed:
            return
        if not self._guard.at_home:  # a child has nothing here, and must not wait for its parent's locks
            self._closed = True
            return
        self._admission.close()
        self._closed = True
        self._pending.forget()
        if self._background is not None:
            self._background.remove(self)
        self._introducer.watcher.close()
        if self._lock is not None and self._flusher is not None:
            if self._background is not None:
                self._background.remove(self._merger)
            self._merger.cancel()
            self._flusher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()

    # Writing.

    @property
    def schema(self) -> TableSchema:
        """The table's entity columns, tags and fields; replace it to add some."""
        return self._schema

    @schema.setter
    def schema(self, schema: TableSchema) -> None:
        self._schema = schema
        if self._flusher is not None:
            self._flusher.schema = schema

    def add(self, rows: Rows, *, arrival: bool = True) -> int:
        """Take rows: `take`, `admit`-ted, with the errors of both."""
        with self.admit(rows.nbytes):
            return self.take(rows, arrival=arrival)

    def take(self, rows: Rows, *, arrival: bool = True) -> int:
        """Take rows for which there is room, inside `admit`; every reader in the process sees them on return.

        Parameters
        ----------
        rows : Rows
            In any order. None is fine, and changes nothing.
        arrival : bool
            Give the rows their order of arrival as their version; the versions they carry (all the same) are
            not looked at.

        Returns
        -------
        int
            The epoch at which they are visible; ``flush(epoch)`` waits until they are durable.
        """
        if len(rows) == 0:
            return self.epoch
        epoch = self.publish(sort_rows(rows), arrival=arrival)
        self.account()
        return epoch

    def publish(self, ordered: Rows, *, arrival: bool) -> int:
        """Make rows visible as `take` does, rows that `sort_rows` has ordered: nothing in this waits.

        Call `account` soon after, where waiting is no harm.
        """

        def change(snapshot: Snapshot, epoch: int) -> Sequence[Part]:
            held = ordered.with_versions(epoch) if arrival else ordered
            block_rows = self.options.part.block_rows
            parts = snapshot.with_part(MemoryPart(epoch, held, block_rows))
            return coalesced(parts, self._introducer.claimed, block_rows)

        self._used_at = self._runtime.monotonic()
        return self._introducer.introduce(change)

    def account(self) -> None:
        """Count the memory that published rows take, and have them flushed when that is due."""
        self._account()
        if self._background is not None and self._pending.full:
            self._background.wake()

    @contextlib.contextmanager
    def admit(self, size: int) -> Iterator[None]:
        """Wait for room for so many bytes of rows; within the block the table takes them, and does not close.

        Raises
        ------
        BackpressureError
            They did not fit in memory within ``options.write_timeout``.
        ClosedError, FencedError
            It takes no more.
        """
        self._check_writable()
        with self._admission.enter(self._check_not_closing):
            self._wait_for_room(size)
            yield

    def _wait_for_room(self, size: int) -> None:
        if self._memory.has_room(size):
            return
        if self._background is None:
            self.flush()
            return
        self._background.wake()
        fits = self._memory.wait_for_room(size, self.options.write_timeout, lambda: self._admission.closing)
        self._check_writable()
        self._check_not_closing()
        if not fits:
            error = self._attempts.last_error
            why = f" (the last flush failed: {error})" if error else ""
            raise BackpressureError(
                f"cannot write to {self.root!r}: {self._memory.used} bytes of rows wait to be flushed{why}; "
                "nothing of this batch was stored, write it again later"
            ) from error

    def _account(self) -> None:
        """Note what waits for a flush, and see to it that somebody is awake when it is due."""
        if self._flusher is None:
            return
        begun = self._pending.update(self._introducer, self._flusher)
        if begun and self._background is not None:  # it may be asleep until the next collection
            self._background.wake(within=self.options.flush_interval)

    def flush(self, epoch: int | None = None) -> None:
        """Return once the rows taken up to the epoch (default: all so far) are durable.

        Raises
        ------
        FileSystemError
            They could not be made durable; they stay readable, and the next flush tries again.
        FencedError
            Another writer has taken the table over; the rows taken since then are not part of it, unless that
            writer found the snapshot whose acknowledgement this call was waiting for.
        """
        if epoch is not None and self._flusher is not None and epoch <= self._flusher.durable:
            return  # whatever has happened to the table since
        flusher = self._check_writable()
        committed = flusher.committed
        try:
            flusher.flush(epoch)
        except FencedError as error:
            self._fenced = error
            raise
        finally:
            self.account()
        self._attempts.succeeded()
        if self._background is not None and flusher.committed != committed:
            self._background.wake(slow=True)

    def rows_at_risk(self) -> int:
        """Return how many rows are not durable yet."""
        with self.pin() as snapshot:
            return self._flusher.rows_at_risk(snapshot) if self._flusher is not None else 0

    @property
    def token(self) -> int:
        """The token in use, 0 if the table is not open for writing."""
        return 0 if self._lock is None else self._floor + self._lock.token

    @property
    def idle(self) -> float:
        """For how many seconds it has taken no rows, 0 while some are not durable yet."""
        return 0.0 if self._pending.due is not None else self._runtime.monotonic() - self._used_at

    def confirm(self) -> None:
        """Return if the table may be written to at this moment; raises `FencedError` if its lock was lost."""
        self._check_writable()
        if self._lock is not None:
            self._lock.check()

    def _check_writable(self) -> Flusher:
        self._check_open()
        if self._fenced is not None:
            raise self._fenced
        if self._flusher is None:
            raise PermissionError_("write", self.root, "it was opened with read_only=True; open it without")
        return self._flusher

    def _nothing_going(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self.read_only else self._cleaner.paused()

    def _check_not_closing(self) -> None:
        if self._admission.closing or self._closed:
            raise ClosedError(f"table {self.root!r} is being closed; open it again")

    # Tags.

    def tag(self, name: str) -> int:
        """Keep what the table holds now under a name, durably and until `untag`; return its epoch.

        Raises
        ------
        SchemaError
            There is a tag of that name.
        FileSystemError
            It could not be made durable; the tag may be there all the same.
        FencedError
            Another writer has taken the table over.
        """
        return self.tagger.tag(name)

    def untag(self, name: str) -> None:
        """Remove a tag, if it is there; what only it kept is collected as garbage."""
        self.tagger.untag(lambda each: each == name)

    @property
    def tagger(self) -> Tagger:
        """What makes the table's tags."""
        self._check_writable()
        return self._tagger

    # What happens by itself.

    def compact(self, progress: Progress | None = None) -> None:
        """Make one part of all rows taken so far; readers and writers go on meanwhile.

        What it replaces is collected when nobody needs it any more, see `gc`. After an error, or a crash, the table
        has what it had, perhaps in fewer parts.

        Parameters
        ----------
        progress : callable, optional
            Called with the rows merged so far and the rows that there are to merge, for each merge anew.

        Raises
        ------
        FileSystemError, CorruptionError
            Something could not be read or written.
        ClosedError
            The table was closed meanwhile.
        FencedError
            Another writer has taken the table over.
        """
        self._check_writable()
        self.flush()
        self._merger.compact(progress)

    def delete(self, start: int, end: int, series: SeriesFilter | None = None) -> int:
        """Remove rows for good, those with times in ``[start, end)``; return how many went.

        They are gone from every query, and from what a crash leaves, on return, all at once; rows taken meanwhile
        are not concerned. What held them stays in files until it is collected, see `gc`, and in tagged snapshots.

        Parameters
        ----------
        start, end : int
            Nanoseconds since 1970-01-01 UTC.
        series : SeriesFilter, optional
            Only rows of these.

        Raises
        ------
        FileSystemError, CorruptionError
            Something could not be read or written. All rows are still there, or (if the commit's answer got
            lost) all are gone from queries, and after a crash may be there again: delete once more.
        ClosedError, FencedError
            As for `compact`.
        """
        self._check_writable()
        self.flush()
        return self._merger.remove(Scan(start, end, [], series))

    def merge(self) -> float:
        """Merge once if that is due; return the seconds until it may be again. Failures show in `stats`."""
        return 3600.0 if self._closed or self._fenced or self.read_only else self._merger.step()

    def step(self) -> float:
        """Flush and collect if that is due; return the seconds until something is.

        What fails is counted in `stats`, and tried again after a pause that grows with each failure.
        """
        now = self._runtime.monotonic()
        if self._closed or self._fenced or not self._guard.at_home:
            return 3600.0
        due = self._flush_due()
        if due is not None and due <= now and self._attempts.run(self.flush):
            due = self._flush_due()
        if self._collect_at <= now:
            self._collect_at = now + self.options.gc_interval
            if self._flusher is not None and not self._cleaner.is_settled(self._flusher.committed):
                self._attempts.run(self.gc)
        pauses = [self._collect_at - now]
        if due is not None:
            pauses.append(max(due, self._attempts.retry_at) - now)
        return min(pauses)

    def _flush_due(self) -> float | None:
        due = self._pending.due
        return None if due is None else max(due, self._attempts.retry_at)

    def gc(self) -> list[str]:
        """Remove superseded snapshots and unnamed parts; return their names.

        Raises
        ------
        FileSystemError, CorruptionError
            Something could not be read or removed; whatever is left is tried again by the next call.
        FencedError
            Another writer has taken the table over, and collects its garbage.
        """
        flusher = self._check_writable()

        def in_use() -> set[int]:
            return self._outputs.numbers() | flusher.log_numbers | self._live_parts()

        return self._cleaner.clean(flusher.committed, in_use, self._runtime.monotonic())

    def stats(self) -> dict[str, Any]:
        """Return what the table holds and how it fares, as plain numbers and strings."""
        self._check_open()
        with self._introducer.pin() as snapshot:
            held = describe(snapshot)
        held |= {
            "committed_epoch": held["epoch"],
            "background_failures": self._attempts.failures,
            "last_error": str(error) if (error := self._attempts.last_error) else None,
            "damaged_snapshots": [str(error) for error in self.damaged],
        }
        if self._flusher is None:
            return held
        return held | describe_writing(self._flusher, self._merger)
