"""Small writes: they do not stay thousands of parts, and nobody sees that."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

import measurefs
from measurefs.backends.memory import MemoryFileSystem
from measurefs.table.history import Moment
from tests.table.tables import batch, contents, contents_of, one, ones, open_table, stored
from tests.table.test_table_threads import Gate, close

MANY, FEW = 500, 64
LARGE = range(10_000, 15_000)


def memory_parts(table) -> int:
    return table.stats()["memory_parts"]


def test_many_small_writes_are_few_parts():
    with open_table(MemoryFileSystem()) as table:
        for number in range(MANY):
            table.add(one(number))
            assert memory_parts(table) < FEW
        assert contents(table) == ones(*range(MANY))
        assert table.stats()["rows"] == MANY


def test_large_writes_stay_as_they_are():
    with open_table(MemoryFileSystem()) as table:
        for number in range(FEW):
            table.add(batch(LARGE, [number] * len(LARGE), LARGE))
        assert memory_parts(table) == FEW


def test_of_equal_keys_the_last_counts():
    fs = MemoryFileSystem()
    with open_table(fs) as table:
        for number in range(MANY):
            table.add(batch([1, 2], [5, number % 7], [number, number]))
        expected = {(1, 5): MANY - 1} | {(2, number % 7): number for number in range(MANY)}
        assert contents(table) == expected
    assert stored(fs) == expected


def test_of_equal_keys_the_highest_version_counts():
    with open_table(MemoryFileSystem()) as table:
        for number in range(MANY):
            table.add(batch([1], [5], [number], [MANY - number // 2]), arrival=False)
        assert contents(table) == {(1, 5): 1}  # of the two with that version the later one


def test_a_pinned_snapshot_stays_what_it_was():
    with open_table(MemoryFileSystem()) as table:
        for number in range(20):
            table.add(one(number))
        with table.pin() as snapshot:
            for number in range(20, MANY):
                table.add(one(number))
            assert contents_of(table.fs, snapshot) == ones(*range(20))


@pytest.mark.parametrize(("log_bytes", "held"), [(4 << 20, ".log"), (0, ".part")])
def test_what_is_being_made_durable_is_left_alone(log_bytes, held):
    """Or its rows would be in the table twice."""
    gate = Gate(MemoryFileSystem(), (held,))
    gate.opened.set()
    with open_table(gate, log_bytes=log_bytes) as table, ThreadPoolExecutor(1) as pool:
        table.add(batch(LARGE, LARGE, [0] * len(LARGE)))
        for number in range(20):
            epoch = table.add(one(number))
        close(gate)
        done = pool.submit(table.flush, epoch)
        assert gate.reached.wait(30)
        for number in range(20, MANY):
            table.add(one(number))
        assert memory_parts(table) < FEW + 20
        gate.opened.set()
        done.result(30)
        large = {(number, number): 0 for number in LARGE}
        assert stored(gate) == large | ones(*range(20))
        assert table.rows_at_risk() == MANY - 20
        for number in range(MANY, 2 * MANY):
            table.add(one(number))
        assert contents(table) == large | ones(*range(2 * MANY))
        table.flush()
        assert (table.stats()["rows"], table.rows_at_risk()) == (len(LARGE) + 2 * MANY, 0)
    assert stored(gate) == large | ones(*range(2 * MANY))


def test_a_tag_holds_what_was_there_when_it_was_made():
    gate = Gate(MemoryFileSystem(), (".part",))
    gate.opened.set()
    with open_table(gate) as table, ThreadPoolExecutor(1) as pool:
        table.add(batch(LARGE, LARGE, [0] * len(LARGE)))
        for number in range(20):
            table.add(one(number))
        close(gate)
        tagged = pool.submit(table.tag, "then")
        assert gate.reached.wait(30)
        for number in range(20, MANY):
            table.add(one(number))
        gate.opened.set()
        epoch = tagged.result(30)
        large = {(number, number): 0 for number in LARGE}
        assert contents(table) == large | ones(*range(MANY))
        assert table.stats()["rows"] == len(LARGE) + MANY
        with table.at(Moment(epoch)) as snapshot:
            assert contents_of(gate, snapshot) == large | ones(*range(20))
    assert stored(gate) == large | ones(*range(MANY))


def test_rows_with_different_columns_are_coalesced():
    with measurefs.open("memory://") as database:
        measure = database.create_measure("m", entity=["id"], fields={"value": "int64", "other": "string"})
        for number in range(MANY):
            other = {"other": f"text {number}"} if number % 2 else {}
            measure.write([{"time": number, "id": "a", "value": number} | other])
        (table,) = measure.stats().values()
        assert table["memory_parts"] < FEW
        found = measure.query(order="time").to_arrow()
        assert found["value"].to_pylist() == list(range(MANY))
        assert found["other"].to_pylist() == [f"text {n}" if n % 2 else None for n in range(MANY)]


def test_rows_of_both_types_of_a_column_stay_readable():
    """No write fails because of the type that a column had before."""
    with measurefs.open("memory://") as database:
        measure = database.create_measure("m", entity=["id"], fields={"value": "int64"})
        for number in range(MANY // 2):
            measure.write([{"time": number, "id": "a", "value": number}])
        measure.evolve(fields={"value": "float64"})
        for number in range(MANY // 2, MANY):
            measure.write([{"time": number, "id": "a", "value": number + 0.5}])
        (table,) = measure.stats().values()
        assert table["memory_parts"] < FEW
        found = measure.query(order="time").to_arrow()["value"].to_pylist()
        assert found == [*map(float, range(MANY // 2)), *(n + 0.5 for n in range(MANY // 2, MANY))]


def test_large_values_that_repeat_take_no_more_memory_than_they_did():
    """Nor do writes fail for want of it: these texts, each time written out, are 2.5 GB."""
    rows = 4096
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["x" * 20_000])
    with measurefs.open("memory://") as database:
        measure = database.create_measure(
            "m", entity=["id"], tags={"text": "string"}, fields={"value": "int64"}
        )
        for number in range(31):
            times = np.arange(number * rows, (number + 1) * rows)
            measure.write(pa.table({"time": times, "id": ["a"] * rows, "text": text}))
        for number in range(2):
            measure.write([{"time": 31 * rows + number, "id": "a", "value": number}])
        (table,) = measure.stats().values()
        assert table["memory_parts"] < 31
        assert table["memory_bytes"] < 32 << 20
        measure.flush()
        found = measure.query(31 * rows - 1, columns=["text", "value"], order="time").to_arrow()
        assert found["text"].to_pylist() == ["x" * 20_000, None, None]
        assert found["value"].to_pylist() == [None, 0, 1]


def test_a_few_late_rows_of_large_batches_come_without_all_series_of_these():
    day, rows = 86_400_000_000_000, 1000
    with measurefs.open("memory://") as database:
        measure = database.create_measure("m", entity=["id"], fields={"value": "int64"})
        for number in range(FEW):
            times = np.full(rows, day)
            times[0] = 5
            names = [f"series {number * rows + place}" for place in range(rows)]
            measure.write(pa.table({"time": times + number, "id": names, "value": np.arange(rows)}))
        late = min(measure._tables.writers(), key=lambda table: table.root)
        with late.pin() as snapshot:
            assert min(len(part.held.series) for part in snapshot.memory_parts) < FEW
            assert len(snapshot.memory_parts) < FEW
        assert measure.query(0, day).to_arrow()["value"].to_pylist() == [0] * FEW
