"""The values of runs of rows, reduced run by run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.query.aggregation.groups import Array, Ints
from measurefs.query.aggregation.vectors import Vector


class RunValues:
    """The values, nulls left out, of u runs of consecutive rows; no run is empty, though its values may all be null.

    Parameters
    ----------
    vector : Vector
    starts, stops : int64 array, shape (u,)
        Increasing.

    Attributes
    ----------
    counts : int64 array, shape (u,)
        How many values each run has.
    held : int64 array or None
        The runs that have any; None if all.
    """

    def __init__(self, vector: Vector, starts: Ints, stops: Ints) -> None:
        self.vector = vector
        self._rows: Ints | None = None
        self._starts, self._stops = starts, stops
        self.counts = stops - starts
        self.held: Ints | None = None
        if vector.valid is not None and len(starts):
            self._leave_out_nulls(vector.valid, int(starts[0]), int(stops[-1]))
        self._values: Array | None = None
        self._coded: Vector | None = None

    def _leave_out_nulls(self, valid: npt.NDArray[np.bool_], first: int, last: int) -> None:
        if valid[first:last].all():
            return
        self._rows = np.flatnonzero(valid[first:last]) + first
        starts, stops = np.searchsorted(self._rows, self._starts), np.searchsorted(self._rows, self._stops)
        self.counts = stops - starts
        held = np.flatnonzero(self.counts)
        self._starts, self._stops = starts[held], stops[held]
        self.held = held if len(held) < len(starts) else None

    @property
    def lengths(self) -> Ints:
        """How many values each run has that has any."""
        return self._stops - self._starts

    def numbers(self) -> Array:
        """Return the numbers as int64 or float64: those of the runs, and perhaps others between them."""
        if self._values is None:
            vector = self.vector
            self._values = vector.numbers() if self._rows is None else vector.numbers_at(self._rows)
        return self._values

    def text(self) -> tuple[Array, pa.Array]:
        """Return the codes of strings or binaries, as `numbers` does, and their dictionary."""
        if self._coded is None:
            self._coded = self.vector.coded()
        values = self._coded.values
        assert values is not None
        return values if self._rows is None else values[self._rows], self._coded.dictionary

    def without_gaps(self, values: Array) -> Array:
        """Return those of the values that are in runs, run by run."""
        starts, stops = self._starts, self._stops
        if len(starts) == 0:
            return values[:0]
        if (starts[1:] == stops[:-1]).all():
            return values[starts[0] : stops[-1]]
        lengths = stops - starts
        offsets = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        return values[offsets + np.arange(len(offsets))]

    def reduce(self, ufunc: np.ufunc, values: Array) -> Array:
        """Put the values of each run together that has any."""
        starts, stops = self._starts, self._stops
        if len(starts) == 0:
            return values[:0]
        if (starts[1:] == stops[:-1]).all():
            begin = starts[0]
            whole: Array = ufunc.reduceat(values[begin : stops[-1]], starts - begin)
            return whole
        bounds = np.empty(2 * len(starts), np.int64)
        bounds[::2], bounds[1::2] = starts, stops
        if bounds[-1] >= len(values):
            bounds = bounds[:-1]
        reduced: Array = ufunc.reduceat(values, bounds)[::2]
        return reduced

    def spread(self, values: Array, missing: float) -> Array:
        """Return values of the runs that have any as values of all runs."""
        if self.held is None:
            return values
        out = np.full(len(self.counts), missing, values.dtype)
        out[self.held] = values
        return out

    def rows(self, *, last: bool) -> Ints:
        """Return the row of the first or the last value of each run that has any."""
        rows = self._stops - 1 if last else self._starts
        return rows if self._rows is None else self._rows[rows]
