"""Rows on their way to the result: columns, and which series each row belongs to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import compute as pc
from measurefs.codec.columns import values_of
from measurefs.codec.memory import array_of
from measurefs.codec.widening import widened
from measurefs.part.part import TIME, VERSION
from measurefs.part.rows import concat_columns, gather
from measurefs.part.runs import Positions, positions_of
from measurefs.query.ordering import group_order

Mask = npt.NDArray[np.bool_]

MANY = 1 << 14
"""So many rows are worth another thread."""

_LONG_RUN = 4


class Later(Mapping[str, pa.Array]):
    """Columns that are made when they are asked for, each once; so several threads can make several.

    Parameters
    ----------
    names : collection of str
    make : callable
        From a name to the column.
    """

    def __init__(self, names: Collection[str], make: Callable[[str], pa.Array]) -> None:
        self._names = names
        self._make = make
        self._made: dict[str, pa.Array] = {}

    def __getitem__(self, name: str) -> pa.Array:
        if name not in self._made:
            if name not in self._names:
                raise KeyError(name)
            self._made[name] = self._make(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _changed(
    columns: Mapping[str, pa.Array], change: Callable[[pa.Array], pa.Array]
) -> Mapping[str, pa.Array]:
    """Return what columns become: later, if they are there only then."""
    if isinstance(columns, Later):
        return Later(columns, lambda name: change(columns[name]))
    return {name: change(column) for name, column in columns.items()}


class Slab:
    """Rows as runs: the rows of one run follow one another in a block, in order of time.

    Attributes
    ----------
    runs : int64 array, shape (r,)
        The block of the layout that each run is of.
    lengths : int64 array, shape (r,)
        Rows of each run.
    columns : mapping of str to pyarrow.Array
        As long as all runs together.
    """

    def __init__(self, runs: Positions, lengths: Positions, columns: Mapping[str, pa.Array]) -> None:
        self.runs = runs
        self.lengths = lengths
        self.columns = columns
        self._rows = int(lengths.sum())

    def __len__(self) -> int:
        return self._rows

    @property
    def times(self) -> npt.NDArray[np.int64]:
        """The rows' times; they are loaded."""
        return np.asarray(values_of(self.columns[TIME]))

    def blocks(self) -> Positions:
        """Return the block of each row."""
        if len(self.runs) == len(self) and (self.lengths == 1).all():
            return self.runs
        return np.repeat(self.runs, self.lengths)

    def spread(self, values: pa.Array, codes: Positions) -> pa.Array:
        """Return a value for each row: the one at the code of its block."""
        if len(values) == 1 or len(self.runs) == 1:
            return pa.repeat(values[int(codes[self.runs[0]])] if len(self) else values[0], len(self))
        if _LONG_RUN * len(self.runs) > len(self):
            return pc.take(values, array_of(codes[self.blocks()]))
        held = self.lengths.nonzero()[0]
        found = pc.take(values, array_of(codes[self.runs[held]]))
        ends = array_of(np.cumsum(self.lengths[held]))
        kind = pa.run_end_encoded(ends.type, found.type)
        runs = pa.RunEndEncodedArray.from_buffers(kind, len(self), [None], 0, 0, [ends, found])
        return pc.run_end_decode(runs)

    def run_numbers(self) -> Positions:
        """Return for each row which run it is of."""
        return np.repeat(np.arange(len(self.runs)), self.lengths)

    def take(self, positions: Positions) -> Slab:
        """Return rows in another order, each a run of its own."""
        columns = _changed(self.columns, lambda column: gather(column, positions))
        return Slab(self.blocks()[positions], np.ones(len(positions), np.int64), columns)

    def slice(self, start: int, stop: int) -> Slab:
        """Return the rows from start up to stop."""
        if start == 0 and stop >= len(self):
            return self
        columns = _changed(self.columns, lambda column: column[start:stop])
        ends = np.cumsum(self.lengths)
        lengths = np.minimum(ends, stop) - np.maximum(ends - self.lengths, start)
        kept = lengths > 0
        return Slab(self.runs[kept], lengths[kept], columns)

    def filter(self, keep: Mask) -> Slab:
        """Return the rows to keep."""
        if keep.all():
            return self
        positions = np.flatnonzero(keep)
        columns = _changed(self.columns, lambda column: gather(column, positions))
        lengths = np.bincount(self.run_numbers()[positions], minlength=len(self.runs))
        return Slab(self.runs[lengths > 0], lengths[lengths > 0], columns)

    def in_order(self) -> Slab:
        """Return the rows in order of the layout's blocks."""
        if (self.runs[1:] >= self.runs[:-1]).all():
            return self
        order = np.argsort(self.runs, kind="stable")
        starts = (np.cumsum(self.lengths) - self.lengths)[order]
        positions = positions_of(starts, starts + self.lengths[order])
        columns = _changed(self.columns, lambda column: gather(column, positions))
        return Slab(self.runs[order], self.lengths[order], columns)

    def newest(self, clusters: Positions) -> Slab:
        """Return rows in order of (cluster, time): of those that share both the one of the highest version.

        Of equal versions the last one; that is also the one of the highest version if there are no versions here.

        Parameters
        ----------
        clusters : int64 array
            The number of each block's cluster; all blocks of one are of the same series.
        """
        if not len(self):
            return self
        numbers = clusters[self.runs]
        groups = np.repeat(numbers - numbers.min(), self.lengths)
        order, last = group_order(groups, self.times)
        if VERSION in self.columns:
            versions = values_of(self.columns[VERSION])[order]
            if (~last[:-1] & (versions[1:] < versions[:-1])).any():
                order = order[np.lexsort((versions, np.cumsum(last) - last))]
        order = order[last]
        each, first = np.unique(numbers, return_index=True)
        lengths = np.bincount(groups[order], minlength=int(each[-1] - each[0]) + 1)[each - each[0]]
        columns = _changed(self.columns, lambda column: gather(column, order))
        return Slab(self.runs[first], lengths, columns)


def join(slabs: Sequence[Slab], types: Mapping[str, pa.DataType]) -> Slab:
    """Put slabs end to end; where one lacks a column its rows are null there.

    Parameters
    ----------
    slabs : sequence of Slab
    types : mapping
        The columns of the result.
    """

    def joined(name: str) -> pa.Array:
        columns = [typed(slab, name, types[name]) for slab in slabs]
        return concat_columns(columns) if columns else pa.nulls(0, types[name])

    many = len(slabs) > 1 and sum(map(len, slabs)) >= MANY
    later = many or any(isinstance(slab.columns, Later) for slab in slabs)
    columns = Later(types, joined) if later else {name: joined(name) for name in types}
    if len(slabs) == 1:
        return Slab(slabs[0].runs, slabs[0].lengths, columns)
    none = np.empty(0, np.int64)
    runs = np.concatenate([none, *(slab.runs for slab in slabs)])
    lengths = np.concatenate([none, *(slab.lengths for slab in slabs)])
    return Slab(runs, lengths, columns)


def typed(slab: Slab, name: str, kind: pa.DataType) -> pa.Array:
    """Return a column in the type that the result has; see `widened`."""
    column = slab.columns.get(name)
    if column is None:
        return pa.nulls(len(slab), kind)
    return column if column.type == kind else widened(column, kind, name)
