"""Rows for the buckets in which there were none."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.fs.errors import SchemaError
from measurefs.query.aggregation.buckets import Buckets

Fill: TypeAlias = "str | float | None"
Ints = npt.NDArray[np.int64]

METHODS = ("null", "previous", "linear")
_MOST_ROWS = 100_000_000


def check_fill(fill: Any, columns: pa.Schema, counts: Sequence[str]) -> None:
    """Raise `SchemaError` unless the columns of a result, but for the counts, can be filled like that."""
    if fill in (None, "null", "previous"):
        return
    number = isinstance(fill, numbers.Real) and not isinstance(fill, bool | np.bool_)
    if fill != "linear" and not number:
        raise SchemaError(
            f"cannot use {fill!r} as fill; give {', '.join(map(repr, METHODS))}, a number, or None"
        )
    for column in columns:
        if column.name in counts:
            continue
        whole = pa.types.is_integer(column.type)
        if not whole and not pa.types.is_floating(column.type):
            raise SchemaError(
                f"cannot fill {column.name!r}, which is {column.type}, with {fill!r}; give 'previous' or 'null'"
            )
        if whole and number and not _is_int64(fill):
            raise SchemaError(
                f"cannot fill {column.name!r}, which is {column.type}, with {fill!r}; give a whole number"
            )


def _is_int64(value: Any) -> bool:
    return float(value).is_integer() and -(2**63) <= value < 2**63


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """A row for each of b buckets in each of g groups, bucket by bucket.

    Attributes
    ----------
    times : int64 array, shape (b,)
        When each bucket begins.
    groups : int
    sources : int64 array, shape (b * g,)
        The row of a result without empty buckets that belongs there, -1 where there is none.
    """

    times: Ints
    groups: int
    sources: Ints

    @classmethod
    def of(cls, times: Ints, groups: int, buckets: Ints, ids: Ints) -> Sheet:
        """Lay out a result.

        Parameters
        ----------
        times : int64 array, shape (b,)
            When each bucket of the sheet begins.
        groups : int
        buckets, ids : int64 array
            When the bucket of each row of the result begins, and its group.
        """
        sources = np.full(len(times) * groups, -1, np.int64)
        sources[np.searchsorted(times, buckets) * groups + ids] = np.arange(len(buckets))
        return cls(times, groups, sources)

    def laid_out(self, column: pa.Array) -> pa.Array:
        """Return a column of the result, null in the rows that are new."""
        if len(column) == 0:
            return pa.nulls(len(self.sources), column.type)
        return column.take(pa.array(np.maximum(self.sources, 0), mask=self.sources < 0))

    def filled(self, column: pa.Array, fill: Fill) -> pa.Array:
        """Return a column of the result, with a value wherever there was none, as far as there can be one."""
        column = self.laid_out(column)
        if fill is None or fill == "null" or column.null_count == 0:
            return column
        if fill == "previous":
            rows = self._nearest(np.asarray(column.is_valid()), before=True)
            return column.take(pa.array(np.maximum(rows, 0), mask=rows < 0))
        if fill == "linear":
            return self._interpolated(column)
        return column.fill_null(pa.scalar(fill).cast(column.type))

    def _nearest(self, valid: npt.NDArray[np.bool_], *, before: bool) -> Ints:
        """Return for each row the nearest one of its group that has a value, up to it or from it on; -1 if none."""
        rows = np.where(valid, np.arange(len(valid)), -1 if before else len(valid))
        by_bucket = rows.reshape(len(self.times), self.groups)
        if before:
            return np.asarray(np.maximum.accumulate(by_bucket, axis=0)).ravel()
        found = np.minimum.accumulate(by_bucket[::-1], axis=0)[::-1].ravel()
        return np.where(found == len(valid), -1, found)

    def _interpolated(self, column: pa.Array) -> pa.Array:
        """Draw a line between the values around an empty bucket; whole numbers are rounded."""
        valid = np.asarray(column.is_valid())
        before, after = self._nearest(valid, before=True), self._nearest(valid, before=False)
        gaps = np.flatnonzero(~valid & (before >= 0) & (after >= 0))
        values = np.asarray(column.fill_null(0)).copy()
        times = self.times.astype(np.float64)
        low, here, high = (rows // self.groups for rows in (before[gaps], gaps, after[gaps]))
        share = (times[here] - times[low]) / (times[high] - times[low])
        first, second = values[before[gaps]].astype(np.float64), values[after[gaps]].astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            line = first * (1 - share) + second * share
        if values.dtype == np.int64:
            line = np.clip(np.rint(line), -(2.0**63), np.nextafter(2.0**63, 0))
        values[gaps] = line.astype(values.dtype)
        known = valid.copy()
        known[gaps] = True
        return pa.array(values, mask=~known)


def filled_times(buckets: Buckets, first: int, last: int, groups: int) -> Ints:
    """Return when all buckets begin that hold the times from first to last, for a sheet of so many groups.

    Raises
    ------
    SchemaError
        There would be too many rows.
    """
    if first > last:
        return np.zeros(0, np.int64)
    times = buckets.between(first, last, _MOST_ROWS // max(groups, 1))
    if times is None:
        raise SchemaError(
            f"fill would make more than {_MOST_ROWS:,} rows; give a longer every, a start and end closer to each "
            "other, or fewer groups"
        )
    return times
