"""Spans of time as users write them, and the segments that they cut time into."""

from __future__ import annotations

import dataclasses
import datetime
import re

from measurefs.fs.errors import SchemaError

HOUR = 3_600_000_000_000
DAY = 24 * HOUR
_UNITS = {"h": HOUR, "d": DAY}
_SPAN = re.compile(r"([1-9][0-9]{0,4})([hd])")
_SEGMENT = re.compile(r"seg-(\d{8})(\d{2})?")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class Interval:
    """A number of whole hours or days.

    Attributes
    ----------
    count : int
    unit : str
        ``"h"`` or ``"d"``.
    """

    count: int
    unit: str

    @classmethod
    def parse(cls, text: str, what: str) -> Interval:
        """Read ``"6h"`` or ``"30d"``; raises `SchemaError` naming what it is."""
        match = _SPAN.fullmatch(str(text))
        if match is None:
            raise SchemaError(f"{what} must be whole hours or days such as '6h' or '1d', not {text!r}")
        return cls(int(match.group(1)), match.group(2))

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"

    @property
    def nanoseconds(self) -> int:
        """Its length."""
        return self.count * _UNITS[self.unit]

    def start_of(self, time: int) -> int:
        """Return the start of the segment that holds a time; segments are counted from 1970-01-01 UTC."""
        return time // self.nanoseconds * self.nanoseconds

    def segment_name(self, start: int) -> str:
        """Return the name of the segment that starts then."""
        moment = _EPOCH + datetime.timedelta(microseconds=start // 1000)
        return f"seg-{moment:%Y%m%d}" + (f"{moment:%H}" if self.unit == "h" else "")


def segment_start(name: str) -> int | None:
    """Return when the segment of that name starts, None if the name is not a segment's."""
    match = _SEGMENT.fullmatch(name)
    if match is None:
        return None
    try:
        day = datetime.datetime.strptime(match.group(1), "%Y%m%d").replace(tzinfo=datetime.UTC)
    except ValueError:
        return None
    return (day - _EPOCH).days * DAY + int(match.group(2) or 0) * HOUR
