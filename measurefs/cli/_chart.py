"""A small line chart for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bits of a braille character, by row and column of its dots."""


class Chart:
    """One line over time, in braille dots, or in asterisks where the encoding has no braille.

    Parameters
    ----------
    values : sequence of float
        At even distances; NaN leaves a gap.
    unit : str
        Stands behind the numbers of the axis.
    left, right : str
        What stands below the line's beginning and end.
    height : int
        In lines of text, the labels below not counted.
    top : float, optional
        The least upper end of the axis, which starts at 0 unless a value is below.
    """

    def __init__(
        self,
        values: Sequence[float],
        *,
        unit: str = "",
        left: str = "",
        right: str = "",
        height: int = 6,
        top: float = 0.0,
    ) -> None:
        self._values = [float(value) for value in values]
        self._unit = unit
        self._left = left
        self._right = right
        self._height = height
        known = [value for value in self._values if math.isfinite(value)]
        self._low = min([0.0, *known])
        self._high = max([top, *known])
        if self._high == self._low:
            self._high = self._low + 1.0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it as wide as there is room, up to two dots a value and 72 characters."""
        labels = [f"{self._high:.4g}{self._unit}", f"{self._low:.4g}{self._unit}"]
        margin = max(map(len, labels))
        width = max(min(options.max_width - margin - 2, 72), 8)
        fancy = options.encoding.startswith("utf")
        lines = (
            _braille(self._grid(width * 2, self._height * 4))
            if fancy
            else _ascii(self._grid(width, self._height))
        )
        for number, line in enumerate(lines):
            label = labels[0] if number == 0 else labels[1] if number == self._height - 1 else ""
            edge = ("┤" if label else "│") if fancy else "|"
            yield Text.assemble((f"{label:>{margin}} {edge}", "dim"), (line, "cyan"))
        gap = max(width - len(self._left) - len(self._right), 1)
        yield Text(f"{'':>{margin + 2}}{self._left}{'':>{gap}}{self._right}", "dim")

    def _grid(self, width: int, height: int) -> list[list[bool]]:
        """Mark the dots that the line goes through, joining neighbours so that it has no holes."""
        grid = [[False] * width for _ in range(height)]
        before: int | None = None
        for x in range(width):
            y = self._height_at(x / max(width - 1, 1), height)
            if y is not None:
                start = y if before is None else before
                step = 1 if y >= start else -1
                for between in range(start + step if start != y else y, y + step, step):
                    grid[height - 1 - between][x] = True
            before = y
        return grid

    def _height_at(self, share: float, height: int) -> int | None:
        """Return how high the line is at this share of its width, between two values on the way."""
        if not self._values:
            return None
        place = share * (len(self._values) - 1)
        low, high = self._values[math.floor(place)], self._values[math.ceil(place)]
        value = low + (high - low) * (place - math.floor(place))
        if not math.isfinite(value):
            return None
        return round((value - self._low) / (self._high - self._low) * (height - 1))


def _braille(grid: list[list[bool]]) -> list[str]:
    lines = []
    for top in range(0, len(grid), 4):
        row = ""
        for left in range(0, len(grid[0]), 2):
            dots = [
                bit for y, pair in enumerate(_DOTS) for x, bit in enumerate(pair) if grid[top + y][left + x]
            ]
            row += chr(0x2800 + sum(dots)) if dots else " "
        lines.append(row)
    return lines


def _ascii(grid: list[list[bool]]) -> list[str]:
    return ["".join("*" if dot else " " for dot in row) for row in grid]
