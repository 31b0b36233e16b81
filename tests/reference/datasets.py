"""The data sets of the reference's tests: three series, tags of every type in three families, four fields.

A series is the entity ``{"id": number}``, and by the hash used here its id is that number, so that series come
in the reference's order. Where the reference gives one tag name to two types (rows 3 and 4 of `DPS`), the tags
``strTag1`` and ``strTag2`` stand for them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from measurefs.codec.types import ColumnType
from measurefs.fs import FileSystem
from measurefs.part.fetch import fetch, together
from measurefs.part.metadata import Column
from measurefs.part.part import Part, Scan
from measurefs.part.rows import Rows
from measurefs.part.series import Hash
from measurefs.table import TableSchema, TsTable
from tests.part.made import little_endian, make_rows, only
from tests.table.tables import open_table

LONG_TEXT = (
    b"\n"
    + b"Lorem ipsum dolor sit amet, consectetur adipiscing elit. Donec a diam lectus. Sed sit amet ipsum mauris.\n"
    * 7
)
BY_NUMBER: Hash = little_endian
COLUMNS = [
    Column("strArrTag", ColumnType.STRING_LIST, "arrTag"),
    Column("intArrTag", ColumnType.INT64_LIST, "arrTag"),
    Column("binaryTag", ColumnType.BINARY, "binaryTag"),
    Column("strTag", ColumnType.STRING, "singleTag"),
    Column("intTag", ColumnType.INT64, "singleTag"),
    Column("strTag1", ColumnType.STRING, "singleTag"),
    Column("strTag2", ColumnType.STRING, "singleTag"),
    Column("strField", ColumnType.STRING),
    Column("intField", ColumnType.INT64),
    Column("floatField", ColumnType.FLOAT64),
    Column("binaryField", ColumnType.BINARY),
]
NAMES = [column.name for column in COLUMNS]
SCHEMA = TableSchema({"id": ColumnType.INT64}, COLUMNS)

Row = Mapping[str, Any]


def _first(time: int, texts: list[str], numbers: list[int], text: str, number: int, *fields: Any) -> Row:
    tags = {
        "strArrTag": texts,
        "intArrTag": numbers,
        "binaryTag": LONG_TEXT,
        "strTag": text,
        "intTag": number,
    }
    names = ("strField", "intField", "floatField")
    return {"id": 1, "time": time} | tags | dict(zip(names, fields, strict=True)) | {"binaryField": LONG_TEXT}


DPS_TS1: list[Row] = [
    _first(1, ["value1", "value2"], [25, 30], "value1", 10, "field1", 1110, 1221233.343),
    {"id": 2, "time": 1, "strTag1": "tag1", "strTag2": "tag2"},
    {"id": 3, "time": 1, "intField": 1110},
]
DPS_TS2: list[Row] = [
    _first(2, ["value5", "value6"], [35, 40], "value3", 30, "field3", 3330, 3663699.029),
    {"id": 2, "time": 2, "strTag1": "tag3", "strTag2": "tag4"},
    {"id": 3, "time": 2, "intField": 4440},
]
DPS: list[Row] = [
    _first(1, ["value1", "value2"], [25, 30], "value1", 10, "field1", 1110, 1221233.343),
    _first(2, ["value3", "value4"], [50, 60], "value2", 20, "field2", 2220, 2442466.686),
    {"id": 2, "time": 8, "strTag1": "tag1", "strTag2": "tag2"},
    {"id": 2, "time": 10, "strTag1": "tag11", "strTag2": "tag22"},
    {"id": 3, "time": 100, "intField": 1110},
    {"id": 3, "time": 220, "intField": 2220},
]


def full(row: Row) -> dict[str, Any]:
    """A row with every column, null where it says nothing."""
    return {name: row.get(name) for name in ("id", "time", *NAMES)}


def rows_of(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> Rows:
    """Rows as a table takes them."""
    values = {
        column.name: pa.array([row.get(column.name) for row in rows], column.type.arrow) for column in columns
    }
    return make_rows([row["id"] for row in rows], [row["time"] for row in rows], values, hasher=BY_NUMBER)


def dicts_of(rows: Rows) -> list[dict[str, Any]]:
    """Rows as dictionaries, in their order, every column of the data sets in each."""
    ids = [rows.series.entities.column(0)[code].as_py() for code in rows.codes.tolist()]
    columns = {name: column.to_pylist() for name, column in rows.columns.items()}
    return [
        full(
            {"id": ids[n], "time": int(rows.times[n])} | {name: values[n] for name, values in columns.items()}
        )
        for n in range(len(rows))
    ]


def open_reference(fs: FileSystem, **settings: Any) -> TsTable:
    """A table for the data sets."""
    return open_table(fs, schema=SCHEMA, series_hash=BY_NUMBER, **settings)


@dataclasses.dataclass(frozen=True)
class Block:
    """A block as the reference's iterators show it, less what its own encoding determines."""

    series: int
    count: int


def blocks_of(
    fs: FileSystem, parts: Sequence[Part], series: Sequence[int], first: int, last: int
) -> list[Block]:
    """The blocks across parts of series within [first, last], in order of series and time, as `tstIter` gives them."""
    scan = Scan(first, last + 1, [], only(*series, hasher=BY_NUMBER))
    found: list[tuple[int, int, int, int]] = []
    for place, blocks in enumerate(fetch(fs, together(*(part.blocks(scan) for part in parts)))):
        ids = blocks.series.entities.column(0).take(pa.array(blocks.codes)).to_pylist()
        starts, counts = blocks.min_times.tolist(), blocks.rows.tolist()
        found += zip(ids, starts, [place] * len(ids), counts, strict=True)
    return [Block(number, count) for number, _, _, count in sorted(found)]


Check = Callable[[TsTable], None]


def in_memory_on_disk_and_reopened(fs: FileSystem, writes: Sequence[Sequence[Row]], check: Check) -> None:
    """The reference's harness: rows in memory only; each write flushed; then closed and opened again."""
    with open_reference(fs, root="memory") as table:
        for rows in writes:
            table.add(rows_of(rows))
        check(table)
        assert table.stats()["file_parts"] == 0
    with open_reference(fs, root="disk") as table:
        for rows in writes:
            table.add(rows_of(rows))
            table.flush()
        check(table)
        epoch = table.epoch
        assert (table.stats()["memory_parts"], table.stats()["file_parts"]) == (0, len(writes))
    with open_reference(fs, root="disk", read_only=True) as table:
        assert table.epoch == epoch
        check(table)
    with open_reference(fs, root="disk") as table:
        assert table.epoch == epoch
        check(table)


def windows(times: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Every [first, last] whose bounds are on, just before or just after one of the times."""
    bounds = sorted({bound for time in times for bound in (time - 1, time, time + 1)})
    return ((first, last) for place, first in enumerate(bounds) for last in bounds[place:])
