"""Which rows are wanted: a condition on entity columns picks series, the rest is judged row by row.

Rows are judged only after the superseded ones are gone: a row whose newer version does not match is not found
by an older one that does.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from measurefs.codec.types import ColumnType
from measurefs.fs.errors import SchemaError
from measurefs.part.part import SeriesFilter
from measurefs.part.series import Hash, entity_keys

Mask = npt.NDArray[np.bool_]
Where: TypeAlias = "Mapping[str, Any] | pc.Expression | None"
_MAX_IDS = 10_000


class Condition:
    """A ``where`` in the form a query uses.

    Attributes
    ----------
    series : SeriesFilter or None
        The condition on entity columns; None if there is none.
    columns : set of str
        The tags and fields that `rows` looks at.
    expression : pyarrow.compute.Expression or None
        A condition in that form; it may look at any column.
    """

    def __init__(
        self, where: Where, entity: Mapping[str, ColumnType], columns: Mapping[str, ColumnType], hasher: Hash
    ) -> None:
        self.expression: pc.Expression | None = where if isinstance(where, pc.Expression) else None
        wanted: dict[str, pa.Array] = {}
        if where is not None and self.expression is None:
            wanted = _wanted(where, {**entity, **columns})
        self._entities = {name: wanted[name] for name in entity if name in wanted}
        self._rows = {name: values for name, values in wanted.items() if name not in entity}
        self.columns = set(self._rows)
        self.series = self._series_filter(entity, hasher) if self._entities else None

    def listed(self) -> pa.Array | None:
        """Return the values of the only entity column in the order the caller listed them, None otherwise."""
        return next(iter(self._entities.values())) if len(self._entities) == 1 else None

    def rows(self, columns: Mapping[str, pa.Array], count: int) -> Mask | None:
        """Return which rows match, None if all do; a column that is not there is null in every row."""
        mask: Mask | None = None
        for name, values in self._rows.items():
            column = columns.get(name)
            found = np.full(count, bool(values.null_count)) if column is None else _is_in(column, values)
            mask = found if mask is None else mask & found
        return mask

    def _series_filter(self, entity: Mapping[str, ColumnType], hasher: Hash) -> SeriesFilter:
        def matches(entities: pa.RecordBatch) -> Mask:
            masks = [_is_in(entities.column(name), values) for name, values in self._entities.items()]
            return np.asarray(np.logical_and.reduce(masks))

        return SeriesFilter(matches, self._ids(entity, hasher))

    def _ids(self, entity: Mapping[str, ColumnType], hasher: Hash) -> npt.NDArray[np.uint64] | None:
        """Return the ids of all entities that can match, if every entity column is given."""
        if self._entities.keys() != entity.keys():
            return None
        lists = [self._entities[name].drop_null().to_pylist() for name in entity]
        if np.prod([float(len(values)) for values in lists]) > _MAX_IDS:
            return None
        rows = list(itertools.product(*lists))
        arrays = [
            pa.array([row[place] for row in rows], kind.arrow) for place, kind in enumerate(entity.values())
        ]
        keys = entity_keys(pa.record_batch(arrays, names=list(entity)))
        return np.unique(np.fromiter(map(hasher, keys), np.uint64, len(keys)))


def _is_in(column: pa.Array, values: pa.Array) -> Mask:
    """Return which values of a column are among these; null is found only where null is among them."""
    if pa.types.is_dictionary(column.type):
        found = np.append(np.asarray(pc.is_in(column.dictionary, value_set=values)), bool(values.null_count))
        codes = np.asarray(column.indices.fill_null(len(column.dictionary)))
        return np.asarray(found[codes])
    return np.asarray(pc.is_in(column, value_set=values))


def _wanted(where: Mapping[str, Any], known: Mapping[str, ColumnType]) -> dict[str, pa.Array]:
    if not isinstance(where, Mapping):
        raise SchemaError(
            f"cannot use {where!r} as where: give a dict such as {{'host': 'a', 'region': ['x', 'y']}}, "
            "or a pyarrow.compute expression"
        )
    check_names(where, known, "where")
    return {name: _values(name, value, known[name]) for name, value in where.items()}


def _values(name: str, value: Any, kind: ColumnType) -> pa.Array:
    if kind.element is not None:
        raise SchemaError(f"cannot compare the list column {name!r} in where; use an expression")
    many = isinstance(value, Iterable) and not isinstance(value, str | bytes | bytearray)
    if isinstance(value, pa.Scalar):
        value = value.as_py()
    listed = value.to_pylist() if isinstance(value, pa.Array | pa.ChunkedArray) else value
    try:
        wanted = pa.array(list(listed) if many else [listed])
        if kind is ColumnType.INT64 and pa.types.is_floating(wanted.type):
            return wanted.cast(kind.arrow)  # 2.0 is 2, but 1.5 is refused instead of becoming 1
        wanted = pa.array(wanted.to_pylist(), kind.arrow)
        return _with_both_zeros(wanted) if kind is ColumnType.FLOAT64 else wanted
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise SchemaError(
            f"cannot compare {name!r}, which is {kind.value}, with {value!r}: {error}"
        ) from error


def _with_both_zeros(values: pa.Array) -> pa.Array:
    """Let a zero find the zero of the other sign too: they are equal, though not to `is_in`."""
    return pa.concat_arrays([values, pc.negate(values.filter(pc.equal(values, 0.0)))])


def check_names(names: Iterable[str], known: Collection[str], what: str, kind: str = "column") -> None:
    """Raise `SchemaError`, suggesting the nearest name, unless all names are known.

    Parameters
    ----------
    names, known : str
        Names of columns, or of something else.
    what, kind : str
        Where the names were given, and what they name, for the message.
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
            raise SchemaError(f"{what} names the unknown {kind} {name!r}; {hint}")
