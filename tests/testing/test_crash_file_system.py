"""The file system that crashes: it keeps exactly what the interface promises, and no more."""

from __future__ import annotations

import contextlib
import itertools

import pytest

from measurefs.fs import FencedError, FlushError, LockError, NotExistError, walk
from measurefs.testing import CrashFileSystem, FileSystemConformance, SimulatedCrash
from measurefs.testing.crash import TEMPORARY

SEEDS = range(60)
BIG = bytes(range(1, 256)) * 200


class TestCrashFileSystem(FileSystemConformance):
    many = 200

    @pytest.fixture
    def fs(self):
        return CrashFileSystem()


@pytest.fixture
def fs():
    """A file system with a durable directory ``d``."""
    fs = CrashFileSystem(keep_trace=True)
    fs.make_dir("d")
    fs.sync_path("")
    return fs


def files(fs):
    return {path: fs.read(path) for path in walk(fs)}


def outcomes(fs, seeds=SEEDS):
    """What different power cuts leave."""
    return [files(fs.crash(seed)) for seed in seeds]


class TestNames:
    def test_a_name_is_durable_once_its_directory_is_synced(self, fs):
        fs.write("d/file", b"x")
        assert files(fs.crash("none")) == {}
        assert files(fs.crash("all")) == {"d/file": b"x"}
        fs.sync_path("d")
        assert files(fs.crash("none")) == {"d/file": b"x"}

    def test_syncing_the_file_or_the_directory_above_does_not_help(self, fs):
        fs.write("d/file", b"x")
        fs.sync_path("d/file")
        fs.sync_path("")
        assert files(fs.crash("none")) == {}

    def test_a_directory_is_durable_once_the_one_above_is_synced(self, fs):
        fs.make_dir("d/a/b")
        fs.write("d/a/b/file", b"x")
        fs.sync_path("d/a/b")
        fs.sync_path("d/a")
        assert fs.crash("none").read_dir("d") == []
        fs.sync_path("d")
        assert files(fs.crash("none")) == {"d/a/b/file": b"x"}

    def test_a_deleted_name_may_come_back(self, fs):
        fs.write("d/file", b"x")
        fs.sync_path("d")
        fs.delete_file("d/file")
        assert files(fs.crash("none")) == {"d/file": b"x"}
        assert files(fs.crash("all")) == {}
        fs.sync_path("d")
        assert files(fs.crash("none")) == {}

    def test_a_file_made_and_deleted_may_come_back(self, fs):
        fs.write("d/file", b"x")
        fs.delete_file("d/file")
        assert {"d/file": b"x"} in outcomes(fs)
        assert {} in outcomes(fs)

    def test_a_replaced_file_has_one_of_its_contents(self, fs):
        fs.write("d/file", b"old")
        fs.sync_path("d")
        fs.write("d/file", b"new")
        assert files(fs.crash("none")) == {"d/file": b"old"}
        assert files(fs.crash("all")) == {"d/file": b"new"}
        fs.write("d/file", b"newest")
        assert {each["d/file"] for each in outcomes(fs)} == {b"old", b"new", b"newest"}

    def test_of_a_removed_tree_any_part_may_come_back(self, fs):
        fs.make_dir("d/tree")
        for name in "abc":
            fs.write(f"d/tree/{name}", b"x")
        fs.sync_path("d/tree")
        fs.sync_path("d")
        fs.must_rm_all("d/tree")
        assert len(files(fs.crash("none"))) == 3
        assert {len(each) for each in outcomes(fs)} == {0, 1, 2, 3}

    def test_names_survive_independently_of_each_other(self, fs):
        fs.write("d/a", b"x")
        fs.write("d/b", b"x")
        assert {tuple(each) for each in outcomes(fs)} == {(), ("d/a",), ("d/b",), ("d/a", "d/b")}

    def test_a_seed_always_gives_the_same(self, fs):
        for name in "abcdef":
            fs.write(f"d/{name}", b"x")
        assert outcomes(fs) == outcomes(fs)

    def test_survivors_must_be_known(self, fs):
        with pytest.raises(ValueError, match="seed"):
            fs.crash("some")


class TestUnfinishedFiles:
    def test_a_file_being_written_is_left_torn_under_a_temporary_name(self, fs):
        file = fs.create_file("d/file")
        file.write(BIG)
        assert files(fs.crash("none")) == {}
        name = f"d/{TEMPORARY}file"
        assert files(fs.crash("all")) == {name: BIG}
        left = [each[name] for each in outcomes(fs) if each]
        assert len(left) < len(SEEDS)
        assert any(each != BIG[: len(each)] for each in left), "blocks in the middle may be missing"
        assert all(
            block in (bytes(len(block)), BIG[start : start + len(block)])
            for each in left
            for start in range(0, len(each), 4096)
            for block in [each[start : start + 4096]]
        )
        file.close()
        fs.sync_path("d")
        assert files(fs.crash("none")) == {"d/file": BIG}

    def test_so_is_one_whose_write_was_cut_off(self, fs):
        fs.crash_at(fs.operations + 1)
        with pytest.raises(SimulatedCrash):
            fs.write("d/file", BIG)
        assert set().union(*outcomes(fs)) == {f"d/{TEMPORARY}file"}

    def test_taking_the_lock_beside_it_removes_it(self, fs):
        fs.create_file("d/file").write(BIG)
        found = fs.crash("all")
        found.create_lock_file("d/LOCK")
        assert list(walk(found)) == ["d/LOCK"]


class TestLocks:
    def test_a_dead_holder_is_followed_by_one_who_knows(self, fs):
        first = fs.create_lock_file("d/LOCK")
        for found in (fs.crash("none"), fs.crash("all"), fs.crash(1), fs.kill()):
            lock = found.create_lock_file("d/LOCK")
            assert lock.token == first.token + 1
            assert not lock.clean

    def test_a_release_is_durable(self, fs):
        fs.create_lock_file("d/LOCK").close()
        assert fs.crash("none").create_lock_file("d/LOCK").clean

    def test_tokens_grow_though_the_file_is_gone(self, fs):
        fs.create_lock_file("d/LOCK").close()
        fs.delete_file("d/LOCK")
        assert fs.crash("all").create_lock_file("d/LOCK").token == 2

    def test_breaking_fences_the_holder(self, fs):
        locks = [fs.create_lock_file(f"d/LOCK{number}") for number in range(3)]
        fs.break_locks("d/LOCK1")
        locks[0].check()
        with pytest.raises(FencedError):
            locks[1].check()
        assert fs.create_lock_file("d/LOCK1").token == 2
        with pytest.raises(LockError):
            fs.create_lock_file("d/LOCK2")
        fs.break_locks()
        with pytest.raises(FencedError):
            locks[2].check()


class TestCrashing:
    def workload(self, fs):
        fs.make_dir("a")
        fs.sync_path("")
        with fs.create_lock_file("a/LOCK"), fs.create_file("a/1") as file:
            file.write(b"one")
        fs.write_all({"a/2": b"two", "a/3": b"three"})
        fs.delete_file("a/2")
        fs.sync_path("a")
        fs.must_rm_all("a")

    def test_every_changing_operation_counts(self):
        fs = CrashFileSystem(keep_trace=True)
        self.workload(fs)
        assert [operation for operation, _ in fs.trace] == [
            *("make_dir", "sync_path", "create_lock_file", "create_file", "file.write", "file.close"),
            *("lock.close", "write", "write", "delete_file", "sync_path", "must_rm_all"),
        ]
        assert fs.trace[7] == ("write", "a/2")
        assert fs.operations == len(fs.trace)

    def stopped(self, number, *, after):
        fs = CrashFileSystem(keep_trace=True)
        fs.crash_at(number, after=after)
        with pytest.raises(SimulatedCrash):
            self.workload(fs)
        assert fs.crashed
        assert len(fs.trace) == number
        return {path: fs.read(path) for fs in [fs.kill()] for path in walk(fs) if TEMPORARY not in path}

    def test_it_stops_at_each_in_turn(self):
        """What is there after an operation is what is there before the next."""
        whole = CrashFileSystem()
        self.workload(whole)
        after = [self.stopped(number, after=True) for number in range(1, whole.operations + 1)]
        before = [self.stopped(number, after=False) for number in range(1, whole.operations + 1)]
        assert len({tuple(each) for each in after}) > 4
        assert [sorted(each) for each in before[1:]] == [sorted(each) for each in after[:-1]]

    def test_nothing_works_after_it(self, fs):
        lock = fs.create_lock_file("d/LOCK")
        fs.write("d/file", b"x")
        reader = fs.open_file("d/file")
        fs.crash_at(fs.operations + 1)
        with pytest.raises(SimulatedCrash):
            fs.sync_path("d")
        calls = (
            lambda: fs.read("d/file"),
            lambda: fs.read_dir(""),
            lambda: fs.write("d/other", b""),
            lambda: reader.read(0, 1),
            lock.check,
            lock.close,
        )
        for call in calls:
            with pytest.raises(SimulatedCrash):
                call()

    def test_it_is_no_exception_that_anybody_handles(self):
        assert not issubclass(SimulatedCrash, Exception)

    def test_before_nothing_happened_and_after_everything(self, fs):
        for after, left in ((False, {}), (True, {"d/file": b"x"})):
            copy = fs.kill()
            copy.crash_at(1, after=after)
            with pytest.raises(SimulatedCrash):
                copy.create_lock_file("d/LOCK")
            assert ("LOCK" in [each.name for each in copy.crash("none").read_dir("d")]) is after
            copy = fs.kill()
            copy.crash_at(2, after=after)
            copy.write("d/file", b"x")
            with pytest.raises(SimulatedCrash):
                copy.sync_path("d")
            assert files(copy.crash("none")) == left

    def test_one_crash_has_many_outcomes(self, fs):
        fs.write("d/file", b"x")
        before = files(fs)
        found = fs.crash("all")
        found.write("d/other", b"y")
        found.delete_file("d/file")
        assert files(fs) == before
        assert fs.crash("all").read("d/file") == b"x"

    def test_what_a_crash_leaves_is_durable(self, fs):
        fs.write("d/file", b"x")
        assert files(fs.crash("all").crash("none")) == {"d/file": b"x"}

    def test_after_a_kill_the_power_may_still_fail(self, fs):
        fs.write("d/file", b"x")
        fs.create_file("d/unfinished").write(b"y")
        killed = fs.kill()
        assert files(killed) == {"d/file": b"x", f"d/{TEMPORARY}unfinished": b"y"}
        assert files(killed.crash("none")) == {}
        killed.sync_path("d")
        assert len(files(killed.crash("none"))) == 2


class TestAtRisk:
    def test_what_is_not_synced_is_named(self, fs):
        assert fs.unsynced() == []
        fs.write("d/file", b"x")
        fs.make_dir("d/a/b")
        fs.create_file("d/open")
        assert fs.unsynced() == ["d/a", "d/a/b", "d/file", "d/open"]
        fs.sync_path("d")
        assert fs.unsynced() == ["d/a/b", "d/open"]
        fs.delete_file("d/file")
        assert fs.unsynced() == ["d/a/b", "d/file", "d/open"]

    def test_durable_is_what_is_there_with_all_above_and_below(self, fs):
        fs.make_dir("d/a")
        fs.write("d/a/file", b"x")
        assert fs.is_durable("d") is False
        fs.sync_path("d/a")
        assert not fs.is_durable("d/a/file")
        fs.sync_path("d")
        assert fs.is_durable("d/a/file")
        assert fs.is_durable("d/a")
        fs.write("d/a/other", b"y")
        assert fs.is_durable("d/a/file")
        assert not fs.is_durable("d/a")
        assert not fs.is_durable("d/missing")

    def test_a_failed_sync_cannot_be_repeated(self, fs):
        fs.fail_sync(2)
        fs.write("d/early", b"x")
        fs.sync_path("d")
        fs.write("d/file", b"x")
        fs.make_dir("d/below")
        with pytest.raises(FlushError):
            fs.sync_path("d")
        fs.sync_path("d")
        assert fs.unsynced() == ["d/file"]
        assert files(fs.crash("none")) == {"d/early": b"x"}
        fs.write("d/file", b"x")
        fs.sync_path("d")
        assert fs.is_durable("d/file")
        assert fs.is_durable("d/below")

    def test_every_file_of_a_crash_was_once_written(self, fs):
        """Whatever the order, no outcome holds a content that was never there under that name."""
        written = {}
        for number, name in enumerate(itertools.islice(itertools.cycle("abcd"), 20)):
            path = f"d/{name}"
            data = b"%d" % number
            written.setdefault(path, set()).add(data)
            fs.write(path, data)
            if number % 3 == 0:
                fs.sync_path("d")
            if number % 5 == 0:
                with contextlib.suppress(NotExistError):
                    fs.delete_file(path)
            for found in outcomes(fs, range(5)):
                assert all(data in written[path] for path, data in found.items())
