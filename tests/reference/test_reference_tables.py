"""Blocks across the parts of a table, and queries (reference 5.2: Test_tstIter, TestQueryResult)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import measurefs
from tests.reference.datasets import (
    BY_NUMBER,
    COLUMNS,
    DPS,
    DPS_TS1,
    DPS_TS2,
    NAMES,
    Block,
    blocks_of,
    dicts_of,
    full,
    in_memory_on_disk_and_reopened,
    open_reference,
    rows_of,
)
from tests.table.tables import read_snapshot

SERIES = [1, 2, 3]
ONES = [Block(1, 1), Block(2, 1), Block(3, 1)]
TWICE = [block for block in ONES for _ in range(2)]


class TestTstIter:
    """Test_tstIter."""

    @pytest.mark.parametrize(
        ("writes", "first", "last", "parts", "expected"),
        [
            pytest.param([], 1, 1, 0, [], id="no data points"),
            pytest.param([DPS_TS1], 1, 1, 1, ONES, id="single part"),
            pytest.param([DPS_TS1, DPS_TS2], 1, 2, 2, TWICE, id="multi parts with different ts"),
            pytest.param([DPS_TS1, DPS_TS1], 1, 2, 2, TWICE, id="multi parts with same ts"),
            pytest.param([DPS_TS1, DPS_TS2], 2, 2, 1, ONES, id="one of them in the window"),
        ],
    )
    def test_blocks(self, store_fs, writes, first, last, parts, expected):
        def check(table):
            with table.pin() as snapshot:
                found = snapshot.parts_in(first, last + 1)
                assert len(found) == parts
                assert blocks_of(table.fs, found, SERIES, first, last) == expected

        in_memory_on_disk_and_reopened(store_fs, writes, check)

    def test_one_flush_of_several_writes_joins_their_blocks(self, store_fs):
        """Here the flusher makes one part of all that waits, the superseded rows left out."""
        with open_reference(store_fs) as table:
            for rows in (DPS_TS1, DPS_TS2, DPS_TS1):
                table.add(rows_of(rows))
            table.flush()
            with table.pin() as snapshot:
                assert blocks_of(table.fs, snapshot.parts, SERIES, 1, 2) == [
                    Block(number, 2) for number in SERIES
                ]

    def test_rows_come_back_whole(self, store_fs):
        def check(table):
            with table.pin() as snapshot:
                found = dicts_of(read_snapshot(table.fs, snapshot, NAMES))
            assert found == [full(row) for row in DPS]

        in_memory_on_disk_and_reopened(store_fs, [DPS], check)


S1, S2 = ({row["id"]: full(row) for row in rows} for rows in (DPS_TS1, DPS_TS2))
CASES = [
    pytest.param(
        [DPS_TS1, DPS_TS1],
        {"order": "-time"},
        1,
        1,
        [S1[1], S1[2], S1[3]],
        id="(1) duplicates, time descending",
    ),
    pytest.param(
        [DPS_TS1, DPS_TS2],
        {"order": "-time"},
        1,
        2,
        [S2[1], S2[2], S2[3], S1[1], S1[2], S1[3]],
        id="(2) two times, time descending",
    ),
    pytest.param(
        [DPS_TS1, DPS_TS2],
        {"order": "time"},
        1,
        2,
        [S1[1], S1[2], S1[3], S2[1], S2[2], S2[3]],
        id="(3) two times, time ascending",
    ),
    pytest.param(
        [DPS_TS1, DPS_TS1],
        {"order": "series", "where": {"id": [1, 2, 3]}},
        1,
        1,
        [S1[1], S1[2], S1[3]],
        id="(4) duplicates, by series",
    ),
    pytest.param(
        [DPS_TS1, DPS_TS2],
        {"order": "series", "where": {"id": [2, 1, 3]}},
        1,
        2,
        [S1[2], S2[2], S1[1], S2[1], S1[3], S2[3]],
        id="(5) two times, series 2, 1, 3",
    ),
    pytest.param([DPS_TS1, DPS_TS2], {"order": "time"}, 3, 9, [], id="nothing in the window"),
    pytest.param([DPS_TS1], {}, 1, 1, [S1[1], S1[2], S1[3]], id="the default order is time ascending"),
]


def make_measure(db: measurefs.Database) -> measurefs.Measure:
    tags: dict[str, dict[str, str]] = {}
    for column in COLUMNS:
        if column.family is not None:
            tags.setdefault(column.family, {})[column.name] = column.type.value
    fields = {column.name: column.type.value for column in COLUMNS if column.family is None}
    return db.create_measure("m", entity={"id": "int64"}, tags=tags, fields=fields, exist_ok=True)


def to_arrow(rows: list[dict[str, Any]]) -> pa.Table:
    types = {"id": pa.int64(), "time": pa.int64()} | {column.name: column.type.arrow for column in COLUMNS}
    return pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in types.items()})


def found_by(measure: measurefs.Measure, first: int, last: int, how: dict[str, Any]) -> list[dict[str, Any]]:
    table = measure.query(first, last + 1, **how).to_arrow()
    times = table.schema.get_field_index("time")
    return [full(row) for row in table.set_column(times, "time", table["time"].cast(pa.int64())).to_pylist()]


class TestQueryResult:
    """TestQueryResult, through the public interface; rows instead of runs of one series."""

    OPTIONS = measurefs.TableOptions(series_hash=BY_NUMBER, flush_interval=1e9, log_bytes=0)

    @pytest.mark.parametrize(("writes", "how", "first", "last", "expected"), CASES)
    def test_order_and_duplicates(self, store_url, writes, how, first, last, expected):
        settings = {"storage_options": store_url.options, "options": self.OPTIONS}
        memory, disk = f"{store_url.url}/memory", f"{store_url.url}/disk"
        with measurefs.open(memory, **settings) as db:
            measure = make_measure(db)
            for rows in writes:
                measure.write(to_arrow(rows))
            assert all(stats["file_parts"] == 0 for stats in measure.stats().values())
            assert found_by(measure, first, last, how) == expected
        with measurefs.open(disk, **settings) as db:
            measure = make_measure(db)
            for rows in writes:
                measure.write(to_arrow(rows), durable=True)
            assert all(stats["file_parts"] == len(writes) for stats in measure.stats().values())
            assert found_by(measure, first, last, how) == expected
        for read_only in (True, False):
            with measurefs.open(disk, read_only=read_only, **settings) as db:
                assert found_by(db.measure("m"), first, last, how) == expected

    def test_projections(self, memory_store):
        """Each series with the tags and fields that the reference asks of it."""
        asked = {
            1: [
                "strArrTag",
                "intArrTag",
                "binaryTag",
                "strTag",
                "intTag",
                "strField",
                "intField",
                "floatField",
            ],
            2: ["strTag1", "strTag2"],
            3: ["intField"],
        }
        with measurefs.open(memory_store.url, options=self.OPTIONS) as db:
            measure = make_measure(db)
            measure.write(to_arrow(DPS))
            for _ in range(2):
                for series, names in asked.items():
                    found = measure.query(where={"id": series}, columns=names).to_arrow().to_pylist()
                    rows = [full(row) for row in DPS if row["id"] == series]
                    assert found == [{name: row[name] for name in names} for row in rows]
                measure.flush()


def test_series_index_primary(store_url):
    """TestSeriesIndex_Primary: 100 series; after reopening, an exact and a prefix search each find one."""
    with measurefs.open(store_url.url, storage_options=store_url.options) as db:
        measure = db.create_measure("m", entity=["service", "instance"], fields={"n": "int64"})
        names = [f"svc_{number}" for number in range(100)]
        instances = [f"{name}_instance_{number}" for number, name in enumerate(names)]
        measure.write({"time": [1] * 100, "service": names, "instance": instances, "n": list(range(100))})
    with measurefs.open(store_url.url, storage_options=store_url.options, read_only=True) as db:
        measure = db.measure("m")
        for where in (
            {"service": "svc_1", "instance": "svc_1_instance_1"},
            {"service": "svc_1"},
            {"instance": ["svc_1_instance_1", "no such"]},
            pc.starts_with(pc.field("instance"), "svc_1_"),
            pc.match_like(pc.field("instance"), "svc_1\\_%tance\\_1"),
        ):
            assert measure.query(where=where).to_arrow()["n"].to_pylist() == [1]
