"""Pictures of what was found: every engine relative to the best, measurefs beside the machine, and growth."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.budgets import OURS
from benchmarks.report import TITLES, VARIANT, Row, columns, rows, short
from benchmarks.results import MACHINE, Results

COLOURS = {
    OURS: "#d1495b",
    VARIANT: "#eda3ac",
    "Parquet (pyarrow)": "#30638e",
    "Parquet (Polars)": "#5fa8d3",
    "DuckDB": "#edae49",
    "Delta Lake": "#00798c",
    "Lance": "#8d6cab",
    "ArcticDB": "#6a994e",
    "SQLite": "#7f7f7f",
    MACHINE: "#bbbbbb",
}
NAMES = {"ingest": "Writing", "queries": "Questions, warm", "cold": "Questions of new processes"}
TOGETHER = {"ingest": ("ingest", "appends", "rewriting")}
"""Groups that are in another's picture."""
WORST = 200.0
"""Times the best: what is further away is drawn at the edge."""


def draw(results: Results, folder: Path) -> Iterator[Path]:
    """Draw what there are figures of, and yield the files."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams.update({"font.size": 9, "axes.axisbelow": True, "savefig.dpi": 130})
    folder.mkdir(parents=True, exist_ok=True)
    for group, name in NAMES.items():
        groups = TOGETHER.get(group, (group,))
        found = [row for each in groups for row in rows(results, each) if row.best]
        if found:
            engines = [*dict.fromkeys(each for one in groups for each in columns(results, one))]
            title = f"{name}: how many times the best, which is in brackets"
            yield _save(_compared(results, found, engines, title), folder / f"{group}.png")
    bounded = [row for group in TITLES for row in rows(results, group) if row.share is not None]
    if bounded:
        yield _save(_shares(results, bounded), folder / "limits.png")
    if results.growth:
        yield _save(_growth(results.growth), folder / "growth.png")


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, facecolor="white", metadata={"Software": None})
    return path


def _compared(results: Results, found: list[Row], names: list[str], title: str) -> Any:
    """Draw a line for each row, and on it a mark for each engine: bars of ten engines would hide each other."""
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(9, 1.3 + 0.36 * len(found)), layout="constrained")
    drawn: set[str] = set()
    for place, row in enumerate(found):
        figures = {name: spread.median for name, spread in results.figures[row.measure.key].items()}
        best = figures[row.best]
        for name in names:
            if name == MACHINE or name not in figures or not figures[name]:
                continue
            ratio = 1 / row.measure.ratio(figures[name], best)
            ours = name == OURS
            axis.plot(
                min(ratio, WORST),
                place,
                marker=">" if ratio > WORST else "D" if ours else "o",
                markersize=9 if ours else 7,
                color=COLOURS[name],
                markeredgecolor="white",
                markeredgewidth=0.7,
                linestyle="none",
                label=None if name in drawn else name,
                zorder=4 if ours else 3,
            )
            drawn.add(name)
    axis.axvline(1, color="#999999", linewidth=0.8)
    axis.set(xscale="log", xlim=(0.85, WORST * 1.15), ylim=(len(found) - 0.5, -0.5))
    axis.set_title(title, loc="left", fontsize=10)
    axis.set_yticks(
        range(len(found)), [_label(row, results.figures[row.measure.key][row.best].median) for row in found]
    )
    _ticks(axis, (1, 2, 5, 10, 20, 50, 100, 200), "{:g} x")
    axis.grid(axis="y", color="#dddddd")
    axis.grid(axis="x", color="#eeeeee")
    axis.tick_params(length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    handles, labels = axis.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda number: names.index(labels[number]))
    figure.legend(
        [handles[number] for number in order],
        [labels[number] for number in order],
        loc="outside lower center",
        ncols=5,
        frameon=False,
        fontsize=8,
    )
    return figure


def _label(row: Row, best: float) -> str:
    """Return a row's title, and what its best is."""
    return f"{textwrap.shorten(row.title, 70, placeholder='...')}  [{short(best)} {row.measure.unit}]"


def _shares(results: Results, found: list[Row]) -> Any:
    """Draw for each row how much of what the machine can do measurefs reaches: the way to 100 % is what is left."""
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(9, 0.8 + 0.24 * len(found)), layout="constrained")
    shares = [100 * (row.share or 0.0) for row in found]
    places = range(len(found))
    axis.hlines(places, shares, 100, color="#dddddd", linewidth=3)
    axis.plot(shares, places, "D", color=COLOURS[OURS], markersize=7)
    for place, share in enumerate(shares):
        axis.text(share / 1.25, place, f"{share:.2g} %", va="center", ha="right", fontsize=8)
    axis.axvline(100, color="#999999", linewidth=0.8)
    axis.set(xscale="log", ylim=(len(found) - 0.4, -0.6), xlim=(min(*shares, 1) / 4, max(*shares, 100) * 1.3))
    axis.set_title(
        "measurefs: share of what the machine can do, which is in brackets", loc="left", fontsize=10
    )
    axis.set_yticks(
        range(len(found)),
        [f"{row.title}  [{short(_bound(results, row))} {row.measure.unit}]" for row in found],
    )
    _ticks(axis, (0.1, 1, 10, 100), "{:g} %")
    axis.tick_params(length=0)
    axis.grid(axis="x", color="#eeeeee")
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    return figure


def _bound(results: Results, row: Row) -> float:
    return results.figures[row.measure.key][MACHINE].median


def _ticks(axis: Any, places: tuple[float, ...], form: str) -> None:
    from matplotlib.ticker import NullLocator

    low, high = axis.get_xlim()
    inside = [place for place in places if low <= place <= high]
    axis.set_xticks(inside, [form.format(place) for place in inside])
    axis.xaxis.set_minor_locator(NullLocator())


def _growth(growth: dict[str, Any]) -> Any:
    """Draw lines of each figure relative to the first amount: with more rows, and with more series."""
    from matplotlib import pyplot
    from matplotlib.ticker import NullLocator

    panels = [
        (kind, expected)
        for kind, found in growth.items()
        for expected in sorted({each["expected"] for each in found["figures"].values()}, reverse=True)
    ]
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(4.3 * len(panels), 5.6), layout="constrained", squeeze=False
    )
    for axis, (kind, expected) in zip(axes[0], panels, strict=True):
        amounts = growth[kind]["amounts"]
        ideal = [(amount / amounts[0]) ** expected for amount in amounts]
        axis.plot(amounts, ideal, color="#bbbbbb", linewidth=4, label=f"ideal: {expected:g}")
        for each in growth[kind]["figures"].values():
            if each["expected"] == expected:
                values = [value / each["values"][0] for value in each["values"]]
                axis.plot(
                    amounts,
                    values,
                    marker="o",
                    markersize=4,
                    label=f"{each['title']}: {each['exponent']:.2f}",
                )
        word = "linear" if expected else "flat"
        axis.set(xscale="log", yscale="log", xlabel=kind)
        axis.set_xticks(amounts, [f"{amount:,}" for amount in amounts])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_ylim(*_limits(axis))
        axis.set_title(f"more {kind}: {word} is ideal", loc="left", fontsize=10)
        axis.grid(color="#eeeeee")
        axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(-0.05, -0.13))
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    axes[0][0].set_ylabel("times the figure of the smallest")
    return figure


def _limits(axis: Any) -> tuple[float, float]:
    """Return ends of an axis that do not make a tremble look like a mountain."""
    low, high = axis.get_ylim()
    return min(low, 0.3), max(high, 30.0)
