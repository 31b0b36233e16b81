"""Crash and fault campaigns over every workload and store, with a table of counts; or one case of them.

::

    python -m tests.crash            # the share that every change passes
    python -m tests.crash --long     # all of it
    python -m tests.crash --long --stride 5 --workload tagging --store wide --campaign pause
    python -m tests.crash --workload takeover --store wide --at 17 --how after --survivors killed
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import logging
import os
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor

from tests.crash.campaigns import CRASHES, FAULTS, Case
from tests.crash.plan import CAMPAIGNS, LONG, SHORT, Unit, replay, run_unit, units
from tests.crash.stores import STORES
from tests.crash.workloads import WORKLOADS

TOLD_ALWAYS = ("lost durable rows", "rows never written", "stores that did not open", "other failures")


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.crash", description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="everything, instead of a share")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--workload", action="append", help="only this one; may be given several times")
    parser.add_argument("--campaign", choices=CAMPAIGNS, help="only this one")
    parser.add_argument("--stride", type=int, help="one in so many")
    parser.add_argument("--store", choices=STORES, help="only this one")
    parser.add_argument("--at", type=int, help="one case: the operation")
    parser.add_argument("--how", choices=(*CRASHES, *FAULTS, "paused"), default="before")
    parser.add_argument(
        "--survivors", default="none", help="none, all, killed or a seed; of two crashes both, with a comma"
    )
    parser.add_argument(
        "--again", type=int, default=0, help="the operation of the recovery, negative: after it"
    )
    given = parser.parse_args()
    if given.at is not None:
        replay(Case(given.workload[0], given.store, given.at, given.how, given.survivors, given.again))
        print("it holds")
        return 0
    logging.disable(logging.WARNING)  # what is injected is no news
    plan = LONG if given.long else SHORT
    if given.stride:
        plan = dataclasses.replace(plan, stride=given.stride, pauses=given.stride)
    wanted = [
        unit
        for unit in units(plan)
        if (not given.workload or unit.workload in given.workload)
        and given.store in (None, unit.store)
        and given.campaign in (None, unit.campaign)
    ]
    return campaign(wanted, given.jobs)


def campaign(wanted: list[Unit], jobs: int) -> int:
    start = time.monotonic()
    counts: collections.Counter[str] = collections.Counter(
        {"workloads": len(WORKLOADS), "kinds of store": len(STORES)}
    )
    failures: list[str] = []
    with ProcessPoolExecutor(jobs) as pool:
        for counted, failed in pool.map(attempt, wanted):
            counts += counted
            failures += failed
    for failure in failures:
        print(failure, end="\n\n")
    counts += collections.Counter(map(_kind, failures))
    names = [name for name in counts if name not in TOLD_ALWAYS]
    for name in (*names, *TOLD_ALWAYS):
        print(f"{name:.<32}{counts[name]:.>10,}")
    print(f"{time.monotonic() - start:.0f} s")
    return 1 if failures else 0


def attempt(unit: Unit) -> tuple[collections.Counter[str], list[str]]:
    counts: collections.Counter[str] = collections.Counter()
    try:
        run_unit(unit, counts)
    except Exception as error:  # noqa: BLE001 - all that goes wrong is to be told in the end
        where = traceback.format_exception(error.__cause__ or error, limit=-3)
        return counts, [f"{error}\n{''.join(where)}"]
    return counts, []


def _kind(failure: str) -> str:
    if "lost {" in failure:
        return TOLD_ALWAYS[0 if "lost {}" not in failure else 1]
    return TOLD_ALWAYS[2 if "CorruptionError" in failure else 3]


if __name__ == "__main__":
    sys.exit(main())
