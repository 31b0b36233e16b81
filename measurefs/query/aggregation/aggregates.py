"""Aggregates: what is asked for, and how its result comes together from what is known of many pieces."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec.memory import array_of
from measurefs.codec.types import ColumnType
from measurefs.fs.errors import SchemaError
from measurefs.part.part import Blocks
from measurefs.query.aggregation import summarised
from measurefs.query.aggregation.buckets import Buckets, Every, parse_buckets
from measurefs.query.aggregation.ends import Ends
from measurefs.query.aggregation.entries import Entries, Stretch, Wanted, combined, of_stretch
from measurefs.query.aggregation.filling import Fill, Sheet, check_fill, filled_times
from measurefs.query.aggregation.functions import ROWS, Function, Results, Values, parse_values
from measurefs.query.aggregation.groups import Ints, mixed, ranked
from measurefs.query.aggregation.partials import Counts, Partial
from measurefs.query.aggregation.sorting import order_of
from measurefs.query.aggregation.summarised import Summaries
from measurefs.query.names import TIME, TIME_TYPE, check_names

_MOST_PENDING = 1 << 18


class Aggregation:
    """What an aggregate asks for; it never changes, and any number of threads may use it.

    Parameters
    ----------
    entity, tags, fields : mapping
        The measure's columns and their types.
    every, origin, timezone
        See `parse_buckets`; an `every` of None is all of time.
    by : str or sequence of str
        Entity columns and tags to group by.
    values : mapping or None
        See `parse_values`.
    fill : str, number or None
        What stands where a group has no value in a bucket: None leaves out the buckets without rows.
    start, end : int or None
        The span of time asked for, ``[start, end)``, as far as the user gave it: empty buckets in it are filled too.

    Attributes
    ----------
    schema : pyarrow.Schema
        The result: time (if there are buckets), the columns to group by, the functions.
    columns : list of str
        The tags and fields that must be read.
    needs_times : bool
        Whether the times of rows that are read must be known.
    summarisable : bool
        Whether summaries can tell what is wanted of any block.

    Raises
    ------
    SchemaError
        Something of it does not fit the measure.
    """

    def __init__(
        self,
        entity: Mapping[str, ColumnType],
        tags: Mapping[str, ColumnType],
        fields: Mapping[str, ColumnType],
        *,
        every: Every | None = None,
        origin: Any = None,
        timezone: str | datetime.tzinfo = "UTC",
        by: str | Sequence[str] = (),
        values: Values | None = None,
        fill: Fill = None,
        start: int | None = None,
        end: int | None = None,
    ) -> None:
        grouped = _parse_by(by, entity, tags, fields)
        self.functions = parse_values(values, {**tags, **fields})
        self.fill = fill
        self.start, self.end = start, end
        self._wanted = Wanted(
            buckets=_parse_every(every, origin, timezone, fill),
            by=grouped,
            entity=frozenset(grouped) & entity.keys(),
            whole_entity=grouped.keys() >= entity.keys(),
            values=_needed(self.functions),
            ends=any(issubclass(function.partial, Ends) for function in self.functions),
        )
        results = pa.schema([(function.title, function.arrow) for function in self.functions])
        check_fill(fill, results, [function.title for function in self.functions if function.name == "count"])
        keys = [(TIME, TIME_TYPE)] if every is not None else []
        keys += [(name, kind.arrow) for name, kind in grouped.items()]
        self.schema = pa.schema([*keys, *results])
        _check_titles(self.schema.names)
        self.columns = list(dict.fromkeys([*self._wanted.tags, *self._wanted.values]))
        self.needs_times = self._wanted.needs_times
        self.summarisable = summarised.is_possible(self._wanted)

    def answered(self, blocks: Blocks, summaries: Summaries | None) -> npt.NDArray[np.bool_]:
        """Return which blocks need no reading, if all of their rows count; see `summarised.answered`."""
        return summarised.answered(blocks, summaries, self._wanted)

    def of_summaries(
        self,
        blocks: Blocks,
        summaries: Summaries | None,
        dictionaries: Mapping[str, pa.Array],
        which: npt.NDArray[np.bool_],
    ) -> Entries | None:
        """Find out what is wanted of some blocks that are `answered`; see `summarised.of_summaries`."""
        return summarised.of_summaries(blocks, summaries, dictionaries, which, self._wanted)

    def of_stretch(self, stretch: Stretch) -> Entries | None:
        """Find out what is wanted of rows that were read, all of which count."""
        return of_stretch(stretch, self._wanted)

    def accumulate(self, most_pending: int = _MOST_PENDING) -> Accumulation:
        """Begin a result; entries are put together when there are more than so many, and than groups."""
        return Accumulation(self, most_pending)

    # What follows makes the result.

    def result(self, entries: Entries | None) -> pa.Table:
        """Return the result, ordered and filled.

        Parameters
        ----------
        entries : Entries or None
            Combined; None of nothing.

        Raises
        ------
        SchemaError
            The sum of integers is no int64, or filling would make too many rows.
        """
        wanted = self._wanted
        if entries is None:
            entries = self._nothing(0 if wanted.by or wanted.buckets is not None else 1)
        arrays = self._results(entries)
        if wanted.buckets is None:
            order = order_of(entries.keys[0]) if len(entries.keys) == 1 else np.argsort(_codes(entries))
            columns = [*entries.keys, *arrays]
        else:
            assert entries.buckets is not None
            if self.fill is not None:
                return self._filled(entries, arrays)
            order = np.lexsort((_codes(entries), entries.buckets))
            columns = [array_of(entries.buckets).view(TIME_TYPE), *entries.keys, *arrays]
        if len(order) > 1 and (np.diff(order) != 1).any():
            columns = [column.take(array_of(order)) for column in columns]
        return pa.table(columns, schema=self.schema)

    def _nothing(self, count: int) -> Entries:
        """Return so many groups without rows."""
        wanted = self._wanted
        values = {
            name: {partial: partial.nothing(count, kind) for partial in partials}
            for name, (kind, partials) in wanted.values.items()
        }
        keys = [pa.nulls(count, kind.arrow) for kind in wanted.by.values()]
        none = np.zeros(count, np.int64)
        return Entries(None if wanted.buckets is None else none, keys, Counts(none), values)

    def _results(self, entries: Entries) -> list[pa.Array]:
        results = {name: Results(partials) for name, partials in entries.values.items()}
        with np.errstate(all="ignore"):
            return [
                array_of(entries.rows.counts)
                if function.column == ROWS
                else results[function.column].of(function)
                for function in self.functions
            ]

    def _filled(self, entries: Entries, arrays: Sequence[pa.Array]) -> pa.Table:
        """Return the result with a row for each bucket of each group."""
        wanted, buckets = self._wanted, entries.buckets
        assert wanted.buckets is not None
        assert buckets is not None
        if not len(buckets) and (wanted.by or self.start is None or self.end is None):
            return self.schema.empty_table()
        distinct, ids = np.unique(_codes(entries), return_inverse=True)
        example = np.empty(len(distinct), np.int64)
        example[ids] = np.arange(len(ids))
        groups = len(distinct) if wanted.by else 1
        first = int(buckets.min()) if self.start is None else self.start
        last = max(first, int(buckets.max())) if self.end is None else self.end - 1
        times = filled_times(wanted.buckets, first, last, groups)
        sheet = Sheet.of(times, groups, buckets, ids)
        columns = [array_of(np.repeat(times, groups)).view(TIME_TYPE)]
        groups_of_rows = np.tile(example, len(times)) if wanted.by else example
        columns += [key.take(array_of(groups_of_rows)) for key in entries.keys]
        for function, array in zip(self.functions, arrays, strict=True):
            columns.append(sheet.filled(array, 0 if function.name == "count" else self.fill))
        return pa.table(columns, schema=self.schema)


def _codes(entries: Entries) -> Ints:
    """Return codes of the keys, in their order."""
    keys = [ranked(key) for key in entries.keys]
    codes, _ = mixed([(key.codes, key.bound) for key in keys], len(entries), in_order=True)
    return codes


class Accumulation:
    """A result in the making: it holds what is known of each group, and nothing of the rows.

    (But for exact quantiles, which need all values.) For one thread at a time; the order in which entries are added
    decides how float sums are rounded, and which of several series with the same id comes first.
    """

    def __init__(self, aggregation: Aggregation, most_pending: int) -> None:
        self._aggregation = aggregation
        self._most_pending = most_pending
        self._combined: Entries | None = None
        self._pending: list[Entries] = []
        self._count = 0

    def add(self, entries: Entries | None) -> None:
        """Take what is known of some rows."""
        if entries is None:
            return
        self._pending.append(entries)
        self._count += len(entries)
        held = 0 if self._combined is None else len(self._combined)
        if self._count > max(self._most_pending, held):
            self._combine()

    def finish(self) -> pa.Table:
        """Return the result."""
        self._combine()
        return self._aggregation.result(self._combined)

    def _combine(self) -> None:
        pieces = self._pending if self._combined is None else [self._combined, *self._pending]
        if self._pending:
            self._combined = pieces[0] if len(pieces) == 1 else combined(pieces)
        self._pending, self._count = [], 0


def _parse_every(every: Every | None, origin: Any, timezone: Any, fill: Fill) -> Buckets | None:
    if every is not None:
        return parse_buckets(every, origin, timezone)
    if origin is not None or fill is not None:
        name = "origin" if origin is not None else "fill"
        raise SchemaError(
            f"{name} says something of buckets of time, and there are none; give every='1h' or so"
        )
    return None


def _parse_by(
    by: str | Sequence[str],
    entity: Mapping[str, ColumnType],
    tags: Mapping[str, ColumnType],
    fields: Mapping[str, ColumnType],
) -> dict[str, ColumnType]:
    names = [by] if isinstance(by, str) else list(by)
    allowed = {**entity, **tags}
    for name in names:
        if name in fields:
            raise SchemaError(
                f"by names the field {name!r}; groups are made by entity columns and tags: {', '.join(allowed)}"
            )
        if name == TIME:
            raise SchemaError("by names 'time'; to group by time, give every='1h' or so")
    check_names(names, allowed, "by")
    if len(set(names)) < len(names):
        raise SchemaError(f"by names a column twice: {', '.join(names)}")
    for name in names:
        if allowed[name].element is not None:
            raise SchemaError(
                f"cannot group by {name!r}, which is {allowed[name].value}; choose another tag, or pick rows by it "
                f"with where={{{name!r}: ...}}"
            )
    return {name: allowed[name] for name in names}


def _needed(functions: Sequence[Function]) -> dict[str, tuple[ColumnType, Sequence[type[Partial]]]]:
    """Return for each column its type and what must be known, the count among it."""
    needed: dict[str, tuple[ColumnType, dict[type[Partial], None]]] = {}
    for function in functions:
        if function.column != ROWS:
            needed.setdefault(function.column, (function.kind, {Counts: None}))[1][function.partial] = None
    return {name: (kind, list(partials)) for name, (kind, partials) in needed.items()}


def _check_titles(names: Sequence[str]) -> None:
    for name, same in itertools.groupby(sorted(names)):
        if len(list(same)) > 1:
            raise SchemaError(f"the result would have two columns named {name!r}; ask for one of them only")
