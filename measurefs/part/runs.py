"""Runs of consecutive rows, given by where they start and stop: cut and put together without looking at each row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]


def positions_of(starts: Positions, stops: Positions) -> Positions:
    """Return the positions of all rows of runs, one run after another."""
    lengths = stops - starts
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def one_run(starts: Positions, stops: Positions) -> slice | None:
    """Return the rows of runs as a slice if each begins where the one before stops, else None."""
    if len(starts) == 0:
        return slice(0, 0)
    if len(starts) > 1 and (starts[1:] != stops[:-1]).any():
        return None
    return slice(int(starts[0]), int(stops[-1]))


def lower_bound(values: Positions, starts: Positions, stops: Positions, least: int) -> Positions:
    """Return, for each run of increasing values, the first row whose value is at least this; its stop if none is.

    A binary search of all runs at once: as many steps as the longest run needs.
    """
    low, high = starts.copy(), stops.copy()
    while True:
        open_ = low < high
        if not open_.any():
            return low
        middle = (low + high) >> 1
        below = values[np.minimum(middle, len(values) - 1)] < least
        low = np.where(open_ & below, middle + 1, low)
        high = np.where(open_ & ~below, middle, high)


def trim(
    times: Positions, starts: Positions, stops: Positions, start: int, end: int
) -> tuple[Positions, Positions]:
    """Return what of runs, each in order of time, has times in ``[start, end)``."""
    first = lower_bound(times, starts, stops, start)
    return first, lower_bound(times, first, stops, end)
