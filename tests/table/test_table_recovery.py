"""Opening a table that something happened to: crashed writers, damaged snapshots, missing parts, lost locks."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from measurefs import PartOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec.sealed import seal, unseal
from measurefs.fs import (
    CorruptionError,
    FencedError,
    FileSystem,
    ReadError,
    UnsupportedStoreError,
    WriteError,
    basename,
    walk,
)
from measurefs.table import Snapshot
from measurefs.table.epochs import snapshot_name, token_of
from measurefs.table.recovery import read_snapshot
from measurefs.testing import CrashFileSystem, Fault, FaultFileSystem, SimulatedCrash, Stall
from tests.part.made import WIDE
from tests.table.tables import (
    batch,
    contents,
    contents_of,
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


def damage(fs: FileSystem, name: str, how: str = "flip") -> None:
    whole = fs.read(f"t/{name}")
    match how:
        case "empty":
            data = b""
        case "cut":
            data = whole[: len(whole) // 2]
        case "zeros":
            data = bytes(len(whole))
        case _:
            data = whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]
    fs.write(f"t/{name}", data)


def copy_newest(fs: FileSystem) -> str:
    """Write one more snapshot of the same parts, as a fence is; return its name."""
    epoch = int(snapshots_in(fs)[-1].removesuffix(".snp"), 16)
    record = msgspec.structs.replace(read_snapshot(fs, "t", epoch), epoch=epoch + 1)
    name = snapshot_name(epoch + 1)
    fs.write(f"t/{name}", record.encode())
    return name


class TestLeftovers:
    """What a writer leaves that dies before it commits."""

    @kinds
    def test_parts_that_no_snapshot_names_are_no_data_and_are_collected(self, store_fs, compact_bytes):
        part = PartOptions(compact_bytes=compact_bytes)
        grow(store_fs, 1, compact_bytes=compact_bytes)
        kept = parts_in(store_fs)
        faulty = FaultFileSystem(store_fs, Fault("write", "*.snp", times=None))
        table = open_table(faulty, part=part)
        table.add(one(2))
        with pytest.raises(WriteError):
            table.flush()
        table.abandon()
        (left,) = set(parts_in(store_fs)) - set(kept)
        assert stored(store_fs) == ones(1)
        with open_table(store_fs, part=part) as again:
            assert contents(again) == ones(1)
            assert left in again.gc()
            assert parts_in(store_fs) == kept
            again.add(one(3))
        assert stored(store_fs) == ones(1, 3)

    def test_half_a_wide_part_is_collected(self, store_fs):
        grow(store_fs, 1)
        store_fs.make_dir("t/00000f0000000001")
        store_fs.write("t/00000f0000000001/meta.bin", b"half")
        with open_table(store_fs) as table:
            assert contents(table) == ones(1)
            assert "00000f0000000001" in table.gc()
            assert "00000f0000000001" not in names_in(store_fs)

    def test_a_part_of_the_next_number_is_not_in_the_way(self):
        """Numbers start above all that is there, whatever it is."""
        fs = MemoryFileSystem()
        grow(fs, 1)
        epoch = int(parts_in(fs)[-1].removesuffix(".part"), 16)
        for ahead in range(1, 6):
            fs.make_dir(f"t/{epoch + ahead:016x}")
        with open_table(fs) as table:
            table.add(one(2))
            table.flush()
            assert contents(table) == ones(1, 2)
        assert stored(fs) == ones(1, 2)

    @pytest.mark.parametrize(
        "name", ["README", "zz.snp", "0.snp", "data", "ABCDEF0123456789.part", "x.corrupt"]
    )
    def test_foreign_files_are_left_alone(self, store_fs, name):
        grow(store_fs, 1)
        store_fs.write(f"t/{name}", b"mine")
        with open_table(store_fs) as table:
            table.gc()
            assert contents(table) == ones(1)
        assert store_fs.read(f"t/{name}") == b"mine"


class TestDamagedSnapshots:
    @pytest.mark.parametrize("how", ["empty", "cut", "zeros", "flip"])
    def test_rows_that_only_it_can_have_named_are_never_silently_missing(self, store_fs, how):
        grow(store_fs, 1, 2, 3)
        newest = snapshots_in(store_fs)[-1]
        whole = store_fs.read(f"t/{newest}")
        damage(store_fs, newest, how)
        before = names_in(store_fs)
        for read_only in (True, False):
            with pytest.raises(CorruptionError, match=f"{newest}.*1 parts.*measurefs repair"):
                open_table(store_fs, read_only=read_only)
        assert names_in(store_fs) == before
        store_fs.write(f"t/{newest}", whole)
        assert stored(store_fs) == ones(1, 2, 3)

    @pytest.mark.parametrize("how", ["empty", "cut", "zeros", "flip"])
    def test_one_before_that_names_the_same_parts_serves_and_the_damaged_one_is_kept_aside(
        self, store_fs, how
    ):
        grow(store_fs, 1, 2)
        newest = copy_newest(store_fs)
        damage(store_fs, newest, how)
        content = store_fs.read(f"t/{newest}")
        with open_table(store_fs, read_only=True) as reader:
            assert contents(reader) == ones(1, 2)
            assert len(reader.stats()["damaged_snapshots"]) == 1
            assert newest in names_in(store_fs)
        with open_table(store_fs) as table:
            assert contents(table) == ones(1, 2)
            (report,) = table.stats()["damaged_snapshots"]
            assert newest in report
            assert newest not in names_in(store_fs)
            assert store_fs.read(f"t/{newest}.corrupt") == content
            table.add(one(4))
            table.flush()
            table.gc()
        assert stored(store_fs) == ones(1, 2, 4)
        assert store_fs.read(f"t/{newest}.corrupt") == content

    def test_a_power_cut_does_not_take_what_is_set_aside(self):
        start = CrashFileSystem()
        grow(start, 1, 2)
        newest = copy_newest(start)
        damage(start, newest)
        start.sync_path("t")
        content = start.read(f"t/{newest}")
        whole = start.kill()
        open_table(whole).close()
        for at in range(1, whole.operations + 1):
            fs = start.kill()
            fs.crash_at(at, after=True)
            with contextlib.suppress(SimulatedCrash):
                open_table(fs).close()
            for survivors in ("none", "all", 1, 2, 3):
                found = fs.crash(survivors)
                left = set(names_in(found)) & {newest, f"{newest}.corrupt"}
                assert {found.read(f"t/{name}") for name in left} == {content}, (at, survivors)

    def test_several_damaged_ones_are_passed_over(self):
        fs = MemoryFileSystem()
        grow(fs, 1, 2)
        for name in [copy_newest(fs), copy_newest(fs)]:
            damage(fs, name)
        with open_table(fs) as table:
            assert contents(table) == ones(1, 2)
            assert len(table.stats()["damaged_snapshots"]) == 2
        with open_table(fs) as table:
            assert table.stats()["damaged_snapshots"] == []
            assert contents(table) == ones(1, 2)

    def test_if_none_is_left_nothing_is_deleted_and_nothing_served(self, store_fs):
        grow(store_fs, 1, 2)
        for name in snapshots_in(store_fs):
            damage(store_fs, name)
        before = names_in(store_fs)
        for read_only in (True, False):
            with pytest.raises(CorruptionError, match="no readable snapshot"):
                open_table(store_fs, read_only=read_only)
        assert names_in(store_fs) == before

    def test_every_cut_of_the_newest_is_noticed(self):
        fs = MemoryFileSystem()
        grow(fs, 1, 2)
        newest = snapshots_in(fs)[-1]
        whole = fs.read(f"t/{newest}")
        for length in range(len(whole)):
            fs.write(f"t/{newest}", whole[:length])
            with pytest.raises(CorruptionError, match=newest):
                stored(fs)
        fs.write(f"t/{newest}", whole)
        assert stored(fs) == ones(1, 2)

    def test_a_snapshot_under_another_name_is_damaged(self):
        fs = MemoryFileSystem()
        grow(fs, 1, 2)
        first, *_, newest = snapshots_in(fs)
        copy = f"{int(newest[:16], 16) + 1:016x}.snp"
        fs.write(f"t/{copy}", fs.read(f"t/{first}"))
        with open_table(fs) as table:
            assert contents(table) == ones(1, 2)
            (report,) = table.stats()["damaged_snapshots"]
            assert copy in report
            assert "renamed or copied" in report

    def test_a_snapshot_of_a_newer_release_is_refused_and_not_touched(self):
        fs = MemoryFileSystem()
        grow(fs, 1)
        name = snapshots_in(fs)[-1]
        body = unseal(fs.read(f"t/{name}"), dict, name)
        fs.write(f"t/{name}", seal(body | {"format": 2, "surprise": True}))
        before = fs.read_dir("t")
        for read_only in (True, False):
            with pytest.raises(UnsupportedStoreError, match="format version 2"):
                open_table(fs, read_only=read_only)
        assert [entry.name for entry in fs.read_dir("t")] == [entry.name for entry in before]


class TestMissingParts:
    @kinds
    def test_a_missing_part_is_named_and_nothing_is_served(self, store_fs, compact_bytes):
        grow(store_fs, 1, 2, compact_bytes=compact_bytes)
        missing = parts_in(store_fs)[0]
        store_fs.must_rm_all(f"t/{missing}")
        for read_only in (True, False):
            with pytest.raises(CorruptionError, match=missing) as raised:
                open_table(store_fs, read_only=read_only)
            assert "1 rows" in str(raised.value)
            assert "it is missing" in str(raised.value)

    @kinds
    def test_a_cut_part_is_never_served(self, store_fs, compact_bytes):
        grow(store_fs, 1, compact_bytes=compact_bytes)
        (name,) = parts_in(store_fs)
        for path in list(walk(store_fs, f"t/{name}")) if compact_bytes == WIDE else [f"t/{name}"]:
            whole = store_fs.read(path)
            store_fs.write(path, whole[: min(50, len(whole) // 2)])
            if basename(path) in {"metadata.json", "meta.bin"}:  # the snapshot holds both as well
                assert stored(store_fs) == ones(1)
            else:
                with pytest.raises((CorruptionError, ReadError), match=name):
                    stored(store_fs)
            store_fs.write(path, whole)
        assert stored(store_fs) == ones(1)

    @pytest.mark.parametrize("store", ["memory_store", "s3_store"])
    def test_where_listings_tell_sizes_a_cut_part_is_named_at_once(self, request, store):
        with request.getfixturevalue(store).open() as fs:
            grow(fs, 1)
            (name,) = parts_in(fs)
            fs.write(f"t/{name}", fs.read(f"t/{name}")[:20])
            for read_only in (True, False):
                with pytest.raises(CorruptionError, match=f"{name}.*cut short"):
                    open_table(fs, read_only=read_only)

    def test_something_else_in_its_place_is_named(self):
        fs = MemoryFileSystem()
        grow(fs, 1)
        (name,) = parts_in(fs)
        fs.delete_file(f"t/{name}")
        fs.make_dir(f"t/{name}")
        with pytest.raises(CorruptionError, match=f"{name}.*something else"):
            open_table(fs)

    def test_parts_without_any_snapshot_are_not_an_empty_table(self, store_fs):
        grow(store_fs, 1)
        for name in snapshots_in(store_fs):
            store_fs.delete_file(f"t/{name}")
        before = names_in(store_fs)
        for read_only in (True, False):
            with pytest.raises(CorruptionError, match="1 parts but no readable snapshot"):
                open_table(store_fs, read_only=read_only)
        assert names_in(store_fs) == before


class TestEpochs:
    def test_the_locks_token_leads_and_all_numbers_grow(self, store_fs):
        last = 0
        for opening in range(1, 4):
            with open_table(store_fs) as table:
                for number in range(3):
                    epoch = table.add(one(number))
                    assert token_of(epoch) == opening
                    assert epoch > last
                    last = epoch
                    table.flush()
                    assert table.epoch > last
                    last = table.epoch
        numbers = [int(name[:16], 16) for name in parts_in(store_fs)]
        assert numbers == sorted(set(numbers))
        assert {token_of(number) for number in numbers} == {1, 2, 3}

    def test_removing_the_lock_file_by_hand_does_not_turn_the_numbers_back(self, store_fs):
        for _ in range(3):
            grow(store_fs, 1)
        with open_table(store_fs) as table:
            epoch = table.add(one(2))
        for entry in store_fs.read_dir("t"):
            if entry.name.startswith("LOCK"):
                store_fs.delete_file(f"t/{entry.name}")
        with open_table(store_fs) as table:
            assert table.add(one(3)) > epoch
            assert token_of(table.epoch) > token_of(epoch)
        assert stored(store_fs) == ones(1, 2, 3)


@pytest.mark.parametrize(
    "content", [b"garbage " * 2000, b'{"token":9000000000,"host":"x","pid":1,"since":""}']
)
def test_a_lock_file_that_was_overwritten_is_no_obstacle(local_store, content):
    with local_store.open() as fs:
        for number in (1, 2, 3):
            grow(fs, number)
        with open_table(fs) as table:
            before = table.epoch
        fs.write("t/LOCK", content)
        with open_table(fs) as table:
            assert token_of(table.add(one(4))) > token_of(before)
        assert stored(fs) == ones(1, 2, 3, 4)


class TestFence:
    """A writer that lost its lock, as one does that was cut off from its store for long."""

    @pytest.fixture
    def fs(self):
        return MemoryFileSystem()

    def test_who_opens_after_a_crash_commits_first(self, fs):
        grow(fs, 1)
        dead = open_table(fs)
        dead.add(one(2))
        before = snapshots_in(fs)
        fs.break_locks()
        with open_table(fs) as table:
            (own,) = set(snapshots_in(fs)) - set(before)
            assert token_of(int(own[:16], 16)) == token_of(table.epoch)
            assert contents(table) == ones(1)
        dead.abandon()

    def test_who_opens_after_a_clean_close_has_nothing_to_commit(self, store_fs):
        grow(store_fs, 1)
        before = snapshots_in(store_fs)
        with open_table(store_fs) as table:
            assert contents(table) == ones(1)
        assert snapshots_in(store_fs) == before

    def test_the_predecessor_is_told_and_its_rows_are_not_stored(self, fs):
        old = open_table(fs)
        old.add(one(1))
        old.flush()
        old.add(one(2))
        fs.break_locks()
        with open_table(fs) as new:
            new.add(one(3))
            new.flush()
            with pytest.raises(FencedError):
                old.flush()
            for call in (lambda: old.add(one(4)), old.flush, old.gc):
                with pytest.raises(FencedError):
                    call()
            assert contents(new) == ones(1, 3)
            new.add(one(5))
            new.flush()
            assert stored(fs) == ones(1, 3, 5)
            old.close()
            new.add(one(6))
        assert stored(fs) == ones(1, 3, 5, 6)

    def test_a_stalled_commit_that_lands_late_is_not_the_newest(self, fs):
        """The snapshot file was under way when the lock was lost, and arrives after the successor's."""
        old = open_table(fs)
        old.add(one(1))
        old.flush()
        fs.break_locks()
        with open_table(fs, keep_snapshots=1) as new:
            old.add(one(2))
            with pytest.raises(FencedError):
                old.flush()
            assert stored(fs) == ones(1)
            new.gc()
            new.add(one(3))
        old.close()
        assert stored(fs) == ones(1, 3)
        with open_table(fs) as again:
            again.gc()
            assert contents(again) == ones(1, 3)
        assert stored(fs) == ones(1, 3)

    def test_the_predecessor_does_not_collect_what_its_successor_is_writing(self, fs):
        """Its part is there, its snapshot not yet: nothing but the part's number says whose it is."""
        old = open_table(fs)
        old.add(one(1))
        old.flush()
        fs.break_locks()
        slow = FaultFileSystem(fs)
        with open_table(slow) as new:
            slow.add(Fault("write", "*.snp"))
            new.add(one(2))
            with pytest.raises(WriteError):
                new.flush()
            with contextlib.suppress(FencedError):
                old.gc()
            new.flush()
            assert contents(new) == ones(1, 2)
        assert stored(fs) == ones(1, 2)
        old.close()

    def test_the_lock_file_taken_away_from_a_writer_and_given_to_another(self, store_fs):
        old = open_table(store_fs)
        old.add(one(1))
        old.flush()
        for entry in store_fs.read_dir("t"):
            if entry.name.startswith("LOCK"):
                store_fs.delete_file(f"t/{entry.name}")
        with open_table(store_fs) as new:
            assert token_of(new.add(one(2))) > token_of(old.epoch)
            old.add(one(3))
            with pytest.raises(FencedError):
                old.flush()
            old.close()
            new.flush()
            new.add(one(4))
        assert stored(store_fs) == ones(1, 2, 4)


def test_a_snapshot_collected_while_a_reader_opens_is_not_missed():
    """It is listed, and gone when it is read: then a newer one is there."""
    fs, stall = MemoryFileSystem(), Stall()
    slow = FaultFileSystem(fs, Fault("read", "*.snp", error=None, stall=stall))
    with open_table(fs, keep_snapshots=1) as table, ThreadPoolExecutor(1) as pool:
        table.add(one(1))
        table.flush()
        reading = pool.submit(stored, slow)
        assert stall.wait_until_reached(30)
        table.add(one(2))
        table.flush()
        table.gc()
        stall.release()
        assert reading.result(30) == ones(1, 2)


def test_what_a_pinned_reader_sees_survives_reopening_for_writing():
    """As a database does that first read a table and then writes to it."""
    fs = MemoryFileSystem()
    grow(fs, 1)
    reader = open_table(fs, read_only=True)
    with reader.pin() as held:
        assert isinstance(held, Snapshot)
        with open_table(fs, predecessor=reader, keep_snapshots=1) as table:
            table._introducer.introduce(lambda snapshot, epoch: [])  # as merges will replace parts
            table.add(batch([1], [1], [7]))
            table.flush()
            table.gc()
            assert contents_of(fs, held) == ones(1)
            assert contents(table) == {(1, 1): 7}
    reader.close()
