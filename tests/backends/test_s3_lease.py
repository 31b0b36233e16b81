"""The lock made of exclusive writes, on S3 between real clients."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from measurefs.backends.lease import LeaseLock, LeaseLocks
from measurefs.backends.s3 import S3FileSystem
from measurefs.fs import FencedError, FileSystem, FileSystemError, LockError, open_url
from tests.backends.conftest import RawBucket
from tests.conftest import Store
from tests.s3_proxy import Hold, S3Proxy, lose_answer, refuse

LOCK = "t/LOCK"


@pytest.fixture
def pair(s3_store: Store) -> Iterator[tuple[FileSystem, FileSystem]]:
    with s3_store.open(lease=0.6) as one, s3_store.open(lease=0.6) as two:
        yield one, two


def died(lock: Any) -> LeaseLock:
    """End a lock as the death of its process would."""
    assert isinstance(lock, LeaseLock)
    lock.abandon()
    return lock


def test_s3_takeover(pair: tuple[FileSystem, FileSystem]) -> None:
    one, two = pair
    zombie = died(one.create_lock_file(LOCK))
    with two.create_lock_file(LOCK) as lock:
        assert (lock.token, lock.clean) == (2, False)
        zombie._over.clear()  # it was not dead but asleep
        with pytest.raises(FencedError):
            zombie.check()
        lock.check()


def test_s3_breaking(s3_proxy: S3Proxy, s3_store: Store) -> None:
    options = s3_proxy.options | {"assume_conditional_writes": True}
    with s3_store.open() as one, s3_store.open(**options) as two:
        assert two.lock_holder(LOCK) is None
        lock = one.create_lock_file(LOCK)
        held = two.lock_holder(LOCK)
        assert held is not None
        assert held.holder.token == 1
        assert held.unrenewed is not None
        assert 0 <= held.unrenewed < 60
        s3_proxy.clear()
        assert two.break_lock(LOCK) == held.holder
        assert s3_proxy.counts == {"LIST": 2, "GET": 1, "PUT": 1}
        with pytest.raises(FencedError, match="broken"):
            lock.check()
        with two.create_lock_file(LOCK) as after:
            assert (after.token, after.clean) == (3, False)
        assert two.lock_holder(LOCK) is None
        assert two.break_lock(LOCK) is None


def test_s3_renewing_requests(s3_proxy: S3Proxy, s3_store: Store) -> None:
    """Two GETs, whether somebody took over or deleted the file, and a PUT."""
    with s3_store.open(lease=0.3, **s3_proxy.options) as fs, fs.create_lock_file(LOCK):
        s3_proxy.clear()
        hold = Hold()
        s3_proxy.on("PUT", hold, key="LOCK.")
        hold.wait()
        assert s3_proxy.counts == {"GET": 2, "PUT": 1}
        hold.release()


def test_s3_renewed_lock_is_refused(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_store.open(lease=5) as one, s3_store.open(lease=5) as two, one.create_lock_file(LOCK) as lock:
        monkeypatch.setattr("measurefs.backends.lease._ours", set())  # as another process would see it
        with pytest.raises(LockError):
            two.create_lock_file(LOCK)
        lock.check()


def test_s3_lost_answers_do_not_lock_oneself_out(s3_proxy: S3Proxy, s3_url: str) -> None:
    with S3FileSystem(s3_url, **s3_proxy.options) as fs:
        fs.create_lock_file(LOCK).close()
        s3_proxy.on("*", lose_answer, times=1, key="LOCK.")
        with fs.create_lock_file(LOCK) as lock:
            s3_proxy.on("PUT", lose_answer, times=1, key="LOCK.")
            lock.check()
        with fs.create_lock_file(LOCK) as lock:
            assert (lock.token, lock.clean) == (3, True)


def test_s3_stalled_creation_gives_way(s3_proxy: S3Proxy, s3_store: Store, raw_bucket: RawBucket) -> None:
    """The PUT of generation 2 is held back until generation 2 has been collected; then it succeeds, in vain."""
    with s3_store.open(**s3_proxy.options) as stalled, s3_store.open() as other:
        other.create_lock_file(LOCK).close()
        hold = Hold()
        s3_proxy.on("PUT", hold, key=f"{LOCK}.{2:016x}")
        refused: list[BaseException] = []

        def contend() -> None:
            try:
                stalled.create_lock_file(LOCK)
            except LockError as error:
                refused.append(error)

        contender = threading.Thread(target=contend)
        contender.start()
        hold.wait()
        for _ in range(2):
            other.create_lock_file(LOCK).close()
        hold.release()
        contender.join(30)
        assert len(refused) == 1
        assert raw_bucket.names() == {f"{LOCK}.{3:016x}"}


def test_s3_outage_is_not_fencing(s3_proxy: S3Proxy, s3_url: str) -> None:
    with S3FileSystem(s3_url, retry_deadline=0.2, **s3_proxy.options) as fs:
        lock = fs.create_lock_file(LOCK)
        s3_proxy.on("*", refuse(503), times=float("inf"))
        with pytest.raises(FileSystemError) as caught:
            lock.check()
        assert not isinstance(caught.value, LockError)
        s3_proxy.clear()
        lock.check()
        lock.close()


def test_s3_and_memory_agree_on_the_chain(s3_store: Store) -> None:
    with open_url(s3_store.url, **s3_store.options) as fs, LeaseLocks(fs, lease=0.1).acquire(LOCK) as lock:
        assert lock.token == 1
        with pytest.raises(LockError):
            fs.create_lock_file(LOCK)
