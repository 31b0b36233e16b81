"""What an aggregate must be, in plain Python, one group and one value at a time."""

from __future__ import annotations

import bisect
import dataclasses
import datetime
import math
import random
import statistics
import zoneinfo
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tests.query.histories import FIELDS, TAGS, History
from tests.query.oracle import Oracle, condition, draw_bounds
from tests.query.predicates import Where, draw_where

SECOND = 10**9
WIDTHS = {"10s": 10, "5m": 300, "1h": 3600, "6h": 21_600}
CALENDAR = ("1d", "1w", "1mo", "3mo", "1y")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")
NUMBERS = ("usage", "load", "n", "up", "rack")
TEXTS = ("note", "region")
OF_NUMBERS = (
    *("count", "sum", "mean", "min", "max", "first", "last", "stddev"),
    *("median", "p50", "p99", "p12.5", "approx_p99"),
)
OF_TEXTS = ("count", "min", "max", "first", "last")
MOST_FILLED = 20_000


@dataclasses.dataclass(frozen=True)
class Groups:
    """A question for an aggregate."""

    start: int | None
    end: int | None
    where: Where
    every: str | None
    timezone: str
    by: tuple[str, ...]
    values: Mapping[str, Sequence[str]] | None
    fill: Any

    def given(self) -> dict[str, Any]:
        """The parameters of `Measure.aggregate`."""
        given: dict[str, Any] = {"start": self.start, "end": self.end, "where": self.where.given()}
        given |= {"every": self.every, "by": self.by, "values": self.values, "fill": self.fill}
        return given | ({"timezone": self.timezone} if self.every else {})


def draw_groups(chance: random.Random, history: History) -> Groups:
    """Draw a question for an aggregate."""
    layout = history.layout
    every = chance.choice([None, None, *WIDTHS, *CALENDAR])
    values: dict[str, Sequence[str]] | None = {}
    for name in chance.sample([*NUMBERS, *TEXTS, "labels", "*"], chance.choice([1, 1, 2, 3])):
        offered: Sequence[str] = ("count",)
        if name in (*NUMBERS, *TEXTS):
            offered = OF_NUMBERS if name in NUMBERS else OF_TEXTS
        if layout.collide:  # which series is first is open where they share an id
            offered = [each for each in offered if each not in ("first", "last")]
        values[name] = chance.sample(offered, min(len(offered), chance.choice([1, 2, 3])))
    fill = None
    numeric = not {*values} & {"up", *TEXTS, "labels"}
    if every is not None and chance.random() < 0.5:
        fill = chance.choice(["null", "previous", *(["linear", 7, 7.0] if numeric else [])])
    return Groups(
        *draw_bounds(chance, history),
        draw_where(chance, history),
        every,
        chance.choice(ZONES),
        tuple(chance.sample([*layout.entity, "region", "rack"], chance.choice([0, 0, 1, 1, 2]))),
        values if chance.random() < 0.95 else None,
        fill,
    )


def groups(oracle: Oracle, question: Groups) -> Iterator[dict[str, Any]] | None:
    """Return the rows of an aggregate, in order; None if filling it would take too long here.

    What cannot be told exactly is a function that says whether a value is right.
    """
    columns = [*TAGS, *FIELDS, *oracle.layout.entity]
    rows = oracle.ask(
        f"select time, {', '.join(columns)} from rows where {condition(question)} order by time, place"
    ).to_pylist()
    cells: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = tuple(row[name] for name in question.by)
        when = bucket(row["time"], question.every, question.timezone) if question.every else 0
        cells.setdefault((when, key), []).append(row)
    if question.every is None and not question.by:
        cells = cells or {(0, ()): []}
    found = {cell: _results(members, question.values) for cell, members in cells.items()}
    if question.fill is not None:
        times = _all_buckets(question, [when for when, _ in cells])
        keys = {key for _, key in cells} or ({()} if not question.by else set())
        if len(times) * len(keys) > MOST_FILLED:
            return None
        found = _filled(found, times, keys, question)
    return _in_order(found, question)


def _in_order(found: Mapping[Any, dict[str, Any]], question: Groups) -> Iterator[dict[str, Any]]:
    def place(cell: Any) -> Any:
        return cell[0], [(True,) if value is None else (False, value) for value in cell[1]]

    for when, key in sorted(found, key=place):
        row = {"time": when} if question.every else {}
        yield row | dict(zip(question.by, key, strict=True)) | found[when, key]


def _results(rows: Sequence[Mapping[str, Any]], values: Mapping[str, Sequence[str]] | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for column, functions in ({"*": ["count"]} if values is None else values).items():
        if column == "*":
            found["count"] = len(rows)
            continue
        present = [row[column] for row in rows if row[column] is not None]
        for function in functions:
            found[f"{column}_{function}"] = len(present) if function == "count" else _of(function, present)
    return found


def _of(function: str, values: Sequence[Any]) -> Any:
    """Return a function of values that are in order of time."""
    if not values or (function == "stddev" and len(values) < 2):
        return None
    match function:
        case "first":
            return values[0]
        case "last":
            return values[-1]
        case "min" | "max":
            known = [value for value in values if value == value] or values  # without NaN
            return min(known) if function == "min" else max(known)
    finite = all(map(math.isfinite, values))
    size = max(map(abs, values)) if finite else math.inf
    match function:
        case "sum" if all(isinstance(value, int) for value in values):
            return sum(values)
        case "sum" | "mean":
            total = math.fsum(values) if finite else sum(values)
            return near(total if function == "sum" else total / len(values), size * len(values) * 1e-12)
        case "stddev":
            return near(statistics.stdev(values) if finite else math.nan, 1e-7 * size)
    return _quantile(function, values)


def _quantile(function: str, values: Sequence[Any]) -> Callable[[Any], bool]:
    if any(math.isnan(value) for value in values):
        return near(math.nan)
    ordered = sorted(values)
    percent = 50.0 if function == "median" else float(function.removeprefix("approx_")[1:])
    at = percent / 100 * (len(ordered) - 1)
    low, high = ordered[math.floor(at)], ordered[math.ceil(at)]
    if low == high and math.isinf(low):
        return near(low)
    if function.startswith("approx"):
        slack = max(abs(each) if math.isfinite(each) else 0.0 for each in (low, high)) / 100
        return lambda value: low - slack <= value <= high + slack
    if math.isinf(high - low):
        return lambda value: math.isnan(value) or low <= value <= high
    return near(low + (high - low) * (at - math.floor(at)), 1e-12 * max(abs(low), abs(high)))


def near(value: float, slack: float = 0.0) -> Callable[[Any], bool]:
    """Return what says whether a float is this one, but for rounding."""

    def right(other: Any) -> bool:
        if other is None or math.isnan(value) or math.isnan(other):
            return other is not None and math.isnan(value) == math.isnan(other)
        return other == value or math.isclose(other, value, rel_tol=1e-9, abs_tol=slack)

    right.value = value  # type: ignore[attr-defined]
    return right


# Buckets.


def bucket(when: int, every: str | None, timezone: str) -> int:
    """Return when the bucket of a time begins."""
    zone = zoneinfo.ZoneInfo(timezone)
    if every in WIDTHS:
        width = WIDTHS[every] * SECOND
        offset = _instant(datetime.datetime(1970, 1, 1), zone)
        return (when - offset) // width * width + offset
    utc = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=when // SECOND)
    day = utc.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0)
    return _instant(_first_day(day, every), zone)


def _first_day(day: datetime.datetime, every: str | None) -> datetime.datetime:
    match every:
        case "1w":
            return day - datetime.timedelta(days=day.weekday())
        case "1mo":
            return day.replace(day=1)
        case "3mo":
            return day.replace(day=1, month=(day.month - 1) // 3 * 3 + 1)
        case "1y":
            return day.replace(day=1, month=1)
    return day


def _instant(local: datetime.datetime, zone: zoneinfo.ZoneInfo) -> int:
    return round(local.replace(tzinfo=zone).timestamp()) * SECOND


def _all_buckets(question: Groups, held: Sequence[int]) -> list[int]:
    """Return the starts of all buckets between the bounds, or between the first and the last that has rows."""
    if not held and (question.by or question.start is None or question.end is None):
        return []
    first = min(held) if question.start is None else question.start
    last = max(first, *held) if question.end is None else question.end - 1
    found: list[int] = []
    when = first
    while when <= last and len(found) <= MOST_FILLED:
        found.append(bucket(when, question.every, question.timezone))
        when = _next(found[-1], question.every, question.timezone)
    return found


def _next(start: int, every: str | None, timezone: str) -> int:
    if every in WIDTHS:
        return start + WIDTHS[every] * SECOND
    days = {"1d": 1, "1w": 7, "1mo": 32, "3mo": 93, "1y": 367}[str(every)]
    return bucket(start + (days * 24 + 4) * 3600 * SECOND, every, timezone)


# Filling.


def _filled(
    found: Mapping[Any, dict[str, Any]], times: Sequence[int], keys: set[Any], question: Groups
) -> dict[Any, dict[str, Any]]:
    names = list(_results([], question.values))
    whole: dict[Any, dict[str, Any]] = {}
    for key in keys:
        for name in names:
            column = [found.get((when, key), {}).get(name) for when in times]
            counts = name == "count" or name.endswith("_count")
            for when, value in zip(
                times, _without_gaps(column, times, 0 if counts else question.fill), strict=True
            ):
                whole.setdefault((when, key), {})[name] = value
    return whole


def _without_gaps(column: Sequence[Any], times: Sequence[int], fill: Any) -> list[Any]:
    held = [place for place, value in enumerate(column) if value is not None]
    filled = []
    for place, value in enumerate(column):
        before = bisect.bisect_right(held, place) - 1
        if value is not None or fill == "null":
            filled.append(value)
        elif not isinstance(fill, str):
            filled.append(fill)
        elif fill == "previous":
            filled.append(column[held[before]] if before >= 0 else None)
        else:
            inside = before >= 0 and before + 1 < len(held)
            filled.append(_line(column, times, held[before], place, held[before + 1]) if inside else None)
    return filled


def _line(column: Sequence[Any], times: Sequence[int], low: int, here: int, high: int) -> Any:
    first, second = (getattr(column[place], "value", column[place]) for place in (low, high))
    if callable(first) or callable(second):  # an approximation itself
        return lambda value: value is not None
    share = (times[here] - times[low]) / (times[high] - times[low])
    value = first * (1 - share) + second * share if first != second else float(first)
    if isinstance(first, int) and isinstance(second, int):
        return lambda found: isinstance(found, int) and abs(found - value) <= 0.5 + abs(value) * 1e-9
    return near(value, 1e-9 * max(abs(first), abs(second))) if math.isfinite(value) else (lambda found: True)


def differs_in_groups(found: pa.Table, expected: Sequence[Mapping[str, Any]]) -> str | None:
    """Return in what an aggregate differs, None if in nothing."""
    if "time" in found.schema.names:
        found = found.set_column(0, "time", found["time"].cast(pa.int64()))
    rows = found.to_pylist()
    if len(rows) != len(expected):
        return f"{len(rows)} rows instead of {len(expected)}"
    for place, (row, right) in enumerate(zip(rows, expected, strict=True)):
        if list(row) != list(right):
            return f"columns {list(row)} instead of {list(right)}"
        for name, value in row.items():
            wanted = right[name]
            if not (wanted(value) if callable(wanted) else _same(value, wanted)):
                return f"{name} of row {place}, {row}: it should be {getattr(wanted, 'value', wanted)!r}"
    return None


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(value, float) and isinstance(wanted, float) and math.isnan(wanted):
        return math.isnan(value)
    return bool(value == wanted) and (value is None) == (wanted is None)
