"""Segments: the spans that a measure's time is divided into, and the names of their directories."""

from __future__ import annotations

import bisect
import datetime
import functools
import itertools
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from measurefs.database.intervals import DAY, HOUR, Interval
from measurefs.query import MAX_TIME, MIN_TIME

_NAME = re.compile(r"seg-([0-9]{8})([0-9]{2})?(?:\+([1-9][0-9]{0,6})h)?")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

Times = npt.NDArray[np.int64]


class Segment(NamedTuple):
    """Times from start up to but without end, in nanoseconds since 1970-01-01 UTC.

    They are whole hours, and Python's integers: the first and the last segment of all reach beyond an int64.
    """

    start: int
    end: int

    def holds(self, first: int, last: int) -> bool:
        """Whether both times are in it."""
        return self.start <= first and last < self.end

    def overlaps(self, start: int, end: int) -> bool:
        """Whether a time of ``[start, end)`` is in it."""
        return self.start < end and start < self.end


def segment_name(segment: Segment, first: Interval) -> str:
    """Return the name of a segment's directory: ``seg-<YYYYMMDD[HH]>``, or ``seg-<YYYYMMDDHH>+<n>h``.

    Parameters
    ----------
    segment : Segment
    first : Interval
        The measure's first interval: what a name without a length spans.
    """
    moment = _EPOCH + datetime.timedelta(hours=segment.start // HOUR)
    plain = f"seg-{moment:%Y%m%d}" + (f"{moment:%H}" if first.unit == "h" else "")
    if _read_name(plain) == (segment.start, None) and segment.end - segment.start == first.nanoseconds:
        return plain
    return f"seg-{moment:%Y%m%d%H}+{(segment.end - segment.start) // HOUR}h"


@functools.lru_cache(maxsize=100_000)  # years of hours are listed again and again
def named_segment(name: str, first: Interval) -> Segment | None:
    """Return the segment of a directory, None if no segment of a measure with that first interval is named so."""
    read = _read_name(name)
    if read is None:
        return None
    start, hours = read
    segment = Segment(start, start + (first.nanoseconds if hours is None else hours * HOUR))
    known = segment_name(segment, first) == name and segment.overlaps(MIN_TIME, MAX_TIME + 1)
    return segment if known else None


def is_segment_name(name: str) -> bool:
    """Whether it is the name of a segment of some measure."""
    return _read_name(name) is not None


def _read_name(name: str) -> tuple[int, int | None] | None:
    """Return when a segment starts by its name, and how many hours it spans if that says so."""
    match = _NAME.fullmatch(name)
    if match is None or int(match.group(2) or 0) > 23 or (match.group(3) and not match.group(2)):
        return None
    try:
        day = datetime.date(int(match.group(1)[:4]), int(match.group(1)[4:6]), int(match.group(1)[6:]))
    except ValueError:
        return None
    start = (day - _EPOCH.date()).days * DAY + int(match.group(2) or 0) * HOUR
    return start, int(match.group(3)) if match.group(3) else None


class Division:
    """How a measure's time is divided: by the segments there are, and in between by its interval.

    A time that a segment covers belongs in it; of several that overlap (two processes that did not know of each
    other's have made them) in the one that starts last. Any other time belongs in the cell of the interval around
    it, counted from 1970-01-01 UTC and cut to the gap between the segments.

    Parameters
    ----------
    segments : iterable of Segment
    interval : Interval
        Of new segments.
    dropped_before : int, optional
        New segments do not reach across this time, before which all segments are, or will be, removed.
    """

    def __init__(
        self, segments: Iterable[Segment], interval: Interval, dropped_before: int | None = None
    ) -> None:
        self.segments = sorted(set(segments))
        self._span = interval.nanoseconds
        self._pieces = _without_overlaps(self.segments)
        # The times in them, as far as an int64 reaches: first and last of each piece.
        self._firsts = np.array([max(start, MIN_TIME) for (start, _), _ in self._pieces], np.int64)
        self._lasts = np.array([min(end - 1, MAX_TIME) for (_, end), _ in self._pieces], np.int64)
        self._cut = dropped_before

    def at(self, time: int) -> Segment:
        """Return the segment that a time belongs in, whether there is one yet or not."""
        index = bisect.bisect_right(self._pieces, time, key=lambda piece: piece[0].start) - 1
        if index >= 0 and time < self._pieces[index][0].end:
            return self._pieces[index][1]
        start = time // self._span * self._span
        end = start + self._span
        if index >= 0:
            start = max(start, self._pieces[index][0].end)
        if index + 1 < len(self._pieces):
            end = min(end, self._pieces[index + 1][0].start)
        if self._cut is not None and start < self._cut < end:
            start, end = (start, self._cut) if time < self._cut else (self._cut, end)
        return Segment(start, end)

    def locate(self, times: Times) -> tuple[list[Segment], npt.NDArray[np.intp] | None]:
        """Find the segment of every time.

        Returns
        -------
        list of Segment
            All that are needed, and perhaps others.
        array of int, or None
            For each time the position of its segment in the list; None if all are in the first.
        """
        if len(times) == 0:
            return [], None
        first, last = self.at(int(times.min())), self.at(int(times.max()))
        if first == last and not self._divides(first):
            return [first], None
        index = np.searchsorted(self._firsts, times, side="right") - 1
        inside = index >= 0
        inside[inside] = times[inside] <= self._lasts[index[inside]]
        places = {segment: place for place, segment in enumerate(self.segments)}
        owners = np.array([places[segment] for _, segment in self._pieces], np.intp)
        found = np.empty(len(times), np.intp)
        found[inside] = owners[index[inside]]
        outside = np.flatnonzero(~inside)
        firsts, new = np.unique(self._first_times(times[outside], index[outside]), return_inverse=True)
        found[outside] = len(places) + new
        return [*self.segments, *(self.at(int(time)) for time in firsts)], found

    def _divides(self, segment: Segment) -> bool:
        """Whether another segment starts within this one."""
        first, last = (bisect.bisect_left(self.segments, (bound, bound)) for bound in segment)
        return any(other != segment for other in self.segments[first:last])

    def _first_times(self, times: Times, index: npt.NDArray[np.intp]) -> Times:
        """Return the first time of the new segment that each time belongs in; index is the piece before it."""
        since = times % self._span
        starts = np.where(times >= MIN_TIME + since, times - since, MIN_TIME)
        if len(self._pieces):
            ends = np.where(index >= 0, self._lasts[index] + 1, MIN_TIME)
            starts = np.maximum(starts, ends)
        if self._cut is not None:
            starts = np.where(times >= self._cut, np.maximum(starts, self._cut), starts)
        return starts


def _without_overlaps(segments: list[Segment]) -> list[tuple[Segment, Segment]]:
    """Return spans that do not overlap, in order, each with the segment that times in it belong in."""
    bounds = sorted({bound for segment in segments for bound in segment})
    pieces: list[tuple[Segment, Segment]] = []
    begun: list[Segment] = []
    upcoming = iter([*segments, None])
    following = next(upcoming)
    for start, end in itertools.pairwise(bounds):
        while following is not None and following.start <= start:
            begun.append(following)
            following = next(upcoming)
        while begun and begun[-1].end <= start:
            begun.pop()
        if begun:
            pieces.append((Segment(start, end), begun[-1]))
    return pieces
