"""A measure as a view of DuckDB: its answers, and what of its queries reaches the store."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from measurefs.interop.duckdb import register
from tests.interop.conftest import SECOND, START, Watched


@pytest.fixture
def db(cpu: Watched, rows: pa.Table) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the measure, and with a table of the same rows, whose times are rounded alike."""
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("set timezone = 'UTC'")
        register(connection, "cpu", cpu)  # type: ignore[arg-type]
        plain = rows.set_column(0, "time", rows["time"].cast(pa.timestamp("us", tz="UTC"), safe=False))
        connection.register("given", plain)
        connection.execute("create table plain as from given")
        yield connection


QUESTIONS = [
    "select count(*) from {}",
    "select host, avg(n), count(usage), max(time) from {} group by host",
    "select * from {} where host = 'host-03' and time < '2026-01-01 00:10:00Z'",
    "select time, n from {} where time between '2026-01-01 00:00:10Z' and '2026-01-01 00:00:20Z'",
    "select time, n from {} where time > '2026-01-01 00:00:10Z' and time <= '2026-01-01 00:00:30Z'",
    "select time, n from {} where time = '2026-01-01 00:00:10Z'",
    "select time, n from {} where time in ('2026-01-01 00:00:10Z', '2026-01-01 00:00:20Z')",
    "select time, n from {} where time < '9999-12-31' and time > '0001-01-01' and n < 50",
    "select n from {} where usage > 20",
    "select n from {} where usage >= 'nan'::double",
    "select n from {} where usage < 3 or usage is null",
    "select n from {} where usage <> 3 and not (usage <= 20)",
    "select n from {} where region is null and up and n % 3 = 1",
    "select n from {} where region in ('r1', 'r2') and host like 'host-1%'",
    "select n from {} where region <> 'r1' or n < 10",
    "select n from {} where raw = '\\x001'::blob and labels = ['x']",
    "select time_bucket(interval '1 minute', time) as bucket, region, sum(n) from {} group by all",
    "select host, arg_max(n, time) from {} where n > 5000 group by host having count(*) > 3",
    "select a.n from {} a join (select host, max(time) as time from {} group by host) b using (host, time)",
    "select n from {} order by time desc, host limit 5",
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_answers_are_those_of_a_table_with_the_same_rows(
    db: duckdb.DuckDBPyConnection, question: str
) -> None:
    found, expected = (
        sorted(db.execute(question.replace("{}", name)).fetchall(), key=repr) for name in ("cpu", "plain")
    )
    assert list(map(repr, found)) == list(map(repr, expected))
    assert found


def test_columns_and_conditions_are_asked_of_the_store(db: duckdb.DuckDBPyConnection, cpu: Watched) -> None:
    everything = cpu.query(columns=["n"]).explain().blocks_read
    sum_of = "select sum(n) from cpu where host = 'host-03' and time < '2026-01-01 00:10:00Z'"
    assert db.execute(sum_of).fetchall() == [(sum(range(3, 1200, 20)),)]
    asked = cpu.queries[-1]
    assert "n" in asked["columns"]
    assert not {"usage", "region", "labels", "raw"} & set(asked["columns"])
    assert 'host == "host-03"' in str(asked["where"])
    assert "time < 2026-01-01 00:10:00" in str(asked["where"])
    assert cpu.blocks_read() * 100 == everything


def test_conditions_that_nan_fulfils_only_in_duckdb_are_not_asked(
    db: duckdb.DuckDBPyConnection, cpu: Watched
) -> None:
    (count,) = db.execute("select count(*) from cpu where usage > 20 and host = 'host-03'").fetchall()
    assert "usage" not in str(cpu.queries[-1]["where"])
    assert count == db.execute("select count(*) from plain where usage > 20 and host = 'host-03'").fetchone()


def test_times_are_those_that_duckdb_has_functions_for(db: duckdb.DuckDBPyConnection) -> None:
    assert db.execute("select typeof(time) from cpu limit 1").fetchall() == [("TIMESTAMP WITH TIME ZONE",)]
    (first,) = db.execute("select min(time) from cpu").fetchone() or ()
    assert first == datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_nanoseconds_on_request(cpu: Watched) -> None:
    with duckdb.connect() as connection:
        register(connection, "cpu", cpu, time_unit="ns")  # type: ignore[arg-type]
        found = connection.sql("select min(time) as first from cpu where n >= 20").to_arrow_table()
    assert found["first"].cast(pa.int64()).to_pylist() == [START + 10 * SECOND + 300]


def test_bounds_hold_for_all_queries(cpu: Watched) -> None:
    with duckdb.connect() as connection:
        register(connection, "cpu", cpu, start=START + SECOND, end=START + 15 * SECOND)  # type: ignore[arg-type]
        assert connection.execute("select count(*) from cpu").fetchall() == [(20,)]


def test_each_query_sees_the_rows_of_its_moment(small: Watched) -> None:
    with duckdb.connect() as connection:
        register(connection, "small", small)  # type: ignore[arg-type]
        count: Any = connection.execute("select count(*) from small").fetchone()
        small.write({"time": [START + 7], "host": ["new"]})
        assert connection.execute("select count(*) from small").fetchone() == (count[0] + 1,)
