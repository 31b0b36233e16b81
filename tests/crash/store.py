"""What all kinds of store have in common, and the disk that they are on."""

from __future__ import annotations

import abc
import random
from collections.abc import Collection, Sequence
from typing import Any

from measurefs import PartOptions, TableOptions
from measurefs.fs import FileSystem, MeasureFSError, join
from measurefs.part.metadata import part_name
from measurefs.table import Runtime, TsTable
from measurefs.table.epochs import log_number, snapshot_epoch
from measurefs.table.policy import MergeOptions
from measurefs.table.recovery import read_snapshot
from measurefs.table.tags import parse_tag, tagged_epochs
from measurefs.testing import CrashFileSystem
from tests.crash.journal import Beside, Contents, Shape
from tests.crash.leases import part_company
from tests.table.tables import Clock

Row = tuple[int, int, int | None]
"""id, time, value."""

DAY = 86_400_000_000_000
PERIOD = 3600.0
TTL = DAY
MERGING = MergeOptions(least_inputs=2, ratio=1.1)

EXTRA_FROM = 500
"""Rows of ids from here on have a value in the field ``extra``, too, when there is one."""


class Ticks:
    """Time that goes on with every look at it; and can be moved."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1
        return self.now


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
    def close(self) -> None: ...

    def merge(self) -> list[MeasureFSError]:
        """Merge by itself what is due an hour later; return what went wrong, which is told to nobody."""
        raise NotImplementedError

    def compact(self) -> None:
        """Merge everything."""
        raise NotImplementedError

    def delete(self, start: int, end: int, ids: Collection[int] | None) -> None:
        """Remove rows of a span of time, all or those of some ids."""
        raise NotImplementedError

    def tag(self, name: str) -> None:
        """Keep what there is now."""
        raise NotImplementedError

    def untag(self, name: str) -> None:
        """Keep it no longer."""
        raise NotImplementedError

    def beside(self) -> Beside:
        """Look at tags and schema."""
        raise NotImplementedError

    def expire(self, before: int) -> bool:
        """Let rows up to a time expire, and drop them; whether they are."""
        raise NotImplementedError

    def drop(self) -> bool:
        """Drop all of it; False if it was gone already, since an attempt that failed had got so far."""
        raise NotImplementedError

    def create(self) -> None:
        """Create it anew if it is not there."""
        raise NotImplementedError

    def evolve(self, change: dict[str, Any]) -> None:
        """Change the schema."""
        raise NotImplementedError

    def shape(self) -> Shape:
        """What the schema says."""
        raise NotImplementedError


class Store(abc.ABC):
    """A kind of store."""

    def __init__(self, name: str, compact_bytes: int = 8 << 20, keep_snapshots: int = 2) -> None:
        self.name = name
        self.options = TableOptions(
            gc_grace=0.0,
            keep_snapshots=keep_snapshots,
            gc_interval=PERIOD,
            part=PartOptions(compact_bytes=compact_bytes),
            merge=MERGING,
        )

    def runtime(self) -> Runtime:
        """One clock that stands still, one that ticks, one seed, no threads."""
        return Runtime(monotonic=Clock(), now=Ticks(), random=random.Random(1), run=map)

    @abc.abstractmethod
    def open(self, fs: FileSystem) -> Opened: ...

    @abc.abstractmethod
    def read(self, fs: FileSystem) -> dict[str, Contents]:
        """What a reader finds, who writes nothing."""

    def beside(self, fs: FileSystem) -> Beside:
        """What a reader finds besides rows."""
        raise NotImplementedError

    def leftovers(self, fs: FileSystem) -> list[str]:
        """What is in the store that nothing names, and snapshots and schemas beyond those to keep."""
        return sorted(path for root in self.roots(fs) for path in table_leftovers(fs, root, self.options))

    @abc.abstractmethod
    def roots(self, fs: FileSystem) -> list[str]:
        """The directories of tables."""


def table_leftovers(fs: FileSystem, root: str, options: TableOptions) -> list[str]:
    names = {entry.name for entry in fs.read_dir(root) if not entry.name.startswith("LOCK")}
    epochs = sorted(epoch for name in names if (epoch := snapshot_epoch(name)) is not None)
    named = {part.name for epoch in epochs for part in read_snapshot(fs, root, epoch).parts}
    named |= {name for name in names if (log_number(name) or 0) > max(epochs, default=0)}
    others = {name for name in names - named if snapshot_epoch(name) is None and parse_tag(name) is None}
    tagged = tagged_epochs(names)
    too_many = [part_name(epoch) for epoch in epochs[: -options.keep_snapshots] if epoch not in tagged]
    return [join(root, name) for name in [*others, *too_many]]


def merge_by_itself(table: TsTable) -> list[MeasureFSError]:
    merger = table._merger
    table._runtime.monotonic.seconds += PERIOD
    before = merger.attempts.failures
    table.merge()
    failed = merger.attempts.failures > before
    return [merger.attempts.last_error] if failed and merger.attempts.last_error is not None else []
