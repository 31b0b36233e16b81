"""What a measure must hold: plain dictionaries, and what of them nobody has been told yet."""

from __future__ import annotations

import dataclasses
import enum
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Key = tuple[int, int]
"""Series and time."""

Row = dict[str, Any]
"""Columns as they were written; ``batch`` is the number of the batch, by which a row tells where it comes from."""

Contents = dict[Key, Row]

HOUR = 3_600_000_000_000
HOURS = {"6h": 6, "12h": 12, "1d": 24, "2d": 48, "30d": 720}
EARLIEST = -(2**63)
ARRIVAL = 1 << 62
"""Rows without a version are newer than all that have one below, and the later the newer."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """What can change of a measure's schema."""

    columns: Mapping[str, str]
    interval: str
    ttl: str | None

    def age(self, now: int) -> int:
        """The time before which rows are past the ttl."""
        return EARLIEST if self.ttl is None else now - HOURS[self.ttl] * HOUR

    def show(self, row: Row) -> Row:
        """A row as a query gives it by now: wider, and null in what is new."""
        return {name: as_type(row.get(name), kind) for name, kind in self.columns.items()}


def as_type(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "binary":
        return value.encode() if isinstance(value, str) else value
    return {"bool": bool, "int64": int, "float64": float, "string": str}[kind](value)


class State(enum.Enum):
    DURABLE = enum.auto()
    VISIBLE = enum.auto()
    """In this process; a death may take it."""
    DOUBTFUL = enum.auto()
    """It failed, or somebody died: it happened or not, and what is found tells which."""


@dataclasses.dataclass(eq=False)
class Piece:
    """What of one batch belongs in one table, each row with its version: all of it is there or nothing."""

    rows: dict[Key, tuple[tuple[int, int], Row]]
    state: State = State.VISIBLE

    def is_in(self, held: Contents) -> bool:
        return any(key in held and held[key]["batch"] == row["batch"] for key, (_, row) in self.rows.items())


@dataclasses.dataclass(eq=False)
class Deletion:
    """Rows that were deleted from one table: all of them are gone or none."""

    first: int
    last: int
    series: frozenset[int]
    state: State

    def hits(self, key: Key) -> bool:
        return self.first <= key[1] < self.last and (not self.series or key[0] in self.series)


Event = Piece | Deletion


@dataclasses.dataclass
class Tag:
    """What a tag keeps; while it is not certain, a failure has left open whether there is such a tag."""

    rows: Contents
    certain: bool


class Model:
    """All that was done to a measure since it was created, in the order in which it was done to each table."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.others: list[Shape] = []
        """What the schema may be as well, after changes that failed."""
        self.dropped = EARLIEST
        self.tags: dict[str, Tag] = {}
        self.inexact: set[str] = set()
        """Columns that an integer was written to that float64 does not have."""
        self.tables: dict[str, list[Event]] = {}
        self._expired = EARLIEST
        self._arrivals = itertools.count(1)

    # What happens.

    def write(self, homes: Mapping[str, list[tuple[Key, int | None, Row]]]) -> list[Piece]:
        """Note a batch by table: rows with their versions; returns the pieces, for what becomes of them."""
        pieces = []
        arrival = next(self._arrivals)
        for table, rows in homes.items():
            piece = Piece({})
            for key, version, row in rows:  # later ones of equal versions win
                order = (ARRIVAL + arrival if version is None else version, arrival)
                if key not in piece.rows or piece.rows[key][0] <= order:
                    piece.rows[key] = order, row
            self.tables.setdefault(table, []).append(piece)
            pieces.append(piece)
        return pieces

    def forget(self, pieces: Iterable[Event]) -> None:
        """Nothing of these is stored; it must never be seen."""
        gone = set(pieces)
        for table, events in self.tables.items():
            self.tables[table] = [event for event in events if event not in gone]

    def delete(self, first: int, last: int, series: frozenset[int], *, acknowledged: bool) -> None:
        """Note a deletion; one that succeeds has made durable what was in the tables that it changed."""
        for events in self.tables.values():
            deletion = Deletion(first, last, series, State.DURABLE if acknowledged else State.DOUBTFUL)
            keys = (key for event in events if isinstance(event, Piece) for key in event.rows)
            if any(map(deletion.hits, keys)):
                if acknowledged:
                    _all_durable(events)
                events.append(deletion)

    def flushed(self) -> None:
        """Everything that can be seen is durable."""
        for events in self.tables.values():
            _all_durable(events)

    def flushed_since(self, bound: int) -> None:
        """So is everything in the tables that have a row from this time on."""
        for events in self.tables.values():
            if any(time >= bound for _, time in _replay(events)):
                _all_durable(events)

    def died(self) -> None:
        """What is not durable may be gone."""
        for event in itertools.chain(*self.tables.values()):
            if event.state is not State.DURABLE:
                event.state = State.DOUBTFUL

    def saw_dropped(self, before: int | None) -> None:
        """The measure says that it has dropped what is before a time; it must have been past the ttl."""
        bound = EARLIEST if before is None else before
        assert self.dropped <= bound <= max(self._expired, self.dropped), f"{bound} was dropped without need"
        if bound > self.dropped:
            self.dropped = bound
            for piece in itertools.chain(*self.tables.values()):
                if isinstance(piece, Piece):
                    piece.rows = {key: row for key, row in piece.rows.items() if key[1] >= bound}

    def note_time(self, now: int) -> None:
        """Whatever is past the ttl now may be dropped from now on."""
        self._expired = max(self._expired, *(shape.age(now) for shape in (self.shape, *self.others)))

    # What must be found.

    def bound(self, shape: Shape, now: int) -> int:
        """The time before which no row is found."""
        return max(self.dropped, shape.age(now))

    def raw(self, shape: Shape, now: int) -> Contents:
        """The rows that a query in the writer's process finds, as they were written."""
        bound = self.bound(shape, now)
        found: Contents = {}
        for events in self.tables.values():
            kept = [event for event in events if event.state is not State.DOUBTFUL]
            found |= {key: row for key, row in _replay(kept).items() if key[1] >= bound}
        return found

    def contents(self, shape: Shape, now: int) -> Contents:
        """The rows that a query in the writer's process finds."""
        return {key: shape.show(row) for key, row in self.raw(shape, now).items()}

    def check(self, found: Contents, shape: Shape, now: int, *, here: bool) -> None:
        """Compare with what somebody finds, here in the writer's process or in another."""
        self._possible(found, shape, self.bound(shape, now), here=here)

    def adopt(self, found: Contents, shape: Shape, now: int, state: State) -> None:
        """Check what the writer's process finds, and take what was in doubt for what it turned out to be."""
        bound = self.bound(shape, now)
        for table, (held, outcomes) in self._possible(found, shape, bound, here=True).items():
            events = self.tables[table]
            for event in [event for event in events if event.state is State.DOUBTFUL]:
                if isinstance(event, Piece):
                    happened = [event.is_in(held)]
                    with_it = [each for each in events if each is event or each in outcomes[0]]
                    hidden = any(time < bound for _, time in event.rows)
                    if hidden and not happened[0] and _shown(with_it, shape, bound) == held:
                        continue
                else:
                    happened = [event in outcome for outcome in outcomes]
                if not any(happened):
                    events.remove(event)
                elif all(happened):
                    event.state = state
                    if isinstance(event, Deletion):  # it has flushed the table first
                        _all_durable(events[: events.index(event)])
            self.tables[table] = _folded(events)

    def _possible(
        self, found: Contents, shape: Shape, bound: int, *, here: bool
    ) -> dict[str, tuple[Contents, list[list[Event]]]]:
        """Return for each table what is found of it, and which of its events explain that; fail if none do."""
        homes = {
            (key, row["batch"]): table
            for table, events in self.tables.items()
            for event in events
            if isinstance(event, Piece)
            for key, (_, row) in event.rows.items()
        }
        strange = {key: row for key, row in found.items() if (key, row["batch"]) not in homes}
        assert not strange, f"never written, or deleted, or lost before: {strange}"
        held: dict[str, Contents] = {table: {} for table in self.tables}
        for key, row in found.items():
            held[homes[key, row["batch"]]][key] = row
        possible = {}
        for table, events in self.tables.items():
            tried = list(_outcomes(events, held[table], here=here))
            outcomes = [outcome for outcome in tried if _shown(outcome, shape, bound) == held[table]]
            assert outcomes, f"{table}: {_differences(held[table], _shown(tried[0], shape, bound))}"
            possible[table] = held[table], outcomes
        return possible


def _all_durable(events: Iterable[Event]) -> None:
    for event in events:
        if event.state is State.VISIBLE:
            event.state = State.DURABLE


def _replay(events: Iterable[Event]) -> Contents:
    rows: dict[Key, tuple[tuple[int, int], Row]] = {}
    for event in events:
        if isinstance(event, Deletion):
            rows = {key: row for key, row in rows.items() if not event.hits(key)}
            continue
        for key, (order, row) in event.rows.items():
            if key not in rows or rows[key][0] <= order:
                rows[key] = order, row
    return {key: row for key, (_, row) in rows.items()}


def _shown(events: Iterable[Event], shape: Shape, bound: int) -> Contents:
    return {key: shape.show(row) for key, row in _replay(events).items() if key[1] >= bound}


def _outcomes(events: list[Event], held: Contents, *, here: bool) -> Iterator[list[Event]]:
    """Yield what may have happened: all that is certain, the pieces that are seen, and any of the deletions."""
    sure = {State.DURABLE, State.VISIBLE} if here else {State.DURABLE}
    certain = {event for event in events if event.state in sure}
    certain |= {event for event in events if isinstance(event, Piece) and event.is_in(held)}
    open_ones = [event for event in events if isinstance(event, Deletion) and event not in certain]
    for count in range(len(open_ones), -1, -1):
        for chosen in itertools.combinations(open_ones, count):
            yield [event for event in events if event in certain or event in chosen]


def _folded(events: list[Event]) -> list[Event]:
    """Put the first durable events together, of which nothing will ever be asked one by one."""
    first = list(itertools.takewhile(lambda event: event.state is State.DURABLE, events))
    if len(first) < 2:
        return events
    orders = {
        (key, row["batch"]): order
        for event in first
        if isinstance(event, Piece)
        for key, (order, row) in event.rows.items()
    }
    rows = {key: (orders[key, row["batch"]], row) for key, row in _replay(first).items()}
    return [Piece(rows, State.DURABLE), *events[len(first) :]]


def _differences(found: Contents, expected: Contents) -> str:
    lost = {key: row for key, row in expected.items() if found.get(key) != row}
    other = {key: row for key, row in found.items() if expected.get(key) != row}
    return f"expected {lost}, found {other}"
