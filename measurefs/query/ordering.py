"""Putting many rows in order of time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from measurefs.part.runs import Positions

_FEW = 4096
_SAMPLE = 256
_RADIX = 1 << 16
_BITS = 63


def time_order(times: npt.NDArray[np.int64], series: Positions, *, descending: bool) -> Positions | None:
    """Return the positions that put rows in order of time, those of the same time as they are; None if they are.

    Often all series have rows of the same times.

    Parameters
    ----------
    times : int64 array
        Of rows in order of series and time.
    series : int64 array
        How many rows each series has.
    descending : bool
    """
    keys = ~times if descending else times
    if (keys[1:] >= keys[:-1]).all():
        return None
    if _are_aligned(times, series):
        firsts, nth = np.arange(0, len(times), series[0]), np.arange(series[0])
        return ((nth[::-1] if descending else nth)[:, np.newaxis] + firsts).ravel()
    return np.argsort(keys, kind="stable") if len(keys) <= _FEW else _argsort(keys)


def group_order(groups: Positions, times: npt.NDArray[np.int64]) -> tuple[Positions, npt.NDArray[np.bool_]]:
    """Return the positions that put rows in order of (group, time), and which is then the last of its group and time.

    Those of the same group and time stay as they are. Rows that come as several runs, each in order, are merged.

    Parameters
    ----------
    groups : int64 array
        Numbers that are not negative.
    times : int64 array
        At least one.
    """
    low = int(times.min())
    span = int(times.max()) - low + 1
    last = np.ones(len(times), np.bool_)
    if span * (int(groups.max()) + 1) < 1 << _BITS:
        keys = groups * span + (times - low)
        order = np.argsort(keys, kind="stable")  # timsort
        keys = keys[order]
        np.not_equal(keys[1:], keys[:-1], out=last[:-1])
    else:
        order = np.lexsort((times, groups))
        groups, times = groups[order], times[order]
        last[:-1] = (groups[1:] != groups[:-1]) | (times[1:] != times[:-1])
    return order, last


def _argsort(keys: npt.NDArray[np.int64]) -> Positions:
    """Sort many times stably.

    Times of metrics are often multiples of some step. Counted in steps most fit 16 bits, for which NumPy has a radix
    sort, or leave room in 64 bits for the row's position, so that one unstable sort of numbers does.
    """
    low = int(keys.min())
    span = int(keys.max()) - low
    bits = len(keys).bit_length()
    if span >= 1 << _BITS:
        return np.argsort(keys, kind="stable")
    steps = _in_steps(keys - low)
    most = int(steps.max())
    if most < _RADIX:
        return np.argsort(steps.astype(np.uint16), kind="stable")
    if most.bit_length() + bits > _BITS:
        return np.argsort(keys, kind="stable")
    packed = (steps << bits) | np.arange(len(steps))
    packed.sort()
    return packed & ((1 << bits) - 1)


def _are_aligned(times: npt.NDArray[np.int64], series: Positions) -> bool:
    """Whether all series have rows of the same times."""
    if (series != series[0]).any():
        return False
    table = times.reshape(len(series), -1)
    return bool((table[:, -1] == table[0, -1]).all() and (table == table[0]).all())


def _in_steps(since: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return times since the first one in the largest steps that a few of them suggest and all agree with."""
    step = int(np.gcd.reduce(since[:: max(len(since) // _SAMPLE, 1)]))
    if step <= 1:
        return since
    steps = np.rint(since * (1 / step)).astype(np.int64)  # several times as fast as a division of integers
    return steps if np.array_equal(steps * step, since) else since
