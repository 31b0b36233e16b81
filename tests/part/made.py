"""Rows for tests of parts and tables, and what is in rows as plain Python values."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from measurefs.codec.types import ColumnType
from measurefs.fs import FileSystem
from measurefs.part.fetch import fetch
from measurefs.part.file_part import FilePart
from measurefs.part.metadata import Column, PartMetadata
from measurefs.part.part import Part, Scan, SeriesFilter
from measurefs.part.rows import Rows, sort_rows
from measurefs.part.series import Hash, encode_series, entity_keys, xxh3
from measurefs.part.writer import Encodings, PartOptions, write_part

EVER = (-(2**63), 2**63 - 1)
WIDE, COMPACT = 0, 8 << 20
"""Values for `PartOptions.compact_bytes`."""

ALL_TYPES = [
    Column("n", ColumnType.INT64),
    Column("x", ColumnType.FLOAT64),
    Column("flag", ColumnType.BOOL),
    Column("note", ColumnType.STRING),
    Column("blob", ColumnType.BINARY),
    Column("host", ColumnType.STRING, "where"),
    Column("rack", ColumnType.INT64, "where"),
    Column("raw", ColumnType.BINARY, "a/b"),
    Column("labels", ColumnType.STRING_LIST, ".."),
    Column("ports", ColumnType.INT64_LIST, "ü"),
    Column("serial", ColumnType.BINARY, "CON"),
]
"""A column of every type, and families whose names no file could have."""


def little_endian(key: bytes) -> int:
    """A series hash by which the id of a (small, positive) int64 entity is its number."""
    return int.from_bytes(key, "little")


def make_rows(
    entities: Mapping[str, pa.Array] | Sequence[int],
    times: Sequence[int],
    columns: Mapping[str, pa.Array] | None = None,
    versions: Sequence[int] | None = None,
    hasher: Hash = xxh3,
) -> Rows:
    """Rows as they arrive: in any order. Entities given as numbers are those of the column ``id``."""
    if not isinstance(entities, Mapping):
        entities = {"id": pa.array(entities, pa.int64())}
    batch = pa.record_batch(list(entities.values()), names=list(entities))
    series, codes = encode_series(batch, hasher)
    given = np.zeros(len(times), np.int64) if versions is None else np.array(versions, np.int64)
    return Rows(series, codes, np.array(times, np.int64), given, dict(columns or {}))


def plain(value: Any) -> Any:
    """A value that compares equal exactly if all bits are: floats become their bits."""
    if isinstance(value, float):
        return "float", struct.unpack("<q", struct.pack("<d", value))[0]
    return value


def values(column: pa.Array) -> list[Any]:
    """A column's values, each `plain`."""
    column.validate(full=True)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if kind == pa.float64():
        bits = np.asarray(column.fill_null(0.0)).view(np.int64).tolist()
        valid = column.is_valid().to_pylist()
        return [("float", one) if there else None for one, there in zip(bits, valid, strict=True)]
    found: list[Any] = column.to_pylist()
    return found


def entity_list(rows: Rows) -> list[tuple[Any, ...]]:
    """Each row's entity."""
    distinct = list(zip(*(column.to_pylist() for column in rows.series.entities.columns), strict=True))
    return [distinct[code] for code in rows.codes.tolist()]


def keyed(rows: Rows) -> dict[tuple[Any, int], tuple[int, dict[str, Any]]]:
    """(entity, time) to version and values; fails if a key is there twice."""
    lists = {name: values(column) for name, column in rows.columns.items()}
    found = {}
    keys = zip(entity_list(rows), rows.times.tolist(), rows.versions.tolist(), strict=True)
    for place, (entity, time, version) in enumerate(keys):
        assert (entity, time) not in found
        found[entity, time] = version, {name: column[place] for name, column in lists.items()}
    return found


def listed(rows: Rows) -> list[tuple[Any, ...]]:
    """Rows in their order: entity, time, version, then the values in order of the columns' names."""
    columns = [values(rows.columns[name]) for name in sorted(rows.columns)]
    return list(zip(entity_list(rows), rows.times.tolist(), rows.versions.tolist(), *columns, strict=True))


def only(*entities: Any, hasher: Hash | None = None, column: str = "id") -> SeriesFilter:
    """A filter for entities of one column; with a hasher it knows their ids too."""
    wanted = pa.array(entities) if entities else pa.array([], pa.int64())

    def matches(batch: pa.RecordBatch) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return np.isin(np.array(batch.column(column).to_pylist(), object), list(entities)).astype(np.bool_)

    if hasher is None:
        return SeriesFilter(matches)
    keys = entity_keys(pa.record_batch([wanted], names=[column]))
    return SeriesFilter(matches, np.unique(np.array([hasher(key) for key in keys], np.uint64)))


def entity_types(rows: Rows) -> dict[str, ColumnType]:
    """The entity columns of rows and their types."""
    known = {kind.arrow: kind for kind in ColumnType}
    return {field.name: known[field.type] for field in rows.series.entities.schema}


def store(
    fs: FileSystem,
    rows: Rows,
    columns: Sequence[Column],
    *,
    root: str = "",
    number: int = 1,
    block_rows: int = 4096,
    compact_bytes: int = COMPACT,
) -> PartMetadata:
    """Write rows, in any order, as one part."""
    options = PartOptions(block_rows=block_rows, compact_bytes=compact_bytes, summary_rows=64)
    ordered = sort_rows(rows)
    return write_part(
        fs, root, number, [ordered], entity_types(rows), columns, options, Encodings(options.level)
    )


def read(fs: FileSystem, part: Part, columns: Sequence[str] | None = None, **scan: Any) -> Rows:
    """Read a part: everything, or what ``start``, ``end`` and ``series`` say."""
    if columns is None:
        columns = list(part.metadata.arrow_types()) if isinstance(part, FilePart) else list(part.held.columns)
    start, end = scan.pop("start", EVER[0]), scan.pop("end", EVER[1])
    return fetch(fs, part.read(Scan(start, end, columns, **scan)))


def many_rows(count: int, series: int = 5, seed: int = 0, *, nulls: bool = True) -> Rows:
    """Rows with `ALL_TYPES`, in no order, all keys distinct; every third value is null.

    Rows of another seed have the same keys, and other values and versions.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    numbers = order // series

    def some(make: Any, kind: pa.DataType) -> pa.Array:
        return pa.array([None if nulls and i % 3 == 1 else make(int(i) + 17 * seed) for i in order], kind)

    columns = {
        "n": some(lambda i: i * 7 - 1000, pa.int64()),
        "x": some(lambda i: [i / 100, math.nan, -0.0, math.inf, 1e-310 * i][i % 5], pa.float64()),
        "flag": some(lambda i: i % 2 == 0, pa.bool_()),
        "note": some(lambda i: ["", "ü", "longer text"][i % 3], pa.string()),
        "blob": some(lambda i: bytes([i % 256]) * (i % 4), pa.binary()),
        "host": some(lambda i: f"host-{i % 4}", pa.string()),
        "rack": some(lambda i: i % 2 * 2**62, pa.int64()),
        "raw": some(lambda i: f"unique {i}".encode(), pa.binary()),
        "labels": some(lambda i: [None, "", "a"][: i % 4], pa.list_(pa.string())),
        "ports": some(lambda i: [i, None, -i][: i % 4], pa.list_(pa.int64())),
        "serial": some(lambda i: b"\0" * (i % 2), pa.binary()),
    }
    return make_rows((order % series).tolist(), (numbers * 10).tolist(), columns, (order + seed).tolist())
