"""Compacting a measure, and deleting its rows."""

from __future__ import annotations

import datetime

import pyarrow.compute as pc
import pytest

import measurefs
from measurefs import LockError, MergeOptions, PermissionError_, SchemaError, TableOptions
from tests.conftest import Store
from tests.database.helpers import files_of, one_row, open_store, values_of

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")
HOSTS = [f"h{number}" for number in range(6)]
OPTIONS = TableOptions(gc_grace=0.0, keep_snapshots=1)


def fill(database: measurefs.Database, shards: int = 2) -> measurefs.Measure:
    """Three days, two shards, and two parts in each table."""
    measure = database.create_measure("cpu", entity=["host"], fields={"v": "int64"}, shards=shards)
    for hour in (6, 18):
        for number, day in enumerate(DAYS):
            times = [f"{day}T{hour:02}:00:00Z"] * len(HOSTS)
            measure.write({"time": times, "host": HOSTS, "v": [number] * len(HOSTS)})
        measure.flush()
    return measure


def keys(measure: measurefs.Measure) -> set[tuple[str, str]]:
    rows = measure.query(columns=["time", "host"]).to_arrow().to_pylist()
    found = {(f"{row['time']:%Y-%m-%dT%H}", row["host"]) for row in rows}
    assert len(found) == len(rows)
    return found


EVERYTHING = {(f"{day}T{hour}", host) for day in DAYS for hour in ("06", "18") for host in HOSTS}


class TestCompaction:
    def test_one_part_in_each_table_and_the_same_rows(self, store_url: Store) -> None:
        told: list[tuple[int, int]] = []
        with measurefs.open(store_url.url, storage_options=store_url.options, options=OPTIONS) as database:
            measure = fill(database)
            assert all(stats["file_parts"] == 2 for stats in measure.stats().values())
            measure.compact(progress=lambda done, total: told.append((done, total)))
            assert [stats["file_parts"] for stats in measure.stats().values()] == [1] * 6
            assert keys(measure) == EVERYTHING
            measure.gc()
        assert told[-1] == (36, 36)
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        with measurefs.open(store_url.url, storage_options=store_url.options, read_only=True) as database:
            assert keys(database.measure("cpu")) == EVERYTHING
            assert database.verify().ok

    def test_what_is_compact_is_left_alone_and_needs_no_lock(self, local_store: Store) -> None:
        with measurefs.open(local_store.url, options=OPTIONS) as database:
            fill(database).compact()
        with measurefs.open(local_store.url) as writer, measurefs.open(local_store.url) as other:
            writer.measure("cpu").write({"time": ["2026-02-01"], "host": ["h0"], "v": [1]}, durable=True)
            other.measure("cpu").compact()
            assert len(keys(writer.measure("cpu"))) == 37

    def test_not_of_a_store_opened_read_only(self, memory_store: Store) -> None:
        with measurefs.open(memory_store.url) as database:
            fill(database)
            with measurefs.open(memory_store.url, read_only=True) as reader:
                with pytest.raises(PermissionError_):
                    reader.measure("cpu").compact()
                with pytest.raises(PermissionError_):
                    reader.measure("cpu").delete(start=0)


class TestDeleting:
    @pytest.mark.parametrize(
        ("asked", "gone"),
        [
            ({"start": "2026-01-02", "end": "2026-01-03"}, lambda time, _: time.startswith("2026-01-02")),
            ({"start": datetime.datetime(2026, 1, 3, 18)}, lambda time, _: time == "2026-01-03T18"),
            ({"end": "2026-01-02T07:00:00Z"}, lambda time, _: time <= "2026-01-02T06"),
            ({"where": {"host": ["h1", "h4"]}}, lambda _, host: host in {"h1", "h4"}),
            (
                {"start": "2026-01-02", "where": {"host": "h0"}},
                lambda time, host: time >= "2026-01-02" and host == "h0",
            ),
            (
                {"where": {"time": {">=": "2026-01-02", "<": "2026-01-03"}, "host": {"prefix": "h1"}}},
                lambda time, host: time.startswith("2026-01-02") and host == "h1",
            ),
            ({"start": "2030-01-01"}, lambda *_: False),
        ],
    )
    def test_by_time_and_entity(self, memory_store: Store, asked, gone) -> None:
        expected = {key for key in EVERYTHING if not gone(*key)}
        with measurefs.open(memory_store.url, options=OPTIONS) as database:
            measure = fill(database)
            assert measure.delete(**asked) == len(EVERYTHING) - len(expected)
            assert keys(measure) == expected
            with measurefs.open(memory_store.url, read_only=True) as reader:
                assert keys(reader.measure("cpu")) == expected
            measure.compact()
            assert keys(measure) == expected
        with measurefs.open(memory_store.url, read_only=True) as reader:
            assert keys(reader.measure("cpu")) == expected
            assert reader.verify().ok

    def test_on_every_store_and_from_the_disk_too(self, store_url: Store) -> None:
        with measurefs.open(store_url.url, storage_options=store_url.options, options=OPTIONS) as database:
            measure = fill(database, shards=1)
            measure.write({"time": ["2026-01-02T20:00:00Z"], "host": ["secret"], "v": [7]})
            assert measure.delete(where={"host": "secret"}) == 1
            assert keys(measure) == EVERYTHING
            measure.compact()
            measure.gc()
        with store_url.open() as fs:
            held = [fs.read(path) for path in measurefs.fs.walk(fs) if path.endswith(".part")]
        assert held
        assert not any(b"secret" in data for data in held)

    def test_what_is_written_afterwards_is_found_whatever_its_version(self, memory_store: Store) -> None:
        row = {"time": ["2026-01-01"], "host": ["a"], "v": [1]}
        with measurefs.open(memory_store.url) as database:
            measure = database.create_measure("cpu", entity=["host"], fields={"v": "int64"})
            measure.write(row | {"version": [9]})
            measure.delete(where={"host": "a"})
            measure.write(row | {"v": [2], "version": [3]})
            assert measure.query().to_arrow()["v"].to_pylist() == [2]

    def test_a_result_made_before_stays_as_it_was(self, memory_store: Store) -> None:
        with measurefs.open(memory_store.url, options=OPTIONS) as database:
            measure = fill(database)
            before = measure.query()
            measure.delete(start="2026-01-01")
            measure.gc()
            assert before.to_arrow().num_rows == 36
            before.close()
            assert keys(measure) == set()

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ({}, "drop_measure"),
            ({"where": {"v": 1}}, "'v'.*host"),
            ({"where": {"hots": "a"}}, "did you mean 'host'"),
            ({"where": {"version": 1}}, "cannot look at versions"),
            ({"where": {"time": ["2026-01-01", "2026-01-03"]}}, "nor at single times"),
            ({"where": pc.field("host") == "a"}, "dict"),
            ({"start": "yesterday-ish"}, "ISO 8601"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, memory_store: Store, asked, said) -> None:
        with measurefs.open(memory_store.url) as database:
            measure = fill(database)
            with pytest.raises(SchemaError, match=said):
                measure.delete(**asked)
            assert keys(measure) == EVERYTHING

    def test_tables_of_another_writer_are_not_touched(self, local_store: Store) -> None:
        with measurefs.open(local_store.url) as writer:
            measure = fill(writer)
            with measurefs.open(local_store.url) as other, pytest.raises(LockError):
                other.measure("cpu").delete(start="2026-01-02")
            assert keys(measure) == EVERYTHING


def test_a_reader_elsewhere_whose_files_were_collected_is_told_to_refresh(local_store: Store) -> None:
    with measurefs.open(local_store.url, options=OPTIONS) as writer:
        measure = fill(writer)
        with measurefs.open(local_store.url, read_only=True, options=TableOptions(cache_bytes=0)) as reader:
            before = reader.measure("cpu")
            assert keys(before) == EVERYTHING
            measure.compact()
            measure.gc()
            with pytest.raises(measurefs.NotExistError, match=r"refresh\(\)"):
                keys(before)
            reader.refresh()
            assert keys(before) == EVERYTHING


def test_what_compacting_replaced_goes_in_the_same_process(store_url: Store) -> None:
    """Also where the tables were read before they were compacted, and nobody reads them any more."""
    options = TableOptions(gc_grace=0.0, keep_snapshots=1, merge=MergeOptions(enabled=False))
    with open_store(store_url, options=options, background=False) as db:
        cpu = db.create_measure("cpu", entity=["host"], fields={"v": "int64"})
        for number in range(6):
            cpu.write(one_row(time=number, host="a", v=number))
            cpu.flush()
    with open_store(store_url, options=options, background=False) as db:
        cpu = db.measure("cpu")
        assert values_of(cpu, "v") == list(range(6))
        cpu.compact()
        cpu.gc()
        assert sum(name.endswith(".part") for name in files_of(db.fs)) == 1
        assert values_of(cpu, "v") == list(range(6))
