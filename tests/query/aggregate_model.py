"""What an aggregate must answer, in plain Python."""

from __future__ import annotations

import fractions
import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from measurefs.part.series import entity_keys, xxh3
from tests.query.stretches import COLUMNS, ENTITY, Row

NAN = math.nan


class BeyondInt64Error(Exception):
    """A sum is no int64."""


def aggregate(
    rows: Sequence[Row],
    bucket: Callable[[int], int] | None,
    by: Sequence[str],
    values: Mapping[str, Sequence[str]],
    place: Callable[[Row], Any],
) -> list[Row]:
    """Answer an aggregate; `place` tells the order of the series."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    if bucket is None and not by:
        groups[()] = []
    for row in rows:
        key = tuple(same(row[name]) for name in by)
        groups.setdefault(key if bucket is None else (bucket(row["time"]), *key), []).append(row)
    names = list(by) if bucket is None else ["time", *by]
    found = []
    for key in sorted(groups, key=lambda key: [rank(value) for value in key]):
        result = dict(zip(names, key, strict=True))
        members = sorted(groups[key], key=lambda row: (row["time"], place(row)))
        for column, functions in values.items():
            held = (
                [row[column] for row in members if column == "*" or row[column] is not None]
                if column != "*"
                else members
            )
            for function in functions:
                title = "count" if column == "*" else f"{column}_{function}"
                result[title] = len(held) if function == "count" else function_of(function, held)
        found.append(result)
    return found


def same(value: Any) -> Any:
    """Return a value that equals all that are in the same group."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    return value


def rank(value: Any) -> Any:
    """Nulls come last, NaN before them; strings are compared byte by byte."""
    if value is None:
        return (2,)
    if value == "NaN":
        return (1,)
    return (0, value.encode() if isinstance(value, str) else value)


def function_of(function: str, values: list[Any]) -> Any:
    if not values:
        return None
    if function in ("first", "last"):
        return values[0 if function == "first" else -1]
    if function in ("min", "max"):
        held = [value for value in values if value == value] or values
        return (min if function == "min" else max)(
            held, key=lambda value: value.encode() if isinstance(value, str) else value
        )
    if function == "sum":
        found = total(values)
        if isinstance(found, int) and not -(2**63) <= found < 2**63:
            raise BeyondInt64Error
        return found
    if function == "mean":
        return (
            float(total(values)) / len(values)
            if isinstance(total(values), float)
            else total(values) / len(values)
        )
    odd = any(isinstance(value, float) and not math.isfinite(value) for value in values)
    if function == "stddev":
        if len(values) < 2:
            return None
        return NAN if odd else deviation(values)
    fraction = (
        0.5 if function == "median" else float(function.removeprefix("approx_").removeprefix("p")) / 100
    )
    return quantile(sorted(map(float, values), key=lambda value: (value != value, value)), fraction)


def deviation(values: list[Any]) -> float:
    try:
        return math.sqrt(statistics.variance(map(fractions.Fraction, values)))
    except OverflowError:  # the squares are beyond float64
        return NAN


def total(values: list[Any]) -> Any:
    if isinstance(values[0], float):
        odd = [value for value in values if not math.isfinite(value)]
        return sum(odd) if odd else math.fsum(values)
    return sum(values)


def quantile(values: list[float], fraction: float) -> float:
    if math.isnan(values[-1]):
        return NAN
    place = (len(values) - 1) * fraction
    low = math.floor(place)
    share = place - low
    if share == 0 or values[low] == values[low + 1]:
        return values[low]
    return values[low] * (1 - share) + values[low + 1] * share


def series_place(row: Row) -> Any:
    """Where a row's series stands: by id, then by key."""
    return _place(*(row[name] for name in ENTITY))


@functools.cache
def _place(*entity: Any) -> Any:
    arrays = [pa.array([value], kind.arrow) for value, kind in zip(entity, ENTITY.values(), strict=True)]
    batch = pa.record_batch(arrays, list(ENTITY))
    key = entity_keys(batch)[0]
    return xxh3(key), key


def assert_same(found: list[Row], expected: list[Row], context: str) -> None:
    """Compare results: floats as nearly as sums of them can be, all else exactly."""
    assert len(found) == len(expected), f"{context}: {len(found)} rows, not {len(expected)}"
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert list(one) == list(other), context
        for name in one:
            left, right = one[name], other[name]
            right = NAN if right == "NaN" else right
            if isinstance(right, float) and left is not None:
                relative = 0.01 if "approx" in name else 1e-9
                close = left == right or (math.isnan(left) and math.isnan(right))
                close = close or math.isclose(left, right, rel_tol=relative, abs_tol=1e-9)
                assert close, f"{context}: row {number}, {name}: {left!r}, not {right!r}"
            else:
                assert left == right, f"{context}: row {number}, {name}: {left!r}, not {right!r}"
                assert type(left) is type(right), f"{context}: row {number}, {name}: {left!r}, not {right!r}"


FUNCTIONS_OF = {
    name: ["count"]
    if kind.element is not None
    else ["count", "min", "max", "first", "last"]
    if not kind.is_number
    else [
        "count",
        "sum",
        "mean",
        "min",
        "max",
        "first",
        "last",
        "stddev",
        "median",
        "p0",
        "p12.5",
        "p100",
        "approx_p99",
    ]
    for name, kind in COLUMNS.items()
}
