"""Writers that are taken for dead, and wake up: paused at every operation, while others go on.

Only the pauses are threads' doing: one thread waits in a `Stall` while the other works, so every run is the
same.
"""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Callable

from measurefs.fs import FencedError, MeasureFSError
from measurefs.testing import Fault, FaultFileSystem, Stall
from tests.crash.campaigns import Case, replayable
from tests.crash.oracle import verify
from tests.crash.run import Run, Session
from tests.crash.stores import STORES, Store, StrictFileSystem
from tests.crash.workloads import one


def new_writes(run: Run) -> None:
    new = run.open()
    new.add(one(3), durable=True)


def new_writes_and_collects(run: Run) -> None:
    new = run.open()
    new.add(one(3), durable=True)
    new.add(one(4), durable=True)
    new.gc()


def new_collects_and_dies(run: Run) -> None:
    new = run.open()
    new.gc()
    new.add(one(3))
    run.kill(new)


def two_take_over(run: Run) -> None:
    new_collects_and_dies(run)
    newest = run.open()
    newest.add(one(4), durable=True)
    newest.gc()


DEEDS: dict[str, Callable[[Run], None]] = {
    deed.__name__: deed
    for deed in (new_writes, new_writes_and_collects, new_collects_and_dies, two_take_over)
}


class OldWriter:
    """A writer with rows to make durable, on a file system that can pause it."""

    def __init__(self, store: Store) -> None:
        self.disk = StrictFileSystem()
        self.disk.strict = False
        self.run = Run(store, self.disk)
        self.slow = FaultFileSystem(self.disk)
        self.session = Session(self.run, store.open(self.slow))
        self.session.add(one(1), durable=True)
        self.session.add(one(2))

    def work(self) -> None:
        """Flush and collect. What is acknowledged is noted; a writer that lost its lock ends in an error.

        Whatever the first error is (its files may be gone by then), the next one says that it was fenced.
        """
        try:
            self.session.flush()
            self.session.gc()
        except FencedError:
            self.session.die()
        except MeasureFSError:
            self.session.fenced()

    def operations(self) -> int:
        """How many calls the work makes."""
        before = self.slow.calls.total()
        self.work()
        return self.slow.calls.total() - before


def paused(store: str, at: int, deed: str) -> None:
    """Pause the old writer at one of its calls, let the new one work, then let the old one go on."""
    old = OldWriter(STORES[store])

    def meanwhile() -> None:
        old.disk.break_locks()
        DEEDS[deed](old.run)

    _pause(old.slow, at, old.work, meanwhile)
    _verify(old)


def interrupted(store: str, at: int) -> bool:
    """Pause the new writer at one of its calls, and let the old one go on; False if it makes fewer calls."""
    old = OldWriter(STORES[store])
    old.disk.break_locks()
    slow = FaultFileSystem(old.disk)

    def take_over() -> None:
        new = Session(old.run, old.run.store.open(slow))
        new.add(one(3), durable=True)
        new.gc()
        new.add(one(4), durable=True)

    def meanwhile() -> None:
        with contextlib.suppress(MeasureFSError):
            old.session.gc()  # what the new one has written and not yet committed is not the old one's garbage
        old.work()

    reached = _pause(slow, at, take_over, meanwhile)
    _verify(old)
    return reached


def _pause(fs: FaultFileSystem, at: int, work: Callable[[], None], meanwhile: Callable[[], None]) -> bool:
    """Do work in a thread, and something else while that waits at a call; False if it ends before."""
    stall, ended = Stall(), threading.Event()
    fs.add(Fault(at=at, error=None, stall=stall))
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the other thread raises it
            failed.append(error)
        finally:
            ended.set()
            stall.reach()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        stall.wait_until_reached()
        reached = not ended.is_set()
        meanwhile()
    finally:
        stall.release()
        thread.join()
    if failed:
        raise failed[0]
    return reached


def _verify(old: OldWriter) -> None:
    verify(old.run.store, old.disk.kill(), old.run.journal)
    verify(old.run.store, old.disk.crash("none"), old.run.journal)


def pause_everywhere(store: str, counts: collections.Counter[str]) -> None:
    """Pause the old writer at every call, with every deed of its successors, and then these."""
    for at in range(1, OldWriter(STORES[store]).operations() + 1):
        for deed in DEEDS:
            with replayable(Case(deed, store, at, "paused")):
                paused(store, at, deed)
            counts["pauses"] += 1
    at = 1
    while _interrupted_replayably(store, at):
        counts["pauses"] += 1
        at += 1


def _interrupted_replayably(store: str, at: int) -> bool:
    with replayable(Case("new_is_interrupted", store, at, "paused")):
        return interrupted(store, at)
