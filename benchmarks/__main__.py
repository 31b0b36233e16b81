"""measurefs beside its peers, and beside what this machine can do: all of it in one run, engines taking turns.

Run it as ``python -m benchmarks``; everything takes a quarter of an hour on two cores, ``--quick`` two minutes.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import appends, cold, growth, ingest, limits, queries, report, rewriting, s3
from benchmarks.bounds import add_bounds
from benchmarks.data import kept_in
from benchmarks.engines import chosen, version
from benchmarks.fleet import Fleet
from benchmarks.measures import BY_KEY
from benchmarks.results import MACHINE, Results
from benchmarks.run import Run

SERIES, ROWS = 1_000, 2_000
WIDE_SERIES, WIDE_ROWS = 100_000, 10
QUICK_SCALE = 0.1
WIDTH = 190


def machine(run: Run) -> None:
    """Measure this machine's limits."""
    for _ in run.steps("limits", range(run.repeat)):
        folder = run.new_folder("limits")
        done = run.attempt("limits", limits.measure, folder, run.fleet, run.wide)
        shutil.rmtree(folder, ignore_errors=True)
        for name, values in (done.value if done is not None else {}).items():
            if f"limits.{name}" in BY_KEY:
                run.results.note(f"limits.{name}", MACHINE, values)


GROUPS: dict[str, Any] = {
    "limits": machine,
    "ingest": ingest.measure,
    "appends": appends.measure,
    "rewriting": rewriting.measure,
    "queries": queries.measure,
    "cold": cold.measure,
    "s3": s3.measure,
    "growth": growth.measure,
}


def shape_of(run: Run, scale: float) -> dict[str, Any]:
    """Return what the figures are of."""
    return {
        "series": run.fleet.series,
        "rows": run.fleet.rows,
        "wide_series": run.wide.series,
        "wide_rows": run.wide.rows,
        "threads": appends.THREADS,
        "scale": scale,
        "repeat": run.repeat,
        "engines": [engine.name for engine in run.engines],
        "versions": {engine.name: version(engine) for engine in run.engines},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": limits.cores(),
        "load_before": os.getloadavg()[0],
    }


def measure(given: argparse.Namespace, console: Console) -> Results:
    """Measure the groups that are asked for."""
    scale = given.scale or (QUICK_SCALE if given.quick else 1.0)
    engines = chosen((given.engines or "").split(",") if given.engines else [], console.print)
    if not engines:
        sys.exit(f"no engine of that name: {given.engines}")
    bars = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}"),
    )
    with kept_in(given.store) as folder, Progress(*bars, console=console, auto_refresh=False) as progress:
        run = Run(
            engines=engines,
            fleet=Fleet(max(int(SERIES * scale), 8), ROWS),
            wide=Fleet(max(int(WIDE_SERIES * scale), 100), WIDE_ROWS),
            repeat=given.repeat or (1 if given.quick else 3),
            quick=given.quick,
            folder=folder.resolve(),
            progress=progress,
        )
        run.results.shape = shape_of(run, scale)
        for group in given.only or [name for name in GROUPS if name != "s3" or not given.quick]:
            started = time.perf_counter()
            GROUPS[group](run)
            gc.collect()
            progress.console.print(f"{group} took {time.perf_counter() - started:.0f} s")
    add_bounds(run.results)
    run.results.shape["load_after"] = os.getloadavg()[0]
    return run.results


def main() -> None:
    """Measure or read figures, show them, and write what is asked for."""
    arguments = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    arguments.add_argument(
        "--quick", action="store_true", help="a tenth of the rows, once, and no object store"
    )
    arguments.add_argument(
        "--only", nargs="+", choices=GROUPS, metavar="GROUP", help=f"of {', '.join(GROUPS)}"
    )
    arguments.add_argument(
        "--engines", help="(parts of) their names, with commas between; all that are installed"
    )
    arguments.add_argument("--repeat", type=int, help="rounds of what takes long: 3, with --quick 1")
    arguments.add_argument("--scale", type=float, help="how many times 1,000 series: 1, with --quick 0.1")
    arguments.add_argument("--store", type=Path, help="keep data and stores here, and use what is there")
    arguments.add_argument("--json", type=Path, help="write the figures here")
    arguments.add_argument("--markdown", type=Path, help="write the tables here")
    arguments.add_argument("--plots", type=Path, help="draw the figures into this folder; needs matplotlib")
    arguments.add_argument(
        "--read", type=Path, metavar="JSON", help="measure nothing, show what an earlier run found"
    )
    given = arguments.parse_args()
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    results = Results.load(given.read) if given.read else measure(given, console)
    console.print(report.everything(results))
    shape = results.shape
    console.print(", ".join(f"{name} {release}" for name, release in shape["versions"].items()))
    console.print(
        f"{shape['platform']}, {shape['cores']} cores, Python {shape['python']}; "
        f"load average {shape['load_before']:.1f} before, {shape['load_after']:.1f} after"
    )
    for failure in results.failed:
        console.print(f"FAILED {failure}", style="red", markup=False)
    if given.json:
        results.save(given.json)
    if given.markdown:
        given.markdown.write_text(report.markdown(results))
    if given.plots:
        from benchmarks import plots

        for path in plots.draw(results, given.plots):
            console.print(f"drawn: {path}")
    sys.exit(1 if results.failed else 0)


if __name__ == "__main__":
    main()
