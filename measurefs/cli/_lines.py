"""From the batches of a query to the lines of a chart: one for each series or group."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from measurefs.cli.common import BadInput, count
from measurefs.query import TIME

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MOST_LINES = 100_000
_MOST_POINTS = 1 << 20
_LARGEST = 1e300
"""What is larger is drawn there, so that differences stay finite."""


@dataclasses.dataclass(slots=True)
class Line:
    """A line over time.

    Attributes
    ----------
    times : int64 array, shape (n,)
        Nanoseconds since 1970-01-01 UTC, ascending.
    values : float64 array, shape (n,)
        Finite.
    gaps : bool array, shape (n,)
        True where nothing joins the value with the one before it.
    """

    times: Ints
    values: Floats
    gaps: npt.NDArray[np.bool_]


class Lines:
    """The points of one column, by line.

    More points than a chart can show are thinned: of each span of time the least and the greatest value stay, so
    that no peak is lost.
    """

    def __init__(self, most: int = _MOST_POINTS) -> None:
        self._most = most
        self._pieces: list[tuple[Ints, Ints, Floats]] = []
        self._held = 0
        self._span = 0
        self._sums, self._counts = np.zeros(0), np.zeros(0, np.int64)

    @property
    def thinned(self) -> bool:
        """Whether points were left out."""
        return self._span > 0

    def add(self, lines: Ints, times: Ints, values: Floats) -> None:
        """Add points; those that are not finite are left out."""
        known = np.isfinite(values)
        if not known.all():
            lines, times, values = lines[known], times[known], values[known]
        if not len(lines):
            return
        values = np.clip(values, -_LARGEST, _LARGEST)
        self._sums = _added(self._sums, np.bincount(lines, values))
        self._counts = _added(self._counts, np.bincount(lines))
        piece = (lines, times, values)
        if self._span:
            piece = _extremes(*_in_order(*piece), self._span)
        self._pieces.append(piece)
        self._held += len(piece[0])
        if self._held > self._most:
            self._thin()

    def counts(self, lines: int) -> Ints:
        """Return how many points each of so many lines has, those left out among them."""
        return _added(self._counts, np.zeros(lines, np.int64))

    def means(self, lines: int) -> Floats:
        """Return the mean of each of so many lines, of all its points; NaN where there is none."""
        with np.errstate(all="ignore"):
            means: Floats = _added(self._sums, np.zeros(lines)) / self.counts(lines)
        return means

    def line(self, number: int, *, regular: bool) -> Line:
        """Return a line.

        Parameters
        ----------
        number : int
        regular : bool
            Whether its points are at even distances unless some are missing. Else there is a gap where a distance is
            much longer than nearly all of the line's others.
        """
        lines, times, values = self._joined()
        mine = slice(*np.searchsorted(lines, [number, number + 1]))
        times, values = times[mine], values[mine]
        steps = np.diff(times.astype(np.float64))
        longest = np.inf
        if len(steps):
            longest = 1.5 * np.median(steps) if regular else 5 * np.quantile(steps, 0.9)
        gaps = np.append(False, steps > max(longest, 3 * self._span))[: len(times)]
        return Line(times, values, gaps)

    def _joined(self) -> tuple[Ints, Ints, Floats]:
        """Put all points in order of line and time."""
        if not self._pieces:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        lines, times, values = (np.concatenate(arrays) for arrays in zip(*self._pieces, strict=True))
        self._pieces = [_in_order(lines, times, values)]
        return self._pieces[0]

    def _thin(self) -> None:
        """Leave out points until half as many are held as may be, in spans that get longer as there are more."""
        _, times, _ = self._joined()
        whole = int(times.max()) - int(times.min())
        self._keep_extremes()
        while self._held > self._most // 2 and self._span <= whole:
            self._span = self._span * 2 or max(whole // self._most, 1)
            self._keep_extremes()
        self._most = max(self._most, 2 * self._held)  # of very many lines no fewer can be held

    def _keep_extremes(self) -> None:
        if self._span:
            self._pieces = [_extremes(*self._joined(), self._span)]
            self._held = len(self._pieces[0][0])


def _in_order(lines: Ints, times: Ints, values: Floats) -> tuple[Ints, Ints, Floats]:
    """Put points in order of line and time."""
    later = (lines[1:] > lines[:-1]) | ((lines[1:] == lines[:-1]) & (times[1:] >= times[:-1]))
    if later.all():
        return lines, times, values
    order = np.lexsort((times, lines))
    return lines[order], times[order], values[order]


def _extremes(lines: Ints, times: Ints, values: Floats, span: int) -> tuple[Ints, Ints, Floats]:
    """Leave, of points in order, the least and the greatest value of each line in each span of time."""
    spans = times // span
    new = np.append(True, (lines[1:] != lines[:-1]) | (spans[1:] != spans[:-1]))
    starts, groups = np.flatnonzero(new), np.cumsum(new) - 1
    kept = np.zeros(len(lines), np.bool_)
    for extreme in (np.minimum, np.maximum):
        found = np.flatnonzero(values == extreme.reduceat(values, starts)[groups])
        kept[found[np.append(True, np.diff(groups[found]) > 0)]] = True  # the first of each group
    return lines[kept], times[kept], values[kept]


def _added(sums: npt.NDArray[Any], more: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if len(sums) < len(more):
        sums, more = more, sums
    sums = sums.copy()
    sums[: len(more)] += more
    return sums


@dataclasses.dataclass(slots=True)
class Collected:
    """What a query found, as lines.

    Attributes
    ----------
    names : list of tuple
        What tells the lines apart: the values of the key columns.
    columns : dict
        Column to its lines.
    """

    names: list[tuple[Any, ...]]
    columns: dict[str, Lines]

    def drawn(self) -> npt.NDArray[np.bool_]:
        """Return which lines have a point in any column."""
        points = [lines.counts(len(self.names)) > 0 for lines in self.columns.values()]
        return np.asarray(np.logical_or.reduce(points))


def collect(batches: Iterable[pa.RecordBatch], keys: Sequence[str], columns: Sequence[str]) -> Collected:
    """Read all of a query in bounded memory.

    Parameters
    ----------
    batches : iterable of RecordBatch
        With a column ``time``.
    keys : sequence of str
        Columns that tell lines apart.
    columns : sequence of str
        Numbers and bools.

    Raises
    ------
    BadInput
        There are more than `MOST_LINES` lines.
    """
    found = Collected([], {name: Lines() for name in columns})
    ids: dict[tuple[Any, ...], int] = {}
    for batch in batches:
        if not batch.num_rows:
            continue
        lines = _lines_of([batch[name] for name in keys], batch.num_rows, ids)
        if len(ids) > MOST_LINES:
            raise BadInput(
                f"these are more than {count(MOST_LINES)} lines, which no chart can show; "
                "put them together with --agg and --by, or choose some with --where"
            )
        times = np.asarray(batch[TIME].cast(pa.int64()))
        for name, column in found.columns.items():
            values = batch[name].cast(pa.float64(), safe=False)
            column.add(lines, times, np.asarray(values.fill_null(float("nan"))))
    found.names = list(ids)
    return found


def _lines_of(keys: Sequence[pa.Array], rows: int, ids: dict[tuple[Any, ...], int]) -> Ints:
    """Return the number of each row's line; lines that are new get the next numbers."""
    codes = np.zeros(rows, np.int64)
    for key in keys:
        encoded = pc.dictionary_encode(key, null_encoding="encode")
        codes = codes * len(encoded.dictionary) + np.asarray(encoded.indices)
        codes = np.unique(codes, return_inverse=True)[1]
    distinct, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    numbers = np.zeros(len(distinct), np.int64)
    order = np.argsort(first)
    names = [key.take(pa.array(first[order])).to_pylist() for key in keys]
    for place, name in zip(order, zip(*names, strict=True) if keys else [()], strict=True):
        numbers[place] = ids.setdefault(name, len(ids))
    return numbers[inverse]
