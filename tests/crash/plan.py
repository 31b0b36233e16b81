"""How much of the enumerations is run: every change passes `SHORT`, now and then all pass `LONG`."""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Iterator

from tests.crash.campaigns import (
    CRASHES,
    Case,
    Survivors,
    crash_everywhere,
    crash_once,
    crash_while_recovering,
    fail,
    fail_everywhere,
    survey,
)
from tests.crash.leases import forget_all
from tests.crash.stores import STORES
from tests.crash.workloads import KINDS, WORKLOADS
from tests.crash.zombies import INTERRUPTED, JOBS, interrupted, pause_everywhere, paused


@dataclasses.dataclass(frozen=True)
class Plan:
    """A share of all there is.

    Attributes
    ----------
    survivors : tuple
        What crashes leave.
    stride : int
        Of the crash points (those of recoveries, too) and faults of a workload, one in so many.
    points : int
        After so many crashes of each workload the recovery crashes, too.
    again : tuple
        What those second crashes leave.
    pauses : int
        Of the pauses of a writer's job, one in so many.
    """

    survivors: tuple[Survivors, ...]
    stride: int
    points: int
    again: tuple[Survivors, ...]
    pauses: int


SHORT = Plan(("none", "killed", 1), 109, 1, ("none",), 61)
LONG = Plan(("none", "all", "killed", *range(1, 8)), 1, 6, ("none", "killed", 1), 1)


@dataclasses.dataclass(frozen=True)
class Unit:
    """What one process does in one go."""

    plan: Plan
    campaign: str
    workload: str
    store: str


CAMPAIGNS = ("recover", "crash", "fail", "pause")


def units(plan: Plan) -> Iterator[Unit]:
    """Yield all units, the longest first."""
    for campaign in CAMPAIGNS[:-1]:
        for store in reversed(STORES):
            for workload in WORKLOADS:
                if store in KINDS[workload]:
                    yield Unit(plan, campaign, workload, store)
    for job in JOBS:
        for store in JOBS[job].kinds:
            yield Unit(plan, "pause", job, store)


def run_unit(unit: Unit, counts: collections.Counter[str]) -> None:
    """Run a unit, and count what it does."""
    plan, workload, store = unit.plan, unit.workload, unit.store
    share = slice(list(WORKLOADS).index(workload) % plan.stride, None, plan.stride)
    if unit.campaign == "crash":
        crash_everywhere(workload, store, plan.survivors, counts, share)
    elif unit.campaign == "recover":
        crash_while_recovering(workload, store, _points(plan, workload, store), plan.again, counts, share)
    elif unit.campaign == "fail":
        fail_everywhere(workload, store, counts, share)
    else:
        pause_everywhere(workload, store, counts, slice(share.start % plan.pauses, None, plan.pauses))
    forget_all()


def _points(plan: Plan, workload: str, store: str) -> list[tuple[int, str, Survivors]]:
    """Choose crashes, always the same ones."""
    chance = random.Random(f"{workload} {store}")
    total = len(survey(workload, store)[1])
    return [
        (chance.randint(1, total), chance.choice(CRASHES), chance.choice(("none", "all", "killed", 1)))
        for _ in range(plan.points)
    ]


def replay(case: Case) -> None:
    """Repeat one case."""
    if case.how in CRASHES:
        crash_once(case)
    elif case.how != "paused":
        fail(case.workload, case.store, case.at, case.how)
    else:
        job, _, deed = case.workload.partition(".")
        if deed == INTERRUPTED:
            interrupted(job, case.store, case.at)
        else:
            paused(job, case.store, case.at, deed)
