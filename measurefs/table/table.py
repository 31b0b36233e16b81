"""`TsTable`: one directory of parts and snapshots, one writer, any number of readers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Self

from measurefs.fs.errors import (
    BackpressureError,
    ClosedError,
    CorruptionError,
    FencedError,
    PermissionError_,
)
from measurefs.fs.filesystem import FileSystem, LockFile, make_durable_dir
from measurefs.fs.process import ProcessGuard
from measurefs.part.file_part import FilePart
from measurefs.part.memory_part import MemoryPart
from measurefs.part.rows import Rows, sort_rows
from measurefs.table.background import Background
from measurefs.table.epochs import first_epoch
from measurefs.table.flusher import Flusher, TableSchema
from measurefs.table.garbage import GarbageCleaner
from measurefs.table.introducer import Introducer
from measurefs.table.lock import take_lock
from measurefs.table.memory import MemoryBudget
from measurefs.table.options import Runtime, TableOptions
from measurefs.table.recovery import Recovered, recover, set_aside
from measurefs.table.snapshot import Snapshot

_BACKOFF = (0.1, 10.0)


class TsTable:
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
        This table as it was opened read-only before: what its readers still pin is not collected.

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
    ) -> None:
        self.fs = fs
        self.root = root
        self.options = options or TableOptions()
        self.read_only = read_only
        self.damaged: list[CorruptionError] = []
        self._runtime = runtime or Runtime()
        self._background = background
        self._schema = schema
        self._guard = ProcessGuard()
        self._closed = self._closing = False
        self._admissions = threading.Condition()
        self._admitted = 0
        self._fenced: FencedError | None = None
        self._lock: LockFile | None = None
        self._flusher: Flusher | None = None
        self._memory = memory or MemoryBudget(self.options.memory_limit)
        self._predecessor = predecessor
        self._accounting = threading.Lock()
        self._memory_bytes = 0
        self._oldest: float | None = None
        self._failures = 0
        self._last_error: Exception | None = None
        self._retry_at = self._collect_at = 0.0
        self._introducer = self._open_for_reading() if read_only else self._open_for_writing()
        if background is not None and not read_only:
            background.add(self)

    # Opening and closing.

    def _open_for_reading(self) -> Introducer:
        recovered = recover(self.fs, self.root)
        self.damaged = recovered.damaged
        return Introducer(recovered.record.epoch if recovered.record else 0, self._file_parts(recovered))

    def _open_for_writing(self) -> Introducer:
        make_durable_dir(self.fs, self.root)
        found: list[Recovered] = []

        def newest() -> int:
            found[:] = [recover(self.fs, self.root)]
            return found[0].newest

        self._lock = take_lock(self.fs, self.root, newest)
        try:
            return self._start_writing(self._lock, found[0])
        except BaseException:
            self._lock.close(clean=False)  # a commit of ours may be under way, and a fence still missing
            raise

    def _start_writing(self, lock: LockFile, recovered: Recovered) -> Introducer:
        record = recovered.record
        for error in recovered.damaged:
            set_aside(self.fs, self.root, error)
        self.damaged = recovered.damaged
        introducer = Introducer(record.epoch if record else 0, self._file_parts(recovered))
        introducer.advance(first_epoch(lock.token))
        self._flusher = Flusher(
            self.fs, self.root, lock, introducer, self._schema, self.options, self._runtime, record
        )
        self._cleaner = GarbageCleaner(
            self.fs, self.root, lock, self.options.keep_snapshots, self.options.grace(remote=self.fs.remote)
        )
        if record is None or recovered.damaged or not lock.clean:
            self._flusher.commit()
        return introducer

    def _file_parts(self, recovered: Recovered) -> list[FilePart]:
        parts = recovered.record.parts if recovered.record else []
        return [FilePart(self.root, metadata, self._runtime.run) for metadata in parts]

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
            self._admit_no_more()
            try:
                self.flush()
            except BaseException:
                self._closing = False
                raise
        untold = self._fenced if self._fenced is self._last_error else None
        self.abandon()
        if untold is not None:
            raise untold  # rows that were taken are not durable, and never will be

    def _admit_no_more(self) -> None:
        """Refuse writers from now on, and return when those that were admitted are done."""
        with self._admissions:
            self._closing = True
            self._memory.change(0)  # wakes those who wait for room, to be refused
            self._admissions.wait_for(lambda: not self._admitted)

    def abandon(self) -> None:
        """Close without making the rows in memory durable: they are lost."""
        if self._closed:
            return
        if not self._guard.at_home:  # a child has nothing here, and must not wait for its parent's locks
            self._closed = True
            return
        self._admit_no_more()
        self._closed = True
        self._memory.change(-self._memory_bytes)
        self._memory_bytes = 0
        if self._background is not None:
            self._background.remove(self)
        self._introducer.watcher.close()
        if self._lock is not None and self._flusher is not None:
            self._flusher.wait()
            self._lock.close(clean=self._flusher.certain)

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
        ordered = sort_rows(rows)

        def change(snapshot: Snapshot, epoch: int) -> list[Any]:
            held = ordered.with_versions(epoch) if arrival else ordered
            return snapshot.with_part(MemoryPart(epoch, held, self.options.part.block_rows))

        epoch = self._introducer.introduce(change)
        self._account()
        if self._background is not None and self._is_full():
            self._background.wake()
        return epoch

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
        with self._admissions:
            self._check_not_closing()
            self._admitted += 1
        try:
            self._wait_for_room(size)
            yield
        finally:
            with self._admissions:
                self._admitted -= 1
                self._admissions.notify_all()

    def _wait_for_room(self, size: int) -> None:
        if self._memory.has_room(size):
            return
        if self._background is None:
            self.flush()
            return
        self._background.wake()
        fits = self._memory.wait_for_room(size, self.options.write_timeout, lambda: self._closing)
        self._check_writable()
        self._check_not_closing()
        if not fits:
            why = f" (the last flush failed: {self._last_error})" if self._last_error else ""
            raise BackpressureError(
                f"cannot write to {self.root!r}: {self._memory.used} bytes of rows wait to be flushed{why}; "
                "nothing of this batch was stored, write it again later"
            ) from self._last_error

    def _is_full(self) -> bool:
        return self._memory_bytes >= self.options.flush_bytes or self._memory.pressed

    def _account(self) -> None:
        """Note how much memory the rows take, and since when the oldest wait."""
        with self._accounting:
            with self._introducer.pin() as snapshot:
                memory = sum(part.nbytes for part in snapshot.memory_parts)
                durable = self._flusher is None or self._flusher.has_committed(snapshot)
            self._memory.change(memory - self._memory_bytes)
            self._memory_bytes = memory
            if not memory and durable:
                self._oldest = None
            elif self._oldest is None:
                self._oldest = self._runtime.monotonic()
                if self._background is not None:  # it may be asleep until the next collection
                    self._background.wake()

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
        try:
            flusher.flush(epoch)
        except FencedError as error:
            self._fenced = error
            raise
        finally:
            self._account()
        self._failures, self._last_error, self._retry_at = 0, None, 0.0

    def _check_writable(self) -> Flusher:
        self._check_open()
        if self._fenced is not None:
            raise self._fenced
        if self._flusher is None:
            raise PermissionError_("write", self.root, "it was opened with read_only=True; open it without")
        return self._flusher

    def _check_not_closing(self) -> None:
        if self._closing or self._closed:
            raise ClosedError(f"table {self.root!r} is being closed; open it again")

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"table {self.root!r} is closed; open it again")
        self._guard.check(f"table {self.root!r}")

    # Reading.

    @property
    def epoch(self) -> int:
        """The epoch of the current snapshot."""
        with self._introducer.pin() as snapshot:
            return snapshot.epoch

    def pin(self) -> Snapshot:
        """Return the current snapshot, pinned; use it in a ``with`` block, or `release` it."""
        self._check_open()
        return self._introducer.pin()

    def wait(self, epoch: int, timeout: float | None = None) -> bool:
        """Wait until the table has reached an epoch; False if it closes first or the time is up."""
        return self._introducer.watcher.wait(epoch, timeout)

    def refresh(self) -> bool:
        """See what the writer has committed since, in a table opened read-only; True if that is anything."""
        self._check_open()
        if not self.read_only:
            return False
        recovered = recover(self.fs, self.root)
        epoch = recovered.record.epoch if recovered.record else 0
        with self._introducer.pin() as snapshot:
            if epoch == snapshot.epoch:
                return False
            known = {part.id: part for part in snapshot.file_parts}
        parts = [known.get(part.id, part) for part in self._file_parts(recovered)]
        self._introducer.advance(epoch - 1)
        self._introducer.introduce(lambda *_: parts)
        return True

    # What happens by itself.

    def step(self) -> float:
        """Flush and collect if that is due; return the seconds until something is.

        What fails is counted in `stats`, and tried again after a pause that grows with each failure.
        """
        now = self._runtime.monotonic()
        if self._closed or self._fenced or not self._guard.at_home:
            return 3600.0
        due = self._flush_due()
        if due is not None and due <= now and self._attempt(self.flush):
            due = self._flush_due()
        if self._collect_at <= now:
            self._collect_at = now + self.options.gc_interval
            self._attempt(self.gc)
        pauses = [self._collect_at - now]
        if due is not None:
            pauses.append(max(due, self._retry_at) - now)
        return min(pauses)

    def _flush_due(self) -> float | None:
        """Return when the next flush is due on the monotonic clock, None if nothing waits for one."""
        oldest = self._oldest
        if oldest is None:
            return None
        return max(oldest if self._is_full() else oldest + self.options.flush_interval, self._retry_at)

    def _attempt(self, work: Any) -> bool:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - counted and shown; the thread must outlive a backend's bug
            self._failures += 1
            self._last_error = error
            least, most = _BACKOFF
            pause = min(least * 2.0**self._failures, most) * self._runtime.random.uniform(0.5, 1.0)
            self._retry_at = self._runtime.monotonic() + pause
            return False
        return True

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
            pinned = self._predecessor._introducer.live_parts() if self._predecessor else set()
            return flusher.writing() | self._introducer.live_parts() | pinned

        return self._cleaner.clean(flusher.committed, in_use, self._runtime.monotonic())

    def stats(self) -> dict[str, Any]:
        """Return what the table holds and how it fares, as plain numbers and strings."""
        self._check_open()
        with self._introducer.pin() as snapshot:
            files, memory = snapshot.file_parts, snapshot.memory_parts
            epoch = snapshot.epoch
        return {
            "epoch": epoch,
            "committed_epoch": self._flusher.committed if self._flusher else epoch,
            "file_parts": len(files),
            "memory_parts": len(memory),
            "rows": sum(part.rows for part in files) + sum(part.rows for part in memory),
            "blocks": sum(part.metadata.blocks for part in files),
            "compressed_bytes": sum(part.metadata.compressed_bytes for part in files),
            "uncompressed_bytes": sum(part.metadata.uncompressed_bytes for part in files),
            "memory_bytes": self._memory_bytes,
            "min_time": min((part.min_time for part in (*files, *memory)), default=None),
            "max_time": max((part.max_time for part in (*files, *memory)), default=None),
            "background_failures": self._failures,
            "last_error": str(self._last_error) if self._last_error else None,
            "damaged_snapshots": [str(error) for error in self.damaged],
        }
