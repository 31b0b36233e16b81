"""Buckets of time: of a fixed width, or as the calendar of a time zone has them."""

from __future__ import annotations

import abc
import dataclasses
import datetime
import re
import zoneinfo
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import compute as pc
from measurefs.fs.errors import SchemaError
from measurefs.query.bounds import MAX_TIME, MIN_TIME, to_nanoseconds
from measurefs.query.names import nearest

Times = npt.NDArray[np.int64]
Every: TypeAlias = "str | int | datetime.timedelta | np.timedelta64"

_SECOND = 10**9
_DAY = 86_400
_FIXED = {"ns": 1, "us": 10**3, "ms": 10**6, "s": _SECOND, "m": 60 * _SECOND, "h": 3600 * _SECOND}
_DAYS = {"d": 1, "w": 7}
_MONTHS = {"mo": 1, "y": 12}
_EVERY = re.compile(r"\s*(\d+)\s*(ns|us|ms|s|mo|m|h|d|w|y)\s*")
_EPOCH = np.datetime64("1970-01-01T00:00:00", "s")
_EPOCH_MONDAY = np.datetime64("1969-12-29T00:00:00", "s")
_MOST_OFFSET = 2 * _DAY
"""Seconds by which no time zone is, or ever was, away from UTC."""


class Grid(Protocol):
    """Numbered buckets, in order, that cover some span of time; each ends where the next begins."""

    def numbers(self, times: Times) -> Times:
        """Return the number of each time's bucket."""

    def starts(self, numbers: Times) -> Times:
        """Return the time at which each of these buckets begins."""


class Buckets(abc.ABC):
    """A division of all time; buckets that begin before the earliest time there is begin there."""

    @abc.abstractmethod
    def grid(self, first: int, last: int) -> Grid:
        """Return buckets that cover at least the times from first to last, both inclusive."""

    def between(self, first: int, last: int, most: int) -> Times | None:
        """Return the starts of all buckets from the one that holds first to the one that holds last.

        None if they are more than `most`.
        """
        grid = self.grid(first, last)
        low, high = (int(number) for number in grid.numbers(np.array([first, last])))
        return None if high - low >= most else grid.starts(np.arange(low, high + 1))


@dataclasses.dataclass(frozen=True)
class FixedBuckets(Buckets):
    """Buckets of so many nanoseconds; one of them begins at the offset.

    Attributes
    ----------
    width : int
        Nanoseconds, from 1 to 2**63 - 1.
    offset : int
        From 0 up to, but not including, the width.
    """

    width: int
    offset: int

    def grid(self, first: int, last: int) -> Grid:
        """Return itself: the buckets are numbered over all time."""
        return self

    def numbers(self, times: Times) -> Times:
        """Return floor((time - offset) / width), which never overflows."""
        whole = times // self.width
        return whole - (times - whole * self.width < self.offset) if self.offset else whole

    def starts(self, numbers: Times) -> Times:
        """Return when these buckets begin."""
        least = (MIN_TIME - self.offset) // self.width
        starts: Times = numbers * self.width + self.offset
        if least * self.width + self.offset < MIN_TIME:
            starts[numbers == least] = MIN_TIME
        return starts


@dataclasses.dataclass(frozen=True)
class CalendarBuckets(Buckets):
    """Buckets of so many days or months of a time zone, whatever its clocks do meanwhile.

    Attributes
    ----------
    days, months : int
        One of them is 0.
    origin : numpy.datetime64
        Seconds of local time at which a bucket begins.
    fraction : int
        Nanoseconds to add to that.
    timezone : str
    """

    days: int
    months: int
    origin: np.datetime64
    fraction: int
    timezone: str

    def grid(self, first: int, last: int) -> Grid:
        """Return the buckets that cover a span of time."""
        local = self._local_edges(first // _SECOND - _MOST_OFFSET, last // _SECOND + _MOST_OFFSET)
        seconds = _from_local(local, self.timezone)
        inside = (seconds > MIN_TIME // _SECOND) & (seconds < MAX_TIME // _SECOND)
        edges = np.unique(seconds[inside] * _SECOND + self.fraction)
        return _Edges(edges if inside[0] else np.append(MIN_TIME, edges))

    def _local_edges(self, first: int, last: int) -> npt.NDArray[np.datetime64]:
        """Return where buckets begin in local time, from before first to after last."""
        if self.days:
            step, origin = self.days * _DAY, int(self.origin.astype(np.int64))
            numbers = np.arange((first - origin) // step, (last - origin) // step + 2)
            return np.asarray(self.origin + (numbers * step).astype("timedelta64[s]"))
        month = self.origin.astype("datetime64[M]")
        within = self.origin - month.astype("datetime64[s]")
        low, high = (_month(seconds) - int(month.astype(np.int64)) for seconds in (first, last))
        numbers = np.arange(low // self.months - 1, high // self.months + 2)
        months = month + (numbers * self.months).astype("timedelta64[M]")
        return np.asarray(months.astype("datetime64[s]") + within)


def _month(seconds: int) -> int:
    return int(np.datetime64(seconds, "s").astype("datetime64[M]").astype(np.int64))


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """Buckets by where they begin; the first begins no later than the first time asked for."""

    edges: Times

    def numbers(self, times: Times) -> Times:
        return np.searchsorted(self.edges, times, "right") - 1

    def starts(self, numbers: Times) -> Times:
        return self.edges[numbers]


def _from_local(local: npt.NDArray[np.datetime64], timezone: str) -> Times:
    """Return seconds since 1970-01-01 UTC of local times.

    Of a time that occurs twice, the first; of one that is left out, the first that follows: a day without a
    midnight begins when the clocks have been put forward.
    """
    found = pc.assume_timezone(pa.array(local), timezone, ambiguous="earliest", nonexistent="latest")
    return np.asarray(found.cast(pa.int64()))


def parse_buckets(every: Every, origin: Any, timezone: str | datetime.tzinfo) -> Buckets:
    """Turn what a user asks for into buckets.

    Parameters
    ----------
    every : str, timedelta, timedelta64 or int
        A number and its unit: ``ns``, ``us``, ``ms``, ``s``, ``m``, ``h`` are fixed widths; ``d``, ``w``, ``mo`` and
        ``y`` are days, weeks, months and years of the time zone's calendar. Integers are nanoseconds.
    origin : point in time or None
        When one of the buckets begins. None: at 1970-01-01T00:00 in the time zone; weeks begin on a Monday.
    timezone : str or tzinfo
        ``"Europe/Berlin"``, ``"+02:00"``, ``"UTC"``.

    Raises
    ------
    SchemaError
        One of them cannot be used.
    """
    zone = _zone(timezone)
    count, unit = _parse_every(every)
    since = None if origin is None else to_nanoseconds(origin, "origin")
    if unit in _FIXED:
        width = count * _FIXED[unit]
        if width > MAX_TIME:
            raise _unusable(every, "it is longer than all of time")
        if since is None:
            since = int(_from_local(np.array([_EPOCH]), zone)[0]) * _SECOND
        return FixedBuckets(width, since % width)
    days, months = count * _DAYS.get(unit, 0), count * _MONTHS.get(unit, 0)
    if days * _DAY * _SECOND > MAX_TIME or months > 12 * 290:
        raise _unusable(every, "it is longer than all of time")
    if since is None:
        return CalendarBuckets(days, months, _EPOCH_MONDAY if unit == "w" else _EPOCH, 0, zone)
    utc = pa.scalar(since // _SECOND, pa.timestamp("s", tz=zone))
    local = np.datetime64(pc.local_timestamp(utc).cast(pa.int64()).as_py(), "s")
    if months and local.astype("datetime64[D]") - local.astype("datetime64[M]") > np.timedelta64(27, "D"):
        raise SchemaError(
            f"cannot count every={every!r} from {origin!r}, since not all months have that day; "
            "give an origin on one of the first 28 days of a month"
        )
    return CalendarBuckets(days, months, local, since % _SECOND, zone)


def _parse_every(every: Any) -> tuple[int, str]:
    count, unit = 0, "ns"
    as_unit = getattr(every, "as_unit", None)
    if isinstance(every, str):
        match = _EVERY.fullmatch(every)
        if match is None:
            raise _unusable(every, "it is no number with a unit")
        count, unit = int(match[1]), match[2]
    elif isinstance(every, np.timedelta64):
        count = _nanoseconds(every)
    elif isinstance(every, datetime.timedelta):
        exact = (every.days * _DAY + every.seconds) * _SECOND + every.microseconds * 1_000
        count = exact if as_unit is None else int(as_unit("ns").value)  # pandas', to the nanosecond
    elif isinstance(every, int | np.integer) and not isinstance(every, bool):
        count = int(every)
    else:
        raise _unusable(every, f"a {type(every).__name__} is no length of time")
    if count <= 0:
        raise _unusable(every, "it must be longer than nothing")
    return count, unit


def _nanoseconds(every: np.timedelta64) -> int:
    if np.datetime_data(every.dtype)[0] in {"Y", "M", "generic"}:
        raise _unusable(every, "its length is not known")
    return int(every.astype("timedelta64[ns]").astype(np.int64))


def _unusable(every: Any, why: str) -> SchemaError:
    return SchemaError(
        f"cannot use {every!r} as every: {why}; give '10s', '5m', '1h', '1d', '1w', '1mo' or '1y' "
        "(units: ns, us, ms, s, m, h, d, w, mo, y), a timedelta, or nanoseconds as an integer"
    )


def _zone(timezone: Any) -> str:
    """Return the name of a time zone that Arrow knows."""
    try:
        if isinstance(timezone, datetime.tzinfo):
            timezone = pa.lib.tzinfo_to_string(timezone)
        _from_local(np.array([_EPOCH]), timezone)
    except (pa.ArrowException, ValueError, TypeError) as error:
        near = nearest(str(timezone), zoneinfo.available_timezones())
        hint = f"did you mean {near!r}?" if near else "give a name such as 'Europe/Berlin' or '+02:00'"
        raise SchemaError(f"cannot use {timezone!r} as timezone; {hint}") from error
    return str(timezone)
