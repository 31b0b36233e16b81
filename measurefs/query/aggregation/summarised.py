"""What summaries of blocks can tell, so that these need not be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec.types import ColumnType
from measurefs.part.part import Blocks
from measurefs.part.summary import ColumnSummary, NumberSummary, ValueSummary
from measurefs.query.aggregation.cutting import Bucketed
from measurefs.query.aggregation.ends import Ends, First, Last
from measurefs.query.aggregation.entries import Entries, Keyed, Wanted
from measurefs.query.aggregation.groups import Array, Codes, Ints, encoded
from measurefs.query.aggregation.partials import (
    Counts,
    Deviations,
    FloatSums,
    Greatest,
    IntSums,
    Least,
    Partial,
)

Mask = npt.NDArray[np.bool_]
Summaries = Mapping[str, ColumnSummary]
"""What is known of each tag and field; those that the part does not have are not there."""


def is_possible(wanted: Wanted) -> bool:
    """Whether summaries hold what is wanted, of columns of numbers at least."""
    return all(
        _SUMMARISED.issuperset(each for each in partials if each is not Counts)
        for _, partials in wanted.values.values()
    )


def answered(blocks: Blocks, summaries: Summaries | None, wanted: Wanted) -> Mask:
    """Return which blocks need no reading, if all of their rows count.

    Parameters
    ----------
    blocks : Blocks
        b of them.
    summaries : mapping or None
        Arrays of shape (b,); None if nothing is known of the columns.
    wanted : Wanted
    """
    mask = np.ones(len(blocks.codes), np.bool_)
    if len(mask) == 0:
        return mask
    if summaries is None and (wanted.tags or wanted.values):
        return np.zeros(len(mask), np.bool_)
    if wanted.buckets is not None:
        grid = wanted.buckets.grid(int(blocks.min_times.min()), int(blocks.max_times.max()))
        mask &= grid.numbers(blocks.min_times) == grid.numbers(blocks.max_times)
    known = {} if summaries is None else summaries
    for name, kind in wanted.tags.items():
        if name in known and mask.any():
            mask &= _is_constant(known[name], kind, blocks.rows)
    for name, (kind, partials) in wanted.values.items():
        if name in known and mask.any():
            mask &= _is_known(known[name], kind, partials, blocks.rows)
    return mask


def _is_constant(summary: ColumnSummary, kind: ColumnType, rows: Ints) -> Mask:
    """Return in which blocks a tag has one value, or none."""
    nothing: Mask = summary.nulls == rows
    if kind is ColumnType.FLOAT64 or not isinstance(summary, NumberSummary | ValueSummary):
        return nothing  # a NaN does not show
    same = (summary.nulls == 0) & (summary.low == summary.high)
    if isinstance(summary, ValueSummary):
        same &= summary.low >= 0
    return np.asarray(nothing | same)


def _is_known(
    summary: ColumnSummary, kind: ColumnType, partials: Sequence[type[Partial]], rows: Ints
) -> Mask:
    """Return in which blocks all that is wanted of a column is known."""
    nothing: Mask = summary.nulls == rows
    rest = [partial for partial in partials if partial is not Counts]
    known = np.ones(len(rows), np.bool_)
    if not rest:
        return known
    if not isinstance(summary, NumberSummary) or not _SUMMARISED.issuperset(rest):
        return nothing
    if not _SUMS.isdisjoint(rest):
        known &= ~summary.overflow
    if (
        kind is ColumnType.FLOAT64 and summary.sum.dtype != np.float64
    ):  # it was int64; who reads it finds what is inexact
        known &= (summary.low >= -_EXACT) & (summary.high <= _EXACT)
    if First in rest:
        known &= summary.first_row == 0
    if Last in rest:
        known &= summary.last_row == rows - 1
    return np.asarray(nothing | known)


_EXACT = 1 << 53
_SUMS: frozenset[type[Partial]] = frozenset({FloatSums, IntSums, Deviations})
_SUMMARISED: frozenset[type[Partial]] = _SUMS | {Least, Greatest, First, Last}


def of_summaries(
    blocks: Blocks,
    summaries: Summaries | None,
    dictionaries: Mapping[str, pa.Array],
    which: Mask,
    wanted: Wanted,
) -> Entries | None:
    """Find out what is wanted of blocks that are `answered`; None of no blocks.

    Parameters
    ----------
    blocks, summaries
        As for `answered`.
    dictionaries : mapping
        The dictionaries of the tags to group by, where they have one.
    which : bool array, shape (b,)
        Which blocks to take.
    wanted : Wanted
    """
    chosen = np.flatnonzero(which)
    if len(chosen) == 0:
        return None
    taken = blocks.those(chosen)
    buckets = None
    if wanted.buckets is not None:
        grid = wanted.buckets.grid(int(taken.min_times.min()), int(taken.min_times.max()))
        buckets = Bucketed(grid.numbers(taken.min_times), grid)
    known = {} if summaries is None else summaries
    with np.errstate(all="ignore"):
        tags = {
            name: _tag(known.get(name), dictionaries.get(name), kind, blocks.rows, chosen)
            for name, kind in wanted.tags.items()
        }
        values = {
            name: _Column(known.get(name), kind, taken, chosen).partials(partials)
            for name, (kind, partials) in wanted.values.items()
        }
        return Keyed.of(taken.series, taken.codes, tags, buckets, wanted).entries(Counts(taken.rows), values)


def _tag(
    summary: ColumnSummary | None, dictionary: pa.Array | None, kind: ColumnType, rows: Ints, chosen: Ints
) -> Codes:
    """Return a tag's value in each of the chosen blocks."""
    if summary is None:
        return encoded(pa.nulls(len(chosen), kind.arrow))
    assert isinstance(summary, NumberSummary | ValueSummary)
    values, missing = summary.low[chosen], (summary.nulls == rows)[chosen]
    if isinstance(summary, NumberSummary):
        values = values.astype(np.bool_) if kind is ColumnType.BOOL else values
        return encoded(pa.array(values, kind.arrow, mask=missing))
    if dictionary is None or missing.all():
        return encoded(pa.nulls(len(chosen), kind.arrow))
    found = encoded(pa.array(values, mask=missing))
    return found._replace(values=dictionary.take(found.values).cast(kind.arrow))


class _Column:
    """What is known of a column in the chosen blocks."""

    def __init__(self, summary: ColumnSummary | None, kind: ColumnType, blocks: Blocks, chosen: Ints) -> None:
        self._blocks = blocks
        self._kind = kind
        self._summary = summary
        self._chosen = chosen
        self._counts = (
            np.zeros(len(chosen), np.int64) if summary is None else blocks.rows - summary.nulls[chosen]
        )
        self._present = self._counts > 0

    def partials(self, wanted: Sequence[type[Partial]]) -> dict[type[Partial], Partial]:
        return {kind: self._partial(kind) for kind in wanted}

    def _partial(self, kind: type[Partial]) -> Partial:
        if kind is Counts:
            return Counts(self._counts)
        if not self._present.any():
            return kind.nothing(len(self._present), self._kind)
        if issubclass(kind, Ends):
            values = self._of("last" if kind.last else "first")
            times = self._blocks.max_times if kind.last else self._blocks.min_times
            return kind(values, times, self._blocks.series.ids[self._blocks.codes], self._present)
        if issubclass(kind, Least | Greatest):
            return kind.of_summary(self._of("low" if kind is Least else "high"), self._present)
        sums = self._of("sum")
        if kind is Deviations:
            return Deviations(self._counts, sums / np.maximum(self._counts, 1), self._of("m2"))
        return FloatSums(sums) if kind is FloatSums else IntSums.of_whole(sums)

    def _of(self, name: str) -> Array:
        array: Array = getattr(self._summary, name)[self._chosen]
        return array.astype(np.float64, copy=False) if self._kind is ColumnType.FLOAT64 else array
