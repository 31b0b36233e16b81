"""Reads that lie: an error surfaces, or the right rows, never others; and nothing is set aside that is whole."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

import measurefs
from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import CorruptionError, FileSystem, ReadError, walk
from measurefs.table import Runtime
from tests.damage.lying import Lie, LyingFileSystem, a_bit, short, stale
from tests.damage.oracle import bits, truth, write_more
from tests.damage.stores import COMPACT, WIDE, options, rows, small, store_rows


@functools.cache
def another() -> MemoryFileSystem:
    """A store of the same file names and other rows: what a disk may have had at the same places before."""
    fs = MemoryFileSystem()
    store_rows(fs, rows(48, 6, 2, seed=5), options(COMPACT, 16), shards=2)
    store_rows(fs, rows(10, 6, 1, seed=6), options(WIDE, 16), shards=2)
    return fs


LIES: dict[str, Callable[[int], Lie]] = {"a bit": a_bit, "short": short, "stale": lambda _: stale(another())}


def everything(fs: FileSystem, *, versions: bool = True) -> list[object]:
    with measurefs.open(fs, read_only=True, runtime=Runtime()) as db:
        cpu = db.measure("cpu")
        names = [*cpu.schema.names, *(["version"] if versions else [])]
        return bits(cpu.query(columns=names, order="series").to_arrow())


CASES = [(kind, times) for kind in LIES for times in (1, 1_000_000) if (kind, times) != ("stale", 1_000_000)]
"""Who reads the other store for ever reads the other store."""


@pytest.mark.parametrize(("kind", "times"), CASES)
def test_other_rows_are_never_read(kind: str, times: int) -> None:
    right = truth(small())[1]
    honest = LyingFileSystem(small().load(), a_bit(0), at=-1)
    assert everything(honest) == right
    errors = 0
    for at in range(0, len(honest.reads), 3):
        fs = LyingFileSystem(small().load(), LIES[kind](at), at, times)
        try:
            assert everything(fs) == right, f"lie {kind}, {times} times from read {at}"
        except (CorruptionError, ReadError):
            assert fs.lies
            errors += 1
    assert errors > 0


def test_a_snapshot_misread_once_is_read_again() -> None:
    """Otherwise opening for writing would go back to the one before, and drop the rows since then."""
    looked = LyingFileSystem(small().load(), a_bit(0), at=-1)
    write_more(looked)
    right, with_more = everything(small().load(), versions=False), everything(looked, versions=False)
    snapshots = [at for at, path in enumerate(looked.reads) if path.endswith(".snp")]
    assert snapshots
    for at in {*snapshots, *range(0, len(looked.reads), 9)}:
        fs = small().load()
        try:
            assert write_more(LyingFileSystem(fs, a_bit(at), at)) == frozenset()
        except CorruptionError:
            assert everything(fs, versions=False) == right
            assert at not in snapshots
        else:
            assert everything(fs, versions=False) == with_more
        assert not [path for path in walk(fs) if path.endswith(".corrupt")]
