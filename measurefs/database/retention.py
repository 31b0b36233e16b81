"""Retention: which segments are past the `ttl`, and how they are dropped.

1. The locks of the segment's tables are taken. A table of which another process has the lock is left to that process.
2. The schema's `dropped_before` moves to the segment's end: the commit point. From then on no query shows a row
   before it, whatever the clock or a later `ttl`, and none is stored any more. So nobody writes there once the locks
   are released; of the tables that were open here they are kept.
3. The directories of these tables are removed, ``gc_grace`` later, and when no reader in this process has them pinned;
   with the last of them the segment's.

What a crash leaves of 3 is removed by a later step, of whichever process. A table that is tagged stays.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Collection, Iterable, Iterator

import msgspec

from measurefs.database.batch import Place
from measurefs.database.intervals import Interval
from measurefs.database.outcomes import caught, raise_first
from measurefs.database.schema import MeasureSchema
from measurefs.database.schema_chain import change
from measurefs.database.segments import Segment
from measurefs.database.tables import Tables
from measurefs.fs.errors import ClosedError, FileSystemError, LockError, NotExistError
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.listing import list_dir
from measurefs.fs.paths import join
from measurefs.fs.process import ProcessGuard
from measurefs.query import MAX_TIME, MIN_TIME
from measurefs.table import Runtime, TableOptions, TsTable
from measurefs.table.attempts import Attempts
from measurefs.table.lock import LOCK, release
from measurefs.table.tags import tags_in

_IDLE = 3600.0
_LOOK = 300.0
"""Seconds between two looks at what other processes have made of the schema, the segments and their locks."""

_AT_ONCE = 64
"""So many locks are held at a time."""

_PINNED = 1.0
"""Seconds until the next look whether a reader still needs a table."""


def expired_before(schema: MeasureSchema, now: int) -> int:
    """Return the time before which rows are past their `ttl`, or were dropped."""
    dropped = MIN_TIME if schema.dropped_before is None else schema.dropped_before
    return dropped if schema.ttl is None else max(dropped, now - _nanoseconds(schema.ttl))


def expired(segments: Iterable[Segment], schema: MeasureSchema, now: int) -> list[Segment]:
    """Return the segments all of whose rows have expired, in order."""
    bound = expired_before(schema, now)
    return sorted(segment for segment in segments if segment.end <= bound)


def next_expiry(segments: Iterable[Segment], schema: MeasureSchema, now: int) -> float:
    """Return the seconds until the first of the segments that have not expired does."""
    if schema.ttl is None:
        return _IDLE
    bound = expired_before(schema, now)
    ends = [segment.end for segment in segments if segment.end > bound]
    return min((end + _nanoseconds(schema.ttl) - now) / 1e9 for end in ends) if ends else _IDLE


def _nanoseconds(ttl: str) -> int:
    return Interval.parse(ttl, "ttl").nanoseconds


def with_dropped(schema: MeasureSchema, segments: Iterable[Segment], now: int) -> MeasureSchema:
    """Return the schema with those of the segments dropped that have expired by it."""
    ends = [segment.end for segment in expired(segments, schema, now)]
    dropped = max([*ends, MIN_TIME if schema.dropped_before is None else schema.dropped_before])
    return msgspec.structs.replace(schema, dropped_before=min(dropped, MAX_TIME)) if ends else schema


class _Doomed(msgspec.Struct):
    """A table whose rows are not seen any more, until its files are removed.

    Attributes
    ----------
    since : float
        When that began, on the monotonic clock.
    tables : list of TsTable
        It, as it was open here; what was open for writing has its lock.
    """

    since: float
    tables: list[TsTable] = msgspec.field(default_factory=list)

    @property
    def pinned(self) -> bool:
        """Whether a reader in this process needs it."""
        return any(table.pinned for table in self.tables)

    def let_go(self) -> None:
        """Close it."""
        for table in self.tables:
            # It may fail to tell the next holder that it let go; there is none to be.
            with contextlib.suppress(FileSystemError):
                table.abandon()


class Retention:
    """Drops a measure's segments when their rows have expired, removes their files, and lets go of idle tables.

    Parameters
    ----------
    fs : FileSystem
    root : str
        The measure's directory.
    tables : Tables
    options : TableOptions
    runtime : Runtime
    """

    def __init__(
        self, fs: FileSystem, root: str, tables: Tables, options: TableOptions, runtime: Runtime
    ) -> None:
        self._fs = fs
        self._root = root
        self._tables = tables
        self._runtime = runtime
        self._grace = options.grace(remote=fs.remote)
        self._idleness = options.idleness(remote=fs.remote)
        self._guard = ProcessGuard()
        self._attempts = Attempts(runtime)
        self._turn = threading.Lock()
        self._closed = False
        self._doomed: dict[Place, _Doomed] = {}
        self._left: dict[Place, float] = {}
        self._look_at = runtime.monotonic() + _LOOK
        self._first = True
        self._pause = 0.0

    def step(self) -> float:
        """Drop and remove what is due; return the seconds until something is.

        What fails is tried again after a pause that grows with each failure.
        """
        if self._closed or not self._guard.at_home:
            return _IDLE
        now = self._runtime.monotonic()
        if self._attempts.retry_at > now:
            return self._attempts.retry_at - now
        if not self._attempts.run(self._step):
            dropped = isinstance(self._attempts.last_error, ClosedError)
            return _IDLE if dropped else self._attempts.retry_at - now
        self._attempts.succeeded()
        return self._pause

    def _step(self) -> None:
        now = self._runtime.monotonic()
        if self._look_at <= now:
            self._look_at = now + _LOOK
            self._tables.look()
        self._run()
        idle = self._let_idle_go()
        self._pause = min(self._until_due(), idle)

    def _let_idle_go(self) -> float:
        if self._idleness == math.inf:
            return math.inf
        with self._turn:
            return math.inf if self._closed else self._tables.let_idle_go(self._idleness)

    def run(self) -> list[str]:
        """Drop and remove what is due, and return the directories that were removed.

        Raises
        ------
        FileSystemError, CorruptionError
            Something could not be read, written or removed; the next call tries again.
        """
        self._tables.look()
        self._left.clear()
        return self._run()

    def _run(self) -> list[str]:
        schema = self._tables.schema
        if schema.ttl is None and schema.dropped_before is None:
            return []
        removed: list[str] = []
        with self._turn:
            if not self._closed:
                failure = caught(self._drop)
                self._take_over()
                raise_first([caught(lambda: self._remove(removed)), failure])
        return removed

    def _until_due(self) -> float:
        now, schema = self._runtime.monotonic(), self._tables.schema
        pauses = [self._look_at - now]
        if schema.ttl is not None:
            pauses.append(next_expiry(self._tables.segments(), schema, self._runtime.now()))
        pauses += [max(doomed.since + self._grace - now, _PINNED) for doomed in self._doomed.values()]
        pauses += [since + _LOOK - now for since in self._left.values()]
        return max(min(pauses), 0.0)

    # Dropping.

    def _drop(self) -> None:
        """Take the locks of what has expired, and commit that it is dropped."""
        now = self._runtime.monotonic()
        self._left = {place: since for place, since in self._left.items() if now - since < _LOOK}
        if due := self._due():
            self._tables.look()  # others may have made tables there since
            due = self._due()
        for start in range(0, len(due), _AT_ONCE):
            with contextlib.ExitStack() as locks:
                taken: list[Place] = []
                for place in due[start : start + _AT_ONCE]:
                    if self._take(place, locks):
                        taken.append(place)
                    else:
                        self._left[place] = now
                leftovers = {place for place in taken if self._tables.is_dropped(place.segment)}
                if len(leftovers) < len(taken):
                    self._commit({place.segment for place in taken})
                for place in taken:
                    if self._tables.is_dropped(place.segment):
                        since = self._seen_last(place.segment) if place in leftovers else now
                        self._doomed[place] = _Doomed(since)
        self._first = False

    def _due(self) -> list[Place]:
        """Return the tables of expired segments, without those of segments that are being dealt with."""
        dealt_with = {place.segment for place in (*self._doomed, *self._left)}
        segments = expired(self._tables.segments(), self._tables.schema, self._runtime.now())
        found: list[Place] = []
        for segment in segments:
            if segment not in dealt_with:
                places = self._places_in(segment)
                found += places
                if not places:
                    self._remove_segment(segment)
        return found

    def _places_in(self, segment: Segment) -> list[Place]:
        return [Place(segment, shard) for shard in self._tables.shards_in(segment)]

    def _seen_last(self, segment: Segment) -> float:
        """Return since when, by the monotonic clock, no query can have begun to read a segment that was dropped before.

        As far as that is known: since now, but for what a process before this one has left since it has expired.
        """
        now, schema = self._runtime.monotonic(), self._tables.schema
        if schema.ttl is None or not self._first:
            return now
        return now - max(self._runtime.now() - _nanoseconds(schema.ttl) - segment.end, 0) / 1e9

    def _commit(self, segments: Collection[Segment]) -> None:
        now = self._runtime.now()
        self._tables.adopt(change(self._fs, self._root, lambda schema: with_dropped(schema, segments, now)))

    def _take(self, place: Place, locks: contextlib.ExitStack) -> bool:
        """Take the lock of a table, unless it is open here; return whether the table may be dropped now."""
        if self._is_tagged(place):
            return False
        mine = self._tables.open_for_writing(place)
        try:
            if mine is not None:
                mine.confirm()
            else:
                lock = self._fs.create_lock_file(join(self._tables.path(place), LOCK))
                locks.callback(release, lock, clean=lock.clean)
        except (LockError, NotExistError, ClosedError):
            return False
        return True

    def _is_tagged(self, place: Place) -> bool:
        return bool(tags_in(entry.name for entry in list_dir(self._fs, self._tables.path(place))))

    # Removing.

    def _take_over(self) -> None:
        """Take over what was open here of segments that were dropped, by this process or another."""
        for place, table in self._tables.take_forgotten():
            if place not in self._doomed:
                self._doomed[place] = _Doomed(self._runtime.monotonic())
            self._doomed[place].tables.append(table)

    def _remove(self, removed: list[str]) -> None:
        now = self._runtime.monotonic()
        due = [
            place
            for place, doomed in self._doomed.items()
            if now - doomed.since >= self._grace and not doomed.pinned
        ]
        if due:
            self._tables.look()
        for place in due:
            self._doomed[place].let_go()
        for segment in sorted({place.segment for place in due}):
            mine = {place for place in due if place.segment == segment}
            going = sorted(place for place in mine if not self._is_tagged(place))
            if set(self._places_in(segment)) <= set(going):
                removed.append(self._remove_segment(segment))
            elif going:
                removed += map(self._remove_table, going)
                self._fs.sync_path(self._tables.segment_path(segment))
            for place in mine:
                del self._doomed[place]

    def _remove_segment(self, segment: Segment) -> str:
        path = self._tables.segment_path(segment)
        self._fs.must_rm_all(path)
        self._fs.sync_path(self._root)
        self._tables.removed(segment)
        return path

    def _remove_table(self, place: Place) -> str:
        path = self._tables.path(place)
        self._fs.must_rm_all(path)
        return path

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Hold no locks, and do nothing, within the block."""
        with self._turn:
            self._let_go()
            yield

    def close(self) -> None:
        """Stop, and release all locks; what is not removed yet the next to open the measure removes."""
        if self._closed:
            return
        self._closed = True
        if not self._guard.at_home:
            return
        with self._turn:
            self._let_go()
            self._doomed.clear()

    def _let_go(self) -> None:
        self._take_over()
        for doomed in self._doomed.values():
            doomed.let_go()
