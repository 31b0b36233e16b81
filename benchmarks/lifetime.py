"""A table's life: rows in batches, some late and some rewritten, compared with DuckDB all along.

Run it as ``python -m benchmarks.lifetime [--rows 10000000] [--batches 1000] [--checks 20] [--json FILE]``. A tenth of
the rows rewrite others and a fifth come late. At random moments, in the midst of flushes and merges, after compaction
and after reopening, counts and sums of everything and all rows of some series are compared with what DuckDB has been
told. Memory is that of the process above what it took before the first batch, without DuckDB's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

import measurefs
from benchmarks.data import START
from benchmarks.memory import forget_peak, peak
from benchmarks.processes import elsewhere
from measurefs.table import TableOptions

SERIES = 1_000
SECOND = 1_000_000_000
LATE, REWRITTEN = 0.2, 0.1


def batches(rows: int, count: int, seed: int = 7) -> Iterator[pa.Table]:
    """Yield batches: mostly the next rows of each series, a fifth from before, a tenth of keys that are there."""
    random = np.random.default_rng(seed)
    size = rows // count
    hosts = np.array([f"host-{number:04d}" for number in range(SERIES)])
    fresh = np.zeros(SERIES, np.int64)
    for _ in range(count):
        which = random.integers(0, SERIES, size)
        kind = random.random(size)
        position = np.zeros(size, np.int64)
        new = kind >= REWRITTEN
        order = np.argsort(which[new], kind="stable")
        counts = np.bincount(which[new], minlength=SERIES)
        nth = np.empty(int(new.sum()), np.int64)
        nth[order] = np.arange(len(nth)) - np.repeat(np.cumsum(counts) - counts, counts)
        position[new] = fresh[which[new]] + nth
        fresh += counts
        late = new & (kind < REWRITTEN + LATE)
        times = position * 10 * SECOND
        times[late] = (times[late] * random.random(int(late.sum()))).astype(np.int64) // SECOND * SECOND + 1
        times[~new] = (random.random(int((~new).sum())) * fresh[which[~new]]).astype(np.int64) * 10 * SECOND
        yield pa.table(
            {
                "time": pa.array(START + times, pa.timestamp("ns", tz="UTC")),
                "host": pa.array(hosts[which]),
                "usage": pa.array(np.round(random.normal(50, 10, size), 2)),
                "load": pa.array(random.integers(0, 100, size)),
            }
        )


class Reference:
    """The same rows in DuckDB: of each key the row that came last."""

    def __init__(self) -> None:
        import duckdb

        self.db = duckdb.connect(config={"threads": 1})
        self.db.execute(
            "create table rows (time bigint, host varchar, usage double, load bigint, arrived bigint, nth bigint)"
        )
        self.arrived = 0

    def add(self, batch: pa.Table) -> None:
        """Take note of a batch."""
        numbers = batch.set_column(0, "time", batch["time"].cast(pa.int64()))
        numbers = numbers.append_column("nth", pa.array(np.arange(len(batch))))
        self.db.register("batch", numbers)
        self.db.execute(f"insert into rows select time, host, usage, load, {self.arrived}, nth from batch")
        self.arrived += 1

    def newest(self) -> str:
        """Return the query for the rows that count."""
        return (
            "select time, host, usage, load from rows "
            "qualify row_number() over (partition by host, time order by arrived desc, nth desc) = 1"
        )

    def figures(self) -> tuple[int, int, int, int]:
        """Return count and sums: whatever differs in a row differs here."""
        found = self.db.execute(
            f"select count(*), sum(time // 1000000000)::hugeint, sum(load), sum(round(usage * 100)::hugeint) "
            f"from ({self.newest()})"
        ).fetchone()
        assert found is not None
        return tuple(int(each) for each in found)  # type: ignore[return-value]

    def rows_of(self, host: str) -> pa.Table:
        """Return the rows of one series, by time."""
        query = f"select time, usage, load from ({self.newest()}) where host = ? order by time"
        found = self.db.execute(query.replace("from rows", f"from (from rows where host = '{host}')"), [host])
        return found.to_arrow_table()


def figures(measure: measurefs.Measure) -> tuple[int, int, int, int]:
    """Return what `Reference.figures` does, from measurefs."""
    count = times = load = usage = 0
    for batch in measure.query(order="series", columns=["time", "usage", "load"]):
        count += batch.num_rows
        times += int((np.asarray(batch["time"].view(pa.int64())) // SECOND).sum())
        load += int(np.asarray(batch["load"]).sum())
        usage += int(np.round(np.asarray(batch["usage"]) * 100).astype(np.int64).sum())
    return count, times, load, usage


def differs(measure: measurefs.Measure, reference: Reference, random: np.random.Generator) -> str | None:
    """Return in what measurefs and DuckDB differ, None if in nothing."""
    mine, theirs = figures(measure), reference.figures()
    if mine != theirs:
        return f"count and sums {mine} instead of {theirs}"
    for number in random.integers(0, SERIES, 3):
        host = f"host-{number:04d}"
        found = measure.query(where={"host": host}, columns=["time", "usage", "load"]).to_arrow()
        found = found.set_column(0, "time", found["time"].cast(pa.int64()))
        if not found.equals(reference.rows_of(host).cast(found.schema)):
            return f"the rows of {host}"
    return None


def compare(rows: int, count: int, checks: int, root: str) -> dict[str, object]:
    """Ingest and compare."""
    random = np.random.default_rng(1)
    reference = Reference()
    moments = set(random.integers(1, count, checks).tolist())
    found: list[str] = []
    with measurefs.open(root, options=TableOptions(flush_bytes=4 << 20, gc_interval=5.0, gc_grace=1.0)) as db:
        cpu = db.create_measure(
            "cpu", entity=["host"], fields={"usage": "float64", "load": "int64"}, interval="999d"
        )
        for number, batch in enumerate(batches(rows, count)):
            cpu.write(batch)
            reference.add(batch)
            if number in moments:
                found += filter(None, [differs(cpu, reference, random)])
        (stats,) = cpu.stats().values()
        cpu.compact()
        found += filter(None, [differs(cpu, reference, random)])
    with measurefs.open(root, read_only=True) as db:
        found += filter(None, [differs(db.measure("cpu"), reference, random)])
        (after,) = db.measure("cpu").stats().values()
    return {
        "checks": len(moments) + 2,
        "differences": found,
        "rows": after["rows"],
        "merges": stats["merges"],
        "write_amplification": stats["write_amplification"],
        "parts_before_compaction": stats["file_parts"],
    }


def peak_memory(rows: int, count: int, root: str) -> dict[str, float]:
    """Ingest the same without DuckDB and return the peak of memory above the start, the time, and merging."""
    made = list(batches(rows // 20, count // 20))  # what generating takes is not ours
    del made
    before = forget_peak()
    begun = time.perf_counter()
    with measurefs.open(root, options=TableOptions(gc_interval=5.0, gc_grace=1.0)) as db:
        cpu = db.create_measure(
            "cpu", entity=["host"], fields={"usage": "float64", "load": "int64"}, interval="999d"
        )
        for batch in batches(rows, count):
            cpu.write(batch)
        cpu.flush()
        ingested = time.perf_counter()
        (stats,) = cpu.stats().values()
        cpu.compact()
        compacted = time.perf_counter()
    return {
        "limit_mib": TableOptions().memory_limit / 2**20,
        "peak_mib": (peak() - before) / 2**20,
        "ingest_seconds": ingested - begun,
        "compact_seconds": compacted - ingested,
        "write_amplification": stats["write_amplification"],
    }


def main() -> None:
    """Run both in processes of their own, and show the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--batches", type=int, default=1_000)
    parser.add_argument("--checks", type=int, default=20)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, function, arguments in (
            ("compare", compare, (given.rows, given.batches, given.checks)),
            ("memory", peak_memory, (given.rows, given.batches)),
        ):
            results[name] = elsewhere(function, *arguments, f"{folder}/{name}").value
            print(name, json.dumps(results[name], indent=2))
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
