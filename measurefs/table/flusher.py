"""The flusher: memory parts become one file part, and a commit makes it durable."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from measurefs.fs.errors import ClosedError, ExistError, FencedError, FileSystemError, NotExistError
from measurefs.fs.filesystem import FileSystem, LockFile
from measurefs.fs.paths import join
from measurefs.part.file_part import FilePart
from measurefs.part.memory_part import MemoryPart
from measurefs.part.metadata import PartMetadata
from measurefs.part.rows import merge_rows
from measurefs.part.writer import Encodings, write_part
from measurefs.table.epochs import snapshot_name
from measurefs.table.grouping import Group
from measurefs.table.introducer import Introducer
from measurefs.table.log import Log
from measurefs.table.options import Runtime, TableOptions
from measurefs.table.outputs import Outputs
from measurefs.table.recent import RecentRows
from measurefs.table.recovery import read_snapshot
from measurefs.table.schema import TableSchema
from measurefs.table.snapshot import Snapshot, SnapshotRecord


class Flusher:
    """Makes rows durable, one flush at a time; those who wait for the same rows share one commit.

    Parameters
    ----------
    fs : FileSystem
    root : str
        The table's directory.
    lock : LockFile
        The writer's lock: a commit counts only if it is still held afterwards.
    introducer : Introducer
    schema : TableSchema
        May be replaced while the table lives.
    committed : SnapshotRecord or None
        The last committed snapshot.
    outputs : Outputs
        Shared with the merger.
    recent : RecentRows
        For the merger.

    Attributes
    ----------
    committed : int
        The epoch of the last committed snapshot; 0 if there is none.
    durable : int
        Every row introduced up to this epoch is durable.
    certain : bool
        Whether the last commit tried has succeeded. If not, its snapshot may still appear: a request that timed
        out can take effect later.
    flushed_bytes : int
        What was written since the table was opened.
    """

    def __init__(
        self,
        fs: FileSystem,
        root: str,
        lock: LockFile,
        introducer: Introducer,
        schema: TableSchema,
        options: TableOptions,
        runtime: Runtime,
        committed: SnapshotRecord | None,
        outputs: Outputs,
        recent: RecentRows,
    ) -> None:
        self.schema = schema
        self.committed = self.durable = committed.epoch if committed else 0
        self.certain = True
        self._committed_parts = [part.id for part in committed.parts] if committed else None
        self._fs = fs
        self._root = root
        self._lock = lock
        self._introducer = introducer
        self._log = Log(fs, root, lock, introducer, options, runtime)
        self._parent = self.committed
        self._uncommitted: set[int] = set()
        self._options = options
        self._runtime = runtime
        self._encodings = Encodings(options.part.level, options.part.slack)
        self._commits, self._flushes = Group(runtime.monotonic), Group(runtime.monotonic)
        self._outputs = outputs
        self._recent = recent
        self.flushed_bytes = 0
        self._closed = False

    def flush(self, epoch: int | None = None) -> None:
        """Return once every row introduced up to the epoch (default: up to now) is durable.

        With an epoch that may be by the log; all rows up to now leave the memory, too.

        Raises
        ------
        FileSystemError
            Something could not be written; the rows stay in memory (or in a part that no snapshot names yet)
            and readable, and the next call tries again.
        FencedError
            Another writer has taken the table over; what this one wrote since is not part of it.
        ClosedError
            The table was closed meanwhile.
        """
        if epoch is None:
            with self._alone(), self._introducer.claim() as snapshot:
                self._settle(snapshot)
            return

        def is_served() -> bool:
            return epoch <= self.durable

        with self._turn(is_served) as mine:
            if not mine or self._logged():
                return
        with self._alone(is_served) as mine:
            if mine:
                with self._flushes.together(), self._introducer.claim() as snapshot:
                    self._settle(snapshot)

    def _logged(self) -> bool:
        """Make all rows durable by the log, within a turn; False if it is not the place for them."""
        if not self._is_for_log():
            return False
        with self._commits.together(), self._introducer.claim() as snapshot:
            waiting = self._log.waiting(snapshot)
            if waiting:
                certain, self.certain = self.certain, False
                self._parent = self._log.append(waiting, snapshot.epoch, self._parent, self.schema)
                self.certain = certain  # what an earlier attempt left uncertain only a snapshot settles
            self.durable = max(self.durable, snapshot.epoch)
        return True

    def _is_for_log(self) -> bool:
        with self._introducer.pin() as snapshot:
            return not self._uncommitted and self._log.takes(self._log.waiting(snapshot))

    def _alone(self, is_served: Callable[[], bool] | None = None) -> AbstractContextManager[bool]:
        """Let only one write parts at a time; the log goes on meanwhile, and commits."""
        return self._having(self._flushes, is_served)

    def _turn(self, is_served: Callable[[], bool] | None = None) -> AbstractContextManager[bool]:
        """Let only one commit at a time; who has both is alone first."""
        return self._having(self._commits, is_served)

    @contextlib.contextmanager
    def _having(self, group: Group, is_served: Callable[[], bool] | None) -> Iterator[bool]:
        with group.turn(is_served) as mine:
            if mine and self._closed:
                raise ClosedError(f"table {self._root!r} was closed meanwhile; open it again")
            yield mine

    def _settle(self, snapshot: Snapshot) -> None:
        with self._written(snapshot.memory_parts) as introduce, self._turn():
            introduce()
            self._commit()
        self.durable = max(self.durable, snapshot.epoch)

    @contextlib.contextmanager
    def paused(self) -> Iterator[Callable[[Snapshot], int]]:
        """Keep all flushes out within the block, but for the function that it gives.

        That makes a snapshot pinned within the block durable, whatever was introduced after it, and returns the
        epoch of the committed snapshot that holds just its rows.
        """
        with self._alone(), self._turn(), self._introducer.claiming():
            yield self._commit_pinned

    def _commit_pinned(self, snapshot: Snapshot) -> int:
        with self._written(snapshot.memory_parts) as introduce:
            parts = [part.metadata for part in [*snapshot.file_parts, *introduce()]]
        if [part.id for part in parts] != self._committed_parts:
            self._commit_parts(self._introducer.next_number(), parts, [])
            self._introducer.introduce(lambda current, _: current.parts)  # what is committed next is later
        self.durable = max(self.durable, snapshot.epoch)
        return self.committed

    def commit(self) -> None:
        """Write a snapshot of the parts in files even if they are the committed ones: the fence."""
        with self._turn():
            self._introducer.introduce(lambda snapshot, _: snapshot.parts)
            self._committed_parts = None
            self._commit()

    def publish(self) -> None:
        """Commit the parts in files as they are now, if they are not those of the last commit; raises as `flush`."""
        with self._turn():
            self._commit()

    def close(self) -> None:
        """Release the lock when no flush is under way; nothing is flushed or committed after it."""
        with self._flushes.turn(), self._commits.turn():
            self._closed = True
            self._lock.close(clean=self.certain)

    def is_durable(self, snapshot: Snapshot) -> bool:
        """Whether all of a snapshot is committed."""
        return not self._log.waiting(snapshot) and _numbers(snapshot) == self._committed_parts

    def rows_at_risk(self, snapshot: Snapshot) -> int:
        """Return how many rows of a snapshot are not durable yet."""
        rows = sum(part.rows for part in self._log.waiting(snapshot))
        if self._uncommitted:  # a merge may have taken one of them up
            since = min(self.committed, *self._uncommitted)
            rows += sum(part.rows for part in snapshot.file_parts if part.id >= since)
        return rows

    @property
    def logged_bytes(self) -> int:
        """What was written to the log since the table was opened."""
        return self._log.written_bytes

    @property
    def log_numbers(self) -> set[int]:
        """The parts of the log that are no garbage."""
        return self._log.numbers

    @property
    def log_is_long(self) -> bool:
        """Whether what is in the log had better be flushed."""
        return self._log.is_long

    @contextlib.contextmanager
    def _written(self, memory: Sequence[MemoryPart]) -> Iterator[Callable[[], list[FilePart]]]:
        """Write parts in memory as one; within the block the function that it gives puts that in their place."""
        if not memory:
            yield list
            return
        number = self._introducer.next_number()
        with contextlib.ExitStack() as writing:
            writing.enter_context(self._outputs.writing(number))
            part = self._write_part(number, memory)
            replaced = {each.id for each in memory}

            def introduce() -> list[FilePart]:
                if not self._log.has(replaced):
                    self._uncommitted.add(number)
                self._introducer.introduce(lambda snapshot, _: snapshot.with_replaced(replaced, part))
                writing.close()  # from here on its files stay, whatever happens
                return [part]

            yield introduce

    def _write_part(self, number: int, memory: Sequence[MemoryPart]) -> FilePart:
        schema = self.schema
        slices = merge_rows([part.held for part in memory], schema.arrow_types())
        kept = list(slices) if self._recent.has_room(sum(part.nbytes for part in memory)) else []
        metadata = write_part(
            self._fs,
            self._root,
            number,
            kept or slices,
            schema.entity,
            schema.columns,
            self._options.part,
            self._encodings,
        )
        self._fs.sync_path(self._root)
        self.flushed_bytes += metadata.compressed_bytes
        if kept:
            self._recent.keep(number, kept)
        return FilePart(self._root, metadata, self._runtime.cache)

    def _commit(self) -> None:
        with self._introducer.pin() as snapshot:
            if _numbers(snapshot) == self._committed_parts:
                return
        # A snapshot is later than the log before it.
        if snapshot.epoch < max([self._parent, *self._log.numbers]):
            self._introducer.introduce(lambda current, _: current.parts)
        with self._introducer.pin() as snapshot:
            parts = [part.metadata for part in snapshot.file_parts]
            self._commit_parts(snapshot.epoch, parts, self._log.needed(snapshot))

    def _commit_parts(self, epoch: int, parts: list[PartMetadata], log: list[PartMetadata]) -> None:
        self.certain = False
        try:
            record = SnapshotRecord(epoch, self._parent, self._runtime.now(), [*parts, *log])
            self._write_snapshot(record)
            self._fs.sync_path(self._root)
        except FileSystemError:
            # Syncing the same name a second time proves nothing: the next attempt is a file of its own.
            self._introducer.introduce(lambda current, _: current.parts)
            raise
        self._lock.check()
        self._log.cut(log)
        self.certain = True
        self._uncommitted.clear()
        self.committed = self._parent = epoch
        self._committed_parts = [part.id for part in parts]

    def _write_snapshot(self, record: SnapshotRecord) -> None:
        path = join(self._root, snapshot_name(record.epoch))
        try:
            self._fs.write(path, record.encode(), exclusive=True)
        except ExistError as error:
            # An earlier attempt of this very commit may have landed although it reported failure.
            if not self._is_ours(record):
                raise FencedError("write", path, "another writer committed under this epoch") from error

    def _is_ours(self, record: SnapshotRecord) -> bool:
        try:
            return read_snapshot(self._fs, self._root, record.epoch).parts == record.parts
        except NotExistError:
            return False  # somebody has collected it since, so somebody else writes here now


def _numbers(snapshot: Snapshot) -> list[int]:
    return [part.id for part in snapshot.file_parts]
