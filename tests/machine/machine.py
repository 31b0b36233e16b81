"""Any sequence of what a writer does, of what its store does to it, and of deaths: always the model's rows.

Each write ends in one of two ways, and the model knows in which by the error alone: nothing of it is stored, or
all of it is, and readable, though perhaps not durable yet. What a death takes is what nobody was told is durable,
of every batch and table all or nothing. What else is done (deletions, tags, changes of the schema, dropping) and
fails may have happened or not; the next look at the store decides.

Hypothesis leaves out some of the rules in every history, so that some have many of one kind.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from measurefs import FileSystemError, Measure, NotDurableError, SchemaError
from measurefs.testing import Fault
from tests.machine.drawn import (
    ANY,
    COMMITS,
    FAULTS,
    INEXACT,
    ROWS,
    SERIES,
    SPANS,
    SPECS,
    SURVIVORS,
    TAGS,
    TIMES,
    TTLS,
    TYPES,
    VERSIONS,
    Drawn,
)
from tests.machine.measures import (
    NAME,
    PERIOD,
    Options,
    Times,
    data_of,
    homes_of,
    leftovers,
    open_writer,
    reader,
    rows_of,
    shape_of,
)
from tests.machine.model import HOUR, Model, Row, Shape, State, Tag, as_type
from tests.machine.worlds import PowerCuts, World


class Machine(RuleBasedStateMachine):
    """A measure, and the model of what it holds."""

    make_world: ClassVar[Callable[[], World]] = PowerCuts
    counts: ClassVar[collections.Counter[str]] = collections.Counter()

    measure: Measure

    @initialize(
        options=st.builds(
            Options,
            st.booleans(),
            st.integers(1, 3),
            st.integers(1, 4),
            st.sampled_from([2, 4]),
            st.sampled_from([4 << 20, 500, 0]),
        ),
        spec=SPECS,
        batches=st.lists(ROWS, min_size=1, max_size=4),
    )
    def start(self, options: Options, spec: dict[str, Any], batches: list[Drawn]) -> None:
        self.counts["histories"] += 1
        self.world = type(self).make_world()
        self.options = options
        self.times = Times()
        self.numbers = itertools.count(1)
        self.open()
        self.create(spec)
        for batch in batches:
            self.put(batch, durable=True)

    def open(self) -> None:
        self.database = open_writer(self.world.fs, self.options, self.times)

    def create(self, spec: dict[str, Any]) -> None:
        columns = {name: TYPES[name][0] for name in sorted(spec["columns"])}
        fields = {name: kind for name, kind in columns.items() if name not in TAGS}
        self.measure = self.database.create_measure(
            NAME,
            entity={"id": "int64"},
            tags={name: kind for name, kind in columns.items() if name in TAGS},
            fields={"batch": "int64"} | fields,
            interval=spec["interval"],
            ttl=spec["ttl"],
            shards=spec["shards"],
        )
        self.model = Model(shape_of(self.measure))
        self.model.note_time(self.times.now)

    def attempt(self, what: str, call: Callable[[], Any], fault: Fault | None = None) -> bool:
        """Make a call, perhaps in trouble; return whether it was acknowledged."""
        self.counts[what] += 1
        if fault is not None:
            self.world.fs.add(fault)
        try:
            call()
        except FileSystemError:
            return False
        return True

    # Writing.

    @rule(drawn=ROWS)
    def write(self, drawn: Drawn) -> None:
        self.put(drawn)

    @rule(drawn=ROWS)
    def write_durably(self, drawn: Drawn) -> None:
        self.put(drawn, durable=True)

    @rule(drawn=ROWS, versions=VERSIONS, durable=st.booleans())
    def write_versions(self, drawn: Drawn, versions: list[int], durable: bool) -> None:
        self.put(drawn, versions, durable=durable)

    @rule(drawn=ROWS, versions=st.none() | VERSIONS, fault=COMMITS)
    def write_in_trouble(self, drawn: Drawn, versions: list[int] | None, fault: Fault | None) -> None:
        if fault is not None:
            self.world.fs.add(fault)
        self.put(drawn, versions, durable=True)

    def put(self, drawn: Drawn, versions: list[int] | None = None, *, durable: bool = False) -> None:
        shape = self.look()
        bound, number = self.model.bound(shape, self.times.now), next(self.numbers)
        rows = [
            (key, versions[place] if versions else None, self.row_of(shape, number, value))
            for place, (key, value) in enumerate(drawn)
        ]
        kept = [row for row in rows if row[0][1] >= bound]
        with self.world.fs.calm():
            pieces = self.model.write(homes_of(self.measure, kept))
        self.counts["batches"] += 1
        try:
            stored = self.measure.write(data_of(rows, shape.columns), durable=durable)
        except NotDurableError:
            assert durable
        except FileSystemError:
            self.model.forget(pieces)  # nothing of it may ever be seen
            return
        else:
            assert stored == len(kept)
            if durable:
                for piece in pieces:
                    piece.state = State.DURABLE
        self.model.inexact |= {
            name
            for name, kind in shape.columns.items()
            if kind == "int64" and any(row[name] == INEXACT for _, _, row in kept)
        }

    def row_of(self, shape: Shape, number: int, value: int | None) -> Row:
        """A row of which every column is made from one value."""
        row = {
            name: as_type(str(value) if kind in ("string", "binary") and value is not None else value, kind)
            for name, kind in shape.columns.items()
        }
        return row | {"batch": number}

    def look(self) -> Shape:
        """Return what the measure is by now; if that is in doubt, look."""
        if self.model.others:
            with self.world.fs.calm():
                self.measure.refresh()
        return self.seen(self.measure)

    def seen(self, measure: Measure) -> Shape:
        shape = shape_of(measure)
        assert shape in (self.model.shape, *self.model.others)
        return shape

    @rule(fault=COMMITS)
    def flush(self, fault: Fault | None) -> None:
        if self.attempt("flushes", self.measure.flush, fault):
            self.model.flushed()

    # What becomes of what is stored.

    @rule(fault=COMMITS)
    def collect(self, fault: Fault | None) -> None:
        self.attempt("collections", self.measure.gc, fault)

    @rule(hours=st.sampled_from([0, 0, 1, 6, 24, 48]))
    def time_passes(self, hours: int) -> None:
        """What is due is done by itself: flushes, merges, collections, and dropping what has expired."""
        self.times.now += hours * HOUR
        self.model.note_time(self.times.now)
        self.times.monotonic.seconds += PERIOD
        for _ in range(3):
            self.database.step()

    @rule(fault=COMMITS)
    def compact(self, fault: Fault | None) -> None:
        self.attempt("compactions", self.measure.compact, fault)

    @rule(
        first=st.none() | TIMES, last=st.none() | TIMES, series=st.sets(st.integers(0, SERIES)), fault=COMMITS
    )
    def delete(self, first: int | None, last: int | None, series: set[int], fault: Fault | None) -> None:
        if first is None and last is None and not series:
            return
        hit = len(self.model.contents(shape_of(self.measure), self.times.now))
        removed: list[int] = []
        where = {"id": sorted(series)} if series else None
        acknowledged = self.attempt(
            "deletions", lambda: removed.append(self.measure.delete(first, last, where)), fault
        )
        self.model.delete(
            -(2**63) if first is None else first,
            2**63 if last is None else last,
            frozenset(series),
            acknowledged=acknowledged,
        )
        if acknowledged:
            left = len(self.model.contents(shape_of(self.measure), self.times.now))
            assert removed[0] >= hit - left

    # Tags.

    @rule(fault=COMMITS)
    def tag(self, fault: Fault | None) -> None:
        shape, now = self.look(), self.times.now
        name, rows = f"tag {next(self.numbers)}", self.model.raw(shape, now)
        acknowledged = self.attempt("tags", lambda: self.measure.tag(name), fault)
        self.model.tags[name] = Tag(rows, acknowledged)
        if acknowledged:
            self.model.flushed_since(self.model.bound(shape, now))

    @rule(data=st.data(), fault=COMMITS)
    def untag(self, data: st.DataObject, fault: Fault | None) -> None:
        if not self.model.tags:
            return
        name = data.draw(st.sampled_from(sorted(self.model.tags)))
        with self.world.fs.calm():
            if name not in self.measure.tags():
                return
        if self.attempt("untags", lambda: self.measure.untag(name), fault):
            del self.model.tags[name]
        else:
            self.model.tags[name].certain = False

    def check_tags(self, measure: Measure) -> set[str]:
        """Check every tag that there is; return which these are."""
        shape, there = self.seen(measure), set(measure.tags())
        assert {name for name, tag in self.model.tags.items() if tag.certain} <= there
        for name in there:
            _, found = rows_of(measure, as_of=name)
            kept = {key: shape.show(row) for key, row in self.model.tags[name].rows.items()}
            assert found == kept, f"tag {name!r} holds {found}, not {kept}"
        return there

    # Changes of the schema.

    @rule(names=st.sets(st.sampled_from(sorted(TYPES)), min_size=1, max_size=2), fault=COMMITS)
    def evolve_columns(self, names: set[str], fault: Fault | None) -> None:
        shape = self.look()
        wider = {name: _next_type(name, shape.columns.get(name)) for name in sorted(names)}
        spoilt = {name for name in wider if shape.columns.get(name) == "int64" and wider[name] == "float64"}
        rows = self.model.contents(shape, self.times.now).values()
        try:
            self.evolve(
                shape,
                fault,
                tags={name: kind for name, kind in wider.items() if name in TAGS},
                fields={name: kind for name, kind in wider.items() if name not in TAGS},
            )
        except SchemaError:
            assert spoilt & self.model.inexact
        else:
            changed = shape_of(self.measure) != shape
            assert not changed or not any(row[name] == INEXACT for row in rows for name in spoilt)

    @rule(ttl=TTLS, interval=SPANS, both=st.booleans(), fault=COMMITS)
    def evolve_spans(self, ttl: str | None, interval: str, both: bool, fault: Fault | None) -> None:
        shape = self.look()
        self.evolve(shape, fault, ttl=ttl, **({"interval": interval} if both else {}))

    def evolve(self, shape: Shape, fault: Fault | None, **changes: Any) -> None:
        """Change the schema; after a failure it may have been changed or not."""
        wanted = [_changed(each, changes) for each in (shape, self.model.shape, *self.model.others)]
        if self.attempt("evolutions", lambda: self.measure.evolve(**changes), fault):
            found = shape_of(self.measure)
            assert found in wanted
            self.model.shape, self.model.others = found, []
        else:
            self.model.others += wanted
        self.model.note_time(self.times.now)

    # The end of it, and another beginning.

    @rule(
        at=st.none() | st.integers(1, 40),
        after=st.booleans(),
        times=st.sampled_from([1, None]),
        survivors=st.none() | SURVIVORS,
        spec=SPECS,
    )
    def drop(
        self,
        at: int | None,
        after: bool,
        times: int | None,
        survivors: int | str | None,
        spec: dict[str, Any],
    ) -> None:
        """Drop the measure and create it anew, perhaps in trouble, of which the process perhaps dies."""
        self.end_of_trouble()
        if at is not None:
            self.world.fs.add(Fault(ANY, at=at, times=times, after=after))
        old, dropped = self.measure.schema.floor, False
        try:
            self.counts["drops"] += 1
            self.database.drop_measure(NAME)
            dropped = True
            self.create(spec)
        except FileSystemError:
            self.world.fs.heal()
            if survivors is not None:
                self.crash(survivors)
                self.open()
            self.find_out(spec, None if dropped else old)
        self.world.fs.heal()

    def find_out(self, spec: dict[str, Any], old: int | None) -> None:
        """See whether there is the old measure, a new one, or none."""
        if NAME not in self.database.measures():
            self.create(spec)
            return
        self.measure = self.database.measure(NAME)
        if self.measure.schema.floor == old:
            self.settle()
            return
        assert old is None or self.measure.schema.floor > old
        self.model = Model(shape_of(self.measure))
        self.model.note_time(self.times.now)

    # What happens to it.

    @rule(fault=FAULTS)
    def trouble(self, fault: Fault) -> None:
        self.world.fs.add(fault)

    @rule()
    def end_of_trouble(self) -> None:
        self.world.fs.heal()
        self.world.fs.land()

    @rule(land=st.booleans())
    def reopen(self, land: bool) -> None:
        self.world.fs.heal()
        if land:
            self.world.fs.land()
        self.database.close()
        self.model.flushed()
        self.open()
        self.measure = self.database.measure(NAME)
        if land:
            self.model.shape, self.model.others = self.seen(self.measure), []

    @rule(survivors=SURVIVORS)
    def die(self, survivors: int | str) -> None:
        """Nobody says good-bye; the next writer finds what is left."""
        self.crash(survivors)
        with self.reader() as measure:
            assert measure is not None
            self.check_from_outside(measure)
        self.open()
        self.measure = self.database.measure(NAME)
        self.settle()

    def crash(self, survivors: int | str) -> None:
        self.counts["deaths"] += 1
        self.count_faults()
        self.world.crash(survivors)
        self.model.died()

    def settle(self) -> None:
        """Take for certain what is found now, with nothing under way."""
        shape = self.seen(self.measure)
        self.model.shape, self.model.others = shape, []
        self.model.saw_dropped(self.measure.schema.dropped_before)
        _, found = rows_of(self.measure)
        self.model.adopt(found, shape, self.times.now, State.DURABLE)
        there = self.check_tags(self.measure)
        self.model.tags = {
            name: Tag(tag.rows, True) for name, tag in self.model.tags.items() if name in there
        }

    def count_faults(self) -> None:
        self.counts["faults injected"] += self.world.fs.injected.total()

    # Reading.

    @rule(
        series=st.sets(st.integers(0, SERIES)),
        start=st.none() | TIMES,
        end=st.none() | TIMES,
        order=st.sampled_from(["time", "-time", "series"]),
        limit=st.none() | st.integers(0, 10),
    )
    def query(
        self, series: set[int], start: int | None, end: int | None, order: Any, limit: int | None
    ) -> None:
        with self.world.fs.calm():
            where = {"id": sorted(series)} if series else None
            keys, got = rows_of(self.measure, start=start, end=end, where=where, order=order, limit=limit)
            self.check_tags(self.measure)
        everything = self.model.contents(shape_of(self.measure), self.times.now)
        first, last = -(2**63) if start is None else start, 2**63 if end is None else end
        matching = {
            key: row
            for key, row in everything.items()
            if first <= key[1] < last and (not series or key[0] in series)
        }
        assert got.items() <= matching.items() if limit is not None else got == matching
        assert len(got) == min(len(matching), len(matching) if limit is None else limit)
        times = [time for _, time in keys]
        if order != "series":
            ends = sorted((time for _, time in matching), reverse=order == "-time")
            assert times == ends[: len(times)]

    @invariant()
    def everything_written_is_readable(self) -> None:
        if not hasattr(self, "model"):
            return
        self.counts["steps"] += 1
        with self.world.fs.calm():
            self.model.saw_dropped(self.measure.schema.dropped_before)
            _, found = rows_of(self.measure)
            self.model.adopt(found, self.seen(self.measure), self.times.now, State.VISIBLE)

    @rule()
    def another_process_reads(self) -> None:
        with self.reader() as measure:
            assert measure is not None
            self.check_from_outside(measure)

    def check_from_outside(self, measure: Measure) -> None:
        """It sees what is durable, and of the rest anything."""
        _, found = rows_of(measure)
        self.model.check(found, self.seen(measure), self.times.now, here=False)
        self.check_tags(measure)

    @contextlib.contextmanager
    def reader(self):
        with self.world.reader() as fs, reader(fs, self.options, self.times) as measure:
            yield measure

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        self.count_faults()
        try:
            self.reopen(land=True)
            self.measure.gc()
            self.everything_written_is_readable()
            with self.world.reader() as fs, reader(fs, self.options, self.times) as measure:
                assert measure is not None
                self.check_from_outside(measure)
                unneeded = leftovers(fs, measure, self.options.keep)
                assert not unneeded, unneeded
            self.database.close()
        finally:
            self.world.close()


def _next_type(name: str, kind: str | None) -> str:
    """What a column becomes: it is added, or is widened, or stays."""
    types = TYPES[name]
    return types[0] if kind is None else types[min(types.index(kind) + 1, len(types) - 1)]


def _changed(shape: Shape, changes: dict[str, Any]) -> Shape:
    columns = dict(shape.columns) | changes.get("tags", {}) | changes.get("fields", {})
    return Shape(columns, changes.get("interval", shape.interval), changes.get("ttl", shape.ttl))
