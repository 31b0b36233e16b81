"""Random histories, as many as one likes, with a table of counts.

::

    python -m tests.machine --histories 1000 --seed 1
    python -m tests.machine --kind s3 --histories 50
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import itertools
import os
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import Store
from tests.machine.machine import Machine
from tests.machine.worlds import PowerCuts, World, on
from tests.s3_server import S3Server

CHUNK = 25
"""Histories that share a seed, and a replay line."""


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.machine", description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=("memory", "local", "s3"), default="memory")
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shrink", action="store_true", help="make what fails smaller, which can take long")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    chunks = -(-given.histories // CHUNK)
    size = min(CHUNK, given.histories)
    wanted = [(given.kind, given.steps, given.seed + number, given.shrink, size) for number in range(chunks)]
    begun = time.monotonic()
    counts: collections.Counter[str] = collections.Counter()
    failures = []
    with ProcessPoolExecutor(given.jobs) as pool:
        for counted, failure in pool.map(run_chunk, wanted):
            counts += counted
            failures += [failure] if failure else []
    print(*failures, sep="\n\n")
    for name, count in (*counts.items(), ("failures", len(failures))):
        print(f"{name:.<24}{count:.>10,}")
    print(f"{time.monotonic() - begun:.0f} s")
    return 1 if failures else 0


def run_chunk(chunk: tuple[str, int, int, bool, int]) -> tuple[collections.Counter[str], str]:
    """Run the histories of one seed; return what happened, and what went wrong."""
    kind, steps, number, shrink, size = chunk
    Machine.counts.clear()
    with worlds(kind) as make:

        class Here(Machine):
            make_world = staticmethod(make)

        how = settings(
            max_examples=size,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        try:
            run_state_machine_as_test(seed(number)(Here), settings=how)
        except Exception as error:  # noqa: BLE001 - all that goes wrong is to be told in the end
            told = "".join([*traceback.format_exception(error), *getattr(error, "__notes__", [])])
            replay = (
                f"python -m tests.machine --kind {kind} --steps {steps} --histories {size} --seed {number}"
            )
            return Machine.counts, f"{told}\nreplay: {replay}"
    return Machine.counts, ""


@contextlib.contextmanager
def worlds(kind: str) -> Iterator[type[World] | object]:
    """Yield what makes a fresh world of a kind."""
    names = (uuid.uuid4().hex for _ in itertools.count())
    if kind == "memory":
        yield PowerCuts
    elif kind == "local":
        with tempfile.TemporaryDirectory() as directory:
            yield lambda: on(Store(f"{directory}/{next(names)}"))
    else:
        with S3Server() as server:
            bucket = server.make_bucket()
            yield lambda: on(Store(f"s3://{bucket}/{next(names)}", server.options))


if __name__ == "__main__":
    sys.exit(main())
