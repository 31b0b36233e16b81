"""Where a measure's tables are: which segments and shards there are, as of the last look at its directory."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

from measurefs.database.batch import Place
from measurefs.database.intervals import Interval
from measurefs.database.schema import MeasureSchema
from measurefs.database.segments import Division, Segment, is_segment_name, named_segment, segment_name
from measurefs.fs.errors import CorruptionError
from measurefs.fs.filesystem import DirEntry, FileSystem
from measurefs.fs.listing import Listing
from measurefs.fs.paths import join
from measurefs.query import MAX_TIME, MIN_TIME
from measurefs.table import Runtime

SHARD = re.compile(r"shard-(0|[1-9][0-9]*)")


def tables_in(listing: Listing) -> Iterator[str]:
    """Yield the paths of a measure's tables, below it, whatever its schema says of segments."""
    for entry in listing.entries():
        if entry.is_dir and is_segment_name(entry.name):
            for below in listing.entries(entry.name):
                if below.is_dir and SHARD.fullmatch(below.name):
                    yield join(entry.name, below.name)


class Places:
    """The segments and shards of a measure, by its directory, and by what is made and removed here.

    Parameters
    ----------
    fs : FileSystem
    root : str
        The measure's directory.
    schema : MeasureSchema
    runtime : Runtime
    listing : Listing
        Of the directory; the first look.

    Attributes
    ----------
    schema : MeasureSchema
        As far as it is known here.
    """

    def __init__(
        self, fs: FileSystem, root: str, schema: MeasureSchema, runtime: Runtime, listing: Listing
    ) -> None:
        self.schema = schema
        self._fs = fs
        self._root = root
        self._runtime = runtime
        self._first = Interval.parse(schema.first_interval or schema.interval, "interval")
        self._listing = listing
        self._refreshed = runtime.monotonic()
        self._made: set[Place] = set()
        self._segments: set[Segment] | None = None
        self._shards: dict[Segment, list[int]] = {}
        self._division: Division | None = None
        self._lock = threading.RLock()

    def path(self, place: Place) -> str:
        """Return the directory of a table."""
        return join(self._root, self._below(place))

    def segment_path(self, segment: Segment) -> str:
        """Return the directory of a segment."""
        return join(self._root, segment_name(segment, self._first))

    def _below(self, place: Place) -> str:
        return join(segment_name(place.segment, self._first), f"shard-{place.shard}")

    def place(self, path: str) -> Place:
        """Return whose directory a path below the measure's is; raises `CorruptionError` if it is no table's."""
        name, _, below = path.partition("/")
        segment, shard = named_segment(name, self._first), SHARD.fullmatch(below)
        if segment is None or shard is None:
            raise CorruptionError(
                join(self._root, path), "a tag names it, and it cannot be a table of this measure"
            )
        return Place(segment, int(shard.group(1)))

    def is_dropped(self, segment: Segment) -> bool:
        """Whether no row of a segment is ever to be seen again, by the schema as it is known here."""
        dropped = self.schema.dropped_before
        return dropped is not None and segment.end <= dropped

    def places(self, start: int = MIN_TIME, end: int = MAX_TIME + 1) -> list[Place]:
        """Return the tables that may have rows of ``[start, end)``, by time and shard; without dropped ones."""
        with self._lock:
            reaching = [segment for segment in self.segments() if segment.overlaps(start, end)]
            kept = [segment for segment in reaching if not self.is_dropped(segment)]
            return [Place(segment, shard) for segment in kept for shard in self.shards_in(segment)]

    def segments(self) -> list[Segment]:
        """Return the segments that have a directory, as of the last look; also those that are dropped."""
        with self._lock:
            return sorted(self._known_segments())

    def _known_segments(self) -> set[Segment]:
        if self._segments is None:
            names = (entry.name for entry in self._listing.entries())
            found = {segment for name in names if (segment := named_segment(name, self._first)) is not None}
            self._segments = found | {place.segment for place in self._made}
        return self._segments

    def shards_in(self, segment: Segment) -> list[int]:
        """Return the shards that have a directory in a segment, as of the last look, or later."""
        with self._lock:
            if segment not in self._shards:
                entries = self._listing.entries(segment_name(segment, self._first))
                matches = (SHARD.fullmatch(entry.name) for entry in entries if entry.is_dir)
                found = {int(match.group(1)) for match in matches if match}
                found |= {place.shard for place in self._made if place.segment == segment}
                self._shards[segment] = sorted(found)
            return self._shards[segment]

    def division(self) -> Division:
        """Return how time is divided into segments."""
        with self._lock:
            if self._division is None:
                segments = [segment for segment in self.segments() if not self.is_dropped(segment)]
                interval = Interval.parse(self.schema.interval, "interval")
                self._division = Division(segments, interval, self.schema.dropped_before)
            return self._division

    def made(self, place: Place) -> None:
        """Take note that a table has a directory by now."""
        with self._lock:
            self._made.add(place)
            self._shards[place.segment] = sorted({*self.shards_in(place.segment), place.shard})
            if place.segment not in self._known_segments():
                self._known_segments().add(place.segment)
                self._division = None

    def removed(self, segment: Segment) -> None:
        """Take note that the directory of a segment is gone."""
        with self._lock:
            self._made = {place for place in self._made if place.segment != segment}
            self._known_segments().discard(segment)
            self._shards[segment] = []

    def age(self) -> float:
        """Return how many seconds ago it was looked at what others have made and committed."""
        return self._runtime.monotonic() - self._refreshed

    def _list(self) -> list[str]:
        """Look what there is below the measure's directory, and return all names in it."""
        self._listing = Listing(self._fs, self._root, self._listing)
        self._segments = self._division = None
        self._shards.clear()
        return [entry.name for entry in self._listing.entries()]

    def _take(self, place: Place) -> list[DirEntry] | None:
        """Return what a table's directory had when it was last looked at, if that is known, once."""
        return self._listing.take(self._below(place))
