"""Charts as pictures, drawn by matplotlib."""

from __future__ import annotations

import datetime
import importlib
import textwrap
import warnings
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import pyarrow as pa

from measurefs.cli._drawing import Drawing, Panel
from measurefs.cli._lines import Line
from measurefs.cli.common import BadInput

Axes: TypeAlias = Any
Figure: TypeAlias = Any
"""Those of matplotlib, which may not be there."""

PICTURES = (".png", ".svg", ".pdf")

_COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
"""Told apart by the colour-blind, too (Petroff, arXiv:2107.02270)."""
_DASHES = ("-", "--", ":", "-.")
_STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8a8a",
    "axes.labelcolor": "#333333",
    "axes.axisbelow": True,
    "xtick.color": "#8a8a8a",
    "ytick.color": "#8a8a8a",
    "xtick.labelcolor": "#333333",
    "ytick.labelcolor": "#333333",
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "text.parse_math": False,  # a $ in a name is no formula
    "svg.fonttype": "none",
    "svg.hashsalt": "measurefs",
    "path.simplify": True,
    "agg.path.chunksize": 20_000,
}
_OTHER_SCRIPTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "WenQuanYi Zen Hei", "Droid Sans Fallback"),
    *("PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Arial Unicode MS"),
)
_GREY = "#666666"
_WIDTH = 10.0
_LONG_NAME = 30
_DOTS_PER_INCH = 160


def save_picture(drawing: Drawing, stream: BinaryIO, form: str) -> tuple[int, int]:
    """Draw a picture.

    Parameters
    ----------
    drawing : Drawing
    stream : binary file
    form : {"png", "svg", "pdf"}

    Returns
    -------
    (int, int)
        Its width and height in pixels, as a PNG.

    Raises
    ------
    BadInput
        matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - optional, and slow to import
        from matplotlib import figure as figures  # noqa: PLC0415
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    except ImportError as error:
        raise BadInput(
            "pictures need matplotlib, which is not installed; install it with pip install 'measurefs[plot]', "
            "or draw in the terminal with --plot alone"
        ) from error
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # names may be in any script
        mpl.rcParams["font.family"] = ["sans-serif", *_fonts_of_other_scripts()]
        figure: Figure = figures.Figure(
            figsize=(_WIDTH, _height(drawing)), dpi=_DOTS_PER_INCH, layout="constrained"
        )
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
        FigureCanvasAgg(figure)
        _fill(figure, drawing)
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form)
        figure.savefig(stream, format=form, metadata=metadata)
    width, height = figure.get_size_inches() * _DOTS_PER_INCH
    return round(width), round(height)


def _fonts_of_other_scripts() -> list[str]:
    """Return those that are there for letters that the usual font does not have."""
    from matplotlib.font_manager import get_font_names  # noqa: PLC0415

    return [name for name in _OTHER_SCRIPTS if name in set(get_font_names())]


def _height(drawing: Drawing) -> float:
    each = {1: 4.4, 2: 2.9}.get(len(drawing.panels), 2.2)
    return 1.0 + each * len(drawing.panels)


def _fill(figure: Figure, drawing: Drawing) -> None:
    axes = list(figure.subplots(len(drawing.panels), 1, sharex=True, squeeze=False)[:, 0])
    for each, panel in zip(axes, drawing.panels, strict=True):
        _draw_panel(each, panel)
    _date_axis(axes[-1], drawing)
    _titles(axes[0], drawing)
    figure.align_ylabels(axes)
    _legend(figure, drawing)
    notes = [line for note in (drawing.more, *drawing.notes) for line in textwrap.wrap(note, 130)]
    if notes:
        axes[-1].set_xlabel("\n".join(notes), x=0, ha="left", fontsize=8.5, color=_GREY, labelpad=8)


def _titles(axes: Axes, drawing: Drawing) -> None:
    """Put the title above the first panel, and the subtitle between them."""
    subtitle = "\n".join(textwrap.wrap(drawing.subtitle, 105))
    lines = subtitle.count("\n") + 1
    style: dict[str, Any] = {"fontsize": 13, "fontweight": "bold", "color": "#222222"}
    axes.set_title("\n".join(textwrap.wrap(drawing.title, 64)), loc="left", pad=10 + 13 * lines, **style)
    above = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (0, 8), "textcoords": "offset points"}
    axes.annotate(subtitle, fontsize=9, color=_GREY, va="bottom", **above)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for colour, dashes, line in reversed(panel.lines):
        times, values = _with_gaps(line)
        few = len(line.times) <= 60
        axes.plot(
            times,
            values,
            color=_COLOURS[colour % len(_COLOURS)],
            linestyle=_DASHES[dashes % len(_DASHES)],
            linewidth=1.6 if len(line.times) <= 400 else 1.1 if len(line.times) <= 1500 else 0.7,
            marker="o" if few or _has_lonely(line) else None,
            markersize=3.2 if few else 1.6,
            solid_joinstyle="round",
        )
    ticks, labels = panel.axis(6)
    axes.set_yticks(ticks, labels)
    space = 0.05 if panel.truth else 0
    axes.set_ylim(ticks[0] - space, ticks[-1] + space)
    axes.set_ylabel(panel.title)
    axes.grid(visible=True)
    axes.tick_params(length=3)


def _with_gaps(line: Line) -> tuple[Any, Any]:
    """Return what matplotlib draws, with a value that is none in each gap."""
    gaps = np.flatnonzero(line.gaps)
    times = np.insert(line.times, gaps, line.times[gaps]).view("datetime64[ns]")
    return times, np.insert(line.values, gaps, np.nan)


def _has_lonely(line: Line) -> bool:
    """Whether there are points between two gaps, which no line shows."""
    alone = line.gaps & np.append(line.gaps[1:], True)
    return bool(alone.any())


def _date_axis(axes: Axes, drawing: Drawing) -> None:
    dates: Any = importlib.import_module("matplotlib.dates")
    zone: datetime.tzinfo = pa.lib.string_to_tzinfo(drawing.timezone)
    locator = dates.AutoDateLocator(tz=zone, minticks=4, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        dates.ConciseDateFormatter(locator, tz=zone, show_offset=False, **_FORMATS)
    )
    first, last = (dates.date2num(np.datetime64(time, "ns")) for time in (drawing.first, drawing.last))
    margin = max((last - first) * 0.01, 1e-9)
    axes.set_xlim(first - margin, last + margin)


_FORMATS: dict[str, Any] = {
    "formats": ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%S.%f"],
    "zero_formats": ["", "%Y", "%b", "%d %b", "%H:%M", "%H:%M"],
}


def _legend(figure: Figure, drawing: Drawing) -> None:
    """Tell what the colours are, and below what the dashes are, beside the panels or, if that is long, under them."""
    names = [*drawing.colours, *drawing.dashes]
    if not names:
        return
    line_2d: Any = importlib.import_module("matplotlib.lines").Line2D
    handles = [
        line_2d([], [], color=_COLOURS[place % len(_COLOURS)], linewidth=2)
        for place in range(len(drawing.colours))
    ]
    handles += [
        line_2d([], [], color=_GREY, linestyle=_DASHES[place % len(_DASHES)], linewidth=1.6)
        for place in range(len(drawing.dashes))
    ]
    below = max(map(len, names)) > _LONG_NAME
    legend = figure.legend(
        handles,
        [str(place) for place in range(len(names))],
        title=drawing.legend_title or None,
        loc="outside lower left" if below else "outside right upper",
        ncols=2 if below else 1,
        frameon=False,
        alignment="left",
        handlelength=1.8,
        borderaxespad=1.2,
        title_fontproperties={"size": 9.5, "weight": "bold"},
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)  # given at once, a name that begins with _ would be left out
