"""The flusher: memory parts become one file part, and a commit makes it durable."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from measurefs.codec.types import ColumnType
from measurefs.fs.errors import ExistError, FencedError, FileSystemError, NotExistError
from measurefs.fs.filesystem import FileSystem, LockFile
from measurefs.fs.paths import join
from measurefs.part.file_part import FilePart
from measurefs.part.memory_part import MemoryPart
from measurefs.part.metadata import Column, part_name
from measurefs.part.rows import merge_rows
from measurefs.part.writer import Encodings, write_part
from measurefs.table.epochs import snapshot_name
from measurefs.table.introducer import Introducer
from measurefs.table.options import Runtime, TableOptions
from measurefs.table.recovery import read_snapshot
from measurefs.table.snapshot import Snapshot, SnapshotRecord


class TableSchema(msgspec.Struct, frozen=True):
    """What a table's rows look like.

    Attributes
    ----------
    entity : dict
        The entity columns and their types.
    columns : list of Column
        Tags and fields.
    """

    entity: Mapping[str, ColumnType]
    columns: Sequence[Column]


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

    Attributes
    ----------
    committed : int
        The epoch of the last committed snapshot; 0 if there is none.
    durable : int
        Every row introduced up to this epoch is durable.
    certain : bool
        Whether the last commit tried has succeeded. If not, its snapshot may still appear: a request that timed
        out can take effect later.
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
    ) -> None:
        self.schema = schema
        self.committed = self.durable = committed.epoch if committed else 0
        self.certain = True
        self._committed_parts = [part.id for part in committed.parts] if committed else None
        self._fs = fs
        self._root = root
        self._lock = lock
        self._introducer = introducer
        self._options = options
        self._runtime = runtime
        self._encodings = Encodings(options.part.level)
        self._flushing = threading.Lock()
        self._writing: set[int] = set()

    def flush(self, epoch: int | None = None) -> None:
        """Return once every row introduced up to the epoch (default: up to now) is durable.

        Raises
        ------
        FileSystemError
            Something could not be written; the rows stay in memory (or in a part that no snapshot names yet)
            and readable, and the next call tries again.
        FencedError
            Another writer has taken the table over; what this one wrote since is not part of it.
        """
        with self._flushing:
            if epoch is not None and epoch <= self.durable:
                return
            with self._introducer.pin() as snapshot:
                self._write_memory_parts(snapshot.memory_parts)
                upto = snapshot.epoch
            self._commit()
            self.durable = max(self.durable, upto)

    def commit(self) -> None:
        """Write a snapshot of the parts in files even if they are the committed ones: the fence."""
        with self._flushing:
            self._introducer.introduce(lambda snapshot, _: snapshot.parts)
            self._committed_parts = None
            self._commit()

    def has_committed(self, snapshot: Snapshot) -> bool:
        """Whether the parts in files of a snapshot are those of the last commit."""
        return [part.id for part in snapshot.file_parts] == (self._committed_parts or [])

    def wait(self) -> None:
        """Return when no flush is under way."""
        with self._flushing:
            return

    def writing(self) -> set[int]:
        """Return the ids of parts whose files may be there and that no snapshot in memory names yet."""
        return set(self._writing)

    def _write_memory_parts(self, memory: Sequence[MemoryPart]) -> None:
        if not memory:
            return
        number = self._introducer.next_number()
        with self._being_written(number):
            part = self._write_part(number, memory)
            replaced = {each.id for each in memory}
            self._introducer.introduce(lambda snapshot, _: snapshot.with_replaced(replaced, part))

    def _write_part(self, number: int, memory: Sequence[MemoryPart]) -> FilePart:
        schema = self.schema
        types = {column.name: column.type.arrow for column in schema.columns}
        rows = merge_rows([part.held for part in memory], types)
        run = self._runtime.run
        metadata = write_part(
            self._fs,
            self._root,
            number,
            rows,
            schema.entity,
            schema.columns,
            self._options.part,
            self._encodings,
            run,
        )
        self._fs.sync_path(self._root)
        return FilePart(self._root, metadata, run)

    @contextlib.contextmanager
    def _being_written(self, number: int) -> Iterator[None]:
        """Keep the collector's hands off a part until it is introduced; after a failure it is garbage."""
        self._writing.add(number)
        try:
            yield
        except Exception:
            for name in (part_name(number), f"{part_name(number)}.part"):
                # What cannot be removed now the collector removes later.
                with contextlib.suppress(FileSystemError):
                    self._fs.must_rm_all(join(self._root, name))
            raise
        finally:
            self._writing.discard(number)

    def _commit(self) -> None:
        with self._introducer.pin() as snapshot:
            parts = [part.metadata for part in snapshot.file_parts]
            numbers = [part.id for part in parts]
            if numbers == self._committed_parts:
                return
            self.certain = False
            try:
                self._write_snapshot(
                    SnapshotRecord(snapshot.epoch, self.committed, self._runtime.now(), parts)
                )
                self._fs.sync_path(self._root)
            except FileSystemError:
                # Syncing the same name a second time proves nothing: the next attempt is a file of its own.
                self._introducer.introduce(lambda current, _: current.parts)
                raise
            self._lock.check()
            self.certain = True
            self.committed, self._committed_parts = snapshot.epoch, numbers

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
