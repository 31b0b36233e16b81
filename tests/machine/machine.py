"""Any sequence of what a writer does, of what its store does to it, and of deaths: always the model's rows.

Each write ends in one of two ways, and the model knows in which by the error alone: nothing of it is stored, or
all of it is, and readable, though perhaps not durable yet. What a death takes is what nobody was told is durable,
of every batch and table all or nothing.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import measurefs
from measurefs import FileSystemError, NotDurableError, PartOptions
from measurefs.testing import Fault
from tests.crash.journal import Contents, Journal, Piece
from tests.crash.oracle import present
from tests.crash.stores import DAY, MeasureStore, Opened, Row
from tests.machine.worlds import PowerCuts, World

MARKS = 10**6
SERIES, DAYS, SLOTS = 5, 3, 4
KEYS = st.tuples(st.integers(0, SERIES - 1), st.integers(-1, DAYS - 2), st.integers(0, SLOTS - 1))
ROWS = st.lists(st.tuples(KEYS, st.none() | st.integers(0, 10**9)), min_size=1, max_size=8)
Drawn = list[tuple[tuple[int, int, int], int | None]]
COMMIT = ("write", "sync_path", "lock.check", "*")
OPERATIONS = (
    "write",
    "read",
    "read_ranges",
    "sync_path",
    "delete_file",
    "must_rm_all",
    "read_dir",
    "make_dir",
    "*",
)
ERRORS = ("io", "disk full", "permission", "time-out")


def key_of(series: int, day: int, slot: int) -> tuple[int, int]:
    return series, day * DAY + slot


class Machine(RuleBasedStateMachine):
    """A database, all that was written to it, and what of that waits to be durable."""

    make_world: ClassVar[Callable[[], World]] = PowerCuts
    counts: ClassVar[collections.Counter[str]] = collections.Counter()

    @initialize(compact=st.booleans(), keep=st.integers(1, 3), block_rows=st.integers(1, 4))
    def start(self, compact: bool, keep: int, block_rows: int) -> None:
        self.counts["histories"] += 1
        self.world = type(self).make_world()
        self.store = MeasureStore("measure", 8 << 20 if compact else 0, keep)
        part = dataclasses.replace(self.store.options.part, block_rows=block_rows)
        assert isinstance(part, PartOptions)
        self.store.options = dataclasses.replace(self.store.options, part=part)
        self.journal = Journal()
        self.waiting: list[Piece] = []
        self.numbers = itertools.count(1)
        self.opened: Opened = self.store.open(self.world.fs)

    # Writing.

    def rows_of(self, number: int, drawn: Drawn) -> list[Row]:
        """Rows, and one more for every series and day, by which the batch is known in every table."""
        marks = {(series, day) for (series, day, _), _ in drawn}
        return [(*key_of(series, day, MARKS + number), number) for series, day in sorted(marks)] + [
            (*key_of(*key), value) for key, value in drawn
        ]

    @rule(drawn=ROWS)
    def write(self, drawn: Drawn) -> None:
        self.put(drawn, None, durable=False)

    @rule(drawn=ROWS)
    def write_durably(self, drawn: Drawn) -> None:
        self.put(drawn, None, durable=True)

    @rule(drawn=ROWS, version=st.integers(0, 3), durable=st.booleans())
    def write_versions(self, drawn: Drawn, version: int, durable: bool) -> None:
        self.put(drawn, version, durable=durable)

    @rule(drawn=ROWS, operation=st.sampled_from(COMMIT), at=st.integers(1, 6), after=st.booleans())
    def write_in_trouble(self, drawn: Drawn, operation: str, at: int, after: bool) -> None:
        self.world.fs.add(Fault(operation, at=at, after=after))
        self.put(drawn, None, durable=True)

    def put(self, drawn: Drawn, version: int | None, *, durable: bool) -> None:
        self.counts["batches"] += 1
        rows = self.rows_of(next(self.numbers), drawn)
        before = len(self.journal.pieces)
        pieces = self.journal.add(self.opened.homes(rows), version)
        try:
            self.opened.add(rows, version, durable=durable)
        except NotDurableError:
            assert durable
        except FileSystemError:
            del self.journal.pieces[before:]  # nothing of it may ever be seen
            return
        else:
            if durable:
                self.acknowledge(pieces)
                return
        self.waiting += pieces

    @rule()
    def flush(self) -> None:
        with contextlib.suppress(NotDurableError):
            self.opened.flush()
            self.acknowledge(self.waiting)
            self.waiting = []

    def acknowledge(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            piece.acknowledged = True

    @rule()
    def collect(self) -> None:
        with contextlib.suppress(FileSystemError):
            self.opened.gc()

    @rule()
    def an_hour_passes(self) -> None:
        self.opened.step()

    # What happens to it.

    @rule(
        operation=st.sampled_from(OPERATIONS),
        at=st.integers(1, 3),
        times=st.integers(1, 3),
        when=st.sampled_from(["before", "after", "later"]),
        error=st.sampled_from(ERRORS),
    )
    def trouble(self, operation: str, at: int, times: int, when: str, error: Any) -> None:
        fault = Fault(
            operation, at=at, times=times, error=error, after=when == "after", later=when == "later"
        )
        self.world.fs.add(fault)

    @rule()
    def end_of_trouble(self) -> None:
        self.world.fs.heal()
        self.world.fs.land()

    @rule()
    def reopen(self) -> None:
        self.world.fs.heal()
        self.opened.close()
        self.acknowledge(self.waiting)
        self.waiting = []
        self.opened = self.store.open(self.world.fs)

    @rule(survivors=st.sampled_from(["none", "all", "killed"]) | st.integers(0, 1000))
    def die(self, survivors: int | str) -> None:
        """Nobody says good-bye; the next writer finds what is left."""
        self.counts["deaths"] += 1
        self.count_faults()
        self.world.crash(survivors)
        self.waiting = []
        with self.world.reader() as fs:
            self.journal.settle(self.store.read(fs))
        self.opened = self.store.open(self.world.fs)

    def count_faults(self) -> None:
        self.counts["faults injected"] += self.world.fs.injected.total()

    # Reading.

    @rule(
        series=st.sets(st.integers(0, SERIES)),
        start=st.integers(-1, DAYS - 1),
        days=st.integers(0, DAYS),
        order=st.sampled_from(["time", "-time", "series"]),
        limit=st.none() | st.integers(0, 10),
    )
    def query(self, series: set[int], start: int, days: int, order: Any, limit: int | None) -> None:
        with self.world.fs.calm():
            self.check_query(series, start * DAY, (start + days) * DAY, order, limit)

    def check_query(self, series: set[int], first: int, last: int, order: Any, limit: int | None) -> None:
        wanted = {"id": sorted(series)} if series else None
        measure: measurefs.Measure = self.opened.measure  # type: ignore[attr-defined]
        table = measure.query(first, last, wanted, ["id", "time", "value"], order, limit).to_arrow()
        got = [(row["id"], row["time"].value, row["value"]) for row in table.to_pylist()]
        everything = [
            (*key, value) for each in self.opened.contents().values() for key, value in each.items()
        ]
        matching = [row for row in everything if first <= row[1] < last and (not series or row[0] in series)]
        assert set(got) <= set(matching)
        assert len(got) == len(set(got)) == min(len(matching), len(matching) if limit is None else limit)
        times = [time for _, time, _ in got]
        if order != "series":
            assert times == sorted(times, reverse=order == "-time")
            ends = sorted((time for _, time, _ in matching), reverse=order == "-time")
            assert times == ends[: len(times)]

    @invariant()
    def everything_written_is_readable(self) -> None:
        if hasattr(self, "opened"):
            self.counts["steps"] += 1
            with self.world.fs.calm():
                self.journal.check(self.opened.contents(), self.waiting)

    @rule()
    def another_process_reads(self) -> None:
        with self.world.reader() as fs:
            self.journal.check(self.store.read(fs))

    def teardown(self) -> None:
        if not hasattr(self, "opened"):
            return
        self.count_faults()
        try:
            self.reopen()
            self.opened.gc()
            with self.world.reader() as fs:
                found: dict[str, Contents] = present(self.store.read(fs))  # type: ignore[arg-type, assignment]
                self.journal.check(found)
                assert self.store.leftovers(fs) == []
            self.opened.close()
        finally:
            self.world.close()
