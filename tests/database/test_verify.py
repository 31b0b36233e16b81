"""Checking and repairing whole stores: on a local disk, in memory and on S3."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest

import measurefs
from measurefs import Database, Measure
from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec.sealed import seal, unseal
from measurefs.database.identity import Identity
from measurefs.database.schema import MeasureSchema
from measurefs.fs import (
    CorruptionError,
    FileSystem,
    LockError,
    NotExistError,
    PermissionError_,
    SchemaError,
    UnsupportedStoreError,
    join,
    parent,
    walk,
)
from tests.conftest import Store
from tests.database.helpers import DAY, files_of, one_row, open_store, values_of

IDENTITY, SCHEMA = "measurefs.json", "cpu/schema.json"


def fill(db: Database) -> Measure:
    """Two measures; the one named cpu has 3 rows, each in a part of its own."""
    db.create_measure("a/b", entity=["host"], fields={"v": "int64"})
    cpu = db.create_measure(
        "cpu",
        entity=["host"],
        tags={"where": {"rack": "string"}},
        fields={"v": "int64"},
        shards=2,
        ttl="90000d",
    )
    for number in range(3):
        time = number // 2 * DAY + number
        cpu.write(one_row(time=time, host=f"h{number}", rack="r", v=number))
        cpu.flush()
    return cpu


def parts_of(fs: FileSystem) -> list[str]:
    return [path for path in walk(fs) if path.endswith(".part")]


def flip(fs: FileSystem, path: str, offset: int = 5) -> None:
    whole = bytearray(fs.read(path))
    whole[offset] ^= 8
    fs.write(path, whole)


@pytest.fixture
def fs() -> Iterator[MemoryFileSystem]:
    """A store that `fill` filled and closed."""
    with MemoryFileSystem() as made:
        with measurefs.open(made) as db:
            fill(db)
        yield made


def test_a_healthy_store_is_counted_and_not_changed(store_url: Store) -> None:
    with open_store(store_url) as db:
        fill(db)
    with store_url.open() as fs:
        before = files_of(fs)
        with open_store(store_url, read_only=True) as db:
            report = db.verify()
        assert report.ok, report.damages
        assert (report.measures, report.rows, report.foreign) == (2, 3, 0)
        assert report.parts == len(parts_of(fs))
        assert report == measurefs.verify(store_url.url, storage_options=store_url.options)
        assert files_of(fs) == before


def test_damage_is_named_and_repaired(store_url: Store) -> None:
    with open_store(store_url) as db:
        fill(db)
    with store_url.open() as fs:
        path = parts_of(fs)[0]
        flip(fs, path)
    with open_store(store_url, read_only=True) as db:
        (damage,) = db.verify().damages
        assert (damage.path, damage.offset) == (path, 0)
        lost = damage.rows
        assert lost is not None and lost > 0
        assert db.measure("cpu").verify().damages == [damage]
        assert db.measure("cpu").repair().found.damages == [damage]
        with pytest.raises(PermissionError_, match="read_only"):
            db.measure("cpu").repair(apply=True)
    with open_store(store_url) as db:
        with pytest.raises(CorruptionError):
            values_of(db.measure("cpu"), "v")
        assert db.repair().actions
        done = db.measure("cpu").repair(apply=True)
        assert done.complete
        assert [action.rows for action in done.actions if action.what == "dropped"] == [lost]
        assert len(values_of(db.measure("cpu"), "v")) == 3 - lost  # the tables were opened before
        db.measure("cpu").write(one_row(time=1, host="new", rack="r", v=9), durable=True)
    with open_store(store_url) as db:
        assert len(values_of(db.measure("cpu"), "v")) == 4 - lost
        assert db.verify().ok


def test_rows_in_memory_and_a_living_writer_do_not_matter(fs: MemoryFileSystem) -> None:
    with measurefs.open(fs) as db:
        cpu = db.measure("cpu")
        cpu.write(one_row(time=0, host="x", rack=None, v=0))
        assert db.verify().ok
        assert db.repair(apply=True).actions == []
        flip(fs, parts_of(fs)[0])
        for number in range(8):
            cpu.write(one_row(time=number, host=f"x{number}", rack=None, v=0))
            cpu.flush()
        with pytest.raises(LockError):
            measurefs.repair(fs, apply=True)
        with pytest.raises(LockError):
            db.repair(apply=True)


# Stores that do not open.


def test_a_damaged_identity_is_named_and_rewritten(local_store: Store) -> None:
    with open_store(local_store) as db:
        fill(db)
    with local_store.open() as fs:
        for content in (b"", b"{}", fs.read(IDENTITY)[:-5]):
            fs.write(IDENTITY, content)
            with pytest.raises(CorruptionError):
                open_store(local_store)
            (damage,) = measurefs.verify(fs).damages
            assert damage.path == IDENTITY
            done = measurefs.repair(fs)
            assert [action.what for action in done.actions] == ["rewritten"]
            assert fs.read(IDENTITY) == content
            assert measurefs.repair(fs, apply=True).complete
            assert unseal(
                fs.read(IDENTITY), Identity, IDENTITY
            ).store  # a new one: the old one is not known any more
            assert fs.read(f"{IDENTITY}.corrupt") == content
    with open_store(local_store) as db:
        assert len(values_of(db.measure("cpu"), "v")) == 3
        assert (db.verify().ok, db.verify().set_aside) == (True, 1)


def test_a_missing_identity_is_named_and_rewritten(fs: MemoryFileSystem) -> None:
    fs.delete_file(IDENTITY)
    (damage,) = measurefs.verify(fs).damages
    assert (damage.path, damage.reason) == (IDENTITY, "it is missing")
    measurefs.repair(fs, apply=True)
    with measurefs.open(fs, read_only=True) as db:
        assert db.verify().ok


def test_where_there_is_no_store_nothing_is_made() -> None:
    with MemoryFileSystem() as fs:
        fs.write("README", b"mine")
        fs.make_dir("photos")
        for call in (measurefs.verify, measurefs.repair):
            with pytest.raises(NotExistError, match="no measurefs store"):
                call(fs)
        assert list(walk(fs)) == ["README"]
    with pytest.raises(NotExistError):
        measurefs.verify("memory://nothing-here")


@pytest.mark.parametrize("how", ["flip", "delete", "other"])
def test_a_damaged_schema_is_named_and_what_to_do_is_said(fs: MemoryFileSystem, how: str) -> None:
    before = fs.read(SCHEMA)
    if how == "flip":
        flip(fs, SCHEMA, 40)
    elif how == "delete":
        fs.delete_file(SCHEMA)
    else:
        fs.write(SCHEMA, seal(msgspec.structs.replace(unseal(before, MeasureSchema, ""), name="gpu")))
    (damage,) = measurefs.verify(fs).damages
    assert damage.path == SCHEMA
    flip(fs, parts_of(fs)[0])
    report = measurefs.verify(fs)
    assert {damage.path for damage in report.damages} == {SCHEMA, parts_of(fs)[0]}
    done = measurefs.repair(fs, apply=True)
    (left,) = done.left
    assert left.path == SCHEMA
    assert "create the measure again" in left.reason
    assert (
        "entity={'host': 'string'}, tags={'where': {'rack': 'string'}}, fields={'v': 'int64'}" in left.reason
    )
    assert {damage.path for damage in measurefs.verify(fs).damages} == {SCHEMA}
    # As it says: moved away, and made again.
    if how != "delete":
        fs.delete_file(SCHEMA)
    with measurefs.open(fs) as db:
        tags = {"where": {"rack": "string"}}
        cpu = db.create_measure(
            "cpu", entity=["host"], tags=tags, fields={"v": "int64"}, shards=2, ttl="90000d"
        )
        assert len(values_of(cpu, "v")) == 2
        assert db.verify().ok
    assert fs.read(SCHEMA) == before


def test_a_damaged_schema_is_told_by_what_only_the_log_has(fs: MemoryFileSystem) -> None:
    with measurefs.open(fs, background=False) as db:
        cpu = db.measure("cpu")
        cpu.evolve(fields={"w": "float64"})
        cpu.write(one_row(time=0, host="h0", rack="r", v=1, w=0.5), durable=True)
        for path in [path for path in walk(fs) if path.startswith("cpu/schema")]:
            fs.delete_file(path)
        (left,) = measurefs.repair(fs).left
        assert "fields={'v': 'int64', 'w': 'float64'}" in left.reason


def test_parts_of_another_measure_or_segment_are_named() -> None:
    fs = MemoryFileSystem()
    with measurefs.open(fs) as db:
        one = db.create_measure("one", entity=["host"], fields={"v": "int64"})
        db.create_measure("two", entity={"id": "int64"}, fields={"v": "int64"})
        db.create_measure("three", entity=["host"], fields={"v": "float64"})
        one.write(one_row(time=0, host="a", v=1), durable=True)
    for target, reason in (
        ("two/seg-19700101/shard-0", "entity columns"),
        ("three/seg-19700101/shard-0", "column 'v' is int64"),
        ("one/seg-19700102/shard-0", "outside its segment"),
    ):
        fs.make_dir(target)
        for entry in fs.read_dir("one/seg-19700101/shard-0"):
            if not entry.name.startswith("LOCK"):
                fs.write(join(target, entry.name), fs.read(join("one/seg-19700101/shard-0", entry.name)))
        (damage,) = measurefs.verify(fs).damages
        assert damage.path.startswith(target) and reason in damage.reason
        done = measurefs.repair(fs, apply=True)
        assert (done.actions, done.left) == ([], [damage])
        fs.must_rm_all(target)


def test_foreign_files_are_counted_and_left_alone(fs: MemoryFileSystem) -> None:
    fs.make_dir("photos")
    for path in ("README", "photos/cat.jpg", "cpu/notes", join(parent(parts_of(fs)[0]), "notes")):
        fs.write(path, b"mine")
    report = measurefs.verify(fs)
    assert (report.ok, report.foreign) == (True, 4)


@pytest.mark.parametrize("call", [measurefs.verify, measurefs.repair])
def test_one_measure_of_several(fs: MemoryFileSystem, call: Callable[..., object]) -> None:
    flip(fs, parts_of(fs)[0])
    assert measurefs.verify(fs, "a/b").ok
    assert not measurefs.verify(fs, "cpu").ok
    assert measurefs.repair(fs, "a/b").actions == []
    with pytest.raises(SchemaError, match="did you mean 'cpu'"):
        call(fs, "cpus")


def test_a_store_of_a_newer_release_is_refused(fs: MemoryFileSystem) -> None:
    fs.write(IDENTITY, seal({"format": 99}))
    for call in (measurefs.verify, measurefs.repair):
        with pytest.raises(UnsupportedStoreError, match="newer"):
            call(fs)


def test_a_series_hash_of_ones_own_is_used() -> None:
    fs = MemoryFileSystem()
    options = measurefs.TableOptions(series_hash=len)
    with measurefs.open(fs, options=options) as db:
        db.create_measure("m", entity=["host"]).write({"time": [1, 2], "host": ["a", "bb"]})
    assert measurefs.verify(fs, options=options).ok
    assert "ids of series" in measurefs.verify(fs).damages[0].reason
