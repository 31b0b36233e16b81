"""Backup, restore and copy: what each selects, and how it is called."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from measurefs.database.backup_record import BackupRecord, read_record
from measurefs.database.holding import Holding, Source
from measurefs.database.measure import Measure
from measurefs.database.rewriting import Progress
from measurefs.database.tags import tag_names
from measurefs.database.transfer import CopyReport, Target, transfer
from measurefs.fs.cached import past_cache
from measurefs.fs.errors import ClosedError, NotExistError, SchemaError
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.paths import escape, unescape
from measurefs.fs.urls import open_url
from measurefs.fs.wrappers import ReadOnlyFileSystem
from measurefs.query import check_names
from measurefs.table import Runtime
from measurefs.table.tags import check_tag

Where = str | FileSystem
"""A URL or a path, as `open` takes it, or a file system."""


def restore(
    source: Where,
    target: Where,
    *,
    tag: str | None = None,
    measures: Collection[str] | None = None,
    source_options: Mapping[str, Any] | None = None,
    target_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    runtime: Runtime | None = None,
) -> CopyReport:
    """Make a store of a backup, or of a tag in one; it can be written to, and has an identity of its own.

    Of a backup that is what its last complete run has brought, with the tags that the measures had. It can be done
    again where it was interrupted, and goes on from there.

    Parameters
    ----------
    source : str or FileSystem
        A backup, or any store: then what it holds now, with its tags.
    target : str or FileSystem
        With nothing in it.
    tag : str, optional
        A name that a backup was made under, or any tag of the measures: the store shows what they held then, and no
        other measures. It has no tags. Each measure has its newest columns and ttl, and rows that are past that are
        not found, as ever.
    measures : collection of str, optional
        Only these.
    source_options, target_options : mapping, optional
        What the backends take: credentials, endpoint...
    progress : callable, optional
        Called now and then with how many bytes are done and how many there are.
    runtime : Runtime, optional
        Clock and threads, for tests.

    Returns
    -------
    CopyReport
        What was done.

    Raises
    ------
    NotExistError
        There is no store at the source.
    UnsupportedStoreError
        The target is not empty. Or a newer release wrote the source.
    SchemaError
        There is no such measure or tag.
    CorruptionError
        Something in the source is damaged or missing. The target is no store yet.
    LockError
        Another process copies to the target.
    FileSystemError
        Something could not be read or written; the target is no store yet. Do it again.
    """
    with _opened(source, source_options, runtime) as opened, _at(target, target_options) as fs:
        what = _Tagged(opened, tag, measures) if tag is not None else _Last(opened, measures)
        return transfer(opened, Target(fs, str(target), "restore", tag or ""), what, progress)


def copy(
    source: Where,
    target: Where,
    *,
    measures: Collection[str] | None = None,
    source_options: Mapping[str, Any] | None = None,
    target_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    runtime: Runtime | None = None,
) -> CopyReport:
    """Copy what a store holds now, with all tags, to another place: to move it from a disk to S3, for example.

    Of snapshots only the newest and the tagged ones are copied. Stop the writers first if nothing that they write is
    to be missed. It can be done again where it was interrupted, and goes on from there.

    Parameters, results and errors are those of `restore`.
    """
    with _opened(source, source_options, runtime) as opened, _at(target, target_options) as fs:
        return transfer(opened, Target(fs, str(target), "copy"), _Present(opened, measures), progress)


def backup(
    source: Where,
    target: Where,
    *,
    tag: str | None = None,
    measures: Collection[str] | None = None,
    source_options: Mapping[str, Any] | None = None,
    target_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    verify: bool = False,
    forget: Collection[str] = (),
    runtime: Runtime | None = None,
) -> CopyReport:
    """Back up a store as it is on its file system, also while another process writes to it; see `Database.backup`.

    Of each table that is what was committed last.
    """
    with _opened(source, source_options, runtime) as opened:
        return back_up_from(opened, target, tag, measures, target_options, progress, verify, forget)


@contextlib.contextmanager
def open_source(fs: FileSystem, runtime: Runtime, here: Collection[Measure]) -> Iterator[Source]:
    """Give a store, of which this process has some measures open, to be backed up within the block."""
    with contextlib.ExitStack() as held:
        writers = {escape(measure.name): _Writers(measure, held) for measure in here}
        yield Source(past_cache(fs), "this store", runtime, writers)


def back_up_from(
    source: Source,
    target: Where,
    tag: str | None,
    measures: Collection[str] | None,
    target_options: Mapping[str, Any] | None,
    progress: Progress | None,
    verify: bool,
    forget: Collection[str],
) -> CopyReport:
    """Back up a store; see `Database.backup`."""
    name = "" if tag is None else check_tag(tag)
    if isinstance(forget, str):
        raise SchemaError(f"forget needs a list of names, such as [{forget!r}]")
    with _at(target, target_options) as fs:
        where = Target(fs, str(target), "backup", name, verify, forget)
        return transfer(source, where, _Present(source, measures), progress)


@contextlib.contextmanager
def _opened(place: Where, options: Mapping[str, Any] | None, runtime: Runtime | None) -> Iterator[Source]:
    with _at(place, options) as fs:
        try:
            source = Source(ReadOnlyFileSystem(fs), str(place), runtime or Runtime.threaded())
        except NotExistError as error:
            raise NotExistError("open", str(place), "there is no measurefs store") from error
        yield source


@contextlib.contextmanager
def _at(place: Where, options: Mapping[str, Any] | None) -> Iterator[FileSystem]:
    fs = place if isinstance(place, FileSystem) else open_url(str(place), **dict(options or {}))
    try:
        yield fs
    finally:
        if fs is not place:
            fs.close()


class _Writers:
    """The tables of a measure that this process writes to, see `Writers`; held until the backup is done."""

    def __init__(self, measure: Measure, held: contextlib.ExitStack) -> None:
        self._measure = measure
        self._held = held
        self._epochs: dict[str, int] | None = None

    def hold(self) -> Mapping[str, int]:
        if self._epochs is None or self.has_more():
            try:
                self._epochs = self._held.enter_context(self._measure.holding())
            except ClosedError:
                if not self._measure.closed:
                    raise
                self._epochs = {}  # it was dropped meanwhile
        return self._epochs

    def has_more(self) -> bool:
        with self._measure.held() as tables:
            return not {table.root for table in tables} <= (self._epochs or {}).keys()


# What is selected.


class _Present:
    """What a store holds now, with all its tags."""

    def __init__(self, source: Source, measures: Collection[str] | None) -> None:
        self.source = source
        self._measures = None if measures is None else list(measures)

    @property
    def whole(self) -> bool:
        """Whether these are all measures."""
        return self._measures is None

    def roots(self) -> list[str]:
        """Return the directories of those that are selected; raises `SchemaError` for one that is not there."""
        there = self.all()
        if self._measures is None:
            return there
        check_names(self._measures, [unescape(root) for root in there], "measures", "measure")
        return [escape(name) for name in dict.fromkeys(self._measures)]

    def all(self) -> list[str]:
        """Return the directories of those that can be selected."""
        return self.source.roots()

    def hold(self, root: str) -> Holding | None:
        """Return what is to be copied."""
        return self.source.present(root)


class _Last(_Present):
    """What the last complete run has brought to a backup; what any other store holds now."""

    def all(self) -> list[str]:
        """Return the directories of those that can be selected."""
        record = _record(self.source)
        return super().all() if record is None else sorted(record.measures)

    def hold(self, root: str) -> Holding | None:
        """Return what is to be copied."""
        record = _record(self.source)
        if record is None:
            return super().hold(root)
        measure = record.measures.get(root)
        return None if measure is None else self.source.recorded(root, measure)


class _Tagged(_Present):
    """What the measures held at a tag."""

    def __init__(self, source: Source, tag: str, measures: Collection[str] | None) -> None:
        super().__init__(source, measures)
        self._tag = tag

    def roots(self) -> list[str]:
        """Return the directories of those that have the tag; raises `SchemaError` if there are none."""
        record = _record(self.source)
        tags = {root: tag_names(self.source.fs, root) for root in super().roots()}
        if record is not None:  # what an interrupted run has begun is not kept yet
            tags = {root: sorted(record.tags_of(root, names)) for root, names in tags.items()}
        if not self.whole:
            for root, names in tags.items():
                check_names([self._tag], names, f"measure {unescape(root)!r}: tag", "tag")
        check_names([self._tag], sorted({name for names in tags.values() for name in names}), "tag", "tag")
        return [root for root in tags if self._tag in tags[root]]

    def hold(self, root: str) -> Holding | None:
        """Return what is to be copied."""
        record = _record(self.source)
        return self.source.tagged(root, self._tag, record.measures.get(root) if record else None)


def _record(source: Source) -> BackupRecord | None:
    """Return what a backup tells of itself; None for any other store, also one that was copied just now."""
    record = read_record(source.fs)
    return record if record is not None and record.kind == "backup" else None
