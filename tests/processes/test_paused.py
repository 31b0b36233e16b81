"""A writer that stops for longer than its lease, as a paused machine or a long swap does, and then goes on."""

from __future__ import annotations

import os
import random
import signal
from multiprocessing.connection import Connection

import pytest

import measurefs
from measurefs import FencedError, LockError, Measure, TableOptions
from tests.conftest import Store
from tests.processes.children import Child, Place
from tests.processes.ingest import columns, open_measure

OPTIONS = TableOptions(gc_grace=0.0, keep_snapshots=1, gc_interval=0.02, flush_interval=0.01)


def write_until_fenced(pipe: Connection, place: Place) -> None:
    """Write one durable row after the other, and say the number of each that is acknowledged."""
    _, measure = open_measure(place, OPTIONS)
    number = 0
    while True:
        acknowledge(pipe, measure, number)
        number += 1


def acknowledge(pipe: Connection, measure: Measure, number: int) -> None:
    """Write a durable row and say its number; say why not and end, if fenced."""
    try:
        measure.write(columns({(1, number): number}, None), durable=True)
    except FencedError as error:
        pipe.send(str(error))
        os._exit(0)  # as a machine does that is reset: nothing is closed in good order
    pipe.send(number)


def rows(place: Place) -> set[int]:
    with measurefs.open(place.url, read_only=True, storage_options=place.storage_options()) as reader:
        return set(reader.measure("m").query().to_arrow()["value"].to_pylist())


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="there is no way to pause a process")
@pytest.mark.parametrize("seed", range(3))
def test_who_was_taken_over_acknowledges_nothing_more_and_damages_nothing(s3_store: Store, seed: int) -> None:
    place = Place.of(s3_store)
    chance = random.Random(seed)
    with Child(write_until_fenced, place) as child:
        acknowledged = {child.receive() for _ in range(chance.randint(1, 5))}
        child.waits(chance.uniform(0, 0.02))  # so that it stops anywhere in a commit
        os.kill(child.pid, signal.SIGSTOP)
        database, measure = open_measure(place, OPTIONS)
        measure.write(columns({(1, 10**6): -1}, None), durable=True)  # waits until the lease is over
        while child.waits(0):
            acknowledged.add(child.receive())
        measure.gc()
        held = rows(place)
        os.kill(child.pid, signal.SIGCONT)
        told = [*child.rest()]
    late = {message for message in told if isinstance(message, int)}
    assert len(late) <= 1
    assert late <= held, "it may have stopped between a commit and saying so"
    assert "taken over" in told[-1]
    assert acknowledged | {-1} <= held
    measure.write(columns({(1, 10**6 + 1): -2}, None), durable=True)
    measure.gc()
    database.close()
    assert rows(place) == held | {-2}
    assert held - acknowledged - {-1} <= {max(acknowledged) + 1}, "at most the row that was under way"


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="there is no way to pause a process")
def test_on_a_local_disk_a_paused_writer_keeps_its_table(local_store: Store) -> None:
    place = Place.of(local_store)
    with Child(write_until_fenced, place) as child:
        acknowledged = {child.receive()}
        os.kill(child.pid, signal.SIGSTOP)
        database, measure = open_measure(place, OPTIONS)
        with pytest.raises(LockError, match=str(child.pid)):
            measure.write(columns({(1, 10**6): -1}, None), durable=True)
        os.kill(child.pid, signal.SIGCONT)
        acknowledged |= {child.receive() for _ in range(3)}
        child.kill()
        acknowledged |= set(child.rest())
        measure.write(columns({(1, 10**6): -1}, None), durable=True)
        database.close()
    assert acknowledged | {-1} <= rows(place)
