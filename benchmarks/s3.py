"""The object store's steps as rows of the tables: see `object_store`."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.run import Run


LATENCY = 0.02
APPENDS, QUICK_APPENDS = 50, 10
STEPS = ("append", "cold", "warm", "other", "compact", "first append")
NEEDED = ("aiohttp", "s3fs")


def measure(run: Run) -> None:
    """Let one engine after the other write to, and read from, a server that takes its time."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        run.results.failed.append(f"s3: {' and '.join(missing)} must be installed")
        return
    from benchmarks.object_store import compared, engines_for
    from benchmarks.processes import FailedError
    from benchmarks.s3_latency import LatencyServer

    chosen = {engine.name for engine in run.engines}
    engines = [each for each in engines_for([], lambda _: None) if each.name in chosen]
    appends = QUICK_APPENDS if run.quick else APPENDS
    with LatencyServer(LATENCY, "") as server:
        for engine in run.steps("object store", engines, lambda engine: engine.name):
            try:
                found = compared([engine], server, appends, lambda _: None)[engine.name]
            except FailedError as failure:
                run.results.failed.append(f"object store, {engine.name}: {failure}")
                continue
            for step in STEPS:
                key = step.replace(" ", "_")
                for figure in ("ms", "requests", "round_trips"):
                    run.results.note(f"s3.{key}_{figure}", engine.name, found["steps"][step][figure])
