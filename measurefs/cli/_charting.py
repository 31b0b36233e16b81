"""From a query to a chart: which columns are drawn, in which panels, and which lines of many."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from measurefs.cli._axes import span, unit_of
from measurefs.cli._drawing import MOST_LINES, MOST_PANELS, Drawing, Panel, is_drawable, times_of
from measurefs.cli._functions import ROWS
from measurefs.cli._lines import Collected, collect
from measurefs.cli._requests import Request
from measurefs.cli.common import BadInput, count, plural
from measurefs.codec.types import ColumnType
from measurefs.query import MAX_TIME, MIN_TIME, TIME, check_names
from measurefs.query.aggregation.buckets import parse_buckets

_ROWS = "number of rows"
_OF_OTHER_SIZE = {"count": "number of values", "sum": "sum"}
"""Functions whose results are of another size than the values, and so have a panel of their own."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Curve:
    """A column of the result, the measure's column that it is about, and where it is drawn."""

    column: str
    source: str
    panel: str
    function: str
    unit: str
    truth: bool = False


def draw(request: Request) -> Drawing | None:
    """Make a query and return it as a chart; None if there is nothing to draw.

    Raises
    ------
    BadInput
        It has no column that is a number, or far too many lines.
    """
    timezone = request.options.timezone or "UTC"
    parse_buckets("1d", None, timezone)  # refuses a time zone that it does not know
    curves, left_out = _curves_of_functions(request) if request.options.agg else _curves_of_rows(request)
    if not curves:
        raise BadInput(
            f"there is no number to draw in {', '.join(left_out) or 'these columns'}; "
            "name a number with --columns, or add --agg count --every 1h to draw how many rows there are"
        )
    panels = list(dict.fromkeys(curve.panel for curve in curves))
    notes = [f"not drawn, for they are no numbers: {', '.join(left_out)}"] if left_out else []
    if len(panels) > MOST_PANELS:
        rest = panels[MOST_PANELS:]
        choose = "--agg COL:FUNCTION" if request.options.agg else "--columns"
        notes.append(f"and {plural(len(rest), 'more column')}: {_listed(rest)} (choose with {choose})")
        curves = [curve for curve in curves if curve.panel not in rest]
    keys = request.by if request.options.agg else list(request.schema.entity)
    wanted = None if request.options.agg else [TIME, *keys, *(curve.column for curve in curves)]
    result = request.result(wanted)
    try:
        found = collect(result.to_batches(), keys, [curve.column for curve in curves])
    finally:
        result.close()
    if any(lines.thinned for lines in found.columns.values()):
        notes.append(
            "there are more points than a chart shows: drawn are the least and greatest of each moment"
        )
    return _drawing(request, found, keys, curves, notes, timezone)


def _curves_of_rows(request: Request) -> tuple[list[_Curve], list[str]]:
    """Return the fields, or the columns asked for, and those that cannot be drawn."""
    schema = request.schema
    names = request.columns
    if names is None:
        names = list(schema.fields)
    check_names(names, schema.names, "--columns")
    columns = {name: schema.columns[name] for name in names if name in schema.columns}
    curves = [
        _Curve(name, name, name, "", unit_of(name), kind is ColumnType.BOOL)
        for name, kind in columns.items()
        if is_drawable(kind)
    ]
    return curves, [name for name in columns if not is_drawable(columns[name])]


def _curves_of_functions(request: Request) -> tuple[list[_Curve], list[str]]:
    curves, left_out = [], []
    for column, functions in request.functions.items():
        for function in functions:
            if column == ROWS:
                curves.append(_Curve("count", ROWS, _ROWS, "count", ""))
                continue
            name, kind = f"{column}_{function}", request.schema.columns[column]
            if function in ("min", "max", "first", "last") and not is_drawable(kind):
                left_out.append(name)
                continue
            other = _OF_OTHER_SIZE.get(function)
            panel = f"{column}, {other}" if other else column
            curves.append(
                _Curve(name, column, panel, function, "" if function == "count" else unit_of(column))
            )
    return curves, left_out


def _drawing(
    request: Request,
    found: Collected,
    keys: Sequence[str],
    curves: Sequence[_Curve],
    notes: list[str],
    timezone: str,
) -> Drawing | None:
    """Choose the lines to show and put everything together."""
    regular = request.options.every is not None
    panels = {curve.panel: Panel(curve.panel, curve.unit, curve.truth, []) for curve in curves}
    together = {curve.function for curve in curves if len([c for c in curves if c.panel == curve.panel]) > 1}
    functions = [name for name in dict.fromkeys(curve.function for curve in curves) if name in together]
    shown, more = _chosen(found, curves[0], max(MOST_LINES // max(len(functions), 1), 1))
    if not shown:
        return None
    many = len(shown) > 1 or bool(more)
    for place, group in enumerate(shown):
        for curve in curves:
            line = found.columns[curve.column].line(group, regular=regular)
            function = functions.index(curve.function) if curve.function in together else 0
            if len(line.times):
                panels[curve.panel].lines.append((place, function, line) if many else (function, 0, line))
    drawn = [panel for panel in panels.values() if panel.lines]
    first, last = times_of(drawn)
    first, last = _asked_span(request, first, last)
    names = [", ".join(map(_shown, found.names[group])) for group in shown]
    return Drawing(
        title=_title(request, curves, together),
        subtitle=_subtitle(request, None if many else found.names[shown[0]], keys, first, last, timezone),
        legend_title=", ".join(keys) if many else "",
        colours=names if many else functions,
        dashes=functions if many else [],
        more=more,
        panels=drawn,
        timezone=timezone,
        first=first,
        last=last,
        notes=notes,
    )


def _chosen(found: Collected, curve: _Curve, most: int) -> tuple[list[int], str]:
    """Return the lines to show, in the order of their names, and what is said of the others."""
    chosen = np.flatnonzero(found.drawn())
    total = len(chosen)
    more = ""
    if total > most:
        means = found.columns[curve.column].means(len(found.names))[chosen]
        chosen = chosen[np.argsort(np.nan_to_num(-means, nan=np.inf), kind="stable")[:most]]
        what = "number of rows" if curve.panel == _ROWS else f"{curve.function or 'mean'} of {curve.source}"
        more = (
            f"and {count(total - most)} more: shown are the {most} of {count(total)} with the highest {what}"
        )
    return sorted((int(place) for place in chosen), key=lambda place: _sortable(found.names[place])), more


def _sortable(name: tuple[Any, ...]) -> list[tuple[bool, Any]]:
    return [(value is None, "" if value is None else value) for value in name]


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)


def _asked_span(request: Request, first: int, last: int) -> tuple[int, int]:
    """Return the span of time that was asked for, unless the lines would fill but a small part of it."""
    if first == last:
        return max(first - 10**9, MIN_TIME), min(last + 10**9, MAX_TIME)
    low = first if request.start is None else min(request.start, first)
    high = last if request.end is None else max(request.end, last)
    return (low, high) if high - low <= 4 * (last - first) else (first, last)


def _title(request: Request, curves: Sequence[_Curve], together: set[str]) -> str:
    """Say what is drawn: ``cpu: mean and max of usage by host, every 5m``."""
    name = request.schema.name
    options = request.options
    columns = list(dict.fromkeys(curve.panel for curve in curves))
    if not options.agg:
        return f"{name}: {_listed(columns)}"
    functions = list(dict.fromkeys(curve.function for curve in curves))
    about = list(dict.fromkeys(column for column in request.functions if column != ROWS))
    what = _ROWS
    if about:
        named = [function for function in functions if function != "count" or ROWS not in request.functions]
        what = f"{_listed(named or functions)} of {_listed(about)}"
        if ROWS in request.functions:
            what += f", {_ROWS}"
    by = f" by {_listed(request.by)}" if request.by else ""
    return f"{name}: {what}{by}, every {options.every}"


def _listed(names: Sequence[str], most: int = 4) -> str:
    """Return names as they stand in a sentence: ``a, b and c``."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _subtitle(
    request: Request,
    only: tuple[Any, ...] | None,
    keys: Sequence[str],
    first: int,
    last: int,
    timezone: str,
) -> str:
    """Say when, which line if there is only one, and under which conditions."""
    parts = [span(first, last, timezone)]
    named = {} if only is None else dict(zip(keys, map(_shown, only), strict=True))
    parts += [f"{key} = {value}" for key, value in named.items()]
    said = {f"{key}={value}" for key, value in named.items()}
    conditions = [text for text in request.options.where if text not in said]
    parts += conditions if len(conditions) <= 3 else [f"{len(conditions)} conditions"]
    if request.options.as_of is not None:
        parts.append(f"as of {request.options.as_of}")
    return " · ".join(parts)
