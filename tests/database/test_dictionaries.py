"""Columns given as dictionaries: what they mean is stored, whatever the dictionary is like and becomes later."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import measurefs
from measurefs import Measure
from tests.conftest import Store
from tests.database.helpers import open_store

FEW, MANY = 6, 140_000
"""More than are put in order at one go."""


def create(database: measurefs.Database) -> Measure:
    return database.create_measure("m", entity=["host"], tags={"zone": "string"}, fields={"note": "string"})


def rows(count: int, column: pa.Array, first: int = 0) -> pa.Table:
    places = np.arange(count)
    return pa.table(
        {
            "time": first + places,
            "host": pa.array(["b", "a", "c"]).take(pa.array(places % 3)),
            "zone": column,
            "note": column,
        }
    )


def stored(measure: Measure) -> list[tuple[int, str | None, str | None]]:
    found = measure.query(columns=["time", "zone", "note"], order="time").to_arrow()
    times = found["time"].cast(pa.int64()).to_pylist()
    return list(zip(times, found["zone"].to_pylist(), found["note"].to_pylist(), strict=True))


@pytest.mark.parametrize("count", [FEW, MANY])
@pytest.mark.parametrize(
    "values",
    [["a", "b", "a", "c", "b", "d"], ["a", None, "b", None, "c", "d"], [*"abcdef", *map(str, range(1000))]],
    ids=["values twice", "null among them", "more than rows"],
)
def test_dictionaries_of_any_kind(memory_store: Store, values: list[str | None], count: int) -> None:
    indices = np.random.default_rng(1).integers(0, 6, (3, count)).astype(np.int8)
    columns = [pa.DictionaryArray.from_arrays(pa.array(each), pa.array(values)) for each in indices]
    expected = [
        (place + turn * count, text, text)
        for turn, column in enumerate(columns)
        for place, text in enumerate(column.to_pylist())
    ]
    with open_store(memory_store) as database:
        measure = create(database)
        for turn, column in enumerate(columns):
            measure.write(rows(count, column, turn * count), durable=turn == 1)
        measure.flush()
        assert stored(measure) == expected
        measure.compact()
        assert stored(measure) == expected
        assert measure.verify().ok


def test_memory_that_is_used_again_after_a_durable_write(local_store: Store) -> None:
    letters, offsets = bytearray(b"xyz"), pa.py_buffer(np.arange(4, dtype=np.int32))
    texts = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(letters)])
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2] * 4, pa.int32()), texts)
    expected = []
    with open_store(local_store) as database:
        measure = create(database)
        for turn, content in enumerate((b"xyz", b"uvw", b"xyz", b"rst")):
            letters[:] = content
            measure.write(rows(12, column, 12 * turn), durable=True)
            expected += [(12 * turn + place, text, text) for place, text in enumerate(content.decode() * 4)]
        letters[:] = b"???"
        measure.compact()
        assert stored(measure) == expected
    with open_store(local_store) as database:
        assert stored(database.measure("m")) == expected


def test_numbers_that_are_multiples_only_at_first(memory_store: Store) -> None:
    with open_store(memory_store) as database:
        measure = database.create_measure("m", entity=["host"], fields={"bytes": "int64", "size": "float64"})
        chance = np.random.default_rng(1)
        sizes = [*(chance.integers(0, 2000, 2000) * 65536).tolist(), *chance.integers(0, 2000, 2000).tolist()]
        for first in (0, 2000):
            values = sizes[first : first + 2000]
            times = range(first, first + 2000)
            table = pa.table(
                {"time": times, "host": ["a"] * 2000, "bytes": values, "size": pa.array(values, pa.float64())}
            )
            measure.write(table)
            measure.flush()
        measure.compact()
        found = measure.query(order="time").to_arrow()
        assert found["bytes"].to_pylist() == sizes
        assert found["size"].to_pylist() == sizes
