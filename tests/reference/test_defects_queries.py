"""Defects 3 to 5, 12, 20 to 29, 37 and 38 of the system this engine descends from: parts and queries.

Each test is named by the defect's number and quotes it; `test_defects` checks that none is left out.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import measurefs
from measurefs import CorruptionError, Database, Measure, PartOptions, SchemaError, TableOptions, TableSchema
from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec.types import ColumnType
from measurefs.fs import FileSystem
from measurefs.part.fetch import fetch, together
from measurefs.part.metadata import Column
from measurefs.part.part import Scan
from measurefs.part.rows import concat_rows, sort_rows
from measurefs.table import Snapshot
from tests.conftest import Store
from tests.database.helpers import files_of, one_row, open_store, rows_of, values_of
from tests.part.made import COMPACT, EVER, WIDE, make_rows
from tests.reference.datasets import DPS, dicts_of, full, open_reference
from tests.reference.datasets import rows_of as reference_rows
from tests.table.tables import open_table, parts_in, read_snapshot

kinds = pytest.mark.parametrize("compact_bytes", [COMPACT, WIDE], ids=["compact", "wide"])


def options(compact_bytes: int = COMPACT, block_rows: int = 4096) -> TableOptions:
    """Nothing is flushed or collected by itself, nothing kept, and what is durable is in parts."""
    part = PartOptions(block_rows=block_rows, compact_bytes=compact_bytes)
    return TableOptions(
        flush_interval=1e9, log_bytes=0, gc_interval=1e9, gc_grace=0.0, keep_snapshots=1, part=part
    )


@pytest.fixture
def db() -> Iterator[Database]:
    """An empty store in memory."""
    with measurefs.open(MemoryFileSystem(), options=options()) as database:
        yield database


def numbers(db: Database) -> Measure:
    return db.create_measure("m", entity=["host"], fields={"n": "int64", "x": "float64"})


def series(times: list[int], host: str = "a") -> dict[str, Any]:
    """A row of one series for each time, which is its value as well."""
    return {"time": times, "host": [host] * len(times), "n": times}


def found(measure: Measure, first: int, last: int, **query: Any) -> list[int]:
    """The rows of [first, last]."""
    values: list[int] = values_of(measure, "n", start=first, end=last + 1, **query)
    return values


def test_03_every_window_over_sixty_times_is_right(db: Database) -> None:
    """A search from both ends gave up on off-centre windows: 930 of 1830 over 60 contiguous times were wrong."""
    measure = numbers(db)
    measure.write(series(list(range(30))), durable=True)
    measure.write(series(list(range(30, 60))))
    windows = [(first, last) for first in range(60) for last in range(first, 60)]
    assert len(windows) == 1830
    for first, last in windows:
        assert measure.query(first, last + 1, columns=["n"]).to_arrow()["n"].to_pylist() == list(
            range(first, last + 1)
        )


@pytest.mark.parametrize("times", [[1, 2, 100, 200, 300], list(range(1, 11))])
def test_03_off_centre_windows_lose_no_rows(db: Database, times: list[int]) -> None:
    """[2, 2] in 1, 2, 100, 200, 300 and [9, 9] in 1 to 10 found nothing."""
    measure = numbers(db)
    measure.write(series(times))
    for _ in range(2):
        for time in times:
            assert found(measure, time, time) == [time]
        measure.flush()


@kinds
def test_04_times_of_every_block_are_its_own(local_store: Store, compact_bytes: int) -> None:
    """Each block recorded offset 0, so that a second series got the times of the first: 0, 60, 120 for 0, 30, 60."""
    with open_store(local_store, options=options(compact_bytes)) as db:
        measure = numbers(db)
        steps = {"first": 60, "second": 30, "third": 7, "fourth": 1}
        rows = [(host, place * step) for host, step in steps.items() for place in range(3)]
        hosts, times = zip(*rows, strict=True)
        measure.write({"time": times, "host": hosts, "n": times}, durable=True)
    with open_store(local_store, read_only=True) as db:
        for host, step in steps.items():
            (first, second, third) = rows_of(db.measure("m"), where={"host": host})
            assert [row["time"] for row in (first, second, third)] == [0, step, 2 * step]
            assert [row["n"] for row in (first, second, third)] == [0, step, 2 * step]


def test_04_nor_are_those_of_the_reference_set() -> None:
    """The times 8 and 10 of the set `DPS` would have come back as 8 and 9."""
    fs = MemoryFileSystem()
    with open_reference(fs) as table:
        table.add(reference_rows(DPS))
    with open_reference(fs, read_only=True) as table, table.pin() as snapshot:
        rows = dicts_of(
            read_snapshot(fs, snapshot, [name for name in full({}) if name not in ("id", "time")])
        )
    assert [row["time"] for row in rows] == [1, 2, 8, 10, 100, 220]


def test_05_an_index_of_any_size_is_read(local_store: Store) -> None:
    """An index of more than 512 bytes could not be read: 100,000 series in one batch panicked."""
    count = 100_000
    with open_store(local_store, options=options()) as db:
        hosts = [f"host-{number}" for number in range(count)]
        batch = {"time": np.ones(count, np.int64), "host": hosts, "n": np.arange(count)}
        numbers(db).write(batch, durable=True)
    with open_store(local_store, read_only=True) as db:
        measure = db.measure("m")
        assert sum(values_of(measure, "n")) == count * (count - 1) // 2
        for number in (0, 49_999, 50_000, count - 1):
            assert values_of(measure, "n", where={"host": f"host-{number}"}) == [number]


def test_20_descending_order_of_one_block_is_descending(db: Database) -> None:
    """Descending order, where one block held all rows, came back ascending."""
    measure = numbers(db)
    measure.write(series([1, 2, 3]))
    for _ in range(2):
        assert found(measure, 1, 3, order="-time") == [3, 2, 1]
        assert found(measure, 1, 3, order="-time", limit=1) == [3]
        measure.flush()


def test_21_descending_order_with_nothing_in_the_first_block(db: Database) -> None:
    """Descending order panicked where the first block overlapped the window and had no row in it."""
    measure = numbers(db)
    measure.write(series([1, 100]))
    measure.write(series([50], host="b"))
    for _ in range(2):
        assert found(measure, 40, 60, order="-time") == [50]
        assert found(measure, 10, 20, order="-time") == []
        measure.flush()


@pytest.mark.parametrize("hosts", [["a"], ["a", "b", "c"]], ids=["one block", "several"])
def test_22_duplicates_in_one_batch(db: Database, hosts: list[str]) -> None:
    """Of duplicates in a batch both came back, [5, 5], or an arbitrary one; here the later one counts."""
    measure = numbers(db)
    batch = [{"time": 5, "host": host, "n": number} for number in range(10) for host in hosts]
    measure.write(batch)
    for _ in range(2):
        for order in ("time", "-time", "series"):
            assert [(row["time"], row["n"]) for row in rows_of(measure, order=order)] == [(5, 9)] * len(hosts)
        measure.flush()


@kinds
def test_23_columns_that_an_older_part_lacks_are_null(compact_bytes: int) -> None:
    """A missing tag or family panicked, and a missing field shifted values: b=10 was reported as a=10."""
    fs, part = MemoryFileSystem(), PartOptions(compact_bytes=compact_bytes)
    entity = {"id": ColumnType.INT64}
    older = TableSchema(entity, [Column("b", ColumnType.INT64)])
    added = [Column("a", ColumnType.INT64), *older.columns, Column("t", ColumnType.STRING, "family")]
    with open_table(fs, schema=older, part=part) as table:
        table.add(make_rows([1], [1], {"b": pa.array([10])}))
    with open_table(fs, schema=TableSchema(entity, added), part=part) as table:
        table.add(make_rows([1], [2], {"a": pa.array([7]), "b": pa.array([20]), "t": pa.array(["x"])}))
        table.flush()
        with table.pin() as snapshot:
            rows = _rows_with(fs, snapshot, {"a": pa.int64(), "b": pa.int64(), "t": pa.string()})
    assert rows == [(None, 10, None), (7, 20, "x")]


def _rows_with(fs: FileSystem, snapshot: Snapshot, types: dict[str, pa.DataType]) -> list[tuple[Any, ...]]:
    """The values of these columns in each row."""
    found = fetch(fs, together(*(part.read(Scan(*EVER, list(types))) for part in snapshot.parts)))
    rows = sort_rows(concat_rows(found, types))
    return list(zip(*(rows.columns[name].to_pylist() for name in types), strict=True))


def test_24_a_part_has_no_files_of_other_measures() -> None:
    """A pooled part kept the families of other measures, and wrote three of them as six empty files."""
    fs = MemoryFileSystem()
    with measurefs.open(fs, options=options(WIDE)) as db:
        for name, families in (("a", ["x", "y", "z"]), ("b", ["own"]), ("c", []), ("d", ["x"])):
            tags = {family: {f"tag of {family}": "string"} for family in families}
            measure = db.create_measure(name, entity=["host"], tags=tags, fields={"n": "int64"})
            columns = {column: ["v"] for family in tags.values() for column in family}
            measure.write({"time": [1], "host": ["h"], "n": [1]} | columns, durable=True)
            files = files_of(fs)
            written = {path.rpartition("/")[2] for path in files if path.startswith(f"{name}/")}
            assert {file.partition(".tf")[0] for file in written if ".tf" in file} == set(families)
            assert all(data for path, data in files.items() if ".tf" in path)


def test_25_nulls_of_every_type_come_back(db: Database) -> None:
    """A null number was stored and then panicked every query; a null and an empty string were one."""
    kinds_of_field = {"i": "int64", "f": "float64", "b": "bool", "s": "string", "y": "binary"}
    measure = db.create_measure("m", entity=["host"], tags={"t": "string"}, fields=kinds_of_field)
    values: dict[str, list[Any]] = {
        "i": [None, 0, 1],
        "f": [1.5, None, 0.0],
        "b": [None, False, True],
        "s": ["", None, "x"],
        "y": [None, b"", b"x"],
        "t": ["", "x", None],
    }
    measure.write({"time": [1, 2, 3], "host": ["a"] * 3} | values)
    for _ in range(2):
        rows = rows_of(measure)
        assert {name: [row[name] for row in rows] for name in values} == values
        assert values_of(measure, "s", where={"t": None}) == ["x"]
        assert values_of(measure, "t", where={"s": ""}) == [""]
        measure.flush()


@pytest.mark.parametrize(("compact_bytes", "block_rows"), [(COMPACT, 4096), (WIDE, 4096), (WIDE, 16)])
def test_26_family_names_hold_over_many_primary_blocks(
    local_store: Store, compact_bytes: int, block_rows: int
) -> None:
    """Names of families lay in a buffer used again: 905 of 6000 series in three primary blocks had wrong ones."""
    tags = {"f": {"short": "string"}, "a family of a longer name": {"long": "string"}}
    count, each = 6000, 3
    entities = [f"series {number}" for number in range(count) for _ in range(each)]
    even = [number % 2 == 0 for number in range(count) for _ in range(each)]
    with open_store(local_store, options=options(compact_bytes, block_rows)) as db:
        measure = db.create_measure("m", entity=["host"], tags=tags)
        short = [name if there else None for name, there in zip(entities, even, strict=True)]
        long = [None if there else name for name, there in zip(entities, even, strict=True)]
        batch = {"time": list(range(each)) * count, "host": entities, "short": short, "long": long}
        measure.write(batch, durable=True)
        for snapshot in measure.snapshots().values():
            with snapshot:
                (part,) = snapshot.file_parts
                assert part.metadata.primary_blocks >= 3
                assert {stored.column.family for stored in part.metadata.columns} == set(tags)
    with open_store(local_store, read_only=True) as db:
        rows = rows_of(db.measure("m"), order="series")
        assert len(rows) == count * each
        for row in rows:
            is_even = int(row["host"].split()[1]) % 2 == 0
            assert (row["short"], row["long"]) == ((row["host"], None) if is_even else (None, row["host"]))


def test_27_an_old_value_written_late_does_not_win(db: Database) -> None:
    """The version was the part's id, so that an old value, replayed late, won over a newer one."""
    measure = numbers(db)
    measure.write(one_row(time=1, host="a", n=2, version=20))
    for _ in range(2):
        measure.write(one_row(time=1, host="a", n=1, version=10))
        assert values_of(measure, "n") == [2]
        measure.flush()
        assert values_of(measure, "n") == [2]
    measure.write(one_row(time=1, host="a", n=3, version=21))
    assert values_of(measure, "n") == [3]


def test_28_queries_leave_no_buffers_behind(db: Database) -> None:
    """A reused cursor's buffer was never emptied, and only grew."""
    measure = numbers(db)
    count = 200_000
    measure.write(series(list(range(count))) | {"x": np.arange(count) / 7}, durable=True)

    def held() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes()

    def query() -> None:
        assert len(measure.query().to_arrow()) == count
        assert found(measure, 5, 5) == [5]

    query()
    tracemalloc.start()
    try:
        query()
        before = held()
        for _ in range(5):
            query()
        assert held() - before < 8 * count, "less than one of the columns that each query decoded"
    finally:
        tracemalloc.stop()


def test_29_a_query_that_fails_holds_on_to_nothing() -> None:
    """A query that failed after it took snapshots kept them: files stayed open, segments were never deleted."""
    fs = MemoryFileSystem()
    with measurefs.open(fs, options=options()) as db:
        measure = numbers(db)
        measure.write(series([1]), durable=True)
        (path,) = (path for path in files_of(fs) if path.endswith(".part"))
        whole = fs.read(path)
        fs.write(path, bytes([whole[0] ^ 1]) + whole[1:])
        for _ in range(5):
            with pytest.raises(CorruptionError, match=path), measure.query() as result:
                result.to_arrow()
            with pytest.raises(CorruptionError, match=path):
                measure.query().to_arrow()
            for wrong in ({"columns": ["nn"]}, {"where": {"nn": 1}}, {"order": "n"}, {"start": "never"}):
                with pytest.raises(SchemaError):
                    measure.query(**wrong)
        del result
        gc.collect()
        for snapshot in measure.snapshots().values():
            with snapshot:
                assert snapshot.references == 2, "the table's and ours"


@kinds
def test_37_a_part_knows_its_size_and_its_number(compact_bytes: int) -> None:
    """The size of a part left out the times, and its id in its metadata was always 0."""
    fs = MemoryFileSystem()
    with open_table(fs, part=PartOptions(compact_bytes=compact_bytes)) as table:
        table.add(make_rows([1, 2], [1, 50], {"value": pa.array([1, 2])}))
        table.flush()
        with table.pin() as snapshot:
            (part,) = snapshot.file_parts
        metadata = part.metadata
    (name,) = parts_in(fs)
    assert f"{metadata.id:016x}" == name.removesuffix(".part")
    assert metadata.id != 0
    assert metadata.sections["timestamps.bin"].size > 0
    assert metadata.compressed_bytes == sum(piece.size for piece in metadata.sections.values())
    if compact_bytes == WIDE:  # all files but the one that says so
        files = {path: len(data) for path, data in files_of(fs).items() if f"/{name}/" in path and data}
        own = files.pop(f"t/{name}/metadata.json")
        assert metadata.compressed_bytes == sum(files.values()) > 0
        assert own > 0


@pytest.mark.parametrize(
    ("block_rows", "rows", "blocks"),
    [
        (4096, 4096, [4096]),
        (4096, 4097, [4096, 1]),
        (4096, 8194, [4096, 4096, 2]),
        (8192, 8192, [8192]),
        (8192, 8193, [8192, 1]),
        (8192, 8194, [8192, 2]),
    ],
)
def test_38_no_block_is_a_row_too_long(block_rows: int, rows: int, blocks: list[int]) -> None:
    """A block could hold 8193 rows, one more than its limit."""
    fs = MemoryFileSystem()
    with measurefs.open(fs, options=options(block_rows=block_rows)) as db:
        measure = numbers(db)
        measure.write(series(list(range(rows))), durable=True)
        (stats,) = measure.stats().values()
        assert stats["blocks"] == len(blocks)
        for snapshot in measure.snapshots().values():
            with snapshot:
                (part,) = snapshot.file_parts
                assert fetch(fs, part.blocks(Scan(*EVER, []))).rows.tolist() == blocks
        assert found(measure, 0, rows) == list(range(rows))
