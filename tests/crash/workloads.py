"""What is done to a store while it crashes and fails: small, deterministic, and every batch recognisable.

Each is a function of a `Run`, and is run on every kind of store. Every batch has a row of its own key in each
table it reaches.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.crash.run import Run
from tests.crash.stores import DAY, Row

WORKLOADS: dict[str, Callable[[Run], None]] = {}


def workload(function: Callable[[Run], None]) -> Callable[[Run], None]:
    WORKLOADS[function.__name__] = function
    return function


def one(number: int) -> Row:
    """A row of its own."""
    return number, number, 10 * number


def wide(number: int) -> list[Row]:
    """Rows of six series in two segments: with two shards, of four tables."""
    return [
        (series, day * DAY + number, 100 * number + series + day) for series in range(6) for day in range(2)
    ]


@workload
def first_write(run: Run) -> None:
    session = run.open()
    session.add(one(1))
    session.flush()
    session.close()


@workload
def writes_and_flushes(run: Run) -> None:
    session = run.open()
    session.add(one(1), one(2))
    session.add(one(3))
    session.flush()
    session.add(one(4), durable=True)
    session.add(one(5))
    session.add(one(6), durable=True)
    session.add(one(7))
    session.close()


@workload
def segments_and_shards(run: Run) -> None:
    session = run.open()
    session.add(*wide(1), durable=True)
    session.add(*wide(2))
    session.flush()


@workload
def rewritten_versions(run: Run) -> None:
    def rewrite(number: int, value: int | None) -> list[Row]:
        return [(100, number, number), (100, 0, value)]

    session = run.open()
    session.add(*rewrite(1, 1), version=5)
    session.flush()
    session.add(*rewrite(2, 2), version=3)
    session.add(*rewrite(3, 3), version=7, durable=True)
    session.add(*rewrite(4, 4), version=7)
    session.add(*rewrite(5, 5))
    session.flush()
    session.add(*rewrite(6, None))
    session.close()


@workload
def collection(run: Run) -> None:
    session = run.open()
    for number in range(1, 5):
        session.add(one(number), durable=True)
        session.gc()
    session.gc()
    session.add(one(5))
    session.gc()
    session.close()


@workload
def closing_and_reopening(run: Run) -> None:
    for number in range(1, 4):
        session = run.open()
        session.add(one(number))
        session.close()
    session = run.open()
    session.gc()
    session.close()


@workload
def dying_and_reopening(run: Run) -> None:
    for number in (1, 3, 5):
        session = run.open()
        session.add(one(number), durable=True)
        session.add(one(number + 1))
        run.kill(session)
    session = run.open()
    session.gc()
    session.add(one(7), durable=True)
    session.close()


@workload
def takeover(run: Run) -> None:
    """A writer is taken for dead, wakes up, and writes on."""
    old = run.open()
    old.add(one(1), durable=True)
    old.add(one(2))
    run.disk.break_locks()
    new = run.open()
    new.add(one(3), durable=True)
    old.fenced()
    new.gc()
    new.add(one(4), durable=True)
    new.gc()
    new.close()


@workload
def by_itself(run: Run) -> None:
    """Nobody asks for anything: the background work does all."""
    session = run.open()
    for number in range(1, 5):
        session.add(one(number))
        session.step()
        session.step()
    session.close()
