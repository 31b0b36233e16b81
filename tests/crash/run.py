"""Running a workload: every step noted in a journal, every acknowledgement checked at once where asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

from measurefs.fs import FencedError, FileSystem, FileSystemWrapper, LockError, MeasureFSError
from measurefs.testing import CrashFileSystem, FaultFileSystem
from tests.crash.journal import Journal, Piece, Removal, Shape, Tag
from tests.crash.stores import Opened, Row, Store

A = TypeVar("A")
INITIAL: Shape = ("value: int64", "1d", "1d")
"""The schema of a new measure: its fields, interval and ttl."""

MERGES = 3
"""How many merges a few parts can take."""

PATIENCE = 2
"""How often a step may fail before a fault that stays is taken away."""


class Run:
    """One run of a workload.

    Parameters
    ----------
    store : Store
    fs : FileSystem
        A `CrashFileSystem`, or a `FaultFileSystem` round one: then steps that fail are tried again, and what
        is acknowledged next is checked as if the power failed right then.

    Attributes
    ----------
    surfaced : list of MeasureFSError
        What the steps raised.
    landing : bool
        Whether what timed out takes effect after the next step that succeeds.
    careful : bool
        Whether every acknowledgement is checked at once, and not only after a failure.
    """

    def __init__(self, store: Store, fs: FileSystem) -> None:
        self.store = store
        self.fs = fs
        self.journal = Journal()
        self.surfaced: list[MeasureFSError] = []
        self.landing = self.careful = False
        self.faulty = fs if isinstance(fs, FaultFileSystem) else None
        below = fs.innermost if isinstance(fs, FileSystemWrapper) else fs
        assert isinstance(below, CrashFileSystem)
        self.disk = below
        self._checked = 0

    def open(self) -> Session:
        """Open the store for writing."""
        return Session(self, self.attempt(lambda: self.store.open(self.fs)))

    def kill(self, session: Session) -> None:
        """The process dies, the machine does not."""
        session.die()
        self.disk.break_locks()

    def attempt(self, step: Callable[[], A], live: Session | None = None) -> A:
        """Do a step; where faults are injected, again and again until it succeeds."""
        failures = 0
        before = self.faulty.injected.total() if self.faulty is not None else 0
        while True:
            try:
                done = step()
            except FencedError as error:
                if self.faulty is not None and self.faulty.injected.total() > before:
                    self.surfaced.append(error)  # whoever is told this is told enough
                raise
            except MeasureFSError as error:
                if self.faulty is None or failures > PATIENCE:
                    raise
                failures += 1
                self._suffer(error, failures, live)
            else:
                if self.landing and self.faulty is not None:
                    self.faulty.land()
                return done

    def _suffer(self, error: MeasureFSError, failures: int, live: Session | None) -> None:
        self.surfaced.append(error)
        if failures == PATIENCE and self.faulty is not None:
            self.faulty.heal()
        if isinstance(error, LockError) and error.holder is not None:
            self.disk.break_locks(error.path)  # as a lease that nobody renews runs out
        if live is not None:
            live.check()

    def acknowledge(self, pieces: list[Piece]) -> None:
        """Somebody was told that these are durable: they must be, whatever happens from now on."""
        for piece in pieces:
            piece.acknowledged = True
        self.check_durable()

    def check_durable(self) -> None:
        """Check what the power failing right now would leave, if something has failed since the last time."""
        injected = 0 if self.faulty is None else self.faulty.injected.total()
        if self.careful or len(self.surfaced) + injected != self._checked:
            self._checked = len(self.surfaced) + injected
            found = self.disk.crash("none")
            self.journal.check(self.store.read(found))
            self.journal.check_beside(lambda: self.store.beside(found))


def changed(shape: Shape, change: dict[str, Any]) -> Shape:
    """Return a schema's shape after a change."""
    *fields, interval, ttl = shape
    known = dict(field.split(": ") for field in fields) | change.get("fields", {})
    spans = change.get("interval", interval), str(change.get("ttl", ttl))
    return (*(f"{name}: {kind}" for name, kind in known.items()), *spans)


class Session:
    """A writer at work."""

    def __init__(self, run: Run, opened: Opened) -> None:
        self.run = run
        self.opened = opened
        self._waiting: list[Piece] = []

    def add(self, *rows: Row, version: int | None = None, durable: bool = False) -> None:
        """Write a batch."""
        pieces = self.run.journal.add(self.opened.homes(rows), version)
        self.run.attempt(lambda: self.opened.add(rows, version, durable=durable), self)
        self._waiting += pieces
        if durable:
            self.run.acknowledge(pieces)

    def flush(self) -> None:
        """Make all durable."""
        self.run.attempt(self.opened.flush, self)
        self._acknowledge_all()

    def gc(self) -> None:
        """Collect garbage."""
        self.run.attempt(self.opened.gc, self)

    def step(self) -> None:
        """Let happen what happens by itself in an hour; failures there are nobody's to see."""
        self.opened.step()
        self.run.attempt(self.check)

    def close(self) -> None:
        """Close in good order."""
        self.run.attempt(self.opened.close)
        self._acknowledge_all()

    def fenced(self) -> None:
        """Find out that somebody else writes here now; what waits is not acknowledged."""
        if not self._waiting:
            return
        try:
            self.run.attempt(self.opened.flush, None)
        except MeasureFSError as error:
            if not isinstance(error, FencedError) and not self.run.journal.contested:
                raise  # if others drop what it writes to, its files are gone
            self.die()
            return
        assert self.run.journal.contested, "a writer that lost its lock acknowledged rows"
        self._acknowledge_all()  # it may have had them durable before

    def die(self) -> None:
        """Be gone without a word."""
        self._waiting.clear()

    def check(self) -> None:
        """Whatever has happened, what was taken is readable; if nobody else has written."""
        if self.run.journal.contested:
            return
        self.run.journal.check(self.opened.contents(), self._waiting)
        self.run.journal.check_beside(self.opened.beside)

    # Rewriting, removing, keeping and changing.

    def merge(self) -> None:
        """Let the background merge all that is due; failures show in statistics, and it is tried again."""
        for _ in range(MERGES):
            self.run.surfaced += self.opened.merge()
            self.run.attempt(self.check)

    def compact(self) -> None:
        """Merge everything."""
        self.run.attempt(self.opened.compact, self)
        self.run.attempt(self.check)

    def delete(self, start: int, end: int, ids: Collection[int] | None = None) -> None:
        """Remove rows of a span of time, all or those of some ids."""

        def takes(_: str, key: tuple[int, int]) -> bool:
            return start <= key[1] < end and (ids is None or key[0] in ids)

        removal = self.run.journal.remove(takes)
        self.run.attempt(lambda: self.opened.delete(start, end, ids), self)
        self._removed([removal])

    def tag(self, name: str) -> None:
        """Keep what there is now; what an attempt that failed has left of the tag is removed first."""
        journal = self.run.journal
        journal.watched = True
        found = self.run.attempt(self.opened.contents)
        held = {table: rows for table, rows in found.items() if rows}
        tag = journal.tags[name] = Tag(held)

        def make() -> None:
            if name in self.opened.beside().tags:
                self.opened.untag(name)
            self.opened.tag(name)

        self.run.attempt(make, self)
        journal.tags[name] = tag
        tag.sure = True
        self._after_a_change()

    def untag(self, name: str) -> None:
        """Keep it no longer."""
        tag = self.run.journal.tags[name]
        tag.sure = False

        def remove() -> bool:
            if name not in self.opened.beside().tags:
                return (
                    False  # an attempt that failed may have removed it, and nothing says that this is durable
                )
            self.opened.untag(name)
            return True

        if self.run.attempt(remove, self):
            self.run.journal.tags.pop(name, None)
        else:
            tag.torn = True
        self._after_a_change()

    def expire(self, before: int) -> None:
        """Let time go on until all rows up to a time have expired, and drop their segments."""

        def takes(_: str, key: tuple[int, int]) -> bool:
            return key[1] < before

        self.run.journal.expired = before
        removal = self.run.journal.remove(takes, whole=True, lasting=True)
        attempts = 0
        while not self.run.attempt(lambda: self.opened.expire(before), self):
            attempts += 1  # what somebody seemed to have locked is left for the next time
            if self.run.journal.contested:
                return
            assert self.run.faulty is not None, "it did not drop what had expired"
            assert attempts < PATIENCE, "it never drops what has expired"
        self._removed([removal])

    def outlive(self, before: int) -> None:
        """Let time go on until all rows up to a time have expired; their segments stay, since they are tagged."""
        assert not self.run.attempt(lambda: self.opened.expire(before), self)
        self.run.attempt(self.check)

    def refuse(self, *rows: Row) -> None:
        """Write rows that have expired: they are not stored."""
        self.run.attempt(lambda: self.opened.add(rows, None, durable=True), self)
        self.run.attempt(self.check)

    def drop(self) -> None:
        """Drop all of it, and create it anew."""
        journal = self.run.journal
        journal.watched = True
        shape, empty = self.opened.shape(), not journal.shapes
        removal = journal.remove(lambda *_: True, whole=True, lasting=True)
        for tag in journal.tags.values():
            tag.sure = False
        journal.shapes += [INITIAL] if not empty else [shape, INITIAL]
        if self.run.attempt(self.opened.drop):
            self._gone(removal)
        self._waiting.clear()
        self.run.attempt(self.opened.create)
        self._gone(removal)
        self.run.attempt(self.check)

    def _gone(self, removal: Removal) -> None:
        self.run.journal.tags.clear()
        self.run.journal.shapes = [INITIAL]
        removal.acknowledged = True
        for other in self.run.journal.removals:
            other.lasting = False  # whoever was about to remove something does not mean what comes now
        self.run.check_durable()

    def evolve(self, **change: Any) -> None:
        """Change the schema."""
        journal = self.run.journal
        journal.watched = True
        before = self.opened.shape()
        journal.shapes = [*(journal.shapes or [before]), changed(before, change)]
        self.run.attempt(lambda: self.opened.evolve(change), self)
        assert self.opened.shape() == journal.shapes[-1]
        journal.shapes = journal.shapes[-1:]
        self._after_a_change()

    def _removed(self, removals: Iterable[Removal]) -> None:
        for removal in removals:
            removal.acknowledged = True
        self._after_a_change()

    def _after_a_change(self) -> None:
        self.run.check_durable()
        self.run.attempt(self.check)

    def _acknowledge_all(self) -> None:
        pieces, self._waiting = self._waiting, []
        self.run.acknowledge(pieces)
