"""Entries: what is known of groups of rows, found from rows or from summaries, and put together by key."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from measurefs.codec.memory import array_of
from measurefs.codec.types import ColumnType
from measurefs.part.runs import positions_of
from measurefs.part.series import SeriesTable, narrowed
from measurefs.query.aggregation.buckets import Buckets
from measurefs.query.aggregation.cutting import Bucketed, Cut, changes, cut_at, cut_at_buckets
from measurefs.query.aggregation.functions import partials_of
from measurefs.query.aggregation.groups import Array, Codes, Grouping, Ints, dense, encoded, mixed
from measurefs.query.aggregation.partials import Counts, Partial
from measurefs.query.aggregation.run_values import RunValues
from measurefs.query.aggregation.vectors import Vector

_WIDE = 1 << 40


class Stretch(Protocol):
    """Rows of some runs, as arrays that may hold other rows between them.

    Attributes
    ----------
    series : SeriesTable
    codes : int array, shape (r,)
        The position of each run's series in it.
    starts, stops : int64 array, shape (r,)
        Its rows ``[start, stop)``, in order of time. Runs are in order of (series, time) and have no row in common.
    times : int64 array
        Of the rows; looked at only where `Aggregation.needs_times`.
    """

    @property
    def series(self) -> SeriesTable: ...  # noqa: D102
    @property
    def codes(self) -> Array: ...  # noqa: D102
    @property
    def starts(self) -> Ints: ...  # noqa: D102
    @property
    def stops(self) -> Ints: ...  # noqa: D102
    @property
    def times(self) -> Ints: ...  # noqa: D102

    def column(self, name: str) -> Vector | pa.Array | None:
        """Return a tag or field; None if all rows lack it."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is wanted of rows.

    Attributes
    ----------
    buckets : Buckets or None
    by : mapping
        The columns to group by and their types.
    entity : set of str
        Which of these are entity columns.
    whole_entity : bool
        Whether they are all entity columns of the measure: then each series is a group, or several.
    values : mapping
        Of each column its type and what must be known.
    ends : bool
        Whether first or last values are among it.
    """

    buckets: Buckets | None
    by: Mapping[str, ColumnType]
    entity: frozenset[str]
    whole_entity: bool
    values: Mapping[str, tuple[ColumnType, Sequence[type[Partial]]]]
    ends: bool

    @property
    def needs_times(self) -> bool:
        """Whether the time of each row matters."""
        return self.buckets is not None or self.ends

    @property
    def tags(self) -> dict[str, ColumnType]:
        """The tags to group by."""
        return {name: kind for name, kind in self.by.items() if name not in self.entity}


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """What is known of u groups of rows; after `combined`, no two of them have the same bucket and keys.

    Attributes
    ----------
    buckets : int64 array or None
        When the bucket of each begins.
    keys : list of pyarrow.Array
        The values of the columns to group by.
    rows : Counts
    values : mapping
        For each column what is known.
    """

    buckets: Ints | None
    keys: list[pa.Array]
    rows: Counts
    values: Mapping[str, Mapping[type[Partial], Partial]]

    def __len__(self) -> int:
        return len(self.rows.counts)


def of_stretch(stretch: Stretch, wanted: Wanted) -> Entries | None:
    """Find out what is wanted of the rows of a stretch, group by group; None if it has none."""
    runs = _Runs.of(stretch, wanted)
    if runs is None:
        return None
    with np.errstate(all="ignore"):  # infinities, NaN, and what is beyond float64 have their results too
        return _of_runs(runs, wanted)


@dataclasses.dataclass(slots=True, eq=False)
class _Runs:
    """Runs in order of their rows, none of them empty, that are not far apart."""

    series: SeriesTable
    codes: Array
    starts: Ints
    stops: Ints
    times: Ints
    vectors: dict[str, Vector]

    @classmethod
    def of(cls, stretch: Stretch, wanted: Wanted) -> _Runs | None:
        starts, stops, codes = stretch.starts, stretch.stops, stretch.codes
        held = stops > starts
        if not held.all():
            starts, stops, codes = starts[held], stops[held], codes[held]
        if len(starts) == 0:
            return None
        if (starts[1:] < starts[:-1]).any():
            order = np.argsort(starts, kind="stable")
            starts, stops, codes = starts[order], stops[order], codes[order]
        count = int(stops[-1])
        kinds = {**wanted.tags, **{name: kind for name, (kind, _) in wanted.values.items()}}
        vectors = {name: Vector.of(stretch.column(name), kind, name, count) for name, kind in kinds.items()}
        series, times = stretch.series, stretch.times
        if len(series) > len(codes):
            series, codes = narrowed(series, codes)
        lengths = stops - starts
        if 2 * int(lengths.sum()) < count - int(starts[0]):
            rows = positions_of(starts, stops)
            vectors = {name: vector.gathered(rows) for name, vector in vectors.items()}
            times = times[rows] if wanted.needs_times else times
            stops = np.cumsum(lengths)
            starts = stops - lengths
        return cls(series, codes, starts, stops, times, vectors)

    def cut(self, cut: Cut) -> None:
        self.codes = cut.of(self.codes)
        self.starts, self.stops = cut.starts, cut.stops


def _of_runs(runs: _Runs, wanted: Wanted) -> Entries:
    tags = {name: runs.vectors[name].coded() for name in wanted.tags}
    rows = [_changes(tag, runs) for tag in tags.values()]
    if rows:
        where = rows[0] if len(rows) == 1 else np.unique(np.concatenate(rows))
        runs.cut(cut_at(runs.starts, runs.stops, where))
    buckets = None
    if wanted.buckets is not None:
        cut, buckets = cut_at_buckets(runs.times, runs.starts, runs.stops, wanted.buckets)
        runs.cut(cut)
    codes = {name: _codes_at(tag, runs.starts, wanted.by[name]) for name, tag in tags.items()}
    keyed = Keyed.of(runs.series, runs.codes, codes, buckets, wanted)
    series = runs.series.ids[runs.codes] if wanted.ends else runs.series.ids[:0]
    values = {}
    for name, (_, kinds) in wanted.values.items():
        held = RunValues(runs.vectors[name], runs.starts, runs.stops)
        values[name] = partials_of(kinds, held, runs.times, series)
    return keyed.entries(Counts(runs.stops - runs.starts), values)


def _changes(tag: Vector, runs: _Runs) -> Ints:
    assert tag.values is not None
    span = slice(int(runs.starts[0]), int(runs.stops[-1]))
    return changes(tag.values[span], None if tag.valid is None else tag.valid[span], runs.starts)


def _codes_at(tag: Vector, rows: Ints, kind: ColumnType) -> Codes:
    """Return a tag's values in these rows."""
    assert tag.values is not None
    missing = None if tag.valid is None else ~tag.valid[rows]
    values = tag.values[rows]
    if kind is ColumnType.BOOL:
        values = values.astype(np.bool_)
    found = encoded(pa.array(values, mask=missing))
    return found if tag.dictionary is None else found._replace(values=tag.dictionary.take(found.values))


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Keyed:
    """Which of some runs or blocks belong together."""

    groups: Grouping
    columns: list[Codes]
    buckets: Bucketed | None

    @classmethod
    def of(
        cls,
        series: SeriesTable,
        codes: Array,
        tags: Mapping[str, Codes],
        buckets: Bucketed | None,
        wanted: Wanted,
    ) -> Keyed:
        """Group u runs or blocks.

        Parameters
        ----------
        series : SeriesTable
        codes : int array, shape (u,)
            The position of each one's series in it.
        tags : mapping
            The values of the tags to group by, u each.
        buckets : Bucketed or None
            Their buckets.
        wanted : Wanted
        """
        columns: list[Codes] = []
        factors: list[tuple[Array, int]] = [(codes, len(series))] if wanted.whole_entity else []
        for name in wanted.by:
            if name in tags:
                columns.append(tags[name])
            elif wanted.whole_entity:
                columns.append(Codes(codes, len(series), series.entities.column(name)))
                continue
            else:
                entity = encoded(series.entities.column(name))
                columns.append(entity._replace(codes=entity.codes[codes]))
            factors.append((columns[-1].codes, columns[-1].bound))
        if buckets is not None:
            factors.append(_bucket_codes(buckets.numbers))
        return cls(Grouping.of(*dense(*mixed(factors, len(codes)))), columns, buckets)

    def entries(self, rows: Counts, values: Mapping[str, Mapping[type[Partial], Partial]]) -> Entries:
        """Put together what is known of each group."""
        groups, firsts = self.groups, self.groups.firsts()
        return Entries(
            None if self.buckets is None else self.buckets.starts(firsts),
            [column.at(firsts) for column in self.columns],
            rows.grouped(groups),
            {
                name: {kind: partial.grouped(groups) for kind, partial in partials.items()}
                for name, partials in values.items()
            },
        )


def _bucket_codes(numbers: Ints) -> tuple[Array, int]:
    """Return codes of buckets, in their order where they are close to each other."""
    low, high = int(numbers.min()), int(numbers.max())
    if high - low < _WIDE:
        return numbers - low, high - low + 1
    found = array_of(numbers).dictionary_encode()
    return np.asarray(found.indices), len(found.dictionary)


class _Starts:
    """Buckets numbered by when they begin."""

    def numbers(self, times: Ints) -> Ints:
        return times

    def starts(self, numbers: Ints) -> Ints:
        return numbers


def combined(pieces: Sequence[Entries]) -> Entries:
    """Put together the entries of several, so that those with the same bucket and keys become one."""
    first = pieces[0]
    keys = [
        encoded(pa.concat_arrays([piece.keys[place] for piece in pieces])) for place in range(len(first.keys))
    ]
    buckets = None
    if first.buckets is not None:
        starts = np.concatenate([piece.buckets for piece in pieces if piece.buckets is not None])
        buckets = Bucketed(starts, _Starts())
    factors: list[tuple[Array, int]] = [(key.codes, key.bound) for key in keys]
    if buckets is not None:
        factors.append(_bucket_codes(buckets.numbers))
    rows = Counts.joined([piece.rows for piece in pieces])
    values = {
        name: {kind: kind.joined([piece.values[name][kind] for piece in pieces]) for kind in partials}
        for name, partials in first.values.items()
    }
    groups = Grouping.of(*dense(*mixed(factors, len(rows.counts))))
    with np.errstate(all="ignore"):
        return Keyed(groups, keys, buckets).entries(rows, values)
