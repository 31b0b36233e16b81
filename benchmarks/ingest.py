"""Bulk ingest: rows/s, CPU, bytes and memory, durable at the end or with each batch; each time in a new process."""

from __future__ import annotations

import gc
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.data import saved
from benchmarks.engines import of_name
from benchmarks.memory import forget_peak, peak
from benchmarks.places import Folder, size_of
from benchmarks.warming import warm_up

if TYPE_CHECKING:
    from benchmarks.run import Run

MIB = 1 << 20


class Workload(NamedTuple):
    """Which rows, in what batches, and whether each is durable, and all are compacted in the end."""

    wide: bool
    batch_rows: int
    each: bool
    compacted: bool


WORKLOADS = {
    "end": Workload(wide=False, batch_rows=10_000, each=False, compacted=False),
    "each": Workload(wide=False, batch_rows=10_000, each=True, compacted=True),
    "wide": Workload(wide=True, batch_rows=100_000, each=False, compacted=True),
}


class Ingested(NamedTuple):
    """What one ingest took."""

    rows: int
    seconds: float
    cpu: float
    memory: int
    written: int
    compact_seconds: float
    compacted: int | None


class Stopwatch:
    """Adds up seconds on the wall and of all cores; runs within a ``with``."""

    def __init__(self) -> None:
        self.seconds = self.cpu = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._started[0]
        self.cpu += time.process_time() - self._started[1]


def measure(run: Run) -> None:
    """Let the engines take turns at each workload."""
    for name, workload in WORKLOADS.items():
        data = run.batches(run.wide if workload.wide else run.fleet, workload.batch_rows)
        for engine in run.turns(f"ingest, {name}", run.repeat, patient=False):
            folder = run.new_folder(f"ingest-{name}")
            done = run.attempt(f"ingest into {engine.name}", ingest, engine.name, folder, data, workload)
            shutil.rmtree(folder, ignore_errors=True)
            if done is not None:
                _note(run, name, engine.name, done.value)


def _note(run: Run, name: str, engine: str, found: Ingested) -> None:
    note, rows = run.results.note, found.rows
    note(f"ingest.{name}", engine, rows / found.seconds / 1e6)
    if name == "end":
        note("ingest.cpu", engine, found.cpu / rows * 1e6)
        note("ingest.memory", engine, found.memory / MIB)
    if found.compacted is not None:
        shape = "wide_" if WORKLOADS[name].wide else ""
        note(f"ingest.{shape}written", engine, found.written / rows)
        note(f"ingest.{shape}compacted", engine, found.compacted / rows)
    if name == "each":
        note("ingest.compaction", engine, rows / found.compact_seconds / 1e6)


def ingest(name: str, folder: Path, data: Path, workload: Workload) -> Ingested:
    """Write all batches, and compact what was written if that is wanted."""
    engine = of_name(name)
    batches = saved(data)
    warm_up(engine, batches[0])
    gc.collect()
    before = forget_peak()
    watch = Stopwatch()
    with watch:
        store = engine(Folder(folder), write=True)
    for batch in batches:
        rows = engine.form(batch)
        with watch:
            store.append(rows) if workload.each else store.add(rows)
    with watch:
        store.flush()
    most = peak() - before
    store.close()
    written, compacting = size_of(folder), Stopwatch()
    if workload.compacted:
        store = engine(Folder(folder), write=True)
        with compacting:
            store.compact()
        store.close()
    return Ingested(
        rows=sum(map(len, batches)),
        seconds=watch.seconds,
        cpu=watch.cpu,
        memory=most,
        written=written,
        compact_seconds=compacting.seconds,
        compacted=size_of(folder) if workload.compacted else None,
    )
