"""Copying a store: the one mechanism of backup, restore and copy.

1. The target is locked and says in ``.backup/record.json`` what is being brought to it.
2. Of each measure it is found out what is missing there, and that is brought: see `Mirror`. What a writer collects
   meanwhile is looked for again.
3. The record says what was brought: the commit point of a backup, which `restore` goes by. A new store gets its
   ``measurefs.json``, without which it is none.
4. What nothing in the target names any more is removed. Of a restored or copied store ``.backup`` is, too.

Whatever stops a run, the next one goes on from what is there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
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
from measurefs.database.identity import BACKUP, IDENTITY, Identity, read_identity
from measurefs.database.mirror import Mirror
from measurefs.database.mirror_parts import is_like_measure, remove_measure
from measurefs.database.rewriting import Progress
from measurefs.fs.errors import (
    CorruptionError,
    ExistError,
    FileSystemError,
    NotExistError,
    ReadError,
    UnsupportedStoreError,
)
from measurefs.fs.filesystem import FileSystem, LockFile, make_durable_dir
from measurefs.fs.listing import list_dir
from measurefs.fs.paths import unescape
from measurefs.part.copying import GoneError

_ATTEMPTS = 10


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
    """

    fs: FileSystem
    url: str
    kind: Kind
    tag: str = ""
    verifies: bool = False

    def identity(self) -> Identity | None:
        """Return that of the store there, None if there is none."""
        with contextlib.suppress(NotExistError):
            return read_identity(self.fs)
        return None


def transfer(source: Source, target: Target, selection: Selection, progress: Progress | None) -> CopyReport:
    """Copy what is selected; see `measurefs.backup`.

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
        record = _check(source, target)
        if record is None:
            record = BackupRecord(target.kind, source.store, target.tag if target.kind == "restore" else "")
            record = msgspec.structs.replace(record, unfinished=True)
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
        with contextlib.suppress(
            FileSystemError
        ):  # the next to take it then waits, as after its holder's death
            lock.close()


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
    if record.unfinished:
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
    names = [entry.name for entry in list_dir(target.fs, "") if entry.name != BACKUP]
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
        self._begun: list[str] = []
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
        strays = set().union(*(mirror.strays for mirror in brought))
        record = self._complete(records, strays, cleans=any(mirror.changes for mirror in mirrors))
        removed = sum(mirror.clean() for mirror in brought)
        kept = self._remove_others(records)
        if record.unfinished:
            write_record(self._target.fs, msgspec.structs.replace(record, unfinished=False, begun=[]))
        return CopyReport(
            measures=[mirror.holding.schema.name for mirror in brought],
            tables=sum(len(mirror.holding.tables) for mirror in brought),
            parts=sum(mirror.parts[1] for mirror in brought),
            copied=self._copied,
            bytes=self._bytes,
            removed=removed,
            kept=kept,
        )

    def _plan(self, root: str, *, anew: bool = False) -> Mirror | None:
        """Find out what is to be done for a measure; None if it is not there any more."""
        anew |= self._record.unfinished or self._target.verifies
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
            sweeps = self._record.unfinished and not self._target.fs.remote
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
        """Say that the target is being changed, before anything of it is."""
        self._begun = sorted({*self._record.begun}.union(*(mirror.new_tags for mirror in mirrors)))
        if any(mirror.changes for mirror in mirrors):
            record = msgspec.structs.replace(self._record, unfinished=True, begun=self._begun)
            if record != self._record:
                write_record(self._target.fs, record)

    def _bring(self, mirror: Mirror) -> Mirror | None:
        """Copy the parts of a measure, and look again if some of them are collected meanwhile."""
        for _ in range(_ATTEMPTS):
            missing, size = mirror.parts[0], mirror.bytes
            before = self._told.done
            try:
                mirror.copy(self._source.fs, self._told.more)
            except GoneError as error:
                gone = error
            else:
                self._copied += missing
                self._bytes += size
                return mirror
            self._told.total -= size - (self._told.done - before)
            again = self._plan(mirror.root, anew=True)
            if again is None:
                return None
            if again.holding.names(gone.path):
                raise CorruptionError(
                    gone.path, "a snapshot names it, and it is missing; run 'measurefs verify'"
                )
            mirror = again
            self._told.total += mirror.bytes
        raise self._too_fast(gone)

    def _too_fast(self, gone: GoneError) -> ReadError:
        return ReadError(
            "read",
            gone.path,
            f"a writer has removed it before it was copied, and others in {_ATTEMPTS} attempts; raise the writer's "
            "gc_grace, or let the process that writes do it: Database.backup",
        )

    def _complete(self, records: dict[str, MeasureRecord], strays: set[str], *, cleans: bool) -> BackupRecord:
        """Record what was brought, and let the target be a store; return the record."""
        fs, source = self._target.fs, self._source
        others = {root: each for root, each in self._record.measures.items() if root not in records}
        gone = {root: tags for root, tags in self._record.gone.items() if root not in records}
        if self._selection.whole:
            strays = strays.union(*(each.tags for each in others.values()))
            gone |= {root: each.kept for root, each in others.items() if each.kept}
            cleans |= bool(others)
            others = {}
        is_backup = self._target.kind == "backup"
        record = BackupRecord(
            kind=self._record.kind,
            origin=self._record.origin or source.store,
            tag=self._record.tag,
            time=source.runtime.now(),
            unfinished=is_backup
            and (cleans or self._record.unfinished),  # until nothing is left to be removed
            begun=sorted(strays) if is_backup else self._begun,
            gone=gone,
            measures={**others, **records} if is_backup else {},
        )
        write_record(fs, record)
        if not self._is_read:
            identity = Identity.new(source.runtime.random, origin=source.store if is_backup else "")
            with contextlib.suppress(ExistError):
                fs.write(IDENTITY, seal(identity), exclusive=True)
            fs.sync_path("")
        return record

    def _remove_others(self, records: dict[str, MeasureRecord]) -> list[str]:
        """Remove the measures that are not to be there; return those that the backup's own tags keep."""
        if not self._selection.whole:
            return []
        fs, kept = self._target.fs, []
        for entry in list_dir(fs, ""):
            other = entry.is_dir and entry.name not in records
            if (
                other
                and is_like_measure(list_dir(fs, entry.name))
                and remove_measure(fs, entry.name, self._record)
            ):
                kept.append(unescape(entry.name))
        return kept
