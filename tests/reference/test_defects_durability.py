"""Defects 1, 2 and 6 to 19 of the system this engine descends from: crashes, files, locks, loops. None happens here.

Each test is named by the defect's number and quotes it; `test_defects` checks that none is left out.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import measurefs
from measurefs import (
    ClosedError,
    CorruptionError,
    Database,
    LockError,
    Measure,
    MeasureFSError,
    PartOptions,
    TableOptions,
    TsTable,
)
from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import WriteError, walk
from measurefs.table import Background
from measurefs.table.repair import repair_table
from measurefs.testing import CrashFileSystem, Fault, FaultFileSystem, SimulatedCrash
from tests.conftest import Store
from tests.database.helpers import DAY, files_of, one_row, open_store, rows_of, values_of
from tests.part.made import COMPACT, WIDE
from tests.table.tables import (
    batch,
    contents,
    grow,
    names_in,
    one,
    ones,
    open_table,
    parts_in,
    snapshots_in,
    stored,
    until,
)

kinds = pytest.mark.parametrize("compact_bytes", [COMPACT, WIDE], ids=["compact", "wide"])
TABLES = 200
"""As many as the original was tried with."""


@pytest.fixture(params=["local_store", "memory_store"])
def store(request: pytest.FixtureRequest) -> Store:
    """A place on disk, and one in memory."""
    found: Store = request.getfixturevalue(request.param)
    return found


def make(db: Database) -> Measure:
    return db.create_measure("cpu", entity=["host"], fields={"usage": "int64"}, exist_ok=True)


def row(number: int) -> dict[str, list[object]]:
    return dict(one_row(time=number, host="a", usage=number))


def flush_crashing_at(operation: int, compact_bytes: int) -> CrashFileSystem:
    """Make row 1 durable, add row 2, and stop the machine at an operation of its flush."""
    fs = CrashFileSystem()
    grow(fs, 1)
    table = open_table(fs, part=PartOptions(compact_bytes=compact_bytes))
    table.add(one(2))
    fs.crash_at(fs.operations + operation)
    with contextlib.suppress(SimulatedCrash):
        table.flush()
    return fs


def test_01_a_graceful_close_never_makes_the_table_unopenable() -> None:
    """Close, racing the flusher, left a part that no snapshot named, and opening panicked: 107 of 200 tables."""
    chance = random.Random(1)
    for number in range(TABLES):
        fs, background, pause = MemoryFileSystem(), Background(), chance.uniform(0, 0.0018)
        with open_table(fs, background=background, flush_interval=0.0005) as table:
            table.add(one(1))
            table.flush()
            table.add(one(2))
            time.sleep(pause)  # not for anything to happen: it is what is tried
        background.close()
        with open_table(fs) as again:
            assert contents(again) == ones(1, 2), f"table {number}, closed after {pause} s"
            again.add(one(3))
    assert stored(fs) == ones(1, 2, 3)


@kinds
def test_01_nor_does_a_kill_between_the_part_and_its_snapshot(compact_bytes: int) -> None:
    """The same came of a kill between the flush of a part and its snapshot."""
    for operation in range(1, 100):
        fs = flush_crashing_at(operation, compact_bytes)
        for survivors in ("none", "all", *range(8)) if fs.crashed else ():
            found = fs.crash(survivors)
            assert stored(found) in (ones(1), ones(1, 2)), f"operation {operation}"
            with open_table(found) as table:
                table.add(one(3))
                table.flush()
                table.gc()
            assert stored(found) in (ones(1, 3), ones(1, 2, 3)), f"operation {operation}"
        if not fs.crashed:
            assert operation > 3
            return
    pytest.fail("the flush never came to an end")


def test_02_close_loses_no_write() -> None:
    """Close did not flush: after a first write and Close 161 of 200 tables came back empty."""
    for number in range(TABLES):
        fs = MemoryFileSystem()
        with open_table(fs) as table:
            table.add(one(number))
        assert stored(fs) == ones(number)


def test_02_nor_does_closing_a_database(store: Store) -> None:
    """It is the same for who never asked for durability at all."""
    with open_store(store) as db:
        make(db).write(row(1))
    with open_store(store, read_only=True) as db:
        assert values_of(db.measure("cpu"), "usage") == [1]


@pytest.mark.parametrize("share", [0.0, 0.5], ids=["empty", "half"])
def test_06_a_torn_snapshot_never_bricks_the_table(local_store: Store, share: float) -> None:
    """A snapshot was written in place; half of one, or an empty one, panicked at open, with none to fall back on."""
    with local_store.open() as fs:
        grow(fs, 1, 2, 3)
        newest = Path(local_store.url, "t", snapshots_in(fs)[-1])
        whole = newest.read_bytes()
        newest.write_bytes(whole[: int(len(whole) * share)])
        for read_only in (
            True,
            False,
        ):  # which no crash leaves here; to serve the one before would lose row 3
            with pytest.raises(CorruptionError, match=f"{newest.name}.*measurefs repair"):
                open_table(fs, read_only=read_only)
        assert repair_table(fs, "t", time.time_ns, apply=True).complete
        assert stored(fs) == ones(1, 2, 3)
        with open_table(fs) as table:
            table.add(one(4))
        assert stored(fs) == ones(1, 2, 3, 4)


def test_06_if_all_snapshots_are_torn_nothing_is_deleted(local_store: Store) -> None:
    """Where all of them failed, a later release deleted every part."""
    with local_store.open() as fs:
        grow(fs, 1, 2)
        for name in snapshots_in(fs):
            Path(local_store.url, "t", name).write_bytes(b"")
        before = files_of(fs)
        for read_only in (True, False):
            with pytest.raises(CorruptionError, match="2 parts but no readable snapshot"):
                open_table(fs, read_only=read_only)
        after = files_of(fs)
        assert {name: data for name, data in after.items() if "LOCK" not in name} == {
            name: data for name, data in before.items() if "LOCK" not in name
        }


@pytest.mark.parametrize("log_bytes", [0, 4 << 20], ids=["parts", "log"])
@kinds
def test_07_what_was_acknowledged_as_durable_survives_a_power_cut(compact_bytes: int, log_bytes: int) -> None:
    """Most files of a part, and the snapshot, were never synced: a power cut left empty files, and a panic loop."""
    fs = CrashFileSystem()
    part = PartOptions(compact_bytes=compact_bytes)
    options = TableOptions(flush_interval=1e9, log_bytes=log_bytes, part=part)
    with measurefs.open(fs, options=options) as db:
        measure = make(db)
        for number in range(1, 4):
            measure.write(row(number), durable=True)
            assert fs.unsynced() == []
        measure.write(row(4))
        for survivors in ("none", 1, 2, 3):
            with measurefs.open(fs.crash(survivors)) as found:
                assert values_of(found.measure("cpu"), "usage") == [1, 2, 3]


@kinds
def test_08_parts_without_a_snapshot_are_not_an_empty_table(local_store: Store, compact_bytes: int) -> None:
    """Parts but no snapshot started a silently empty table, and nobody ever reclaimed or served them."""
    with local_store.open() as fs:
        grow(fs, 1, compact_bytes=compact_bytes)
        held = {name: fs.read(f"t/{name}") for name in snapshots_in(fs)}
        for name in held:
            fs.delete_file(f"t/{name}")
        for read_only in (True, False):
            with pytest.raises(CorruptionError, match="1 parts but no readable snapshot"):
                open_table(fs, read_only=read_only)
        for name, data in held.items():
            fs.write(f"t/{name}", data)
        assert stored(fs) == ones(1)


@kinds
def test_09_a_missing_part_is_never_silently_fewer_rows(local_store: Store, compact_bytes: int) -> None:
    """A part that the snapshot named and that was gone meant fewer rows, and no word of it."""
    with local_store.open() as fs:
        grow(fs, 1, 2, compact_bytes=compact_bytes)
        missing = parts_in(fs)[0]
        fs.must_rm_all(f"t/{missing}")
        for read_only in (True, False):
            with pytest.raises(CorruptionError, match=f"{missing}.*1 rows.*missing"):
                open_table(fs, read_only=read_only)


def test_10_a_half_made_part_is_garbage(local_store: Store) -> None:
    """A part's directory without its metadata, from a crash in the midst of a flush, panicked at open."""
    with local_store.open() as fs:
        grow(fs, 1, 2, compact_bytes=WIDE)
        whole = parts_in(fs)[0]
        half = "00000f0000000001"
        fs.make_dir(f"t/{half}")
        for path in list(walk(fs, f"t/{whole}")):
            if not path.endswith("metadata.json"):
                fs.write(path.replace(whole, half), fs.read(path))
        assert stored(fs) == ones(1, 2)
        with open_table(fs) as table:
            assert contents(table) == ones(1, 2)
            assert half in table.gc()
        assert half not in names_in(fs)


def test_11_leftovers_of_the_next_number_are_not_in_the_way(local_store: Store) -> None:
    """A directory with the next part's id killed the process: "directory is exist"."""
    with local_store.open() as fs:
        grow(fs, 1)
        last = int(snapshots_in(fs)[-1][:16], 16)
        for number in range(last + 1, last + 20):
            fs.make_dir(f"t/{number:016x}")
        grow(fs, 2, 3, compact_bytes=WIDE)
        assert stored(fs) == ones(1, 2, 3)


def test_11_nor_are_half_made_segments(local_store: Store) -> None:
    """A half-made segment directory made every write into it fail."""
    with open_store(local_store) as db, local_store.open() as fs:
        make(db)
        fs.make_dir("cpu/seg-19700101")
        fs.make_dir("cpu/seg-19700102/shard-0")
        fs.make_dir("cpu/seg-19700103/shard-0/0000010000000001")
    with open_store(local_store) as db:
        measure = make(db)
        assert rows_of(measure, end=2 * DAY) == []
        for day in range(2):
            measure.write(one_row(time=day * DAY, host="a", usage=day), durable=True)
        with pytest.raises(CorruptionError, match=r"seg-19700103/shard-0.*1 parts but no"):
            measure.write(
                one_row(time=2 * DAY, host="a", usage=2)
            )  # no crash leaves it: the first commit is empty
        assert values_of(measure, "usage", end=2 * DAY) == [0, 1]


def test_12_no_rows_are_no_part(store: Store) -> None:
    """A part without rows was named in the snapshot and never written: missing after reopening."""
    empty: list[dict[str, list[object]]] = [{}, {"time": [], "host": [], "usage": []}]
    with open_store(store) as db:
        for data in (*empty, []):
            assert make(db).write(data, durable=True) == 0
        make(db).write(row(1), durable=True)
        for data in empty:
            assert make(db).write(data, durable=True) == 0
        make(db).flush()
        (stats,) = make(db).stats().values()
        assert (stats["file_parts"], stats["memory_parts"], stats["rows"]) == (1, 0, 1)
    with open_store(store) as db:
        assert values_of(make(db), "usage") == [1]


def test_12_nor_is_an_empty_batch_of_a_table() -> None:
    """The table below answers the same."""
    fs = MemoryFileSystem()
    with open_table(fs) as table:
        table.add(batch([], [], []))
        table.flush()
        assert parts_in(fs) == []
    assert stored(fs) == {}


def test_13_a_table_has_one_writer(store: Store) -> None:
    """No table had a lock: two handles opened the same directory, and neither complained."""
    with open_store(store) as first, open_store(store) as second:
        make(first).write(row(1), durable=True)
        with pytest.raises(LockError, match=f"held by process {os.getpid()} on"):
            make(second).write(row(2))
        make(first).write(row(3))
    with open_store(store, read_only=True) as db:
        assert values_of(db.measure("cpu"), "usage") == [1, 3]


@pytest.fixture
def handles() -> Callable[[], int]:
    """Counts the files this process holds open."""
    process = psutil.Process()
    return process.num_handles if os.name == "nt" else process.num_fds


def test_14_a_refused_lock_harms_nobody(local_store: Store, handles: Callable[[], int]) -> None:
    """A lock file was emptied before it was locked: refusal wiped the owner's content and leaked a handle."""
    with local_store.open() as fs:
        fs.make_dir("t")
        with fs.create_lock_file("t/LOCK") as lock:
            content, before = Path(local_store.url, "t/LOCK").read_bytes(), handles()
            for _ in range(20):
                with pytest.raises(LockError):
                    fs.create_lock_file("t/LOCK")
            assert Path(local_store.url, "t/LOCK").read_bytes() == content
            assert handles() <= before  # fewer, if something of another test is let go meanwhile
            lock.check()


def test_15_two_hundred_writes_leave_no_file_open(local_store: Store, handles: Callable[[], int]) -> None:
    """The handle of each snapshot's lock was never closed: 382 open files after 200 writes."""
    with open_store(local_store) as db:
        measure = make(db)
        measure.write(row(0), durable=True)
        before = handles()
        for number in range(1, 201):
            measure.write(row(number), durable=True)
        until(lambda: handles() <= before)  # once no merge is under way
        here = os.path.realpath(local_store.url)

        def held() -> list[str]:
            paths = [each.path for each in psutil.Process().open_files()]
            return [os.path.basename(path) for path in paths if path.startswith(here)]

        until(lambda: held() == ["LOCK"])
    left = [each.path for each in psutil.Process().open_files() if each.path.startswith(here)]
    assert left == []


def test_16_every_file_is_collected_once() -> None:
    """The collector forgot what it had removed: after 200 writes it removed 382 snapshots again in every round."""
    fs = CrashFileSystem(keep_trace=True)
    with open_table(fs, keep_snapshots=1) as table:
        for number in range(TABLES):
            table.add(one(number))
            table.flush()
            table.gc()
            assert len(snapshots_in(fs)) == 1
        removed = [path for operation, path in fs.trace if operation in {"delete_file", "must_rm_all"}]
        assert len(removed) == len(set(removed)) == TABLES
        operations = fs.operations
        assert table.gc() == []
        assert fs.operations == operations, "there was nothing to do, and something was done"
        assert contents(table) == ones(*range(TABLES))


def test_17_a_full_disk_is_no_panic() -> None:
    """Every failure in a background loop, a full disk for one, ended the process."""
    fs = FaultFileSystem(MemoryFileSystem())
    with measurefs.open(fs, options=TableOptions(flush_interval=0.001)) as db:
        measure = make(db)
        measure.write(row(1), durable=True)
        fs.add(Fault("write*|make_dir|file.write", error="disk full", times=None))
        measure.write(row(2))
        until(lambda: next(iter(measure.stats().values()))["background_failures"] > 1)
        (stats,) = measure.stats().values()
        assert "No space left" in stats["last_error"]
        assert values_of(measure, "usage") == [1, 2]
        with pytest.raises(MeasureFSError, match="No space left"):
            measure.write(row(3), durable=True)
        assert values_of(measure, "usage") == [1, 2, 3]
        fs.heal()
        measure.flush()
    with measurefs.open(fs.innermost, read_only=True) as db:
        assert values_of(db.measure("cpu"), "usage") == [1, 2, 3]


@pytest.mark.parametrize("name", ["not a part", "123", "0000010000000001.bak", "lost+found"])
def test_18_directories_of_others_are_left_alone(local_store: Store, name: str) -> None:
    """Unknown directories were removed at every open: in vain if not empty, later with all that was in them."""
    with open_store(local_store) as db:
        make(db).write(row(1))
    with local_store.open() as fs:
        places = ("", "cpu/", "cpu/seg-19700101/", "cpu/seg-19700101/shard-0/")
        for below in (f"{place}{name}" for place in places):
            fs.make_dir(below)
            fs.write(f"{below}/mine", b"mine")
        for number in range(2, 4):
            with open_store(local_store, options=TableOptions(gc_grace=0.0)) as db:
                measure = make(db)
                measure.write(row(number), durable=True)
                assert not any(name in path for path in measure.gc())
                assert len(rows_of(measure)) == number
        found = {path for path in walk(fs, "") if path.endswith("/mine")}
        assert found == {f"{place}{name}/mine" for place in places}


def write_until_closed(table: TsTable, first: int, taken: set[int], started: threading.Barrier) -> None:
    started.wait()
    with contextlib.suppress(ClosedError):
        for number in range(first, first + 1_000_000):
            table.add(one(number))
            taken.add(number)


def test_19_closing_mixes_and_drops_no_part() -> None:
    """Closing returned introductions to a pool while the introducer still used them: parts dropped, or mixed up."""
    for _ in range(10):
        fs, background = MemoryFileSystem(), Background()
        table = open_table(fs, background=background, flush_interval=0.001)
        taken: list[set[int]] = [set() for _ in range(3)]
        started = threading.Barrier(len(taken) + 1)
        threads = [
            threading.Thread(target=write_until_closed, args=(table, 1_000_000 * place, numbers, started))
            for place, numbers in enumerate(taken)
        ]
        for thread in threads:
            thread.start()
        started.wait()
        until(lambda taken=taken: all(taken))
        table.close()
        for thread in threads:
            thread.join()
        background.close()
        assert stored(fs) == ones(*set().union(*taken))


def test_19_a_failed_flush_holds_on_to_nothing() -> None:
    """A flusher that returned early kept its reference to the snapshot, and files open for ever."""
    fs = FaultFileSystem(MemoryFileSystem())
    with open_table(fs, keep_snapshots=1) as table:
        for number in range(1, 6):
            table.add(one(number))
            fs.add(Fault("write", "*.snp" if number % 2 else "*.part"))
            with pytest.raises(WriteError):
                table.flush()
            with table.pin() as snapshot:
                assert snapshot.references == 2, "the table's and ours"
        table.flush()
        table.gc()
        assert len(snapshots_in(fs)) == 1
        with table.pin() as snapshot:
            assert sorted(parts_in(fs)) == sorted(part.metadata.name for part in snapshot.file_parts)
