"""What a question must be answered with: DuckDB's answer on a plain table of the rows that count."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tests.query.histories import History
from tests.query.predicates import Where, draw_where, quoted


@dataclasses.dataclass(frozen=True)
class Rows:
    """A question for rows."""

    start: int | None
    end: int | None
    where: Where
    columns: tuple[str, ...] | None
    order: str
    limit: int | None
    offset: int

    def given(self) -> dict[str, Any]:
        """The parameters of `Measure.query`."""
        given = {
            "start": self.start,
            "end": self.end,
            "where": self.where.given(),
            "columns": None if self.columns is None else list(self.columns),
            "order": self.order,
            "limit": self.limit,
        }
        return given | ({"offset": self.offset} if self.offset else {})


@dataclasses.dataclass(frozen=True)
class Newest:
    """A question for the newest row of each series."""

    start: int | None
    end: int | None
    where: Where
    columns: tuple[str, ...] | None

    def given(self) -> dict[str, Any]:
        """The parameters of `Measure.last`."""
        columns = None if self.columns is None else list(self.columns)
        return {"start": self.start, "end": self.end, "where": self.where.given(), "columns": columns}


class Oracle:
    """The rows of a history in DuckDB.

    Parameters
    ----------
    series : sequence
        Entities in the order in which the store has them, which is its own affair.
    """

    def __init__(self, history: History, series: Sequence[tuple[Any, ...]]) -> None:
        self.layout = history.layout
        place = {entity: number for number, entity in enumerate(series)}
        rows = [
            row | {"place": place[tuple(row[name] for name in self.layout.entity)]}
            for row in history.winners.values()
        ]
        names = [*self.layout.names, "version", "place"]
        kinds = {name: self.layout.type_of(name) for name in names} | {"time": pa.int64()}
        table = pa.table({name: pa.array([row[name] for row in rows], kinds[name]) for name in names})
        self._db = duckdb.connect(config={"threads": 1})
        self._db.register("given", table)
        self._db.execute("create table rows as from given")

    def close(self) -> None:
        self._db.close()

    def rows(self, question: Rows) -> pa.Table:
        """Return the rows asked for, times as integers."""
        by = {"time": "time, place", "-time": "time desc, place", "series": self._by_series(question.where)}
        limit = "" if question.limit is None else f"limit {question.limit}"
        columns = question.columns or self.layout.names
        return self.ask(
            f"select {', '.join(columns)} from rows where {condition(question)} "
            f"order by {by[question.order]} {limit} offset {question.offset}"
        )

    def newest(self, question: Newest) -> pa.Table:
        """Return the newest row of each series, in the order of series."""
        columns = question.columns or self.layout.names
        newest = "row_number() over (partition by place order by time desc) = 1"
        return self.ask(
            f"select {', '.join(columns)} from rows where {condition(question)} qualify {newest} order by place"
        )

    def ask(self, query: str) -> pa.Table:
        return self._db.sql(query).to_arrow_table()

    def _by_series(self, where: Where) -> str:
        """Series come as a dict lists them, if it does and there is only one entity column."""
        if where.form == "dict" and self.layout.entity == ("host",):
            for part in where.parts:
                if part.column == "host" and part.word in ("among", "in") and isinstance(part.operand, list):
                    listed = ", ".join(map(quoted, part.operand))
                    return f"list_position([{listed}]::varchar[], host), time"
        return "place, time"


def condition(question: Any) -> str:
    """Return a question's bounds and condition in SQL."""
    terms = [question.where.sql()]
    terms += [] if question.start is None else [f"time >= {question.start}"]
    terms += [] if question.end is None else [f"time < {question.end}"]
    return " and ".join(terms)


def draw_bounds(chance: random.Random, history: History) -> tuple[int | None, int | None]:
    """Draw times at, before and after those of rows."""
    places = [chance.choice([None, chance.randrange(-3, history.span + 3)]) for _ in range(2)]
    if None not in places and chance.random() < 0.9:
        places.sort()
    found = [
        None if place is None else history.base + place * history.step + chance.choice([0, 0, 1, -1])
        for place in places
    ]
    return found[0], found[1]


def draw_columns(chance: random.Random, history: History) -> tuple[str, ...] | None:
    """Draw some columns, in any order."""
    if chance.random() < 0.3:
        return None
    names = [*history.layout.names, *(["version"] if history.layout.versioned else [])]
    return tuple(chance.sample(names, chance.randrange(1, 6)))


def draw_rows(chance: random.Random, history: History) -> Rows:
    """Draw a question for rows."""
    return Rows(
        *draw_bounds(chance, history),
        draw_where(chance, history),
        draw_columns(chance, history),
        chance.choice(["time", "-time", "series"]),
        chance.choice([None, None, 0, 1, 10, 100, 10_000]),
        chance.choice([0, 0, 1, 10, 100]),
    )


def draw_newest(chance: random.Random, history: History) -> Newest:
    """Draw a question for newest rows."""
    return Newest(*draw_bounds(chance, history), draw_where(chance, history), draw_columns(chance, history))


def differs(found: pa.Table, expected: pa.Table, types: Mapping[str, pa.DataType]) -> str | None:
    """Return in what rows differ, to the bit of each float, None if in nothing.

    Parameters
    ----------
    types : mapping
        The columns that there must be, and their types.
    """
    if found.schema.names != expected.schema.names:
        return f"columns {found.schema.names} instead of {expected.schema.names}"
    wrong = [name for name in found.schema.names if found.schema.field(name).type != types[name]]
    if wrong:
        return f"{wrong[0]} is {found.schema.field(wrong[0]).type}"
    if len(found) != len(expected):
        return f"{len(found)} rows instead of {len(expected)}"
    for name in found.schema.names:
        left, right = (_comparable(table[name]) for table in (found, expected))
        if not left.equals(right):
            both = zip(left.to_pylist(), right.to_pylist(), strict=True)
            place = next(at for at, (one, other) in enumerate(both) if one != other)
            return f"{name} of row {place}: {found[name][place]!r} instead of {expected[name][place]!r}"
    return None


def _comparable(column: pa.ChunkedArray) -> pa.Array:
    """Return an array that is equal to another one exactly if the values are: floats by their bits, but for NaN."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    array = pa.chunked_array(column.chunks, column.type).combine_chunks()
    if pa.types.is_list(array.type):
        return pa.array(array.to_pylist(), pa.list_(pa.string()))
    if pa.types.is_floating(array.type):
        values = np.asarray(array.fill_null(0.0)).copy()
        values[np.isnan(values)] = np.nan
        return pc.if_else(array.is_valid(), pa.array(values.view(np.int64)), None)
    return array
