"""Tables of what was found: for the terminal, and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from benchmarks.budgets import OURS, Verdict, verdicts
from benchmarks.measures import BY_KEY, MEASURES, Measure
from benchmarks.results import MACHINE, Results, Spread

TITLES = {
    "ingest": "Ingest: {series:,} series x {rows:,} rows in batches of 10,000; "
    "many series: {wide_series:,} x {wide_rows:,} in batches of 100,000",
    "appends": "Small durable appends, 1,000 rows each",
    "rewriting": "Rewriting in {series:,} series x {rows:,} rows, compacted",
    "queries": "Questions, warm: {series:,} series x {rows:,} rows, compacted",
    "cold": "Questions, cold: each by a process of its own, files in the system's cache",
    "s3": "On an object store that takes 20 ms for each request",
    "limits": "This machine alone",
}
"""Of the tables; the shapes come from the results."""
VARIANT = "measurefs, 1 thread"


class Row(NamedTuple):
    """A measure with what was found, in the order of the columns.

    Attributes
    ----------
    best : str
        The engine that is first.
    ahead : float or None
        How many times better measurefs is than the best of the others.
    share : float or None
        How much of what the machine can do it reaches.
    """

    measure: Measure
    title: str
    cells: list[Spread | None]
    best: str
    ahead: float | None
    share: float | None


def short(figure: float) -> str:
    """Return a figure with about three digits."""
    if math.isnan(figure):
        return "-"
    size = abs(figure)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{figure:,.{digits}f}"


def columns(results: Results, group: str) -> list[str]:
    """Return whom a group has figures of, as they were chosen, the machine last."""
    there = {engine for key, found in results.figures.items() if key in BY_KEY for engine in found} & {
        engine
        for measure in MEASURES
        if measure.group == group
        for engine in results.figures.get(measure.key, {})
    }
    return [name for name in (*results.shape["engines"], MACHINE) if name in there]


def rows(results: Results, group: str) -> list[Row]:
    """Return the rows of a group that have figures."""
    names, found = columns(results, group), []
    for measure in MEASURES:
        figures = results.figures.get(measure.key, {})
        if measure.group != group or not figures:
            continue
        medians = {name: spread.median for name, spread in figures.items() if name != MACHINE}
        peers = {name: each for name, each in medians.items() if name not in (OURS, VARIANT)}
        pick = max if measure.more else min
        ours, machine = medians.get(OURS), results.median(measure.key, MACHINE)
        row = Row(
            measure,
            measure.title.format(**results.shape),
            [figures.get(name) for name in names],
            best=pick(medians, key=medians.__getitem__) if len(medians) > 1 else "",
            ahead=measure.ratio(ours, pick(peers.values())) if ours and peers else None,
            share=measure.ratio(ours, machine) if ours and machine else None,
        )
        found.append(row)
    return found


def table(results: Results, group: str) -> Table | None:
    """Return a group's table, None if it has no figures."""
    found, names = rows(results, group), columns(results, group)
    if not found:
        return None
    shown = _table(TITLES[group].format(**results.shape))
    shown.add_column("", min_width=28, max_width=44)
    shown.add_column("", no_wrap=True)
    for name in names:
        shown.add_column(name, justify="right", style="dim" if name == MACHINE else "")
    extra = group != "limits"
    if extra:
        shown.add_column("x best peer", justify="right")
        shown.add_column("of the limit", justify="right")
    for row in found:
        cells = [_cell(each, bold=name == row.best) for name, each in zip(names, row.cells, strict=True)]
        shown.add_row(
            row.title, row.measure.unit, *cells, *([_ahead(row.ahead), _share(row.share)] if extra else [])
        )
    return shown


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)


def _cell(spread: Spread | None, *, bold: bool) -> Text:
    if spread is None:
        return Text("-", "dim")
    cell = Text(short(spread.median), "bold" if bold else "")
    if spread.runs > 1:
        cell.append(f"\n{short(spread.low)}..{short(spread.high)}", "dim")
    return cell


def _ahead(ratio: float | None) -> Text:
    return Text(
        "-" if ratio is None else f"{ratio:.2f}", "" if ratio is None else "green" if ratio >= 1 else "red"
    )


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def budget_table(results: Results) -> Table | None:
    """Return every budget beside its figure, None if none was measured."""
    found = verdicts(results)
    if all(verdict.figure is None for verdict in found):
        return None
    scale = results.shape["scale"]
    shown = _table("Budgets" if scale == 1 else f"Budgets, which are for scale 1: this is {scale:g}")
    for heading, justify in (
        ("", "left"),
        ("budget", "right"),
        ("found", "right"),
        ("", "left"),
        ("", "left"),
    ):
        shown.add_column(heading, justify=justify)
    for verdict in found:
        met = {True: Text("met", "green"), False: Text("missed", "red"), None: Text("not measured", "dim")}[
            verdict.met
        ]
        shown.add_row(*_budget(results, verdict), met, verdict.budget.note)
    return shown


def _budget(results: Results, verdict: Verdict) -> tuple[str, str, str]:
    budget, measure = verdict.budget, BY_KEY[verdict.budget.key]
    bound = "-" if verdict.bound is None else f"{short(verdict.bound)} {measure.unit}"
    if budget.of:
        bound += f" ({'' if budget.bound == 1 else f'{budget.bound:g} x '}{budget.of})"
    figure = "-" if verdict.figure is None else short(verdict.figure)
    word = "at least" if measure.more else "at most"
    return measure.title.format(**results.shape), f"{word} {bound}", figure


def growth_tables(results: Results) -> Iterator[Table]:
    """Yield tables of figures at several sizes, with their exponents."""
    for kind, found in results.growth.items():
        shown = _table(f"measurefs with more {kind}")
        shown.add_column("")
        shown.add_column("")
        for amount in found["amounts"]:
            shown.add_column(f"{amount:,} {kind}", justify="right")
        shown.add_column("exponent", justify="right")
        shown.add_column("of the ideal", justify="right")
        for each in found["figures"].values():
            values = (short(value) for value in each["values"])
            shown.add_row(
                each["title"], each["unit"], *values, f"{each['exponent']:.2f}", f"{each['expected']:g}"
            )
        yield shown


def everything(results: Results) -> Group:
    """Return all tables."""
    shown = [each for group in TITLES if (each := table(results, group)) is not None]
    shown += growth_tables(results)
    if (budgets := budget_table(results)) is not None:
        shown.append(budgets)
    return Group(*shown)


def markdown(results: Results) -> str:
    """Return all tables as Markdown."""
    parts = []
    for group, title in TITLES.items():
        found, names = rows(results, group), columns(results, group)
        if not found:
            continue
        ours = [] if group == "limits" else ["x best peer", "of the limit"]
        lines = [_line(["", "", *names, *ours]), _line(["---", "---", *["---:"] * (len(names) + len(ours))])]
        for row in found:
            cells = [_plain(each, bold=name == row.best) for name, each in zip(names, row.cells, strict=True)]
            more = [str(_ahead(row.ahead)), _share(row.share)] if ours else []
            lines.append(_line([row.title, row.measure.unit, *cells, *more]))
        parts.append(f"### {title.format(**results.shape)}\n\n" + "\n".join(lines))
    for kind, found_growth in results.growth.items():
        amounts = [f"{amount:,}" for amount in found_growth["amounts"]]
        heads = ["", "", *amounts, "exponent", "of the ideal"]
        lines = [_line(heads), _line(["---", "---", *["---:"] * (len(heads) - 2)])]
        for each in found_growth["figures"].values():
            values = [short(value) for value in each["values"]]
            lines.append(
                _line(
                    [each["title"], each["unit"], *values, f"{each['exponent']:.2f}", f"{each['expected']:g}"]
                )
            )
        parts.append(f"### With more {kind}\n\n" + "\n".join(lines))
    lines = [_line(["budget", "", "found", ""]), _line(["---"] * 4)]
    for verdict in verdicts(results):
        word = {True: "met", False: "**missed**", None: "not measured"}[verdict.met]
        title, bound, figure = _budget(results, verdict)
        note = f" ({verdict.budget.note})" if verdict.budget.note else ""
        lines.append(_line([title, bound + note, figure, word]))
    parts.append("### Budgets\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(spread: Spread | None, *, bold: bool) -> str:
    if spread is None:
        return "-"
    mark = "**" if bold else ""
    ends = f" ({short(spread.low)} to {short(spread.high)})" if spread.runs > 1 else ""
    return f"{mark}{short(spread.median)}{mark}{ends}"
