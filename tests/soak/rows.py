"""What the writer writes, as a function of the batch's number, so that every answer can be checked exactly.

Batch after batch goes round a ring of slots: each has some rows of every series on every day, in its slot, which take
the place of those of a whole round before, and one row at the day's beginning, which takes the place of the last
batch's. The version is the batch's number. So the rows of a table say which batches it has: those up to some number,
all of them, or it is wrong. And the table does not grow, however long this goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

DAY = 86_400_000_000_000
SERIES, DAYS, SHARDS = 24, 2, 2
RING, EACH = 48, 4
FIRST = 1_000
"""Time of the first slot's first row, nanoseconds after the day's beginning."""
LAST = FIRST + RING * EACH
NAME = "soak"
ENTITY, TAGS, FIELDS = {"id": "int64"}, {"mark": "string"}, {"batch": "int64", "value": "float64"}
COLUMNS = ["time", "id", "mark", "batch", "value"]

Ints: TypeAlias = npt.NDArray[np.int64]
Table: TypeAlias = tuple[int, int]
"""Day and shard."""


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one table, by series and time; times are since the day's beginning."""

    series: Ints
    times: Ints
    batches: Ints

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and all(
            np.array_equal(getattr(self, each.name), getattr(other, each.name))
            for each in dataclasses.fields(self)
        )

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self.series)


def values(series: Ints, times: Ints, batches: Ints) -> npt.NDArray[np.float64]:
    """Return what the rows of batches hold."""
    mixed = (series * 7_919 + times * 104_729 + batches * 1_299_709) % 1_000_003
    return mixed / 100


def marks(series: Ints, batches: Ints) -> list[str]:
    """Return the tags of rows."""
    return [
        f"series {one} batch {batch % 13}"
        for one, batch in zip(series.tolist(), batches.tolist(), strict=True)
    ]


def batch_table(batch: int) -> pa.Table:
    """Return a batch as it is written."""
    slot = FIRST + batch % RING * EACH
    within = np.array([0, *range(slot, slot + EACH)], np.int64)
    series = np.repeat(np.arange(SERIES, dtype=np.int64), DAYS * len(within))
    days = np.tile(np.repeat(np.arange(DAYS, dtype=np.int64), len(within)), SERIES)
    times = np.tile(within, SERIES * DAYS)
    batches = np.full(len(times), batch, np.int64)
    columns = {
        "time": days * DAY + times,
        "id": series,
        "mark": marks(series, batches),
        "batch": batches,
        "value": values(series, days * DAY + times, batches),
        "version": batches,
    }
    return pa.table(columns)


def expected(last: int, series: Iterable[int], start: int = 0, end: int = LAST) -> Rows:
    """Return what a table with all batches up to the last has of some series, of times from start to before end."""
    times = np.array([0, *range(FIRST, LAST)], np.int64)
    times = times[(times >= start) & (times < end)]
    slots = (times - FIRST) // EACH
    newest = np.where(times == 0, last, last - (last - slots) % RING)
    there = newest >= 1
    times, newest = times[there], newest[there]
    chosen = np.array(sorted(series), np.int64)
    return Rows(np.repeat(chosen, len(times)), np.tile(times, len(chosen)), np.tile(newest, len(chosen)))


def split(answer: pa.Table, shards: Sequence[int]) -> dict[Table, Rows]:
    """Return the rows of an answer by table; each must hold what its batch says, and none may be there twice."""
    moments = np.asarray(answer["time"].cast(pa.int64()))
    series, batches = (np.asarray(answer[name]) for name in ("id", "batch"))
    assert np.array_equal(answer["value"], values(series, moments, batches)), "a value is not its batch's"
    assert answer["mark"].to_pylist() == marks(series, batches), "a tag is not its batch's"
    days, times = np.divmod(moments, DAY)
    order = np.lexsort([times, series, days])
    keys = np.stack([days, series, times])[:, order]
    assert not np.any(np.all(keys[:, 1:] == keys[:, :-1], axis=0)), "a row is there twice"
    of = np.asarray(shards, np.int64)[series]
    found = {}
    for day in range(DAYS):
        for shard in range(SHARDS):
            mine = order[(days[order] == day) & (of[order] == shard)]
            found[day, shard] = Rows(series[mine], times[mine], batches[mine])
    assert sum(map(len, found.values())) == len(answer), "rows of a day on which nothing was written"
    return found


def in_order(answer: pa.Table, order: str) -> bool:
    """Whether an answer is in the order that was asked for."""
    moments = np.asarray(answer["time"].cast(pa.int64()))
    if order != "series":
        steps = np.diff(moments)
        return bool(np.all(steps >= 0 if order == "time" else steps <= 0))
    series = np.asarray(answer["id"])
    new = np.flatnonzero(np.diff(series)) + 1
    runs = np.split(np.arange(len(series)), new)
    together = len(runs) == len(np.unique(series)) or len(series) == 0
    return bool(together and all(np.all(np.diff(moments[run]) > 0) for run in runs))


def known(frame: Any) -> int:
    """Return a number out of an aggregate of one row, 0 if there were no rows."""
    return int(frame.as_py() or 0)
