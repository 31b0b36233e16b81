"""What a damaged store answers, and whether that is right.

A damage is *detected* (an error that names the file or its table), *harmless* (exactly the rows), or the table
*fell back* to an older snapshot, which it must tell and of which it must give exactly the rows. All else is
*wrong*: other rows, an error of another kind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pyarrow as pa

import measurefs
from measurefs.backends.memory import MemoryFileSystem
from measurefs.database.verify import verify
from measurefs.fs import (
    CorruptionError,
    FileSystem,
    FileSystemError,
    FileSystemWrapper,
    SchemaError,
    UnsupportedStoreError,
    basename,
    parent,
)
from measurefs.table import Runtime
from measurefs.table.epochs import snapshot_epoch
from measurefs.table.recovery import read_snapshot
from tests.damage.damages import Damage
from tests.damage.stores import COMPACT, DAY, START, Store, options, rows, runtime

DETECTED, HARMLESS, FELL_BACK, WRONG = "detected", "harmless", "fell back", "wrong"
VERDICTS = (DETECTED, HARMLESS, FELL_BACK, WRONG)

NEW_ROWS = rows(12, 6, 2, seed=9)
_SNAPSHOT = re.compile(r"[\w/%.-]+\.snp")
IN_PLACE = frozenset({"flip", "cut", "zero", "garble", "stale", "append", "blocks"})
"""Damages to the content of one file."""

_SHORT = frozenset({"cut", "remove", "directory", "swap", "copy"})
"""Damages that a file system sees itself: what is to be read is not there."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of a damage, and for what is wrong, why."""

    name: str
    why: str = ""


# First what most damages are found by.
_QUERIES: list[dict[str, Any]] = [
    {"start": START, "end": START + DAY},
    {"order": "series"},
    {"order": "time"},
    {"order": "-time"},
    {"where": {"host": "host-1"}},
    {"start": START + DAY, "end": START + 2 * DAY},
]


def ask(fs: FileSystem, *, versions: bool = True) -> Iterator[Any]:
    """Open a store read-only and yield the rows of each query, and at last the snapshots it calls damaged."""
    with measurefs.open(fs, read_only=True, runtime=Runtime()) as db:
        cpu = db.measure("cpu")
        names = [*cpu.schema.names, *(["version"] if versions else [])]
        for query in _QUERIES:
            yield bits(cpu.query(columns=names, **query).to_arrow())
        yield called_damaged(cpu)


def called_damaged(measure: measurefs.Measure) -> frozenset[str]:
    """Return the snapshots that a measure's tables report."""
    told = [line for stats in measure.stats().values() for line in stats["damaged_snapshots"]]
    return frozenset(found.group() for line in told if (found := _SNAPSHOT.search(line)))


def bits(table: pa.Table) -> list[Any]:
    """Return the columns such that equal means equal in every bit: floats as integers."""
    columns = [column.combine_chunks() for column in table.columns]
    for column in columns:
        column.validate(full=True)
    return [column.view(pa.int64()) if column.type == pa.float64() else column for column in columns]


def truth(store: Store, without: frozenset[str] = frozenset()) -> list[Any]:
    """Return what the undamaged store answers, as if some of its snapshots had never been."""
    return _truth(store.name, store, without)


@functools.cache
def _truth(_: str, store: Store, without: frozenset[str]) -> list[Any]:
    fs = store.load()
    for path in sorted(without & store.files.keys()):
        forget(fs, path)
    *answers, told = ask(fs)
    assert not told
    return answers


def forget(fs: MemoryFileSystem, path: str) -> None:
    """Let a snapshot be as the one before it; a log may follow it."""
    epochs = sorted(epoch for entry in fs.read_dir(parent(path)) if (epoch := snapshot_epoch(entry.name)))
    place = epochs.index(snapshot_epoch(basename(path)))
    if place == 0:
        fs.delete_file(path)
        return
    before = read_snapshot(fs, parent(path), epochs[place - 1])
    fs.write(path, msgspec.structs.replace(before, epoch=epochs[place]).encode())


def judge(store: Store, damage: Damage, fs: MemoryFileSystem) -> Verdict:
    """Open the damaged files read-only, ask everything, and judge the answers."""
    try:
        return _judge(store, ask(fs))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is to be judged
        return judge_error(damage, error)


def _judge(store: Store, answers: Iterator[Any]) -> Verdict:
    found = []
    for right, answer in zip(truth(store), answers, strict=False):  # in this order, or one is lost
        found.append(answer)
        if answer != right:
            break
    else:
        return Verdict(FELL_BACK if next(answers) else HARMLESS)
    *found, told = [*found, *answers]
    if not told:
        return Verdict(WRONG, "other rows, and nothing is said of it")
    if found != truth(store, told):
        return Verdict(WRONG, f"rows that no older snapshot has, without {sorted(told)}")
    return Verdict(FELL_BACK)


def judge_error(damage: Damage, error: Exception) -> Verdict:
    """Judge what was raised: of the right kind, and does it name what is damaged?"""
    kinds: tuple[type[Exception], ...] = (CorruptionError,)
    if damage.how in _SHORT:
        kinds += (FileSystemError,)
    if isinstance(error, SchemaError) and damage.how in _SHORT and "cpu/schema.json" in damage.paths():
        return Verdict(DETECTED)  # there is no such measure any more
    moved = damage.how in {"swap", "copy"}
    if (
        moved
        and isinstance(error, UnsupportedStoreError)
        and any(path in str(error) for path in damage.paths())
    ):
        return Verdict(DETECTED)  # another kind of document, whole and sealed
    if not isinstance(error, kinds):
        return Verdict(WRONG, f"{type(error).__name__}: {error}")
    named = getattr(error, "path", "")
    if not any(_concerns(named, path, single=not moved) for path in damage.paths()):
        return Verdict(WRONG, f"it names {named!r}: {error}")
    return Verdict(DETECTED)


def _concerns(named: str, path: str, *, single: bool) -> bool:
    """Whether a path in an error is that of a damaged file or its table; of moved ones, or a neighbour."""
    if named in {path, parent(path)} or path.startswith(f"{named}/"):
        return True
    if "measurefs.json" in path:
        return path in named or "MemoryFileSystem" in named
    return not single and (named.startswith(f"{path}/") or named.startswith(f"{parent(path)}/"))


def judge_verifying(damage: Damage, fs: MemoryFileSystem, verdict: Verdict) -> Verdict:
    """Judge what verifying finds: the damaged file, unless it is one of which nothing depends."""
    if verdict.name == WRONG:
        return verdict
    try:
        named = {found.path for found in verify(fs, runtime=Runtime()).damages}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is to be judged
        judged = judge_error(damage, error)
        return verdict if judged.name == DETECTED else Verdict(WRONG, f"verify raised {judged.why}")
    single = damage.how in IN_PLACE
    if any(_concerns(path, one, single=single) for path in named for one in damage.paths()):
        return verdict
    needless = verdict.name == HARMLESS and (not single or damage.kind == "lock")
    return verdict if needless else Verdict(WRONG, f"verify names {sorted(named)}")


class Recorder(FileSystemWrapper):
    """Notes which bytes are read."""

    def __init__(self, wrapped: FileSystem) -> None:
        super().__init__(wrapped)
        self.ranges: dict[str, set[int]] = {}

    def read(self, path: str) -> bytes:
        content = super().read(path)
        self.ranges.setdefault(path, set()).update(range(len(content)))
        return content

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        for path, offset, size in ranges:
            self.ranges.setdefault(path, set()).update(range(offset, offset + size))
        return super().read_ranges(ranges)


def looked_at(store: Store) -> dict[str, set[int]]:
    """Return the bytes of each file that asking the undamaged store reads.

    A bit elsewhere, turned, changes nothing of what a reader does: no need to try each one.
    """
    return _looked_at(store.name, store)


@functools.cache
def _looked_at(_: str, store: Store) -> dict[str, set[int]]:
    recorder = Recorder(store.load())
    list(ask(recorder))
    return recorder.ranges


# Writing.


def judge_writing(store: Store, damage: Damage) -> Verdict:
    """Open a damaged copy for writing, write rows, and judge what a reader finds after that.

    If it refuses, then without having changed anything.
    """
    fs = store.load()
    damage.apply(store, fs)
    before = _contents(fs)
    try:
        told = write_more(fs)
        *answers, _ = ask(fs, versions=False)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is to be judged
        verdict = judge_error(damage, error)
        if verdict.name == DETECTED and not _only_added(before, _contents(fs)):
            return Verdict(WRONG, f"it raised, but had changed the store: {error}")
        return verdict
    if answers != _truth_after_writing(store.name, store, told):
        return Verdict(WRONG, f"after writing there are other rows; told: {sorted(told)}")
    return Verdict(FELL_BACK if told else HARMLESS)


def write_more(fs: FileSystem) -> frozenset[str]:
    """Write `NEW_ROWS` durably; return the snapshots that the writer calls damaged."""
    with contextlib.ExitStack() as stack:
        db = stack.enter_context(measurefs.open(fs, options=options(COMPACT, 16), runtime=runtime()))
        cpu = db.measure("cpu")
        cpu.write(NEW_ROWS, durable=True)
        cpu.gc()
        return called_damaged(cpu)


@functools.cache
def _truth_after_writing(_: str, store: Store, without: frozenset[str]) -> list[Any]:
    fs = store.load()
    for path in sorted(without & store.files.keys()):
        forget(fs, path)
    write_more(fs)
    *answers, _ = ask(fs, versions=False)
    return answers


def _contents(fs: MemoryFileSystem) -> dict[str, bytes]:
    return {path: fs.read(path) for path in measurefs.fs.walk(fs)}


def _only_added(before: dict[str, bytes], after: dict[str, bytes]) -> bool:
    """Whether all is there still; locks are taken and other tables go on, a damaged snapshot is set aside."""
    return all(
        after.get(path, after.get(f"{path}.corrupt")) == content
        for path, content in before.items()
        if not path.rpartition("/")[2].startswith("LOCK") and not path.endswith(".snp")
    )
