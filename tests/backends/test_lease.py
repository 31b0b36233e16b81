"""The lock made of exclusive writes, on memory with a clock of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from measurefs.backends.lease import Generation, LeaseLock, LeaseLocks, generation_path
from measurefs.fs import (
    FencedError,
    FileSystem,
    FileSystemError,
    FileSystemWrapper,
    LockError,
    LockHolder,
    ReadOnlyFileSystem,
)
from tests.conftest import Store

LOCK = "t/LOCK"


class Clock:
    """Monotonic seconds that pass only while somebody sleeps; things may be made to happen at a time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events: list[tuple[float, Callable[[], object]]] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        due = [event for event in self.events if event[0] <= self.now]
        self.events = [event for event in self.events if event[0] > self.now]
        for _, action in due:
            action()

    def at(self, time: float, action: Callable[[], object]) -> None:
        self.events.append((time, action))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fs(memory_store: Store) -> Iterator[FileSystem]:
    with memory_store.open() as fs:
        fs.make_dir("t")
        yield fs


@pytest.fixture
def locks(fs: FileSystem, clock: Clock) -> Iterator[LeaseLocks]:
    locks = LeaseLocks(fs, clock=clock, sleep=clock.sleep)
    yield locks
    locks.close()


def stored(fs: FileSystem, token: int) -> Generation:
    return msgspec.json.decode(fs.read(generation_path(LOCK, token)), type=Generation)


def tokens(fs: FileSystem) -> list[int]:
    return [int(entry.name.removeprefix("LOCK."), 16) for entry in fs.read_dir("t")]


def dead_holder(fs: FileSystem, token: int = 1, *, clean: bool = True, renewals: int = 0) -> Generation:
    """Leave a generation behind as a process that died would."""
    holder = Generation(token, "elsewhere", 4711, "2026-01-01", owner="o", renewals=renewals, clean=clean)
    fs.write(generation_path(LOCK, token), holder.encode())
    return holder


# Acquiring


def test_first(locks: LeaseLocks, fs: FileSystem) -> None:
    lock = locks.acquire(LOCK)
    assert (lock.path, lock.token, lock.clean) == (LOCK, 1, True)
    here = LockHolder.here(1)
    assert (stored(fs, 1).host, stored(fs, 1).pid, stored(fs, 1).released) == (here.host, here.pid, False)
    lock.close()
    assert stored(fs, 1).released


def test_released_is_taken_at_once_and_the_chain_stays_short(
    locks: LeaseLocks, fs: FileSystem, clock: Clock
) -> None:
    for token in range(1, 20):
        lock = locks.acquire(LOCK)
        assert (lock.token, lock.clean) == (token, True)
        assert tokens(fs) == [token]
        lock.close()
    assert clock.now == 0


def test_dead_holder_is_replaced_after_a_whole_lease(locks: LeaseLocks, fs: FileSystem, clock: Clock) -> None:
    dead_holder(fs)
    lock = locks.acquire(LOCK)
    assert (lock.token, lock.clean) == (2, False)
    assert 30 <= clock.now < 32


def test_living_holder_is_recognised_by_its_renewal(locks: LeaseLocks, fs: FileSystem, clock: Clock) -> None:
    dead_holder(fs)
    clock.at(9.0, lambda: fs.write(generation_path(LOCK, 1), dead_holder(fs, renewals=1).encode()))
    with pytest.raises(LockError, match="process 4711 on elsewhere") as caught:
        locks.acquire(LOCK)
    assert clock.now <= 11
    assert caught.value.holder.pid == 4711
    assert "30 s" in str(caught.value)


def test_a_slow_answer_does_not_count_as_watching(fs: FileSystem, clock: Clock) -> None:
    """It tells what was there when it was asked for, and the holder has renewed the lock since."""

    class Slow(FileSystemWrapper):
        answers = 0

        def read(self, path: str) -> bytes:
            content = super().read(path)
            self.answers += 1
            if self.answers == 2:
                clock.now += 31
                fs.write(path, msgspec.structs.replace(holder, renewals=1).encode())
            return content

    holder = dead_holder(fs)
    with pytest.raises(LockError, match="process 4711 on elsewhere"):
        LeaseLocks(Slow(fs), clock=clock, sleep=clock.sleep).acquire(LOCK)
    assert tokens(fs) == [1]


def test_release_while_waiting_is_seen(locks: LeaseLocks, fs: FileSystem, clock: Clock) -> None:
    holder = dead_holder(fs)
    released = msgspec.structs.replace(holder, released=True)
    clock.at(5.0, lambda: fs.write(generation_path(LOCK, 1), released.encode()))
    lock = locks.acquire(LOCK)
    assert (lock.token, lock.clean) == (2, True)
    assert clock.now < 7


def test_taken_by_another_while_waiting(locks: LeaseLocks, fs: FileSystem, clock: Clock) -> None:
    dead_holder(fs)
    clock.at(29.0, lambda: dead_holder(fs, 2, clean=False))
    with pytest.raises(LockError):
        locks.acquire(LOCK)
    assert tokens(fs) == [1, 2]


def test_collected_while_waiting(locks: LeaseLocks, fs: FileSystem, clock: Clock) -> None:
    dead_holder(fs)
    clock.at(10.0, lambda: fs.delete_file(generation_path(LOCK, 1)))
    with pytest.raises(LockError):
        locks.acquire(LOCK)


def test_without_waiting_the_observation_is_remembered(fs: FileSystem, clock: Clock) -> None:
    locks = LeaseLocks(fs, wait=False, clock=clock, sleep=clock.sleep)
    holder = dead_holder(fs)
    for now in (0, 10, 29.9):
        clock.now = now
        with pytest.raises(LockError):
            locks.acquire(LOCK)
    fs.write(generation_path(LOCK, 1), msgspec.structs.replace(holder, renewals=1).encode())
    for now in (30, 59.9):  # it was renewed, so watching starts anew
        clock.now = now
        with pytest.raises(LockError):
            locks.acquire(LOCK)
    clock.now = 60
    with locks.acquire(LOCK) as lock:
        assert (lock.token, lock.clean) == (2, False)


def test_own_process_needs_no_watching(locks: LeaseLocks, fs: FileSystem, clock: Clock) -> None:
    with locks.acquire(LOCK), pytest.raises(LockError):
        LeaseLocks(fs, clock=clock, sleep=clock.sleep).acquire(LOCK)
    assert clock.now == 0


@pytest.mark.parametrize("content", [b"", b"garbage", b'{"token": 1}', b"[]"])
def test_unreadable_holder_counts_as_one(
    locks: LeaseLocks, fs: FileSystem, clock: Clock, content: bytes
) -> None:
    fs.write(generation_path(LOCK, 1), content)
    lock = locks.acquire(LOCK)
    assert (lock.token, lock.clean) == (2, False)
    assert clock.now >= 30
    assert tokens(fs) == [1, 2]


def test_other_names_are_no_generations(locks: LeaseLocks, fs: FileSystem) -> None:
    for name in (
        "LOCK",
        "LOCK.1",
        "LOCK.000000000000000g",
        "LOCK.00000000000000FF",
        "LOCK2.0000000000000009",
    ):
        fs.write(f"t/{name}", b"")
    assert locks.acquire(LOCK).token == 1


def test_missing_directory_is_no_holder(locks: LeaseLocks) -> None:
    with pytest.raises(FileNotFoundError):
        locks.acquire("missing/LOCK")


# Fencing


def test_displaced_holder_is_fenced(locks: LeaseLocks, fs: FileSystem) -> None:
    lock = locks.acquire(LOCK)
    lock.check()
    dead_holder(fs, 2, clean=False)
    for _ in range(2):
        with pytest.raises(FencedError, match="process 4711 on elsewhere"):
            lock.check()
    before = fs.read(generation_path(LOCK, 1))
    lock.close()
    assert fs.read(generation_path(LOCK, 1)) == before


def test_fence_of_a_crashed_holder_is_never_deleted(locks: LeaseLocks, fs: FileSystem) -> None:
    """However many come after: the one that slept looks for its successor, and finds it."""
    zombie = LeaseLocks(fs, lease=1e6).acquire(LOCK)
    zombie.abandon()
    for token in range(2, 10):
        lock = locks.acquire(LOCK)
        assert lock.token == token
        lock.close()
    assert tokens(fs) == [2, 9]
    assert zombie._successor() is not None


def test_stalled_contender_gives_way(fs: FileSystem, clock: Clock) -> None:
    """It listed generation 1, slept, and creates generation 2 after that has come and gone."""

    class Stalls(LeaseLocks):
        def _until_free(self, path: str, token: int) -> Generation | None:
            before = super()._until_free(path, token)
            for _ in range(2):
                LeaseLocks(fs).acquire(path).close()
            return before

    LeaseLocks(fs).acquire(LOCK).close()
    with pytest.raises(LockError):
        Stalls(fs).acquire(LOCK)
    assert tokens(fs) == [3]
    with LeaseLocks(fs).acquire(LOCK) as lock:
        assert lock.token == 4


def test_of_two_who_saw_the_same_generation_one_gets_the_lock(fs: FileSystem) -> None:
    class Overtaken(LeaseLocks):
        def _until_free(self, path: str, token: int) -> Generation | None:
            before = super()._until_free(path, token)
            winners.append(LeaseLocks(fs).acquire(path))
            return before

    winners: list[LeaseLock] = []
    LeaseLocks(fs).acquire(LOCK).close()
    with pytest.raises(LockError):
        Overtaken(fs).acquire(LOCK)
    (winner,) = winners
    assert stored(fs, 2).owner == winner._content.owner
    winner.check()
    winner.close()
    with LeaseLocks(fs).acquire(LOCK) as lock:
        assert (lock.token, lock.clean) == (3, True)


def test_litter_that_cannot_be_deleted_is_no_obstacle(
    fs: FileSystem, caplog: pytest.LogCaptureFixture
) -> None:
    class Undeletable(FileSystemWrapper):
        def delete_file(self, path: str) -> None:
            ReadOnlyFileSystem(self.wrapped).delete_file(path)

    LeaseLocks(fs).acquire(LOCK).close()
    with LeaseLocks(Undeletable(fs)).acquire(LOCK) as lock:
        assert lock.token == 2
    assert "harmless" in caplog.text
    assert tokens(fs) == [1, 2]


# Breaking


def test_breaking_fences_the_holder_and_frees_the_lock_at_once(
    locks: LeaseLocks, fs: FileSystem, clock: Clock
) -> None:
    lock = locks.acquire(LOCK)
    holder = locks.break_lock(LOCK)
    assert holder is not None
    assert (holder.token, holder.pid) == (1, LockHolder.here(1).pid)
    with pytest.raises(FencedError, match="broken by process"):
        lock.check()
    lock.close()
    assert not stored(fs, 1).released, "who was fenced changes nothing any more"
    with LeaseLocks(fs, clock=clock, sleep=clock.sleep).acquire(LOCK) as after:
        assert (after.token, after.clean) == (3, False), "so that it puts a fence of its own"
    assert clock.now == 0
    assert tokens(fs) == [1, 2, 3]


def test_a_free_lock_cannot_be_broken(locks: LeaseLocks, fs: FileSystem) -> None:
    assert locks.break_lock(LOCK) is None
    assert locks.holder(LOCK) is None
    assert fs.read_dir("t") == []
    locks.acquire(LOCK).close()
    before = fs.read(generation_path(LOCK, 1))
    assert locks.break_lock(LOCK) is None
    assert locks.holder(LOCK) is None
    assert tokens(fs) == [1]
    assert fs.read(generation_path(LOCK, 1)) == before


def test_the_fence_stays_however_many_come_after(locks: LeaseLocks, fs: FileSystem) -> None:
    zombie = LeaseLocks(fs, lease=1e6).acquire(LOCK)
    zombie.abandon()
    for _ in range(2):
        locks.break_lock(LOCK)
    for _ in range(5):
        locks.acquire(LOCK).close()
    assert zombie._successor() is not None


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_breaking_what_cannot_be_read(locks: LeaseLocks, fs: FileSystem, content: bytes) -> None:
    fs.write(generation_path(LOCK, 1), content)
    held = locks.holder(LOCK)
    assert held is not None
    assert (held.holder.token, held.holder.host) == (1, "unknown")
    assert locks.break_lock(LOCK) == held.holder
    assert locks.acquire(LOCK).token == 3


def test_of_several_who_break_a_lock_at_once_one_does(fs: FileSystem) -> None:
    class Overtaken(LeaseLocks):
        def _break(self, path: str, token: int, content: bytes) -> LockHolder | None:
            if not told:
                told.append(LeaseLocks(fs).break_lock(path))
            return super()._break(path, token, content)

    told: list[LockHolder | None] = []
    holder = dead_holder(fs)
    assert Overtaken(fs).break_lock(LOCK) is None, "it is free by now"
    assert told == [holder]
    assert tokens(fs) == [1, 2]


def test_breaking_meets_a_release(fs: FileSystem) -> None:
    """It is released and taken anew while somebody breaks it: the new holder is left alone."""

    class Slow(LeaseLocks):
        def _break(self, path: str, token: int, content: bytes) -> LockHolder | None:
            if token == 1:
                first.close()
                later.append(LeaseLocks(fs).acquire(path))
                later.append(LeaseLocks(fs).acquire(LOCK + "-of-others"))
            return super()._break(path, token, content)

    later: list[LeaseLock] = []
    first = LeaseLocks(fs).acquire(LOCK)
    broken = Slow(fs).break_lock(LOCK)
    assert broken is not None
    assert broken.token == 2, "the one that held it when it was broken"
    with pytest.raises(FencedError):
        later[0].check()
    later[1].check()
    later[1].close()


# Renewing


def test_a_lock_whose_file_is_deleted_is_lost(fs: FileSystem) -> None:
    """By hand, that is: others then see a free lock, and the holder must not write its file anew."""
    lock = LeaseLocks(fs, lease=0.03).acquire(LOCK)
    fs.delete_file(generation_path(LOCK, 1))
    lock._thread.join(30)
    with pytest.raises(FencedError, match="deleted"):
        lock.check()
    lock.close()
    assert tokens(fs) == []


def test_a_lock_whose_file_is_made_anew_by_another_is_lost(fs: FileSystem) -> None:
    lock = LeaseLocks(fs, lease=0.03).acquire(LOCK)
    fs.delete_file(generation_path(LOCK, 1))
    other = dead_holder(fs)
    lock._thread.join(30)
    with pytest.raises(FencedError, match=r"replaced|deleted"):
        lock.check()
    lock.close()
    assert stored(fs, 1) == other


class Watched(FileSystemWrapper):
    """Tells when a file was written, and fails to when told."""

    def __init__(self, wrapped: FileSystem) -> None:
        super().__init__(wrapped)
        self.writes = threading.Semaphore(0)
        self.failing = False

    def write(self, path: str, data: Any, *, exclusive: bool = False) -> int:
        if self.failing:
            self.writes.release()
            raise FileSystemError("write", path, "the store is down")
        written = super().write(path, data, exclusive=exclusive)
        self.writes.release()
        return written

    def wait(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.writes.acquire(timeout=30)


def test_holder_renews(fs: FileSystem) -> None:
    watched = Watched(fs)
    with LeaseLocks(watched, lease=0.03).acquire(LOCK) as lock:
        watched.wait(4)
        assert stored(fs, 1).renewals >= 2
        lock.check()
    assert stored(fs, 1).released


def test_failed_renewals_do_not_lose_the_lock(fs: FileSystem, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(fs)
    with LeaseLocks(watched, lease=0.03).acquire(LOCK) as lock:
        watched.wait()
        watched.failing = True
        watched.wait(5)
        lock.check()
        watched.failing = False
        watched.wait(3)
        lock.check()
    assert "could not be renewed" in caplog.text
    assert stored(fs, 1).released


def test_renewing_ends_with_the_lock(fs: FileSystem) -> None:
    lock = LeaseLocks(fs, lease=0.03).acquire(LOCK)
    lock.close()
    assert not lock._thread.is_alive()


def test_renewing_ends_when_fenced(fs: FileSystem) -> None:
    lock = LeaseLocks(fs, lease=0.03).acquire(LOCK)
    dead_holder(fs, 2, clean=False)
    lock._thread.join(30)
    assert not lock._thread.is_alive()
    with pytest.raises(FencedError):
        lock.check()


def test_closing_the_file_system_ends_renewing_without_release(fs: FileSystem) -> None:
    locks = LeaseLocks(fs, lease=0.03)
    lock = locks.acquire(LOCK)
    locks.close()
    assert not lock._thread.is_alive()
    assert not stored(fs, 1).released
    with pytest.raises(FencedError, match="closed"):
        lock.check()


def test_failed_release_is_raised_once(fs: FileSystem) -> None:
    watched = Watched(fs)
    lock = LeaseLocks(watched).acquire(LOCK)
    watched.failing = True
    with pytest.raises(FileSystemError, match="down"):
        lock.close()
    lock.close()
    assert not lock._thread.is_alive()
