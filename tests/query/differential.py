"""Random questions about random stores, answered by measurefs and by DuckDB, as many as one likes.

::

    python -m tests.query.differential --queries 5000 --seed 1
    python -m tests.query.differential --only aggregate
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import os
import random
import sys
import time
import traceback
import uuid
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import measurefs
from measurefs import Measure
from tests.query.groups import differs_in_groups, draw_groups, groups
from tests.query.histories import History
from tests.query.oracle import Oracle, differs, draw_newest, draw_rows

KINDS = ("rows", "aggregate", "last")
A_STORE = 60
"""Questions about one store."""


@dataclasses.dataclass
class Run:
    """What was asked of one store.

    Attributes
    ----------
    counts : Counter
        Of each kind of question how many were asked, how many rows came back, and how many answers had any.
    failures : list of str
        Each with the line that asks it again.
    """

    counts: collections.Counter[str]
    failures: list[str]


def ask_about_one_store(
    seed: int, questions: int, kinds: Sequence[str] = KINDS, only: int | None = None
) -> Run:
    """Make a store, ask, and compare.

    Parameters
    ----------
    seed : int
        What everything is drawn from.
    questions : int
    kinds : sequence of str
        Some of `KINDS`.
    only : int, optional
        Ask this question alone.
    """
    run = Run(collections.Counter(), [])
    history = History(seed)
    with measurefs.open(f"memory://{uuid.uuid4().hex}", options=history.layout.options) as database:
        measure = history.replay(database)
        oracle = Oracle(history, series_of(measure, history))
        try:
            for number in range(questions) if only is None else [only]:
                _ask(measure, oracle, history, seed, number, kinds, run)
        finally:
            oracle.close()
    return run


def series_of(measure: Measure, history: History) -> list[tuple[Any, ...]]:
    """Return the store's order of series; the rows of each must be together, and in order of time."""
    names = [*history.layout.entity, "time"]
    rows = measure.query(columns=names, order="series").to_arrow().to_pydict()
    entities = list(zip(*(rows[name] for name in history.layout.entity), strict=True))
    order = {entity: place for place, entity in enumerate(dict.fromkeys(entities))}
    keys = [(order[entity], when) for entity, when in zip(entities, rows["time"], strict=True)]
    assert keys == sorted(set(keys)), "a series is in pieces, out of order, or has a time twice"
    return list(order)


def _ask(
    measure: Measure,
    oracle: Oracle,
    history: History,
    seed: int,
    number: int,
    kinds: Sequence[str],
    run: Run,
) -> None:
    """Draw a question from seed and number alone, and note what comes of it."""
    chance = random.Random(f"{seed} {number}")
    kind = chance.choice(kinds)
    question: Any = None
    try:
        question, found, difference = _ANSWERS[kind](measure, oracle, history, chance)
    except Exception:  # noqa: BLE001 - whatever it is, it is told
        found, difference = 0, traceback.format_exc()
    run.counts[kind] += 1
    run.counts["rows in answers"] += found
    run.counts["answers with rows"] += found > 0
    if difference:
        of_kinds = "" if tuple(kinds) == KINDS else f" --only {','.join(kinds)}"
        again = f"python -m tests.query.differential --seed {seed} --question {number}{of_kinds}"
        run.failures.append(f"{again}\n{history.layout}\n{question}\n{difference}")


def _rows(
    measure: Measure, oracle: Oracle, history: History, chance: random.Random
) -> tuple[Any, int, str | None]:
    question = draw_rows(chance, history)
    with measure.query(**question.given()) as result:
        found = result.to_arrow()
        types = {name: history.layout.type_of(name) for name in found.schema.names}
        difference = differs(found, oracle.rows(question), types)
        if not difference and sum(batch.num_rows for batch in result.to_batches()) != len(found):
            difference = "another number of rows when it is read again"
    return question, len(found), difference


def _last(
    measure: Measure, oracle: Oracle, history: History, chance: random.Random
) -> tuple[Any, int, str | None]:
    question = draw_newest(chance, history)
    with measure.last(**question.given()) as result:
        found = result.to_arrow()
    types = {name: history.layout.type_of(name) for name in found.schema.names}
    return question, len(found), differs(found, oracle.newest(question), types)


def _aggregate(
    measure: Measure, oracle: Oracle, history: History, chance: random.Random
) -> tuple[Any, int, str | None]:
    question = draw_groups(chance, history)
    expected = groups(oracle, question)
    if expected is None:
        return question, 0, None
    with measure.aggregate(**question.given()) as result:
        found = result.to_arrow()
    return question, len(found), differs_in_groups(found, list(expected))


_ANSWERS = {"rows": _rows, "aggregate": _aggregate, "last": _last}


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m tests.query.differential", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1, help="of the first store")
    parser.add_argument("--only", default=",".join(KINDS), help="kinds of questions")
    parser.add_argument("--question", type=int, help="ask this one alone, of one store")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    kinds = given.only.split(",")
    begun = time.monotonic()
    if given.question is not None:
        runs = [ask_about_one_store(given.seed, 0, kinds, given.question)]
    else:
        stores = -(-given.queries // A_STORE)
        seeds = range(given.seed, given.seed + stores)
        with ProcessPoolExecutor(given.jobs) as pool:
            runs = list(pool.map(ask_about_one_store, seeds, [A_STORE] * stores, [kinds] * stores))
    failures = [failure for run in runs for failure in run.failures]
    print(*failures, sep="\n\n")
    counts = sum((run.counts for run in runs), collections.Counter())
    for name, count in (("stores", len(runs)), *counts.items(), ("failures", len(failures))):
        print(f"{name:.<24}{count:.>12,}")
    print(f"{time.monotonic() - begun:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
