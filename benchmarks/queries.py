"""Questions to stores that are open, all in one process and in turns; their answers are compared first."""

from __future__ import annotations

import functools
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.answers import differs
from benchmarks.fleet import Asked
from benchmarks.in_memory import InMemory
from benchmarks.measures import ORDERED, QUESTIONS

if TYPE_CHECKING:
    from benchmarks.run import Run

ROUNDS = 3
LONG_ENOUGH, QUICK = 0.25, 0.05
"""Seconds of a round, after which only `ASKS` asks for more, and twice of which are enough even so."""
ASKS, MOST = 5, 100
"""How often a question is asked in a round at least, unless it takes long, and at most."""
SLOW = 500.0
"""Milliseconds above which the first round is enough."""


def measure(run: Run) -> None:
    """Open all stores, compare their answers, and time them."""
    asked = run.asked
    stores: list[Any] = [InMemory(run.fleet)]
    for engine in run.engines:
        place = run.stored(engine)
        if place is not None:
            engine.imports()
            stores.append(engine(place))
    enough, rounds = (QUICK, 1) if run.quick else (LONG_ENOUGH, ROUNDS)
    gc.collect()
    gc.freeze()  # what the libraries hold would be looked through before each question
    for question in run.steps("queries", [*QUESTIONS], QUESTIONS.__getitem__):
        run.results.failed += compare(stores, question, asked)
        for _ in range(rounds):
            for store in stores:
                if (run.results.median(f"queries.{question}", store.name) or 0.0) < SLOW:
                    took = times(functools.partial(getattr(store, question), asked), enough)
                    run.results.note(f"queries.{question}", store.name, took)
    for store in stores:
        store.close()
    gc.unfreeze()


def compare(stores: Sequence[Any], question: str, asked: Asked) -> list[str]:
    """Return how answers differ from the first store's."""
    expected, *others = (getattr(store, question)(asked) for store in stores)
    order = ["time"] if question in ORDERED else []
    found = []
    for store, answer in zip(stores[1:], others, strict=True):
        if difference := differs(answer, expected, order):
            found.append(f"{store.name} differs in {question}: {difference}")
    return found


def times(ask: Callable[[], Any], enough: float) -> Iterator[float]:
    """Yield the milliseconds of each of several asks, after one that is not counted."""
    ask()
    gc.collect()
    begun, number = time.perf_counter(), 0
    while True:
        started = time.perf_counter()
        answer = ask()
        ended = time.perf_counter()
        yield (ended - started) * 1e3
        del answer
        number += 1
        if ended - begun > (enough if number >= ASKS else 2 * enough) or number == MOST:
            return
