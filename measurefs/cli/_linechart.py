"""Charts of several lines for the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from measurefs.cli._axes import time_ticks
from measurefs.cli._drawing import Drawing, Panel
from measurefs.cli._lines import Line

_FEW_COLOURS = (
    *("cyan", "yellow", "magenta", "green", "blue", "red"),
    *("bright_cyan", "bright_yellow", "bright_magenta", "bright_green"),
)
_COLOURS = (
    *("#4c9be8", "#f5a623", "#f0524f", "#3fb950", "#b07cff"),
    *("#2bc4c4", "#ff7eb6", "#b5835a", "#9aa5a8", "#b5c334"),
)
"""For terminals that have sixteen colours, and for those that have more; seen on black and on white."""
_SYMBOLS = "●+x○◆∆■◇▪□"
_ASCII_SYMBOLS = "*+x@#o%&=$"
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.int64)
"""The bits of a braille character, by row and column of its dots."""

_HEIGHTS = {1: 16, 2: 10}
_TICKS = {1: 6, 2: 5}
"""By the number of panels; fewer where there are more."""
_WIDEST = 160


@dataclasses.dataclass(frozen=True, slots=True)
class _Look:
    """How wide all of it is, how wide the numbers are at its left, and what the terminal can show."""

    width: int
    margin: int
    colours: Sequence[str]
    unicode: bool
    braille: bool

    def colour(self, place: int) -> str:
        """Return the colour of a line."""
        return self.colours[place % len(self.colours)]

    def symbol(self, place: int) -> str:
        """Return what a line is drawn with where there is no braille."""
        return (_SYMBOLS if self.unicode else _ASCII_SYMBOLS)[place % 10]


class LineChart:
    """A drawing: braille dots in colours, or a symbol for each line where there are no colours or no braille."""

    def __init__(self, drawing: Drawing) -> None:
        self._drawing = drawing

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it as wide as there is room."""
        drawing, names = self._drawing, _names(self._drawing)
        unicode = options.encoding.startswith("utf")
        coloured = console.color_system is not None and not console.no_color
        axes = [panel.axis(_TICKS.get(len(drawing.panels), 4)) for panel in drawing.panels]
        look = _Look(
            width=max(min(options.max_width, _WIDEST), 24),
            margin=max(len(label) for _, labels in axes for label in labels),
            colours=_COLOURS if console.color_system in ("256", "truecolor") else _FEW_COLOURS,
            unicode=unicode,
            braille=unicode and (coloured or len(names) < 2),
        )
        yield Text(drawing.title, "bold", overflow="fold")
        yield Text(drawing.subtitle, "dim", overflow="fold")
        for panel, (ticks, labels) in zip(drawing.panels, axes, strict=True):
            yield Text("")
            if len(drawing.panels) > 1:
                yield Text(f"{'':{look.margin + 2}}{panel.title}", "bold", overflow="fold")
            yield from _Plot(drawing, panel, ticks, labels, look).rows()
        if names:
            yield Text("")
            yield from _legend(drawing.legend_title, names, look)
        for note in filter(None, [drawing.more, *drawing.notes]):
            yield Text(note, "dim", overflow="fold")


def _names(drawing: Drawing) -> list[str]:
    """Return what is in the legend: a line has one colour here, and no dashes."""
    if not drawing.dashes:
        return drawing.colours
    return [f"{colour} · {dashes}" for colour in drawing.colours for dashes in drawing.dashes]


def _legend(title: str, names: Sequence[str], look: _Look) -> Iterator[Text]:
    """Yield the names in columns of the same width."""
    head = f"{title}: " if title else ""
    signs = ["━━" if look.braille else look.symbol(place) for place in range(len(names))]
    widest = max(map(cell_len, names))
    columns = max((look.width - cell_len(head)) // (widest + len(signs[0]) + 4), 1)
    for first in range(0, len(names), columns):
        row = Text(overflow="fold").append(head if first == 0 else " " * cell_len(head), "dim")
        for place in range(first, min(first + columns, len(names))):
            row.append(signs[place], look.colour(place)).append(f" {set_cell_size(names[place], widest)}   ")
        row.rstrip()
        yield row


class _Plot:
    """One panel, row by row."""

    def __init__(
        self, drawing: Drawing, panel: Panel, ticks: Sequence[float], labels: Sequence[str], look: _Look
    ) -> None:
        self._drawing, self._panel, self._look = drawing, panel, look
        self._ticks, self._labels = ticks, labels
        self._width = max(look.width - look.margin - 2, 8)
        between = len(ticks) - 1
        about = _HEIGHTS.get(len(drawing.panels), 7)
        self._height = max(round((about - 1) / between), 1) * between + 1

    def rows(self) -> Iterator[Text]:
        """Yield the rows from the top, then the axis of time."""
        characters, owners = self._drawn()
        every = (self._height - 1) // (len(self._ticks) - 1)
        for row in range(self._height):
            from_below = self._height - 1 - row
            tick = from_below % every == 0
            label = self._labels[from_below // every] if tick else ""
            edge = ("┤" if tick else "│") if self._look.unicode else "|"
            line = Text.assemble((f"{label:>{self._look.margin}} {edge}", "dim"))
            grid = ("┈" if self._look.unicode else " ") if tick and from_below else " "
            for character, owner in zip(characters[row], owners[row], strict=True):
                if owner < 0:
                    line.append(grid, "bright_black")
                else:
                    line.append(character, self._look.colour(owner))
            line.rstrip()
            yield line
        yield from self._time_axis()

    def _drawn(self) -> tuple[list[str], npt.NDArray[np.int64]]:
        """Return characters, and the line that each belongs to, -1 where there is none."""
        high, wide = (4, 2) if self._look.braille else (1, 1)
        owners = np.full((self._height, self._width), -1)
        dots = np.zeros((self._height * high, self._width * wide), np.bool_)
        symbols = np.full((self._height, self._width), " ")
        for colour, dashes, line in reversed(self._panel.lines):
            place = colour * max(len(self._drawing.dashes), 1) + dashes
            mine = self._dots(line, dots.shape)
            dots |= mine
            cells = mine.reshape(self._height, high, self._width, wide).any(axis=(1, 3))
            owners[cells] = place
            symbols[cells] = self._look.symbol(place)
        if not self._look.braille:
            return ["".join(row) for row in symbols], owners
        bits = dots.reshape(self._height, 4, self._width, 2).transpose(0, 2, 1, 3) * _DOTS
        return ["".join(chr(0x2800 + cell) for cell in row) for row in bits.sum(axis=(2, 3))], owners

    def _dots(self, line: Line, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """Mark the dots that a line goes through."""
        marked = np.zeros(shape, np.bool_)
        if not len(line.times):
            return marked
        x, y = self._places(line, shape)
        new = np.append(True, x[1:] != x[:-1])
        starts = np.flatnonzero(new)
        lows, highs = np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)
        ends = np.append(starts[1:], len(x)) - 1
        top = shape[0] - 1
        for low, high, column in zip(lows, highs, x[starts], strict=True):
            marked[top - high : top - low + 1, column] = True
        for end, start in zip(ends[:-1], starts[1:], strict=True):
            if x[start] - x[end] > 1 and line.gaps[start]:
                continue
            steps = int(max(x[start] - x[end], abs(y[start] - y[end])))
            between = np.rint(np.linspace((x[end], y[end]), (x[start], y[start]), steps + 1)).astype(np.int64)
            marked[top - between[:, 1], between[:, 0]] = True
        return marked

    def _places(self, line: Line, shape: tuple[int, int]) -> tuple[npt.NDArray[np.int64], ...]:
        """Return the column and the row, from below, of each point."""
        first, length = self._drawing.first, max(self._drawing.last - self._drawing.first, 1)
        along = (line.times - first).astype(np.float64) / length
        bottom, top = self._ticks[0], self._ticks[-1]
        # One row of text has the bottom tick in its middle, and another one the top tick.
        share = (line.values - bottom) / (top - bottom)
        each = shape[0] // self._height
        up = share * (shape[0] - each) + (each - 1) / 2
        x = np.rint(along * (shape[1] - 1)).astype(np.int64)
        return x, np.clip(np.rint(up).astype(np.int64), 0, shape[0] - 1)

    def _time_axis(self) -> Iterator[Text]:
        """Yield the axis of time and what stands below it."""
        drawing = self._drawing
        corner, along, down = "└─┬" if self._look.unicode else "+-+"
        axis, names = [along] * self._width, [" "] * (self._width + self._look.margin + 2)
        free = 0
        for time, name in time_ticks(drawing.first, drawing.last, drawing.timezone, max(self._width // 9, 2)):
            place = round((time - drawing.first) / max(drawing.last - drawing.first, 1) * (self._width - 1))
            axis[place] = down
            start = min(place + self._look.margin + 2 - len(name) // 2, len(names) - len(name))
            if start >= free:
                names[start : start + len(name)] = name
                free = start + len(name) + 1
        yield Text(f"{'':>{self._look.margin}} {corner}{''.join(axis)}", "dim")
        yield Text("".join(names).rstrip(), "dim")
