"""Snapshots: which parts make up a table at an epoch, in memory and on disk."""

from __future__ import annotations

import collections
import contextlib
import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from measurefs.codec.cached import cached_property
from measurefs.codec.sealed import seal, unseal
from measurefs.fs.errors import CorruptionError
from measurefs.fs.structs import decodable
from measurefs.part.file_part import FilePart
from measurefs.part.memory_part import MemoryPart
from measurefs.part.metadata import FORMAT_VERSION, Header, PartMetadata, check_format
from measurefs.part.part import Part
from measurefs.table.epochs import snapshot_epoch


@decodable
class SnapshotRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a snapshot's file: all that opening the table needs.

    Attributes
    ----------
    epoch : int
        Its number, which its name repeats.
    parent : int
        The epoch that was committed before it; 0 for the first.
    time : int
        When it was committed by the writer's clock, nanoseconds since 1970-01-01 UTC; for people.
    parts : list of PartMetadata
        In order of arrival.
    """

    epoch: int
    parent: int
    time: int
    parts: list[PartMetadata]
    format: int = FORMAT_VERSION

    def encode(self) -> bytes:
        """Return the file's content."""
        return seal(self)

    @classmethod
    def decode(cls, data: bytes, path: str, name: str) -> SnapshotRecord:
        """Read a snapshot's file.

        Raises
        ------
        CorruptionError
            It is damaged, or another snapshot's content stands under this name.
        UnsupportedStoreError
            A newer release wrote it.
        """
        header = unseal(data, _Header, path)
        for described in (header, *header.parts):
            check_format(described.format, path)
        record = unseal(data, cls, path)
        if record.epoch != snapshot_epoch(name):
            raise CorruptionError(path, f"it holds snapshot {record.epoch:016x}; was it renamed or copied?")
        return record


@decodable
class _Header(Header):
    parts: list[Header] = msgspec.field(default_factory=list)


_dropped: collections.deque[Snapshot] = collections.deque()
if hasattr(os, "register_at_fork"):  # a child must not wait for locks that its parent's threads may have held
    os.register_at_fork(after_in_child=_dropped.clear)


def settle() -> None:
    """Release the snapshots that were dropped; called where no lock is held."""
    while _dropped:
        with contextlib.suppress(IndexError):  # another thread may have been quicker
            _dropped.popleft().release()


class Snapshot:
    """An immutable list of parts at an epoch; readers pin it and see exactly it, however long they read.

    Created with one reference, its creator's. As a context manager it gives up one reference at the end.

    Parameters
    ----------
    epoch : int
    parts : sequence of Part
        In order of arrival: file parts first, then memory parts.
    on_release : callable, optional
        Called with the snapshot when its last reference goes.
    time : int, optional
        When it was committed by its writer's clock; known of a snapshot of the past.
    """

    def __init__(
        self,
        epoch: int,
        parts: Sequence[Part],
        on_release: Callable[[Snapshot], None] | None = None,
        time: int | None = None,
    ) -> None:
        self.epoch = epoch
        self.parts = tuple(parts)
        self.time = time
        self._on_release = on_release
        self._references = 1
        self._lock = threading.Lock()

    @property
    def references(self) -> int:
        """How many hold it."""
        return self._references

    def pin(self) -> Snapshot:
        """Take one more reference; the snapshot must have one."""
        with self._lock:
            if self._references == 0:
                raise RuntimeError(f"snapshot {self.epoch:016x} was released before it was pinned")
            self._references += 1
        return self

    def release(self) -> None:
        """Give up one reference; with the last one its parts may be collected."""
        with self._lock:
            self._references -= 1
            last = self._references == 0
        if last and self._on_release is not None:
            self._on_release(self)

    def drop(self) -> None:
        """Give up one reference a little later; the only way out for a finalizer.

        That runs in the midst of anything, perhaps of what holds the very locks that `release` takes.
        """
        _dropped.append(self)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def parts_in(self, start: int, end: int) -> list[Part]:
        """Return the parts that may hold rows with times in ``[start, end)``, in order."""
        return [part for part in self.parts if part.overlaps(start, end)]

    @cached_property
    def memory_parts(self) -> Sequence[MemoryPart]:
        """The parts that only this process has."""
        return tuple(part for part in self.parts if isinstance(part, MemoryPart))

    @cached_property
    def memory_bytes(self) -> int:
        """How much memory they take, roughly."""
        return sum(part.nbytes for part in self.memory_parts)

    @cached_property
    def file_parts(self) -> Sequence[FilePart]:
        """The parts that are in files."""
        return tuple(part for part in self.parts if isinstance(part, FilePart))

    def with_part(self, part: Part) -> list[Part]:
        """Return the parts and one more."""
        return [*self.parts, part]

    def with_replaced(self, replaced: Collection[int], part: Part | None) -> list[Part]:
        """Return the parts, with one (or none) in the place of those of the given ids.

        Those of the ids that are not here change nothing; if none of them is, the part is not added.
        """
        kept: list[Part] = []
        for held in self.parts:
            if held.id not in replaced:
                kept.append(held)
            elif part is not None:
                kept.append(part)
                part = None
        return kept

    def with_each_replaced(self, replacements: Mapping[int, Part | None]) -> list[Part]:
        """Return the parts, in the place of each of the given ids its replacement, if any."""
        changed = [replacements.get(held.id, held) for held in self.parts]
        return [part for part in changed if part is not None]
