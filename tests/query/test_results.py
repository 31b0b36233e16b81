"""What a query gives: columns, order, limit, and the forms and the life of a result."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import measurefs
from measurefs import ClosedError, Database, Measure, SchemaError, TableOptions
from tests.conftest import Store
from tests.database.helpers import DAY, HOUR, numbered, open_store, rows_of, values_of


def create(database: Database, **more: Any) -> Measure:
    return database.create_measure(
        "m",
        entity={"host": "string", "port": "int64"},
        tags={"region": "string", "labels": "list<string>"},
        fields={"usage": "float64", "n": "int64", "up": "bool", "raw": "binary"},
        **more,
    )


ALL = ["time", "host", "port", "region", "labels", "usage", "n", "up", "raw"]


def row(n: int, **values: Any) -> dict[str, Any]:
    return {"time": n, "host": "a", "port": 1, "n": n} | values


@pytest.fixture
def measure(memory_store: Store) -> Iterator[Measure]:
    with open_store(memory_store, options=TableOptions(gc_grace=0.0, keep_snapshots=1)) as database:
        measure = create(database)
        measure.write([row(0, region="x", labels=["p", None], usage=0.5, up=True, raw=b"\0"), row(1)])
        yield measure


class TestColumns:
    def test_all_by_default(self, measure: Measure) -> None:
        assert measure.query().to_arrow().column_names == ALL
        assert measure.query().schema.names == ALL

    @pytest.mark.parametrize(
        "columns",
        [
            ["n"],
            ["usage", "time"],
            ["raw", "host"],
            ["version", "n"],
            ("labels", "port", "version", "time"),
            [*reversed(ALL), "version"],
        ],
    )
    def test_those_asked_for_in_that_order(self, measure: Measure, columns: list[str]) -> None:
        everything = rows_of(measure, columns=[*ALL, "version"])
        for _ in range(2):
            found = measure.query(columns=columns).to_arrow()
            assert found.column_names == list(columns)
            assert numbered(found).to_pylist() == [
                {name: row[name] for name in columns} for row in everything
            ]
            measure.flush()

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            (["usge"], "columns names the unknown column 'usge'; did you mean 'usage'"),
            (["n", "zzz"], "unknown column 'zzz'; there are time, host, .*, version"),
            ("n", r"must be a list of names"),
            ([], r"must be a list of names"),
        ],
    )
    def test_refused(self, measure: Measure, columns: Any, message: str) -> None:
        with pytest.raises(SchemaError, match=message):
            measure.query(columns=columns)

    def test_the_schema_is_the_same_with_and_without_rows(self, measure: Measure) -> None:
        found, empty = measure.query().to_arrow(), measure.query(end=-1).to_arrow()
        assert empty.num_rows == 0
        assert empty.schema == found.schema == measure.query().schema

    def test_of_a_measure_without_any(self, memory_store: Store) -> None:
        with open_store(memory_store) as database:
            bare = database.create_measure("bare", entity=["host"])
            bare.write({"time": [2, 1], "host": ["a", "b"]})
            for _ in range(2):
                assert rows_of(bare) == [{"time": 1, "host": "b"}, {"time": 2, "host": "a"}]
                bare.flush()


HOSTS = ["d", "b", "a", "c", "e"]


@pytest.fixture(scope="module", params=["1h", "6h", "1d"])
def spread(request: pytest.FixtureRequest) -> Iterator[Measure]:
    """Ten times over two days for each of five hosts in three shards, in several parts and in memory.

    One for all tests: none of them changes its rows.
    """
    with open_store(Store(f"memory://{uuid.uuid4().hex}"), background=False) as database:
        measure = database.create_measure(
            "m", entity=["host"], fields={"n": "int64"}, interval=request.param, shards=3
        )
        for step in (3, 0, 4, 1, 2):
            times = [2 * step * 5 * HOUR - DAY, (2 * step + 1) * 5 * HOUR - DAY]
            measure.write(
                {"time": times * 5, "host": [host for host in HOSTS for _ in times], "n": [step] * 10}
            )
            if step != 1:
                measure.flush()
        yield measure


class TestOrder:
    def pairs(self, measure: Measure, **query: Any) -> list[tuple[int, str]]:
        return [(row["time"], row["host"]) for row in rows_of(measure, columns=["time", "host"], **query)]

    def test_time(self, spread: Measure) -> None:
        found = self.pairs(spread)
        times = [time for time, _ in found]
        assert times == sorted(times)
        assert sorted(found) == sorted({(time, host) for time in times for host in HOSTS})
        assert len(found) == 50

    def test_ties_are_in_the_order_of_series(self, spread: Measure) -> None:
        series = list(dict.fromkeys(host for _, host in self.pairs(spread, order="series")))
        assert sorted(series) == sorted(HOSTS)
        times = sorted({time for time, _ in self.pairs(spread)})
        assert self.pairs(spread) == [(time, host) for time in times for host in series]
        assert self.pairs(spread, order="-time") == [(time, host) for time in times[::-1] for host in series]

    def test_series(self, spread: Measure) -> None:
        found = self.pairs(spread, order="series")
        series = list(dict.fromkeys(host for _, host in found))
        times = sorted({time for time, _ in found})
        assert found == [(time, host) for host in series for time in times]

    @pytest.mark.parametrize("listed", [["b", "a"], ["e", "c", "a", "b", "d"], ["a"], ["zz", "c", "a"]])
    def test_series_in_the_order_listed(self, spread: Measure, listed: list[str]) -> None:
        found = self.pairs(spread, order="series", where={"host": listed})
        times = sorted({time for time, _ in found})
        assert found == [(time, host) for host in listed if host in HOSTS for time in times]
        for limit in (1, 7, 12):
            limited = self.pairs(spread, order="series", where={"host": listed}, limit=limit)
            assert limited == found[:limit]

    def test_is_the_same_every_time(self, spread: Measure) -> None:
        for order in ("time", "-time", "series"):
            first = self.pairs(spread, order=order)
            spread.flush()
            assert self.pairs(spread, order=order) == first

    @pytest.mark.parametrize("order", ["time", "-time", "series"])
    def test_limit(self, spread: Measure, order: str) -> None:
        found = self.pairs(spread, order=order)
        for limit in (0, 1, 2, 7, 49, 50, 51, 10**12):
            assert self.pairs(spread, order=order, limit=limit) == found[:limit], limit

    def test_unknown(self, spread: Measure) -> None:
        for order in ("Time", "host", "", None, "desc"):
            with pytest.raises(SchemaError, match="order must be one of time, -time, series"):
                spread.query(order=order)  # type: ignore[arg-type]

    @pytest.mark.parametrize("limit", [-1, 1.5, "3", True])
    def test_what_is_no_limit(self, spread: Measure, limit: Any) -> None:
        with pytest.raises(SchemaError, match="limit must be a whole number"):
            spread.query(limit=limit)


class TestForms:
    def test_arrow(self, measure: Measure) -> None:
        result = measure.query()
        table = result.to_arrow()
        assert table.num_rows == 2
        assert pa.table(result).equals(table)
        assert result.to_reader().read_all().equals(table)
        assert pa.RecordBatchReader.from_stream(result).read_all().equals(table)

    def test_batches(self, measure: Measure) -> None:
        result = measure.query()
        batches = list(result.to_batches())
        assert all(batch.schema == result.schema for batch in batches)
        assert pa.Table.from_batches(batches).equals(result.to_arrow())
        assert list(result) == batches
        assert list(measure.query(end=-1).to_batches()) == []

    def test_pandas(self, measure: Measure) -> None:
        frame = measure.query(columns=["time", "host", "usage"]).to_pandas()
        expected = pd.DataFrame(
            {
                "time": pd.to_datetime([0, 1]).tz_localize("UTC").as_unit("ns"),
                "host": ["a", "a"],
                "usage": [0.5, None],
            }
        )
        pd.testing.assert_frame_equal(frame, expected)
        assert measure.query().to_pandas(types_mapper=pd.ArrowDtype)["n"].dtype == pd.ArrowDtype(pa.int64())
        pd.testing.assert_frame_equal(
            pd.DataFrame.from_arrow(measure.query(columns=["n"])), pd.DataFrame({"n": [0, 1]})
        )

    def test_polars(self, measure: Measure) -> None:
        result = measure.query()
        frame = result.to_polars()
        assert frame.schema["time"] == pl.Datetime("ns", "UTC")
        assert frame.drop("time").to_dicts() == [
            {name: value for name, value in row.items() if name != "time"} for row in rows_of(measure)
        ]
        assert pl.DataFrame(result).equals(frame)
        structs = pl.from_arrow(result)
        assert isinstance(structs, pl.Series), "Polars takes a stream for one column of structs"
        assert structs.struct.unnest().equals(frame)

    def test_duckdb(self, measure: Measure) -> None:
        r = measure.query(columns=["host", "n", "usage"])
        expected = [("a", 0, 0.5), ("a", 1, None)]
        assert duckdb.from_arrow(r).fetchall() == expected
        assert duckdb.sql("SELECT * FROM r ORDER BY n").fetchall() == expected
        assert duckdb.sql("SELECT sum(n), count(usage) FROM r").fetchall() == [(1, 1)]

    def test_empty(self, measure: Measure) -> None:
        r = measure.query(end=-1)
        assert r.to_arrow().num_rows == len(r.to_pandas()) == len(r.to_polars()) == 0
        assert list(r.to_pandas().columns) == r.to_polars().columns == ALL
        assert duckdb.sql("SELECT count(*) FROM r").fetchall() == [(0,)]

    def test_written_back(self, measure: Measure, memory_store: Store) -> None:
        """Every form of a result is a form of rows."""
        with open_store(memory_store) as database:
            for number, form in enumerate(["to_arrow", "to_pandas", "to_polars", "to_reader"]):
                copy = database.create_measure(
                    f"copy {number}",
                    entity={"host": "string", "port": "int64"},
                    tags={"region": "string", "labels": "list<string>"},
                    fields={"usage": "float64", "n": "int64", "up": "bool", "raw": "binary"},
                )
                result = measure.query(columns=[*ALL, "version"])
                copy.write(getattr(result, form)())
                assert rows_of(copy) == rows_of(measure)
                copy.write(result)
                assert rows_of(copy, columns=["version", "n"]) == rows_of(measure, columns=["version", "n"])


class TestLife:
    def test_is_read_any_number_of_times(self, measure: Measure) -> None:
        result = measure.query()
        first = result.to_arrow()
        assert first.equals(result.to_arrow())
        assert pa.table(result).equals(first)
        half = result.to_batches()
        next(half)
        assert pa.Table.from_batches(result).equals(first)

    def test_later_changes_do_not_show(self, store_url: Store) -> None:
        """Nor do they take anything away: neither writes, nor flushes, nor collection at once."""
        options = TableOptions(gc_grace=0.0, keep_snapshots=1)
        with open_store(store_url, options=options) as database:
            measure = create(database)
            results, expected = [], []
            for step in range(4):
                measure.write([row(n, usage=float(step)) for n in range(step * 10, step * 10 + 20)])
                results.append(measure.query())
                expected.append(rows_of(measure))
                if step % 2:
                    measure.flush()
                    measure.gc()
            measure.write([row(n, usage=-1.0) for n in range(100)])
            measure.flush()
            measure.gc()
            for result, rows in zip(results, expected, strict=True):
                assert numbered(result.to_arrow()).to_pylist() == rows

    def test_of_a_reader_are_unaffected_by_refresh(self, store_url: Store) -> None:
        with open_store(store_url) as writer:
            measure = create(writer)
            measure.write([row(1)], durable=True)
            with open_store(store_url, read_only=True) as reader:
                old = reader.measure("m").query()
                measure.write([row(1, usage=2.0), row(2)], durable=True)
                reader.refresh()
                assert numbered(old.to_arrow())["n"].to_pylist() == [1]
                assert values_of(reader.measure("m"), "n") == [1, 2]

    def test_a_batch_iterator_keeps_its_result(self, measure: Measure) -> None:
        batches = measure.query().to_batches()
        measure.write([row(0, usage=9.0)])
        measure.flush()
        measure.gc()
        assert pa.Table.from_batches(batches)["usage"].to_pylist() == [0.5, None]

    def test_closed(self, measure: Measure) -> None:
        result = measure.query()
        result.close()
        result.close()
        for read in (result.to_arrow, result.to_pandas, result.to_polars, lambda: list(result)):
            with pytest.raises(ClosedError, match="make the query again"):
                read()
        with pytest.raises(ClosedError, match="make the query again"):
            pa.table(result)

    def test_as_a_context(self, measure: Measure) -> None:
        with measure.query() as result:
            table = result.to_arrow()
        assert table.num_rows == 2
        with pytest.raises(ClosedError):
            result.to_arrow()

    def test_closing_lets_collection_go_on(self, measure: Measure, memory_store: Store) -> None:
        measure.flush()
        result = measure.query()
        measure.write([row(n) for n in range(50)])
        measure.flush()
        before = measure.gc()
        assert result.to_arrow().num_rows == 2
        result.close()
        assert not [path for path in before if path.endswith(".part")]
        assert values_of(measure, "n") == list(range(50))


def test_listed_series_come_in_their_order_from_blocks_far_apart() -> None:
    hosts = [f"h{number:03}" for number in range(200)]
    rows = 300
    with measurefs.open("memory://", background=False) as db:
        measure = db.create_measure("m", entity=["host"], fields={"v": "int64"})
        measure.write(
            {
                "time": [time for _ in hosts for time in range(rows)],
                "host": [host for host in hosts for _ in range(rows)],
                "v": list(range(rows * len(hosts))),
            }
        )
        measure.flush()
        listed = [hosts[number] for number in (150, 3, 77, 4, 199, 0)]
        result = measure.query(10, 290, {"host": listed}, order="series").to_arrow()
        wanted = [hosts.index(host) * rows + time for host in listed for time in range(10, 290)]
        assert result["v"].to_pylist() == wanted
        assert result["host"].to_pylist() == [host for host in listed for _ in range(10, 290)]
