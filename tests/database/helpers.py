"""What the tests of databases and of queries share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

import measurefs
from measurefs import Database, FileSystem, Measure
from measurefs.fs import join
from tests.conftest import Store

DAY = 86_400_000_000_000
HOUR = DAY // 24


def open_store(store: Store, **more: Any) -> Database:
    """Open the database in a store."""
    return measurefs.open(store.url, storage_options=store.options, **more)


def numbered(table: pa.Table) -> pa.Table:
    """Return a result with its times as plain nanoseconds, which Python compares exactly."""
    if "time" not in table.column_names:
        return table
    place = table.column_names.index("time")
    return table.set_column(place, "time", table["time"].cast(pa.int64()))


def rows_of(measure: Measure, **query: Any) -> list[dict[str, Any]]:
    """Return the rows of a query as dicts."""
    with measure.query(**query) as result:
        return list(numbered(result.to_arrow()).to_pylist())


def values_of(measure: Measure, column: str, **query: Any) -> list[Any]:
    """Return one column of a query."""
    return [row[column] for row in rows_of(measure, columns=[column], **query)]


def files_of(fs: FileSystem) -> dict[str, bytes]:
    """Return every file of a store with its content, and every directory with nothing."""
    return dict(_walk(fs, ""))


def _walk(fs: FileSystem, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in fs.read_dir(path):
        below = join(path, entry.name)
        if entry.is_dir:
            yield below + "/", b""
            yield from _walk(fs, below)
        else:
            yield below, fs.read(below)


def one_row(**values: Any) -> Mapping[str, list[Any]]:
    """Return a batch of one row."""
    return {name: [value] for name, value in values.items()}
