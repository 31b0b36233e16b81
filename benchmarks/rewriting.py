"""Rewriting a tenth of the rows of a compacted store: all series in a stretch of time, as corrections come."""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.answers import differs
from benchmarks.data import save, saved
from benchmarks.engines import of_name
from benchmarks.fleet import Asked
from benchmarks.places import Folder
from benchmarks.warming import warm_up

if TYPE_CHECKING:
    from benchmarks.run import Run

ASKS = 5


def measure(run: Run) -> None:
    """Let the engines take turns, each time with a new copy of its store; compare what they answer afterwards."""
    data = save([run.fleet.rewritten()], run.folder / "rewritten.arrow")
    answers: dict[str, Any] = {}
    for engine in run.turns("rewriting", run.repeat, patient=False):
        place = run.stored(engine)
        if place is None:
            continue
        copy = run.new_folder("rewriting")
        shutil.copytree(place.path, copy)
        done = run.attempt(f"rewriting in {engine.name}", rewrite, engine.name, copy, data, run.asked)
        shutil.rmtree(copy)
        if done is not None:
            rewriting, asking, answers[engine.name] = done.value
            run.results.note("rewriting.tenth", engine.name, rewriting)
            run.results.note("rewriting.mean", engine.name, asking)
    first = next(iter(answers), "")
    for name, answer in answers.items():
        if difference := differs(answer, answers[first], []):
            run.results.failed.append(f"after rewriting {name} differs from {first}: {difference}")


def rewrite(name: str, folder: Path, data: Path, asked: Asked) -> tuple[float, float, Any]:
    """Return the milliseconds for rewriting and for asking afterwards, and the answer."""
    engine = of_name(name)
    (batch,) = saved(data)
    warm_up(engine, batch, lambda store, rows: (store.rewrite(rows), store.mean_after_rewriting(asked)))
    form = engine.form(batch)
    store = engine(Folder(folder), write=True)
    started = time.perf_counter()
    store.rewrite(form)
    rewritten = time.perf_counter() - started
    asking = []
    for _ in range(ASKS):
        started = time.perf_counter()
        answer = store.mean_after_rewriting(asked)
        asking.append(time.perf_counter() - started)
    store.close()
    return rewritten * 1e3, statistics.median(asking) * 1e3, answer
