"""A process that reads, and knows of every answer whether it is right."""

from __future__ import annotations

import collections
import random
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import pyarrow as pa

import measurefs
from measurefs import Measure, NotExistError, TableOptions
from tests.processes.children import Place
from tests.soak.progress import Progress
from tests.soak.rows import (
    COLUMNS,
    DAY,
    DAYS,
    LAST,
    NAME,
    SERIES,
    SHARDS,
    Rows,
    Table,
    expected,
    in_order,
    known,
    split,
)
from tests.soak.writer import GRACE

MAX_AGE = 0.5
PAUSE = 0.2
"""Seconds at most between two questions, so that the server has time for the writer."""


class Reader:
    """Asks, and checks.

    ``_possible`` is, of each table, which batch may be the last that it shows: all answers since it last looked must
    agree on one.

    Parameters
    ----------
    measure : Measure
    progress : Progress
    chance : random.Random
    max_age : float or None
        What the store was opened with. Then every query may show more.
    """

    def __init__(
        self, measure: Measure, progress: Progress, chance: random.Random, max_age: float | None
    ) -> None:
        self.measure = measure
        self.progress = progress
        self.chance = chance
        self.max_age = max_age
        self.counts: collections.Counter[str] = collections.Counter()
        self.shards: Sequence[int] = measure.shard_of({"id": list(range(SERIES))}).tolist()
        self._possible: dict[Table, range] = {
            (day, shard): range(progress.begun + 1) for day in range(DAYS) for shard in range(SHARDS)
        }
        self._opened: set[Table] = set()  # a table is looked at when it is first asked
        self._acknowledged: collections.deque[tuple[float, int]] = collections.deque()

    def look(self) -> None:
        """Refresh: all that was acknowledged before is there, and all that was seen before."""
        least = self.progress.acknowledged
        self.measure.refresh()
        self._now_from(least)
        self.counts["refreshes"] += 1

    def _now_from(self, least: int) -> None:
        begun = self.progress.begun
        for table, before in self._possible.items():
            self._possible[table] = range(max(least, before.start), begun + 1)

    def _old_enough(self) -> int:
        """Return the newest batch of which it was known so long ago that it is acknowledged."""
        now = time.monotonic()
        self._acknowledged.append((now, self.progress.acknowledged))
        assert self.max_age is not None
        found = 0
        while self._acknowledged and self._acknowledged[0][0] <= now - self.max_age:
            found = self._acknowledged.popleft()[1]
        self._acknowledged.appendleft((now - self.max_age, found))
        return found

    def ask(self) -> None:
        """Ask something; an answer that has begun to be collected must say so."""
        least = self._old_enough() if self.max_age is not None else None
        ask: Callable[[], list[Check]] = self.chance.choices(
            [self._rows, self._everything, self._newest, self._aggregate], [12, 1, 2, 4]
        )[0]
        try:
            checks = ask()
        except NotExistError as error:
            assert "refresh()" in str(error), f"the error does not tell what to do: {error}"
            assert self.max_age is None, f"max_age does not help: {error}"
            self.counts["answers whose parts were collected"] += 1
            self.look()
            return
        if least is not None:
            self._now_from(least)
        for check in checks:
            self._decide(*check)
        self.counts["queries"] += 1

    def _decide(self, table: Table, found: Any, of: Callable[[int], Any], what: str) -> None:
        """Find out which batch is the last that an answer can be of."""
        if table not in self._opened:
            self._opened.add(table)
            self._possible[table] = range(self._possible[table].start, self.progress.begun + 1)
        possible = self._possible[table]
        fitting = [last for last in possible if of(last) == found]
        if not fitting:
            near = [last for last in range(self.progress.begun + 2) if of(last) == found]
            raise AssertionError(
                f"{what} of table {table} fits no state from batch {possible.start} to {possible.stop - 1}, "
                f"{f'but batch {near[0]} to {near[-1]}' if near else 'nor any other'}; "
                f"generation {self.progress.generation}, got {_short(found)}, expected {_short(of(possible.start))}"
            )
        self._possible[table] = range(fitting[0], fitting[-1] + 1)

    def _window(self) -> tuple[int, int]:
        start, end = sorted(self.chance.sample(range(LAST + 1), 2))
        return (0 if self.chance.random() < 0.3 else start), end

    def _rows(self) -> list[Check]:
        """Ask for some series, of some time of one day or of both."""
        series = self.chance.sample(range(SERIES), self.chance.choice([1, 1, 1, 4, SERIES]))
        days = self.chance.choice([[0], [1], [0, 1]])
        start, end = self._window() if len(days) == 1 else (0, LAST)
        order = self.chance.choice(["time", "-time", "series"])
        result = self.measure.query(
            days[0] * DAY + start, days[-1] * DAY + end, {"id": series}, columns=COLUMNS, order=order
        )
        with result:
            if self.chance.random() < 0.03:
                time.sleep(self.chance.uniform(0, GRACE * 1.5))  # what it pins may be collected meanwhile
                self.counts["answers read late"] += 1
            answer = result.to_arrow()
        assert in_order(answer, order), f"rows are not in order {order}"
        self.counts["rows"] += len(answer)
        return self._checks(
            answer, series, days, start, end, f"order {order}, series {series}, {start} to {end}"
        )

    def _everything(self) -> list[Check]:
        with self.measure.query(columns=COLUMNS, order="series") as result:
            answer = pa.Table.from_batches(result.to_batches(), result.schema)
        self.counts["rows"] += len(answer)
        return self._checks(answer, range(SERIES), range(DAYS), 0, LAST, "everything")

    def _checks(
        self, answer: pa.Table, series: Sequence[int], days: Sequence[int], start: int, end: int, what: str
    ) -> list[Check]:
        checks: list[Check] = []
        for (day, shard), rows in split(answer, self.shards).items():
            mine = [one for one in series if self.shards[one] == shard] if day in days else []

            def of(last: int, mine: list[int] = mine) -> Rows:
                return expected(last, mine, start, end)

            checks.append(((day, shard), rows, of, what))
        return checks

    def _newest(self) -> list[Check]:
        """Ask for the newest rows of one series."""
        one, count = self.chance.randrange(SERIES), self.chance.randint(1, 12)
        answer = self.measure.query(
            (DAYS - 1) * DAY, where={"id": one}, columns=COLUMNS, order="-time", limit=count
        )
        found = answer.to_arrow().to_pydict()

        def of(last: int) -> list[tuple[int, int]]:
            rows = expected(last, [one])
            return list(zip(rows.times.tolist(), rows.batches.tolist(), strict=True))[::-1][:count]

        times = [moment.value % DAY for moment in found["time"]]
        table = DAYS - 1, self.shards[one]
        return [
            (table, list(zip(times, found["batch"], strict=True)), of, f"the newest {count} of series {one}")
        ]

    def _aggregate(self) -> list[Check]:
        """Count and add up one series on one day."""
        one, day = self.chance.randrange(SERIES), self.chance.randrange(DAYS)
        start, end = self._window()
        answer = self.measure.aggregate(
            day * DAY + start, day * DAY + end, {"id": one}, values={"batch": ["count", "sum", "max"]}
        ).to_arrow()
        names = ("batch_count", "batch_sum", "batch_max")
        found = tuple(known(answer[name][0]) for name in names) if len(answer) else (0, 0, 0)

        def of(last: int) -> tuple[int, int, int]:
            batches = expected(last, [one], start, end).batches
            return len(batches), int(batches.sum()), int(batches.max(initial=0))

        return [((day, self.shards[one]), found, of, f"aggregates of series {one}, {start} to {end}")]


Check = tuple[Table, Any, Callable[[int], Any], str]
"""Table, what was found, what a last batch makes of it, and what was asked."""


def _short(found: Any) -> str:
    if isinstance(found, Rows):
        rows = list(zip(found.series.tolist(), found.times.tolist(), found.batches.tolist(), strict=True))
        return f"{len(rows)} rows (series, time, batch): {rows[:3]} ... {rows[-3:]}"
    return str(found)[:300]


def read(pipe: Connection, place: Place, path: str, seed: int, more: dict[str, Any]) -> None:
    """Read until told to end; tell now and then what was done."""
    progress = Progress(path)
    chance = random.Random(f"{seed}/reader/{more}")
    options = TableOptions(cache_bytes=1 << 20)
    with measurefs.open(
        place.url, read_only=True, storage_options=place.storage_options(), options=options, **more
    ) as database:
        reader = Reader(database.measure(NAME), progress, chance, more.get("max_age"))
        said = time.monotonic()
        while not pipe.poll():
            if reader.max_age is None and chance.random() < 0.3:
                reader.look()
            elif chance.random() < 0.01:
                time.sleep(chance.uniform(0, 2 * GRACE))  # long enough for what it knows of to be collected
            reader.ask()
            time.sleep(chance.uniform(0, PAUSE))
            if time.monotonic() - said > 0.5:
                pipe.send(reader.counts)
                reader.counts = collections.Counter()
                said = time.monotonic()
        pipe.send(reader.counts)
    progress.close()
