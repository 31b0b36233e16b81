"""Locks: one holder at a time, known by name, with a token that only grows."""

from __future__ import annotations

import os
import re
from functools import partial

import pytest

from measurefs.fs import FencedError, FileSystem, LockError, LockFile, UnsupportedStoreError
from measurefs.testing.harness import RawAccess, Suite, names_in, put_all, refused, together


class LockRules(Suite):
    """`create_lock_file`."""

    def test_lock(self, fs: FileSystem) -> None:
        """A lock knows its path, has a token from 1 on, and holds until it is closed."""
        with fs.create_lock_file("LOCK") as lock:
            assert lock.path == "LOCK"
            assert lock.token >= 1
            lock.check()
            lock.check()

    def test_lock_is_exclusive(self, fs: FileSystem, another: FileSystem) -> None:
        """Whoever comes second is refused, even by the same client, and the holder is not bothered."""
        with fs.create_lock_file("LOCK") as lock:
            for client in (another, fs, another):
                with refused(LockError, "LOCK", "create_lock_file"):
                    client.create_lock_file("LOCK")
                lock.check()

    def test_lock_names_its_holder(self, fs: FileSystem, another: FileSystem) -> None:
        """The refusal says which process holds the lock, on which machine, and since when."""
        with fs.create_lock_file("LOCK") as lock:
            with pytest.raises(LockError, match=re.escape(str(os.getpid()))) as caught:
                another.create_lock_file("LOCK")
            holder = caught.value.holder
            assert (holder.pid, holder.token) == (os.getpid(), lock.token)
            assert holder.host in str(caught.value)
            assert holder.since in str(caught.value)

    def test_lock_is_not_touched_by_losers(self, fs: FileSystem, another: FileSystem, raw: RawAccess) -> None:
        """A refused attempt leaves every stored byte as it was."""
        with fs.create_lock_file("LOCK"):
            before = {name: raw.get(name) for name in raw.names()}
            with pytest.raises(LockError):
                another.create_lock_file("LOCK")
            assert {name: raw.get(name) for name in raw.names()} == before

    def test_lock_passes_on(self, fs: FileSystem, another: FileSystem) -> None:
        """A released lock can be taken at once, by anybody, and every token is greater than the last."""
        tokens = []
        for client in (fs, another, another, fs, another, fs):
            with client.create_lock_file("LOCK") as lock:
                lock.check()
                tokens.append(lock.token)
        assert tokens == sorted(set(tokens))

    def test_lock_tells_a_clean_release(self, fs: FileSystem, another: FileSystem) -> None:
        """Whether the holder before released the lock is known: there was none, or it did."""
        for client in (fs, another, fs):
            with client.create_lock_file("LOCK") as lock:
                assert lock.clean is self.tells_clean

    def test_lock_tells_an_unclean_release(self, fs: FileSystem, another: FileSystem) -> None:
        """Who lets go with ``clean=False`` is free to be followed at once, but as after a crash."""
        fs.create_lock_file("LOCK").close(clean=False)
        with another.create_lock_file("LOCK") as lock:
            assert not lock.clean
        with fs.create_lock_file("LOCK") as lock:
            assert lock.clean is self.tells_clean

    def test_lock_can_be_broken(self, fs: FileSystem, another: FileSystem) -> None:
        """Where that is possible it fences the holder and frees the lock at once; else the holder does not notice."""
        with fs.create_lock_file("LOCK") as lock:
            try:
                held = another.lock_holder("LOCK")
                broken = another.break_lock("LOCK")
            except UnsupportedStoreError:
                lock.check()
                return
            assert held is not None
            assert broken is not None
            assert (held.holder.token, broken.token, broken.pid) == (lock.token, lock.token, os.getpid())
            with pytest.raises(FencedError):
                lock.check()
            assert another.lock_holder("LOCK") is None
            assert another.break_lock("LOCK") is None
            with another.create_lock_file("LOCK") as after:
                assert after.token > lock.token
                assert not after.clean

    def test_lock_closed(self, fs: FileSystem, another: FileSystem) -> None:
        """A closed lock is lost for good, may be closed again, and then harms nobody."""
        lock = fs.create_lock_file("LOCK")
        lock.close()
        lock.close()
        with refused(FencedError, "LOCK"):
            lock.check()
        with another.create_lock_file("LOCK") as theirs:
            lock.close()
            with refused(FencedError, "LOCK"):
                lock.check()
            theirs.check()

    def test_lock_released_by_exception(self, fs: FileSystem) -> None:
        """The ``with`` block releases it in any case."""
        with pytest.raises(ZeroDivisionError), fs.create_lock_file("LOCK"):
            _ = 1 / 0
        fs.create_lock_file("LOCK").close()

    def test_locks_are_independent(self, fs: FileSystem, another: FileSystem) -> None:
        """Locks of other paths are other locks, however alike the names."""
        fs.make_dir("d")
        paths = ["LOCK", "LOCK2", "LOC", "d/LOCK"]
        locks = [client.create_lock_file(path) for client, path in zip([fs, another] * 2, paths, strict=True)]
        for lock in locks:
            lock.check()
        locks[0].close()
        for lock in locks[1:]:
            lock.check()
            with refused(LockError, lock.path):
                fs.create_lock_file(lock.path)
            lock.close()

    def test_lock_tokens_are_per_path(self, fs: FileSystem) -> None:
        """A lock of another path counts for itself, and from 1."""
        for _ in range(3):
            fs.create_lock_file("LOCK").close()
        with fs.create_lock_file("LOCK2") as lock:
            assert lock.token == 1

    def test_lock_is_a_good_neighbour(self, fs: FileSystem, another: FileSystem) -> None:
        """Files beside a lock are listed, read, written and removed as ever, by the holder and others."""
        put_all(fs, "d/file")
        with fs.create_lock_file("d/LOCK") as lock:
            put_all(fs, "d/mine")
            put_all(another, "d/theirs")
            assert {"file", "mine", "theirs"} <= set(names_in(another, "d"))
            fs.delete_file("d/file")
            lock.check()
        assert {"mine", "theirs"} <= set(names_in(another, "d"))

    def test_lock_race(self, fs: FileSystem, another: FileSystem) -> None:
        """Of several who try at the same time one gets the lock, and the others are refused."""
        tokens = []
        for _ in range(3):
            clients = [fs, another] * (self.racers // 2)
            outcomes = together([partial(client.create_lock_file, "LOCK") for client in clients])
            locks = [outcome for outcome in outcomes if isinstance(outcome, LockFile)]
            assert len(locks) == 1, outcomes
            assert sum(isinstance(outcome, LockError) for outcome in outcomes) == len(clients) - 1
            locks[0].check()
            tokens.append(locks[0].token)
            locks[0].close()
        assert tokens == sorted(set(tokens))

    def test_lock_checked_from_many_threads(self, fs: FileSystem) -> None:
        """A lock may be checked and closed from any thread."""
        with fs.create_lock_file("LOCK") as lock:
            assert together([lock.check] * self.racers) == [None] * self.racers
            assert together([lock.close] * self.racers) == [None] * self.racers
            with refused(FencedError, "LOCK"):
                lock.check()
