"""Queries: milliseconds of each question, beside Parquet (pyarrow and Polars), DuckDB and ArcticDB.

Run it as ``python benchmarks/queries.py [--series 1000] [--rows 2000] [--only measurefs,DuckDB] [--ask mean_by_series]
[--json FILE] [--store DIR] [--cold]``. All engines hold the same rows, and their answers are compared before anything
is timed. Warm: each question is asked at least ``--repeat`` times of an engine that is open. ``--cold``: of a new
process each time, from opening the store to the answer, without its imports; the files are in the system's cache.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import importlib.util
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from answers import differs
from data import kept_in
from engines import ENGINES
from fleet import Asked, Fleet
from rich.console import Console
from rich.table import Table

QUESTIONS = {
    "series_hour": "one series for an hour, all fields",
    "eight_series_hour": "eight series for an hour, all fields",
    "all_hour": "all series for an hour, all fields",
    "all_hour_by_time": "the same in order of time",
    "scan_value": "all values of a field",
    "scan_rows": "the same with time and series",
    "mean_by_series": "mean of a field by series",
    "hourly_by_region": "hourly mean of a field by region",
    "last_rows": "newest row of every series, all fields",
    "newest_of_series": "ten newest rows of one series",
    "count_high": "count of rows above the 99.9th percentile",
}
ORDERED = ("series_hour", "newest_of_series", "all_hour_by_time")
"""The questions whose answers are in order of time; others need only have the rows of a series together."""
PACKAGES = {
    "measurefs": "measurefs",
    "Parquet (pyarrow)": "pyarrow",
    "Parquet (Polars)": "polars",
    "DuckDB": "duckdb",
    "ArcticDB": "arcticdb",
}
ROUNDS = 3
"""Engines take turns, so that none has the machine's quiet minute to itself."""
LONG_ENOUGH = 0.4
"""Seconds of a round after which only `--repeat` asks for more."""
Figures = dict[str, dict[str, dict[str, Any]]]


def stored(engine: type[Any], fleet: Fleet, folder: Path) -> Path:
    """Return where an engine holds the fleet's rows, and store them unless they are there."""
    root = folder / f"{engine.__name__}-{fleet.series}-{fleet.rows}"
    done = root.with_suffix(".done")
    if not done.exists():
        engine.store(fleet, root)
        done.touch()
    return root


def check(engines: Sequence[Any], questions: Sequence[str]) -> dict[tuple[str, str], str]:
    """Compare all answers with each other; return which engine cannot answer which question yet, and why."""
    missing: dict[tuple[str, str], str] = {}
    for question in questions:
        expected = None
        for engine in reversed(engines):
            try:
                found = getattr(engine, question)()
            except AttributeError as error:
                missing[engine.name, question] = str(error)
                continue
            if expected is None:
                expected = found
            elif difference := differs(found, expected, ["time"] if question in ORDERED else []):
                sys.exit(f"{engine.name} differs in {question}: {difference}")
    return missing


def times(ask: Callable[[], Any], repeat: int) -> Iterator[float]:
    """Yield the seconds of each of at least so many asks, after one that is not counted."""
    ask()
    gc.collect()
    begun, number = time.perf_counter(), 0
    while number < repeat or (time.perf_counter() - begun < LONG_ENOUGH and number < 20 * repeat):
        started = time.perf_counter()
        answer = ask()
        yield time.perf_counter() - started
        del answer
        number += 1


def warm(engines: Sequence[Any], questions: Sequence[str], repeat: int, console: Console) -> Figures:
    """Return the times of every question, asked of engines that are open."""
    missing = check(engines, questions)
    each = -(-repeat // ROUNDS)
    found: Figures = {}
    for question in questions:
        took: dict[str, list[float]] = {engine.name: [] for engine in engines}
        with console.status(QUESTIONS[question]):
            for _ in range(ROUNDS):
                for engine in engines:
                    if (engine.name, question) not in missing:
                        took[engine.name] += times(getattr(engine, question), each)
        found[question] = {name: figures(seconds) for name, seconds in took.items()}
    return found


def cold(
    engines: Sequence[type[Any]], roots: Sequence[Path], asked: Asked, questions: Sequence[str], repeat: int
) -> Figures:
    """Return the times of every question, each asked of a process of its own."""
    took: dict[tuple[str, str], list[float]] = {}
    for _ in range(repeat):
        for question in questions:
            for engine, root in zip(engines, roots, strict=True):
                job = pickle.dumps((engine.__name__, root, asked, question))
                done = subprocess.run(
                    [sys.executable, __file__, "--child"], input=job, stdout=subprocess.PIPE, check=True
                )
                answer = json.loads(done.stdout)
                took.setdefault((question, engine.name), []).extend([] if answer is None else [answer])
    return {
        question: {engine.name: figures(took[question, engine.name]) for engine in engines}
        for question in questions
    }


def child() -> None:
    """Open a store, ask, and tell how long both took."""
    name, root, asked, question = pickle.loads(sys.stdin.buffer.read())
    (engine,) = (each for each in ENGINES if each.__name__ == name)
    engine.imports()
    pa.array([0])  # with its first array Arrow imports pandas, if that is there
    started = time.perf_counter()
    try:
        getattr(engine(root, asked), question)()
    except AttributeError:
        print("null")
    else:
        print(time.perf_counter() - started)


def figures(seconds: Sequence[float]) -> dict[str, Any]:
    """Return median and spread in milliseconds, nothing of nothing."""
    if not seconds:
        return {}
    low, median, high = np.quantile(seconds, [0.1, 0.5, 0.9]) * 1e3
    return {"ms": median, "p10": low, "p90": high, "runs": len(seconds)}


def show(found: Figures, names: Sequence[str], title: str) -> Table:
    """Return a table with a row for each question and a column for each engine."""
    shown = Table(title=title, caption="milliseconds: median (p10..p90); bold is the fastest")
    shown.add_column("question")
    for name in names:
        shown.add_column(name, justify="right")
    for question, of_engines in found.items():
        best = min((each["ms"] for each in of_engines.values() if each), default=0)
        cells = []
        for name in names:
            each = of_engines[name]
            text = f"{each['ms']:.2f} ({each['p10']:.2f}..{each['p90']:.2f})" if each else "not there yet"
            cells.append(f"[bold]{text}[/]" if each and each["ms"] == best else text)
        shown.add_row(QUESTIONS[question], *cells)
    return shown


def chosen(only: str | None, console: Console) -> list[type[Any]]:
    """Return the engines to ask: those that are installed, of those that are wanted."""
    wanted = [each.strip().lower() for each in only.split(",")] if only else None
    found = []
    for engine in ENGINES:
        if wanted is not None and not any(each in engine.name.lower() for each in wanted):
            continue
        if importlib.util.find_spec(PACKAGES[engine.name]) is None:
            console.print(f"{engine.name} is left out: {PACKAGES[engine.name]} is not installed")
            continue
        found.append(engine)
    return found


def measure(options: argparse.Namespace, folder: Path, console: Console) -> None:
    """Store the rows, time the questions, and show the figures."""
    kinds = chosen(options.only, console)
    questions = [name for name in QUESTIONS if not options.ask or name in options.ask.split(",")]
    fleet = Fleet(options.series, options.rows)
    asked = Asked.of(fleet)
    with console.status("storing the rows"):
        roots = [stored(engine, fleet, folder) for engine in kinds]
    del fleet
    load = os.getloadavg()[0]
    if options.cold:
        found = cold(kinds, roots, asked, questions, options.repeat)
    else:
        engines = [engine(root, asked) for engine, root in zip(kinds, roots, strict=True)]
        found = warm(engines, questions, options.repeat, console)
        for engine in engines:
            engine.close()
    names = [engine.name for engine in kinds]
    title = f"{options.series:,} series x {options.rows:,} rows, {'cold' if options.cold else 'warm'}"
    console.print(show(found, names, title))
    versions = {name: importlib.metadata.version(PACKAGES[name]) for name in names}
    console.print(", ".join(f"{name} {version}" for name, version in versions.items()))
    console.print(f"{os.cpu_count()} cores; load average {load:.1f} before, {os.getloadavg()[0]:.1f} after")
    if options.json:
        shape = {"series": options.series, "rows": options.rows, "cold": options.cold, "versions": versions}
        options.json.write_text(json.dumps({**shape, "load": load, "milliseconds": found}, indent=1))


def main() -> None:
    """Measure what is asked for."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--series", type=int, default=1_000)
    arguments.add_argument("--rows", type=int, default=2_000, help="of each series")
    arguments.add_argument("--only", help="engines, by (part of) their names, with commas between")
    arguments.add_argument("--ask", help=f"questions, of {', '.join(QUESTIONS)}")
    arguments.add_argument("--repeat", type=int, default=15, help="at least so many times")
    arguments.add_argument("--cold", action="store_true", help="each question in a process of its own")
    arguments.add_argument("--store", type=Path, help="keep the stores here, and use what is there")
    arguments.add_argument("--json", type=Path, help="write the figures here too")
    arguments.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.child:
        child()
        return
    with kept_in(options.store) as folder:
        measure(options, folder, Console())


if __name__ == "__main__":
    main()
