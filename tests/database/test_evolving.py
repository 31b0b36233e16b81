"""Changing a measure while it is used: more columns, wider types, and what stands in the way."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import measurefs
from measurefs import ClosedError, Database, FileSystem, Measure, PermissionError_, SchemaError
from measurefs.database.database import _open_databases
from measurefs.fs import FileSystemWrapper
from measurefs.fs.filesystem import Buffer
from measurefs.table import Runtime
from measurefs.testing import CrashFileSystem, SimulatedCrash
from tests.conftest import Store
from tests.database.helpers import DAY, files_of, one_row, open_store, rows_of, values_of
from tests.processes.children import Child, Place

BIG = 2**53 + 1
"""The first integer that is no float64."""


def quiet(fs: FileSystem, **more: Any) -> Database:
    """Open a database without threads, which nobody closes if the test's process "dies"."""
    database = measurefs.open(fs, background=False, runtime=Runtime(), **more)
    _open_databases.discard(database)
    return database


def make(database: Database, **fields: str) -> Measure:
    return database.create_measure("m", entity=["id"], tags={"place": {"zone": "string"}}, fields=fields)


@pytest.fixture
def fs(memory_store: Store) -> Iterator[FileSystem]:
    with memory_store.open() as opened:
        yield opened


class TestAdding:
    def test_old_rows_are_null_in_new_columns(self, store_url: Store) -> None:
        with open_store(store_url) as database, open_store(store_url, read_only=True) as other:
            measure = make(database, a="int64")
            measure.write(one_row(time=1, id="x", zone="z", a=1), durable=True)
            measure.write(one_row(time=2, id="x", zone="z", a=2))
            reader = other.measure("m")
            assert len(rows_of(reader)) == 1
            measure.evolve(
                tags={"place": {"rack": "int64"}, "owner": {"team": "string"}}, fields={"b": "float64"}
            )
            measure.write(one_row(time=3, id="y", zone="z", rack=7, team="t", a=3, b=0.5))
            new = [
                {"time": 1, "id": "x", "zone": "z", "rack": None, "team": None, "a": 1, "b": None},
                {"time": 2, "id": "x", "zone": "z", "rack": None, "team": None, "a": 2, "b": None},
                {"time": 3, "id": "y", "zone": "z", "rack": 7, "team": "t", "a": 3, "b": 0.5},
            ]
            assert rows_of(measure) == new
            assert values_of(measure, "a", where={"b": None}) == [1, 2]
            assert values_of(measure, "a", where={"team": "t"}) == [3]
            assert values_of(measure, "a", where=pc.field("b").is_valid()) == [3]
            measure.flush()
            assert rows_of(measure) == new
            assert list(rows_of(reader)[0]) == ["time", "id", "zone", "a"]  # it does not know of it yet
            other.refresh()
            assert rows_of(reader) == new
        with open_store(store_url) as database:
            assert rows_of(database.measure("m")) == new
            assert database.verify().ok

    def test_what_is_there_is_left_alone(self, fs: FileSystem) -> None:
        with quiet(fs) as database:
            measure = make(database, a="int64")
            measure.evolve(tags={"rack": "int64"}, fields={"b": "bool"})
            before = files_of(fs)
            measure.evolve()
            measure.evolve(tags={"zone": "string", "rack": "int64"}, fields={"a": "int64", "b": "bool"})
            measure.evolve(tags={"place": {"zone": "string"}}, interval="1d", ttl=None)
            assert files_of(fs) == before
            assert measure.schema.tags == {"place": {"zone": "string"}, "default": {"rack": "int64"}}
            assert measure.schema.revision == 2

    def test_rows_in_memory_at_the_time_keep_theirs(self, fs: FileSystem) -> None:
        """A flush after the change writes what came before and after it in one part."""
        with quiet(fs) as database:
            measure = make(database, a="int64")
            for number in range(4):
                measure.evolve(fields={f"b{number}": "int64"})
                measure.write(one_row(time=number, id="x", a=number, **{f"b{number}": number}))
            measure.flush()
        with quiet(fs) as database:
            for number in range(4):
                found = values_of(database.measure("m"), f"b{number}")
                assert found == [number if time == number else None for time in range(4)]

    def test_a_writer_that_knows_nothing_of_a_column_keeps_it(self, fs: FileSystem) -> None:
        """It finds out when it opens the table."""
        with quiet(fs) as old:
            stale = make(old, a="int64")
            with quiet(fs) as new:
                measure = new.measure("m")
                measure.evolve(fields={"b": "int64"})
                measure.write(one_row(time=1, id="x", a=1, b=1), durable=True)
            stale.write(one_row(time=2, id="x", a=2), durable=True)
            assert values_of(stale, "b") == [1, None]

    def test_others_do_so_at_the_same_moment(self, fs: FileSystem) -> None:
        """Of two changes, each of which knows only the schema before both, neither is lost."""
        with quiet(fs) as other:
            make(other, a="int64")

            class Slow(FileSystemWrapper):
                def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
                    if path.endswith("schema-00000002.json"):
                        other.measure("m").evolve(fields={"theirs": "int64", "both": "int64"})
                    return super().write(path, data, exclusive=exclusive)

            with quiet(Slow(fs)) as database:
                measure = database.measure("m")
                measure.evolve(fields={"ours": "int64", "both": "int64"})
                assert set(measure.schema.fields) == {"a", "ours", "theirs", "both"}
                other.refresh()
                assert other.measure("m").schema == measure.schema

    def test_two_processes_at_once(self, local_store: Store) -> None:
        with open_store(local_store) as database:
            make(database, a="int64").write(one_row(time=0, id="x", a=0), durable=True)
        with contextlib.ExitStack() as stack:
            children = [stack.enter_context(Child(_evolve, Place.of(local_store), who)) for who in (1, 2)]
            for child in children:
                assert child.next() == "ready"
            for child in children:
                child.send("go")
            for child in children:
                child.finish()
        with open_store(local_store) as database:
            measure = database.measure("m")
            assert set(measure.schema.fields) == {"a"} | {f"{who}-{n}" for who in (1, 2) for n in range(5)}
            for who, number in itertools.product((1, 2), range(5)):
                found = values_of(measure, f"{who}-{number}", start=who * DAY, end=(who + 1) * DAY)
                assert found == [number if row == number else None for row in range(5)]
            assert database.verify().ok


def _evolve(pipe: Connection, place: Place, who: int) -> None:
    """Add a column and write a row with it, time after time."""
    with measurefs.open(place.open()) as database:
        measure = database.measure("m")
        pipe.send("ready")
        pipe.recv()
        for number in range(5):
            name = f"{who}-{number}"
            measure.evolve(fields={name: "int64"})
            measure.write(one_row(time=who * DAY + number, id="x", a=number, **{name: number}), durable=True)


class TestWidening:
    CASES = (
        ("int64", "float64", [1, None, -(2**53)], [0.5], [1.0, None, -(2.0**53), 0.5]),
        ("bool", "int64", [True, None, False], [7], [1, None, 0, 7]),
        ("string", "binary", ["a", None, "ü"], [b"\xff"], [b"a", None, b"\xc3\xbc", b"\xff"]),
    )

    @pytest.mark.parametrize(("old", "new", "before", "after", "found"), CASES)
    @pytest.mark.parametrize("flushed", ["no", "before", "between"])
    def test_keeps_every_value(
        self, fs: FileSystem, old: str, new: str, before: Any, after: Any, found: Any, flushed: str
    ) -> None:
        with quiet(fs) as database:
            measure = make(database, v=old)
            measure.write({"time": [1, 2, 3], "id": ["x", "y", "x"], "v": before})
            if flushed != "no":
                measure.flush()
            measure.evolve(fields={"v": new})
            measure.write({"time": [4], "id": ["x"], "v": after})
            assert values_of(measure, "v") == found
            if flushed == "between":
                measure.flush()
            for value in found:
                want = [row for row, other in enumerate(found) if other == value]
                assert [time - 1 for time in values_of(measure, "time", where={"v": value})] == want
            known = [value for value in found if value is not None]
            where = pc.field("v") >= pa.scalar(min(known), measure.query().schema.field("v").type)
            assert values_of(measure, "v", where=where, order="-time") == known[::-1]
        with quiet(fs) as database:
            measure = database.measure("m")
            assert values_of(measure, "v") == found
            with measure.query() as result:
                assert result.to_arrow().schema == result.schema
            assert database.verify().ok
            assert database.repair().complete

    def test_of_many_strings_that_are_stored_as_codes(self, fs: FileSystem) -> None:
        with quiet(fs) as database:
            measure = make(database, v="string")
            times = list(range(5000))
            texts = [f"text {number % 7}" for number in times]
            coded = pa.array(texts).dictionary_encode()
            measure.write({"time": times, "id": ["x"] * 5000, "zone": texts, "v": texts})
            measure.flush()
            measure.write(pa.table({"time": [5000 + time for time in times], "id": ["x"] * 5000, "v": coded}))
            measure.evolve(tags={"zone": "binary"}, fields={"v": "binary"})
            measure.write({"time": [10_000], "id": ["x"], "v": [b"\xff"]})
            measure.flush()
            assert values_of(measure, "v") == [text.encode() for text in texts + texts] + [b"\xff"]
            assert values_of(measure, "zone", where={"v": b"text 3"}, limit=2) == [b"text 3"] * 2

    def test_step_by_step(self, fs: FileSystem) -> None:
        with quiet(fs) as database:
            measure = make(database, v="bool")
            measure.write(one_row(time=1, id="x", v=True), durable=True)
            measure.evolve(fields={"v": "int64"})
            measure.write(one_row(time=2, id="x", v=5), durable=True)
            measure.evolve(fields={"v": "float64"})
            measure.write(one_row(time=3, id="x", v=0.5), durable=True)
            assert values_of(measure, "v") == [1.0, 5.0, 0.5]
            with quiet(fs, read_only=True) as reader:
                assert values_of(reader.measure("m"), "v") == [1.0, 5.0, 0.5]
            measure.flush()
            assert values_of(measure, "v") == [1.0, 5.0, 0.5]

    def test_a_result_made_before_it_is_as_it_was(self, fs: FileSystem) -> None:
        with quiet(fs) as database:
            measure = make(database, v="int64")
            measure.write(one_row(time=1, id="x", v=1), durable=True)
            with measure.query(columns=["v"]) as result:
                measure.evolve(fields={"v": "float64", "w": "int64"})
                measure.write(one_row(time=1, id="x", v=0.5), durable=True)
                assert result.to_arrow() == pa.table({"v": pa.array([1])})

    def test_is_noticed_by_a_reader_that_did_not_refresh(self, fs: FileSystem) -> None:
        """It opens a table in which there is more than its schema knows of."""
        with quiet(fs) as database, quiet(fs, read_only=True) as other:
            measure = make(database, v="int64")
            reader = other.measure("m")
            measure.evolve(fields={"v": "float64"})
            measure.write(one_row(time=1, id="x", v=0.5), durable=True)
            reader.refresh()
            assert values_of(reader, "v") == [0.5]

    def test_in_the_midst_of_a_query(self, fs: FileSystem) -> None:
        """It was planned with the type before, and pins rows of the type after."""
        with quiet(fs) as database:
            measure = make(database, v="int64")
            measure.write(one_row(time=1, id="x", v=1), durable=True)

        class Late(FileSystemWrapper):
            meddle: Callable[[], None] | None = None

            def read(self, path: str) -> bytes:
                if path.endswith(".snp") and self.meddle is not None:
                    meddle, self.meddle = self.meddle, None
                    meddle()
                return super().read(path)

        late = Late(fs)
        with quiet(late, read_only=True) as database, quiet(fs) as other:
            reader = database.measure("m")

            def meddle() -> None:
                measure = other.measure("m")
                measure.evolve(fields={"v": "float64", "w": "int64"})
                measure.write(one_row(time=2, id="x", v=0.5, w=1), durable=True)

            late.meddle = meddle
            with reader.query(columns=["v"]) as result:
                assert result.to_arrow()["v"].to_pylist() in ([1], [1.0, 0.5])


class TestInexact:
    @pytest.mark.parametrize("flushed", [False, True])
    @pytest.mark.parametrize("value", [BIG, -BIG, 2**63 - 1, 2**62 + 1])
    def test_a_value_that_would_change_is_named(self, fs: FileSystem, flushed: bool, value: int) -> None:
        with quiet(fs) as database:
            measure = make(database, v="int64", w="int64")
            measure.write(
                {"time": [1, DAY, DAY + 1], "id": ["x"] * 3, "v": [1, None, value]}, durable=flushed
            )
            before = files_of(fs), measure.schema
            with pytest.raises(SchemaError, match=rf"'v' cannot become float64.*no {value}.*seg-19700102"):
                measure.evolve(fields={"v": "float64", "n": "int64"})
            assert (files_of(fs), measure.schema) == before
            measure.evolve(fields={"w": "float64"})  # its neighbour can
            measure.write(one_row(time=2, id="x", v=value, w=0.5))
            assert values_of(measure, "v") == [1, value, None, value]

    @pytest.mark.parametrize("value", [2**53, -(2**53), 2**53 + 2, 2**62, -(2**63)])
    def test_a_large_value_that_does_not_change_is_none(self, fs: FileSystem, value: int) -> None:
        with quiet(fs) as database:
            measure = make(database, v="int64")
            measure.write(one_row(time=1, id="x", v=value), durable=True)
            measure.evolve(fields={"v": "float64"})
            assert values_of(measure, "v") == [float(value)]
            assert values_of(measure, "time", where={"v": float(value)}) == [1]

    def test_a_replaced_row_counts_while_it_is_stored(self, fs: FileSystem) -> None:
        with quiet(fs) as database:
            measure = make(database, v="int64")
            measure.write(one_row(time=1, id="x", v=BIG), durable=True)
            measure.write(one_row(time=1, id="x", v=1), durable=True)
            with pytest.raises(SchemaError, match="cannot become float64"):
                measure.evolve(fields={"v": "float64"})

    def test_is_not_stored_while_the_column_changes(self, fs: FileSystem) -> None:
        """Everything is looked at already, and the new type is not written yet."""
        outcomes: list[object] = []

        class Late(FileSystemWrapper):
            def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
                if path.endswith("schema-00000002.json"):
                    with pytest.raises(SchemaError, match=f"'v' becomes float64, which has no {BIG}"):
                        measure.write(one_row(time=2, id="x", v=BIG))
                    outcomes.append(measure.write(one_row(time=3, id="x", v=3)))
                return super().write(path, data, exclusive=exclusive)

        with quiet(Late(fs)) as database:
            measure = make(database, v="int64")
            measure.write(one_row(time=1, id="x", v=1))
            measure.evolve(fields={"v": "float64"})
            assert outcomes == [1]
            assert values_of(measure, "v") == [1.0, 3.0]

    def test_from_a_process_that_does_not_know_is_never_changed_silently(self, fs: FileSystem) -> None:
        with quiet(fs) as old, quiet(fs) as new:
            stale = make(old, v="int64", w="int64")
            stale.write(one_row(time=1, id="x", v=1, w=1), durable=True)
            measure = new.measure("m")
            measure.evolve(fields={"v": "float64"})
            stale.write(one_row(time=2, id="x", v=BIG, w=2), durable=True)
            stale.write(one_row(time=3, id="x", v=BIG, w=3))
            assert values_of(stale, "v") == [1, BIG, BIG]
            new.refresh()
            with pytest.raises(SchemaError, match=f"column 'v' is float64, and the integer {BIG}"):
                rows_of(measure)
            assert values_of(measure, "w") == [1, 2]
            stale.refresh()  # what waits in memory is flushed before the type changes
            with pytest.raises(SchemaError, match=f"column 'v' is float64, and the integer {BIG}"):
                rows_of(stale)
            assert values_of(stale, "w") == [1, 2, 3]
            stale.write(one_row(time=4, id="x", v=0.5, w=4), durable=True)
            assert values_of(stale, "v", start=4) == [0.5]


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"fields": {"id": "string"}}, "'id' .* is an entity column, and those never change"),
            ({"tags": {"id": "string"}}, "'id' .* is an entity column"),
            (
                {"fields": {"zone": "string"}},
                "'zone' .* is a tag of family 'place'; it cannot become a field",
            ),
            ({"tags": {"f": "string"}}, "'f' .* is a field; it cannot become a tag of family 'default'"),
            ({"tags": {"other": {"zone": "string"}}}, "'zone' .* is a tag of family 'place'"),
            ({"fields": {"f": "int64"}}, "'f' .* is float64 and cannot become int64: a narrower type"),
            ({"fields": {"f": "bool"}}, "'f' .* narrower"),
            (
                {"fields": {"b": "float64"}},
                "'b' .* is bool and cannot become float64: widen it to int64 first",
            ),
            ({"fields": {"n": "string"}}, "'n' .* is int64 and cannot become string: .* widen it to float64"),
            ({"tags": {"n2": "float64"}}, "tag 'n2' cannot be of type 'float64'"),
            ({"tags": {"zone": "list<string>"}}, "'zone' .* is string and cannot become list<string>"),
            ({"fields": {"time": "int64"}}, "'time' .* is taken"),
            ({"tags": {"version": "int64"}}, "'version' .* is taken"),
            ({"fields": {"x": "int64"}, "tags": {"x": "int64"}}, "'x' .*"),
            ({"tags": {"Place": {"x": "int64"}}}, "only in case"),
            ({"tags": {"y": "int64", "default": {"z": "int64"}}}, "belong to the family 'default'"),
            ({"fields": {"x": "decimal"}}, "'x' cannot be of type 'decimal'"),
            ({"fields": {"": "int64"}}, "needs a name"),
            ({"interval": "1 week"}, "interval must be"),
            ({"ttl": "soon"}, "ttl must be"),
        ],
    )
    def test_with_the_reason(self, fs: FileSystem, change: dict[str, Any], reason: str) -> None:
        with quiet(fs) as database:
            measure = make(database, f="float64", b="bool", n="int64")
            before = files_of(fs), measure.schema
            with pytest.raises(SchemaError, match=reason):
                measure.evolve(**change)
            assert (files_of(fs), measure.schema) == before

    def test_read_only(self, fs: FileSystem) -> None:
        with quiet(fs) as database:
            make(database, a="int64")
        with quiet(fs, read_only=True) as database, pytest.raises(PermissionError_, match="read_only"):
            database.measure("m").evolve(fields={"b": "int64"})

    def test_closed(self, fs: FileSystem) -> None:
        with quiet(fs) as database:
            measure = make(database, a="int64")
        with pytest.raises(ClosedError):
            measure.evolve(fields={"b": "int64"})


class TestSpans:
    def test_are_stored(self, fs: FileSystem) -> None:
        with quiet(fs) as database:
            measure = make(database, a="int64")
            measure.evolve(interval="6h", ttl="3d")
            schema = measure.schema
            assert (schema.interval, schema.first_interval, schema.ttl) == ("6h", "1d", "3d")
            measure.evolve(interval="2d", ttl=None)
            schema = measure.schema
            assert (schema.interval, schema.first_interval, schema.ttl) == ("2d", "1d", None)
            measure.evolve(fields={"b": "int64"})
            assert measure.schema.ttl is None
        with quiet(fs) as database:
            assert database.measure("m").schema == measure.schema


class TestCrashes:
    def begun(self) -> tuple[CrashFileSystem, Measure]:
        fs = CrashFileSystem()
        measure = make(quiet(fs), v="int64")
        measure.write({"time": [1, DAY], "id": ["x", "x"], "v": [1, 2]}, durable=True)
        return fs, measure

    def test_at_every_operation(self) -> None:
        """The measure is as before or changed; what was acknowledged is there, and it can be done again."""
        change: dict[str, Any] = {"tags": {"rack": "int64"}, "fields": {"v": "float64", "w": "int64"}}
        kinds = set()
        for place in itertools.count(2):
            fs, measure = self.begun()
            fs.crash_at(fs.operations + place // 2, after=bool(place % 2))
            with contextlib.suppress(SimulatedCrash):
                measure.evolve(**change)
                measure.write(one_row(time=2, id="x", rack=1, v=0.5, w=5), durable=True)
            if not fs.crashed:
                break
            for found in (fs.kill(), fs.crash("none"), fs.crash("all"), fs.crash(1)):
                with quiet(found) as database:
                    kinds.add(database.measure("m").schema.fields["v"])
                    measure = database.measure("m")
                    assert values_of(measure, "v") in ([1, 2], [1.0, 0.5, 2.0])
                    measure.evolve(**change)
                    measure.write(one_row(time=2, id="x", rack=1, v=0.5, w=5))
                    assert values_of(measure, "v") == [1.0, 0.5, 2.0]
                    assert values_of(measure, "w") == [None, 5, None]
                with quiet(found.crash("none"), read_only=True) as database:
                    assert values_of(database.measure("m"), "v") == [1.0, 0.5, 2.0]
        assert kinds == {"int64", "float64"}
