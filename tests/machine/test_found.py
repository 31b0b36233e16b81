"""Short histories of what random ones have found."""

from __future__ import annotations

import pytest

import measurefs
from measurefs import FileSystemError, TableOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.testing import Fault, FaultFileSystem
from tests.database.helpers import files_of, one_row

ENTITY = {"id": "int64"}


def test_merging_parts_from_before_and_after_a_text_column_became_binary() -> None:
    with measurefs.open("memory://text-to-binary", background=False) as database:
        measure = database.create_measure("m", entity=ENTITY, fields={"note": "string"})
        for time in range(0, 40, 20):
            rows = {"time": [*range(time, time + 20)], "id": [1] * 20, "note": ["a", "b"] * 10}
            measure.write(rows)
            measure.flush()
        measure.evolve(fields={"note": "binary"})
        measure.write(one_row(time=40, id=1, note=b"\xff"))
        measure.compact()
        assert measure.query().to_arrow()["note"].to_pylist() == [b"a", b"b"] * 20 + [b"\xff"]


def test_one_collection_removes_what_a_tag_that_failed_has_left() -> None:
    """Also in tables that nobody has written to since the store was opened."""
    fs = FaultFileSystem(MemoryFileSystem())
    options = TableOptions(gc_grace=0.0, keep_snapshots=1)
    with measurefs.open(fs, options=options, background=False) as database:
        measure = database.create_measure("m", entity=ENTITY)
        measure.write(one_row(time=0, id=1), durable=True)
        fs.add(Fault("write", "*/tags/*"))
        with pytest.raises(FileSystemError):
            measure.tag("then")
        assert any(path.endswith(".tag") for path in files_of(fs))
    with measurefs.open(fs, options=options, background=False) as database:
        measure = database.measure("m")
        assert measure.tags() == {}
        measure.gc()
        assert not any(path.endswith(".tag") for path in files_of(fs))


def test_creating_a_measure_anew_after_dropping_it_went_wrong_when_it_was_done() -> None:
    """The answer to the deletion that drops it got lost; the new one has nothing of the old."""
    fs = FaultFileSystem(MemoryFileSystem())
    with measurefs.open(fs, background=False) as database:
        measure = database.create_measure("m", entity=ENTITY, fields={"old": "int64"})
        measure.write(one_row(time=0, id=1, old=1), durable=True)
        fs.add(Fault("delete_file", "*/schema.json", after=True))
        with pytest.raises(FileSystemError):
            database.drop_measure("m")
        assert database.measures() == []
        again = database.create_measure("m", entity=ENTITY, fields={"new": "int64"})
        assert list(again.schema.fields) == ["new"]
        assert again.query().to_arrow().num_rows == 0
        again.write(one_row(time=0, id=1, new=2), durable=True)
    with measurefs.open(fs, background=False) as database:
        assert database.measure("m").query().to_arrow()["new"].to_pylist() == [2]


def test_a_table_can_be_read_after_letting_go_of_it_failed() -> None:
    """Compaction takes the locks of tables that nobody here writes to, and opens them to read again."""
    fs = FaultFileSystem(MemoryFileSystem())
    with measurefs.open(fs, background=False) as database:
        measure = database.create_measure("m", entity=ENTITY)
        for time in range(2):
            measure.write(one_row(time=time, id=1))
            measure.flush()
    with measurefs.open(fs, background=False) as database:
        measure = database.measure("m")
        failures = 0
        for at in range(1, 20):
            fs.add(Fault("read*", "m/seg-*", at=at))
            try:
                measure.compact()
            except FileSystemError:
                failures += 1
            fs.heal()
            assert measure.query().to_arrow().num_rows == 2
            measure.delete(5, 6)  # which borrows the table, too
        assert failures
