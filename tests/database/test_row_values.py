"""What a stored row is: nulls, empty values and missing columns; casts; versions and duplicates."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from measurefs import Database, Measure, SchemaError, TableOptions
from tests.conftest import Store
from tests.database.helpers import DAY, one_row, open_store, rows_of, values_of


def create(database: Database, **more: Any) -> Measure:
    return database.create_measure(
        "m",
        entity={"host": "string", "port": "int64"},
        tags={"region": "string", "labels": "list<string>", "codes": "list<int64>", "raw": "binary"},
        fields={"usage": "float64", "count": "int64", "up": "bool", "note": "string"},
        **{"exist_ok": True} | more,
    )


@pytest.fixture
def measure(memory_store: Store) -> Iterator[Measure]:
    with open_store(memory_store) as database:
        yield create(database)


def row(**values: Any) -> dict[str, list[Any]]:
    return dict(one_row(**{"time": 1, "host": "a", "port": 1} | values))


class TestNulls:
    def test_null_empty_and_missing_are_three_things(self, store_url: Store) -> None:
        batches = [
            row(time=1, region=None, note=None, labels=None, raw=None),
            row(time=2, region="", note="", labels=[], raw=b""),
            row(time=3),
            row(time=4, labels=[None, "", "x", None], codes=[None, 0]),
            row(time=5, usage=None, count=None, up=None),
            row(time=6, usage=0.0, count=0, up=False),
        ]
        empty = dict.fromkeys(["region", "labels", "codes", "raw", "usage", "count", "up", "note"])
        expected = [
            {"time": batch["time"][0], "host": "a", "port": 1}
            | empty
            | {name: values[0] for name, values in batch.items() if name not in {"time", "host", "port"}}
            for batch in batches
        ]
        with open_store(store_url) as database:
            measure = create(database)
            for batch in batches[:3]:
                measure.write(batch)
            measure.flush()
            for batch in batches[3:]:
                measure.write(batch)
            assert rows_of(measure) == expected
        with open_store(store_url, read_only=True) as database:
            assert rows_of(database.measure("m")) == expected

    def test_columns_of_nulls_of_any_type(self, measure: Measure) -> None:
        nulls = [pa.nulls(1), pa.nulls(1, pa.string()), pa.nulls(1, pa.float64()), [None], np.array([None])]
        for time, column in enumerate(nulls):
            measure.write({"time": [time], "host": ["a"], "port": [1], "usage": column, "labels": column})
        assert values_of(measure, "usage") == [None] * len(nulls)

    def test_an_empty_entity_is_an_entity(self, measure: Measure) -> None:
        measure.write({"time": [1, 1], "host": ["", "a"], "port": [0, 0], "count": [1, 2]})
        assert values_of(measure, "count", where={"host": ""}) == [1]


class TestSpecialNumbers:
    def test_bit_by_bit(self, store_url: Store) -> None:
        bits = np.array(
            [0, 1 << 63, 0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, (0x7FF8 << 48) + 5, 0xFFF8 << 48, 1],
            np.uint64,
        )
        numbers = bits.view(np.float64)
        integers = [-(2**63), 2**63 - 1, 0, -1, 1, 2**53 + 1, 7, 8]
        with open_store(store_url) as database:
            create(database).write(
                {
                    "time": np.arange(8),
                    "host": ["a"] * 8,
                    "port": [1] * 8,
                    "usage": numbers,
                    "count": integers,
                }
            )
        with open_store(store_url, read_only=True) as database:
            found = database.measure("m").query(columns=["usage", "count"]).to_arrow()
        assert np.asarray(found["usage"]).view(np.uint64).tolist() == bits.tolist()
        assert found["count"].to_pylist() == integers


class TestCasts:
    @pytest.mark.parametrize(
        ("column", "given", "stored"),
        [
            ("usage", pa.array([3], pa.int8()), 3.0),
            ("usage", pa.array([2**53], pa.int64()), 2.0**53),
            ("usage", pa.array([0.5], pa.float16()), 0.5),
            ("usage", pa.array([0.1], pa.float32()), float(np.float32(0.1))),
            ("count", pa.array([2**63 - 1], pa.uint64()), 2**63 - 1),
            ("count", pa.array([-5.0], pa.float64()), -5),
            ("note", pa.array(["x"], pa.large_string()), "x"),
            ("note", pa.array(["x"]).dictionary_encode(), "x"),
            ("note", pa.DictionaryArray.from_arrays(pa.array([1]), pa.array(["x", None])), None),
            ("raw", pa.array(["ü"]), "ü".encode()),
            ("raw", pa.array([b"ab"], pa.binary(2)), b"ab"),
            ("labels", pa.array([["x"]], pa.large_list(pa.large_string())), ["x"]),
            ("labels", pa.array([[None]], pa.list_(pa.null())), [None]),
            ("codes", pa.array([[1, 2]], pa.list_(pa.int8(), 2)), [1, 2]),
            ("codes", pa.array([[1.0]]), [1]),
            ("usage", pa.array([2**60], pa.int64()), 2.0**60),
            ("usage", pa.array([2**63], pa.uint64()), 2.0**63),
            ("usage", pa.array([-(2**53) - 2], pa.int64()), -(2.0**53) - 2),
        ],
    )
    def test_that_keep_the_value(self, measure: Measure, column: str, given: Any, stored: Any) -> None:
        measure.write(row() | {column: given})
        assert values_of(measure, column) == [stored]

    @pytest.mark.parametrize(
        ("column", "kind", "good", "bad"),
        [
            ("count", "int64", 1, np.uint64(2**63)),
            ("count", "int64", 1.0, 1.5),
            ("count", "int64", 1.0, float("nan")),
            ("count", "int64", 1.0, float("inf")),
            ("usage", "float64", 1, 2**53 + 1),
            ("usage", "float64", -1, -(2**53) - 1),
            ("usage", "float64", None, "1.5"),
            ("count", "int64", None, "1"),
            ("count", "int64", None, True),
            ("up", "bool", None, 1),
            ("note", "string", None, 1),
            ("note", "string", None, b"x"),
            ("region", "string", None, 1.5),
            ("labels", "list<string>", None, "x"),
            ("labels", "list<string>", None, [1]),
            ("codes", "list<int64>", [1.0], [1.5]),
            ("port", "int64", 1.0, 1.5),
            ("version", "int64", 1.0, 1.5),
        ],
    )
    def test_that_do_not(self, measure: Measure, column: str, kind: str, good: Any, bad: Any) -> None:
        rows = [4, 17, 99]
        values = [bad if number in rows else good for number in range(100)]
        array = np.array(values, np.uint64) if isinstance(bad, np.uint64) else pa.array(values)
        batch = {"time": range(100), "host": ["a"] * 100, "port": [1] * 100} | {column: array}
        with pytest.raises(SchemaError) as caught:
            measure.write(batch)
        message = str(caught.value)
        assert f"column {column!r}" in message
        assert kind in message
        assert "row 4" in message
        assert "nothing was stored" in message
        assert rows_of(measure) == []

    @pytest.mark.parametrize("bad", [2**63, -(2**63) - 1, 2**70])
    def test_python_integers_beyond_64_bits(self, measure: Measure, bad: int) -> None:
        with pytest.raises(SchemaError, match=r"column 'count'.*row 2"):
            measure.write({"time": [1, 2, 3], "host": ["a"] * 3, "port": [1] * 3, "count": [1, 2, bad]})

    def test_of_categories_name_the_row(self, measure: Measure) -> None:
        categories = pa.DictionaryArray.from_arrays([0, 0, 1, 2], [1.0, 2.0, 2.5])
        with pytest.raises(SchemaError, match=r"'count' must be int64: .*2\.5 in row 3"):
            measure.write({"time": range(4), "host": ["a"] * 4, "port": [1] * 4, "count": categories})
        measure.write({"time": range(3), "host": ["a"] * 3, "port": [1] * 3, "count": categories[:3]})
        assert values_of(measure, "count") == [1, 1, 2]

    def test_values_of_different_types_in_one_list(self, measure: Measure) -> None:
        values: list[Any] = [1.0] * 500 + ["x"] + [2.0] * 500
        rows = [{"time": time, "host": "a", "port": 1, "usage": value} for time, value in enumerate(values)]
        with pytest.raises(SchemaError, match=r"column 'usage'.*'x' in row 500"):
            measure.write(rows)


def key(time: int, value: int, version: int | None = None) -> dict[str, Any]:
    return {"time": time, "host": "a", "port": 1, "count": value} | (
        {} if version is None else {"version": version}
    )


class TestVersions:
    def test_the_later_row_of_a_batch_wins(self, measure: Measure) -> None:
        measure.write([key(1, 10), key(2, 20), key(1, 11), key(1, 12)])
        assert values_of(measure, "count") == [12, 20]

    def test_the_whole_row_wins(self, measure: Measure) -> None:
        measure.write([{**key(1, 1), "note": "old", "usage": 1.0}, {**key(1, 2), "region": "new"}])
        (found,) = rows_of(measure)
        assert (found["note"], found["usage"], found["region"]) == (None, None, "new")

    def test_the_highest_version_of_a_batch_wins(self, measure: Measure) -> None:
        measure.write([key(1, 10, 5), key(1, 11, 7), key(1, 12, 6), key(1, 13, 7), key(1, 14, -3)])
        assert rows_of(measure, columns=["count", "version"]) == [{"count": 13, "version": 7}]

    def test_extreme_versions(self, measure: Measure) -> None:
        measure.write([key(1, 1, -(2**63)), key(2, 2, 2**63 - 1), key(1, 3, -(2**63))])
        assert values_of(measure, "count") == [3, 2]
        assert values_of(measure, "version") == [-(2**63), 2**63 - 1]

    @pytest.mark.parametrize("versions", sorted(set(itertools.permutations([1, 2, 2]))))
    @pytest.mark.parametrize("between", ["nothing", "flush", "reopen"])
    def test_across_batches(self, memory_store: Store, versions: tuple[int, ...], between: str) -> None:
        database = open_store(memory_store, options=TableOptions(gc_grace=0.0))
        measure = create(database)
        for value, version in enumerate(versions):
            measure.write([key(1, value, version), key(2, value, 0)])
            if between == "flush":
                measure.flush()
                measure.gc()
            elif between == "reopen":
                database.close()
                database = open_store(memory_store)
                measure = database.measure("m")
        winner = max(range(3), key=lambda value: (versions[value], value))
        assert values_of(measure, "count") == [winner, 2]
        database.close()
        with open_store(memory_store, read_only=True) as reader:
            assert values_of(reader.measure("m"), "count") == [winner, 2]

    def test_order_of_arrival_outlives_reopening(self, store_url: Store) -> None:
        for value in range(3):
            with open_store(store_url) as database:
                measure = create(database)
                measure.write([key(1, value), key(1, value + 10)])
                assert values_of(measure, "count") == [value + 10]

    def test_arrival_gives_growing_versions(self, measure: Measure) -> None:
        for value in range(3):
            measure.write([key(value, value)])
        versions = values_of(measure, "version")
        assert versions == sorted(set(versions))

    def test_a_null_version(self, measure: Measure) -> None:
        with pytest.raises(SchemaError, match=r"'version' is null in 1 of 2 rows.*rows 1"):
            measure.write([key(1, 1, 1), key(2, 2)])
        assert rows_of(measure) == []

    def test_keys_differ_by_every_entity_column_and_time(self, measure: Measure) -> None:
        keys = list(itertools.product([1, 2, DAY], ["a", "b"], [1, 2]))
        for _ in range(2):
            measure.write([{"time": time, "host": host, "port": port} for time, host, port in keys])
        found = rows_of(measure, columns=["time", "host", "port"])
        assert sorted(tuple(row.values()) for row in found) == sorted(keys)


def test_nothing_to_write_is_fine(memory_store: Store) -> None:
    """A collector may have nothing to send."""
    with open_store(memory_store) as database:
        cpu = database.create_measure("cpu", entity=["host"])
        assert [cpu.write(nothing) for nothing in ([], {}, pa.table({}))] == [0, 0, 0]


def test_times_with_and_without_a_zone_may_be_mixed(memory_store: Store) -> None:
    with open_store(memory_store) as database:
        cpu = database.create_measure("cpu", entity=["host"])
        texts = [
            "2026-01-01T00:00:00Z",
            "2026-01-02",
            " 2026-01-02 02:00:00+02:00",
            "2026-01-02T00:00:01-01:30",
        ]
        cpu.write({"time": texts, "host": list("abcd")})
        found = cpu.query(order="time").to_arrow().column("time").cast(pa.timestamp("s")).to_pylist()
        assert [str(time) for time in found] == [
            "2026-01-01 00:00:00",
            "2026-01-02 00:00:00",
            "2026-01-02 00:00:00",
            "2026-01-02 01:30:01",
        ]
