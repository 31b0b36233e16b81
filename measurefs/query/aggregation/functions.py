"""The functions that `aggregate` has: what each takes, what must be known for it, and its result."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from measurefs.codec.memory import array_of
from measurefs.codec.types import ColumnType
from measurefs.fs.errors import SchemaError
from measurefs.query.aggregation.ends import Ends, First, Last, TextGreatest, TextLeast
from measurefs.query.aggregation.groups import Array
from measurefs.query.aggregation.partials import (
    Counts,
    Deviations,
    FloatSums,
    Greatest,
    IntSums,
    Least,
    Partial,
)
from measurefs.query.aggregation.quantiles import Bins, Ordered, OrderedBins, Sample
from measurefs.query.aggregation.run_values import RunValues
from measurefs.query.names import check_names

ROWS = "*"
"""In the place of a column: the rows themselves."""
FUNCTIONS = ("count", "sum", "mean", "min", "max", "first", "last", "stddev", "median")
"""And quantiles: p50, p99.9, approx_p99."""

_QUANTILE = re.compile(r"(approx_)?p(\d{1,3}(?:\.\d+)?)")
_OF_TEXT = ("count", "min", "max", "first", "last")
Values = Mapping[str, "str | Sequence[str]"]


@dataclasses.dataclass(frozen=True)
class Function:
    """A column of the result.

    Attributes
    ----------
    column : str
        The column it is about, or `ROWS`.
    name : str
        ``"mean"``, ``"p99"``.
    kind : ColumnType
        Of that column; int64 for rows.
    quantile : float or None
        The fraction of values below it.
    """

    column: str
    name: str
    kind: ColumnType
    quantile: float | None = None

    @property
    def title(self) -> str:
        """The name of the result's column."""
        return "count" if self.column == ROWS else f"{self.column}_{self.name}"

    @property
    def partial(self) -> type[Partial]:
        """What must be known of the column."""
        if self.quantile is not None:
            return Bins if self.name.startswith("approx") else Sample
        if self.name in ("sum", "mean"):
            return FloatSums if self.kind is ColumnType.FLOAT64 else IntSums
        number = self.kind.is_number
        found: dict[str, type[Partial]] = {
            "count": Counts,
            "min": Least if number else TextLeast,
            "max": Greatest if number else TextGreatest,
            "first": First,
            "last": Last,
            "stddev": Deviations,
        }
        return found[self.name]

    @property
    def arrow(self) -> pa.DataType:
        """The type of the result's column."""
        if self.name == "count":
            return pa.int64()
        if self.name in ("min", "max", "first", "last"):
            return self.kind.arrow
        floating = self.name != "sum" or self.kind is ColumnType.FLOAT64
        return pa.float64() if floating else pa.int64()


def parse_values(values: Values | None, columns: Mapping[str, ColumnType]) -> list[Function]:
    """Turn ``values`` into functions.

    Parameters
    ----------
    values : mapping or None
        For each column one function or several; None counts rows.
    columns : mapping
        Tags and fields with their types.

    Raises
    ------
    SchemaError
        There is no such column or function, or the function does not take the column's type.
    """
    if values is None:
        values = {ROWS: "count"}
    if not isinstance(values, Mapping) or not values:
        raise SchemaError(
            f"cannot use {values!r} as values: give a dict such as {{'usage': 'mean'}} or "
            "{'usage': ['mean', 'max'], '*': 'count'}, or None to count rows"
        )
    check_names(values, {ROWS: None, **columns}, "values")
    found = []
    for column, names in values.items():
        wanted = [names] if isinstance(names, str) else list(names)
        if not wanted:
            raise SchemaError(f"values asks for no function of {column!r}; give 'count', 'mean', or others")
        found += [_function(column, name, columns.get(column, ColumnType.INT64)) for name in wanted]
    return found


def _function(column: str, name: Any, kind: ColumnType) -> Function:
    match = _QUANTILE.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        check_names([name], (*FUNCTIONS, "p50", "p99.9", "approx_p99"), "values", "function")
    _check_type(column, name, kind)
    if match is None:
        return Function(column, name, kind, 0.5 if name == "median" else None)
    percent = float(match[2])
    if percent > 100:
        raise SchemaError(f"values asks for {name!r} of {column!r}; quantiles go from p0 to p100")
    return Function(column, name, kind, percent / 100)


def _check_type(column: str, name: str, kind: ColumnType) -> None:
    if column == ROWS:
        if name != "count":
            raise SchemaError(f"values asks for {name!r} of '*', which stands for rows; they can be counted")
        return
    allowed = ("count",) if kind.element is not None else _OF_TEXT
    if not kind.is_number and name not in allowed:
        raise SchemaError(
            f"values asks for {name!r} of {column!r}, which is {kind.value}; "
            f"such columns have {', '.join(allowed)}"
        )


Partials = Mapping[type[Partial], Partial]
"""What is known of one column; `Counts` among it."""


def partials_of(
    wanted: Sequence[type[Partial]], runs: RunValues, times: Array, series: Array
) -> dict[type[Partial], Partial]:
    """Find out what is wanted of one column's values in runs of rows.

    Parameters
    ----------
    wanted : sequence of types
    runs : RunValues
    times : int64 array
        Of all rows; looked at for the first and the last value only.
    series : uint64 array
        The id of each run's series.
    """
    found: dict[type[Partial], Partial] = {}
    for kind in wanted:
        if issubclass(kind, Ends):
            found[kind] = kind.of(runs, times, series)
        elif issubclass(kind, Counts):
            found[kind] = Counts(runs.counts)
        else:
            found[kind] = kind.of(runs)  # type: ignore[attr-defined]
    return found


class Results:
    """The results of functions of one column; what several quantiles need is sorted once.

    Parameters
    ----------
    partials : mapping
        What is known of g groups.
    """

    def __init__(self, partials: Partials) -> None:
        self._partials = partials
        counts = partials[Counts]
        assert isinstance(counts, Counts)
        self._counts = counts.counts
        self._ordered: dict[type[Partial], Ordered | OrderedBins] = {}

    def of(self, function: Function) -> pa.Array:
        """Return a function's results: null where there was no value.

        Raises
        ------
        SchemaError
            The sum of integers is no int64.
        """
        partial, absent = self._partials[function.partial], self._counts == 0
        if isinstance(partial, Counts):
            return array_of(partial.counts)
        if isinstance(partial, Least | Greatest | TextLeast | TextGreatest | Ends):
            return _typed(partial.values, function.kind, absent)
        if isinstance(partial, Deviations):
            return array_of(partial.sample(), self._counts < 2)
        if isinstance(partial, Sample | Bins):
            assert function.quantile is not None
            return array_of(self._order(partial).quantile(function.quantile), absent)
        assert isinstance(partial, FloatSums | IntSums)
        if function.name == "mean":
            return array_of(partial.floats() / np.maximum(self._counts, 1), absent)
        return array_of(_sums(partial, function.column), absent)

    def _order(self, partial: Sample | Bins) -> Ordered | OrderedBins:
        kind = type(partial)
        if kind not in self._ordered:
            self._ordered[kind] = partial.ordered()
        return self._ordered[kind]


def _typed(values: Array | pa.Array, kind: ColumnType, absent: Array) -> pa.Array:
    if not isinstance(values, np.ndarray):
        return values
    return array_of(values, absent).cast(kind.arrow)


def _sums(partial: FloatSums | IntSums, column: str) -> Array:
    if isinstance(partial, FloatSums):
        return partial.sums
    whole = partial.whole()
    if whole is None:
        raise SchemaError(
            f"a sum of {column!r} is beyond int64; ask for its mean and count, or for shorter spans of time"
        )
    return whole
