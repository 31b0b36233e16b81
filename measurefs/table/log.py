"""The log: small batches that are to be durable at once, each in a file that commits itself.

A part of the log is a compact part whose metadata have a `Commit`. It counts if no snapshot is later than it: what a
table holds is its newest snapshot and, after that, the parts of the log with higher numbers. So a small durable write
is one file, and its rows stay in the writer's memory until they are flushed together with many others, in a part of
their own and a snapshot, which is later than the log. A snapshot that is committed for another reason before that
names the parts of the log that are still needed, like all others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from measurefs.fs.errors import CorruptionError
from measurefs.fs.filesystem import DirEntry, FileSystem, LockFile
from measurefs.fs.paths import join
from measurefs.part.file_part import read_metadata
from measurefs.part.memory_part import MemoryPart
from measurefs.part.metadata import Commit, PartMetadata
from measurefs.part.rows import merge_rows
from measurefs.part.writer import Encodings, write_part
from measurefs.table.epochs import CORRUPT, log_number, snapshot_epoch
from measurefs.table.introducer import Introducer
from measurefs.table.options import Runtime, TableOptions
from measurefs.table.schema import TableSchema
from measurefs.table.snapshot import Snapshot, SnapshotRecord

_MOST_PARTS = 32
"""Who opens the table reads what each says of itself."""
_END_BYTES = 16 << 10
"""Has what a part says of itself, unless it has very many columns."""


class _Logged(NamedTuple):
    """A part of the log, and the numbers of the parts in memory whose rows it has."""

    metadata: PartMetadata
    memory: frozenset[int]


class Log:
    """Writes the log of a table; its callers take turns.

    Parameters
    ----------
    fs : FileSystem
    root : str
        The table's directory.
    lock : LockFile
        The writer's lock: what is written counts only if it is still held afterwards.
    introducer : Introducer
        For numbers.
    options : TableOptions
    runtime : Runtime

    Attributes
    ----------
    numbers : set of int
        The parts that a crash would leave as part of the table: no garbage.
    written_bytes : int
        Since the table was opened.
    """

    def __init__(
        self,
        fs: FileSystem,
        root: str,
        lock: LockFile,
        introducer: Introducer,
        options: TableOptions,
        runtime: Runtime,
    ) -> None:
        self.numbers: set[int] = set()
        self.written_bytes = 0
        self._fs = fs
        self._root = root
        self._lock = lock
        self._introducer = introducer
        self._options = options
        self._runtime = runtime
        self._encodings = Encodings(options.part.level, raw=True)
        self._parts: list[_Logged] = []
        self._memory: frozenset[int] = frozenset()

    @property
    def is_long(self) -> bool:
        """Whether a flush had better begin it anew."""
        return len(self._parts) >= _MOST_PARTS

    def waiting(self, snapshot: Snapshot) -> list[MemoryPart]:
        """Return the parts in memory whose rows it has not."""
        known = self._memory
        return [part for part in snapshot.memory_parts if part.id not in known]

    def has(self, memory: Collection[int]) -> bool:
        """Whether it has the rows of all of these parts in memory."""
        return self._memory.issuperset(memory)

    def takes(self, parts: Sequence[MemoryPart]) -> bool:
        """Whether it is the place for the rows of parts in memory: there are few, in it and in these."""
        small = sum(part.nbytes for part in parts) <= self._options.log_bytes
        return small and len(self._parts) < 2 * _MOST_PARTS

    def append(self, parts: Sequence[MemoryPart], epoch: int, parent: int, schema: TableSchema) -> int:
        """Make the rows of parts in memory durable; return the number under which they are committed.

        Parameters
        ----------
        parts : sequence of MemoryPart
        epoch : int
            Up to which the table's rows are durable then.
        parent : int
            The number of the commit before it.
        schema : TableSchema

        Raises
        ------
        FileSystemError
            It could not be written; it may be there all the same, with what is written next.
        FencedError
            Another writer has taken the table over.
        """
        number = self._introducer.next_number()
        self.numbers.add(number)
        rows = merge_rows([part.held for part in parts], schema.arrow_types())
        commit = Commit(epoch, parent, self._runtime.now())
        metadata = write_part(
            self._fs,
            self._root,
            number,
            rows,
            schema.entity,
            schema.columns,
            self._options.part,
            self._encodings,
            commit=commit,
        )
        self._fs.sync_path(self._root)
        self._lock.check()
        self._parts.append(_Logged(metadata, frozenset(part.id for part in parts)))
        self._memory |= self._parts[-1].memory
        self.written_bytes += metadata.compressed_bytes
        return number

    def needed(self, snapshot: Snapshot) -> list[PartMetadata]:
        """Return the parts that have rows which a snapshot has in memory only."""
        memory = {part.id for part in snapshot.memory_parts}
        return [part.metadata for part in self._parts if not memory.isdisjoint(part.memory)]

    def cut(self, needed: Iterable[PartMetadata]) -> None:
        """Keep only these parts: a later snapshot that names them, and has all other rows, is committed."""
        self.numbers = {part.id for part in needed}
        self._parts = [part for part in self._parts if part.metadata.id in self.numbers]
        self._memory = frozenset().union(*(part.memory for part in self._parts))


def read_log(
    fs: FileSystem,
    root: str,
    entries: Mapping[str, DirEntry],
    after: int,
    known: Mapping[int, PartMetadata],
    damaged: list[CorruptionError],
) -> list[PartMetadata]:
    """Return the parts of the log that are later than a snapshot, in order; what cannot be read goes to `damaged`.

    Parameters
    ----------
    root : str
        The table's directory.
    entries : mapping
        What it has, by name.
    after : int
        The snapshot's epoch.
    known : mapping
        Parts that need not be read again, by their numbers.
    damaged : list of CorruptionError
        Is added to.
    """
    later = {number: each for name, each in entries.items() if (number := log_number(name) or 0) > after}
    if not later:
        return []
    ends = _read_ends(fs, root, {number: each for number, each in later.items() if number not in known})
    found: list[PartMetadata] = []
    commits = commits_in(entries)
    for number in sorted(later):
        path = join(root, later[number].name)
        try:
            part = known.get(number) or _read(fs, path, number, ends.get(number, b""))
        except CorruptionError as error:
            damaged.append(error)
            continue
        reason = gap_before(part, after, commits)
        if reason is not None:
            damaged.append(CorruptionError(path, f"{reason}; run 'measurefs repair'"))
        found.append(part)
    return found


def gap_before(part: PartMetadata, after: int, commits: Collection[int | None]) -> str | None:
    """Return what is missing before a part of the log that is later than a snapshot, None if nothing is."""
    if part.commit is None or part.commit.parent <= after or part.commit.parent in commits:
        return None
    return f"it follows commit {part.commit.parent:016x}, which is missing"


def commits_in(names: Iterable[str]) -> set[int | None]:
    """Return the numbers of commits in a directory, damaged ones too, and what was set aside: no rows went unseen."""
    plain = [name.removesuffix(CORRUPT) for name in names]
    return {*map(snapshot_epoch, plain), *map(log_number, plain)}


def _read_ends(fs: FileSystem, root: str, files: Mapping[int, DirEntry]) -> dict[int, bytes]:
    """Return what files end with, all in one step, as far as their sizes are known."""
    sizes = {number: each.size for number, each in files.items() if each.size}
    ranges = [
        (join(root, files[number].name), max(size - _END_BYTES, 0), min(size, _END_BYTES))
        for number, size in sizes.items()
    ]
    return dict(zip(sizes, fs.read_ranges(ranges), strict=True)) if ranges else {}


def _read(fs: FileSystem, path: str, number: int, end: bytes) -> PartMetadata:
    part = read_metadata(fs, path, end)
    if part.id != number or part.commit is None:
        raise CorruptionError(path, f"it holds part {part.name}; was it renamed or copied?")
    return part


def with_log(record: SnapshotRecord, log: Sequence[PartMetadata]) -> SnapshotRecord:
    """Return a snapshot as it would be if it named the parts of the log that are later."""
    if not log:
        return record
    last = log[-1].commit or Commit(record.epoch, record.epoch, record.time)
    return msgspec.structs.replace(
        record, epoch=log[-1].id, parent=last.parent, time=last.time, parts=[*record.parts, *log]
    )


def without_log(record: SnapshotRecord) -> SnapshotRecord:
    """Return a snapshot whose parts are not of the log: those of a copy, which its snapshots commit."""
    parts = [msgspec.structs.replace(part, commit=None) for part in record.parts]
    return msgspec.structs.replace(record, parts=parts)
