"""Rows that are past their time to live: hidden at once, not stored, and whole segments of them removed."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import measurefs
from measurefs import Database, FileSystem, Measure, TableOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.database.database import _open_databases
from measurefs.database.retention import expired, expired_before, next_expiry, with_dropped
from measurefs.database.schema import MeasureSchema, make_schema
from measurefs.database.segments import Segment, is_segment_name
from measurefs.query import QueryResult
from measurefs.table import Runtime
from measurefs.testing import CrashFileSystem, Fault, FaultFileSystem, SimulatedCrash
from tests.conftest import Store
from tests.database.helpers import DAY, HOUR, numbered, open_store

GRACE = 60.0


@dataclasses.dataclass
class World:
    """A clock that only tests move: seconds for some, nanoseconds since 1970 for others."""

    now: int = 0

    def runtime(self) -> Runtime:
        return Runtime(now=lambda: self.now, monotonic=lambda: self.now / 1e9)

    def wait(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def fs() -> FaultFileSystem:
    return FaultFileSystem(MemoryFileSystem())


def opened(fs: FileSystem, world: World, gc_interval: float = 30.0, **settings: Any) -> Database:
    options = TableOptions(gc_grace=GRACE, gc_interval=gc_interval)
    database = measurefs.open(fs, options=options, runtime=world.runtime(), background=False, **settings)
    _open_databases.discard(database)  # its clock stands still: nothing is to be done at the end of the tests
    return database


def make(database: Database, ttl: str | None = "2d", **settings: Any) -> Measure:
    return database.create_measure(
        "m", entity=["host"], fields={"value": "int64"}, ttl=ttl, exist_ok=True, **settings
    )


def write(measure: Measure, *times: int, host: str = "a") -> int:
    values = [time // HOUR for time in times]
    return measure.write({"time": list(times), "host": [host] * len(times), "value": values}, durable=True)


def times_of(result: QueryResult) -> list[int]:
    return list(numbered(result.to_arrow())["time"].to_pylist())


def found(measure: Measure, **query: Any) -> list[int]:
    with measure.query(**query) as result:
        return times_of(result)


def days(fs: FileSystem) -> list[int]:
    names = [entry.name for entry in fs.read_dir("m") if is_segment_name(entry.name)]
    return [int(name[-2:]) for name in names]


# What is decided.


def schema(ttl: str | None, dropped: int | None = None) -> MeasureSchema:
    made = make_schema("m", ["host"], None, None, "1d", ttl, 1)
    return MeasureSchema(
        **{name: getattr(made, name) for name in made.__struct_fields__} | {"dropped_before": dropped}
    )


SEGMENTS = [Segment(day * DAY, (day + 1) * DAY) for day in range(-2, 4)]


@pytest.mark.parametrize(
    ("now", "ttl", "dropped", "gone"),
    [
        (3 * DAY, "2d", None, 3),
        (3 * DAY - 1, "2d", None, 2),
        (3 * DAY + 1, "2d", None, 3),
        (3 * DAY, None, None, 0),
        (3 * DAY, None, DAY, 3),
        (-9 * DAY, "2d", DAY, 3),
        (3 * DAY, "2d", 2 * DAY, 4),
        (3 * DAY, "99999d", None, 0),
        (2**63 - 1, "1h", None, 6),
    ],
)
def test_a_segment_expires_with_its_last_row(
    now: int, ttl: str | None, dropped: int | None, gone: int
) -> None:
    assert expired(reversed(SEGMENTS), schema(ttl, dropped), now) == SEGMENTS[:gone]


@given(
    st.integers(-(2**63), 2**63 - 1),
    st.none() | st.integers(1, 99999).map(lambda hours: f"{hours}h"),
    st.none() | st.integers(-9, 9).map(lambda day: day * DAY),
)
def test_what_was_dropped_stays_so(now: int, ttl: str | None, dropped: int | None) -> None:
    before = schema(ttl, dropped)
    after = with_dropped(before, SEGMENTS, now)
    lowest = -(2**63) - 1
    bounds = [lowest if bound is None else bound for bound in (dropped, after.dropped_before)]
    assert bounds[0] <= bounds[1]
    gone = expired(SEGMENTS, before, now)
    assert all(segment.end <= bounds[1] for segment in gone)
    assert expired_before(after, now) == expired_before(before, now)
    assert expired(SEGMENTS, schema(None, after.dropped_before), -(2**63)) == gone
    assert with_dropped(after, SEGMENTS, now) == after


def test_the_next_to_expire_says_when() -> None:
    assert next_expiry(SEGMENTS, schema("2d"), 3 * DAY) == 24 * 3600.0
    assert next_expiry(SEGMENTS, schema("2d"), 4 * DAY - HOUR) == 3600.0
    assert next_expiry([], schema("2d"), 0) == next_expiry(SEGMENTS, schema(None), 0) == 3600.0


# Through a measure.


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_a_year_of_hours_keeps_thirty_days(request: pytest.FixtureRequest, world: World, kind: str) -> None:
    store: Store = request.getfixturevalue(f"{kind}_store")
    sizes = set()
    with store.open() as fs, contextlib.closing(opened(fs, world, gc_interval=1e9)) as database:
        measure = make(database, "30d")
        for hour in range(24, 365 * 24 + 1 if kind == "memory" else 35 * 24 + 1, 24):
            world.now = hour * HOUR
            times = [(hour - before) * HOUR for before in range(24)]
            values = [time // HOUR for time in times]
            rows = {"time": times, "host": ["a"] * 24, "value": values}
            assert measure.write(rows, durable=True) == 24
            database.step()
            world.wait(GRACE)
            database.step()
            if hour >= 32 * 24:
                sizes.add(len(days(fs)))
            if hour % 240 == 0:
                oldest = -((30 * DAY - world.now) // HOUR)
                known = range(max(oldest, 1), hour + 1)
                assert found(measure, columns=["time"]) == [number * HOUR for number in known]
    assert sizes
    assert sizes <= {30, 31}


def test_expired_rows_are_neither_found_nor_stored(fs: FileSystem, world: World) -> None:
    measure = make(opened(fs, world))
    world.now = 10 * DAY
    assert write(measure, 8 * DAY - 1, 8 * DAY, 20 * DAY, 0) == 2
    assert write(measure, 8 * DAY - 1) == 0
    assert found(measure) == [8 * DAY, 20 * DAY]
    assert days(fs) == [9, 21]
    world.now += 1
    assert found(measure) == [20 * DAY]
    world.now = 30 * DAY
    assert found(measure, start=0, end=40 * DAY) == []
    measure.close()


def test_files_go_after_the_grace_and_the_table_is_forgotten(fs: FileSystem, world: World) -> None:
    database = opened(fs, world)
    measure = make(database, shards=2)
    for host in "abcd":
        write(measure, 0, DAY, host=host)
    world.now = 3 * DAY - 1
    database.step()
    assert len(measure.stats()) == 4
    world.now += 1
    database.step()
    assert [path.split("/")[1] for path in measure.stats()] == ["seg-19700102"] * 2
    assert days(fs) == [1, 2]
    assert write(measure, 12 * HOUR) == 0
    world.wait(GRACE - 1)
    assert measure.gc() == []
    world.wait(1)
    assert measure.gc() == ["m/seg-19700101"]
    assert days(fs) == [2]
    assert found(measure) == []
    fs.make_dir("m/seg-19700101/shard-0")
    fs.create_lock_file("m/seg-19700101/shard-0/LOCK").close()  # nobody has it any more
    database.close()


def test_a_result_that_was_made_before_reads_on(fs: FileSystem, world: World) -> None:
    measure = make(opened(fs, world))
    write(measure, 0, 1, 2)
    made = measure.query()
    world.now = 4 * DAY
    measure.gc()
    world.wait(100 * GRACE)
    assert measure.gc() == []
    assert found(measure) == []
    assert times_of(made) == [0, 1, 2]
    made.close()
    assert measure.gc() == ["m/seg-19700101"]
    measure.close()


def test_a_result_of_a_measure_that_only_reads_the_segment_keeps_it(fs: FileSystem, world: World) -> None:
    with contextlib.closing(opened(fs, world)) as database:
        write(make(database), 0)
    measure = opened(fs, world).measure("m")
    result = measure.query()
    world.now = 4 * DAY
    measure.gc()
    write(measure, 4 * DAY)
    world.wait(GRACE)
    assert measure.gc() == []
    assert times_of(result) == [0]
    result.close()
    assert measure.gc() == ["m/seg-19700101"]
    assert found(measure) == [4 * DAY]
    measure.close()


def test_a_clock_that_goes_back_brings_nothing_back(fs: FileSystem, world: World) -> None:
    measure = make(opened(fs, world))
    write(measure, 0, 25 * HOUR)
    world.now = 3 * DAY
    measure.gc()
    world.now = 0
    assert found(measure) == [25 * HOUR]
    assert write(measure, 1) == 0
    measure.close()
    measure = opened(fs, world).measure("m")
    assert found(measure) == [25 * HOUR]
    assert write(measure, DAY - 1, DAY) == 1
    assert found(measure) == [DAY, 25 * HOUR]
    assert days(fs) == [1, 2]
    world.wait(GRACE)
    measure.gc()  # nothing tells it since when the segment has been dropped: the grace begins
    assert days(fs) == [1, 2]
    world.wait(GRACE)
    assert "m/seg-19700101" in measure.gc()
    measure.close()


def test_the_ttl_may_change(fs: FileSystem, world: World) -> None:
    measure = make(opened(fs, world), None)
    write(measure, *(day * DAY for day in range(10)))
    world.now = 10 * DAY
    assert measure.step() > 0
    assert len(found(measure)) == 10
    measure.evolve(ttl="4d")
    assert found(measure) == [day * DAY for day in range(6, 10)]
    measure.evolve(ttl="8d")
    assert found(measure) == [day * DAY for day in range(2, 10)]  # nothing was dropped yet
    measure.step()
    measure.evolve(ttl=None)
    assert found(measure) == [day * DAY for day in range(2, 10)]
    assert write(measure, DAY, 2 * DAY - 1, 2 * DAY + 1) == 1
    world.wait(GRACE)
    measure.step()
    assert days(fs) == list(range(3, 11))
    measure.evolve(ttl="6d")
    measure.step()
    world.wait(GRACE)
    measure.step()
    assert days(fs) == list(range(5, 11))
    assert make(opened(fs, world, read_only=False), "6d").schema.dropped_before == 4 * DAY
    measure.close()


def test_a_longer_ttl_that_another_process_has_set_saves_its_rows(local_store: Store, world: World) -> None:
    with open_store(local_store, background=False, runtime=world.runtime()) as unaware:
        measure = make(unaware)
        write(measure, 0)
        with open_store(local_store, background=False, runtime=world.runtime()) as other:
            other.measure("m").evolve(ttl="9d")
        world.now = 3 * DAY
        unaware.step()
        assert found(measure) == [0]
        assert measure.schema.ttl == "9d"


def test_a_segment_that_another_process_writes_to_is_left_to_it(local_store: Store, world: World) -> None:
    with local_store.open() as one, local_store.open() as two:
        writer, other = make(opened(one, world)), make(opened(two, world))
        write(writer, 0)
        write(other, DAY)
        world.now = 3 * DAY
        other.gc()
        world.wait(GRACE)
        assert other.gc() == []
        assert (days(one), other.schema.dropped_before) == ([1, 2], None)
        world.now = 4 * DAY
        other.gc()
        world.wait(GRACE)
        assert other.gc() == ["m/seg-19700102"]
        assert found(writer) == []
        writer.gc()
        world.wait(GRACE)
        assert writer.gc() == ["m/seg-19700101"]
        for measure in (writer, other):
            measure.refresh()
            assert measure.stats() == {}
            measure.close()


def test_shards_of_several_processes_go_when_each_has_removed_its_own(
    local_store: Store, world: World
) -> None:
    with local_store.open() as one, local_store.open() as two:
        measures = [make(opened(fs, world), shards=2) for fs in (one, two)]
        owners = measures[0].shard_of({"host": ["a", "b", "c", "d"]}).tolist()
        write(measures[1], 0, DAY, host="abcd"[owners.index(1)])
        result = measures[1].query()
        write(measures[0], 0, DAY, host="abcd"[owners.index(0)])
        world.now = 3 * DAY
        measures[0].gc()
        assert measures[0].schema.dropped_before == DAY
        measures[1].refresh()
        assert found(measures[1]) == [DAY, DAY]
        world.wait(GRACE)
        assert measures[0].gc() == ["m/seg-19700101/shard-0"]
        assert times_of(result) == [0, DAY]
        result.close()
        for _ in range(2):
            measures[1].gc()
            world.wait(GRACE)
        assert days(one) == [2]
        for measure in measures:
            measure.close()


def test_what_a_tag_holds_is_kept(fs: FileSystem, world: World) -> None:
    measure = make(opened(fs, world))
    write(measure, 0, 25 * HOUR)
    measure.tag("kept")
    write(measure, 1, 26 * HOUR)
    world.now = 9 * DAY
    assert found(measure) == []
    measure.gc()
    world.wait(GRACE)
    assert not any(is_segment_name(path.rpartition("/")[2]) for path in measure.gc())
    assert found(measure) == []
    assert found(measure, as_of="kept") == [0, 25 * HOUR]
    measure.untag("kept")
    for _ in range(2):
        measure.gc()
        world.wait(GRACE)
    assert days(fs) == []
    measure.close()


def test_a_reader_that_has_not_looked_since_does_not_miss_what_has_expired(
    fs: FaultFileSystem, world: World
) -> None:
    """Its own clock tells it, also while files are being removed; and when not, the schema does."""
    measure = make(opened(fs, world))
    write(measure, 0, 3 * DAY)
    reader = opened(fs, world, read_only=True).measure("m")
    unread = opened(fs, world, read_only=True).measure("m")
    unread._tables.places()
    slow = opened(fs, World(), read_only=True).measure("m")
    assert found(reader) == [0, 3 * DAY]
    world.now = 4 * DAY
    measure.gc()
    world.wait(GRACE)
    fs.add(Fault("must_rm_all", "*seg-19700101"))
    with pytest.raises(measurefs.FileSystemError):
        measure.gc()
    for name in [entry.name for entry in fs.read_dir("m/seg-19700101/shard-0") if ".snp" in entry.name]:
        fs.delete_file(f"m/seg-19700101/shard-0/{name}")  # as if it had been done in part
    assert found(reader) == found(unread) == [3 * DAY]
    slow._tables.places()
    assert found(slow) == [3 * DAY]
    assert opened(fs, world, read_only=True).verify().ok
    assert measure.gc() == ["m/seg-19700101"]
    reader.refresh()
    assert list(reader.stats()) == ["m/seg-19700104/shard-0"]
    measure.close()


def test_damage_does_not_keep_a_segment(fs: FileSystem, world: World) -> None:
    with contextlib.closing(opened(fs, world)) as database:
        write(make(database), 0)
    for entry in fs.read_dir("m/seg-19700101/shard-0"):
        if entry.name.endswith(".snp"):
            fs.write(f"m/seg-19700101/shard-0/{entry.name}", b"damaged")
    world.now = 9 * DAY
    measure = opened(fs, world).measure("m")
    assert found(measure) == []
    measure.gc()
    world.wait(GRACE)
    assert measure.gc() == ["m/seg-19700101"]
    measure.close()


def test_what_fails_is_tried_again(fs: FaultFileSystem, world: World) -> None:
    measure = make(opened(fs, world))
    write(measure, 0)
    world.now = 9 * DAY
    fs.add(Fault("write", "m/schema-*", error="disk full", times=2))
    with pytest.raises(measurefs.FileSystemError, match="schema-"):
        measure.gc()
    assert 0 < measure.step() <= 10
    world.wait(11)
    measure.step()
    assert measure.schema.dropped_before == DAY
    fs.add(Fault("must_rm_all", "*seg-19700101"))
    world.wait(GRACE)
    assert 0 < measure.step() <= 10
    assert days(fs) == [1]
    world.wait(11)
    measure.step()
    assert days(fs) == []
    measure.close()


def test_it_happens_by_itself(world: World) -> None:
    """A thread of the database's does it, and is woken by a shorter ttl."""
    removed = threading.Event()

    class Watched(FaultFileSystem):
        def must_rm_all(self, path: str) -> None:
            super().must_rm_all(path)
            if path == "m/seg-19700101":
                removed.set()

    world.now = 9 * DAY
    options = TableOptions(gc_grace=0.0)
    with measurefs.open(Watched(MemoryFileSystem()), options=options, runtime=world.runtime()) as database:
        measure = make(database, None)
        write(measure, 0, 8 * DAY)
        measure.evolve(ttl="2d")
        assert removed.wait(60)
        assert found(measure) == [8 * DAY]


def test_rows_in_memory_that_expire_do_not_trouble_a_flush(fs: FaultFileSystem, world: World) -> None:
    measure = make(opened(fs, world))
    measure.write({"time": [0], "host": ["a"], "value": [0]})
    world.now = 9 * DAY
    measure.gc()
    fs.add(Fault("write", "m/seg-19700101/*", error="disk full", times=None))
    measure.write({"time": [9 * DAY], "host": ["a"], "value": [0]}, durable=True)
    measure.flush()
    assert measure.rows_at_risk() == 0
    measure.close()


def test_on_s3(s3_store: Store, world: World) -> None:
    with s3_store.open() as fs:
        with contextlib.closing(opened(fs, world)) as database:
            measure = make(database)
            write(measure, 0, 3 * DAY)
            world.now = 4 * DAY
            measure.gc()
        world.wait(GRACE)
        with contextlib.closing(opened(fs, world)) as database:
            measure = database.measure("m")
            database.step()  # what the process before had begun
            assert days(fs) == [4]
            assert found(measure) == [3 * DAY]


# Crashes.


@contextlib.contextmanager
def process(fs: CrashFileSystem, world: World) -> Iterator[Measure]:
    """One that dies with its machine."""
    database = opened(fs, world)
    yield database.measure("m")
    database.close()


def prepared() -> CrashFileSystem:
    fs = CrashFileSystem(keep_trace=True)
    database = opened(fs, World())
    measure = make(database, shards=2)
    for host in "abcd":
        write(measure, 0, DAY, 5 * DAY, host=host)
    database.close()
    return fs


def retire(fs: CrashFileSystem, world: World) -> None:
    """Drop and remove two segments, while rows are written that stay."""
    with process(fs, world) as measure:
        write(measure, 5 * DAY + 1)
        measure.gc()
        world.wait(GRACE)
        write(measure, 5 * DAY + 2)
        measure.gc()


KEPT = sorted([5 * DAY] * 4)


def operations() -> int:
    fs = prepared()
    before = fs.operations
    retire(fs, World(6 * DAY))
    assert days(fs) == [6]
    return fs.operations - before


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_operation_leaves_all_that_has_not_expired(after: bool) -> None:
    base = prepared()
    count = operations()
    assert count > 10
    for number in range(1, count + 1):
        fs = base.crash("all")
        fs.crash_at(fs.operations + number, after=after)
        with contextlib.suppress(SimulatedCrash):
            retire(fs, World(6 * DAY))
        assert fs.crashed
        survivors = "none" if after else number
        check(fs.crash(survivors), f"operation {number} ({fs.trace[-1]}), survivors {survivors}")


def check(fs: CrashFileSystem, where: str) -> None:
    world = World(6 * DAY + 2 * round(GRACE * 1e9))
    assert opened(fs, world, read_only=True).verify().ok, where
    reader = opened(fs, world, read_only=True).measure("m")
    times = found(reader)
    assert [time for time in times if time not in (5 * DAY + 1, 5 * DAY + 2)] == KEPT, where
    with process(fs, world) as measure:
        write(measure, 5 * DAY + 3)
        for _ in range(2):
            measure.gc()
            world.wait(GRACE)
        assert days(fs) == [6], where
        assert set(found(measure)) == {*times, 5 * DAY + 3}, where
    assert days(fs.crash("none")) == [6], where


def test_what_a_zombie_leaves_is_swept(world: World) -> None:
    """A stalled process writes on when the segment is long gone."""
    fs = MemoryFileSystem()
    measure = make(opened(fs, world))
    write(measure, 0)
    world.now = 9 * DAY
    measure.gc()
    world.wait(GRACE)
    assert measure.gc() == ["m/seg-19700101"]
    fs.make_dir("m/seg-19700101/shard-0")
    fs.write("m/seg-19700101/shard-0/0000010000000009.part", b"late")
    assert found(measure) == []
    reader = opened(fs, world, read_only=True).measure("m")
    assert found(reader) == []
    measure.gc()
    world.wait(GRACE)
    assert measure.gc() == ["m/seg-19700101"]
    measure.close()
