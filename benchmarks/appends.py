"""Small durable appends, one after another and from several threads."""

from __future__ import annotations

import itertools
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import limits
from benchmarks.data import saved
from benchmarks.engines import of_name
from benchmarks.fleet import Fleet
from benchmarks.places import Folder
from benchmarks.results import MACHINE
from benchmarks.warming import warm_up

if TYPE_CHECKING:
    from benchmarks.run import Run

ROWS = 1_000
THREADS = 4
COUNT, QUICK_COUNT = 300, 40
ROUNDS = 2
"""At most: each has many appends."""


def measure(run: Run) -> None:
    """Let the engines, and bare files, take turns."""
    count = QUICK_COUNT if run.quick else COUNT
    fleet = Fleet(ROWS, count)
    data = run.batches(fleet, ROWS)
    for engine in run.turns("durable appends", min(run.repeat, ROUNDS)):
        for threads in (1, THREADS):
            if threads > 1 and not engine.concurrent:
                continue
            folder = run.new_folder("appends")
            done = run.attempt(f"appends to {engine.name}", append, engine.name, folder, data, threads)
            shutil.rmtree(folder, ignore_errors=True)
            if done is not None:
                _note(run, engine.name, threads, *done.value)
        if engine is run.engines[0]:
            for threads in (1, THREADS):
                folder = run.new_folder("synced")
                done = run.attempt("syncing", synced, folder, count, threads)
                if done is not None:
                    _note(run, MACHINE, threads, *done.value)


def _note(run: Run, engine: str, threads: int, took: list[float], seconds: float) -> None:
    if threads == 1:
        run.results.note("appends.p50", engine, float(np.quantile(took, 0.5)))
        run.results.note("appends.p99", engine, float(np.quantile(took, 0.99)))
    else:
        run.results.note("appends.rate_of_threads", engine, ROWS * len(took) / seconds / 1e3)
        run.results.note("appends.p50_of_threads", engine, float(np.quantile(took, 0.5)))


def append(name: str, folder: Path, data: Path, threads: int) -> tuple[list[float], float]:
    """Return the milliseconds of each append but the first, which may make the table, and the seconds of all."""
    engine = of_name(name)
    batches = saved(data)
    warm_up(engine, batches[0])
    first, *forms = map(engine.form, batches)
    store = engine(Folder(folder), write=True)
    store.append(first)
    handles = [store, *(store.another() for _ in range(threads - 1))]

    def work(number: int) -> list[float]:
        return [_timed(handles[number], form) for form in itertools.islice(forms, number, None, threads)]

    found = limits.in_parallel(threads, work)
    store.close()
    return found


def _timed(store: Any, form: Any) -> float:
    started = time.perf_counter()
    store.append(form)
    return (time.perf_counter() - started) * 1e3


def synced(folder: Path, count: int, threads: int) -> tuple[list[float], float]:
    """Return the same for a file that is written and synced with its folder, and nothing else."""
    folder.mkdir()

    def work(number: int) -> list[float]:
        return [limits.synced(folder, 1, str(number)) for _ in range(number, count, threads)]

    return limits.in_parallel(threads, work)
