"""What ten billion rows on an object store would cost, calculated from what was measured with a few million.

Run it as ``python -m benchmarks.ten_billion RUN.json S3.json [--rows 1e10] [--table-rows 2e6] [--latency 0.02]
[--bandwidth 100] [--get 0.0004] [--put 0.005] [--month 0.023]``. RUN.json is what ``python -m benchmarks --only growth
--json RUN.json`` wrote, S3.json what ``python -m benchmarks.object_store --only measurefs --json S3.json`` wrote.
Prices are those of S3 Standard in us-east-1, in dollars for a thousand requests and for a GB and month; bandwidth is
in MB/s.

Rows lie in tables, one for each stretch of time, that have nothing to do with each other: what is measured of one table
counts once for each of them, and a question pays for the tables of its time, and for the list of all.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.costs import SECTIONS, Requests, commits, pages, parts
from measurefs.fs.listing import LIMIT
from measurefs.table import TableOptions

ROW_BYTES = 84
"""In memory: time, series, five fields, and six tags as codes."""
OPENING = Requests(put=3, get=6)
"""Of a table that is written to: its lock, and the looks at what there is."""
COLUMNS = 6
"""Time and five fields, which take about as much each."""


class Cost(NamedTuple):
    """What something takes."""

    what: str
    seconds: float
    requests: Requests
    megabytes: float


def costs(
    growth: dict[str, Any], s3: dict[str, Any], rows: float, table: float, given: argparse.Namespace
) -> list[Cost]:
    """Return what each thing takes."""
    measured = growth["amounts"][-1]

    def per_row(name: str) -> float:
        return float(growth["figures"][name]["values"][-1] / measured)

    tables = math.ceil(rows / table)
    size = per_row("bytes") * 1e6 * table
    flushes = 1 + math.ceil(table * ROW_BYTES / TableOptions().flush_bytes)  # the first two are of fewer rows
    cold, other = s3["cold, compacted"], s3["other, compacted"]
    listed = lists(tables)
    waiting = (listed - 1) * given.latency  # of a listing, one page after another
    flushing = sum((parts(size / flushes) + commits(1) for _ in range(flushes)), OPENING)
    column = size / COLUMNS
    reads = 2 + math.ceil(column / 2**20)
    return [
        Cost(
            "storing them, by one writer",
            rows * per_row("ingest"),
            times(flushing, tables),
            size * tables / 1e6,
        ),
        Cost(
            "compacting each table, by one process",
            rows * per_row("compaction"),
            times(priced(s3["compact"]), tables),
            2 * size * tables / 1e6,
        ),
        Cost(
            "one series for an hour, by a new process",
            cold["ms"] / 1e3 + waiting,
            priced(cold) + Requests(put=listed - 1),
            cold["down"] / 1e6,
        ),
        Cost(
            "the same of an open store",
            other["ms"] / 1e3,
            priced(other),
            other["down"] / 1e6,
        ),
        Cost(
            "all series for an hour, by a new process",
            cold["ms"] / 1e3 + waiting + size / given.bandwidth / 1e6,
            priced(cold) + Requests(put=listed - 1, get=math.ceil(size / 2**20)),
            size / 1e6,
        ),
        Cost(
            "reading one field of all rows",
            tables * column / given.bandwidth / 1e6,
            Requests(put=listed, get=reads * tables),
            tables * column / 1e6,
        ),
    ]


def lists(tables: int) -> int:
    """Return the requests in which a process finds a table: all at one go, or that of segments and its own."""
    objects = tables * (SECTIONS + 3)
    return pages(objects) if objects <= LIMIT else pages(LIMIT) + pages(tables) + 1


def priced(step: dict[str, Any]) -> Requests:
    """Return the requests of a measured step; DELETE is free."""
    kinds = step["kinds"]
    reading = {kind: count for kind, count in kinds.items() if kind in {"GET", "HEAD"}}
    put = sum(count for kind, count in kinds.items() if kind not in {*reading, "DELETE"})
    return Requests(put, sum(reading.values()))


def times(requests: Requests, count: float) -> Requests:
    """Return so many times the requests."""
    return Requests(requests.put * count, requests.get * count)


def spoken(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds * 1e3:,.0f} ms"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("s3", type=Path)
    parser.add_argument("--rows", type=float, default=1e10)
    parser.add_argument("--table-rows", type=float, default=2e6)
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--bandwidth", type=float, default=100.0)
    parser.add_argument("--put", type=float, default=0.005)
    parser.add_argument("--get", type=float, default=0.0004)
    parser.add_argument("--month", type=float, default=0.023)
    given = parser.parse_args()
    growth = json.loads(given.run.read_text())["growth"]["rows"]
    s3 = json.loads(given.s3.read_text())["engines"]["measurefs"]["steps"]
    prices = Requests(given.put, given.get)
    found = costs(growth, s3, given.rows, given.table_rows, given)
    print("| | time | PUT and LIST | GET | MB | $ |")
    print("| --- " + "| ---: " * 5 + "|")
    for cost in found:
        amounts = (f"{cost.requests.put:,.0f}", f"{cost.requests.get:,.0f}", f"{cost.megabytes:,.3g}")
        print(
            f"| {cost.what} | {spoken(cost.seconds)} | {' | '.join(amounts)} | {cost.requests.dollars(prices):,.3g} |"
        )
    stored, tables = found[0].megabytes / 1e3, math.ceil(given.rows / given.table_rows)
    print(f"\n{stored:,.1f} GB in {tables:,} tables, {stored * given.month:,.2f} $ a month")


if __name__ == "__main__":
    main()
