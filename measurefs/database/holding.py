"""What is copied of a measure: the state that it is to show, its tags, and the snapshots that hold these."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import msgspec

from measurefs.codec.sealed import seal
from measurefs.database.backup_record import MeasureRecord
from measurefs.database.dropping import is_leftover
from measurefs.database.identity import SCHEMA, read_identity
from measurefs.database.intervals import HOUR, Interval
from measurefs.database.places import SHARD
from measurefs.database.retention import expired_before
from measurefs.database.schema import MeasureSchema
from measurefs.database.schema_chain import Revision, newest
from measurefs.database.segments import named_segment
from measurefs.database.tags import TAGS, TagRecord, is_tag_file, read_tag
from measurefs.database.verify import measure_roots
from measurefs.fs.errors import CorruptionError, NotExistError
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.listing import Listing
from measurefs.fs.paths import join, unescape
from measurefs.part.copying import GoneError
from measurefs.part.metadata import PartMetadata
from measurefs.query import MIN_TIME
from measurefs.table import Runtime
from measurefs.table.epochs import token_of
from measurefs.table.log import without_log
from measurefs.table.recovery import read_snapshot, recover
from measurefs.table.snapshot import SnapshotRecord

_ATTEMPTS = 10

Kept = tuple[str, int]
"""A snapshot: its table's path below the measure, and its epoch."""


@dataclasses.dataclass(frozen=True, slots=True)
class Holding:
    """What is to be copied of a measure.

    Attributes
    ----------
    root : str
        The measure's directory.
    schema : MeasureSchema
    first : bytes
        The content of its ``schema.json``.
    now : TagRecord
        The state that it is to show; its name means nothing.
    tags : list of TagRecord
    snapshots : dict
        All that these keep: by the tables' paths below the measure, then by epoch.
    """

    root: str
    schema: MeasureSchema
    first: bytes
    now: TagRecord
    tags: list[TagRecord]
    snapshots: dict[str, dict[int, SnapshotRecord]]

    @property
    def tables(self) -> set[str]:
        """The paths of all tables, below the measure."""
        return set(self.snapshots)

    def raised(self) -> Holding:
        """Return it for a measure that goes its own way: what is published there is later than all that this has."""
        highest = max((token_of(epoch) for epochs in self.snapshots.values() for epoch in epochs), default=0)
        schema = msgspec.structs.replace(self.schema, base=max(self.schema.base, highest))
        return dataclasses.replace(self, schema=schema)

    def of_table(self, table: str) -> dict[int, SnapshotRecord]:
        """Return the snapshots of a table by their epochs."""
        return self.snapshots.get(table, {})

    def parts(self, table: str) -> dict[str, PartMetadata]:
        """Return the parts of a table by their names; raises `CorruptionError` if two share one."""
        found: dict[str, PartMetadata] = {}
        for record in self.of_table(table).values():
            for part in record.parts:
                if found.setdefault(part.name, part) != part:
                    path = join(self.root, table, part.name)
                    raise CorruptionError(
                        path, "two snapshots describe it differently; run 'measurefs verify'"
                    )
        return found

    def names(self, path: str) -> bool:
        """Whether a file belongs to one of its parts."""
        return any(
            path == whole or path.startswith(f"{whole}/")
            for table in self.tables
            for whole in (join(self.root, table, name) for name in self.parts(table))
        )


class Writers(Protocol):
    """The tables of a measure that this process writes to."""

    def hold(self) -> Mapping[str, int]:
        """Return by their directories the epochs of snapshots that show one moment and do not go away meanwhile."""

    def has_more(self) -> bool:
        """Whether others are written to since."""


class Source:
    """A store that is copied, which others may write to meanwhile.

    Parameters
    ----------
    fs : FileSystem
    url : str
        For messages.
    runtime : Runtime
    writers : mapping, optional
        Those of measures, by their directories. Of all other tables the newest committed snapshot is taken.
    """

    def __init__(
        self,
        fs: FileSystem,
        url: str,
        runtime: Runtime,
        writers: Mapping[str, Writers] | None = None,
    ) -> None:
        self.fs = fs
        self.url = url
        self.runtime = runtime
        self._writers = writers or {}
        identity = read_identity(fs)
        self.store, self.is_backup = identity.store, bool(identity.origin)

    def roots(self) -> list[str]:
        """Return the directories of all measures."""
        return measure_roots(self.fs)

    def present(self, root: str) -> Holding | None:
        """Return what a measure holds now, with all its tags; None if it was dropped."""
        writers = self._writers.get(root)
        for _ in range(_ATTEMPTS):
            found = self._present(root, writers.hold() if writers else {})
            if writers is None or not writers.has_more():
                break
        return found

    def _present(self, root: str, held: Mapping[str, int]) -> Holding | None:
        def hold() -> Holding:
            look = Listing(self.fs, root)
            schema, first = self._schema(root, look)
            names = [entry.name for entry in look.entries(TAGS) if is_tag_file(entry.name)]
            tags = self._tags(root, (unescape(name.removesuffix(".json")) for name in names))
            snapshots = self._newest(root, schema, look, held)
            now = _state(schema, snapshots, self.runtime.now())
            tags = [tag for tag in tags if not _is_later(tag, now)]
            return self._holding(root, schema, first, now, tags, snapshots)

        return self._unless_dropped(root, hold)

    def recorded(self, root: str, known: MeasureRecord) -> Holding | None:
        """Return what a backup has recorded of a measure; None if it was dropped."""
        tags = list(known.tags.values())

        def hold() -> Holding:
            return self._holding(root, known.schema, known.first, known.now, tags, {})

        return self._unless_dropped(root, hold)

    def tagged(self, root: str, tag: str, known: MeasureRecord | None) -> Holding | None:
        """Return what a measure held at a tag, without any tags; None if it has no such tag, or was dropped.

        Of a backup that is as it has recorded it, since an interrupted run may have brought another.
        """

        def hold() -> Holding | None:
            try:
                now = known.tags[tag] if known and tag in known.tags else read_tag(self.fs, root, tag)
            except NotExistError:
                return None
            schema, first = (known.schema, known.first) if known else self._schema(root, None)
            # What was dropped since is not dropped there. Whole hours, since segments begin and end at these.
            dropped = None if now.since <= MIN_TIME else now.since // HOUR * HOUR
            schema = msgspec.structs.replace(schema, dropped_before=dropped)
            if Revision.of(schema).name == SCHEMA:
                first = seal(schema)
            return self._holding(root, schema, first, now, [], {})

        return self._unless_dropped(root, hold)

    def _unless_dropped(self, root: str, hold: Callable[[], Holding | None]) -> Holding | None:
        """Return what is held; None if the measure is dropped before or meanwhile."""
        try:
            return hold()
        except (NotExistError, GoneError):
            if any(entry.name == SCHEMA for entry in Listing(self.fs, root).entries()):
                raise
            if root in self.roots() and not is_leftover(self.fs, root):
                raise CorruptionError(
                    join(root, SCHEMA),
                    "it is missing, and the measure was not dropped; run 'measurefs verify'",
                ) from None
            return None

    def _schema(self, root: str, look: Listing | None) -> tuple[MeasureSchema, bytes]:
        schema = newest(self.fs, root, look)
        return schema, self.fs.read(join(root, SCHEMA))

    def _tags(self, root: str, names: Iterable[str]) -> list[TagRecord]:
        def read(name: str) -> TagRecord | None:
            with contextlib.suppress(NotExistError):  # removed in the meantime
                return read_tag(self.fs, root, name)
            return None

        return [tag for tag in self._each(read, names) if tag is not None]

    def _newest(
        self, root: str, schema: MeasureSchema, look: Listing, held: Mapping[str, int]
    ) -> dict[Kept, SnapshotRecord]:
        def find(table: str) -> SnapshotRecord | None:
            path = join(root, table)
            if path in held:
                return self._snapshot(root, (table, held[path]))
            return recover(self.fs, path, floor=schema.floor, listed=look.take(table)).record

        tables = list(_tables(schema, look))
        found = zip(tables, self._each(find, tables), strict=True)
        return {(table, record.epoch): record for table, record in found if record is not None}

    def _snapshot(self, root: str, kept: Kept) -> SnapshotRecord:
        table, epoch = kept
        try:
            return read_snapshot(self.fs, join(root, table), epoch)
        except NotExistError as error:
            raise GoneError(error.path) from error

    def _holding(
        self,
        root: str,
        schema: MeasureSchema,
        first: bytes,
        now: TagRecord,
        tags: list[TagRecord],
        known: Mapping[Kept, SnapshotRecord],
    ) -> Holding:
        wanted = {kept for state in (now, *tags) for kept in state.tables.items()} - known.keys()
        missing = sorted(wanted)
        found = self._each(lambda kept: self._snapshot(root, kept), missing)
        snapshots: dict[str, dict[int, SnapshotRecord]] = {}
        for (table, epoch), record in (*known.items(), *zip(missing, found, strict=True)):
            snapshots.setdefault(table, {})[epoch] = without_log(record)
        return Holding(root, schema, first, now, tags, snapshots)

    def _each(self, call: Any, items: Iterable[Any]) -> list[Any]:
        return list(self.runtime.run_io(call, list(items)))


def _tables(schema: MeasureSchema, look: Listing) -> Iterator[str]:
    """Yield the tables of segments that are not dropped."""
    first = Interval.parse(schema.first_interval or schema.interval, "interval")
    for entry in look.entries():
        segment = named_segment(entry.name, first) if entry.is_dir else None
        if segment is None or (schema.dropped_before is not None and segment.end <= schema.dropped_before):
            continue
        for below in look.entries(entry.name):
            if below.is_dir and SHARD.fullmatch(below.name):
                yield join(entry.name, below.name)


def _is_later(tag: TagRecord, now: TagRecord) -> bool:
    """Whether a tag was made after a state was held."""
    return any(epoch > now.tables.get(table, epoch) for table, epoch in tag.tables.items())


def _state(schema: MeasureSchema, snapshots: Iterable[Kept], time: int) -> TagRecord:
    return TagRecord("", time, expired_before(schema, time), dict(sorted(snapshots)))
