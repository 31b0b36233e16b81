"""Repairing a table: it opens again with all that can be read, nothing is deleted, and a crash does no harm."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

import msgspec
import pytest

from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec.sealed import seal, unseal
from measurefs.fs import (
    CorruptionError,
    FileSystem,
    FlushError,
    LockError,
    ReadOnlyFileSystem,
    WriteError,
    walk,
)
from measurefs.table.epochs import snapshot_name
from measurefs.table.repair import RepairReport, repair_table
from measurefs.table.snapshot import SnapshotRecord
from measurefs.table.verify import verify_table
from measurefs.testing import CrashFileSystem, Fault, FaultFileSystem, SimulatedCrash
from tests.part.made import WIDE
from tests.table.damaging import contents_of_files, data_path, flip, part_path, snapshot_path
from tests.table.tables import (
    ROOT,
    Contents,
    contents,
    grow,
    kinds,
    names_in,
    one,
    ones,
    open_table,
    parts_in,
    snapshots_in,
    stored,
)


def repair(fs: FileSystem, *, apply: bool = True) -> RepairReport:
    return repair_table(fs, ROOT, lambda: 1, apply=apply)


def done(report: RepairReport) -> list[tuple[str, str]]:
    return sorted((action.what, action.path.rpartition("/")[2]) for action in report.actions)


def check_healthy(fs: FileSystem, expected: Contents) -> None:
    """The table is whole, holds what it should, takes rows, and there is nothing to repair."""
    report = verify_table(fs, ROOT)
    assert report.ok, report.damages
    assert stored(fs) == expected
    again = repair(fs)
    assert (again.actions, again.left) == ([], [])
    with open_table(fs) as table:
        table.add(one(99))
        table.flush()
        table.gc()
    assert stored(fs) == expected | ones(99)
    assert verify_table(fs, ROOT).ok


# Damages, each with what a table of the parts 1, 2, 3 holds after its repair.


def _nothing(fs: FileSystem) -> None:
    pass


def _part(fs: FileSystem) -> None:
    flip(fs, data_path(fs, 1), 5)


def _all_parts(fs: FileSystem) -> None:
    for number in range(3):
        flip(fs, data_path(fs, number), 5)


def _missing_part(fs: FileSystem) -> None:
    fs.must_rm_all(part_path(fs, 1))


def _cut_part(fs: FileSystem) -> None:
    path = data_path(fs, 0)
    fs.write(path, fs.read(path)[:9])


def _own(fs: FileSystem) -> None:
    path = part_path(fs, 1)
    path = path if path.endswith(".part") else f"{path}/metadata.json"
    flip(fs, path, len(fs.read(path)) - 30)


def _newest_snapshot(fs: FileSystem) -> None:
    flip(fs, snapshot_path(fs, -1))


def _old_snapshot(fs: FileSystem) -> None:
    flip(fs, snapshot_path(fs, 1))


def _all_snapshots(fs: FileSystem) -> None:
    for name in snapshots_in(fs):
        flip(fs, f"{ROOT}/{name}")


def _no_snapshots(fs: FileSystem) -> None:
    for name in snapshots_in(fs):
        fs.delete_file(f"{ROOT}/{name}")


def _no_snapshots_and_a_part(fs: FileSystem) -> None:
    _no_snapshots(fs)
    _part(fs)


def _newest_snapshot_and_its_part(fs: FileSystem) -> None:
    _newest_snapshot(fs)
    flip(fs, data_path(fs, 2), 5)


def _no_snapshots_and_foreign(fs: FileSystem) -> None:
    _no_snapshots(fs)
    fs.write(f"{ROOT}/README", b"mine")


DAMAGES: dict[Callable[[FileSystem], None], tuple[Contents, set[str]]] = {
    _nothing: (ones(1, 2, 3), set()),
    _part: (ones(1, 3), {"committed", "dropped", "set aside"}),
    _all_parts: ({}, {"committed", "dropped", "set aside"}),
    _missing_part: (ones(1, 3), {"committed", "dropped", "set aside"}),
    _cut_part: (ones(2, 3), {"committed", "dropped", "set aside"}),
    _own: (ones(1, 2, 3), {"mended"}),
    _newest_snapshot: (ones(1, 2, 3), {"adopted", "committed", "set aside"}),
    _old_snapshot: (ones(1, 2, 3), {"set aside"}),
    _all_snapshots: (ones(1, 2, 3), {"adopted", "committed", "set aside"}),
    _no_snapshots: (ones(1, 2, 3), {"adopted", "committed"}),
    _no_snapshots_and_a_part: (ones(1, 3), {"adopted", "committed", "set aside"}),
    _newest_snapshot_and_its_part: (ones(1, 2), {"committed", "set aside"}),
    _no_snapshots_and_foreign: (ones(1, 2, 3), {"adopted", "committed"}),
}
damages = pytest.mark.parametrize("damage", DAMAGES, ids=[each.__name__ for each in DAMAGES])


@kinds
@damages
def test_a_repaired_table_opens_with_all_that_can_be_read(
    damage: Callable[[FileSystem], None], compact_bytes: int
) -> None:
    repair_after(MemoryFileSystem(), damage, compact_bytes)


@pytest.mark.parametrize(
    ("damage", "compact_bytes"), [(_own, 8 << 20), (_newest_snapshot_and_its_part, WIDE)]
)
def test_on_every_kind_of_store(
    store_fs: FileSystem, damage: Callable[[FileSystem], None], compact_bytes: int
) -> None:
    repair_after(store_fs, damage, compact_bytes)


def repair_after(fs: FileSystem, damage: Callable[[FileSystem], None], compact_bytes: int) -> None:
    grow(fs, 1, 2, 3, compact_bytes=compact_bytes)
    damage(fs)
    before = contents_of_files(fs)
    expected, kinds_of_action = DAMAGES[damage]
    plan = repair(ReadOnlyFileSystem(fs), apply=False)
    assert contents_of_files(fs) == before
    assert {action.what for action in plan.actions} == kinds_of_action
    report = repair(fs)
    assert report.actions == plan.actions
    assert (report.applied, plan.applied, report.complete) == (True, False, True)
    assert report.found.ok == (damage is _nothing)
    check_healthy(fs, expected)


@kinds
@damages
def test_nothing_that_was_there_is_gone(damage: Callable[[FileSystem], None], compact_bytes: int) -> None:
    """Every file is where it was, or complete under the name of what was set aside."""
    fs = MemoryFileSystem()
    grow(fs, 1, 2, 3, compact_bytes=compact_bytes)
    damage(fs)
    before = contents_of_files(fs)
    repair(fs)
    assert damage is _own or kept_aside(before, contents_of_files(fs)) == []


def kept_aside(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    """The files that are neither where they were nor set aside."""
    gone = []
    for path, content in before.items():
        root, name, *rest = path.split("/")
        if content not in (after.get(path), after.get("/".join((root, f"{name}.corrupt", *rest)))):
            gone.append(path)
    return gone


def test_dropped_parts_are_told_with_rows_and_times() -> None:
    fs = MemoryFileSystem()
    grow(fs, 1, 2, 3)
    _missing_part(fs)
    (dropped,) = (action for action in repair(fs).actions if action.what == "dropped")
    assert (dropped.rows, dropped.min_time, dropped.max_time) == (1, 2, 2)


def test_a_living_writer_is_not_disturbed() -> None:
    fs = MemoryFileSystem()
    grow(fs, 1, 2)
    with open_table(fs) as table:
        assert repair(fs).actions == []  # nothing to do, so no lock
        flip(fs, part_path(fs, 0), 5)
        before = contents_of_files(fs)
        with pytest.raises(LockError):
            repair(fs)
        assert contents_of_files(fs) == before
        assert repair(fs, apply=False).actions
        table.add(one(3))
    repair(fs)
    check_healthy(fs, ones(2, 3))


def test_a_predecessor_that_comes_back_is_fenced() -> None:
    """Its commit, under way when it lost the lock, is nobody's newest afterwards."""
    fs = MemoryFileSystem()
    grow(fs, 1, 2)
    zombie = open_table(fs)
    fs.break_locks()
    flip(fs, part_path(fs, 0), 5)
    repair(fs)
    zombie.add(one(3))
    with contextlib.suppress(LockError):
        zombie.flush()
    zombie.abandon()
    assert stored(fs) == ones(2)


def test_a_predecessor_that_crashed_is_fenced_though_no_part_is_lost() -> None:
    """Whoever opens the table next finds a lock let go of in good order, and does not do it any more."""
    fs = MemoryFileSystem()
    grow(fs, 1, 2)
    zombie = open_table(fs)
    fs.break_locks()
    _old_snapshot(fs)
    repair(fs)
    with open_table(fs) as table:
        zombie.add(one(3))
        with pytest.raises(LockError):
            zombie.flush()
        assert contents(table) == stored(fs) == ones(1, 2)
    zombie.abandon()


def test_garbage_of_a_crashed_writer_stays_garbage() -> None:
    """A part that no snapshot names is taken in only where a damaged snapshot may have named it."""
    fs = MemoryFileSystem()
    grow(fs, 1, 2)
    with contextlib.suppress(Exception):
        table = open_table(FaultFileSystem(fs, Fault("write", "*.snp", times=None)))
        table.add(one(3))
        table.flush()
    table.abandon()
    assert len(parts_in(fs)) == 3
    flip(fs, part_path(fs, 0), 5)
    repair(fs)
    check_healthy(fs, ones(2))


def test_older_parts_fill_the_hole_of_a_newer_one() -> None:
    """The newest snapshot has one part for two of the one before, as after a merge, and that is damaged."""
    fs = MemoryFileSystem()
    grow(fs, 1, 2)
    old = fs.read(snapshot_path(fs, -1))
    name = snapshots_in(fs)[-1]
    with open_table(fs, keep_snapshots=100) as table:
        table.add(one(3))
        table.flush()
        table._introducer.introduce(lambda snapshot, _: snapshot.parts[2:])
        table.flush()
    assert stored(fs) == ones(3)
    assert fs.read(f"{ROOT}/{name}") == old
    flip(fs, part_path(fs, 2), 5)
    report = repair(fs)
    adopted = [action.path for action in report.actions if action.what == "adopted"]
    assert adopted == [part_path(fs, 0), part_path(fs, 1)]
    check_healthy(fs, ones(1, 2))


def test_rows_that_were_replaced_do_not_come_back() -> None:
    fs = MemoryFileSystem()
    with open_table(fs, keep_snapshots=100) as table:
        from tests.table.tables import batch

        for value in (1, 2):
            table.add(batch([1], [1], [value]))
            table.flush()
    for name in snapshots_in(fs):
        fs.delete_file(f"{ROOT}/{name}")
    repair(fs)
    assert stored(fs) == {(1, 1): 2}


@kinds
def test_what_cannot_be_read_stays_in_the_table_and_is_told(compact_bytes: int) -> None:
    fs = MemoryFileSystem()
    grow(fs, 1, 2, 3, compact_bytes=compact_bytes)
    flip(fs, data_path(fs, 0), 5)
    sick = part_path(fs, 1)
    report = repair(FaultFileSystem(fs, Fault("read_ranges", f"{sick}*", times=None)))
    assert not report.complete
    assert all(
        damage.path.startswith(sick) and "stays in the table" in damage.reason for damage in report.left
    )
    assert stored(fs) == ones(2, 3)


def test_a_snapshot_that_cannot_be_read_stops_everything() -> None:
    fs = MemoryFileSystem()
    grow(fs, 1, 2)
    flip(fs, part_path(fs, 0), 5)
    before = contents_of_files(fs)
    fault = Fault("read", "*.snp")
    report = repair(FaultFileSystem(fs, fault))
    assert (report.actions, report.complete) == ([], False)
    assert "make it readable" in report.left[0].reason
    assert contents_of_files(fs) == before


def test_a_failed_write_leaves_what_was_there() -> None:
    fs = MemoryFileSystem()
    grow(fs, 1, 2)
    flip(fs, part_path(fs, 0), 5)
    before = contents_of_files(fs)
    for operation, paths in (("create_file", "*.corrupt"), ("write", "*.snp"), ("sync_path", "*")):
        with pytest.raises(WriteError if operation != "sync_path" else FlushError):
            repair(FaultFileSystem(fs, Fault(operation, paths)))
        assert before.items() <= contents_of_files(fs).items()
    repair(fs)
    check_healthy(fs, ones(2))


def test_epochs_after_a_repair_go_on_growing_though_the_lock_file_is_gone() -> None:
    fs = MemoryFileSystem()
    for _ in range(3):
        grow(fs, 1)
    for path in list(walk(fs)):
        if "LOCK" in path:
            fs.delete_file(path)
    newest = snapshots_in(fs)[-1]
    flip(fs, part_path(fs, 0), 5)
    repair(fs)
    assert snapshots_in(fs)[-1] > newest
    record = unseal(fs.read(f"{ROOT}/{snapshots_in(fs)[-1]}"), SnapshotRecord, "")
    assert snapshot_name(record.parent) == newest
    check_healthy(fs, ones(1))


def test_snapshots_that_contradict_each_other() -> None:
    fs = MemoryFileSystem()
    grow(fs, 1, 2)
    path = snapshot_path(fs, 1)
    record = unseal(fs.read(path), SnapshotRecord, path)
    wrong = [msgspec.structs.replace(part, rows=5) for part in record.parts]
    fs.write(path, seal(msgspec.structs.replace(record, parts=wrong)))
    repair(fs)
    check_healthy(fs, ones(1, 2))
    assert f"{path}.corrupt".rpartition("/")[2] in names_in(fs)


# Crashes.


def prepared(damage: Callable[[FileSystem], None], compact_bytes: int) -> CrashFileSystem:
    fs = CrashFileSystem()
    grow(fs, 1, 2, 3, compact_bytes=compact_bytes)
    damage(fs)
    for entry in fs.read_dir(ROOT):
        if entry.is_dir:
            fs.sync_path(f"{ROOT}/{entry.name}")
    fs.sync_path(ROOT)
    return fs


def crash_and_repair(damage: Callable[[FileSystem], None], compact_bytes: int, share: slice) -> None:
    """Crash before and after operations of a repair, and repair what is left of it."""
    start = prepared(damage, compact_bytes)
    before = contents_of_files(start)
    whole = start.kill()
    repair(whole)
    points = [(at, after) for at in range(1, whole.operations + 1) for after in (False, True)]
    assert len(points) > 10
    survivors = itertools.cycle(("none", "all", 1, 2, 3))
    for at, after in points[share]:
        fs = start.kill()
        fs.crash_at(at, after=after)
        with contextlib.suppress(SimulatedCrash):
            repair(fs)
        assert fs.crashed
        found = fs.crash(next(survivors))
        repair(found)
        assert damage is _own or kept_aside(before, contents_of_files(found)) == [], (at, after)
        check_healthy(found.crash("none"), DAMAGES[damage][0])


crashing = pytest.mark.parametrize(
    "damage",
    [_part, _own, _newest_snapshot, _no_snapshots_and_a_part, _newest_snapshot_and_its_part],
    ids=lambda damage: damage.__name__,
)


@kinds
@crashing
def test_a_crash_leaves_a_table_that_can_be_repaired(
    damage: Callable[[FileSystem], None], compact_bytes: int
) -> None:
    crash_and_repair(damage, compact_bytes, slice(len(damage.__name__) % 7, None, 7))


@pytest.mark.long
@kinds
@crashing
def test_a_crash_at_any_operation_leaves_a_table_that_can_be_repaired(
    damage: Callable[[FileSystem], None], compact_bytes: int
) -> None:
    crash_and_repair(damage, compact_bytes, slice(None))


def test_no_power_cut_takes_the_new_snapshot_and_not_the_old_one() -> None:
    """Then an older one would be the newest, and be served without a word."""
    start = prepared(_newest_snapshot, 8 << 20)
    whole = start.kill()
    repair(whole)
    for at in range(1, whole.operations + 1):
        fs = start.kill()
        fs.crash_at(at, after=True)
        with contextlib.suppress(SimulatedCrash):
            repair(fs)
        for survivors in range(10):
            found = fs.crash(survivors)
            repair(found)
            assert stored(found) == ones(1, 2, 3), (at, survivors)


def test_without_repair_what_a_crash_of_it_leaves_is_no_worse_than_before() -> None:
    """Before its commit the table does not open, as before; after it, it does, with what was promised."""
    start = prepared(_missing_part, 8 << 20)
    whole = start.kill()
    repair(whole)
    opened = []
    for at in range(1, whole.operations + 1):
        fs = start.kill()
        fs.crash_at(at, after=True)
        with contextlib.suppress(SimulatedCrash):
            repair(fs)
        try:
            assert stored(fs.crash("none")) == ones(1, 3)
            opened.append(True)
        except CorruptionError:
            opened.append(False)
    assert opened == sorted(opened)
    assert {True, False} == set(opened)
