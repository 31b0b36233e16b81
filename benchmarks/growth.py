"""The same measures of measurefs with more rows, and with the same rows in more series: how each figure grows.

A figure that grows with the power e of the amount has the exponent e: one that is linear 1, one that is flat 0.
"""

from __future__ import annotations

import dataclasses
import gc
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from benchmarks.cold import ask
from benchmarks.data import STEP, saved
from benchmarks.engines import Measurefs
from benchmarks.fleet import NANOSECONDS, Asked, Fleet
from benchmarks.ingest import MIB, Stopwatch
from benchmarks.memory import forget_peak, peak
from benchmarks.places import Folder, size_of
from benchmarks.warming import warm_up

if TYPE_CHECKING:
    from benchmarks.run import Run

FACTORS, QUICK_FACTORS = (1, 4, 16), (1, 4)
SERIES, QUICK_SERIES = (1_000, 10_000, 100_000, 1_000_000), (1_000, 10_000)
ASKS, ENOUGH = 15, 1.0
OPENS = 5


@dataclasses.dataclass(frozen=True)
class Grown:
    """A figure, its unit, and the exponents that it should have with more rows and with more series."""

    title: str
    unit: str
    rows: float
    series: float | None = None


FIGURES = {
    "ingest": Grown("ingest, durable at the end", "s", 1, 0),
    "compaction": Grown("compaction", "s", 1, 0),
    "bytes": Grown("stored, compacted", "MB", 1, 0),
    "memory": Grown("peak memory of ingest above the start", "MiB", 0, 0),
    "compaction_memory": Grown("peak memory of compaction above the start", "MiB", 0, 0),
    "open": Grown("cold open", "ms", 0, 0),
    "open_answer": Grown("cold open to one series for an hour", "ms", 0, 0),
    "series_hour": Grown("one series for an hour", "ms", 0),
    "all_hour": Grown("all series for an hour", "ms", 0),
    "scan_value": Grown("all values of a field", "ms", 1, 0),
    "mean_by_series": Grown("mean of a field by series", "ms", 1),
    "last_rows": Grown("newest row of every series", "ms", 0),
}
WARM = ("series_hour", "all_hour", "scan_value", "mean_by_series", "last_rows")


def measure(run: Run) -> None:
    """Measure at each size, and fit exponents."""
    factors = QUICK_FACTORS if run.quick else FACTORS
    found = [_grown(run, run.fleet, factor) for factor in run.steps("growth, rows", factors, "{} x".format)]
    rows = [factor * run.fleet.total for factor in factors]
    run.results.note("growth.memory", Measurefs.name, max(each.get("memory", 0.0) for each in found))
    run.results.growth["rows"] = summary(rows, found, lambda grown: grown.rows)
    numbers = QUICK_SERIES if run.quick else SERIES
    fleets = [Fleet(number, max(run.fleet.total // number, 1)) for number in numbers]
    found = [
        _grown(run, fleet, 1)
        for fleet in run.steps("growth, series", fleets, lambda fleet: f"{fleet.series:,}")
    ]
    run.results.growth["series"] = summary(numbers, found, lambda grown: grown.series)


def summary(
    amounts: Sequence[int], found: Sequence[dict[str, float]], expected: Callable[[Grown], float | None]
) -> dict[str, Any]:
    """Return what JSON holds: amounts, and of each figure its values, exponent and the exponent it should have."""
    told: dict[str, Any] = {"amounts": [*amounts], "figures": {}}
    for name, grown in FIGURES.items():
        values = [each[name] for each in found if name in each]
        if expected(grown) is not None and len(values) == len(amounts):
            told["figures"][name] = {
                "title": grown.title,
                "unit": grown.unit,
                "values": values,
                "exponent": exponent(amounts, values),
                "expected": expected(grown),
            }
    return told


def exponent(amounts: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of the line through the logarithms."""
    if min(values) <= 0 or len(values) < 2:
        return float("nan")
    return float(np.polyfit(np.log(amounts), np.log(values), 1)[0])


def _grown(run: Run, fleet: Fleet, factor: int) -> dict[str, float]:
    """Return the figures at one size; the file of its rows is kept if the other groups use it too."""
    data = run.batches(fleet, 10_000 if fleet is run.fleet else 100_000)
    folder = run.new_folder("growth")
    asked = Asked.of(fleet)
    steps = (
        ("ingest", ingest, (folder, data, factor, fleet.rows * STEP)),
        ("compaction", compact, (folder,)),
        ("questions", questions, (folder, asked)),
    )
    found: dict[str, float] = {}
    for what, function, arguments in steps:
        done = run.attempt(f"growth, {what} of {factor} x {fleet.series:,} series", function, *arguments)
        found |= done.value if done is not None else {}
    cold = [
        run.attempt("growth, cold", ask, Measurefs.name, folder, asked, "series_hour") for _ in range(OPENS)
    ]
    opened = [done.value for done in cold if done is not None]
    if opened:
        found["open"] = statistics.median(opening for opening, _ in opened)
        found["open_answer"] = statistics.median(map(sum, opened))
    shutil.rmtree(folder, ignore_errors=True)
    if fleet is not run.fleet:
        data.unlink()
    return found


def _later(batches: Sequence[pa.Table], factor: int, span: int) -> Iterator[pa.Table]:
    """Yield the batches again and again, each time later by their whole span."""
    for number in range(factor):
        for batch in batches:
            times = np.asarray(batch["time"].cast(pa.int64())) + number * span
            yield batch.set_column(0, "time", pa.array(times).view(NANOSECONDS))


def ingest(folder: Path, data: Path, factor: int, span: int) -> dict[str, float]:
    """Write the rows so many times over, durably at the end."""
    batches = saved(data)
    warm_up(Measurefs, batches[0])
    gc.collect()
    before, watch = forget_peak(), Stopwatch()
    with watch:
        store = Measurefs(Folder(folder), write=True)
    for batch in _later(batches, factor, span):
        with watch:
            store.add(batch)
    with watch:
        store.flush()
    most = peak() - before
    store.close()
    return {"ingest": watch.seconds, "memory": most / MIB}


def compact(folder: Path) -> dict[str, float]:
    """Compact what was written."""
    store = Measurefs(Folder(folder), write=True)
    before, watch = forget_peak(), Stopwatch()
    with watch:
        store.compact()
    most = peak() - before
    store.close()
    return {"compaction": watch.seconds, "compaction_memory": most / MIB, "bytes": size_of(folder) / 1e6}


def questions(folder: Path, asked: Asked) -> dict[str, float]:
    """Return the median milliseconds of each question, warm."""
    store = Measurefs(Folder(folder))
    found = {}
    for question in WARM:
        getattr(store, question)(asked)
        took: list[float] = []
        while len(took) < ASKS and (len(took) < 3 or sum(took) < ENOUGH * 1e3):
            started = time.perf_counter()
            getattr(store, question)(asked)
            took.append((time.perf_counter() - started) * 1e3)
        found[question] = statistics.median(took)
    store.close()
    return found
