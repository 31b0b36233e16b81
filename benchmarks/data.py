"""Deterministic data that looks like metrics: 2-decimal random walks of many hosts, ten seconds apart."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

START = 1_767_225_600_000_000_000
"""2026-01-01 UTC, nanoseconds."""
STEP = 10_000_000_000
FIELDS = tuple(f"f{number}" for number in range(5))


def batches(series: int, rows: int, batch_rows: int) -> Iterator[pa.Table]:
    """Yield series x rows rows in order of time, as collectors send them, in batches of batch_rows.

    Columns are ``time``, ``host`` (string) and five float64 fields.
    """
    random = np.random.default_rng(7)
    walk = np.round(np.cumsum(random.normal(0, 0.5, (rows, series)), axis=0) + 50, 2)
    hosts = np.array([f"host-{number:06d}" for number in range(series)])
    times = np.repeat(START + np.arange(rows) * STEP, series)
    values = {name: np.roll(walk, number, axis=1).ravel() for number, name in enumerate(FIELDS)}
    total = series * rows
    for first in range(0, total, batch_rows):
        rows_of_batch = slice(first, min(first + batch_rows, total))
        which = np.arange(rows_of_batch.start, rows_of_batch.stop) % series
        columns = {
            "time": pa.array(times[rows_of_batch], pa.timestamp("ns", tz="UTC")),
            "host": pa.array(hosts[which]),
        }
        columns |= {name: pa.array(column[rows_of_batch].copy()) for name, column in values.items()}
        yield pa.table(columns)


@contextlib.contextmanager
def kept_in(folder: Path | None) -> Iterator[Path]:
    """Give a folder for stores: the one to keep them in, or one that is removed in the end."""
    if folder is not None:
        folder.mkdir(exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)
