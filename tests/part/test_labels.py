"""Labels: series and tags of batches that come again are found as the first time, whatever came between."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from measurefs.part.labels import LabelEncoder, Labels
from measurefs.part.series import SeriesTable, merge_series, xxh3
from tests.part.test_part_series import SHAPES, TEXT, assert_in_order, batch, entities_of


@given(st.lists(st.lists(st.tuples(TEXT), min_size=1, max_size=4), min_size=1, max_size=6), st.data())
def test_batches_that_come_again_are_encoded_as_the_first_time(
    entities: list[list[tuple[str]]], data: st.DataObject
) -> None:
    encoder = LabelEncoder()
    known: dict[tuple[tuple[str], ...], SeriesTable] = {}
    tables = []
    for _ in range(12):
        one = batch(SHAPES["string"], data.draw(st.sampled_from(entities)))
        labels = encoder.encode(one)
        series = labels.series
        given_order = entities_of(SeriesTable(series.ids, one))
        arranged = given_order if labels.order is None else [given_order[row] for row in labels.order]
        assert [entities_of(series)[code] for code in labels.codes] == arranged
        assert known.setdefault(tuple(entities_of(SeriesTable(series.ids, one))), series) is series
        tables.append(series)
    merged, mappings = merge_series(tables)
    assert_in_order(merged, xxh3)
    for series, to in zip(tables, mappings, strict=True):
        assert [entities_of(merged)[place] for place in to] == entities_of(series)


def test_a_buffer_that_is_filled_anew_is_another_batch() -> None:
    encoder = LabelEncoder()
    numbers = np.arange(10)
    given = pa.record_batch([pa.array(numbers)], names=["e0"])
    encoder.encode(given)
    numbers += 100
    labels = encoder.encode(given)
    assert sorted(entities_of(labels.series)[code] for code in labels.codes) == [
        (n,) for n in range(100, 110)
    ]


def test_what_is_remembered_does_not_grow_without_bounds() -> None:
    encoder = LabelEncoder()
    before = pa.total_allocated_bytes()
    for number in range(40):
        texts = [f"{number}-{each}".ljust(200, "x") for each in range(20_000)]
        encoder.encode(pa.record_batch([pa.array(texts)], names=["e0"]))
    del texts
    assert pa.total_allocated_bytes() - before < 80 << 20


def test_only_some_batches_are_remembered() -> None:
    encoder = LabelEncoder()
    first = batch(SHAPES["number"], [(1,)])
    series = encoder.encode(first).series
    for number in range(100):
        encoder.encode(batch(SHAPES["number"], [(number + 2,)]))
    again = encoder.encode(first).series
    assert again is not series
    assert again.equals(series)


def hosts(*names: str) -> pa.RecordBatch:
    return pa.record_batch([pa.array(names)], names=["host"])


@given(
    names=st.lists(st.sampled_from("abcd"), min_size=1, max_size=12),
    turns=st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=6),
)
def test_tags_and_fields_come_in_the_order_of_the_series(
    names: list[str], turns: list[tuple[bool, int]]
) -> None:
    """Whatever the tags were in the batches before."""
    encoder = LabelEncoder()
    for reverse, shift in turns:
        given_names = names[::-1] if reverse else names
        zones = [f"zone {(ord(name) + shift) % 3}" for name in given_names]
        labels = encoder.encode(hosts(*given_names))
        found = [labels.series.entities["host"][code].as_py() for code in labels.codes]
        assert sorted(found) == sorted(names)
        rows = labels.arranged(np.arange(len(names))).tolist()
        assert [given_names[row] for row in rows] == found
        assert all(
            one < other for one, other in itertools.pairwise(rows) if given_names[one] == given_names[other]
        )
        assert labels.tag("zone", pa.array(zones)).to_pylist() == [zones[row] for row in rows]
        assert labels.tag("rack", pa.array(range(len(names)))).to_pylist() == rows
        assert labels.field(pa.array(zones)).to_pylist() == [zones[row] for row in rows]


def test_a_tag_that_comes_again_takes_no_more_memory() -> None:
    encoder = LabelEncoder()
    names, zones = [f"h{number}" for number in range(5_000)], ["east", "west"] * 2_500
    first = encoder.encode(hosts(*names)).tag("zone", pa.array(zones))
    before = pa.total_allocated_bytes()
    again = [encoder.encode(hosts(*names)).tag("zone", pa.array(zones)) for _ in range(10)]
    assert all(one is first for one in again)
    assert pa.total_allocated_bytes() - before < 5_000


@pytest.mark.parametrize("names", [("a", "a", "a"), ("b", "a", "b")], ids=["in order", "to be ordered"])
def test_what_is_found_is_nobody_elses_memory(names: tuple[str, ...]) -> None:
    times, numbers = np.arange(3), np.arange(3)
    labels = LabelEncoder().encode(hosts(*names))
    found = [labels.arranged(times), labels.field(pa.array(numbers)), labels.tag("n", pa.array(numbers))]
    expected = [list(map(int, column)) for column in (found[0], found[1].to_pylist(), found[2].to_pylist())]
    times[:] = numbers[:] = 99
    assert [found[0].tolist(), found[1].to_pylist(), found[2].to_pylist()] == expected
    assert labels.tag("n", pa.array(numbers)).to_pylist() == [99, 99, 99]


@pytest.mark.parametrize("names", [("a", "a", "a"), ("b", "a", "b")], ids=["in order", "to be ordered"])
@pytest.mark.parametrize(
    "of", [Labels.field, lambda labels, column: labels.tag("zone", column)], ids=["field", "tag"]
)
@pytest.mark.parametrize("null", [False, True])
def test_a_callers_dictionary_is_copied_as_well(
    names: tuple[str, ...], of: Callable[[Labels, pa.Array], pa.Array], null: bool
) -> None:
    letters = bytearray(b"xyz")
    texts = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.py_buffer(np.arange(4, dtype=np.int32)), pa.py_buffer(letters)]
    )
    indices = pa.array([0, None if null else 2, 1], pa.int32())
    found = of(LabelEncoder().encode(hosts(*names)), pa.DictionaryArray.from_arrays(indices, texts))
    expected = found.to_pylist()
    letters[:] = b"???"
    assert found.to_pylist() == expected


def test_threads_share_what_is_remembered() -> None:
    """Each finds what is right for it, whatever the others put there meanwhile."""
    encoder, names = LabelEncoder(), [[f"h{number}-{turn}" for number in range(20)] for turn in range(3)]

    def write(seed: int) -> None:
        chance = np.random.default_rng(seed)
        for _ in range(60):
            labels = encoder.encode(hosts(*names[chance.integers(len(names))]))
            rows = labels.arranged(np.arange(20)).tolist()
            for tag in range(40):
                given_tag = chance.integers(0, 2, 20)
                assert labels.tag(f"t{tag}", pa.array(given_tag)).to_pylist() == given_tag[rows].tolist()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))


def test_many_tags_do_not_take_memory_for_ever() -> None:
    encoder, rows = LabelEncoder(), 20_000
    labels = encoder.encode(hosts(*(f"h{number}" for number in range(rows))))
    before = pa.total_allocated_bytes() + pa.jemalloc_memory_pool().bytes_allocated()
    for tag in range(300):
        labels.tag(f"t{tag}", pa.array(np.arange(rows) % (tag + 2)))
    after = pa.total_allocated_bytes() + pa.jemalloc_memory_pool().bytes_allocated()
    assert after - before < 24 << 20
