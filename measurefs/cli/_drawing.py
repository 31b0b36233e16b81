"""What a chart shows, whether in a terminal or in a picture."""

from __future__ import annotations

import dataclasses

import numpy as np

from measurefs.cli._axes import numbers, scale
from measurefs.cli._lines import Line
from measurefs.codec.types import ColumnType

MOST_LINES = 10
MOST_PANELS = 6


@dataclasses.dataclass(slots=True)
class Panel:
    """Lines with an axis of values of their own; it has at least one, and each has at least one point.

    Attributes
    ----------
    title, unit : str
        What the values are, and their unit, which may be empty.
    truth : bool
        Whether they are true and false.
    lines : list of (int, int, Line)
        Each with the place of its colour in `Drawing.colours`, and of its dashes in `Drawing.dashes`.
    """

    title: str
    unit: str
    truth: bool
    lines: list[tuple[int, int, Line]]

    def axis(self, most: int) -> tuple[list[float], list[str]]:
        """Return the ticks of the axis, at most so many, from its end to its end, and how they read."""
        if self.truth:
            return [0.0, 1.0], ["false", "true"]
        values = [line.values for *_, line in self.lines]
        ticks = scale(
            float(min(each.min() for each in values)), float(max(each.max() for each in values)), most
        )
        return ticks, numbers(ticks, self.unit)


@dataclasses.dataclass(slots=True)
class Drawing:
    """A chart.

    Attributes
    ----------
    title, subtitle : str
    legend_title : str
        What the colours tell apart; may be empty.
    colours : list of str
        What each colour stands for; empty if there is one, which needs no legend.
    dashes : list of str
        What each kind of dashes stands for; likewise.
    more : str
        What the chart does not show, for below the legend; may be empty.
    panels : list of Panel
        Over the same span of time.
    timezone : str
    first, last : int
        The span of time, in nanoseconds since 1970-01-01 UTC.
    notes : list of str
        What was left out or changed, for below the chart.
    """

    title: str
    subtitle: str
    legend_title: str
    colours: list[str]
    dashes: list[str]
    more: str
    panels: list[Panel]
    timezone: str
    first: int
    last: int
    notes: list[str]


def is_drawable(kind: ColumnType) -> bool:
    """Whether values of a type can stand on an axis."""
    return kind in (ColumnType.INT64, ColumnType.FLOAT64, ColumnType.BOOL)


def times_of(panels: list[Panel]) -> tuple[int, int]:
    """Return the first and the last time of all lines."""
    times = [line.times for panel in panels for *_, line in panel.lines]
    return int(np.min([each[0] for each in times])), int(np.max([each[-1] for each in times]))
