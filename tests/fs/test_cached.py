"""The cache of parts: what it gives is what the store has, whatever becomes of it."""

from __future__ import annotations

import collections
import errno
import itertools
import logging
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import measurefs
from measurefs.backends.local import LocalFileSystem
from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import (
    CorruptionError,
    CountingFileSystem,
    FileSystem,
    FileSystemWrapper,
    NotExistError,
    ReadError,
    walk,
)
from measurefs.fs.cached import CachedFileSystem, is_kept
from measurefs.fs.extents import LARGEST, Extent, Extents, stretches
from measurefs.testing import FileSystemConformance
from measurefs.testing.fault import Fault, FaultFileSystem
from tests.conftest import Store
from tests.s3_proxy import S3Proxy

PART = "t/0000010000000001.part"
OTHER = "t/0000010000000002.part"
WIDE = "t/0000010000000003/fields.bin"
CONTENT = bytes(number * 7 % 251 for number in range(100_000))
MIB = 1 << 20


# The rules of every file system


class TestCachedOnMemory(FileSystemConformance):
    many = 200

    @pytest.fixture
    def name(self) -> Iterator[str]:
        name = f"test-{uuid.uuid4()}"
        yield name
        MemoryFileSystem.forget(name)

    @pytest.fixture
    def fs(self, name: str) -> Iterator[FileSystem]:
        with CachedFileSystem(MemoryFileSystem(name), MemoryFileSystem()) as fs:
            yield fs

    @pytest.fixture
    def another(self, fs: FileSystem, name: str) -> Iterator[FileSystem]:
        with CachedFileSystem(MemoryFileSystem(name), MemoryFileSystem()) as another:
            yield another


@pytest.mark.long
class TestCachedOnLocal(FileSystemConformance):
    many = 200

    @pytest.fixture
    def fs(self, tmp_path: Path) -> Iterator[FileSystem]:
        with CachedFileSystem(LocalFileSystem(tmp_path / "root"), str(tmp_path / "cache")) as fs:
            yield fs

    @pytest.fixture
    def another(self, fs: FileSystem, tmp_path: Path) -> Iterator[FileSystem]:
        with CachedFileSystem(LocalFileSystem(tmp_path / "root"), str(tmp_path / "cache")) as another:
            yield another


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        (PART, True),
        (WIDE, True),
        ("0000010000000001.part", True),
        ("cpu/seg-20260101/shard-0/0000010000000001/primary.bin", True),
        ("cpu/seg-20260101/shard-0/0000010000000001/tags.tf", True),
        ("cpu/seg-20260101/shard-0/0000010000000001/tags.tfm", True),
        ("t/0000010000000001.snp", False),
        ("t/0000010000000001.part.corrupt", False),
        ("t/0000010000000001.corrupt/fields.bin", False),
        ("t/LOCK", False),
        ("t/LOCK.0000000000000001", False),
        ("measurefs.json", False),
        # A measure may have a name of 16 hexadecimal digits, and its directory what changes.
        ("0000010000000001/schema.json", False),
        ("0000010000000001/LOCK", False),
        ("0000010000000001/.tags/name.json", False),
    ],
)
def test_only_files_of_parts_are_kept(path: str, kept: bool) -> None:
    assert is_kept(path) is kept


# Serving


class Clock:
    """Time as the test has it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Setting:
    """A store with a few files of parts, a cache, and any number of "processes" on both."""

    def __init__(self) -> None:
        self.store = MemoryFileSystem()
        self.cache = MemoryFileSystem()
        self.clock = Clock()
        self.store.make_dir("t/0000010000000003")
        for path in (PART, OTHER, WIDE, "t/LOCK"):
            self.store.write(path, CONTENT)

    def open(self, limit: int = MIB, namespace: str = "store", cache: FileSystem | None = None) -> Process:
        return Process(self, limit, namespace, cache or self.cache)

    def entries(self) -> list[str]:
        return [path for path in walk(self.cache) if path.startswith("files/")]

    def kept_bytes(self) -> int:
        return sum(len(self.cache.read(path)) for path in self.entries())


class Process:
    """A file system with a cache as a process of its own has it; counts what it asks of the store."""

    def __init__(self, setting: Setting, limit: int, namespace: str, cache: FileSystem) -> None:
        self.store = CountingFileSystem(setting.store)
        self.fs = CachedFileSystem(self.store, cache, limit=limit, namespace=namespace, clock=setting.clock)

    def fetched(self) -> int:
        """How many bytes were read of the store since the last time."""
        fetched = self.store.bytes["read"]
        self.store.reset()
        return fetched

    def check(self, *ranges: tuple[str, int, int]) -> int:
        """Read ranges, check every byte, and return how many bytes came from the store."""
        self.fetched()
        assert self.fs.read_ranges(ranges) == [CONTENT[at : at + size] for _, at, size in ranges]
        return self.fetched()


@pytest.fixture
def setting() -> Setting:
    return Setting()


def test_what_was_read_once_is_not_fetched_again(setting: Setting) -> None:
    mine = setting.open()
    wanted = [(PART, 10, 100), (WIDE, 0, 50), (PART, 50_000, 1000), (PART, 20, 5)]
    assert mine.check(*wanted) > 0
    assert mine.check(*wanted) == 0
    assert mine.check((PART, 30, 10), (WIDE, 49, 1)) == 0
    stats = mine.fs.stats()
    assert (stats["hits"], stats["misses"], stats["hit_rate"]) == (6, 4, 0.6)
    assert stats["errors"] == stats["damaged"] == stats["evicted_bytes"] == 0


def test_ranges_are_served_from_several_entries_together(setting: Setting) -> None:
    mine = setting.open()
    assert mine.check((PART, 100, 100)) == 100
    assert mine.check((PART, 200, 100)) == 100
    assert mine.check((PART, 120, 160)) == 0
    assert mine.check((PART, 0, 300)) == 100
    assert mine.check((PART, 40_000, 50)) == 50
    assert mine.check((PART, 50, 40_000)) == 39_700
    assert mine.check((PART, 0, 40_050)) == 0


def test_small_gaps_are_fetched_along_and_kept(setting: Setting) -> None:
    mine = setting.open()
    assert mine.check((PART, 1000, 10), (PART, 5000, 10), (PART, 80_000, 10)) == 4010 + 10
    assert len(setting.entries()) == 2
    assert mine.check((PART, 1000, 4010), (PART, 80_000, 10)) == 0


def test_calls_of_the_store(setting: Setting) -> None:
    mine = setting.open()
    mine.fs.read_ranges([(PART, 0, 20), (OTHER, 60_000, 10), ("t/LOCK", 3, 4), (PART, 90_000, 5)])
    assert mine.store.calls == {"read_ranges": 1}
    mine.fs.read_ranges([(PART, 0, 20), (OTHER, 60_000, 10), (PART, 90_000, 5)])
    assert mine.store.calls == {"read_ranges": 1}
    mine.fs.read_ranges([("t/LOCK", 3, 4)])
    mine.fs.read_ranges([("t/LOCK", 3, 4)])
    assert mine.store.calls == {"read_ranges": 3}


def test_ranges_at_and_beyond_the_end(setting: Setting) -> None:
    mine = setting.open()
    assert mine.check((PART, 99_990, 10)) == 10
    for _ in range(2):
        with pytest.raises(ReadError, match=PART):
            mine.fs.read_ranges([(PART, 99_990, 11)])
        with pytest.raises(ReadError, match=PART):
            mine.fs.read_ranges([(PART, 0, 10), (PART, 100_000, 1)])
        with pytest.raises(ReadError):
            mine.fs.read_ranges([(PART, -1, 1)])
        with pytest.raises(NotExistError):
            mine.fs.read_ranges([(PART, 0, 10), ("t/00000000000000ff.part", 0, 10)])
    assert mine.check((PART, 99_990, 10), (PART, 99_999, 1)) == 0
    assert mine.fs.read_ranges([(PART, 5, 0), (PART, 99_990, 2)]) == [b"", CONTENT[99_990:99_992]]


@pytest.mark.parametrize("size", [0, 1, LARGEST, LARGEST + 1, 2 * LARGEST])
def test_whole_files(setting: Setting, size: int) -> None:
    content = (CONTENT * 21)[:size]
    setting.store.write(PART, content)
    mine, another = setting.open(limit=64 * MIB), setting.open(limit=64 * MIB)
    assert mine.fs.read(PART) == content
    assert another.fs.read(PART) == mine.fs.read(PART) == content
    assert mine.store.calls == {"read": 1}
    assert another.store.calls == {}


def test_an_open_file(setting: Setting) -> None:
    mine = setting.open()
    with mine.fs.open_file(PART) as file:
        assert file.size() == len(CONTENT)
        assert file.readv([(10, 5), (99_998, 10), (200_000, 1)]) == [CONTENT[10:15], CONTENT[-2:], b""]
        assert b"".join(file.stream_read(30_000)) == CONTENT
    # By nobody who uses the cache, so that it shows whose bytes are read.
    setting.store.write(PART, b"?" * len(CONTENT))
    with mine.fs.open_file(PART) as file:
        assert file.read(0, len(CONTENT)) == CONTENT
    with pytest.raises(ReadError):
        file.read(0, 10)


def test_files_that_are_no_parts_are_never_kept(setting: Setting) -> None:
    mine = setting.open()
    for content in (b"one", b"two"):
        setting.store.write("t/LOCK", content)
        assert mine.fs.read("t/LOCK") == content
        assert mine.fs.read_ranges([("t/LOCK", 0, 3)]) == [content]
        with mine.fs.open_file("t/LOCK") as file:
            assert file.read(0, 3) == content
    assert setting.entries() == []


# Several processes, several stores


def test_another_process_benefits(setting: Setting) -> None:
    mine, other = setting.open(), setting.open()
    assert mine.check((PART, 0, 1000)) == 1000
    assert other.check((PART, 100, 500)) == 0
    assert mine.check((PART, 50_000, 1000)) == 1000
    setting.clock.now += 2  # what is missing was listed just before, otherwise
    assert other.check((PART, 50_000, 1000)) == 0


def test_stores_do_not_mix(setting: Setting) -> None:
    one, two = setting.open(namespace="one"), setting.open(namespace="two")
    assert one.check((PART, 0, 1000)) == 1000
    assert two.check((PART, 0, 1000)) == 1000
    for entry in setting.entries():  # as an attacker, or a mistake, may do it
        for target in setting.entries():
            setting.cache.write(target, setting.cache.read(entry))
    setting.store.write(PART, b"x" * 5000)
    three = setting.open(namespace="two").fs
    assert three.read_ranges([(PART, 0, 1000)])[0] in {CONTENT[:1000], b"x" * 1000}


READER = """
import sys
from measurefs.backends.local import LocalFileSystem
from measurefs.fs import CountingFileSystem
from measurefs.fs.cached import CachedFileSystem
store = CountingFileSystem(LocalFileSystem(sys.argv[1]))
with CachedFileSystem(store, sys.argv[2], limit=int(sys.argv[3]), namespace="store") as fs:
    for turn in range(int(sys.argv[4])):
        start = turn * 7919 % 90_000
        data = fs.read_ranges([(path, start, 5000) for path in sys.argv[5:]])
        assert set(data) == {bytes(at * 7 % 251 for at in range(start, start + 5000))}
    stats = fs.stats()
print(store.bytes["read"], stats["errors"], stats["damaged"])
"""


def reader(tmp_path: Path, limit: int, turns: int, *paths: str) -> subprocess.Popen[str]:
    """Another process that reads ranges, checks them, and tells what it fetched."""
    arguments = [tmp_path / "store", tmp_path / "cache", limit, turns, *paths]
    return subprocess.Popen(
        [sys.executable, "-c", READER, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def told(process: subprocess.Popen[str]) -> list[int]:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return [int(word) for word in out.split()]


def local_store(tmp_path: Path) -> LocalFileSystem:
    store = LocalFileSystem(tmp_path / "store")
    store.make_dir("t")
    store.write_all({PART: CONTENT, OTHER: CONTENT})
    return store


def test_a_real_second_process_fetches_nothing(tmp_path: Path) -> None:
    local_store(tmp_path)
    assert told(reader(tmp_path, MIB, 8, PART, OTHER))[0] > 0
    assert told(reader(tmp_path, MIB, 8, PART, OTHER)) == [0, 0, 0]


def test_processes_at_once_keep_the_limit(tmp_path: Path) -> None:
    limit = 128 << 10  # a quarter of what they read
    local_store(tmp_path)
    readers = [reader(tmp_path, limit, 60, PART, OTHER) for _ in range(2)]
    for each in readers:
        assert told(each)[1:] == [0, 0]
    kept = sum(path.stat().st_size for path in (tmp_path / "cache" / "files").rglob("*") if path.is_file())
    assert 0 < kept <= limit + 2 * limit // 64 + 8192


# The limit


@pytest.mark.parametrize("limit", [64 << 10, 200_000, MIB])
def test_the_limit_is_kept(setting: Setting, limit: int) -> None:
    processes = [setting.open(limit), setting.open(limit)]
    for turn in range(200):
        setting.clock.now += 1
        path = (PART, OTHER, WIDE)[turn % 3]
        processes[turn % 2].check((path, turn * 7919 % 90_000, 4_000))
        assert setting.kept_bytes() <= limit + 2 * (limit // 64 + 4096)
    if limit < MIB:
        assert sum(each.fs.stats()["evicted_bytes"] for each in processes) > 0
        assert setting.kept_bytes() >= limit // 2
    assert len(setting.cache.read_dir("ledger")) <= 70


def test_processes_that_write_little_keep_it_too(setting: Setting) -> None:
    for turn in range(150):
        setting.clock.now += 1
        setting.open(limit=64 << 10).check((PART, turn * 650, 600))
        assert setting.kept_bytes() <= 70_000


def test_the_ledger_stays_short(setting: Setting) -> None:
    for turn in range(150):
        setting.open(limit=64 * MIB).check((PART, turn * 650, 600))
        assert len(setting.cache.read_dir("ledger")) <= 65


def test_what_was_not_used_for_longest_goes_first(setting: Setting) -> None:
    mine = setting.open(limit=90_000)
    mine.check((PART, 0, 4000))
    mine.check((PART, 50_000, 4000))
    for turn in range(24):
        setting.clock.now += 1
        mine.check((OTHER, turn * 4_000, 4000))
        assert mine.check((PART, 0, 4000)) == 0
    assert mine.fs.stats()["evicted_bytes"] > 0
    assert mine.check((PART, 0, 4000)) == 0
    assert mine.check((PART, 50_000, 4000)) == 4000


def test_what_would_fill_the_cache_is_not_kept(setting: Setting) -> None:
    mine = setting.open(limit=100_000)
    mine.check((PART, 0, 1000))
    mine.check((OTHER, 0, 50_000))
    assert mine.check((PART, 0, 1000)) == 0
    assert mine.check((OTHER, 0, 50_000)) == 50_000


# Changes through it


CHANGES = {
    "write": lambda fs: fs.write(PART, b"new"),
    "write_all": lambda fs: fs.write_all({OTHER: b"", PART: b"new"}),
    "delete_file": lambda fs: fs.delete_file(PART),
    "delete_files": lambda fs: fs.delete_files([OTHER, PART]),
    "must_rm_all": lambda fs: fs.must_rm_all(PART),
    "must_rm_all above": lambda fs: fs.must_rm_all("t"),
    "must_rm_all of all": lambda fs: fs.must_rm_all(""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_forget(setting: Setting, change: str) -> None:
    mine = setting.open()
    mine.check((PART, 0, 100), (OTHER, 0, 50))
    mine.fs.read(PART)
    CHANGES[change](mine.fs)
    if change.startswith("write"):
        assert mine.fs.read(PART) == b"new"
        assert mine.fs.read_ranges([(PART, 1, 2)]) == [b"ew"]
    else:
        for call in (
            lambda: mine.fs.read(PART),
            lambda: mine.fs.read_ranges([(PART, 0, 1)]),
            lambda: mine.fs.open_file(PART),
        ):
            with pytest.raises(NotExistError):
                call()


def test_a_created_file_forgets(setting: Setting) -> None:
    mine = setting.open()
    mine.check((PART, 0, 100))
    setting.store.delete_file(PART)  # by another, as collecting garbage does
    with mine.fs.create_file(PART) as file:
        file.write(b"new")
    assert mine.fs.read_ranges([(PART, 0, 3)]) == [b"new"]


def test_what_was_fetched_before_a_change_is_not_kept_after_it(setting: Setting) -> None:
    class Slow(FileSystemWrapper):
        """The file is replaced between the reading of its bytes and their arrival."""

        def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
            found = super().read_ranges(ranges)
            if not setting.entries():
                mine.write(PART, b"new and short")
            return found

    mine = CachedFileSystem(Slow(setting.store), setting.cache)
    assert mine.read_ranges([(PART, 0, 100)]) == [CONTENT[:100]]
    assert mine.read_ranges([(PART, 0, 5)]) == [b"new a"]


def test_removing_a_part_removes_its_entries(setting: Setting) -> None:
    mine = setting.open()
    mine.check((WIDE, 0, 100))
    mine.check((PART, 0, 100))
    assert len(setting.entries()) == 2
    mine.fs.must_rm_all("t/0000010000000003")
    mine.fs.must_rm_all(PART)
    assert setting.entries() == []


# Trouble with the cache


def test_every_damaged_byte_is_a_miss(setting: Setting) -> None:
    setting.open().check((PART, 1000, 40))
    (entry,) = setting.entries()
    whole = setting.cache.read(entry)
    damaged = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    shortened = [whole[:at] for at in range(len(whole))]
    for content in (*damaged, *shortened, whole + b"x", whole + whole):
        setting.cache.write(entry, content)
        mine = setting.open()
        assert mine.check((PART, 1000, 40)) == 40
        assert mine.check((PART, 1000, 40)) == 0
        assert setting.open().check((PART, 1000, 40)) == 0


def test_a_damaged_entry_is_removed(setting: Setting) -> None:
    setting.open().check((PART, 1000, 40))
    (entry,) = setting.entries()
    setting.clock.now += 5
    setting.cache.write(entry, bytes(len(setting.cache.read(entry))))
    mine = setting.open()
    mine.check((PART, 1000, 40))
    assert mine.fs.stats()["damaged"] == 1
    assert entry not in setting.entries()
    assert len(setting.entries()) == 1


def test_an_entry_in_the_place_of_another_is_a_miss(setting: Setting) -> None:
    setting.store.write(OTHER, bytes(reversed(CONTENT)))
    setting.open().check((PART, 0, 40))
    setting.open().check((PART, 60_000, 40))
    other = setting.open()
    assert other.fs.read_ranges([(OTHER, 0, 40)]) == [CONTENT[::-1][:40]]
    contents = [setting.cache.read(path) for path in setting.entries()]
    assert len(set(contents)) == 3
    for number in range(3):
        for path in setting.entries():
            setting.cache.write(path, contents[number])
        mine = setting.open()
        mine.check((PART, 0, 40), (PART, 60_000, 40))
        assert mine.fs.read_ranges([(OTHER, 0, 40)]) == [CONTENT[::-1][:40]]
        assert mine.fs.stats()["damaged"] == 2


def test_a_cache_that_is_cleared_is_filled_again(tmp_path: Path) -> None:
    store = CountingFileSystem(local_store(tmp_path))
    with CachedFileSystem(store, str(tmp_path / "cache")) as fs:
        for _ in range(3):
            for _ in range(2):
                assert fs.read_ranges([(PART, 10, 100), (OTHER, 0, 10)]) == [CONTENT[10:110], CONTENT[:10]]
            assert store.calls.pop("read_ranges") == 1
            shutil.rmtree(tmp_path / "cache")
        assert fs.stats()["errors"] == 0


TROUBLES = {
    "a full disk": Fault("write*|make_dir|file.*", error="disk full", times=None),
    "no permission": Fault("*", error="permission", times=None),
    "reading fails": Fault("read*|open_file", error="io", times=None),
    "listing fails": Fault("read_dir", error="io", times=None),
    "removing fails": Fault("delete*|must_rm_all", error="io", times=None),
    "now and then": Fault("*", probability=0.3, seed=5, times=None),
    "written all the same": Fault("write*", error="io", times=None, after=True),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_with_the_cache_never_fails_a_read(
    setting: Setting, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = FaultFileSystem(setting.cache, TROUBLES[trouble])
    mine = setting.open(limit=64 << 10, cache=faulty)
    with caplog.at_level(logging.WARNING, "measurefs.fs"):
        for turn in range(40):
            mine.check((PART, turn * 2000, 3000), (OTHER, turn * 1000, 10))
            assert mine.fs.read(WIDE) == CONTENT
        mine.fs.write(WIDE, b"new")
        assert mine.fs.read(WIDE) == b"new"
        mine.fs.delete_file(PART)
        with pytest.raises(NotExistError):
            mine.fs.read_ranges([(PART, 99_000, 10)])
    errors = mine.fs.stats()["errors"]
    assert errors == sum(faulty.injected.values()) > 0
    assert len(caplog.records) == 1
    assert "so the store is read instead" in caplog.text


def test_errors_of_the_store_are_raised(setting: Setting) -> None:
    store = FaultFileSystem(setting.store, Fault("read_ranges", error="io", times=1))
    fs = CachedFileSystem(store, setting.cache)
    with pytest.raises(OSError, match="injected") as caught:
        fs.read_ranges([(PART, 0, 10)])
    assert caught.value.errno == errno.EIO
    assert fs.read_ranges([(PART, 0, 10)]) == [CONTENT[:10]]


# Anything at random


RANGES = st.lists(
    st.tuples(st.sampled_from([PART, OTHER, WIDE]), st.integers(0, 99_000), st.integers(0, 9_000)), max_size=6
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 1), RANGES),
        st.tuples(st.just("whole"), st.integers(0, 1), st.sampled_from([PART, OTHER, WIDE])),
        st.tuples(
            st.sampled_from(["delete", "damage", "cut", "swap"]), st.integers(0, 999), st.integers(0, 999)
        ),
        st.tuples(st.just("wait"), st.just(0), st.integers(0, 3)),
        st.tuples(st.just("clear"), st.just(0), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@example([("read", 0, [(PART, 0, 1)]), ("cut", 0, 0), ("cut", 0, 0)], 30_000)
@given(STEPS, st.sampled_from([30_000, 100_000, MIB]))
def test_reads_give_what_the_store_has(steps: list[tuple[str, int, object]], limit: int) -> None:
    setting = Setting()
    processes = [setting.open(limit), setting.open(limit)]
    plain = setting.store
    for kind, which, what in steps:
        if kind == "read":
            wanted = [(path, at, min(size, 100_000 - at)) for path, at, size in what]
            assert processes[which].fs.read_ranges(wanted) == plain.read_ranges(wanted)
        elif kind == "whole":
            assert processes[which].fs.read(what) == CONTENT
        elif kind == "wait":
            setting.clock.now += what
        elif kind == "clear":
            setting.cache.must_rm_all("")
        else:
            harm(setting, kind, which, what)
        assert setting.kept_bytes() <= limit + 2 * (limit // 64 + 4096)
    assert all(each.fs.stats()["errors"] == 0 for each in processes)


def harm(setting: Setting, kind: str, which: int, what: int) -> None:
    entries = setting.entries()
    if not entries:
        return
    path = entries[which % len(entries)]
    content = setting.cache.read(path)
    if kind == "delete" or not content:  # cut to nothing before
        setting.cache.delete_file(path)
    elif kind == "damage":
        at = what % len(content)
        setting.cache.write(path, content[:at] + bytes([content[at] ^ 0x20]) + content[at + 1 :])
    elif kind == "cut":
        setting.cache.write(path, content[: what % len(content)])
    else:
        setting.cache.write(path, setting.cache.read(entries[what % len(entries)]))


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=12),
    st.integers(0, 70),
    st.integers(0, 30),
)
def test_a_span_is_covered_by_extents_and_gaps(known: list[tuple[int, int]], start: int, size: int) -> None:
    extents = Extents()
    for each in known:
        extents.add(Extent(*each))
    used, gaps = extents.cover(start, start + size)
    wanted = set(range(start, start + size))
    there = {at for offset, length in known for at in range(offset, offset + length)}
    assert [at for first, stop in gaps for at in range(first, stop)] == sorted(wanted - there)
    covered = {at for extent in used for at in range(extent.offset, extent.stop)}
    assert wanted & there <= covered
    for extent in used:  # none that the others make needless
        others = {at for each in used if each != extent for at in range(each.offset, each.stop)}
        assert not wanted & there <= others


@given(st.lists(st.tuples(st.integers(0, 3 * LARGEST), st.integers(1, LARGEST)), max_size=8))
def test_stretches_hold_all_gaps(gaps: list[tuple[int, int]]) -> None:
    spans = [(start, start + size) for start, size in gaps]
    pieces = stretches(spans)
    assert all(0 < size <= LARGEST for _, size in pieces)
    assert all(first + size <= second for (first, size), (second, _) in itertools.pairwise(pieces))
    extents = Extents(Extent(*piece) for piece in pieces)
    assert all(extents.cover(*span)[1] == [] for span in spans)
    inside = all(any(start <= offset < stop for start, stop in spans) for offset, _ in pieces[:1])
    assert inside
    assert max((offset + size for offset, size in pieces), default=0) == max(
        (end for _, end in spans), default=0
    )


def test_threads_at_once(setting: Setting) -> None:
    mine = setting.open(limit=100_000)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(60):
                at = (number * 31 + turn * 977) % 95_000
                wanted = [(PART, at, 3000), (WIDE, at // 2, 100)]
                assert mine.fs.read_ranges(wanted) == [CONTENT[at : at + 3000], CONTENT[at // 2 :][:100]]
                if turn % 20 == number:
                    mine.fs.write(OTHER, CONTENT)
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert mine.fs.stats()["errors"] == mine.fs.stats()["damaged"] == 0


# The engine


def rows(count: int, first: int = 0) -> pa.Table:
    times = [1_767_225_600_000_000_000 + (first + number) * 10**9 for number in range(count)]
    hosts = [f"h{number % 20}" for number in range(count)]
    usage = [float(number % 97) for number in range(count)]
    return pa.table({"time": pa.array(times, pa.timestamp("ns", "UTC")), "host": hosts, "usage": usage})


def fill(url: str | FileSystem, options: dict[str, object], **more: object) -> None:
    with measurefs.open(url, storage_options=options, **more) as db:
        cpu = db.create_measure("cpu", entity=["host"], fields={"usage": "float64"}, exist_ok=True)
        for first in (0, 3000):
            cpu.write(rows(3000, first=first))
            cpu.flush()


def ask(db: measurefs.Database) -> list[dict[str, object]]:
    cpu = db.measure("cpu")
    found = cpu.query("2026-01-01T00:10:00Z", "2026-01-01T01:10:00Z", where={"host": "h7"}).to_arrow()
    return found.to_pylist()


def test_a_store_on_s3_reads_parts_from_the_cache(s3_proxy: S3Proxy, s3_url: str, tmp_path: Path) -> None:
    fill(s3_url, s3_proxy.options)
    gets: list[int] = []
    answers: list[object] = []
    for cache in (None, str(tmp_path / "cache"), str(tmp_path / "cache"), str(tmp_path / "cache")):
        with measurefs.open(s3_url, storage_options=s3_proxy.options, read_only=True, cache=cache) as db:
            s3_proxy.clear()
            answers.append(ask(db))
            seen = collections.Counter(request.kind for request in s3_proxy.requests if is_kept(request.key))
            gets.append(seen["GET"])
            stats = db.stats()["cache"]
            assert (stats is None) is (cache is None)
    assert len(answers[0]) == 180
    assert answers == answers[:1] * 4
    assert gets[0] > 0
    assert gets[1] > 0
    assert gets[2:] == [0, 0]
    assert stats["hit_rate"] == 1.0
    assert stats["errors"] == 0


def test_the_cache_is_removed_while_a_store_is_read(local_store: Store, tmp_path: Path) -> None:
    fill(local_store.url, {})
    cache = tmp_path / "cache"
    with measurefs.open(local_store.url) as plain:
        expected = ask(plain)
        everything = plain.measure("cpu").query().to_arrow()
    stop = threading.Event()

    def clear() -> None:
        while not stop.wait(0.001):
            shutil.rmtree(cache, ignore_errors=True)

    clearing = threading.Thread(target=clear)
    clearing.start()
    try:
        for _ in range(5):
            with measurefs.open(local_store.url, read_only=True, cache=cache) as db:
                assert ask(db) == expected
                assert db.measure("cpu").query().to_arrow() == everything
    finally:
        stop.set()
        clearing.join()
    with measurefs.open(local_store.url, read_only=True, cache=cache) as db:
        assert ask(db) == expected
        assert db.stats()["cache"]["errors"] == 0


def test_a_dropped_measure_leaves_nothing_to_the_next_of_its_name(memory_store: Store) -> None:
    """The one whose cache it is learns nothing of that: another process drops and creates."""
    cache = MemoryFileSystem()
    fill(memory_store.url, {})
    with measurefs.open(memory_store.url, read_only=True, cache=cache) as db:
        assert len(ask(db)) == 180
    with measurefs.open(memory_store.url) as db:
        db.drop_measure("cpu")
        cpu = db.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
        cpu.write(rows(2000, first=777), durable=True)
        expected = ask(db)
    with measurefs.open(memory_store.url, read_only=True, cache=cache) as db:
        assert ask(db) == expected


def test_writing_and_merging_through_a_cache(memory_store: Store) -> None:
    cache = MemoryFileSystem()
    with measurefs.open(memory_store.url, cache=cache, cache_limit=200_000) as db:
        cpu = db.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
        for first in range(0, 6000, 1000):
            cpu.write(rows(1000, first=first))
            cpu.flush()
            cpu.query().to_arrow()
        cpu.compact()
        cpu.gc()
        assert cpu.query().to_arrow().num_rows == 6000
        assert db.verify().ok
    with measurefs.open(memory_store.url, cache=cache) as db:
        assert db.measure("cpu").query().to_arrow().num_rows == 6000


def test_verify_sees_the_store_and_not_the_cache(memory_store: Store) -> None:
    fill(memory_store.url, {})
    with measurefs.open(memory_store.url, read_only=True, cache=MemoryFileSystem()) as db:
        expected = ask(db)
        assert db.verify().ok
        with memory_store.open() as store:
            part = next(path for path in walk(store) if is_kept(path))
            content = bytearray(store.read(part))
            for at in range(len(content)):
                content[at] ^= 1
            store.write(part, content)
        assert ask(db) == expected
        assert not db.verify().ok
        assert not db.measure("cpu").verify().ok


def test_what_came_damaged_is_asked_for_again(memory_store: Store) -> None:
    """The cache cannot tell; the query finds out, and the next one gets it from the store."""

    class Damaging(FileSystemWrapper):
        times = 1

        def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
            found = super().read_ranges(ranges)
            if self.times:
                self.times -= 1
                found[0] = bytes([found[0][0] ^ 1]) + found[0][1:]
            return found

    fill(memory_store.url, {})
    with measurefs.open(memory_store.url, read_only=True) as db:
        expected = ask(db)
    with memory_store.open() as fs:
        damaging = Damaging(fs)
        with measurefs.open(damaging, read_only=True, cache=MemoryFileSystem()) as db:
            with pytest.raises(CorruptionError):
                ask(db)
            assert ask(db) == expected


def test_the_cache_is_closed_with_the_database_and_a_store_of_ones_own_is_not(tmp_path: Path) -> None:
    class Closing(MemoryFileSystem):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    store, cache = Closing(), Closing()
    fill(store, {}, cache=cache)
    fill(store, {}, cache=str(tmp_path / "cache"))
    assert (store.closed, cache.closed) == (0, 0)
    with CachedFileSystem(store, cache):
        pass
    assert (store.closed, cache.closed) == (1, 0)
