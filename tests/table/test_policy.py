"""Which parts are merged."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from measurefs.table.policy import MergeOptions, choose

MIB = 1 << 20
OPTIONS = MergeOptions()


def settle(sizes: list[int], options: MergeOptions = OPTIONS) -> int:
    """Merge until nothing is left to merge, and return the bytes that were written."""
    written = 0
    while (chosen := choose(sizes, options)) is not None:
        result = sum(sizes[chosen.start : chosen.stop])
        sizes[chosen.start : chosen.stop] = [result]
        written += result
    return written


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ([], None),
        ([MIB], None),
        ([MIB] * 7, None),
        ([MIB] * 8, range(8)),
        ([MIB] * 9, range(8)),
        ([8 * MIB, *[MIB] * 7], None),
        ([8 * MIB, *[MIB] * 8], range(1, 9)),
        ([1000 * MIB, *[MIB] * 8], range(1, 9)),
        ([*[MIB] * 3, 1000 * MIB, *[MIB] * 8], range(4, 12)),
        ([1000 * MIB, 100 * MIB, 10 * MIB, MIB], None),
    ],
)
def test_neighbours_of_like_size(sizes, chosen):
    assert choose(sizes, OPTIONS) == chosen


def test_never_more_inputs_than_allowed():
    assert choose([MIB] * 100, MergeOptions(least_inputs=2, most_inputs=3)) == range(3)


def test_tiny_parts_are_alike_whatever_their_size():
    assert choose([1, 900, 20, 1500] * 2, OPTIONS) == range(8)


def test_a_crowd_is_merged_though_nothing_is_alike():
    sizes = [MIB * 3**power for power in range(20, 0, -1)]
    assert choose(sizes[:15], OPTIONS) is None
    assert choose(sizes[:16], OPTIONS) is not None


@given(st.lists(st.integers(1, 1 << 40), max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_parts_settle_below_sixteen(sizes):
    total = sum(sizes)
    settle(sizes)
    assert len(sizes) < 16
    assert sum(sizes) == total


def test_parts_and_rewriting_grow_with_the_logarithm():
    batches, size = 20_000, 200_000
    sizes: list[int] = []
    written, most = 0, 0
    for _ in range(batches):
        sizes.append(size)
        written += settle(sizes)
        most = max(most, len(sizes))
    assert most < 16
    assert written / (batches * size) < 0.5 * math.log2(batches)


@pytest.mark.parametrize(
    "wrong",
    [
        {"least_inputs": 1},
        {"most_inputs": 1},
        {"least_inputs": 4, "most_inputs": 3},
        {"ratio": 1.0},
        {"most_parts": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r"inputs|ratio"):
        MergeOptions(**wrong)
