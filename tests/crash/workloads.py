"""What is done to a store while it crashes and fails: small, deterministic, and every batch recognisable.

Each is a function of a `Run`, and is run on every kind of store, or on those that it names. Every batch has a row
of its own key in each table it reaches.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.crash.run import Run
from tests.crash.stores import DAY, STORES, Row

WORKLOADS: dict[str, Callable[[Run], None]] = {}
KINDS: dict[str, tuple[str, ...]] = {}
"""The kinds of store that each is run on."""

EVER = 1000 * DAY
NOON = DAY + DAY // 2
"""Of the second day."""


def workload(
    function: Callable[[Run], None], kinds: tuple[str, ...] = tuple(STORES)
) -> Callable[[Run], None]:
    WORKLOADS[function.__name__] = function
    KINDS[function.__name__] = kinds
    return function


def of_measures(function: Callable[[Run], None]) -> Callable[[Run], None]:
    """A workload with what only measures have: segments, a schema, a name."""
    return workload(function, ("measure",))


def one(number: int) -> Row:
    """A row of its own."""
    return number, number, 10 * number


def wide(number: int) -> list[Row]:
    """Rows of six series in two segments: with two shards, of four tables."""
    return [
        (series, day * DAY + number, 100 * number + series + day) for series in range(6) for day in range(2)
    ]


def rewritten(number: int, value: int | None) -> list[Row]:
    """A row of its own, and two of another series, one of which replaces that of the batch before."""
    return [one(number), (100, 0, value), (100, number, number)]


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
        session.add(one(number))
        session.flush()
        session.gc()
    session.gc()
    session.add(one(5))
    session.gc()
    session.close()


@workload
def logging(run: Run) -> None:
    """What is in the log is flushed, merged beside, collected, and found by who comes next."""
    session = run.open()
    session.add(*rewritten(1, 1), durable=True)
    session.add(one(2))
    session.add(*rewritten(3, 3), durable=True)
    session.flush()
    session.add(*rewritten(4, None), durable=True)
    session.gc()
    session.flush()
    session.add(one(5), durable=True)
    session.merge()
    session.gc()
    session.add(one(6), durable=True)
    run.kill(session)
    session = run.open()
    session.add(one(7), durable=True)
    session.gc()
    run.kill(session)
    session = run.open()
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


@workload
def merging(run: Run) -> None:
    """The background merges, whenever it can."""
    session = run.open()
    for number in range(1, 4):
        session.add(*rewritten(number, number))
        session.flush()
        session.merge()
    session.add(one(4))
    session.merge()
    session.gc()
    session.add(*rewritten(5, None), durable=True)
    session.merge()
    session.gc()
    session.close()


@workload
def compaction(run: Run) -> None:
    session = run.open()
    for number in range(1, 4):
        session.add(*rewritten(number, number))
        session.flush()
    session.add(one(4))
    session.compact()
    session.gc()
    session.add(one(5), durable=True)
    run.kill(session)
    session = run.open()
    session.compact()
    session.gc()
    session.close()


@workload
def deleting(run: Run) -> None:
    """Rows go by time and by entity, from some tables and from all, and one is written again."""
    session = run.open()
    session.add(one(1), one(2), (100, 5, 1), durable=True)
    session.add(one(3), (100, 5, 2), (100, DAY + 6, 1), durable=True)
    session.add(one(4))
    session.delete(2, 5)
    session.add(one(6), (2, 2, 7), durable=True)
    session.delete(0, EVER, [100])
    session.gc()
    run.kill(session)
    session = run.open()
    session.delete(0, EVER)
    session.gc()
    session.close()


@workload
def tagging(run: Run) -> None:
    """What is tagged stays, whatever becomes of it."""
    session = run.open()
    session.add(one(1), one(2), durable=True)
    session.tag("first")
    session.add(one(3), (1, 1, None), (1, 3, 3))
    session.tag("second")
    session.delete(1, 2)
    session.compact()
    session.gc()
    session.untag("first")
    session.gc()
    run.kill(session)
    session = run.open()
    session.tag("third")
    session.untag("second")
    session.gc()
    session.close()


@of_measures
def expiring(run: Run) -> None:
    """One segment after the other is past its ttl; then the clock is set back."""
    session = run.open()
    session.add((1, 1, 1), (2, NOON, 2), (3, 5 * DAY, 3), durable=True)
    session.add((4, 4, 4), (4, 5 * DAY + 4, 4))
    session.expire(DAY)
    session.refuse((5, 5, 5))
    session.flush()
    run.kill(session)
    session = run.open()
    session.refuse((6, 6, 6))
    session.add((7, NOON + 7, 7), durable=True)
    session.expire(2 * DAY)
    session.refuse((8, NOON + 8, 8))
    session.close()


@of_measures
def expiring_tagged(run: Run) -> None:
    """What is tagged stays when it expires, until it is untagged."""
    session = run.open()
    session.add((1, 1, 1), (2, 2, 2), (3, 5 * DAY, 3), durable=True)
    session.tag("kept")
    session.outlive(DAY)
    session.untag("kept")
    session.expire(DAY)
    session.close()


@of_measures
def dropping(run: Run) -> None:
    """A measure is dropped and created anew, again and again."""
    session = run.open()
    session.add(*wide(1), durable=True)
    session.evolve(fields={"extra": "int64"})
    session.tag("old")
    session.drop()
    session.add(one(2))
    session.flush()
    session.add(one(3))
    session.drop()
    session.add(one(4), durable=True)
    session.gc()
    run.kill(session)
    session = run.open()
    session.add(one(5))
    session.gc()
    session.close()


@of_measures
def evolving(run: Run) -> None:
    session = run.open()
    session.add(one(1), durable=True)
    session.add(one(2))
    session.evolve(fields={"extra": "int64", "flag": "bool"})
    session.evolve(fields={"flag": "int64"}, ttl="9d")
    session.add((501, 1, 1), (502, 2 * DAY, 2), durable=True)
    session.evolve(interval="2d")
    session.add((503, 3, 3), (504, 4 * DAY, 4), durable=True)
    session.evolve(fields={"extra": "float64"})
    session.add((505, 5, 5), (506, 6 * DAY, 6))
    run.kill(session)
    session = run.open()
    session.evolve(ttl=None)
    session.add((507, 7 * DAY, 7), durable=True)
    session.gc()
    session.close()
