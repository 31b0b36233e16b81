"""What is known of runs of rows, put together in any way, is what is known of all of them."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from measurefs.query.aggregation.groups import Grouping, dense, encoded, mixed, ranked, sorted_by_code
from measurefs.query.aggregation.partials import Deviations, FloatSums, Greatest, IntSums, Least
from measurefs.query.aggregation.quantiles import Bins, Sample
from measurefs.query.aggregation.run_values import RunValues
from measurefs.query.aggregation.sorting import order_of
from measurefs.query.aggregation.vectors import Vector

LARGEST = 2**63 - 1


def split(count: int, chance: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """Cut so many rows into runs, perhaps with gaps."""
    edges = np.unique([0, count, *(chance.randrange(count) for _ in range(chance.randint(0, 20)))])
    kept = np.array([chance.random() < chance.choice([0.6, 1.0]) for _ in edges[1:]])
    kept[0] = True
    return edges[:-1][kept], edges[1:][kept]


def grouping(ids: list[int]) -> Grouping:
    return Grouping.of(*dense(np.array(ids, np.int64), max(ids) + 1))


@pytest.mark.parametrize("seed", range(30))
def test_numbers_are_put_together_as_if_at_once(seed: int) -> None:
    chance = random.Random(seed)
    generator = np.random.default_rng(seed)
    count = chance.choice([1, 5, 200])
    floats = generator.normal(1e3, 1, count)
    ints = generator.integers(-LARGEST, LARGEST, count) >> chance.choice([0, 1, 8, 60])
    valid = generator.random(count) < 0.7 if chance.random() < 0.6 else None
    starts, stops = split(count, chance)
    rows = np.concatenate([np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)])
    rows = rows if valid is None else rows[valid[rows]]
    groups = grouping([chance.randrange(3) for _ in starts])
    everything = grouping([0] * groups.count)
    of_floats = RunValues(Vector(floats, valid), starts, stops)
    of_ints = RunValues(Vector(ints, valid), starts, stops)
    assert int(of_floats.counts.sum()) == len(rows)
    sums = IntSums.of(of_ints).grouped(groups).grouped(everything)
    exact = sum(ints[rows].tolist())
    assert int(sums.upper[0]) * 2**32 + int(sums.lower[0]) == exact
    assert 0 <= sums.lower[0] < 2**32
    whole = sums.whole()
    assert (whole is None) == (not -(2**63) <= exact < 2**63)
    assert whole is None or whole.tolist() == [exact]
    assert sums.floats()[0] == pytest.approx(float(exact), rel=1e-15)
    if len(rows) == 0:
        return
    assert FloatSums.of(of_floats).grouped(groups).grouped(everything).sums[0] == pytest.approx(
        math.fsum(floats[rows])
    )
    assert Least.of(of_ints).grouped(groups).grouped(everything).values.tolist() == [ints[rows].min()]
    assert Greatest.of(of_floats).grouped(groups).grouped(everything).values.tolist() == [floats[rows].max()]
    deviations = Deviations.of(of_floats).grouped(groups).grouped(everything)
    if len(rows) > 1:
        assert deviations.sample()[0] == pytest.approx(np.std(floats[rows], ddof=1), rel=1e-9)
    sample = Sample.of(of_floats).grouped(groups).grouped(everything).ordered()
    bins = Bins.of(of_floats).grouped(groups).grouped(everything).ordered()
    for fraction in (0.0, 0.3, 0.5, 0.99, 1.0):
        expected = np.quantile(floats[rows], fraction)
        assert sample.quantile(fraction)[0] == pytest.approx(expected, rel=1e-12)
        assert bins.quantile(fraction)[0] == pytest.approx(expected, rel=0.008)


def quantiles(kind: type[Sample] | type[Bins], values: list[float], fraction: float) -> float:
    runs = RunValues(Vector(np.array(values, np.float64)), np.array([0]), np.array([len(values)]))
    return float(kind.of(runs).ordered().quantile(fraction)[0])


@pytest.mark.parametrize("kind", [Sample, Bins])
@pytest.mark.parametrize(
    ("values", "fraction", "expected"),
    [
        ([0.0], 0.5, 0.0),
        ([-0.0, 0.0], 0.5, 0.0),
        ([math.inf, math.inf], 0.5, math.inf),
        ([-math.inf, -math.inf, 0.0], 0.25, -math.inf),
        ([1.0, math.inf], 0.5, math.inf),
        ([-math.inf, 1.0], 0.5, -math.inf),
        ([1.0, math.inf], 0.0, 1.0),
        ([-math.inf, math.inf], 0.5, math.nan),
        ([1.0, math.nan, 2.0], 0.0, math.nan),
        ([-math.nan], 1.0, math.nan),
        ([-1.7e308, 1.7e308], 0.5, 0.0),
        ([-3.0, -1.0, 2.0], 0.0, -3.0),
        ([1e-300, 1e300], 1.0, 1e300),
    ],
)
def test_quantiles_of_odd_values(
    kind: type[Sample] | type[Bins], values: list[float], fraction: float, expected: float
) -> None:
    assert quantiles(kind, values, fraction) == pytest.approx(expected, rel=0.008, nan_ok=True)


@pytest.mark.parametrize("seed", range(10))
def test_approximate_quantiles_are_within_one_percent_and_need_little_memory(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.lognormal(0, 3, 20_000) * (-1 if seed % 2 else 1)
    bins = Bins.of(RunValues(Vector(values), np.arange(0, 20_000, 100), np.arange(100, 20_001, 100)))
    bins = bins.grouped(grouping([0] * 200))
    assert len(bins.bins) < 64 * math.log2(abs(values).max() / abs(values).min()) + 66
    ordered = bins.ordered()
    for fraction in (0.001, 0.1, 0.5, 0.9, 0.999):
        assert ordered.quantile(fraction)[0] == pytest.approx(np.quantile(values, fraction), rel=0.01)


def test_quantiles_of_several_groups_of_which_some_are_empty() -> None:
    values = np.array([5.0, 1.0, 3.0, math.nan, 7.0])
    valid = np.array([True, True, True, True, False])
    runs = RunValues(Vector(values, valid), np.array([0, 2, 3, 4]), np.array([2, 3, 4, 5]))
    for partial in (Sample.of(runs), Bins.of(runs)):
        found = partial.ordered().quantile(0.5).tolist()
        assert found == pytest.approx([3.0, 3.0, math.nan, math.nan], rel=0.01, nan_ok=True)


@pytest.mark.parametrize(
    ("values", "codes", "in_order"),
    [
        (pa.array(["b", None, "a", "b"]), 3, ["a", "b", "b", None]),
        (pa.array([2.0, math.nan, 0.0, -0.0, None, -math.nan]), 4, [0.0, 0.0, 2.0, math.nan, math.nan, None]),
        (pa.array([True, None, False]), 3, [False, True, None]),
        (pa.array([LARGEST, -LARGEST - 1]), 2, [-LARGEST - 1, LARGEST]),
        (pa.array(["é", "z", "\U0001f600", "\uffff"]), 4, ["z", "é", "\uffff", "\U0001f600"]),
        (pa.nulls(2, pa.string()), 1, [None, None]),
        (pa.array([], pa.int64()), 0, []),
    ],
)
def test_keys_have_codes_in_their_order(values: pa.Array, codes: int, in_order: list[Any]) -> None:
    assert encoded(values).bound == codes
    found = ranked(values)
    order = np.argsort(found.codes, kind="stable")
    assert found.at(order).to_pylist() == pytest.approx(in_order, nan_ok=True)


@pytest.mark.parametrize("form", ["host-{:04}.example", "{}", "", "same", "\0{}\0", "{:x}ü", "{:020}"])
@pytest.mark.parametrize("kind", [pa.string(), pa.binary()])
def test_many_strings_have_the_order_that_few_have(form: str, kind: pa.DataType) -> None:
    numbers = random.Random(form).sample(range(100_000), 2_000)
    alike = pa.array([form.format(number) for number in numbers]).cast(kind)
    values = pa.array(["other", *alike.cast(pa.string()).to_pylist(), ""]).cast(kind)
    for held in (
        alike,
        values,
        values[1:],
        values[1:-1],
        values[7:-9],
        pa.concat_arrays([values, pa.nulls(2, kind)]),
    ):
        expected = np.asarray(pc.array_sort_indices(held))
        assert held.take(pa.array(order_of(held))).equals(held.take(pa.array(expected)))


@pytest.mark.parametrize("in_order", [False, True])
def test_codes_of_many_columns_are_mixed_without_overflow(in_order: bool) -> None:
    generator = np.random.default_rng(1)
    columns = [generator.integers(0, 2**31, 500) for _ in range(5)]
    for column in columns:
        column[250:] = column[:250]
    codes, bound = mixed([(column, 2**31) for column in columns], 500, in_order=in_order)
    assert codes.min() >= 0
    assert codes.max() < bound
    assert (codes[250:] == codes[:250]).all()
    assert len(np.unique(codes)) == 250
    if in_order:
        assert np.argsort(codes, kind="stable").tolist() == np.lexsort(columns[::-1]).tolist()


@pytest.mark.parametrize("bound", [3, 2**16, 2**16 + 1, 2**32, 2**32 + 1, 2**62])
def test_codes_are_sorted_stably(bound: int) -> None:
    codes = np.random.default_rng(1).integers(0, bound, 300)
    codes[150:] = codes[:150]
    assert sorted_by_code(codes, bound).tolist() == np.argsort(codes, kind="stable").tolist()
