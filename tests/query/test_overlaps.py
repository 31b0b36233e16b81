"""Only rows in stretches of time that blocks of several parts cover are compared with each other."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import measurefs
from measurefs import Measure, PartOptions, TableOptions
from measurefs.query.overlaps import pieces_of

LEAST, GREATEST = -(2**63), 2**63 - 1
SERIES, EACH = 8, 300
HOSTS = [f"h{number}" for number in range(SERIES)]


def drawn(chance: random.Random) -> list[tuple[int, int, int]]:
    """Blocks: series, first and last time, in order; often near an end of all time."""
    base = chance.choice([0, LEAST, GREATEST - 30])
    blocks = []
    for _ in range(chance.randint(1, 9)):
        low = base + chance.randint(0, 12)
        blocks.append((chance.randint(0, 2), low, low + chance.randint(0, 9)))
    if chance.random() < 0.2:
        blocks.append((chance.randint(0, 2), LEAST, GREATEST))
    return sorted(blocks, key=lambda block: block[:2])


@pytest.mark.parametrize("seed", range(300))
def test_each_time_of_a_block_is_in_one_piece_and_pieces_meet_where_blocks_do(seed: int) -> None:
    blocks = drawn(random.Random(seed))
    found = pieces_of(*(np.array(column, np.int64) for column in zip(*blocks, strict=True)))
    pairs = itertools.combinations(blocks, 2)
    overlap = any(one[0] == other[0] and other[1] <= one[2] and one[1] <= other[2] for one, other in pairs)
    assert (found is not None) == overlap
    if found is None:
        return
    pieces = list(zip(*(column.tolist() for column in found), strict=True))
    assert [(blocks[parent][0], low) for parent, low, *_ in pieces] == sorted(
        (blocks[parent][0], low) for parent, low, *_ in pieces
    )
    edges = {time + step for _, *ends in blocks for time in ends for step in (-1, 0, 1)}
    for time in edges:
        covering = {number for number, (_, low, high) in enumerate(blocks) if low <= time <= high}
        here = [(parent, cluster) for parent, low, high, cluster in pieces if low <= time <= high]
        assert sorted(parent for parent, _ in here) == sorted(covering)
        for series in range(3):
            mine = {number for number in covering if blocks[number][0] == series}
            clusters = {cluster for parent, cluster in here if parent in mine}
            assert len(clusters) <= 1
            for cluster in clusters:
                together = {parent for parent, *_, its in pieces if its == cluster}
                assert together >= mine if len(mine) > 1 else together == mine


def rows(first: int, count: int, version: int, add: int = 0) -> dict[str, Any]:
    times = np.repeat(np.arange(first, first + count), SERIES)
    return {
        "time": times,
        "host": HOSTS * count,
        "x": times + add,
        "y": times * 0.5 + add,
        "version": np.full(len(times), version),
    }


@pytest.fixture
def measure() -> Iterator[Measure]:
    """Blocks of 100 rows; nothing is merged."""
    options = TableOptions(
        threads=1,
        log_bytes=0,
        merge=measurefs.MergeOptions(enabled=False),
        part=PartOptions(block_rows=100, summary_rows=64),
    )
    with measurefs.open(f"memory://{uuid.uuid4().hex}", options=options) as db:
        measure = db.create_measure("m", entity=["host"], fields={"x": "int64", "y": "float64"})
        measure.write(rows(0, EACH, 5), durable=True)
        yield measure


def test_what_is_rewritten_costs_what_it_covers(measure: Measure) -> None:
    """Of the first part, 20 of its 300 rows of each series are compared; its versions are not read."""
    measure.write(rows(110, 20, 6, add=1000), durable=True)
    work = measure.query(columns=["x"], order="series").explain()
    assert work.rows == EACH * SERIES
    assert work.rows_sorted == 2 * 20 * SERIES
    assert (work.blocks, work.blocks_read) == (4 * SERIES, 4 * SERIES)
    whole, of_new = 3 * SERIES, 2  # chunks of a column: a block of 100 rows is one, and 160 rows are two
    assert work.chunks == (whole + of_new) + (SERIES + of_new)  # of x, and of time where blocks overlap
    total = measure.aggregate(values={"x": "sum"})
    assert total.explain().blocks_known == 2 * SERIES
    assert total.to_arrow()["x_sum"].to_pylist() == [SERIES * (sum(range(EACH)) + 20 * 1000)]
    newest = measure.last(columns=["time", "x"])
    assert newest.explain().rows_sorted == 0
    assert newest.to_arrow()["x"].to_pylist() == [EACH - 1] * SERIES


def test_where_nothing_overlaps_nothing_is_compared(measure: Measure) -> None:
    measure.write(rows(110, 20, 6, add=1000), durable=True)
    for start, end in ((0, 110), (130, 300)):
        for order in ("series", "time", "-time"):
            work = measure.query(start, end, order=order).explain()
            assert (work.rows, work.rows_sorted) == ((end - start) * SERIES, 0)


@pytest.mark.parametrize(("version", "counts"), [(6, True), (5, True), (4, False)])
@pytest.mark.parametrize("durable", [True, False])
def test_versions_decide_and_of_equal_ones_the_later_write(
    measure: Measure, version: int, counts: bool, durable: bool
) -> None:
    measure.write(rows(110, 20, version, add=1000), durable=durable)
    for order in ("series", "time", "-time"):
        found = measure.query(105, 135, columns=["time", "x", "version"], order=order).to_arrow()
        times = np.asarray(found["time"].cast("int64"))
        changed = (times >= 110) & (times < 130) & counts
        assert np.asarray(found["x"]).tolist() == (times + 1000 * changed).tolist()
        assert set(np.asarray(found["version"])[changed].tolist()) == ({version} if counts else set())
        assert len(found) == 30 * SERIES
    (total,) = measure.aggregate(105, 135, values={"x": "sum"}).to_arrow()["x_sum"].to_pylist()
    assert total == SERIES * (sum(range(105, 135)) + counts * 20 * 1000)
    (high,) = measure.aggregate(where={"x": {">=": 1000}}).to_arrow()["count"].to_pylist()
    assert high == counts * 20 * SERIES


def test_stretches_of_several_parts(measure: Measure) -> None:
    """Parts that overlap in turn, each the one before, and one that covers them all in part."""
    chance = random.Random(7)
    expected = {time: time for time in range(EACH)}
    for number in range(12):
        first, count = chance.randint(0, 420), chance.randint(1, 90)
        measure.write(rows(first, count, 6 + number, add=1000 * number), durable=number % 3 > 0)
        expected |= {time: time + 1000 * number for time in range(first, first + count)}
    for start, end in [(None, None), (100, 300), (299, 301), (430, 431)]:
        wanted = {time: x for time, x in sorted(expected.items()) if (start or 0) <= time < (end or GREATEST)}
        found = measure.query(start, end, {"host": "h3"}, ["time", "x"]).to_arrow()
        times = found["time"].cast("int64").to_pylist()
        assert dict(zip(times, found["x"].to_pylist(), strict=True)) == wanted
        assert times == list(wanted)
        everything = measure.aggregate(start, end, by="host", values={"x": "sum"}).to_arrow()
        assert everything["x_sum"].to_pylist() == [sum(wanted.values())] * (SERIES if wanted else 0)
    assert measure.last(columns=["x"]).to_arrow()["x"].to_pylist() == [expected[max(expected)]] * SERIES
