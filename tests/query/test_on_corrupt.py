"""Queries of damaged stores: an error, or all that is whole and a list of what is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import measurefs
from measurefs import Database, Measure, SchemaError
from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import CorruptionError, FileSystem, FileSystemError, join, walk
from measurefs.testing import Fault, FaultFileSystem
from tests.database.helpers import DAY, values_of
from tests.part.made import COMPACT, WIDE

kinds = pytest.mark.parametrize("compact_bytes", [COMPACT, WIDE], ids=["compact", "wide"])


def fill(fs: FileSystem, compact_bytes: int = COMPACT) -> list[str]:
    """Write four parts, two a day, with one row each of the values 0 to 3; return their paths."""
    options = measurefs.TableOptions(log_bytes=0, part=measurefs.PartOptions(compact_bytes=compact_bytes))
    with measurefs.open(fs, options=options) as db:
        measure = db.create_measure("m", entity=["host"], fields={"v": "int64"})
        for number in range(4):
            time = number // 2 * DAY + number
            measure.write({"time": [time], "host": [f"h{number}"], "v": [number]}, durable=True)
        return [
            join(root, part.metadata.name)
            for root, snapshot in sorted(measure.snapshots().items())
            for part in snapshot.file_parts
        ]


def damage(fs: FileSystem, part: str, offset: int = 3) -> str:
    path = part if part.endswith(".part") else join(part, "timestamps.bin")
    whole = bytearray(fs.read(path))
    whole[offset] ^= 1
    fs.write(path, whole)
    return path


def remove(fs: FileSystem, part: str) -> None:
    fs.must_rm_all(part)


@pytest.fixture
def fs() -> MemoryFileSystem:
    return MemoryFileSystem()


@pytest.fixture
def parts(fs: MemoryFileSystem) -> list[str]:
    return fill(fs)


@pytest.fixture
def db(fs: MemoryFileSystem, parts: list[str]) -> Iterator[Database]:
    with measurefs.open(fs, read_only=True) as opened:
        yield opened


def skipping(measure: Measure, **query: object) -> tuple[list[int], list[str]]:
    """The values found, and the paths of what was left out."""
    with measure.query(on_corrupt="skip", **query) as result:  # type: ignore[arg-type]
        values = result.to_arrow()["v"].to_pylist()
        return values, [error.path for error in result.skipped]


def test_damaged_parts_are_an_error_or_left_out_and_told(store_fs: FileSystem) -> None:
    parts = fill(store_fs, WIDE if store_fs.remote else COMPACT)
    path = damage(store_fs, parts[1])
    with measurefs.open(store_fs, read_only=True) as db:
        measure = db.measure("m")
        for more in ({}, {"on_corrupt": "error"}):
            with pytest.raises(CorruptionError) as raised:
                values_of(measure, "v", **more)
            assert raised.value.path == path
        with measure.query(on_corrupt="skip", order="-time") as result:
            assert result.skipped == []
            assert result.to_arrow()["v"].to_pylist() == [3, 2, 0]
            (error,) = result.skipped
            assert isinstance(error, CorruptionError)
            assert (error.path, error.offset) == (path, 0)
            assert list(result.to_batches()) and len(result.skipped) == 1  # once, however often it is read


@kinds
def test_missing_parts_are_left_out_and_told(compact_bytes: int) -> None:
    store_fs = MemoryFileSystem()
    parts = fill(store_fs, compact_bytes)
    remove(store_fs, parts[2])
    with measurefs.open(store_fs, read_only=True) as db:
        with pytest.raises(CorruptionError, match="it is missing"):
            db.measure("m").query()
        assert skipping(db.measure("m")) == ([0, 1, 3], [parts[2]])
        assert skipping(db.measure("m"), end=DAY) == ([0, 1], [])


@kinds
def test_what_goes_missing_after_the_opening_is_left_out(compact_bytes: int) -> None:
    fs = MemoryFileSystem()
    parts = fill(fs, compact_bytes)
    with measurefs.open(fs, read_only=True) as db:
        measure = db.measure("m")
        measure.stats()
        remove(fs, parts[0])
        cut = parts[3] if parts[3].endswith(".part") else join(parts[3], "fields.bin")
        fs.write(cut, fs.read(cut)[:5])
        values, skipped = skipping(measure)
        assert values == [1, 2]
        assert skipped == [parts[0], cut]


def test_a_part_is_left_out_whole(fs: MemoryFileSystem) -> None:
    """Of several blocks one is damaged."""
    part = measurefs.PartOptions(block_rows=4, compact_bytes=WIDE)
    options = measurefs.TableOptions(log_bytes=0, part=part)
    with measurefs.open(fs, options=options) as db:
        measure = db.create_measure("m", entity=["host"], fields={"v": "int64"})
        measure.write({"time": list(range(40)), "host": ["a"] * 40, "v": list(range(40))}, durable=True)
        measure.write({"time": [7, 100], "host": ["a", "a"], "v": [-7, 100]}, durable=True)
    (section, *_) = [path for path in walk(fs) if path.endswith("fields.bin")]
    damage_at = bytearray(fs.read(section))
    damage_at[-1] ^= 1
    fs.write(section, damage_at)
    with measurefs.open(fs, read_only=True) as db:
        values, skipped = skipping(db.measure("m"))
        assert (values, skipped) == ([-7, 100], [section])
        # What a query does not need it does not look at.
        assert skipping(db.measure("m"), end=4) == ([0, 1, 2, 3], [])


def test_an_older_row_comes_back_if_its_newer_version_is_left_out(fs: MemoryFileSystem) -> None:
    with measurefs.open(fs) as db:
        measure = db.create_measure("m", entity=["host"], fields={"v": "int64"})
        for value in (1, 2):
            measure.write({"time": [0], "host": ["a"], "v": [value]})
            measure.flush()
        assert values_of(measure, "v") == [2]
    newer = sorted(path for path in walk(fs) if path.endswith(".part"))[-1]
    damage(fs, newer)
    with measurefs.open(fs, read_only=True) as db:
        assert skipping(db.measure("m")) == ([1], [newer])


def test_if_all_is_damaged_the_result_is_empty(fs: MemoryFileSystem, parts: list[str], db: Database) -> None:
    for part in parts:
        damage(fs, part)
    with db.measure("m").query(on_corrupt="skip") as result:
        table = result.to_arrow()
        assert table.num_rows == 0
        assert table.column_names == ["time", "host", "v"]
        assert {error.path for error in result.skipped} == set(parts)


def test_a_table_without_a_readable_snapshot_is_left_out(
    fs: MemoryFileSystem, parts: list[str], db: Database
) -> None:
    root = parts[0].rpartition("/")[0]
    for entry in fs.read_dir(root):
        if entry.name.endswith(".snp"):
            fs.delete_file(join(root, entry.name))
    with pytest.raises(CorruptionError, match="no readable snapshot"):
        db.measure("m").query()
    assert skipping(db.measure("m")) == ([2, 3], [root])


def test_an_older_snapshot_that_serves_is_told(fs: MemoryFileSystem, parts: list[str], db: Database) -> None:
    root = parts[0].rpartition("/")[0]
    newest = [entry.name for entry in fs.read_dir(root) if entry.name.endswith(".snp")][-1]
    fs.write(join(root, newest), b"x")
    assert skipping(db.measure("m")) == ([0, 2, 3], [join(root, newest)])


def test_a_store_that_fails_is_an_error_all_the_same(fs: MemoryFileSystem, parts: list[str]) -> None:
    """An outage is no damage: nobody wants the empty result of an unplugged disk."""
    faulty = FaultFileSystem(fs)
    with measurefs.open(faulty, read_only=True) as db:
        measure = db.measure("m")
        measure.stats()
        faulty.add(Fault("read_ranges", times=None))
        with pytest.raises(FileSystemError, match="Input/output error"):
            skipping(measure)


def test_a_healthy_store_skips_nothing(db: Database) -> None:
    assert skipping(db.measure("m")) == ([0, 1, 2, 3], [])
    with db.measure("m").query() as result:
        result.to_arrow()
        assert result.skipped == []


@pytest.mark.parametrize("value", ["ignore", "", None, True, 1])
def test_another_value_is_refused(db: Database, value: object) -> None:
    with pytest.raises(SchemaError, match="on_corrupt must be one of error, skip"):
        db.measure("m").query(on_corrupt=value)  # type: ignore[arg-type]


def test_a_writer_may_skip_too(fs: MemoryFileSystem, parts: list[str]) -> None:
    with measurefs.open(fs) as db:
        measure = db.measure("m")
        measure.write({"time": [5], "host": ["x"], "v": [5]}, durable=True)
        damage(fs, parts[0])
        assert skipping(measure) == ([1, 5, 2, 3], [parts[0]])


@kinds
def test_aggregates_and_newest_rows_leave_out_the_same_parts(compact_bytes: int) -> None:
    fs = MemoryFileSystem()
    parts = fill(fs, compact_bytes)
    path = damage(fs, parts[1])
    with measurefs.open(fs, read_only=True) as db:
        measure = db.measure("m")
        for ask in (
            lambda **more: measure.aggregate(values={"v": "sum"}, by="host", every="1d", **more),
            measure.last,
        ):
            with pytest.raises(CorruptionError) as raised:
                ask(where={"v": {">=": 0}}).to_arrow()
            assert raised.value.path == path
            with ask(on_corrupt="skip") as result:
                assert result.to_arrow().num_rows == 3
                assert [error.path for error in result.skipped] == [path]


def test_a_damaged_summary_is_an_error_or_not_needed(fs: MemoryFileSystem) -> None:
    with measurefs.open(
        fs, options=measurefs.TableOptions(part=measurefs.PartOptions(compact_bytes=WIDE))
    ) as db:
        measure = db.create_measure("n", entity=["host"], fields={"v": "int64"})
        measure.write({"time": range(1000), "host": ["a"] * 1000, "v": range(1000)})
    (path,) = [path for path in walk(fs, "") if path.endswith("summary.bin")]
    whole = bytearray(fs.read(path))
    whole[-9] ^= 1
    fs.write(path, whole)
    with measurefs.open(fs, read_only=True) as db:
        measure = db.measure("n")
        with pytest.raises(CorruptionError) as raised:
            measure.aggregate(values={"v": "sum"}).to_arrow()
        assert raised.value.path == path
        assert measure.aggregate(values={"v": "sum"}, on_corrupt="skip").to_arrow().to_pylist() == [
            {"v_sum": 499_500}
        ]
        assert measure.last(on_corrupt="skip").to_arrow()["v"].to_pylist() == [999]
        assert measure.query().to_arrow().num_rows == 1000
