"""Copying a store: the one mechanism of backup, restore and copy.

1. The target is locked and says in ``.backup/record.json`` what is being brought to it.
2. Of each measure it is found out what is missing there, and that is brought: see `Mirror`. What a writer collects
   meanwhile is looked for again.
3. The record says what was brought: the commit point of a backup, which `restore` goes by. A new store gets its
   ``measurefs.json``, without which it is none.
4. What nothing in the target names any more is removed; in a restored or copied store that is done before it is one,
   and ``.backup`` is removed in the end.

Whatever stops a run, the next one goes on from what is there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Collection, Iterator
from typing import NamedTuple, Protocol

import msgspec

from measurefs.codec.sealed import seal
from measurefs.database.backup_record import (
    LOCK,
    BackupRecord,
    Kind,
    MeasureRecord,
    read_record,
    write_record,
)
from measurefs.database.holding import Holding, Source
from measurefs.database.identity import BACKUP, IDENTITY, NAMELESS, Identity, read_identity
from measurefs.database.mirror import Mirror
from measurefs.database.mirror_parts import is_like_measure, remove_measure
from measurefs.database.rewriting import Progress
from measurefs.fs.errors import (
    CorruptionError,
    ExistError,
    NotExistError,
    ReadError,
    UnsupportedStoreError,
)
from measurefs.fs.filesystem import FileSystem, LockFile, make_durable_dir
from measurefs.fs.listing import list_dir
from measurefs.fs.paths import unescape
from measurefs.part.copying import GoneError
from measurefs.table.lock import release

_ATTEMPTS = 10
_OURS = {BACKUP, "_probe", "_doctor"}
"""What may be in an empty target: the latter are left by who examined it, and was killed."""


class CopyReport(msgspec.Struct, frozen=True):
    """What a backup, a restore or a copy has done.

    Attributes
    ----------
    measures : list of str
        Those that were copied.
    tables, parts : int
        What there is of them in the target now.
    copied : int
        The parts that were brought; the others were there.
    bytes : int
        Their size.
    removed : int
        Parts in the target that nothing there named any more.
    kept : list of str
        Measures that the source has not, and that tags in the backup keep.
    seconds : float
        How long it took.
    """

    measures: list[str]
    tables: int = 0
    parts: int = 0
    copied: int = 0
    bytes: int = 0
    removed: int = 0
    kept: list[str] = []
    seconds: float = 0.0


class Selection(Protocol):
    """What is to be copied."""

    @property
    def whole(self) -> bool:
        """Whether what is not selected is to go from the target."""

    def roots(self) -> list[str]:
        """Return the directories of the measures."""

    def hold(self, root: str) -> Holding | None:
        """Return what of a measure is to be copied; None if it is not there any more."""


class Target(NamedTuple):
    """Where a store is copied to.

    Attributes
    ----------
    fs : FileSystem
    url : str
        For messages.
    kind : str
    tag : str
        Of a backup, under which name to keep the state; of a restored store, what it shows. Empty for none.
    verifies : bool
        Whether to read what is there, and to bring again what is damaged.
    forget : collection of str
        The tags that only the backup has and that are to go.
    """

    fs: FileSystem
    url: str
    kind: Kind
    tag: str = ""
    verifies: bool = False
    forget: Collection[str] = ()

    def identity(self) -> Identity | None:
        """Return that of the store there, None if there is none."""
        with contextlib.suppress(NotExistError):
            return read_identity(self.fs)
        return None


def transfer(source: Source, target: Target, selection: Selection, progress: Progress | None) -> CopyReport:
    """Copy what is selected; see `Database.backup`, `restore` and `copy`.

    Raises
    ------
    UnsupportedStoreError
        The target is something else than what can be gone on with.
    SchemaError
        What is selected is not there, or a tag is there already.
    CorruptionError
        Something in the source is damaged, or missing. What was there before in the target stays as it was.
    LockError
        Another process copies to the target.
    FileSystemError
        Something could not be read or written. Do it again.
    """
    begun = source.runtime.monotonic()
    _check(source, target)
    roots = selection.roots()
    make_durable_dir(target.fs, BACKUP)
    with _locked(target.fs) as lock:
        known = _check(source, target)
        record = known or BackupRecord(
            target.kind, source.store, target.tag if target.kind == "restore" else ""
        )
        if target.forget:
            record = record.without(target.forget)
        if record != known:
            write_record(target.fs, record)
        if target.kind != "backup" and target.identity() is not None:
            _check_complete(target, record)
            report = CopyReport([])  # the run before this one was stopped when all was done
        else:
            report = _Run(source, target, selection, record, lock, progress).run(roots)
    if target.kind != "backup":
        target.fs.must_rm_all(BACKUP)
        target.fs.sync_path("")
    return msgspec.structs.replace(report, seconds=source.runtime.monotonic() - begun)


@contextlib.contextmanager
def _locked(fs: FileSystem) -> Iterator[LockFile]:
    lock = fs.create_lock_file(LOCK)
    try:
        yield lock
    finally:
        release(lock, clean=True)


def _check(source: Source, target: Target) -> BackupRecord | None:
    """Return what the target tells of earlier runs, None if it is empty; raise if it is something else."""
    record, identity = read_record(target.fs), target.identity()
    if record is None:
        _check_empty(target, identity)
        return None
    doing = f"cannot {_VERBS[target.kind]} {target.url!r}"
    wanted = (target.kind, target.tag if target.kind == "restore" else "")
    if (record.kind, record.tag) != wanted:
        what = "a backup" if record.kind == "backup" else f"an unfinished {record.kind}"
        raise UnsupportedStoreError(f"{doing}: it holds {what}; choose another target, or empty this one")
    if record.origin and source.store and record.origin != source.store:
        raise UnsupportedStoreError(
            f"{doing}: what is there is of another store ({record.origin}, and {source.url!r} is {source.store}); "
            "choose another target"
        )
    return record


def _check_complete(target: Target, record: BackupRecord) -> None:
    if not record.time:
        raise UnsupportedStoreError(
            f"cannot {_VERBS[target.kind]} {target.url!r}: somebody has opened it before it was complete; "
            "empty it, and begin anew"
        )


_VERBS = {"backup": "back up to", "restore": "restore to", "copy": "copy to"}


def _check_empty(target: Target, identity: Identity | None) -> None:
    doing = f"cannot {_VERBS[target.kind]} {target.url!r}"
    if identity is not None and identity.origin:
        raise CorruptionError(
            f"{BACKUP}/record.json", f"{doing}: it is missing, and with it what the backup knows of itself"
        )
    if identity is not None:
        why = "a store is there, and it is no backup" if target.kind == "backup" else "a store is there"
        raise UnsupportedStoreError(f"{doing}: {why}; choose another target, or empty this one")
    names = [entry.name for entry in list_dir(target.fs, "") if entry.name not in _OURS]
    if names:
        raise UnsupportedStoreError(
            f"{doing}: it is not empty (it has {names[0]!r}); choose a target with nothing in it"
        )


@dataclasses.dataclass(slots=True)
class _Told:
    """How far it is."""

    progress: Progress | None
    done: int = 0
    total: int = 0
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def more(self, size: int) -> None:
        """Count bytes that are done."""
        with self.lock:
            self.done += size
            if self.progress is not None:
                self.progress(self.done, max(self.total, self.done))


class _Run:
    """One run of a copy, with the target locked."""

    def __init__(
        self,
        source: Source,
        target: Target,
        selection: Selection,
        record: BackupRecord,
        lock: LockFile,
        progress: Progress | None,
    ) -> None:
        self._source = source
        self._target = target
        self._selection = selection
        self._record = record
        self._lock = lock
        self._told = _Told(progress)
        self._copied = self._bytes = 0
        self._begun = dict(record.begun)
        self._is_read = target.identity() is not None

    def run(self, roots: list[str]) -> CopyReport:
        mirrors = [mirror for root in roots if (mirror := self._plan(root)) is not None]
        self._told.total = sum(mirror.bytes for mirror in mirrors)
        self._begin(mirrors)
        self._told.more(0)
        brought = [mirror for each in mirrors if (mirror := self._bring(each)) is not None]
        self._lock.check()
        records = {mirror.root: mirror.commit() for mirror in brought}
        self._lock.check()
        removed, kept = self._finish(brought, records)
        return CopyReport(
            measures=[mirror.holding.schema.name for mirror in brought],
            tables=sum(len(mirror.holding.tables) for mirror in brought),
            parts=sum(mirror.parts[1] for mirror in brought),
            copied=self._copied,
            bytes=self._bytes,
            removed=removed,
            kept=kept,
        )

    def _finish(self, brought: list[Mirror], records: dict[str, MeasureRecord]) -> tuple[int, list[str]]:
        """Let the target be what it is to be; return how many parts were removed, and what a backup's tags keep."""
        if self._record.kind != "backup":  # to be changed no more once it is a store
            removed, _ = sum(mirror.clean() for mirror in brought), self._remove_others(records, self._record)
            self._complete({}, {})
            return removed, []
        for mirror in brought:
            if mirror.root in self._begun:
                self._begun[mirror.root] = sorted(mirror.strays)
        record = self._complete(records, self._begun)
        removed, kept = sum(mirror.clean() for mirror in brought), self._remove_others(records, record)
        left = {root: names for root, names in self._begun.items() if root not in records}
        if self._selection.whole:
            left, gone = {}, {root: tags for root, tags in record.gone.items() if tags}
        else:
            gone = record.gone
        if (record.begun, record.gone) != (left, gone):
            write_record(self._target.fs, msgspec.structs.replace(record, begun=left, gone=gone))
        return removed, kept

    def _plan(self, root: str, *, anew: bool = False) -> Mirror | None:
        """Find out what is to be done for a measure; None if it is not there any more."""
        anew |= root in self._record.begun or self._target.verifies
        old = None if anew else self._record.measures.get(root)
        tag = self._target.tag if self._target.kind == "backup" else ""
        for _ in range(_ATTEMPTS):
            try:
                holding = self._selection.hold(root)
            except GoneError as error:
                gone = error
                continue
            if holding is None:
                return None
            runtime = self._source.runtime
            sweeps = root in self._record.begun and not self._target.fs.remote
            return Mirror(
                self._target.fs,
                holding if self._record.kind == "backup" else holding.raised(),
                old,
                self._record,
                tag,
                runtime,
                sweeps=sweeps,
                is_read=self._is_read,
                verifies=self._target.verifies,
            )
        raise self._too_fast(gone)

    def _begin(self, mirrors: list[Mirror]) -> None:
        """Say which measures are being changed, before anything of them is."""
        before = dict(self._begun)
        for mirror in mirrors:
            if mirror.changes:
                names = mirror.new_tags.union(self._begun.get(mirror.root, ()))
                self._begun[mirror.root] = sorted(names)
        if self._begun != before:
            write_record(self._target.fs, msgspec.structs.replace(self._record, begun=self._begun))

    def _bring(self, mirror: Mirror) -> Mirror | None:
        """Copy the parts of a measure, and look again if some of them are collected meanwhile."""
        for _ in range(_ATTEMPTS):
            missing, size = mirror.parts[0], mirror.bytes
            before = self._told.done
            try:
                mirror.copy(self._source.fs, self._told.more)
            except GoneError as error:
                gone = error
                mirror.check_own(gone.path)
            else:
                self._copied += missing
                self._bytes += size
                return mirror
            self._told.total -= size - (self._told.done - before)
            again = self._plan(mirror.root, anew=True)
            if again is None:
                return None
            if again.holding.names(gone.path):
                raise self._missing(gone)
            mirror = again
            self._begin([mirror])
            self._told.total += mirror.bytes
        raise self._too_fast(gone)

    def _missing(self, gone: GoneError) -> CorruptionError:
        todo = "run 'measurefs verify'"
        if self._source.is_backup:
            todo = "run 'measurefs backup --verify' to it, which brings again what the store that it is of still has"
        return CorruptionError(gone.path, f"a snapshot or tag names it, and it is missing; {todo}")

    def _too_fast(self, gone: GoneError) -> ReadError | CorruptionError:
        if self._source.is_backup:
            return self._missing(gone)
        return ReadError(
            "read",
            gone.path,
            f"a writer has removed it before it was copied, and others in {_ATTEMPTS} attempts; raise the writer's "
            "gc_grace, or let the process that writes do it: Database.backup",
        )

    def _complete(self, records: dict[str, MeasureRecord], begun: dict[str, list[str]]) -> BackupRecord:
        """Record what was brought, and let the target be a store; return the record."""
        fs, source = self._target.fs, self._source
        others = {root: each for root, each in self._record.measures.items() if root not in records}
        gone = {root: tags for root, tags in self._record.gone.items() if root not in records}
        if self._selection.whole:
            gone |= {root: each.kept for root, each in others.items() if each.kept}
            for root, each in others.items():
                begun[root] = sorted({*each.tags}.union(begun.get(root, ())))
            others = {}
        is_backup = self._target.kind == "backup"
        record = BackupRecord(
            kind=self._record.kind,
            origin=self._record.origin or source.store,
            tag=self._record.tag,
            time=source.runtime.now(),
            begun=begun,  # until nothing is left to be removed
            gone=gone,
            measures={**others, **records},
        )
        write_record(fs, record)
        if not self._is_read:
            origin = (source.store or NAMELESS) if is_backup else ""
            identity = Identity.new(source.runtime.random, origin=origin)
            with contextlib.suppress(ExistError):
                fs.write(IDENTITY, seal(identity), exclusive=True)
            fs.sync_path("")
        return record

    def _remove_others(self, records: dict[str, MeasureRecord], record: BackupRecord) -> list[str]:
        """Remove the measures that are not to be there; return those that the backup's own tags keep."""
        if not self._selection.whole and self._target.kind == "backup":
            return []
        fs, kept = self._target.fs, []
        for entry in list_dir(fs, ""):
            other = entry.is_dir and entry.name not in records
            if other and is_like_measure(list_dir(fs, entry.name)) and remove_measure(fs, entry.name, record):
                kept.append(unescape(entry.name))
        return kept
