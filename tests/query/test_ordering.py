"""Rows in order of time, and the bounds of runs: as NumPy's own sort and search have them, however they are found."""

from __future__ import annotations

import numpy as np
import pytest

from measurefs.part.runs import lower_bounds
from measurefs.query.ordering import time_order

STEP = 10**10


def series_of(random: np.random.Generator, form: str) -> list[np.ndarray]:
    """Times of some series, each increasing."""
    count, rows = int(random.integers(1, 40)), int(random.integers(1, 300))
    regular = 1_767_225_600 * 10**9 + np.arange(rows) * STEP
    if form == "aligned":
        return [regular] * count
    if form == "cut":
        return [regular[: int(random.integers(1, rows + 1))] for _ in range(count)]
    if form == "shifted":
        return [regular + int(shift) * STEP for shift in random.integers(0, 3, count)]
    if form == "early":  # the same but for one time
        return [regular, *([np.append(regular[0] - 1, regular[1:])] * count)]
    return [np.unique(random.integers(-(2**62), 2**62, rows)) for _ in range(count)]


@pytest.mark.parametrize("form", ["aligned", "cut", "shifted", "early", "wild"])
@pytest.mark.parametrize("descending", [False, True])
def test_order_of_time(form: str, descending: bool) -> None:
    for seed in range(25):
        times = series_of(np.random.default_rng(seed), form)
        joined = np.concatenate(times)
        order = time_order(joined, np.array([len(each) for each in times]), descending=descending)
        expected = np.argsort(~joined if descending else joined, kind="stable")
        found = np.arange(len(joined)) if order is None else order
        assert found.tolist() == expected.tolist(), (form, descending, seed)


@pytest.mark.parametrize("form", ["aligned", "cut", "shifted", "wild"])
def test_lower_bounds(form: str) -> None:
    for seed in range(25):
        random = np.random.default_rng(seed)
        times = series_of(random, form)
        joined = np.concatenate(times)
        stops = np.cumsum([len(each) for each in times])
        starts = stops - [len(each) for each in times]
        for nearby in (-1, 0, 1):
            least = int(random.choice(joined)) + nearby
            expected = [
                start + np.searchsorted(each, least) for start, each in zip(starts, times, strict=True)
            ]
            assert lower_bounds(joined, starts, stops, least).tolist() == expected, (form, seed, nearby)
            each_its_own = lower_bounds(joined, starts, stops, np.full(len(starts), least))
            assert each_its_own.tolist() == expected, (form, seed, nearby)
