"""Tags of a measure: names for a moment of all its tables.

Each table has a tag of its own, which keeps the table's snapshot. ``tags/<escaped name>.json`` in the measure's
directory is written last and removed first, and only with it there is a tag: what a crash leaves without it in the
tables is none, and is cleared away by the next to make or remove a tag, or to collect garbage.
"""

from __future__ import annotations

import contextlib
import datetime
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec

from measurefs.codec.sealed import seal
from measurefs.database.batch import Place
from measurefs.database.outcomes import caught, raise_first
from measurefs.database.retention import expired_before
from measurefs.database.schema import MeasureSchema
from measurefs.database.segments import is_segment_name
from measurefs.database.tables import Tables
from measurefs.fs.errors import (
    ClosedError,
    CorruptionError,
    ExistError,
    FencedError,
    FileSystemError,
    NotExistError,
)
from measurefs.fs.filesystem import DirEntry, FileSystem, make_durable_dir
from measurefs.fs.listing import list_dir
from measurefs.fs.paths import escape, join, unescape
from measurefs.fs.structs import decodable
from measurefs.part.metadata import FORMAT_VERSION, unseal_document
from measurefs.query import check_names
from measurefs.table import Runtime, TsTable
from measurefs.table.history import Moment, look_back
from measurefs.table.tagging import Tagger, list_tags, remove_tags
from measurefs.table.tags import check_free, check_tag

TAGS = "tags"
_SUFFIX = ".json"
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class _Changed(Exception):  # noqa: N818 - no error
    """The measure has got or lost tables while a tag of all of them was made."""


@decodable
class TagRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a tag's file.

    Attributes
    ----------
    tag : str
    time : int
        When it was made, nanoseconds since 1970-01-01 UTC: after all that it keeps was committed.
    since : int
        The time before which rows had expired then.
    tables : dict
        From each table's path below the measure to the epoch of the snapshot that the tag keeps there.
    """

    tag: str
    time: int
    since: int
    tables: dict[str, int]
    format: int = FORMAT_VERSION

    @property
    def moment(self) -> datetime.datetime:
        """When it was made."""
        return _EPOCH + datetime.timedelta(microseconds=self.time // 1000)


def tag_names(fs: FileSystem, root: str) -> list[str]:
    """Return the names of the tags of the measure in a directory, sorted."""
    return _names_of(list_dir(fs, join(root, TAGS)))


def _names_of(entries: Iterable[DirEntry]) -> list[str]:
    names = [entry.name.removesuffix(_SUFFIX) for entry in entries if is_tag_file(entry.name)]
    return sorted(map(unescape, names))


def is_tag_file(name: str) -> bool:
    """Whether a file of that name is a tag's."""
    plain = name.removesuffix(_SUFFIX)
    return name.endswith(_SUFFIX) and plain.isascii() and escape(unescape(plain)) == plain


def tag_path(root: str, name: str) -> str:
    """Return the path of a tag's file."""
    return join(root, TAGS, escape(name) + _SUFFIX)


def read_tag(fs: FileSystem, root: str, name: str) -> TagRecord:
    """Read a tag's file.

    Raises
    ------
    NotExistError
        There is no such tag.
    CorruptionError
        It is damaged.
    UnsupportedStoreError
        A newer release wrote it.
    """
    path = tag_path(root, name)
    record = unseal_document(fs.read(path), TagRecord, path)
    if record.tag != name:
        raise CorruptionError(path, f"it is of tag {record.tag!r}; was it renamed or copied?")
    return record


def rebuilt_tag(fs: FileSystem, root: str, name: str, schema: MeasureSchema) -> TagRecord:
    """Return what a tag's file should say, from the tags of the tables."""
    tables: dict[str, int] = {}
    times = [0]
    for segment in list_dir(fs, root):
        if not (segment.is_dir and is_segment_name(segment.name)):
            continue
        for shard in list_dir(fs, join(root, segment.name)):
            path = join(root, segment.name, shard.name)
            for tag in list_tags(fs, path) if shard.is_dir else ():
                if tag.tag == name:
                    tables[join(segment.name, shard.name)] = tag.epoch
                    times.append(look_back(fs, path, Moment(kept=tag.epoch), whole=False).time)
    return TagRecord(name, max(times), expired_before(schema, max(times)), tables)


class Tags:
    """The tags of a measure.

    Parameters
    ----------
    fs : FileSystem
    root : str
        The measure's directory.
    tables : Tables
    runtime : Runtime
    """

    def __init__(self, fs: FileSystem, root: str, tables: Tables, runtime: Runtime) -> None:
        self._fs = fs
        self._root = root
        self._tables = tables
        self._runtime = runtime
        self._turn = threading.Lock()

    def all(self) -> dict[str, datetime.datetime]:
        """Return the tags and when they were made, the oldest first."""
        found: list[TagRecord] = []
        for name in tag_names(self._fs, self._root):
            with contextlib.suppress(NotExistError):  # removed in the meantime
                found.append(read_tag(self._fs, self._root, name))
        return {record.tag: record.moment for record in sorted(found, key=lambda record: record.time)}

    # Making one.

    def make(self, name: str) -> datetime.datetime:
        """Keep what the measure holds now under a name, and return when that was; see `Measure.tag`."""
        with self._turn:
            check_free(check_tag(name), tag_names(self._fs, self._root), self._owner)
            self._tables.refresh()
            self._tables.writing(self._unexpired())
            self._clear()
            while True:
                with contextlib.suppress(_Changed):
                    return self._make(name).moment
                self._tables.writing(self._unexpired())

    @property
    def _owner(self) -> str:
        return f"measure {unescape(self._root)!r}"

    def _unexpired(self) -> list[Place]:
        """Return the tables some of whose rows are not past the `ttl`."""
        bound = expired_before(self._tables.schema, self._runtime.now())
        return [place for place in self._tables.places() if place.segment.end > bound]

    def _make(self, name: str) -> TagRecord:
        generation, places = self._tables.generation, self._unexpired()
        tables = self._tables.ready(places)
        if tables is None:
            raise _Changed
        try:
            return self._make_of(name, places, tables, generation)
        except (FileSystemError, ClosedError) as error:
            if self._tables.ready(places) != tables:
                raise _Changed from error
            raise

    def _make_of(
        self, name: str, places: Sequence[Place], tables: Sequence[TsTable], generation: int
    ) -> TagRecord:
        taggers = [table.tagger for table in tables]
        # Most of the work, several tables at a time: little is left to do while all of them stand still.
        self._tables.flush({table: table.epoch for table in tables})
        with contextlib.ExitStack() as held:
            epochs, time = self._settle(tables, taggers, generation, held)
            self._each(lambda item: item[0].keep(name, item[1]), list(zip(taggers, epochs, strict=True)))
            if self._tables.ready(places) != tables:
                raise _Changed  # a segment was dropped, perhaps before its tables' tags could keep it
            paths = (self._tables.path(place).removeprefix(f"{self._root}/") for place in places)
            record = TagRecord(
                tag=name,
                time=time,
                since=expired_before(self._tables.schema, time),
                tables=dict(zip(paths, epochs, strict=True)),
            )
            self._commit(record, taggers)
        return record

    @contextlib.contextmanager
    def holding(self) -> Iterator[dict[str, int]]:
        """Keep, while the block lasts, what the tables that are open for writing here hold at one moment.

        Gives the epochs of the snapshots that hold it, which are durable, by the tables' directories.
        """
        with contextlib.ExitStack() as held:
            while True:
                with contextlib.suppress(_Changed):
                    epochs = self._hold(held)
                    break
                held.close()
            yield epochs

    def _hold(self, held: contextlib.ExitStack) -> dict[str, int]:
        generation, writers = self._tables.generation, self._tables.writers()
        found = {self._tables.place(table.root.removeprefix(f"{self._root}/")): table for table in writers}
        # In the order in which tags are made, or the two would wait for each other.
        tables = [found[place] for place in sorted(found)]
        held.enter_context(self._tables.lent(sorted(found)))  # it may take longer than they may be idle
        try:
            self._tables.flush({table: table.epoch for table in tables})
            epochs, _ = self._settle(tables, [table.tagger for table in tables], generation, held)
        except (FileSystemError, ClosedError) as error:
            if set(self._tables.writers()) != set(tables):
                raise _Changed from error
            raise
        return {table.root: epoch for table, epoch in zip(tables, epochs, strict=True)}

    def _settle(
        self,
        tables: Sequence[TsTable],
        taggers: Sequence[Tagger],
        generation: int,
        held: contextlib.ExitStack,
    ) -> tuple[list[int], int]:
        """Make durable what the tables hold at one moment; return the epochs that hold it, and a time after it."""
        epochs = []
        with contextlib.ExitStack() as paused:
            # In order of their paths, or two who do this would wait for each other.
            settles = [paused.enter_context(tagger.paused()) for tagger in taggers]
            with self._tables.publishing:
                if self._tables.generation != generation:
                    raise _Changed
                snapshots = [paused.enter_context(table.pin()) for table in tables]
            # Not in the threads for I/O: all of them may be waiting for one of these tables.
            for settle, snapshot, tagger in zip(settles, snapshots, taggers, strict=True):
                epochs.append(settle(snapshot))
                held.callback(tagger.let_go, epochs[-1])
            return epochs, self._runtime.now()

    def _commit(self, record: TagRecord, taggers: Sequence[Tagger]) -> None:
        path = tag_path(self._root, record.tag)
        make_durable_dir(self._fs, join(self._root, TAGS))
        try:
            self._fs.write(path, seal(record), exclusive=True)
        except ExistError:
            check_free(record.tag, [record.tag], self._owner)
            raise
        self._fs.sync_path(join(self._root, TAGS))
        try:
            self._each(Tagger.check, taggers)
        except FencedError:  # who has taken a table over may have cleared our tag there before it was one
            with contextlib.suppress(FileSystemError):
                self._remove(record.tag)
                self._fs.sync_path(join(self._root, TAGS))
            raise

    def _each(self, call: Callable[[Any], Any], items: Sequence[Any]) -> None:
        raise_first(list(self._runtime.run_io(lambda item: caught(lambda: call(item)), items)))

    # Removing them.

    def remove(self, name: str) -> None:
        """Remove a tag; see `Measure.untag`."""
        with self._turn:
            check_names([name], tag_names(self._fs, self._root), "untag()", "tag")
            self._tables.refresh()
            self._tables.writing(self._tables.places())
            self._remove(name)
            self._clear()  # once that is durable

    def _remove(self, name: str) -> None:
        with contextlib.suppress(NotExistError):
            self._fs.delete_file(tag_path(self._root, name))

    @contextlib.contextmanager
    def clearing(self) -> Iterator[Callable[[TsTable], list[str]]]:
        """Let no tag be made within the block; it gives what removes from a table what is left of tags that are none.

        That returns the paths of what it has removed. In dropped segments it is removed at once.
        """
        with self._turn:
            names = self._durable_names()
            self._clear_dropped(names)
            yield partial(_clear, names)

    def _durable_names(self) -> set[str]:
        """Return the names of all tags, once it is durable that there are no others."""
        try:
            entries = self._fs.read_dir(join(self._root, TAGS))
        except NotExistError:
            return set()
        self._fs.sync_path(join(self._root, TAGS))
        return set(_names_of(entries))

    def _clear(self) -> None:
        names = self._durable_names()
        list(self._runtime.run_io(partial(_clear, names), self._tables.writers()))
        self._clear_dropped(names)

    def _clear_dropped(self, names: Collection[str]) -> None:
        """Do so in the tables of dropped segments, which only tags keep, and which nobody writes to."""
        for segment in filter(self._tables.is_dropped, self._tables.segments()):
            for shard in self._tables.shards_in(segment):
                path = self._tables.path(Place(segment, shard))
                stray = [tag for tag in list_tags(self._fs, path) if tag.tag not in names]
                if stray:
                    remove_tags(self._fs, path, stray)


def _clear(names: Collection[str], table: TsTable) -> list[str]:
    """Remove the tags of a table that are none of these."""
    with contextlib.suppress(ClosedError):  # its segment was dropped
        return [f"{table.root}/{file}" for file in table.tagger.untag(lambda name: name not in names)]
    return []
