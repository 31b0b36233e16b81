"""Any sequence of what one may do with a table, against a dictionary."""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from measurefs import PartOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.table import Snapshot, TsTable
from tests.table.tables import (
    Contents,
    batch,
    contents,
    contents_of,
    names_in,
    open_table,
    parts_in,
    snapshots_in,
)

ROW = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 10**6), st.integers(-1, 2))
ROWS = st.lists(ROW, min_size=1, max_size=6)
Model = dict[tuple[int, int], tuple[int, int]]


class Machine(RuleBasedStateMachine):
    """A table, what it ought to hold, and what of that ought to be durable: key to version and value."""

    def __init__(self) -> None:
        super().__init__()
        self.fs = MemoryFileSystem()
        self.held: Model = {}
        self.durable: Model = {}
        self.pins: list[tuple[Snapshot, Contents]] = []
        self.last_epoch = 0

    @initialize(
        block_rows=st.integers(1, 4), compact=st.booleans(), keep=st.integers(1, 3), reader=st.booleans()
    )
    def start(self, block_rows: int, compact: bool, keep: int, reader: bool) -> None:
        part = PartOptions(block_rows=block_rows, compact_bytes=1 << 20 if compact else 0)
        self.settings = {"part": part, "keep_snapshots": keep}
        self.table: TsTable = open_table(self.fs, **self.settings)
        self.reader = open_table(self.fs, read_only=True) if reader else None

    def expected(self) -> Contents:
        return {key: value for key, (_, value) in self.held.items()}

    def put(self, rows: list[tuple[int, int, int]], versions: list[int]) -> None:
        for (entity, time, value), version in zip(rows, versions, strict=True):
            before = self.held.get((entity, time))
            if before is None or version >= before[0]:
                self.held[entity, time] = version, value

    @rule(rows=ROWS, explicit=st.booleans())
    def add(self, rows: list[tuple[int, int, int, int]], explicit: bool) -> None:
        ids, times, values, versions = (list(column) for column in zip(*rows, strict=True))
        made = batch(ids, times, values, versions if explicit else None)
        epoch = self.table.add(made, arrival=not explicit)
        assert epoch > self.last_epoch
        self.last_epoch = epoch
        self.put([row[:3] for row in rows], versions if explicit else [epoch] * len(rows))

    @rule(rows=ROWS)
    def add_each(self, rows: list[tuple[int, int, int, int]]) -> None:
        """So often that some are coalesced."""
        for entity, time, value, _ in itertools.islice(itertools.cycle(rows), 40):
            self.last_epoch = self.table.add(batch([entity], [time], [value]))
            self.put([(entity, time, value)], [self.last_epoch])

    @rule()
    def flush(self) -> None:
        self.table.flush()
        self.durable = dict(self.held)

    @rule()
    def log(self) -> None:
        self.table.flush(self.last_epoch)
        self.durable = dict(self.held)

    @rule()
    def gc(self) -> None:
        self.table.gc()

    @rule()
    def reopen(self) -> None:
        self.release()
        self.table.close()
        self.durable = dict(self.held)
        self.table = open_table(self.fs, **self.settings)

    @rule()
    def crash(self) -> None:
        self.release()
        self.fs.break_locks()
        self.table.abandon()
        self.held = dict(self.durable)
        self.table = open_table(self.fs, **self.settings)

    @precondition(lambda self: len(self.pins) < 4)
    @rule()
    def pin(self) -> None:
        self.pins.append((self.table.pin(), self.expected()))

    @precondition(lambda self: self.pins)
    @rule()
    def unpin(self) -> None:
        self.pins.pop(0)[0].release()

    def release(self) -> None:
        while self.pins:
            self.unpin()

    @precondition(lambda self: self.reader is not None)
    @rule()
    def refresh(self) -> None:
        assert self.reader is not None
        self.reader.refresh()
        assert contents(self.reader) == {key: value for key, (_, value) in self.durable.items()}

    @invariant()
    def everything_is_there(self) -> None:
        if hasattr(self, "table"):
            assert contents(self.table) == self.expected()

    @invariant()
    def pinned_snapshots_do_not_change(self) -> None:
        for snapshot, expected in self.pins:
            assert contents_of(self.fs, snapshot) == expected

    def teardown(self) -> None:
        if not hasattr(self, "table"):
            return
        self.release()
        self.table.close()
        with open_table(self.fs, **self.settings) as table:
            assert contents(table) == self.expected()
            table.gc()
            with table.pin() as snapshot:
                named = {part.metadata.name for part in snapshot.file_parts}
            assert named == set(parts_in(self.fs))
            assert names_in(self.fs, ".log") == []
            assert len(snapshots_in(self.fs)) <= self.settings["keep_snapshots"]


TestMachine = Machine.TestCase
TestMachine.settings = settings(deadline=None, max_examples=40, stateful_step_count=30)
