"""Many durable writes of one row: how many parts and files are left when all has settled, and how fast it opens.

Run it as ``python -m benchmarks.small_writes [--writes 3000] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import measurefs
from benchmarks.data import START
from measurefs.table import TableOptions

SECOND = 1_000_000_000


def run(writes: int, root: Path) -> dict[str, float]:
    """Write, let it settle, and open again."""
    took = []
    begun = time.perf_counter()
    with measurefs.open(root, options=TableOptions(gc_interval=1.0, gc_grace=2.0)) as db:
        cpu = db.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
        for number in range(writes):
            before = time.perf_counter()
            row = {"time": START + number * SECOND, "host": f"host-{number % 50}", "usage": float(number)}
            cpu.write([row], durable=True)
            took.append(time.perf_counter() - before)
        written = time.perf_counter()
        (stats,) = cpu.stats().values()
        while len(list(root.rglob("*"))) >= 50 and time.perf_counter() - written < 60:
            time.sleep(0.05)
        settled = time.perf_counter()
        (stats,) = cpu.stats().values()
    opening = []
    for _ in range(21):
        before = time.perf_counter()
        with measurefs.open(root, read_only=True) as db:
            found = db.measure("cpu").query(columns=["time"], limit=1).to_arrow().num_rows
            opening.append(time.perf_counter() - before)
            assert found == 1
    with measurefs.open(root, read_only=True) as db:
        assert db.measure("cpu").query().to_arrow().num_rows == writes
    return {
        "writes": writes,
        "seconds": written - begun,
        "p50_ms": 1e3 * statistics.median(took),
        "p99_ms": 1e3 * statistics.quantiles(took, n=100)[98],
        "settled_after_seconds": settled - written,
        "parts": stats["file_parts"],
        "files": sum(path.is_file() for path in root.rglob("*")),
        "merges": stats["merges"],
        "write_amplification": stats["write_amplification"],
        "open_and_first_row_ms": 1e3 * statistics.median(opening),
    }


def main() -> None:
    """Show the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writes", type=int, default=3_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        figures = run(given.writes, Path(root) / "store")
    print(json.dumps(figures, indent=2))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
