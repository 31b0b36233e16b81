"""Spans of time as users write them."""

from __future__ import annotations

import re

import msgspec

from measurefs.fs.errors import SchemaError

HOUR = 3_600_000_000_000
DAY = 24 * HOUR
_UNITS = {"h": HOUR, "d": DAY}
_SPAN = re.compile(r"([1-9][0-9]{0,4})([hd])")


class Interval(msgspec.Struct, frozen=True):
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
