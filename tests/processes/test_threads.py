"""The first thing that a process does, done by several threads at once."""

from __future__ import annotations

import os
import sys
from multiprocessing.connection import Connection

import pytest

import measurefs
from tests.conftest import Store
from tests.database.helpers import DAY, open_store, values_of
from tests.processes.children import Child, Place
from tests.processes.test_fork import in_fork

TABLES = 8


def opens(_: Connection, place: Place, writes: bool, times: int) -> None:
    """Open several tables at the same time in processes that have never read any, their threads taking turns often."""
    sys.setswitchinterval(1e-6)

    def open_tables() -> None:
        with measurefs.open(place.url, read_only=not writes) as database:
            measure = database.measure("m")
            if writes:
                measure.write({"time": [day * DAY for day in range(TABLES)], "host": ["b"] * TABLES})
            assert len(values_of(measure, "time")) == TABLES * (1 + writes)

    for _ in range(times):
        in_fork(open_tables)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("writes", [False, True])
def test_tables_opened_at_the_same_time_as_the_first_of_a_process(local_store: Store, writes: bool) -> None:
    """Libraries that look at a type when it is first used may not expect two threads to do so."""
    with open_store(local_store) as database:
        measure = database.create_measure("m", entity=["host"], fields={"value": "int64"})
        measure.write({"time": [day * DAY for day in range(TABLES)], "host": ["a"] * TABLES}, durable=True)
    with Child(opens, Place.of(local_store), writes, 4) as child:
        child.finish()
