"""Creating measures: names, columns and their types, what is there already."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa
import pytest

import measurefs
from measurefs import Database, MeasureFSError, SchemaError
from tests.conftest import Store
from tests.database.helpers import files_of, one_row, open_store, rows_of, values_of

ODD_NAMES = [
    *("a/b", "../a", ".", "..", "CON", "ü", "u\u0308", " x ", "\0", "\\", "a\nb", "%2E", "a%2Fb", "*?"),
    *("schema.json", "seg-19700101", "shard-0", "LOCK", "0000000000000001.snp", ".tmp-1", "日本語", "🙂"),
]


@pytest.fixture
def database(memory_store: Store) -> Iterator[Database]:
    with open_store(memory_store) as database:
        yield database


class TestNames:
    def test_odd_names_stay_apart(self, store_url: Store) -> None:
        with open_store(store_url) as database:
            for number, name in enumerate(ODD_NAMES):
                database.create_measure(name, entity=["host"], fields={"n": "int64"}).write(
                    one_row(time=1, host="a", n=number)
                )
        with open_store(store_url) as database:
            assert database.measures() == sorted(ODD_NAMES)
            found = [values_of(database.measure(name), "n") for name in ODD_NAMES]
            assert found == [[number] for number in range(len(ODD_NAMES))]

    @pytest.mark.parametrize("name", ["", None, 5, b"cpu", "\ud800", "measurefs.json"])
    def test_what_is_no_name(self, database: Database, name: Any) -> None:
        with pytest.raises(SchemaError):
            database.create_measure(name, entity=["host"])
        assert database.measures() == []

    def test_one_directory_for_two_names(self, memory_store: Store) -> None:
        """As on a disk that does not tell upper from lower case: the other's rows are not this one's."""
        with open_store(memory_store) as database:
            database.create_measure("cpu", entity=["host"])
            database.fs.make_dir("CPU")
            database.fs.write("CPU/schema.json", database.fs.read("cpu/schema.json"))
            for get in (
                database.measure,
                lambda name: database.create_measure(name, entity=["host"], exist_ok=True),
            ):
                with pytest.raises(SchemaError, match="that of measure 'cpu'"):
                    get("CPU")

    def test_families_that_such_a_disk_would_mix(self, database: Database) -> None:
        families = {"Env": {"zone": "string"}, "env": {"region": "string"}}
        with pytest.raises(SchemaError, match="only in case"):
            database.create_measure("cpu", entity=["host"], tags=families)

    def test_too_long_for_the_disk(self, local_store: Store) -> None:
        with open_store(local_store) as database:
            with pytest.raises(MeasureFSError):
                database.create_measure("x" * 300, entity=["host"])
            assert database.measures() == []

    def test_odd_columns_and_families(self, store_url: Store) -> None:
        """In wide parts, where a family is a file."""
        options = measurefs.TableOptions(part=measurefs.PartOptions(compact_bytes=0))
        names = [name for name in ODD_NAMES if name not in {".", ".."}]
        families = {f"{name}": {f"tag {name}": "string"} for name in [*names, "fields", "series", "primary"]}
        fields = {f"field {name}": "int64" for name in names}
        row = {"time": 1, "ho\0st": "a"} | {
            column: column for columns in families.values() for column in columns
        }
        row |= {name: number for number, name in enumerate(fields)}
        with open_store(store_url, options=options) as database:
            database.create_measure("m", entity=["ho\0st"], tags=families, fields=fields).write([row])
        with open_store(store_url) as database:
            assert rows_of(database.measure("m")) == [row]


class TestFinding:
    def test_measures_are_sorted(self, store_url: Store) -> None:
        with open_store(store_url) as database:
            assert database.measures() == []
            for name in ("mem", "cpu", "disk"):
                database.create_measure(name, entity=["host"])
            assert database.measures() == ["cpu", "disk", "mem"]

    def test_suggests_the_nearest(self, database: Database) -> None:
        database.create_measure("temperature", entity=["host"])
        database.create_measure("humidity", entity=["host"])
        with pytest.raises(SchemaError, match="measure 'temprature'; did you mean 'temperature'"):
            database.measure("temprature")
        with pytest.raises(SchemaError, match="measure 'cpu'; there are humidity, temperature"):
            database.measure("cpu")

    def test_in_an_empty_store(self, database: Database) -> None:
        with pytest.raises(SchemaError, match="measure 'cpu'; there are none"):
            database.measure("cpu")

    def test_is_one_object(self, database: Database) -> None:
        cpu = database.create_measure("cpu", entity=["host"])
        assert database.measure("cpu") is cpu
        assert cpu.name == "cpu"

    def test_seen_by_others_at_once(self, store_url: Store) -> None:
        with open_store(store_url) as first, open_store(store_url, read_only=True) as reader:
            first.create_measure("cpu", entity=["host"])
            assert reader.measures() == ["cpu"]
            assert rows_of(reader.measure("cpu")) == []


class TestTypes:
    def test_all_of_them(self, store_url: Store) -> None:
        row = {
            "time": 1,
            **{"host": "a", "port": -(2**63), "key": b"\0\xff"},
            **{"t_string": "x", "t_int64": 2**63 - 1, "t_binary": b""},
            **{"t_strings": ["x", None, ""], "t_ints": [1, None, -1]},
            **{"f_float64": -0.0, "f_int64": 0, "f_bool": False, "f_string": "", "f_binary": b"\0"},
        }
        with open_store(store_url) as database:
            database.create_measure(
                "m",
                entity={"host": "string", "port": "int64", "key": "binary"},
                tags={
                    "one": {"t_string": "string", "t_int64": "int64", "t_binary": "binary"},
                    "two": {"t_strings": "list<string>", "t_ints": "list<int64>"},
                },
                fields={
                    **{"f_float64": "float64", "f_int64": "int64", "f_bool": "bool"},
                    **{"f_string": "string", "f_binary": "binary"},
                },
            ).write([row])
        with open_store(store_url, read_only=True) as database:
            measure = database.measure("m")
            assert rows_of(measure) == [row]
            assert str(values_of(measure, "f_float64")[0]) == "-0.0"
            schema = measure.query().schema
        assert schema.names == list(row)
        assert schema.field("time").type == pa.timestamp("ns", tz="UTC")
        assert schema.field("t_ints").type == pa.list_(pa.int64())

    @pytest.mark.parametrize("spelled", ["list<string>", "list of string", "list[string]"])
    def test_spellings_of_a_list(self, database: Database, spelled: str) -> None:
        measure = database.create_measure("m", entity=["host"], tags={"l": spelled})
        assert measure.query().schema.field("l").type == pa.list_(pa.string())

    @pytest.mark.parametrize(
        ("what", "name"),
        [
            ({"fields": {"f": "flaot64"}}, "f"),
            ({"fields": {"f": "list<string>"}}, "f"),
            ({"fields": {"f": None}}, "f"),
            ({"tags": {"t": "float64"}}, "t"),
            ({"tags": {"t": "bool"}}, "t"),
            ({"tags": {"family": {"t": "list<float64>"}}}, "t"),
            ({"entity": {"e": "float64"}}, "e"),
            ({"entity": {"e": "list<string>"}}, "e"),
        ],
    )
    def test_types_that_do_not_go_there(self, database: Database, what: Any, name: str) -> None:
        with pytest.raises(SchemaError, match=f"{name!r} cannot be of type .* string"):
            database.create_measure("m", **{"entity": ["host"]} | what)

    @pytest.mark.parametrize(
        "what",
        [
            {"entity": []},
            {"entity": {}},
            {"entity": "host"},
            {"entity": ["host", "host"]},
            {"entity": ["host", ""]},
            {"entity": ["time"]},
            {"entity": [1]},
            {"fields": {"version": "int64"}},
            {"fields": {"time": "int64"}},
            {"fields": {"host": "int64"}},
            {"fields": {"": "int64"}},
            {"fields": {1: "int64"}},
            {"fields": {"\ud800": "int64"}},
            {"tags": {"x": "string"}, "fields": {"x": "int64"}},
            {"tags": {"one": {"x": "string"}, "two": {"x": "string"}}},
            {"tags": {"x": "string", "default": {"y": "string"}}},
            {"tags": {"": {"x": "string"}}},
            *({"interval": interval} for interval in ("", "1", "1m", "0d", "-1d", "1.5h", "d", None, 5)),
            *({"ttl": ttl} for ttl in ("", "30", "1y", 30)),
            *({"shards": shards} for shards in (0, -1, 1.5, "2", True, None, 100_000)),
        ],
    )
    def test_refused(self, memory_store: Store, what: dict[str, Any]) -> None:
        with open_store(memory_store) as database, memory_store.open() as fs:
            before = files_of(fs)
            with pytest.raises(SchemaError):
                database.create_measure("m", **{"entity": ["host"]} | what)
            assert files_of(fs) == before


class TestExisting:
    SHAPE: ClassVar[dict[str, Any]] = {
        "entity": ["host"],
        "tags": {"region": "string"},
        "fields": {"usage": "float64"},
        "interval": "6h",
        "shards": 2,
    }

    def test_again_is_an_error(self, database: Database) -> None:
        database.create_measure("cpu", **self.SHAPE)
        with pytest.raises(SchemaError, match="'cpu' is there already; pass exist_ok=True"):
            database.create_measure("cpu", **self.SHAPE)

    def test_the_same_with_exist_ok(self, store_url: Store) -> None:
        for number in range(2):
            with open_store(store_url) as database:
                cpu = database.create_measure("cpu", **self.SHAPE, exist_ok=True)
                cpu.write(one_row(time=number, host="a", usage=1.0))
                assert len(rows_of(cpu)) == number + 1

    @pytest.mark.parametrize(
        "other",
        [
            {"entity": ["hostname"]},
            {"entity": {"host": "int64"}},
            {"tags": {"region": "int64"}},
            {"tags": {"place": {"region": "string"}}},
            {"fields": {"usage": "int64"}},
            {"fields": {"usage": "float64", "idle": "float64"}},
            {"fields": {}},
            {"interval": "1d"},
            {"ttl": "30d"},
            {"shards": 3},
        ],
    )
    def test_another_one_with_exist_ok(self, database: Database, other: dict[str, Any]) -> None:
        cpu = database.create_measure("cpu", **self.SHAPE)
        with pytest.raises(SchemaError, match="'cpu' is there already and is another one"):
            database.create_measure("cpu", **(self.SHAPE | other), exist_ok=True)
        cpu.write(one_row(time=1, host="a", region="x", usage=1.0))
        assert values_of(cpu, "usage") == [1.0]
