"""The file system that fails: what it is told to, when it is told to, and countably."""

from __future__ import annotations

import collections
import errno
import threading
import uuid

import pytest

from measurefs.backends.local import LocalFileSystem
from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import (
    CloseError,
    DeleteError,
    FileSystemError,
    FlushError,
    LockError,
    NotExistError,
    PermissionError_,
    ReadError,
    WriteError,
)
from measurefs.testing import CrashFileSystem, Fault, FaultFileSystem, FileSystemConformance, Stall


class TestFaultFileSystemOnMemory(FileSystemConformance):
    many = 200

    @pytest.fixture
    def name(self):
        name = f"test-{uuid.uuid4()}"
        yield name
        MemoryFileSystem.forget(name)

    @pytest.fixture
    def fs(self, name):
        return FaultFileSystem(MemoryFileSystem(name))

    @pytest.fixture
    def another(self, name):
        return FaultFileSystem(MemoryFileSystem(name), Fault("never"))


class TestFaultFileSystemOnLocal(FileSystemConformance):
    many = 200

    @pytest.fixture
    def fs(self, tmp_path):
        return FaultFileSystem(LocalFileSystem(tmp_path / "root"))

    @pytest.fixture
    def another(self, tmp_path):
        return FaultFileSystem(LocalFileSystem(tmp_path / "root"))


@pytest.fixture
def fs():
    fs = FaultFileSystem(CrashFileSystem())
    fs.write("file", b"content")
    fs.make_dir("d")
    return fs


def failures(fs, calls, call):
    """The numbers of the calls that fail, from 1."""
    failed = []
    for number in range(1, calls + 1):
        try:
            call()
        except FileSystemError as error:
            assert "injected" in str(error)
            failed.append(number)
    assert fs.injected.total() == len(failed)
    return failed


@pytest.mark.parametrize(
    ("fault", "failing"),
    [
        (Fault("read"), [1]),
        (Fault("read", at=3), [3]),
        (Fault("read", at=3, times=2), [3, 4]),
        (Fault("read", at=4, times=None), [4, 5, 6]),
        (Fault("read*", "fi*"), [1]),
        (Fault("write|read", "*e"), [1]),
        (Fault("read", "other"), []),
        (Fault("write"), []),
    ],
)
def test_which_calls_fail(fs, fault, failing):
    fs.add(fault)
    assert failures(fs, 6, lambda: fs.read("file")) == failing
    assert fs.calls["read"] == 6


def test_probability_is_decided_by_the_seed(fs):
    fs.add(Fault("read", probability=0.3, seed=1, times=None))
    first = failures(fs, 200, lambda: fs.read("file"))
    assert 30 < len(first) < 90
    fs.heal()
    fs.injected.clear()
    fs.add(Fault("read", probability=0.3, seed=1, times=None))
    assert failures(fs, 200, lambda: fs.read("file")) == first
    fs.heal()
    fs.injected.clear()
    fs.add(Fault("read", probability=0.3, seed=2, times=None))
    assert failures(fs, 200, lambda: fs.read("file")) != first


def test_every_rule_counts_for_itself(fs):
    fs.add(Fault("read", at=2), Fault("read", at=2, times=2, error="time-out"))
    assert failures(fs, 5, lambda: fs.read("file")) == [2, 3]


def test_healing_forgets_all_rules(fs):
    fs.add(Fault(times=None))
    with pytest.raises(ReadError):
        fs.read("file")
    fs.heal()
    assert fs.read("file") == b"content"
    assert fs.injected == {"read": 1}


def test_a_calm_goes_by_without_a_trace(fs):
    fs.add(Fault("read", at=2))
    with fs.calm():
        assert failures(fs, 3, lambda: fs.read("file")) == []
    assert failures(fs, 3, lambda: fs.read("file")) == [2]


@pytest.mark.parametrize(
    ("error", "kind", "number"),
    [
        ("io", WriteError, errno.EIO),
        ("disk full", WriteError, errno.ENOSPC),
        ("permission", PermissionError_, errno.EACCES),
        ("time-out", WriteError, errno.ETIMEDOUT),
    ],
)
def test_errors_are_what_a_file_system_raises(fs, error, kind, number):
    fs.add(Fault("write", error=error))
    with pytest.raises(kind) as caught:
        fs.write("new", b"x")
    assert (caught.value.operation, caught.value.path, caught.value.errno) == ("write", "new", number)
    with pytest.raises(NotExistError):
        fs.read("new")


@pytest.mark.parametrize(
    ("operation", "kind"),
    [("sync_path", FlushError), ("create_lock_file", LockError), ("read_dir", ReadError)],
)
def test_each_operation_has_its_class(fs, operation, kind):
    fs.add(Fault(operation))
    with pytest.raises(kind):
        getattr(fs, operation)("d")


class TestLostAcknowledgement:
    """The call takes effect, and reports failure."""

    def test_of_changes(self, fs):
        fs.add(Fault(after=True, times=None))
        for call in (
            lambda: fs.write("new", b"x"),
            lambda: fs.make_dir("new-dir"),
            lambda: fs.delete_file("file"),
            lambda: fs.sync_path(""),
        ):
            with pytest.raises(FileSystemError):
                call()
        disk = fs.innermost
        assert [entry.name for entry in disk.read_dir("")] == ["d", "new", "new-dir"]
        assert disk.is_durable("new")

    def test_what_fails_by_itself_fails_so(self, fs):
        fs.add(Fault("delete_file", after=True))
        with pytest.raises(NotExistError):
            fs.delete_file("missing")
        assert not fs.injected

    def test_of_a_lock(self, fs):
        """Its token is used up, and it is free again."""
        fs.add(Fault("create_lock_file", after=True))
        with pytest.raises(LockError):
            fs.create_lock_file("LOCK")
        assert fs.create_lock_file("LOCK").token == 2

    def test_of_opened_files(self, fs):
        """Nobody else could close them."""
        fs.add(Fault("create_file|open_file", after=True, times=2))
        with pytest.raises(WriteError):
            fs.create_file("new")
        with pytest.raises(FileSystemError):
            fs.open_file("file")
        assert "new" not in fs.innermost.unsynced()


def test_any_file_of_many_may_fail(fs):
    fs.add(Fault("write", "d/2"))
    with pytest.raises(WriteError):
        fs.write_all({"d/1": b"1", "d/2": b"2", "d/3": b"3"})
    assert [entry.name for entry in fs.read_dir("d")] == ["1"]
    fs.add(Fault("read_ranges", "d/1"))
    fs.read_ranges([("file", 0, 1)])
    with pytest.raises(ReadError):
        fs.read_ranges([("file", 0, 1), ("d/1", 0, 1)])


def test_open_files_and_locks_fail_too(fs):
    fs.add(Fault("file.*", times=None), Fault("lock.*", times=None))
    file = fs.create_file("new")
    with pytest.raises(WriteError):
        file.write(b"x")
    with pytest.raises(CloseError):
        file.close()
    file.discard()
    with pytest.raises(ReadError):
        fs.open_file("file").read(0, 1)
    lock = fs.create_lock_file("LOCK")
    with pytest.raises(FileSystemError):
        lock.check()
    with pytest.raises(CloseError):
        lock.close()
    assert fs.injected == collections.Counter(
        {"file.write": 1, "file.close": 1, "file.read": 1, "lock.check": 1, "lock.close": 1}
    )
    fs.heal()
    lock.check()


class TestStalling:
    def stalled(self, fs, stall, call):
        outcome = []

        def run():
            try:
                outcome.append(call())
            except FileSystemError as error:
                outcome.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        assert stall.wait_until_reached(30)
        assert not outcome
        return thread, outcome

    def test_a_call_waits_until_it_is_released(self, fs):
        stall = Stall()
        fs.add(Fault("write", stall=stall, error=None))
        thread, outcome = self.stalled(fs, stall, lambda: fs.write("new", b"x"))
        assert [entry.name for entry in fs.read_dir("")] == ["d", "file"], "others go on"
        stall.release()
        thread.join()
        assert outcome == [1]
        assert fs.read("new") == b"x"
        assert not fs.injected

    def test_it_may_fail_then(self, fs):
        stall = Stall()
        fs.add(Fault("write", stall=stall, error="time-out"))
        thread, outcome = self.stalled(fs, stall, lambda: fs.write("new", b"x"))
        stall.release()
        thread.join()
        assert outcome[0].errno == errno.ETIMEDOUT

    def test_healing_releases_it(self, fs):
        stall = Stall()
        fs.add(Fault("read", stall=stall, error=None))
        thread, outcome = self.stalled(fs, stall, lambda: fs.read("file"))
        fs.heal()
        thread.join()
        assert outcome == [b"content"]


class TestLanding:
    """A request that timed out is still under way, and takes effect when the test says so."""

    LATER = Fault("write|delete_file", later=True, error="time-out", times=None)

    def test_a_write_lands_later(self, fs):
        fs.add(self.LATER)
        data = bytearray(b"new")
        with pytest.raises(WriteError) as raised:
            fs.write("file", data)
        assert raised.value.errno == errno.ETIMEDOUT
        data[:] = b"xxx"  # the caller has its buffer back
        assert fs.read("file") == b"content"
        assert fs.land() == 1
        assert fs.read("file") == b"new"
        assert fs.land() == 0

    def test_what_is_there_by_then_stays(self, fs):
        fs.add(self.LATER)
        with pytest.raises(WriteError):
            fs.write("d/mine", b"late", exclusive=True)
        fs.heal()
        fs.write("d/mine", b"in time", exclusive=True)
        assert fs.land() == 1
        assert fs.read("d/mine") == b"in time"

    def test_a_deletion_lands_later_or_finds_nothing(self, fs):
        fs.add(self.LATER)
        for _ in range(2):
            with pytest.raises(DeleteError):
                fs.delete_file("file")
        assert fs.read("file") == b"content"
        assert fs.land() == 2
        with pytest.raises(NotExistError):
            fs.read("file")

    def test_they_land_in_their_order(self, fs):
        fs.add(self.LATER)
        for data in (b"1", b"2"):
            with pytest.raises(WriteError):
                fs.write("file", data)
        fs.land()
        assert fs.read("file") == b"2"
