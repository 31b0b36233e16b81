"""One writer, three readers, merges, collections, kills, and a proxy that injects every fault.

::

    python -m tests.soak --minutes 60 [--seed 1] [--faults 0.03] [--kill-every 60]

On moto's S3. Every answer of the readers is checked exactly: it must be of a state between what was acknowledged before
they looked and what had been begun by then. Memory and objects are to be flat: their slopes are printed.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.s3_server import S3Server
from tests.soak.run import Settings, run

WARM_UP = 60.0


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--faults", type=float, default=0.03, help="share of requests that something is done to"
    )
    parser.add_argument("--kill-every", type=float, default=60.0, help="seconds, on average")
    parser.add_argument("--readers", type=int, default=3)
    given = parser.parse_args()
    settings = Settings(given.minutes * 60, given.seed, given.faults, given.kill_every, given.readers)
    start = time.monotonic()
    with S3Server() as server:
        outcome = run(settings, server)
    for line in outcome.lines(min(WARM_UP, settings.seconds / 4)):
        print(line)
    print(f"wrong answers 0, lost rows 0, in {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
