"""Axes: round numbers with their units, and round times of a time zone."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_UNITS = {
    "percent": "%",
    "pct": "%",
    "bytes": "B",
    "seconds": "s",
    "milliseconds": "ms",
    "ms": "ms",
    "microseconds": "µs",
    "us": "µs",
    "nanoseconds": "ns",
    "ns": "ns",
    "minutes": "min",
    "hours": "h",
    "celsius": "°C",
    "fahrenheit": "°F",
    "kelvin": "K",
    "hz": "Hz",
    "hertz": "Hz",
    "volts": "V",
    "amperes": "A",
    "watts": "W",
    "joules": "J",
    "kwh": "kWh",
    "meters": "m",
    "metres": "m",
    "pascal": "Pa",
    "hpa": "hPa",
    "ppm": "ppm",
}
_PREFIXED = ("", "B", "Hz", "W", "J")
_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def unit_of(column: str) -> str:
    """Return the unit that a column's name ends in, as in ``latency_ms``; empty if it does not."""
    return _UNITS.get(re.split(r"[_.\-\s]", column.lower())[-1], "")


def scale(low: float, high: float, most: int) -> list[float]:
    """Return the ticks of an axis, from its end to its end: at least two round numbers.

    Parameters
    ----------
    low, high : float
        The least and the greatest value, at most 1e300. The axis begins at 0 if they are not far from it.
    most : int
        Ticks at most, from 3.
    """
    if low >= 0 and low <= 0.4 * high:
        low = 0.0
    elif high <= 0 and high >= 0.4 * low:
        high = 0.0
    if high - low <= max(abs(low), abs(high)) * 1e-9:
        half = abs(high) / 2
        low, high = low - half, high + half or 1.0
    for step in _steps((high - low) / (most - 1)):
        bottom, top = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if top - bottom < most:
            break
    return [place * step for place in range(bottom, top + 1)]


def _steps(about: float) -> list[float]:
    """Return round distances from the one asked for upwards."""
    power = math.floor(math.log10(about))
    found = [base * 10.0 ** (power + more) for more in (0, 1, 2) for base in (1, 2, 5)]
    return [step for step in found if step >= about * (1 - 1e-9)]


def numbers(ticks: Sequence[float], unit: str = "") -> list[str]:
    """Show the numbers of ticks with the digits they need, all in the same unit: ``0.25``, ``12k``, ``1.5 GB``."""
    largest, step = max(map(abs, ticks)), ticks[1] - ticks[0]
    factor, prefix = 1.0, ""
    if unit in _PREFIXED and largest >= (1_000 if unit else 10_000):
        factor, prefix = next(each for each in _PREFIXES if largest >= each[0])
    step /= factor
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    plain = largest / factor < 1e6 and digits <= 6
    shown = [f"{tick / factor:,.{digits}f}" if plain else f"{tick / factor:.6g}" for tick in ticks]
    space = "" if unit in ("", "%", "°C", "°F") else " "
    return [
        f"0{space}{unit}" if tick == 0 else f"{text}{space}{prefix}{unit}"
        for tick, text in zip(ticks, shown, strict=True)
    ]


# Times

_SECOND = 10**9
_DAY = 86_400 * _SECOND
_STEPS = (
    *(base * 10**power for power in range(9) for base in (1, 2, 5)),
    *(_SECOND * seconds for seconds in (1, 2, 5, 10, 15, 30)),
    *(60 * _SECOND * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3600 * _SECOND * hours for hours in (1, 2, 3, 6, 12)),
    *(_DAY * days for days in (1, 2, 4, 7, 14)),
)
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120, 240, 600)
_MONDAY = np.datetime64("1970-01-05T00:00:00", "ns")


def time_ticks(first: int, last: int, timezone: str, most: int) -> list[tuple[int, str]]:
    """Return at most so many round times of a time zone, in nanoseconds since 1970-01-01 UTC, and how they read."""
    low, high = (np.datetime64(value, "ns") for value in _local([first, last], timezone))
    for length in _STEPS:
        step = np.timedelta64(length, "ns")
        if (high - low) / step < most:
            ticks = np.arange(_MONDAY + -((_MONDAY - low) // step) * step, high + 1, step)
            return _labelled(ticks, timezone, first, last, length)
    for months in _MONTHS:
        begin, end = (
            int(low.astype("datetime64[M]").astype(int)),
            int(high.astype("datetime64[M]").astype(int)),
        )
        if (end - begin) / months < most:
            numbers = np.arange(begin // months * months, end + 1, months)
            ticks = numbers.astype("datetime64[M]").astype("datetime64[ns]")
            return _labelled(ticks, timezone, first, last, 28 * _DAY * months)
    return []


def _labelled(
    ticks: npt.NDArray[np.datetime64], timezone: str, first: int, last: int, step: int
) -> list[tuple[int, str]]:
    zoned = pc.assume_timezone(pa.array(ticks), timezone, ambiguous="earliest", nonexistent="latest")
    times = zoned.cast(pa.int64()).to_pylist()
    return [
        (time, _name(tick, step)) for time, tick in zip(times, ticks, strict=True) if first <= time <= last
    ]


def _name(tick: np.datetime64, step: int) -> str:
    """Name a tick: by the year, the month, the day or the time of day that begins there."""
    moment = tick.astype("datetime64[s]").item()
    if step >= 28 * _DAY:
        return f"{moment:%Y}" if moment.month == 1 else f"{moment:%b}"
    if step < _SECOND:
        digits = 10 - len(str(step))
        return f"{moment:%H:%M:%S}.{int(tick.astype(np.int64)) % _SECOND:09d}"[: 9 + digits]
    if (moment.hour, moment.minute, moment.second) == (0, 0, 0):
        return f"{moment.day} {moment:%b}"
    return f"{moment:%H:%M}" if step >= 60 * _SECOND else f"{moment:%H:%M:%S}"


def _local(times: list[int], timezone: str) -> list[int]:
    zoned = pa.array(times, pa.int64()).cast(pa.timestamp("ns", tz=timezone))
    local: list[int] = pc.local_timestamp(zoned).cast(pa.int64()).to_pylist()
    return local


def span(first: int, last: int, timezone: str) -> str:
    """Show from when to when, to the minute or as exactly as it takes: ``2026-01-01 00:00 to 12:00 UTC``."""
    low, high = (np.datetime64(value, "ns") for value in _local([first, last], timezone))
    length = last - first
    unit = "m" if length >= 600 * _SECOND else "s" if length >= 10 * _SECOND else "ns"
    begin, end = (str(value.astype(f"datetime64[{unit}]")).replace("T", " ") for value in (low, high))
    if begin == end:
        return f"{begin} {timezone}"
    if begin[:10] == end[:10]:
        end = end[11:]
    return f"{begin} to {end} {timezone}"
