"""Which ranges are fetched together: never more than about twice what was asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from measurefs.backends.ranges import LARGEST, SLACK, cut, plan
from measurefs.fs import ReadError

FILES = {"a": bytes(range(256)) * 400, "b": bytes(range(256)) * 20}
RANGES = st.lists(
    st.sampled_from(sorted(FILES)).flatmap(
        lambda path: st.integers(0, len(FILES[path])).flatmap(
            lambda start: st.tuples(
                st.just(path), st.just(start), st.integers(0, min(5000, len(FILES[path]) - start))
            )
        )
    ),
    max_size=30,
)


@given(RANGES)
def test_every_range_is_answered_at_bounded_cost(ranges: list[tuple[str, int, int]]) -> None:
    fetches = plan(ranges)
    bodies = [FILES[fetch.path][fetch.start : fetch.stop] for fetch in fetches]
    assert cut(ranges, fetches, bodies) == [FILES[path][at : at + size] for path, at, size in ranges]
    for fetch in fetches:
        served = {byte for place in fetch.places for byte in range(ranges[place][1], sum(ranges[place][1:]))}
        assert fetch.size <= 2 * len(served) + SLACK


def test_neighbours_are_fetched_together() -> None:
    assert len(plan([("f", 0, 100_000), ("f", 180_000, 100_000)])) == 1
    assert len(plan([("f", 0, 100_000), ("f", 400_000, 100_000)])) == 2
    assert len(plan([("f", 0, 10), ("f", 4000, 10)])) == 1
    assert len(plan([("f", 0, 10), ("g", 10, 10)])) == 2


def test_fetches_stay_below_the_limit_unless_one_range_is_longer() -> None:
    half = LARGEST // 2
    assert [fetch.size for fetch in plan([("f", 0, half), ("f", half, half), ("f", 2 * half, 1)])] == [
        LARGEST,
        1,
    ]
    assert [fetch.size for fetch in plan([("f", 0, 3 * LARGEST), ("f", 5, 10)])] == [3 * LARGEST]


def test_short_file_is_an_error() -> None:
    ranges = [("f", 0, 10), ("f", 12, 10)]
    with pytest.raises(ReadError, match="3 of 10 bytes are there at offset 12"):
        cut(ranges, plan(ranges), [b"x" * 15])
