"""Series: every entity is one series, and no two entities ever are, however weak the hash."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from measurefs.part.series import (
    Hash,
    SeriesTable,
    encode_series,
    entity_keys,
    merge_series,
    xxh3,
)
from tests.part.made import make_rows

HASHERS: dict[str, Hash] = {
    "xxh3": xxh3,
    "constant": lambda key: 7,
    "first byte": lambda key: key[0] if key else 0,
    "length": len,
    "greatest": lambda key: 2**64 - 1 - len(key) % 2,
}
TEXT = st.text(st.sampled_from("a|\\,\0üA"), max_size=3)
NUMBER = st.sampled_from([0, 1, -1, 255, 256, 2**63 - 1, -(2**63)])
SHAPES: dict[str, list[tuple[pa.DataType, st.SearchStrategy[Any]]]] = {
    "string": [(pa.string(), TEXT)],
    "number": [(pa.int64(), NUMBER)],
    "two strings": [(pa.string(), TEXT), (pa.string(), TEXT)],
    "string, number, bytes": [
        (pa.string(), TEXT),
        (pa.int64(), NUMBER),
        (pa.binary(), st.binary(max_size=2)),
    ],
}


def batch(shape: list[tuple[pa.DataType, Any]], entities: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = [pa.array([one[place] for one in entities], kind) for place, (kind, _) in enumerate(shape)]
    return pa.record_batch(columns, names=[f"e{place}" for place in range(len(shape))])


def entities_of(series: SeriesTable) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in series.entities.columns), strict=True))


def assert_in_order(series: SeriesTable, hasher: Hash) -> None:
    """Distinct, ordered by id and then by key, and the ids are the hashes."""
    keys = entity_keys(series.entities)
    ordered = list(zip(series.ids.tolist(), keys, strict=True))
    assert ordered == sorted(set(ordered))
    assert series.ids.tolist() == [hasher(key) for key in keys]
    assert len(set(entities_of(series))) == len(series)


@pytest.mark.parametrize("hasher", HASHERS.values(), ids=HASHERS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_each_row_is_of_its_own_entity(hasher, shape, data):
    entity = st.tuples(*(values for _, values in shape))
    entities = data.draw(st.lists(entity, max_size=20))
    series, codes = encode_series(batch(shape, entities), hasher)
    assert_in_order(series, hasher)
    found = entities_of(series)
    assert [found[code] for code in codes] == entities
    assert set(found) == set(entities)


@pytest.mark.parametrize("hasher", HASHERS.values(), ids=HASHERS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_merged_tables_hold_every_series_once(hasher, shape, data):
    entity = st.tuples(*(values for _, values in shape))
    lists = data.draw(st.lists(st.lists(entity, max_size=8), min_size=1, max_size=5))
    tables = [encode_series(batch(shape, entities), hasher)[0] for entities in lists]
    merged, mappings = merge_series(tables)
    assert_in_order(merged, hasher)
    found = entities_of(merged)
    assert set(found) == set(itertools.chain.from_iterable(lists))
    for table, mapping in zip(tables, mappings, strict=True):
        assert [found[place] for place in mapping] == entities_of(table)
    assert merged.equals(encode_series(batch(shape, list(itertools.chain.from_iterable(lists))), hasher)[0])


def test_entities_that_read_alike_stay_apart():
    pairs = [("a", "b|c"), ("a|b", "c"), ("", "abc"), ("abc", ""), ("a\\|", "b"), ("a\\", "|b"), ("", "")]
    series, codes = encode_series(batch(SHAPES["two strings"], pairs * 2), xxh3)
    assert len(series) == len(set(pairs))
    assert len(set(entity_keys(series.entities))) == len(set(pairs))
    assert codes[: len(pairs)].tolist() == codes[len(pairs) :].tolist()


def test_dictionary_columns_may_hold_more_than_occurs_and_the_same_value_twice():
    column = pa.DictionaryArray.from_arrays(pa.array([2, 0, 3, 2]), pa.array(["a", "unused", "b", "a"]))
    series, codes = encode_series(pa.record_batch([column, pa.array([1, 1, 1, 1])], names=["s", "n"]))
    assert sorted(entities_of(series)) == [("a", 1), ("b", 1)]
    assert [entities_of(series)[code][0] for code in codes] == ["b", "a", "a", "b"]


def test_a_subset_keeps_the_ids_of_its_series():
    series = make_rows([5, 3, 9, 1], [0, 0, 0, 0]).series
    some = series.take(np.array([1, 3]))
    assert some.ids.tolist() == series.ids[[1, 3]].tolist()
    assert entities_of(some) == [entities_of(series)[1], entities_of(series)[3]]


def test_equal_tables_are_equal_and_others_are_not():
    one, same, other = (make_rows(ids, [0, 0]).series for ids in ([1, 2], [2, 1], [1, 3]))
    assert one.equals(one)
    assert one.equals(same)
    assert not one.equals(other)
    weak = make_rows([1, 2], [0, 0], hasher=lambda key: 0).series
    assert not weak.equals(make_rows([1, 3], [0, 0], hasher=lambda key: 0).series)
