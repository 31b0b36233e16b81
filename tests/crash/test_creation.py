"""A database or a measure whose making was acknowledged is there, though its maker, or the one before, died."""

from __future__ import annotations

import contextlib

import pytest

import measurefs
from measurefs.database.database import _open_databases
from measurefs.testing import CrashFileSystem, SimulatedCrash


def create(fs: CrashFileSystem) -> measurefs.Database:
    database = measurefs.open(fs)
    # A process that dies in a test is not there to close its database when the interpreter exits.
    _open_databases.discard(database)
    database.create_measure("m", entity=["id"], fields={"value": "int64"}, exist_ok=True)
    return database


def measures(fs: CrashFileSystem) -> list[str]:
    with measurefs.open(fs, read_only=True) as database:
        return database.measures()


def operations() -> int:
    fs = CrashFileSystem()
    create(fs).close()
    return fs.operations


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, operations() + 1))
def test_whatever_a_crash_leaves_it_can_be_made(number: int, after: bool) -> None:
    fs = CrashFileSystem()
    fs.crash_at(number, after=after)
    with contextlib.suppress(SimulatedCrash):
        create(fs)
    assert fs.crashed
    for found in (fs.kill(), fs.crash("none"), fs.crash("all"), *map(fs.crash, range(5))):
        create(found).close()
        assert measures(found.crash("none")) == ["m"]
