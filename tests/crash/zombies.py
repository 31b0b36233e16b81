"""Writers that are taken for dead, and wake up: paused at every operation, while others go on.

Only the pauses are threads' doing: one thread waits in a `Stall` while the other works, so every run is the
same.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import fnmatch
import threading
from collections.abc import Callable

from measurefs.fs import FencedError, MeasureFSError
from measurefs.testing import Fault, FaultFileSystem, Stall
from tests.crash.campaigns import Case, replayable
from tests.crash.oracle import verify
from tests.crash.run import INITIAL, Run, Session
from tests.crash.stores import DAY, STORES, Row, Store, StrictFileSystem
from tests.crash.workloads import EVER, one, rewritten

Rows = Callable[[int], Row]
"""The rows that others write."""


# What the old writer does.


@dataclasses.dataclass(frozen=True)
class Job:
    """What a writer has done before it is paused, and is about to do then.

    Attributes
    ----------
    prepare, work : callable
    kinds : tuple of str
        Of store.
    row : callable
        Makes the rows of others.
    stalls : callable
        From what others do meanwhile to the patterns of the calls at which it is paused.
    """

    prepare: Callable[[Session], None]
    work: Callable[[Session], None]
    kinds: tuple[str, ...] = tuple(STORES)
    row: Rows = one
    stalls: Callable[[str], str] = lambda _: "*"


def later(number: int) -> Row:
    """A row that does not expire."""
    return number, 5 * DAY + number, number


def _row_and_another(session: Session) -> None:
    session.add(one(1), durable=True)
    session.add(one(2))


def _several(session: Session) -> None:
    session.add(*rewritten(1, 1), durable=True)
    session.add(*rewritten(5, 5), durable=True)
    session.add(one(2))


def _tagged(session: Session) -> None:
    _row_and_another(session)
    session.tag("one")
    session.add(one(5))


def _old_and_new(session: Session) -> None:
    session.add(one(1), later(1), durable=True)
    session.add(later(2))


def _flush_and_collect(session: Session) -> None:
    session.flush()
    session.gc()


def _merge_and_collect(session: Session) -> None:
    session.merge()
    session.gc()


def _compact_and_collect(session: Session) -> None:
    session.compact()
    session.gc()


def _delete_and_collect(session: Session) -> None:
    session.delete(0, EVER, [1, 100])
    session.gc()


def _tag_and_untag(session: Session) -> None:
    session.tag("two")
    session.untag("one")
    session.gc()


def _evolve(session: Session) -> None:
    session.evolve(fields={"extra": "int64"})
    session.evolve(ttl=None)
    session.evolve(fields={"extra": "float64"})
    session.flush()


def _but_removals(deed: str) -> str:
    """Who stalls between a last look at the lock and a removal removes what others have put in its place."""
    others = "read*|open_file|make_dir|sync_path|create_*|write*|lock.*|file.*"
    return others if deed == new_drops_and_creates.__name__ else f"{others}|delete_file"


JOBS = {
    "takeover": Job(_row_and_another, _flush_and_collect),
    "merging": Job(_several, _merge_and_collect),
    "compaction": Job(_several, _compact_and_collect),
    "deleting": Job(_several, _delete_and_collect),
    "tagging": Job(_tagged, _tag_and_untag),
    "expiring": Job(_old_and_new, lambda session: session.expire(DAY), ("measure",), later),
    "dropping": Job(_row_and_another, Session.drop, ("measure",), stalls=_but_removals),
    "evolving": Job(_row_and_another, _evolve, ("measure",)),
}


# What others do meanwhile.


def new_writes(run: Run, row: Rows) -> None:
    new = run.open()
    new.add(row(3), durable=True)


def new_writes_and_collects(run: Run, row: Rows) -> None:
    new = run.open()
    new.add(row(3), durable=True)
    new.add(row(4), durable=True)
    new.gc()


def new_collects_and_dies(run: Run, row: Rows) -> None:
    new = run.open()
    new.gc()
    new.add(row(3))
    run.kill(new)


def two_take_over(run: Run, row: Rows) -> None:
    new_collects_and_dies(run, row)
    newest = run.open()
    newest.add(row(4), durable=True)
    newest.gc()


def new_drops_and_creates(run: Run, row: Rows) -> None:
    new = run.open()
    new.drop()
    new.add(row(3), durable=True)
    new.gc()


DEEDS: dict[str, Callable[[Run, Rows], None]] = {
    deed.__name__: deed
    for deed in (
        new_writes,
        new_writes_and_collects,
        new_collects_and_dies,
        two_take_over,
        new_drops_and_creates,
    )
}
INTERRUPTED = "new_is_interrupted"


def deeds(store: str) -> list[str]:
    """What others may do: all of it, but that only a measure is dropped."""
    return [deed for deed in DEEDS if deed != new_drops_and_creates.__name__ or store == "measure"]


class OldWriter:
    """A writer with rows to make durable and a job to do, on a file system that can pause it."""

    def __init__(self, store: Store, job: str) -> None:
        self.disk = StrictFileSystem()
        self.disk.strict = False
        self.run = Run(store, self.disk)
        self.job = JOBS[job]
        self.slow = FaultFileSystem(self.disk)
        self.session = Session(self.run, store.open(self.slow))
        self.job.prepare(self.session)
        self.run.journal.contested = True

    def work(self) -> None:
        """Do the job. What is acknowledged is noted; a writer that lost its lock ends in an error.

        Whatever the first error is (its files may be gone by then), the next one says that it was fenced.
        """
        try:
            self.job.work(self.session)
        except FencedError:
            self.session.die()
        except MeasureFSError:
            self.session.fenced()

    def calls(self) -> collections.Counter[str]:
        """How many calls of each kind the work makes."""
        before = self.slow.calls.copy()
        self.work()
        return self.slow.calls - before


def paused(job: str, store: str, at: int, deed: str) -> None:
    """Pause the old writer at one of its calls, let the new one work, then let the old one go on."""
    old = OldWriter(STORES[store], job)

    def meanwhile() -> None:
        old.disk.break_locks()
        _see_whether_it_is_gone(old.run)
        DEEDS[deed](old.run, old.job.row)

    _pause(old.slow, at, old.work, meanwhile, old.job.stalls(deed))
    _verify(old)


def _see_whether_it_is_gone(run: Run) -> None:
    """What others find dropped, and create anew, is dropped: what they write is not of the old one."""
    journal = run.journal
    if INITIAL in journal.shapes and run.store.beside(run.disk).shape is None:
        journal.removals[-1].acknowledged = True
        journal.shapes = [INITIAL]
        journal.tags.clear()


def interrupted(job: str, store: str, at: int) -> bool:
    """Pause the new writer at one of its calls, and let the old one go on; False if it makes fewer calls."""
    old = OldWriter(STORES[store], job)
    old.disk.break_locks()
    slow = FaultFileSystem(old.disk)

    def take_over() -> None:
        new = Session(old.run, old.run.store.open(slow))
        new.add(old.job.row(3), durable=True)
        new.gc()
        new.add(old.job.row(4), durable=True)

    def meanwhile() -> None:
        with contextlib.suppress(MeasureFSError):
            old.session.gc()  # what the new one has written and not yet committed is not the old one's garbage
        old.work()

    reached = _pause(slow, at, take_over, meanwhile)
    _verify(old)
    return reached


def _pause(
    fs: FaultFileSystem,
    at: int,
    work: Callable[[], None],
    meanwhile: Callable[[], None],
    calls: str = "*",
) -> bool:
    """Do work in a thread, and something else while that waits at a call; False if it ends before."""
    stall, ended = Stall(), threading.Event()
    fs.add(Fault(calls, at=at, error=None, stall=stall))
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


def pauses(job: str, store: str) -> list[tuple[int, str]]:
    """Every call of the old writer, with every deed of its successors."""
    calls = OldWriter(STORES[store], job).calls()
    found = []
    for deed in deeds(store):
        patterns = JOBS[job].stalls(deed).split("|")
        there = [name for name in calls if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
        found += [(at, deed) for at in range(1, sum(calls[name] for name in there) + 1)]
    return sorted(found)


def pause_everywhere(job: str, store: str, counts: collections.Counter[str], share: slice) -> None:
    """Pause the old writer at a share of its calls, and then its successor at a share of these."""
    for at, deed in pauses(job, store)[share]:
        with replayable(Case(f"{job}.{deed}", store, at, "paused")):
            paused(job, store, at, deed)
        counts["pauses"] += 1
    if job == "dropping":
        return  # its successor would be told, at any of its calls, that the measure was dropped
    at = 1 + (share.start or 0)
    while _interrupted_replayably(job, store, at):
        counts["pauses"] += 1
        at += share.step or 1


def _interrupted_replayably(job: str, store: str, at: int) -> bool:
    with replayable(Case(f"{job}.{INTERRUPTED}", store, at, "paused")):
        return interrupted(job, store, at)
