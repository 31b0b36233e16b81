"""Runs of consecutive rows, given by where they start and stop: cut and put together without looking at each row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from measurefs.codec.memory import new_array

Positions = npt.NDArray[np.int64]

_NEAR = 4
_ROUNDING = 1e-6
_LEAST, _GREATEST = -(2**63), 2**63 - 1


def positions_of(starts: Positions, stops: Positions) -> Positions:
    """Return the positions of all rows of runs, one run after another."""
    lengths = stops - starts
    if len(lengths) == 1:
        return np.arange(starts[0], max(starts[0], stops[0]))
    held = lengths.nonzero()[0]
    if len(held) < len(lengths):
        starts, stops, lengths = starts[held], stops[held], lengths[held]
    steps = new_array(int(lengths.sum()), np.int64)
    steps.fill(1)
    firsts = np.cumsum(lengths) - lengths
    steps[firsts[:1]] = starts[:1]
    steps[firsts[1:]] = starts[1:] - stops[:-1] + 1
    return np.cumsum(steps, out=steps)


def one_run(starts: Positions, stops: Positions) -> slice | None:
    """Return the rows of runs as a slice if each begins where the one before stops, else None."""
    if len(starts) == 0:
        return slice(0, 0)
    if len(starts) > 1 and (starts[1:] != stops[:-1]).any():
        return None
    return slice(int(starts[0]), int(stops[-1]))


def distinct(numbers: Positions) -> Positions:
    """Return, of numbers that do not decrease, each once."""
    if len(numbers) < 2:
        return numbers
    return numbers[np.concatenate(([True], numbers[1:] != numbers[:-1]))]


def lower_bounds(values: Positions, starts: Positions, stops: Positions, least: Positions | int) -> Positions:
    """Return, for each run of increasing values, the first row whose value is at least its `least`, or its stop.

    None of them is empty. Where the values of a run lie at equal distances, as the times of collectors do, that is seen
    at once.
    """
    if len(starts) == 1:
        return starts + values[starts[0] : stops[0]].searchsorted(least)
    first, last = values[starts].astype(np.float64), values[stops - 1].astype(np.float64)
    share = np.clip((least - first) / np.maximum(last - first, 1), 0, 1)
    guess = starts + np.ceil(share * (stops - 1 - starts) - _ROUNDING).astype(np.int64)
    guess += (values[guess] < least) & (guess < stops - 1)  # just after a row
    sure = (values[guess] >= least) & ((guess == starts) | (values[guess - 1] < least))
    beyond = values[stops - 1] < least
    found = np.where(beyond, stops, guess)
    rest = (~(sure | beyond)).nonzero()[0]
    if len(rest):
        wanted = least if isinstance(least, int) else least[rest]
        found[rest] = _searched(values, starts[rest], stops[rest], wanted, guess[rest])
    return found


def _searched(
    values: Positions, starts: Positions, stops: Positions, least: Positions | int, guess: Positions
) -> Positions:
    """Return the lower bounds by a binary search of all runs at once, which begins near a guess."""
    low, high = np.maximum(guess - _NEAR, starts), np.minimum(guess + _NEAR, stops - 1)
    low = np.where(values[low] < least, low, starts)
    left = np.where(values[high] >= least, high, stops) - low
    while len(left) and int(left.max()) > 0:
        half = left >> 1
        below = (left > 0) & (values[np.minimum(low + half, stops - 1)] < least)
        low = np.where(below, low + half + 1, low)
        left = np.where(below, left - half - 1, half)
    return low


def trim(
    times: Positions, starts: Positions, stops: Positions, since: Positions | int, until: Positions | int
) -> tuple[Positions, Positions]:
    """Return what of runs, none of them empty and each in order of time, has times from `since` to `until`."""
    first, last = starts, stops
    if not isinstance(since, int) or since > _LEAST:
        first = lower_bounds(times, starts, stops, since)
    if not isinstance(until, int):
        last = lower_bounds(times, starts, stops, until + (until < _GREATEST))
        last = np.where(until == _GREATEST, stops, last)
    elif until < _GREATEST:
        last = lower_bounds(times, starts, stops, until + 1)
    return first, np.maximum(first, last)
