"""Locks on S3 between processes whose clocks disagree, and locks that somebody breaks."""

from __future__ import annotations

import datetime
import os
import signal
import time
import types
from multiprocessing.connection import Connection
from typing import Any

import pytest

import measurefs.fs.holder
from measurefs import LockError
from measurefs.fs import walk
from tests.conftest import Store
from tests.processes.children import Child, Place
from tests.processes.ingest import columns, open_measure
from tests.processes.test_paused import OPTIONS, acknowledge, rows

DAY = 86_400.0
LEASE = 1.5
"""Long enough that a busy machine does not let it run out between two renewals."""


def write_when_told(pipe: Connection, seconds: float, place: Place) -> None:
    """Write durable rows of the numbers that come, by a wall clock that is so many seconds ahead, until fenced."""
    true_time = time.time

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return datetime.datetime.now(tz) + datetime.timedelta(seconds=seconds)

    time.time = lambda: true_time() + seconds
    clock: Any = types.SimpleNamespace(datetime=Shifted, UTC=datetime.UTC)
    measurefs.fs.holder.datetime = clock
    _, measure = open_measure(place, OPTIONS)
    while True:
        acknowledge(pipe, measure, pipe.recv())


def told_to(child: Child, number: int) -> Any:
    """Let it write a row, and return what it says to that."""
    child.send(number)
    return child.next()


def write_one(place: Place, number: int) -> None:
    """Open the store, write a durable row and close it."""
    database, measure = open_measure(place, OPTIONS)
    try:
        measure.write(columns({(1, number): number}, None), durable=True)
    finally:
        database.close()


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="there is no way to pause a process")
def test_clocks_that_disagree_decide_nothing(s3_store: Store) -> None:
    """A holder whose clock is a day behind is not taken for dead, nor one whose clock is a day ahead for living."""
    place = Place.of(s3_store, lease=LEASE)
    with Child(write_when_told, -DAY, place) as behind, Child(write_when_told, DAY, place) as ahead:
        assert told_to(behind, 1) == 1
        with pytest.raises(LockError, match=rf"process {behind.pid} on ") as refused:
            write_one(place, 2)
        since = datetime.datetime.fromisoformat(refused.value.holder.since)
        assert abs(datetime.datetime.now(datetime.UTC) - since).total_seconds() > DAY / 2
        os.kill(behind.pid, signal.SIGSTOP)
        begun = time.monotonic()
        assert told_to(ahead, 3) == 3
        assert time.monotonic() - begun >= LEASE, "it has watched for a whole lease"
        behind.send(4)
        os.kill(behind.pid, signal.SIGCONT)
        assert f"taken over by process {ahead.pid}" in behind.next()
        assert told_to(ahead, 5) == 5
        ahead.kill()
        write_one(place, 6)
    assert rows(place) == {1, 3, 5, 6}


def test_a_living_writer_whose_lock_is_broken_acknowledges_nothing_more(s3_store: Store) -> None:
    place = Place.of(s3_store, lease=30.0)
    with Child(write_when_told, 0.0, place) as child, s3_store.open() as fs:
        assert told_to(child, 1) == 1
        (lock,) = {path.rpartition(".")[0] for path in walk(fs) if "/LOCK." in path}
        broken = fs.break_lock(lock)
        assert broken is not None
        assert broken.pid == child.pid
        begun = time.monotonic()
        write_one(place, 2)
        assert time.monotonic() - begun < 30, "at once, not after a lease"
        assert f"broken by process {os.getpid()}" in told_to(child, 3)
    assert rows(place) == {1, 2}
