"""Questions to stores that are opened for them, each by a new process; the files are in the system's cache."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.data import saved
from benchmarks.engines import of_name
from benchmarks.fleet import Asked
from benchmarks.places import Folder
from benchmarks.processes import ROOT
from benchmarks.results import MACHINE

if TYPE_CHECKING:
    from benchmarks.run import Run

QUESTIONS = ("series_hour", "scan_value", "mean_by_series")
APPENDS = 100
LEAST = 3
IMPORTS = {"measurefs": "import measurefs; measurefs.open", "lance": "import lance; lance.dataset"}
"""What a process runs to have an engine's names; some import when a name is first used."""


def measure(run: Run) -> None:
    """Let new processes of the engines take turns at each question, and at stores of many appends."""
    rounds = run.repeat if run.quick else max(run.repeat, LEAST)
    for question in QUESTIONS[:1] if run.quick else QUESTIONS:
        for engine in run.turns(f"cold, {question}", rounds):
            place = run.stored(engine)
            if place is None:
                continue
            done = run.attempt(f"cold {engine.name}", ask, engine.name, place.path, run.asked, question)
            if done is None:
                continue
            run.results.note(f"cold.{question}", engine.name, sum(done.value))
            if question == "series_hour":
                run.results.note("cold.process", engine.name, done.seconds * 1e3)
    many_parts(run, rounds)
    imports(run, rounds)


def imports(run: Run, rounds: int) -> None:
    """Time processes that import an engine, one that has the imports of `ask`, and the command's help."""
    for engine in run.turns("imports", rounds):
        _time(run, "cold.import", engine.name, "-c", IMPORTS.get(engine.module, f"import {engine.module}"))
        if engine is run.engines[0]:
            _time(run, "cold.import", MACHINE, "-c", "")
            _time(run, "cold.process", MACHINE, "-c", "import benchmarks.cold")
            _time(run, "cold.import_alone", "measurefs", "-c", "import measurefs")
            _time(run, "cold.help", "measurefs", "-m", "measurefs.cli", "--help")


def _time(run: Run, key: str, name: str, *arguments: str) -> None:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    run.results.note(key, name, (time.perf_counter() - started) * 1e3)


def many_parts(run: Run, rounds: int) -> None:
    """Time opening what many appends left, which nothing has merged."""
    data = run.batches(run.fleet, run.fleet.total // (2 * APPENDS))
    for engine in run.turns("cold, many appends", rounds):
        folder = run.folder / f"appended-{engine.layout}"
        if not folder.exists():
            unfinished = run.new_folder(f"unfinished-{engine.layout}")
            if run.attempt(f"appends to {engine.name}", append, engine.name, unfinished, data) is None:
                continue
            unfinished.rename(folder)
        done = run.attempt(f"cold {engine.name}", ask, engine.name, folder, run.asked, "series_hour")
        if done is not None:
            opening, asking = done.value
            run.results.note("cold.open", engine.name, opening)
            run.results.note("cold.open_answer", engine.name, opening + asking)


def append(name: str, folder: Path, data: Path) -> None:
    """Append many batches durably, and let nothing merge them."""
    engine = of_name(name)
    store = engine(Folder(folder), write=True, merging=False)
    for batch in saved(data)[:APPENDS]:
        store.append(engine.form(batch))
    store.close()


def ask(name: str, folder: Path, asked: Asked, question: str) -> tuple[float, float]:
    """Return the milliseconds for opening, and for the answer after that."""
    engine = of_name(name)
    engine.imports()
    started = time.perf_counter()
    store = engine(Folder(folder))
    opened = time.perf_counter()
    getattr(store, question)(asked)
    ended = time.perf_counter()
    store.close()
    return (opened - started) * 1e3, (ended - opened) * 1e3
