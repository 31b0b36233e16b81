"""How time is divided: names of segments, the segment of a time, and measures whose interval changes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import measurefs
from measurefs import FileSystem, Measure
from measurefs.backends.memory import MemoryFileSystem
from measurefs.database.intervals import Interval
from measurefs.database.segments import Division, Segment, is_segment_name, named_segment, segment_name
from tests.conftest import Store
from tests.database.helpers import DAY, HOUR, open_store, rows_of, values_of

MIN, MAX = -(2**63), 2**63 - 1
INTERVALS = ["1h", "5h", "6h", "24h", "1d", "3d", "7d", "99999h", "99999d"]

times = st.integers(MIN, MAX) | st.integers(-50, 50).map(lambda number: number * HOUR) | st.integers(-9, 9)
intervals = st.sampled_from(INTERVALS).map(lambda text: Interval.parse(text, "interval"))


def interval(text: str) -> Interval:
    return Interval.parse(text, "interval")


# Names.


@pytest.mark.parametrize(
    ("start", "hours", "first", "name"),
    [
        (0, 24, "1d", "seg-19700101"),
        (0, 24, "24h", "seg-1970010100"),
        (6, 6, "6h", "seg-1970010106"),
        (-24, 24, "1d", "seg-19691231"),
        (-5, 5, "5h", "seg-1969123119"),
        (72, 72, "3d", "seg-19700104"),
        (0, 6, "1d", "seg-1970010100+6h"),
        (12, 24, "1d", "seg-1970010112+24h"),
        (0, 24, "6h", "seg-1970010100+24h"),
        (-72, 72, "1h", "seg-1969122900+72h"),
        (24 * 365 * 100, 99999 * 24, "1d", "seg-2069120700+2399976h"),
    ],
)
def test_a_name_says_start_and_span(start: int, hours: int, first: str, name: str) -> None:
    segment = Segment(start * HOUR, (start + hours) * HOUR)
    assert segment_name(segment, interval(first)) == name
    assert named_segment(name, interval(first)) == segment


@given(times, intervals, intervals)
@example(MIN, interval("99999d"), interval("1h"))
@example(MAX, interval("99999d"), interval("1d"))
def test_every_cell_has_a_name_of_its_own(time: int, current: Interval, first: Interval) -> None:
    segment = Division([], current).at(time)
    assert segment.start <= time < segment.end
    assert segment.end - segment.start == current.nanoseconds
    assert named_segment(segment_name(segment, first), first) == segment


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("seg-19700101", "1h"),
        ("seg-1970010100", "1d"),
        ("seg-1970010100+24h", "1d"),
        ("seg-1970010106+6h", "6h"),
        ("seg-1970010124", "1h"),
        ("seg-19701301", "1d"),
        ("seg-00000101", "1d"),
        ("seg-10000101", "1d"),
        ("seg-99991231", "1d"),
        ("seg-19700101+6h", "1d"),
        ("seg-1970010100+0h", "1d"),
        ("seg-1970010100+06h", "1d"),
        ("seg-1970010100+99999999h", "1d"),
        ("seg-1970010100+6d", "1d"),
        ("seg-1970010\N{FULLWIDTH DIGIT ONE}", "1d"),
        ("seg-19700101.corrupt", "1d"),
        ("schema.json", "1d"),
        ("tags", "1d"),
    ],
)
def test_no_other_name_is_a_segments(name: str, first: str) -> None:
    """One segment has one name: else two directories could stand for the same times."""
    assert named_segment(name, interval(first)) is None


def test_a_name_is_known_without_a_schema() -> None:
    names = ["seg-19700101", "seg-1970010123", "seg-1970010100+6h", "seg-1970010124", "seg-x", "tags"]
    assert [is_segment_name(name) for name in names] == [True, True, True, False, False, False]


# The segment of a time.


@st.composite
def divisions(draw: st.DrawFn, *, overlapping: bool) -> Division:
    hours = draw(st.lists(st.integers(-60, 60), max_size=8, unique=True).map(sorted))
    spans = draw(st.lists(st.integers(1, 40), min_size=len(hours), max_size=len(hours)))
    segments: list[Segment] = []
    for start, span in zip(hours, spans, strict=True):
        segment = Segment(start * HOUR, (start + span) * HOUR)
        if overlapping or not any(segment.overlaps(*other) for other in segments):
            segments.append(segment)
    dropped = draw(st.none() | st.integers(-60, 60).map(lambda hour: hour * HOUR))
    return Division(segments, draw(intervals), dropped)


def segment_of(time: int, division: Division, span: int, cut: int | None) -> Segment:
    """What `Division.at` is to return, the long way round."""
    covering = [segment for segment in division.segments if segment.start <= time < segment.end]
    if covering:
        return max(covering)
    start = time // span * span
    bounds = {bound for segment in division.segments for bound in segment} | ({cut} - {None})
    below = [bound for bound in bounds if start < bound <= time]
    above = [bound for bound in bounds if time < bound < start + span]
    return Segment(max(below, default=start), min(above, default=start + span))


@given(st.data(), divisions(overlapping=True), st.lists(times, max_size=40))
def test_every_time_has_one_segment(data: Any, division: Division, given: list[int]) -> None:
    """Existing segments win; else it is the interval's cell, cut to the gap; for many times at once as for one."""
    wanted = [segment_of(time, division, division._span, division._cut) for time in given]
    assert [division.at(time) for time in given] == wanted
    segments, places = division.locate(np.array(given, np.int64))
    assert [segments[place] for place in ([0] * len(given) if places is None else places)] == wanted


@given(divisions(overlapping=False), st.lists(times, max_size=20))
def test_new_segments_never_overlap(division: Division, given: list[int]) -> None:
    known = {*division.segments, *(division.at(time) for time in given)}
    ordered = sorted(known)
    assert all(one.end <= other.start for one, other in itertools.pairwise(ordered))


# Through a measure.


def make(database: measurefs.Database, **settings: Any) -> Measure:
    return database.create_measure("m", entity=["host"], fields={"value": "int64"}, exist_ok=True, **settings)


def write(measure: Measure, *moments: int, value: int | None = None) -> None:
    values = [moment // HOUR if value is None else value for moment in moments]
    measure.write({"time": list(moments), "host": ["a"] * len(moments), "value": values}, durable=True)


def found(measure: Measure, **query: Any) -> list[int]:
    return [row["time"] for row in rows_of(measure, **query)]


def segments_of(fs: FileSystem) -> list[str]:
    return [entry.name for entry in fs.read_dir("m") if is_segment_name(entry.name)]


@pytest.fixture
def fs() -> MemoryFileSystem:
    return MemoryFileSystem()


@pytest.mark.parametrize("text", ["1h", "5h", "24h", "1d", "3d", "99999d"])
def test_rows_at_the_ends_of_time_and_of_segments(fs: FileSystem, text: str) -> None:
    span = interval(text).nanoseconds
    bounds = [bound for number in (-2, -1, 0, 1, 2) for bound in (number * span - 1, number * span)]
    moments = sorted({MIN, MIN + 1, MAX - 1, MAX, *(bound for bound in bounds if MIN <= bound <= MAX)})
    with measurefs.open(fs) as database:
        measure = make(database, interval=text)
        write(measure, *reversed(moments))
        assert found(measure) == moments
        assert database.verify().ok
    with measurefs.open(fs, read_only=True) as database:
        measure = database.measure("m")
        assert found(measure) == moments
        for start, end in itertools.pairwise(moments):
            assert found(measure, start=start, end=end) == [start]
    starts = {moment // span for moment in moments}
    assert len(segments_of(fs)) == len(starts)


def evolved(fs: FileSystem, before: str, after: str, moments: Iterable[int]) -> Measure:
    measure = make(measurefs.open(fs, background=False), interval=before)
    write(measure, *moments)
    measure.evolve(interval=after)
    return measure


def test_a_shorter_interval_divides_what_comes_and_leaves_what_is_there(fs: FileSystem) -> None:
    measure = evolved(fs, "1d", "6h", [0, DAY])
    write(measure, 23 * HOUR, 2 * DAY, 2 * DAY + 7 * HOUR)
    names = ["seg-19700101", "seg-19700102", "seg-1970010300+6h", "seg-1970010306+6h"]
    assert segments_of(fs) == names
    measure.evolve(interval="1d")
    write(measure, 2 * DAY + 13 * HOUR, 3 * DAY)
    assert segments_of(fs) == [*names, "seg-1970010312+12h", "seg-19700104"]
    moments = [0, 23 * HOUR, DAY, *(2 * DAY + hour * HOUR for hour in (0, 7, 13)), 3 * DAY]
    assert found(measure) == moments
    measure.close()
    with measurefs.open(fs) as database:
        write(database.measure("m"), 2 * DAY + 14 * HOUR)
        assert found(database.measure("m")) == sorted([*moments, 2 * DAY + 14 * HOUR])
        assert segments_of(fs) == [*names, "seg-1970010312+12h", "seg-19700104"]
        assert database.verify().ok


def test_a_longer_interval_fills_the_gaps(fs: FileSystem) -> None:
    measure = evolved(fs, "1h", "1d", [5 * HOUR, 7 * HOUR, 12 * HOUR])
    write(measure, 0, 6 * HOUR, 9 * HOUR, 11 * HOUR, 23 * HOUR, DAY)
    hours = ["05", "07", "12"]
    gaps = ["00+5h", "06", "08+4h", "13+11h"]
    assert segments_of(fs) == sorted(
        [*(f"seg-19700101{hour}" for hour in hours + gaps), "seg-1970010200+24h"]
    )
    assert found(measure) == [0, *(hour * HOUR for hour in (5, 6, 7, 9, 11, 12, 23, 24))]
    measure.close()


def test_a_row_written_again_after_a_change_replaces_the_one_before(fs: FileSystem) -> None:
    measure = evolved(fs, "3d", "5h", [DAY])
    write(measure, DAY, value=7)
    assert values_of(measure, "value") == [7]
    assert segments_of(fs) == ["seg-19700101"]
    measure.close()


def test_a_writer_divides_time_as_others_have(local_store: Store) -> None:
    """It learns of a new interval, and of new segments, before it makes one itself."""
    with open_store(local_store) as one, open_store(local_store) as other:
        write(make(one), 0)
        unaware = other.measure("m")
        assert found(unaware) == [0]
        one.measure("m").evolve(interval="6h")
        write(one.measure("m"), DAY)
        write(unaware, DAY + 7 * HOUR, 2 * DAY)
        names = ["19700101", "1970010200+6h", "1970010206+6h", "1970010300+6h"]
        with local_store.open() as fs:
            assert segments_of(fs) == [f"seg-{name}" for name in names]
        unaware.refresh()
        assert found(unaware) == [0, DAY, DAY + 7 * HOUR, 2 * DAY]


def test_of_overlapping_segments_the_highest_version_counts(fs: FileSystem) -> None:
    """Two processes may make such in the same moment, when the interval changes."""
    measure = make(measurefs.open(fs, background=False))
    write(measure, 7 * HOUR, 13 * HOUR, value=1)
    measure.write({"time": [8 * HOUR], "host": ["a"], "value": [5], "version": [MAX]}, durable=True)
    fs.make_dir("m/seg-1970010106+6h")
    measure.evolve(interval="6h")
    measure.refresh()
    write(measure, 7 * HOUR, 8 * HOUR, value=2)
    write(measure, 2 * DAY)
    assert segments_of(fs) == ["seg-19700101", "seg-1970010106+6h", "seg-1970010300+6h"]
    for order in ("time", "-time", "series"):
        values = values_of(measure, "value", end=DAY, order=order)
        assert values == ([2, 5, 1] if order != "-time" else [1, 5, 2])
    write(measure, 14 * HOUR, value=3)
    assert len(segments_of(fs)) == 3
    measure.close()
    with measurefs.open(fs) as database:
        assert values_of(database.measure("m"), "value", end=DAY) == [2, 5, 1, 3]
        assert database.verify().ok


def test_a_directory_that_is_none_of_the_measure_is_told_as_foreign(fs: FileSystem) -> None:
    with measurefs.open(fs) as database:
        measure = make(database)
        write(measure, 0)
        fs.make_dir("m/seg-1970010200/shard-0")
        assert found(measure) == [0]
        report = database.verify()
        assert (report.ok, report.foreign) == (True, 1)


def test_a_part_outside_the_span_of_its_segment_is_damage(fs: FileSystem) -> None:
    measure = evolved(fs, "1d", "6h", [2 * DAY])
    write(measure, 7 * HOUR)
    measure.close()
    for path, data in [
        (f"m/seg-1970010106+6h/shard-0/{entry.name}", fs.read(f"m/seg-1970010106+6h/shard-0/{entry.name}"))
        for entry in fs.read_dir("m/seg-1970010106+6h/shard-0")
    ]:
        moved = path.replace("06+6h", "12+6h")
        fs.make_dir("m/seg-1970010112+6h/shard-0", exist_ok=True)
        fs.write(moved, data)
    report = measurefs.verify(fs)
    assert [damage.reason for damage in report.damages] == ["it has rows of times outside its segment"]
    with measurefs.open(fs, read_only=True) as database:
        measure = database.measure("m")
        with pytest.raises(measurefs.CorruptionError, match="outside its segment"):
            found(measure)


# Shards.

KEYS = {"host": ["a", "b", "c", "a", "d", "e"], "port": [1, 2, 3, 1, 4, 5]}


def sharded(database: measurefs.Database) -> Measure:
    return database.create_measure(
        "s", entity={"host": "string", "port": "int64"}, fields={"v": "int64"}, shards=3
    )


@pytest.mark.parametrize(
    "data",
    [
        KEYS,
        pa.table(KEYS),
        pa.RecordBatch.from_pydict(KEYS),
        pa.table(KEYS).set_column(0, "host", pa.array(KEYS["host"]).dictionary_encode()),
        pa.table(KEYS).to_reader(2),
        pd.DataFrame(KEYS),
        pl.DataFrame(KEYS),
        [{"host": host, "port": port} for host, port in zip(*KEYS.values(), strict=True)],
        KEYS | {"time": ["when"] * 6, "unknown": [0.5] * 6},
    ],
    ids=["columns", "table", "batch", "dictionary", "reader", "pandas", "polars", "rows", "more columns"],
)
def test_the_shard_of_rows_in_any_form(fs: FileSystem, data: Any) -> None:
    with measurefs.open(fs) as database:
        measure = sharded(database)
        shards = measure.shard_of(data)
        assert (shards.dtype, shards.shape, shards[0]) == (np.int64, (6,), shards[3])
        assert set(shards.tolist()) <= {0, 1, 2}
        measure.write(KEYS | {"time": list(range(6)), "v": shards})
        for place, table in zip(measure._tables.places(), measure._tables.writers(), strict=True):
            with table.pin() as snapshot:
                values = [part.held.columns["v"].to_pylist() for part in snapshot.memory_parts]
            assert {value for part in values for value in part} == {place.shard}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"host": ["a"]}, "no column 'port'"),
        ({"host": ["a", None], "port": [1, 2]}, "'host' is null in 1 of 2 rows"),
        ({"host": ["a"], "port": ["x"]}, "'port' must be int64"),
        ("a", "cannot write a str"),
    ],
)
def test_rows_that_have_no_shard(fs: FileSystem, data: Any, message: str) -> None:
    with measurefs.open(fs) as database:
        measure = sharded(database)
        with pytest.raises(measurefs.SchemaError, match=message):
            measure.shard_of(data)
        assert measure.shard_of({"host": [], "port": []}).tolist() == []
