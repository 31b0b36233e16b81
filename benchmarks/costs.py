"""What a table costs a day in requests to an object store, at several flush intervals, and what its readers cost.

Run it as ``python -m benchmarks.costs [--rows 1000] [--row-bytes 8] [--put 0.005] [--get 0.0004] [--gc-grace 3600]``.
Prices are in dollars for a thousand requests; those of S3 Standard in us-east-1 are the default. PUT stands for PUT,
POST and LIST, GET for GET and HEAD. DELETE is free there; a DeleteObjects, being a POST, is counted as a PUT all the
same. Requests of a flush, a merge, a collection, a renewal and a refresh are those that
``tests/test_request_budgets.py`` and ``measurefs.backends`` have; merges are those of the policy, simulated.
"""

from __future__ import annotations

import argparse
import dataclasses
import math

from measurefs.table import TableOptions
from measurefs.table.policy import MergeOptions, choose

DAY = 86_400
MIB = 1 << 20
PAGE = 1_000
INTERVALS = (1, 5, 60, 300)
AGES = (1, 5, 60, 300)
LEASE = 30.0
EARLY = 0.875
"""Of a third of the lease, after which on average a lock is renewed."""
SECTIONS = 8
"""Files of a part above `PartOptions.compact_bytes`, its metadata.json included, of a measure with few columns."""


@dataclasses.dataclass
class Requests:
    """How many requests of the two kinds that have prices."""

    put: float = 0.0
    get: float = 0.0

    def __add__(self, other: Requests) -> Requests:
        return Requests(self.put + other.put, self.get + other.get)

    def dollars(self, prices: Requests) -> float:
        """Return what they cost."""
        return (self.put * prices.put + self.get * prices.get) / 1000


def commits(count: int) -> Requests:
    """Return the requests for the snapshot's file and the look at the lock after it."""
    return Requests(put=count, get=count)


def parts(size: float) -> Requests:
    """Return the requests that write a part."""
    return Requests(put=1 if size <= TableOptions().part.compact_bytes else SECTIONS)


def merges(interval: float, bytes_a_second: float) -> tuple[Requests, int, float]:
    """Return the requests of a day's merges, how many they are, and the bytes written per byte flushed."""
    options = MergeOptions()
    there: list[int] = []
    total, count, written = Requests(), 0, 0.0
    flushed = max(int(bytes_a_second * interval), 1)
    for _ in range(int(DAY / interval)):
        there.append(flushed)
        while (chosen := choose(there, options)) is not None:
            inputs = there[chosen.start : chosen.stop]
            merged = sum(inputs)
            there[chosen.start : chosen.stop] = [merged]
            # Of each input a few for the index, and one for each MiB or so; none of what was just written.
            reads = sum(2 + math.ceil(size / MIB) for size in inputs if size > MIB)
            total += Requests(get=reads) + parts(merged)  # the next flush commits it
            count += 1
            written += merged
    return total, count, 1 + written / (flushed * int(DAY / interval))


def collections(interval: float, merged: int, kept: float) -> Requests:
    """Return the requests of a day's collections: something replaced waits for its grace nearly always."""
    runs = DAY / TableOptions().gc_interval
    changed = min(runs, DAY / interval + merged)
    snapshots = min(2 * changed, DAY / interval + merged)
    # Snapshots go by one DeleteObjects, and parts by another.
    return Requests(put=runs * pages(kept) + 2 * changed, get=runs + snapshots)


def renewals() -> Requests:
    """Return the requests of a day for one lock."""
    count = DAY / (LEASE / 3 * EARLY)
    return Requests(put=count, get=2 * count)


def looks(age: float, interval: float, kept: float) -> Requests:
    """Return the requests of a day of one reader that asks all the time, and looks when its last look is so old."""
    return Requests(put=DAY / age * pages(kept), get=min(DAY / age, DAY / interval))


def pages(objects: float) -> int:
    """Return how many requests it takes to list so many objects."""
    return max(1, math.ceil(objects / PAGE))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, default=1000, help="rows a second")
    parser.add_argument("--row-bytes", type=float, default=8, help="bytes that a stored row takes")
    parser.add_argument("--put", type=float, default=0.005)
    parser.add_argument("--get", type=float, default=0.0004)
    parser.add_argument("--gc-grace", type=float, default=TableOptions().grace(remote=True))
    given = parser.parse_args()
    prices = Requests(given.put, given.get)
    lock = renewals()
    held: dict[float, float] = {}
    print("A table that is written to all day:")
    kinds = "flushes", "merges", "of the merges PUT, GET", "collections", "lock", "PUT a day", "GET a day"
    print(f"| flush interval | {' | '.join(kinds)} | $ a day | $ a month | objects |")
    print("| ---: " * 11 + "|")
    for interval in INTERVALS:
        flushes = int(DAY / interval)
        flushing = Requests(put=flushes) + commits(flushes)
        merging, count, _ = merges(interval, given.rows * given.row_bytes)
        kept = (flushes + count) * given.gc_grace / DAY + 20
        held[interval] = kept
        collecting = collections(interval, count, kept)
        total = flushing + merging + collecting + lock
        cells = (
            f"{interval} s",
            f"{flushing.dollars(prices):.3f}",
            f"{merging.dollars(prices):.3f}",
            f"{merging.put:,.0f}, {merging.get:,.0f}",
            f"{collecting.dollars(prices):.3f}",
            f"{lock.dollars(prices):.3f}",
            f"{total.put:,.0f}",
            f"{total.get:,.0f}",
            f"**{total.dollars(prices):.2f}**",
            f"{total.dollars(prices) * 30:.1f}",
            f"{kept:,.0f}",
        )
        print(f"| {' | '.join(cells)} |")
    print("\nEach reader of it that looks for news, $ a day, by flush interval:")
    print(f"| max_age | {' | '.join(f'flushes each {interval} s' for interval in INTERVALS)} |")
    print("| ---: " * (len(INTERVALS) + 1) + "|")
    for age in AGES:
        costs = [looks(age, interval, held[interval]).dollars(prices) for interval in INTERVALS]
        print(f"| {age} s | {' | '.join(f'{cost:.3f}' for cost in costs)} |")


if __name__ == "__main__":
    main()
