"""Running a workload: every step noted in a journal, every acknowledgement checked at once where asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from measurefs.fs import FencedError, FileSystem, FileSystemWrapper, LockError, MeasureFSError
from measurefs.testing import CrashFileSystem, FaultFileSystem
from tests.crash.journal import Journal, Piece
from tests.crash.stores import Opened, Row, Store

A = TypeVar("A")
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
    """

    def __init__(self, store: Store, fs: FileSystem) -> None:
        self.store = store
        self.fs = fs
        self.journal = Journal()
        self.surfaced: list[MeasureFSError] = []
        self.landing = False
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
        while True:
            try:
                done = step()
            except FencedError:
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
        if len(self.surfaced) != self._checked:
            self._checked = len(self.surfaced)
            self.journal.check(self.store.read(self.disk.crash("none")))


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
        except FencedError:
            self.die()
            return
        raise AssertionError("a writer that lost its lock acknowledged rows")

    def die(self) -> None:
        """Be gone without a word."""
        self._waiting.clear()

    def check(self) -> None:
        """Whatever has happened, what was taken is readable."""
        self.run.journal.check(self.opened.contents(), self._waiting)

    def _acknowledge_all(self) -> None:
        pieces, self._waiting = self._waiting, []
        self.run.acknowledge(pieces)
