"""Requests, round trips, bytes and milliseconds on an object store, beside Delta Lake, Lance and ArcticDB.

Run it as ``python -m benchmarks.object_store [--only measurefs,lance] [--latency 0.02]
[--appends 200] [--moto] [--json FILE]``. Two million rows of 1,000 series are appended 10,000 at a time, each batch
durable before the next; then a process of its own opens the store and asks for an hour of one series, again, and for
other series; another one appends again; then each engine compacts what it wrote, its own way, and is asked again.
The server is `s3_latency`, which counts, and answers no request in less than the latency; behind it is memory, or
moto, which takes several milliseconds for each request and does one at a time. Answers are compared.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import itertools
import json
import os
import statistics
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks.data import FIELDS, HOUR, START, STEP
from benchmarks.engines import Engine, MeasurefsOnOneThread, chosen, of_name, version
from benchmarks.fleet import Asked, Fleet
from benchmarks.places import KEY, SECRET, Bucket
from benchmarks.processes import elsewhere
from benchmarks.s3_latency import LatencyServer, Noted, round_trips

SERIES, BATCH_ROWS = 1_000, 10_000
WARM = 7
Figures = dict[str, Any]
Marks = list[tuple[str, float, float]]

STEPS = {
    "open, new": "open a new store",
    "append": "durable append, median",
    "close": "close",
    "cold": "cold open to the first answer",
    "warm": "the same question again, median",
    "other": "of another series, median",
    "first append": "open to write and append",
    "next append": "append again",
    "compact": "compaction",
    "cold, compacted": "cold open to the first answer, compacted",
    "warm, compacted": "the same question again, compacted",
    "other, compacted": "of another series, compacted",
}


class Marked:
    """What a process did when, on the machine's monotonic clock."""

    def __init__(self) -> None:
        self.marks: Marks = []

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        """Do some work, and note from when to when."""
        begun = time.monotonic()
        result = work()
        self.marks.append((name, begun, time.monotonic()))
        return result


def rows_of(answer: Any) -> list[list[float]]:
    """Bring an answer into one form: times in order, and the values of each field."""
    table = answer if isinstance(answer, pa.Table) else pa.Table.from_pandas(answer.reset_index())
    table = table.sort_by("time")
    times = table["time"].cast(pa.timestamp("ns", table["time"].type.tz)).cast(pa.int64())
    return [
        times.to_pylist(),
        *(table[name].to_pylist() for name in FIELDS),
    ]


def write(engine: type[Engine], bucket: Bucket, appends: int, marked: Marked) -> None:
    """Make a store, and append to it."""
    forms = [engine.form(batch) for batch in itertools.islice(all_batches(appends), appends)]
    store = marked("open, new", lambda: engine(bucket, write=True))
    for batch in forms:
        marked("append", lambda batch=batch: store.append(batch))
    marked("close", store.close)


def write_again(engine: type[Engine], bucket: Bucket, appends: int, marked: Marked) -> None:
    """Append twice more."""
    first, second = (engine.form(batch) for batch in itertools.islice(all_batches(appends), appends, None))

    def begin() -> Engine:
        store = engine(bucket, write=True)
        store.append(first)
        return store

    store = marked("first append", begin)
    marked("next append", lambda: store.append(second))
    store.close()


def read(engine: type[Engine], bucket: Bucket, appends: int, marked: Marked) -> list[Any]:
    """Open a store, ask, ask again, and ask for other series."""
    start = START + (appends * BATCH_ROWS // SERIES * STEP - HOUR) // 2
    hosts = [f"host-{number:06d}" for number in range(17, 17 + 97 * WARM, 97)]
    first = Asked(hosts[0], (), start, start + HOUR, 0.0)

    def begin() -> tuple[Engine, Any]:
        store = engine(bucket)
        return store, store.series_hour(first)

    store, answer = marked("cold", begin)
    answers = [answer]
    for _ in range(WARM):
        marked("warm", lambda: store.series_hour(first))
    for host in hosts[1:]:
        other = dataclasses.replace(first, host=host)
        answers.append(marked("other", lambda other=other: store.series_hour(other)))
    store.close()
    return [rows_of(each) for each in answers]


def compact(engine: type[Engine], bucket: Bucket, appends: int, marked: Marked) -> None:
    """Compact a store."""
    store = engine(bucket, write=True)
    marked("compact", store.compact)
    store.close()


ROLES: dict[str, Callable[[type[Engine], Bucket, int, Marked], Any]] = {
    "write": write,
    "read": read,
    "write_again": write_again,
    "compact": compact,
}


def all_batches(appends: int) -> Iterator[pa.Table]:
    """Yield the batches that are appended, and two more."""
    return Fleet(SERIES, (appends + 2) * BATCH_ROWS // SERIES).by_time(BATCH_ROWS)


def play(name: str, bucket: Bucket, role: str, appends: int) -> tuple[Marks, Any]:
    """Play a role in this process, and tell what was done when, and what was answered."""
    quiet()
    engine = of_name(name)
    engine.imports()
    if engine.name == "measurefs":
        import measurefs.backends.s3  # noqa: F401
    pa.table({"time": [0]}).to_pandas()  # imports what is imported with the first conversion
    marked = Marked()
    answers = ROLES[role](engine, bucket, appends, marked)
    return marked.marks, answers


def quiet() -> None:
    """Keep clients from asking cloud services for credentials, or talking about themselves."""
    os.environ |= {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }


def summary(marks: Marks, noted: Sequence[Noted]) -> dict[str, Figures]:
    """Return the figures of each step; of one that was done several times medians, and the mean of requests."""
    steps: dict[str, list[Figures]] = {}
    for name, begun, ended in marks:
        within = [each for each in noted if begun <= each.arrived < ended]
        steps.setdefault(name, []).append(
            {
                "requests": len(within),
                "round_trips": round_trips(within),
                "ms": (ended - begun) * 1e3,
                "ms_before": (min((each.arrived for each in within), default=ended) - begun) * 1e3,
                "up": sum(each.up for each in within),
                "down": sum(each.down for each in within),
                "kinds": dict(collections.Counter(each.kind for each in within)),
            }
        )
    return {name: _middle(each) for name, each in steps.items()}


def _middle(runs: Sequence[Figures]) -> Figures:
    keys = ("requests", "round_trips", "ms", "ms_before", "up", "down")
    found: Figures = {key: statistics.median(run[key] for run in runs) for key in keys}
    if len(runs) > 1:
        found["mean_requests"] = statistics.fmean(run["requests"] for run in runs)
        found["slowest_ms"] = max(run["ms"] for run in runs)
    kinds = sum((collections.Counter(run["kinds"]) for run in runs), collections.Counter())
    return found | {"runs": len(runs), "kinds": {kind: count / len(runs) for kind, count in kinds.items()}}


def stored(server: LatencyServer, bucket: str) -> dict[str, int]:
    """Return how many objects a bucket has, and how many bytes they are."""
    objects, size, after = 0, 0, ""
    while True:
        root = ET.fromstring(server.request("GET", f"/{bucket}?list-type=2{after}"))
        space = root.tag.partition("}")[0] + "}"
        sizes = [int(each.text or 0) for each in root.iter(f"{space}Size")]
        objects, size = objects + len(sizes), size + sum(sizes)
        token = root.findtext(f"{space}NextContinuationToken")
        if not token:
            return {"objects": objects, "bytes": size}
        after = f"&continuation-token={quote(token)}"


def measure(engine: type[Engine], server: LatencyServer, appends: int) -> tuple[Figures, Any]:
    """Return the figures of an engine, and what it answered before and after compaction."""
    bucket = Bucket(f"test-{engine.package}", server.port)
    server.request("PUT", f"/{bucket.name}")
    found: dict[str, Figures] = {}
    all_noted: list[Noted] = []

    def played(role: str, suffix: str = "") -> Any:
        server.take()
        (marks, answers), _ = elsewhere(play, engine.name, bucket, role, appends)
        noted = server.take()
        all_noted.extend(noted)
        found.update({name + suffix: each for name, each in summary(marks, noted).items()})
        return answers

    played("write")
    held = {"as written": stored(server, bucket.name)}
    before = played("read")
    played("write_again")
    played("compact")
    held["compacted"] = stored(server, bucket.name)
    after = played("read", ", compacted")
    served = sorted(each.served * 1e3 for each in all_noted)
    return {
        "steps": found,
        "stored": held,
        "server_ms": {"median": statistics.median(served), "p90": served[len(served) * 9 // 10]},
        "requests": len(all_noted),
        "errors": sum(each.status >= 500 for each in all_noted),
    }, [before, after]


def show(found: dict[str, Figures], title: str) -> Table:
    """Return a table with a column for each engine."""
    shown = Table(
        title=title, caption="requests / round trips one after another / milliseconds / kB both ways"
    )
    shown.add_column("")
    for name in found:
        shown.add_column(name, justify="right")
    for step, words in STEPS.items():
        shown.add_row(words, *(_cell(each["steps"][step]) for each in found.values()))
    means = (each["steps"]["append"]["mean_requests"] for each in found.values())
    shown.add_row("requests per append, mean of all in that time", *(f"{mean:.1f}" for mean in means))
    before = (each["steps"]["cold, compacted"]["ms_before"] for each in found.values())
    shown.add_row("ms before the first request of the last cold open", *(f"{each:.0f}" for each in before))
    for when in ("as written", "compacted"):
        sizes = (each["stored"][when] for each in found.values())
        cells = (f"{size['objects']:,} objects, {size['bytes'] / 1e6:.1f} MB" for size in sizes)
        shown.add_row(f"stored, {when}", *cells)
    return shown


def _cell(step: Figures) -> str:
    size = (step["up"] + step["down"]) / 1e3
    return f"{step['requests']:g} / {step['round_trips']:g} / {step['ms']:,.0f} / {size:,.0f}"


def engines_for(wanted: Sequence[str], say: Callable[[str], None]) -> list[type[Engine]]:
    """Return those that can be in a bucket."""
    return [each for each in chosen(wanted, say) if each.remote and each is not MeasurefsOnOneThread]


def compared(
    engines: Sequence[type[Engine]], server: LatencyServer, appends: int, doing: Callable[[str], object]
) -> dict[str, Figures]:
    """Return the figures of each engine.

    Raises
    ------
    ValueError
        Their answers differ.
    """
    found: dict[str, Figures] = {}
    expected: Any = None
    for engine in engines:
        doing(engine.name)
        found[engine.name], answers = measure(engine, server, appends)
        expected = expected or answers
        if answers != expected:
            raise ValueError(f"{engine.name} gives other answers than {next(iter(found))}")
        found[engine.name]["version"] = version(engine)
    return found


def main() -> None:
    """Measure what is asked for."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", help="engines, by (part of) their names, with commas between")
    arguments.add_argument(
        "--latency", type=float, default=0.02, help="seconds that a request takes at least"
    )
    arguments.add_argument("--appends", type=int, default=200, help=f"of {BATCH_ROWS:,} rows")
    arguments.add_argument("--moto", action="store_true", help="pass all requests on to moto")
    arguments.add_argument("--json", type=Path, help="write the figures here too")
    options = arguments.parse_args()
    console = Console()
    with contextlib.ExitStack() as stack:
        upstream = ""
        if options.moto:
            from tests.s3_server import S3Server

            upstream = stack.enter_context(S3Server()).endpoint
        server = stack.enter_context(LatencyServer(options.latency, upstream))
        engines = engines_for(options.only.split(",") if options.only else [], console.print)
        status = stack.enter_context(console.status(""))
        try:
            found = compared(engines, server, options.appends, status.update)
        except ValueError as error:
            sys.exit(str(error))
    rows = options.appends * BATCH_ROWS
    console.print(
        show(found, f"{rows:,} rows in {options.appends} appends, {options.latency * 1e3:g} ms a request")
    )
    for name, each in found.items():
        server_ms = each["server_ms"]
        took = f"{server_ms['median']:.0f} ms at the median, {server_ms['p90']:.0f} at the 90th percentile"
        console.print(
            f"{name} {each['version']}: {each['requests']:,} requests, of which the server itself took {took}"
        )
    console.print(f"{os.cpu_count()} cores; load average {os.getloadavg()[0]:.1f} after")
    if options.json:
        shape = {"rows": rows, "appends": options.appends, "latency": options.latency}
        options.json.write_text(json.dumps({**shape, "engines": found}, indent=1))


if __name__ == "__main__":
    main()
