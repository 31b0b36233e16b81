"""Which rows are wanted: conditions on time and entity columns pick spans and series, the rest is judged row by row.

Rows are judged only after the superseded ones are gone: a row whose newer version does not match is not found
by an older one that does. A row's time and its series it shares with those that it supersedes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import compute as pc
from measurefs.codec.types import ColumnType
from measurefs.fs.errors import SchemaError
from measurefs.part.part import SeriesFilter
from measurefs.part.series import Hash, entity_keys
from measurefs.query.bounds import MAX_TIME, MIN_TIME
from measurefs.query.conditions.lowering import lower
from measurefs.query.conditions.operators import conditions
from measurefs.query.conditions.predicates import Predicate
from measurefs.query.conditions.pruning import Among, And, Bounds, Compare, Constant, Statistics
from measurefs.query.names import TIME, TIME_TYPE, VERSION, check_names

Mask = npt.NDArray[np.bool_]
Where: TypeAlias = "Mapping[str, Any] | pc.Expression | None"
Kinds: TypeAlias = "Mapping[str, ColumnType]"
_MAX_IDS = 10_000
_TRUE = Constant(True)


class Condition:
    """A ``where`` in the form a query uses.

    Parameters
    ----------
    where : mapping, pyarrow.compute.Expression or None
    entity, columns : mapping
        The measure's entity columns, and its tags and fields, with their types.
    hasher : callable
        From an entity's key to its series' id.

    Attributes
    ----------
    start, end : int
        The times it leaves, ``[start, end)``, nanoseconds since 1970-01-01 UTC.
    series : SeriesFilter or None
        All of it that looks at entity columns only; None if nothing does.
    columns : frozenset of str
        The tags and fields that `rows` looks at.
    keys : frozenset of str
        Which of ``time``, ``version`` and the entity columns `rows` looks at.
    always : bool
        Whether time and series are all that it depends on: `rows` has nothing to judge.

    Raises
    ------
    SchemaError
        It names an unknown column, or compares a column with something of another type.
    """

    def __init__(self, where: Where, entity: Kinds, columns: Kinds, hasher: Hash) -> None:
        self.start, self.end = MIN_TIME, MAX_TIME + 1
        self._rows: list[Predicate] = []
        series: list[Predicate] = []
        for predicate in _predicates(where, entity, columns):
            if predicate.bounds == _TRUE:
                continue
            names = predicate.types.keys()
            if names and names <= entity.keys():
                series.append(predicate)
            elif names != {TIME} or not self._narrow(predicate.bounds):
                self._rows.append(predicate)
        used = {name for predicate in self._rows for name in predicate.types}
        self.columns = frozenset(used & columns.keys())
        self.keys = frozenset(used - columns.keys())
        self.always = not self._rows
        self.series = _series_filter(series, entity, hasher) if series else None
        self._listed = _listed(series) if isinstance(where, Mapping) else None

    def listed(self) -> pa.Array | None:
        """Return the values of the only entity column in the order the caller listed them, None otherwise."""
        return self._listed

    def rows(self, columns: Mapping[str, pa.Array], count: int) -> Mask | None:
        """Return which rows match, None if all do.

        Parameters
        ----------
        columns : mapping of str to pyarrow.Array
            Those of `columns` and `keys`, times as timestamps or integers; strings may be dictionaries. One
            that is not there is null in every row.
        count : int
            How many rows there are.

        Raises
        ------
        SchemaError
            An expression cannot be evaluated for these values.
        """
        times = columns.get(TIME)
        if times is not None and times.type != TIME_TYPE:
            columns = {**columns, TIME: times.view(TIME_TYPE)}
        mask: Mask | None = None
        for predicate in self._rows:
            found = predicate.mask(columns, count)
            mask = found if mask is None else mask & found
        return mask

    def possible(self, statistics: Mapping[str, Statistics]) -> Mask:
        """Return which chunks may hold rows that `rows` finds.

        Parameters
        ----------
        statistics : mapping
            What is known of q chunks, by column; of number columns, and of those that the part does not have.

        Returns
        -------
        bool array, shape (q,)
            Of shape () if there are no statistics.
        """
        shape = next((len(known.rows) for known in statistics.values()), ())
        true = (
            And([predicate.bounds for predicate in self._rows]).judge(statistics).true if self._rows else True
        )
        return np.array(np.broadcast_to(true, shape))

    def _narrow(self, bounds: Bounds) -> bool:
        """Take the times that a condition leaves; return whether that is all it says."""
        start, end, whole = _span(bounds)
        self.start, self.end = max(self.start, start), min(self.end, end)
        return whole


def _predicates(where: Where, entity: Kinds, columns: Kinds) -> Iterable[Predicate]:
    if where is None:
        return ()
    if isinstance(where, pc.Expression):
        return lower(where, entity, columns)
    if not isinstance(where, Mapping):
        raise SchemaError(
            f"cannot use {where!r} as where: give a dict such as {{'host': 'a', 'region': ['x', 'y']}}, "
            "or a pyarrow.compute expression"
        )
    known = {**entity, **columns, TIME: ColumnType.INT64, VERSION: ColumnType.INT64}
    check_names(where, known, "where")
    return [each for name, given in where.items() for each in conditions(name, known[name], given)]


def _span(bounds: Bounds) -> tuple[int, int, bool]:
    """Return the times that a condition on time leaves, and whether it says nothing more."""
    if isinstance(bounds, Compare) and bounds.operator != "!=":
        value = int(bounds.value)
        start = {"==": value, ">=": value, ">": value + 1}.get(bounds.operator, MIN_TIME)
        end = {"==": value + 1, "<=": value + 1, "<": value}.get(bounds.operator, MAX_TIME + 1)
        return start, end, True
    if isinstance(bounds, Among) and bounds.values is not None:
        values = bounds.values  # null may be among them, but no time is
        if len(values) == 0:
            return MAX_TIME + 1, MIN_TIME, True
        start, end = int(values.min()), int(values.max()) + 1
        return start, end, end - start == 1
    return MIN_TIME, MAX_TIME + 1, False


def _listed(series: Sequence[Predicate]) -> pa.Array | None:
    given = [predicate.values for predicate in series if predicate.values]
    if len({name for values in given for name in values}) != 1:
        return None
    (listed,) = given[0].values()
    return listed


def _series_filter(predicates: Sequence[Predicate], entity: Kinds, hasher: Hash) -> SeriesFilter:
    def matches(entities: pa.RecordBatch) -> Mask:
        columns = dict(zip(entities.schema.names, entities.columns, strict=True))
        mask = np.ones(len(entities), np.bool_)
        for predicate in predicates:
            mask &= predicate.mask(columns, len(entities))
        return mask

    keys = _keys(predicates, entity)
    if keys is None:
        return SeriesFilter(matches)
    ids = np.array(sorted(set(map(hasher, keys))), np.uint64)
    exact = len(predicates) == len(entity) and all(predicate.exact for predicate in predicates)
    return SeriesFilter(matches, ids, frozenset(keys) if exact else None)


def _keys(predicates: Sequence[Predicate], entity: Kinds) -> list[bytes] | None:
    """Return the keys of all entities that can match, if the values of every entity column are given."""
    given: dict[str, pa.Array] = {}
    for predicate in predicates:
        for name, values in (predicate.values or {}).items():
            if name not in given or len(values) < len(given[name]):
                given[name] = values
    if len(given) < len(entity):
        return None
    if math.prod(map(len, given.values())) > _MAX_IDS:
        return None
    lists = [_as_keys(given[name]) for name in entity]
    entities = pa.RecordBatch.from_arrays(_every_pair(lists), list(entity))
    return entity_keys(entities)


def _as_keys(values: pa.Array) -> pa.Array:
    """Return values, but null, with text as its bytes, which keys are made of: to view it as such is quicker."""
    if values.null_count:
        values = values.drop_null()
    return values.view(pa.binary()) if pa.types.is_string(values.type) else values


def _every_pair(lists: Sequence[pa.Array]) -> Sequence[pa.Array]:
    """Return columns that hold each value of one list with each of the others."""
    if len(lists) == 1:
        return lists
    places = np.meshgrid(*(np.arange(len(values)) for values in lists), indexing="ij")
    return [values.take(pa.array(at.ravel())) for values, at in zip(lists, places, strict=True)]
