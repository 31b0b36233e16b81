"""Bulk ingest: rows/s and bytes/row on a local disk, beside a Parquet file per batch.

Run it as ``python benchmarks/ingest.py [--repeat 3] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from data import FIELDS, batches
from rich.console import Console
from rich.table import Table

import measurefs

WORKLOADS = {
    "1,000 series x 2,000 rows, batches of 10,000": (1_000, 2_000, 10_000),
    "100,000 series x 10 rows, batches of 100,000": (100_000, 10, 100_000),
}


def into_measurefs(tables: list[pa.Table], root: Path) -> None:
    """Write each batch, and make all of it durable at the end."""
    with measurefs.open(root) as db:
        cpu = db.create_measure("cpu", entity=["host"], fields=dict.fromkeys(FIELDS, "float64"))
        for table in tables:
            cpu.write(table)
        cpu.flush()


def into_measurefs_durably(tables: list[pa.Table], root: Path) -> None:
    """Write each batch durably before the next."""
    with measurefs.open(root) as db:
        cpu = db.create_measure("cpu", entity=["host"], fields=dict.fromkeys(FIELDS, "float64"))
        for table in tables:
            cpu.write(table, durable=True)


def into_parquet(tables: list[pa.Table], root: Path) -> None:
    """Write a zstd Parquet file per batch, and sync it."""
    root.mkdir()
    for number, table in enumerate(tables):
        with (root / f"{number}.parquet").open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())


def into_parquet_by_polars(tables: list[pa.Table], root: Path) -> None:
    """Write a Parquet file per batch through Polars, and sync it."""
    import polars as pl

    root.mkdir()
    for number, table in enumerate(tables):
        with (root / f"{number}.parquet").open("wb") as file:
            pl.from_arrow(table).write_parquet(file)
            file.flush()
            os.fsync(file.fileno())


ENGINES: dict[str, Callable[[list[pa.Table], Path], None]] = {
    "measurefs": into_measurefs,
    "measurefs, durable batches": into_measurefs_durably,
    "Parquet (pyarrow)": into_parquet,
    "Parquet (Polars)": into_parquet_by_polars,
}


def measure(engine: str, tables: list[pa.Table], repeat: int) -> dict[str, float]:
    """Return the median rows/s, its spread, and the bytes/row of an engine."""
    rows = sum(table.num_rows for table in tables)
    rates, size = [], 0
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "store"
            started = time.perf_counter()
            ENGINES[engine](tables, root)
            rates.append(rows / (time.perf_counter() - started))
            size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    return {
        "rows_per_second": statistics.median(rates),
        "slowest": min(rates),
        "fastest": max(rates),
        "bytes_per_row": size / rows,
    }


def main() -> None:
    """Measure every engine on every workload and print what was found."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument("--json", type=Path, help="write the figures here too")
    options = arguments.parse_args()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for workload, shape in WORKLOADS.items():
        tables = list(batches(*shape))
        found[workload] = {engine: measure(engine, tables, options.repeat) for engine in ENGINES}
        shown = Table(title=workload)
        for heading in ("engine", "M rows/s", "slowest", "fastest", "bytes/row"):
            shown.add_column(heading, justify="left" if heading == "engine" else "right")
        for engine, figures in found[workload].items():
            rates = (figures[key] / 1e6 for key in ("rows_per_second", "slowest", "fastest"))
            shown.add_row(engine, *(f"{rate:.2f}" for rate in rates), f"{figures['bytes_per_row']:.2f}")
        Console().print(shown)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
