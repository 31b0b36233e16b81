"""Merging: rows/s of a compaction, beside DuckDB sorting the same rows out of as many Parquet files.

Run it as ``python -m benchmarks.merge [--repeat 3] [--json FILE]``; under ``py-spy record`` it shows
where the time goes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import measurefs
from benchmarks.data import FIELDS
from benchmarks.fleet import TAG_TYPES, Fleet
from measurefs.table import TableOptions
from measurefs.table.policy import MergeOptions

WORKLOADS = {
    "1,000 series x 2,000 rows in 8 parts": (1_000, 2_000, 8),
    "100,000 series x 20 rows in 8 parts": (100_000, 20, 8),
    "20 series x 100,000 rows in 8 parts": (20, 100_000, 8),
}


def of_measurefs(tables: list[pa.Table], root: Path) -> dict[str, float]:
    """Write a part for each table, and compact."""
    options = TableOptions(flush_bytes=1 << 30, memory_limit=1 << 30, merge=MergeOptions(enabled=False))
    with measurefs.open(root, options=options, background=False) as db:
        cpu = db.create_measure(
            "cpu", entity=["host"], tags=TAG_TYPES, fields=dict.fromkeys(FIELDS, "float64"), interval="999d"
        )
        for table in tables:
            cpu.write(table)
            cpu.flush()
        begun = time.perf_counter()
        cpu.compact()
        took = time.perf_counter() - begun
        (stats,) = cpu.stats().values()
        assert stats["file_parts"] == 1
        return {"seconds": took, "bytes": stats["compressed_bytes"]}


def of_duckdb(tables: list[pa.Table], root: Path) -> dict[str, float]:
    """Write a Parquet file for each table, and sort them all into one."""
    import duckdb

    root.mkdir()
    for number, table in enumerate(tables):
        pq.write_table(table, root / f"{number}.parquet", compression="zstd")
    db = duckdb.connect(config={"threads": len(os.sched_getaffinity(0))})
    begun = time.perf_counter()
    db.execute(
        f"copy (select * from '{root}/*.parquet' order by host, time) to '{root}/merged' "
        "(format parquet, compression zstd)"
    )
    return {"seconds": time.perf_counter() - begun, "bytes": (root / "merged").stat().st_size}


def main() -> None:
    """Measure all, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    results = []
    for name, (series, rows, parts) in WORKLOADS.items():
        tables = list(Fleet(series, rows).by_time(series * rows // parts))
        for engine, run in {"measurefs": of_measurefs, "DuckDB": of_duckdb}.items():
            runs = []
            for _ in range(given.repeat):
                with tempfile.TemporaryDirectory() as root:
                    runs.append(run(tables, Path(root) / "store"))
            speeds = sorted(series * rows / each["seconds"] / 1e6 for each in runs)
            results.append(
                {
                    "workload": name,
                    "engine": engine,
                    "million_rows_per_second": statistics.median(speeds),
                    "slowest": speeds[0],
                    "fastest": speeds[-1],
                    "bytes_per_row": runs[0]["bytes"] / (series * rows),
                }
            )
            print(json.dumps(results[-1]))
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
