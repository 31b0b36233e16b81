"""Enumerations: a crash at every operation of a workload, and every operation failing in every way."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence

from measurefs.testing import Fault, FaultFileSystem, SimulatedCrash
from tests.crash.journal import Journal
from tests.crash.leases import forget_all
from tests.crash.oracle import proof, verify
from tests.crash.run import Run
from tests.crash.stores import STORES, Store, StrictFileSystem
from tests.crash.workloads import WORKLOADS

Survivors = str | int
"""``"none"``, ``"all"``, a seed, or ``"killed"``: then only the process dies, and the power fails later."""

WRITES = "make_dir|create_file|write|file.write|create_lock_file"
"""What a full disk refuses."""

LANDING = "write|delete_file"
"""What can take effect after it was given up."""

NOT_ONE_WRITERS = {"", "m"}
"""Several processes share these directories: what is in them cannot be taken back and written anew."""

UNSEEN = {"by_itself", "merging", "expiring", "expiring_tagged", "dropping", "evolving"}
"""Workloads with steps that the background does, that are tried again within, or that can be left undone."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One crash or fault, as the command line names it.

    Attributes
    ----------
    workload, store : str
    at : int
        The operation, counted from 1.
    how : str
        Crash ``before`` or ``after`` it; it fails (``error-before``, ``error-after``), the disk is ``full``
        from there on, the sync ``lies`` (fails, and cannot be repeated), or the write or deletion times out and
        takes effect all the same, ``late`` (after the next step that succeeds) or ``last`` (after the next
        writer has opened, written, collected and closed).
    survivors : str or int
        Of a crash; of two, with a comma.
    again : int
        0, or the operation of the recovery at which it crashes once more, before it (after it if negative).
    """

    workload: str
    store: str
    at: int
    how: str
    survivors: Survivors = "none"
    again: int = 0

    def __str__(self) -> str:
        crash = f" --survivors {self.survivors}" if self.how in CRASHES else ""
        crash += f" --again={self.again}" if self.again else ""
        return (
            f"python -m tests.crash --workload {self.workload} --store {self.store} --at {self.at} "
            f"--how {self.how}{crash}"
        )


CRASHES = ("before", "after")
FAULTS = ("error-before", "error-after", "full", "lies", "late", "last")


@contextlib.contextmanager
def replayable(case: Case) -> Iterator[None]:
    """Let every failure say how it is repeated."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}\nreplay: {case}") from error
    finally:
        forget_all()


def healthy(workload: str, store: str) -> tuple[FaultFileSystem, StrictFileSystem]:
    """Run a workload with nothing going wrong, which must leave a good store; return what it ran on."""
    disk = StrictFileSystem(keep_trace=True)
    fs = FaultFileSystem(disk)
    run = Run(STORES[store], fs)
    run.careful = True
    WORKLOADS[workload](run)
    assert not run.surfaced
    verify(STORES[store], disk.crash("none"), run.journal)
    return fs, disk


@functools.cache
def survey(workload: str, store: str) -> tuple[collections.Counter[str], list[tuple[str, str]]]:
    """Run a workload as `healthy` does, once; return its calls and its trace."""
    fs, disk = healthy(workload, store)
    return fs.calls, disk.trace


# Crashes.


def crashed(workload: str, store: Store, at: int, how: str) -> tuple[StrictFileSystem, Journal]:
    """Run a workload into a crash."""
    fs = StrictFileSystem()
    fs.crash_at(at, after=how == "after")
    run = Run(store, fs)
    with contextlib.suppress(SimulatedCrash):
        WORKLOADS[workload](run)
    assert fs.crashed
    return fs, run.journal


def found_after(fs: StrictFileSystem, survivors: Survivors) -> StrictFileSystem:
    return fs.kill() if survivors == "killed" else fs.crash(survivors)  # type: ignore[arg-type]


def crash_everywhere(
    workload: str, store: str, survivors: Sequence[Survivors], counts: collections.Counter[str], share: slice
) -> None:
    """Crash before and after changing operations, and look at what each kind of survival leaves."""
    total = len(survey(workload, store)[1])
    points = [(at, how) for at in range(1, total + 1) for how in CRASHES]
    for at, how in points[share]:
        fs, journal = crashed(workload, STORES[store], at, how)
        counts["crash points"] += 1
        for survivor in survivors:
            with replayable(Case(workload, store, at, how, survivor)):
                verify(STORES[store], found_after(fs, survivor), journal)
            counts["recoveries checked"] += 1


def crash_while_recovering(
    workload: str,
    store: str,
    points: Iterable[tuple[int, str, Survivors]],
    survivors: Sequence[Survivors],
    counts: collections.Counter[str],
    share: slice,
) -> None:
    """After the given crashes, crash once more before and after operations of the recovery."""
    for at, how, survivor in points:
        fs, journal = crashed(workload, STORES[store], at, how)
        found = found_after(fs, survivor)
        recover_and_go_on(STORES[store], found, journal.copy())
        operations = [sign * number for number in range(1, found.operations + 1) for sign in (1, -1)]
        for again in operations[share]:
            counts["second crash points"] += 1
            for last in survivors:
                with replayable(Case(workload, store, at, how, f"{survivor},{last}", again)):
                    crash_again(STORES[store], found_after(fs, survivor), journal, again, last)
                counts["recoveries checked"] += 1


def crash_once(case: Case) -> None:
    """Repeat a crash, or two; then survivors are those of the first and the second, with a comma."""
    fs, journal = crashed(case.workload, STORES[case.store], case.at, case.how)
    first, _, last = str(case.survivors).partition(",")
    found = found_after(fs, _survivors(first))
    if case.again:
        crash_again(STORES[case.store], found, journal, case.again, _survivors(last))
    else:
        verify(STORES[case.store], found, journal)


def _survivors(text: str) -> Survivors:
    return int(text) if text.isdigit() else text


def crash_again(
    store: Store, fs: StrictFileSystem, journal: Journal, again: int, survivors: Survivors
) -> None:
    """Recover what a crash left, and crash at an operation of that: before it, or if negative after it."""
    journal = journal.copy()
    fs.crash_at(abs(again), after=again < 0)
    with contextlib.suppress(SimulatedCrash):
        recover_and_go_on(store, fs, journal)
    assert fs.crashed
    verify(store, found_after(fs, survivors), journal)


def recover_and_go_on(store: Store, fs: StrictFileSystem, journal: Journal) -> None:
    """Open, write, collect, close."""
    opened = store.open(fs)
    journal.decide(opened.contents())
    rows = proof(journal, 10)
    pieces = journal.add(opened.homes(rows), None)
    opened.add(rows, None, durable=True)
    for piece in pieces:
        piece.acknowledged = True
    opened.gc()
    opened.close()


# Faults.


def faults_of(workload: str, store: str) -> Iterator[tuple[int, str]]:
    """Every operation and every way in which it can fail."""
    calls, trace = survey(workload, store)
    for at in range(1, calls.total() + 1):
        yield at, "error-before"
        yield at, "error-after"
    writes = sum(calls[name] for name in WRITES.split("|"))
    for at in range(1, writes + 1):
        yield at, "full"
    for at in range(1, sum(calls[name] for name in LANDING.split("|")) + 1):
        yield at, "late"
        yield at, "last"
    syncs = [path for operation, path in trace if operation == "sync_path"]
    for at, path in enumerate(syncs, 1):
        if path not in NOT_ONE_WRITERS:
            yield at, "lies"


def fail(workload: str, store: str, at: int, how: str) -> tuple[Run, FaultFileSystem]:
    """Run a workload through one fault, from which it must recover; return what happened."""
    disk = StrictFileSystem()
    fs = FaultFileSystem(disk)
    if how == "lies":
        disk.fail_sync(at)
    elif how == "full":
        fs.add(Fault(WRITES, at=at, times=None, error="disk full"))
    elif how in ("late", "last"):
        disk.strict = False  # by then what a late snapshot names may be collected
        fs.add(Fault(LANDING, at=at, later=True, error="time-out"))
    else:
        fs.add(Fault(at=at, after=how == "error-after"))
    run = Run(STORES[store], fs)
    run.landing = how == "late"
    WORKLOADS[workload](run)
    fs.heal()
    if how == "last":
        disk.break_locks()
        recover_and_go_on(STORES[store], disk, run.journal)
        fs.land()
    verify(STORES[store], disk.crash("none"), run.journal)
    return run, fs


def fail_everywhere(workload: str, store: str, counts: collections.Counter[str], share: slice) -> None:
    """Let operations fail, each in every way."""
    for at, how in list(faults_of(workload, store))[share]:
        with replayable(Case(workload, store, at, how)):
            run, fs = fail(workload, store, at, how)
            injected, surfaced = fs.injected.total() + (how == "lies"), len(run.surfaced)
            # What fails by itself is nobody's to see (nor an old generation of a lease that could not be deleted),
            # and what fails anyway needs no fault.
            if workload not in UNSEEN and store != "leased" and injected:
                assert surfaced, f"nobody was told of {fs.injected}"
        counts["fault runs"] += 1
        counts["faults injected"] += injected
        counts["errors surfaced"] += surfaced
