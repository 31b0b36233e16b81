"""Buckets of time: fixed widths, calendars of time zones, and runs of rows cut at them."""

from __future__ import annotations

import datetime
import random
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import pytest

from measurefs import SchemaError
from measurefs.query.aggregation.buckets import Buckets, parse_buckets
from measurefs.query.aggregation.cutting import Cut, cut_at, cut_at_buckets
from measurefs.query.bounds import MAX_TIME, MIN_TIME

SECOND = 10**9
HOUR = 3600 * SECOND
DAY = 24 * HOUR


def starts_of(buckets: Buckets, times: list[int]) -> list[int]:
    """Return when each time's bucket begins."""
    array = np.array(times, np.int64)
    grid = buckets.grid(int(array.min()), int(array.max()))
    return grid.starts(grid.numbers(array)).tolist()


def at(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


def all_of(cut: Cut) -> np.ndarray:
    return np.arange(len(cut.starts))


def random_times(seed: int) -> list[int]:
    chance = random.Random(seed)
    times = [0, 1, -1, MIN_TIME, MIN_TIME + 1, MAX_TIME, MAX_TIME - 1]
    for bits in (20, 45, 62, 63):
        times += [chance.randrange(-(2**bits), 2**bits) for _ in range(20)]
    return times


@pytest.mark.parametrize(
    ("every", "width"),
    [
        (1, 1),
        ("1ns", 1),
        ("3us", 3_000),
        ("250ms", 250_000_000),
        ("10s", 10 * SECOND),
        ("7m", 7 * 60 * SECOND),
        (" 6 h ", 6 * HOUR),
        (datetime.timedelta(days=1, microseconds=1), DAY + 1_000),
        (pd.Timedelta("1us") + pd.Timedelta(7, "ns"), 1_007),
        (np.timedelta64(3, "W"), 21 * DAY),
        (np.int64(5), 5),
        (MAX_TIME, MAX_TIME),
    ],
)
@pytest.mark.parametrize("origin", [None, 0, 5, -(10**18), MIN_TIME, MAX_TIME])
def test_fixed_buckets_are_counted_from_their_origin(every: Any, width: int, origin: int | None) -> None:
    times = random_times(1)
    found = starts_of(parse_buckets(every, origin, "UTC"), times)
    offset = origin or 0
    assert found == [max((time - offset) // width * width + offset, MIN_TIME) for time in times]


def test_fixed_buckets_begin_at_local_midnight_of_1970() -> None:
    assert starts_of(parse_buckets("6h", None, "Europe/Berlin"), [at("2024-01-10T00:30")]) == [
        at("2024-01-09T23:00")
    ]
    assert starts_of(parse_buckets("6h", None, "+05:30"), [at("2024-01-10T00:30")]) == [
        at("2024-01-10T00:30")
    ]


@pytest.mark.parametrize(
    ("timezone", "time", "start", "end"),
    [
        ("UTC", "2024-02-29T23:59", "2024-02-29T00:00", "2024-03-01T00:00"),
        ("Europe/Berlin", "2024-03-31T12:00", "2024-03-30T23:00", "2024-03-31T22:00"),  # 23 hours
        ("Europe/Berlin", "2024-10-27T12:00", "2024-10-26T22:00", "2024-10-27T23:00"),  # 25 hours
        ("America/Sao_Paulo", "2017-10-15T12:00", "2017-10-15T03:00", "2017-10-16T02:00"),  # no midnight
        ("America/Havana", "2023-11-05T12:00", "2023-11-05T04:00", "2023-11-06T05:00"),  # two midnights
        ("Pacific/Apia", "2011-12-30T10:00", "2011-12-30T10:00", "2011-12-31T10:00"),  # after a day left out
        ("America/Toronto", "1919-03-31T05:00", "1919-03-31T04:30", "1919-04-01T04:00"),  # 23:30 became 0:30
        ("Asia/Kolkata", "1969-12-31T18:29:59", "1969-12-30T18:30", "1969-12-31T18:30"),
    ],
)
def test_days_are_those_of_the_time_zone(timezone: str, time: str, start: str, end: str) -> None:
    buckets = parse_buckets("1d", None, timezone)
    assert starts_of(buckets, [at(time), at(start), at(end) - 1, at(end), at(start) - 1])[:4] == [
        at(start),
        at(start),
        at(start),
        at(end),
    ]


@pytest.mark.parametrize(
    "timezone", ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo"]
)
@pytest.mark.parametrize("every", ["1d", "1w", "1mo", "3mo", "1y"])
def test_calendar_buckets_are_those_of_the_standard_library(every: str, timezone: str) -> None:
    zone = zoneinfo.ZoneInfo(timezone)
    chance = random.Random(every + timezone)
    times = [chance.randrange(at("1900-01-01"), at("2037-01-01")) for _ in range(300)]
    expected = []
    for time in times:
        local = datetime.datetime.fromtimestamp(time // SECOND, zone)
        day = local.replace(hour=0, minute=0, second=0, tzinfo=None, fold=0)
        if every == "1w":
            day -= datetime.timedelta(days=day.weekday())
        elif every != "1d":
            day = day.replace(day=1)
            month = {"1mo": day.month, "3mo": (day.month - 1) // 3 * 3 + 1, "1y": 1}[every]
            day = day.replace(month=month)
        utc = day.replace(tzinfo=zone).astimezone(datetime.UTC)
        expected.append(
            int((utc - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)).total_seconds()) * SECOND
        )
    assert starts_of(parse_buckets(every, None, timezone), times) == expected


def test_a_calendar_counts_from_its_origin() -> None:
    times = [at("2024-05-03T05:59"), at("2024-05-03T06:00"), at("1968-02-29T03:00")]
    six = parse_buckets("1d", "2020-01-01T06:00", "UTC")
    assert starts_of(six, times) == [at("2024-05-02T06:00"), at("2024-05-03T06:00"), at("1968-02-28T06:00")]
    berlin = parse_buckets("1d", "2020-01-01T05:00", "Europe/Berlin")  # six o'clock there, also in summer
    assert starts_of(berlin, times)[:2] == [at("2024-05-03T04:00"), at("2024-05-03T04:00")]
    mid = parse_buckets("1mo", "2020-01-15", "UTC")
    assert starts_of(mid, times) == [at("2024-04-15"), at("2024-04-15"), at("1968-02-15")]
    half = parse_buckets("5y", "2001-07-01T00:00:00.5", "UTC")
    assert starts_of(half, times) == [
        at("2021-07-01T00:00:00.5"),
        at("2021-07-01T00:00:00.5"),
        at("1966-07-01T00:00:00.5"),
    ]
    pairs = parse_buckets("2w", None, "UTC")
    assert starts_of(pairs, [at("1970-01-01"), at("1970-01-12")]) == [at("1969-12-29"), at("1970-01-12")]
    with pytest.raises(SchemaError, match="one of the first 28 days"):
        parse_buckets("1mo", "2020-01-31", "UTC")
    assert starts_of(parse_buckets("30d", "2020-01-31", "UTC"), [at("2020-03-01")]) == [at("2020-03-01")]


@pytest.mark.parametrize("every", ["1d", "1w", "1mo", "1y"])
def test_calendars_reach_to_both_ends_of_time(every: str) -> None:
    buckets = parse_buckets(every, None, "Europe/Berlin")
    first, last = starts_of(buckets, [MIN_TIME, MAX_TIME])
    assert first == MIN_TIME
    assert at("2262-01-01") - 2 * HOUR < last <= MAX_TIME
    assert starts_of(buckets, [MIN_TIME]) == [MIN_TIME]
    assert starts_of(buckets, [MAX_TIME]) == [last]


def test_all_buckets_between_two_times() -> None:
    days = parse_buckets("1d", None, "Europe/Berlin")
    found = days.between(at("2024-03-30T12:00"), at("2024-04-01T12:00"), 10)
    assert found is not None
    assert np.diff(found).tolist() == [DAY, 23 * HOUR]
    assert days.between(at("2024-03-30T12:00"), at("2024-04-01T12:00"), 2) is None
    assert parse_buckets("1ns", None, "UTC").between(MIN_TIME, MAX_TIME, 10**6) is None


@pytest.mark.parametrize(
    ("every", "why"),
    [
        ("", "no number with a unit"),
        ("1", "no number with a unit"),
        ("h", "no number with a unit"),
        ("1.5h", "no number with a unit"),
        ("1 month", "no number with a unit"),
        ("-1h", "no number with a unit"),
        ("0s", "longer than nothing"),
        (0, "longer than nothing"),
        (-5, "longer than nothing"),
        (datetime.timedelta(0), "longer than nothing"),
        (True, "a bool is no length of time"),
        (1.5, "a float is no length of time"),
        ("9999999h", "longer than all of time"),
        ("300y", "longer than all of time"),
        ("200000d", "longer than all of time"),
        (2**63, "longer than all of time"),
        (np.timedelta64(1, "M"), "its length is not known"),
    ],
)
def test_lengths_that_are_none_are_refused(every: Any, why: str) -> None:
    with pytest.raises(SchemaError) as caught:
        parse_buckets(every, None, "UTC")
    assert f"cannot use {every!r} as every: " in str(caught.value)
    assert why in str(caught.value)


@pytest.mark.parametrize("timezone", ["Europe/Berlim", "", None, 5, "25:00"])
def test_time_zones_that_there_are_not_are_refused(timezone: Any) -> None:
    with pytest.raises(SchemaError, match="as timezone; "):
        parse_buckets("1d", None, timezone)


@pytest.mark.parametrize(
    "timezone",
    [zoneinfo.ZoneInfo("Asia/Kolkata"), datetime.timezone(datetime.timedelta(hours=5, minutes=30)), "+05:30"],
)
def test_time_zones_may_be_objects(timezone: Any) -> None:
    assert starts_of(parse_buckets("1d", None, timezone), [0]) == [at("1969-12-31T18:30")]


@pytest.mark.parametrize("seed", range(30))
def test_runs_are_cut_where_their_buckets_end(seed: int) -> None:
    chance = random.Random(seed)
    width = chance.choice([1, 10, 1_000, 10**6, DAY])
    buckets = parse_buckets("1d", None, "Europe/Berlin") if width == DAY else parse_buckets(width, 3, "UTC")
    step = chance.choice([1, width // 500 + 1, width // 50 + 1, width // 3 + 1, 5 * width])
    times: list[int] = []
    runs = []
    uneven = chance.random() < 0.4
    for _ in range(chance.randint(1, 8)):
        time = chance.randrange(-20 * width, 20 * width)
        start = len(times)
        for _ in range(chance.choice([1, 3, 300])):
            times.append(time)
            time += chance.choice([1, 1, 1, 1, 1, 20 * step]) if uneven else chance.randint(1, 2 * step)
        runs.append((start, len(times)))
        times += [chance.randrange(-(10**18), 10**18) for _ in range(chance.choice([0, 0, 3]))]
    starts, stops = np.array(runs).T
    array = np.array(times)
    cut, found = cut_at_buckets(array, starts, stops, buckets)
    parents = np.arange(len(runs)) if cut.parents is None else cut.parents
    rows = [
        (row, int(parent), int(bucket))
        for start, stop, parent, bucket in zip(
            cut.starts, cut.stops, parents, found.starts(all_of(cut)), strict=True
        )
        for row in range(start, stop)
    ]
    expected_rows = [(row, number) for number, (start, stop) in enumerate(runs) for row in range(start, stop)]
    buckets_of = starts_of(buckets, [times[row] for row, _ in expected_rows])
    assert rows == [(*row, bucket) for row, bucket in zip(expected_rows, buckets_of, strict=True)], (
        f"seed {seed}"
    )
    pieces = list(zip(parents.tolist(), found.numbers.tolist(), strict=True))
    assert len(set(pieces)) == len(pieces), f"seed {seed}: a run is cut within a bucket"


def test_runs_are_cut_at_rows() -> None:
    starts, stops = np.array([10, 0, 5]), np.array([20, 4, 9])
    cut = cut_at(starts, stops, np.array([0, 2, 4, 5, 12, 19, 20]))
    assert cut.parents is not None
    assert list(zip(cut.parents.tolist(), cut.starts.tolist(), cut.stops.tolist(), strict=True)) == [
        (0, 10, 12),
        (0, 12, 19),
        (0, 19, 20),
        (1, 0, 2),
        (1, 2, 4),
        (2, 5, 9),
    ]
    assert cut_at(starts, stops, np.array([5, 20])).parents is None
