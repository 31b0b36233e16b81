"""What all data of the benchmarks have in common, and where stores and data are kept while they are measured."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

START = 1_767_225_600_000_000_000
"""2026-01-01 UTC, nanoseconds."""
STEP = 10_000_000_000
HOUR = 3_600_000_000_000
FIELDS = tuple(f"f{number}" for number in range(5))


def save(tables: Iterable[pa.Table], path: Path) -> Path:
    """Write tables to a file, from which another process reads them without making them anew."""
    writer = None
    for table in tables:
        writer = writer or pa.ipc.new_file(path, table.schema)
        (batch,) = table.combine_chunks().to_batches()
        writer.write_batch(batch)
    assert writer is not None
    writer.close()
    return path


def saved(path: Path) -> list[pa.Table]:
    """Return what was saved, in memory of this process."""
    with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as batches:
        return [
            pa.Table.from_batches([batches.get_batch(number)]) for number in range(batches.num_record_batches)
        ]


@contextlib.contextmanager
def kept_in(folder: Path | None) -> Iterator[Path]:
    """Give a folder for stores: the one to keep them in, or one that is removed in the end."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)
