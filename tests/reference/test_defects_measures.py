"""Defects 30 to 36 of the system this engine descends from: shards, segments, entities, retention.

Each test is named by the defect's number and quotes it; `test_defects` checks that none is left out.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

import measurefs
from measurefs import Database, Measure, SchemaError, TableOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.table import Runtime
from measurefs.testing import CrashFileSystem, SimulatedCrash
from tests.conftest import Store
from tests.crash.stores import STORES
from tests.database.helpers import DAY, HOUR, one_row, open_store, rows_of, values_of
from tests.part.made import entity_list
from tests.table.tables import read_snapshot

MANUAL = TableOptions(flush_interval=1e9, log_bytes=0, gc_interval=1e9)


def make(db: Database, **settings: Any) -> Measure:
    return db.create_measure("m", entity=["host"], fields={"value": "int64"}, exist_ok=True, **settings)


def batch(hosts: Sequence[str], time: int, value: int) -> dict[str, list[Any]]:
    return {"time": [time] * len(hosts), "host": list(hosts), "value": [value] * len(hosts)}


def homes(measure: Measure) -> dict[str, set[str]]:
    """Which hosts have rows in which table."""
    found = {}
    for path, snapshot in measure.snapshots().items():
        with snapshot:
            rows = read_snapshot(measure._fs, snapshot)
            found[path] = {str(entity[0]) for entity in entity_list(rows)}
    return found


def segments(measure: Measure) -> list[str]:
    return sorted({path.split("/")[1] for path in measure.stats()})


def test_30_rows_of_one_batch_reach_their_own_shards(local_store: Store) -> None:
    """Rows of several shards in one batch, and one time range, all landed in the first shard's table."""
    hosts = [f"host-{number}" for number in range(64)]
    with open_store(local_store, options=MANUAL) as db:
        measure = make(db, shards=4)
        measure.write(batch(hosts, 1, 1), durable=True)
        found = homes(measure)
        assert sorted(found) == [f"m/seg-19700101/shard-{number}" for number in range(4)]
        assert all(found.values())
        assert sorted(host for there in found.values() for host in there) == sorted(hosts)
        for host in hosts:  # alone, it goes where it went among others
            measure.write(batch([host], 2, 2))
        assert homes(measure) == found


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"host": [None]}, "'host' is null"),
        ({"time": [None]}, "'time' is null"),
        ({"value": [1.5]}, "'value' must be int64"),
        ({"unknown": [1]}, "unknown column 'unknown'"),
    ],
)
def test_31_one_bad_row_costs_its_batch_and_no_other(bad: dict[str, list[Any]], message: str) -> None:
    """One bad event dropped all rows before it, leaked references, and made the next event panic."""
    with measurefs.open("memory://", options=MANUAL) as db:
        measure = make(db, shards=2)
        measure.write(batch(["a", "b"], 1, 1))
        good = batch(["a", "b", "c"], 2, 2)
        given = {name: good[name][:2] + bad.get(name, good[name][2:]) for name in good}
        given |= {name: [None, None, *values] for name, values in bad.items() if name not in good}
        with pytest.raises(SchemaError, match=message):
            measure.write(given)
        assert values_of(measure, "value") == [1, 1]
        for snapshot in measure.snapshots().values():
            with snapshot:
                assert snapshot.references == 2, "the table's and ours"
        measure.write(batch(["a", "b", "c"], 3, 3), durable=True)
        assert values_of(measure, "value") == [1, 1, 3, 3, 3]


@pytest.mark.parametrize("first", [60, 3], ids=["all shards are there", "some are missing"])
def test_32_shards_keep_their_numbers(local_store: Store, first: int) -> None:
    """Shards were numbered by the order of names: with more than ten, shard-10 took the rows of shard 2."""
    hosts = [f"host-{number}" for number in range(60)]
    with open_store(local_store, options=MANUAL) as db:
        measure = make(db, shards=12)
        measure.write(batch(hosts[:first], 1, 1))
        before = homes(measure)
    with open_store(local_store, options=MANUAL) as db:
        measure = make(db, shards=12)
        assert homes(measure) == before
        measure.write(batch(hosts, 2, 2))
        after = homes(measure)
        assert {path: after[path] & set(hosts[:first]) for path in before} == before
        assert sorted(after) == sorted(f"m/seg-19700101/shard-{number}" for number in range(12))
        assert sorted(host for there in after.values() for host in there) == sorted(hosts)
    with open_store(local_store, read_only=True) as db:
        assert homes(db.measure("m")) == after
        for number, host in enumerate(hosts):
            expected = [1, 2] if number < first else [2]
            assert values_of(db.measure("m"), "value", where={"host": host}) == expected


def test_33_a_segment_ends_where_it_always_ended(local_store: Store) -> None:
    """On reopening a segment stretched to the start of the next, and took the rows of the days between."""
    day = "seg-1970010{}".format
    with open_store(local_store, runtime=Runtime(now=lambda: 0)) as db:
        for number in (0, 4):
            make(db, ttl="3d").write(batch(["a"], number * DAY, number))
    runtime = Runtime(now=lambda: 5 * DAY)
    with open_store(local_store, runtime=runtime, background=False) as db:
        measure = make(db, ttl="3d")
        assert segments(measure) == [day(1), day(5)]
        measure.write(batch(["a"], 2 * DAY + 1, 2))
        assert segments(measure) == [day(1), day(3), day(5)]
        for path, stats in measure.stats().items():
            start = (int(path.split("/")[1][-2:]) - 1) * DAY
            assert start <= stats["min_time"] <= stats["max_time"] < start + DAY
        assert values_of(measure, "value") == [2, 4]  # those of the first day are past their time


def test_34_segments_are_those_of_utc_wherever_the_host_is(local_store: Store) -> None:
    """Segments were named and cut in local time: a host that moved, or changed its zone, shifted their bounds."""
    with open_store(local_store) as db:
        make(db).write({"time": [0, 23 * HOUR, DAY], "host": ["a"] * 3, "value": [0, 1, 24]})
        names = sorted(make(db).stats())
    assert names == ["m/seg-19700101/shard-0", "m/seg-19700102/shard-0"]
    program = (
        "import sys, time, measurefs\n"
        "with measurefs.open(sys.argv[1]) as db:\n"
        "    m = db.measure('m')\n"
        "    m.write({'time': [23 * 3600 * 10**9], 'host': ['a'], 'value': [2]}, durable=True)\n"
        "    print(*sorted(m.stats()), time.localtime(0).tm_hour)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, local_store.url],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"TZ": "XXX-14"},  # fourteen hours ahead, where 23:00 is the next day
    )
    assert ran.stdout.split() == [*names, "14"]
    with open_store(local_store, read_only=True) as db:
        rows = rows_of(db.measure("m"))
        assert [(row["time"], row["value"]) for row in rows] == [(0, 0), (23 * HOUR, 2), (DAY, 24)]


def test_35_expired_rows_are_gone_at_once_and_live_ones_are_found() -> None:
    """Expired rows showed until a nightly job; an index with a time to live of its own hid rows that were alive.

    There is no index of series beside the parts, so none can outlive or fall short of them.
    """
    now = DAY
    fs = MemoryFileSystem()
    with measurefs.open(fs, options=MANUAL, runtime=Runtime(now=lambda: now)) as db:
        measure = make(db, ttl="1d", interval="1h")
        for hour in range(24):
            measure.write(batch(["a", f"only at {hour}"], hour * HOUR, hour))
        for hour in range(26):
            now = DAY + hour * HOUR
            alive = list(range(hour, 24))
            assert values_of(measure, "value", where={"host": "a"}) == alive
            assert values_of(measure, "value", where={"host": "only at 23"}) == [23] * (hour < 24)
            assert len(rows_of(measure)) == 2 * len(alive)
            if hour == 12:
                measure.flush()


def test_36_a_row_is_found_by_its_entity_or_not_at_all() -> None:
    """Rows and their index were written one after the other: a crash between left rows that no search found."""

    def write(fs: CrashFileSystem) -> None:
        with contextlib.suppress(SimulatedCrash):
            session = STORES["measure"].open(fs)
            session.add([(number, 1, 1) for number in range(3)], None, durable=True)
            session.add([(number, 2, 2) for number in range(1, 4)], None, durable=True)
            session.close()

    rehearsal = CrashFileSystem()
    write(rehearsal)
    assert rehearsal.operations > 20
    for operation in range(1, rehearsal.operations + 1):
        fs = CrashFileSystem()
        fs.crash_at(operation)
        write(fs)
        with measurefs.open(fs.crash("all"), options=MANUAL) as db:
            if "m" not in db.measures():
                continue
            rows = rows_of(db.measure("m"), order="series")
            by_entity = [row for number in range(4) for row in rows_of(db.measure("m"), where={"id": number})]
            assert sorted(map(str, rows)) == sorted(map(str, by_entity)), f"operation {operation}"


def test_36_entities_are_in_the_part_itself() -> None:
    """A part that is copied alone can still be searched."""
    fs = MemoryFileSystem()
    with measurefs.open(fs, options=MANUAL) as db:
        make(db).write(one_row(time=1, host="a", value=1), durable=True)
        for snapshot in make(db).snapshots().values():
            with snapshot:
                (part,) = snapshot.file_parts
                assert part.metadata.sections["series.bin"].size > 0
                assert part.metadata.series == 1
