"""Damages of every kind to every kind of file, judged, with a table of counts; or one of them again.

::

    python -m tests.damage                  # the share that every change passes
    python -m tests.damage --long           # all of it
    python -m tests.damage --fuzz --inputs 300
    python -m tests.damage --replay 'read small flip cpu/schema.json 12 3'
"""

from __future__ import annotations

import argparse
import collections
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.damage import campaigns
from tests.damage.campaigns import Campaign
from tests.damage.decoders import decoders
from tests.damage.fuzz import confine, fuzz, fuzz_in_a_process, input_of, try_one
from tests.damage.oracle import VERDICTS

_INPUTS = {False: 300, True: 10_000}
_PIECES = 16


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.damage", description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="everything, instead of a share")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--fuzz", action="store_true", help="only decoders, in this process")
    parser.add_argument("--inputs", type=int, help="so many for each decoder")
    parser.add_argument("--decoder", help="only this one")
    parser.add_argument("--note", help="a file that tells what was last begun")
    parser.add_argument("--replay", metavar="LINE", help="what the line of a failure says")
    given = parser.parse_args()
    inputs = given.inputs or _INPUTS[given.long]
    if given.replay is not None:
        return replay(given.replay)
    if given.fuzz:
        return fuzz_here(inputs, given.seed, given.decoder, given.note)
    start = time.monotonic()
    wanted = (campaigns.long if given.long else campaigns.short)(given.seed)
    failed = damage(wanted, given.jobs)
    failed |= fuzz_apart(inputs, given.seed, given.jobs)
    print(f"{time.monotonic() - start:.0f} s")
    return 1 if failed else 0


def replay(line: str) -> int:
    """Try one damage, or one input of a decoder, again."""
    if line.startswith("fuzz "):
        _, seed, number, name = line.split(" ", 3)
        decoder = next(one for one in decoders() if one.name == name)
        confine(None)
        outcome = try_one(decoder, input_of(decoder, int(number), int(seed)))
        print(outcome)
        return 0 if outcome in {"detected", "decoded"} else 1
    verdict = campaigns.replay(line)
    print(verdict.name, verdict.why)
    return 1 if verdict.name == campaigns.WRONG else 0


def damage(wanted: list[Campaign], jobs: int) -> bool:
    """Run campaigns, and print their counts by kind of file; true if anything is wrong."""
    totals: dict[str, collections.Counter[str]] = {}
    wrong: list[str] = []
    pieces = [piece for campaign in wanted for piece in campaign.pieces(_PIECES)]
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for piece, outcome in zip(pieces, pool.map(Campaign.run, pieces), strict=True):
            wrong += outcome.wrong
            for (kind, verdict), count in outcome.counts.items():
                totals.setdefault(f"{piece.name}: {kind}", collections.Counter())[verdict] += count
    for line in [*_table(totals, VERDICTS), *wrong]:
        print(line)
    return bool(wrong)


def fuzz_here(inputs: int, seed: int, only: str | None, note: str | None) -> int:
    """Run decoders in this process, confined."""
    confine(note)
    failed = False
    totals: dict[str, collections.Counter[str]] = {}
    for name, counts, lines in fuzz(inputs, seed, only):
        totals[name] = counts
        for line in lines:
            print(f"{name}: {line}")
        failed |= counts["wrong"] > 0
    for line in _table(totals, ("detected", "decoded", "slow", "wrong")):
        print(line)
    return 1 if failed else 0


def fuzz_apart(inputs: int, seed: int, jobs: int) -> bool:
    """Run each decoder in a process of its own, which may die; true if anything is wrong."""
    names = [decoder.name for decoder in decoders()]
    any_failed = False
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        done = pool.map(fuzz_in_a_process, names, [inputs] * len(names), [seed] * len(names))
        for failed, text in done:
            print(text, flush=True)
            any_failed |= failed
    return any_failed


def _table(totals: dict[str, collections.Counter[str]], columns: tuple[str, ...]) -> Iterator[str]:
    yield f"{'':40}{'tried':>10}" + "".join(f"{column:>11}" for column in columns)
    for name, counts in totals.items():
        tried = sum(counts[column] for column in columns if column != "slow")
        yield f"{name:40}{tried:>10,}" + "".join(f"{counts[column]:>11,}" for column in columns)


if __name__ == "__main__":
    sys.exit(main())
