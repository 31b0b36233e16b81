"""Streaming a result that is far larger than memory should be: rows/s, peak memory, and what `limit` reads.

Run it as ``python -m benchmarks.streaming [--rows 50000000] [--series 1000] [--interval 1d] [--store DIR]
[--json FILE] [--merged]``. Each figure is of a process of its own; the files are in the system's cache. Memory is what
the process had at its peak.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks.data import START, STEP, kept_in
from benchmarks.memory import forget_peak, peak
from benchmarks.processes import elsewhere

BATCH_ROWS = 1_000_000
MIB = 1 << 20
STREAMS = ("time", "-time", "series")
FEW = {
    "first ten, order time": {"order": "time", "limit": 10},
    "first ten, order -time": {"order": "-time", "limit": 10},
    "first ten, order series": {"order": "series", "limit": 10},
    "last ten of one series": {"order": "-time", "limit": 10, "where": {"host": "host-000017"}},
}
SINKS = ("nothing", "Parquet")


def rows(series: int, each: int) -> Iterator[pa.Table]:
    """Yield the rows of so many hosts, ten seconds apart, in order of time: two random walks and a tag."""
    random = np.random.default_rng(7)
    hosts = pa.array([f"host-{number:06d}" for number in range(series)])
    regions = pa.array([f"region-{number % 9}" for number in range(series)])
    level = np.full((2, series), 50.0)
    steps = max(BATCH_ROWS // series, 1)
    for first in range(0, each, steps):
        count = min(steps, each - first)
        walks = level[:, None] + np.cumsum(random.normal(0, 0.5, (2, count, series)), axis=1)
        level = walks[:, -1]
        host = pa.array(np.tile(np.arange(series), count))
        times = START + np.repeat(np.arange(first, first + count), series) * STEP
        usage, load = np.round(walks, 2).reshape(2, -1)
        yield pa.table(
            {
                "time": pa.array(times).view(pa.timestamp("ns", tz="UTC")),
                "host": hosts.take(host),
                "region": regions.take(host),
                "usage": pa.array(usage),
                "load": pa.array(load),
            }
        )


def store(root: Path, series: int, each: int, interval: str, *, merged: bool) -> None:
    """Write the rows, durably at the end; merging goes on beside it, and to the end if that is wanted."""
    import measurefs

    with measurefs.open(root, options=measurefs.TableOptions(gc_grace=0.0)) as db:
        fields = {"usage": "float64", "load": "float64"}
        cpu = db.create_measure(
            "cpu", entity=["host"], tags={"region": "string"}, fields=fields, interval=interval
        )
        for batch in rows(series, each):
            cpu.write(batch)
        cpu.flush()
        if merged:
            cpu.compact()
        cpu.gc()


def streamed(cpu: Any, order: str, sink: str, folder: Path) -> dict[str, float]:
    """Read all rows, perhaps into a Parquet file."""
    import pyarrow.parquet as pq

    before, started, count = forget_peak(), time.perf_counter(), 0  # that of the imports is not ours
    with cpu.query(order=order) as result:
        if sink == "nothing":
            for batch in result.to_batches():
                count += batch.num_rows
        else:
            with pq.ParquetWriter(folder / "rows.parquet", result.schema) as writer:
                for batch in result.to_reader():
                    writer.write_batch(batch)
                    count += batch.num_rows
    seconds = time.perf_counter() - started
    most = peak()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "rows": count,
        "rows_per_second": count / seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak": most,
        "above": most - before,
        "arrow": pa.default_memory_pool().max_memory(),
    }


def few(cpu: Any, question: dict[str, Any], fs: Any, repeat: int = 20) -> dict[str, float]:
    """Ask for some rows: the first time, then again and again."""

    def ask() -> float:
        started = time.perf_counter()
        table = cpu.query(**question).to_arrow()
        seconds = time.perf_counter() - started
        assert len(table) == question["limit"]
        return seconds * 1e3

    fs.reset()
    first = ask()
    calls, read = fs.calls["read_ranges"], fs.bytes["read"]
    return {
        "first_ms": first,
        "warm_ms": statistics.median(ask() for _ in range(repeat)),
        "requests": calls,
        "kib": read / 1024,
        "above": peak(),
    }


def case_of(root: Path, case: str, sink: str) -> dict[str, float]:
    """Measure one case in this process, and return what was found."""
    import measurefs
    import measurefs.fs

    import pyarrow.parquet  # isort: skip
    import pandas  # isort: skip

    _ = pyarrow.parquet, pandas  # Arrow imports it when a result is first used
    pa.array([0])
    fs = measurefs.fs.CountingFileSystem(measurefs.fs.open_url(str(root)))
    with measurefs.open(fs, read_only=True) as db, tempfile.TemporaryDirectory() as folder:
        cpu = db.measure("cpu")
        return streamed(cpu, case, sink, Path(folder)) if case in STREAMS else few(cpu, FEW[case], fs)


def show_streams(found: dict[str, dict[str, float]]) -> Table:
    """Return a table of the streams."""
    shown = Table(title="all rows, as record batches")
    for heading in (
        "order, into",
        "M rows/s",
        "CPU s",
        "peak MiB",
        "above the start MiB",
        "Arrow's peak MiB",
    ):
        shown.add_column(heading, justify="left" if heading == "order, into" else "right")
    for name, each in found.items():
        sizes = (f"{each[key] / MIB:.0f}" for key in ("peak", "above", "arrow"))
        shown.add_row(name, f"{each['rows_per_second'] / 1e6:.1f}", f"{each['cpu_seconds']:.1f}", *sizes)
    return shown


def show_few(found: dict[str, dict[str, float]]) -> Table:
    """Return a table of the questions for some rows."""
    shown = Table(title="ten rows of them")
    columns: dict[str, Callable[[dict[str, float]], str]] = {
        "first ms": lambda each: f"{each['first_ms']:.1f}",
        "warm ms": lambda each: f"{each['warm_ms']:.2f}",
        "batches of range reads": lambda each: f"{each['requests']:.0f}",
        "KiB read": lambda each: f"{each['kib']:,.0f}",
    }
    shown.add_column("question")
    for heading in columns:
        shown.add_column(heading, justify="right")
    for name, each in found.items():
        shown.add_row(name, *(cell(each) for cell in columns.values()))
    return shown


def measure(options: argparse.Namespace, root: Path, console: Console) -> None:
    """Store the rows unless they are there, ask in new processes, and show what was found."""
    store_there = root / f"{options.series}-{options.rows}-{options.interval}{'-merged' * options.merged}"
    done = store_there.with_suffix(".done")
    if not done.exists():
        started = time.perf_counter()
        each = options.rows // options.series
        with console.status("storing the rows"):
            store(store_there, options.series, each, options.interval, merged=options.merged)
        done.touch()
        console.print(f"stored in {time.perf_counter() - started:.0f} s")
    size = sum(path.stat().st_size for path in store_there.rglob("*") if path.is_file())
    console.print(f"{options.rows:,} rows, {size / options.rows:.2f} bytes each")
    streams, some = {}, {}
    for order in STREAMS:
        for sink in SINKS:
            with console.status(f"order {order} into {sink}"):
                streams[f"{order}, {sink}"] = elsewhere(case_of, store_there, order, sink).value
    console.print(show_streams(streams))
    for question in FEW:
        some[question] = elsewhere(case_of, store_there, question, "").value
    console.print(show_few(some))
    if options.json:
        options.json.write_text(json.dumps({"streams": streams, "few": some}, indent=1))


def main() -> None:
    """Measure what is asked for."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=50_000_000)
    arguments.add_argument("--series", type=int, default=1_000)
    arguments.add_argument("--interval", default="1d", help="of the measure: how long a segment is")
    arguments.add_argument("--merged", action="store_true", help="merge all parts of a segment before asking")
    arguments.add_argument("--store", type=Path, help="keep the stores here, and use what is there")
    arguments.add_argument("--json", type=Path, help="write the figures here too")
    options = arguments.parse_args()
    with kept_in(options.store) as folder:
        measure(options, folder.resolve(), Console())


if __name__ == "__main__":
    main()
