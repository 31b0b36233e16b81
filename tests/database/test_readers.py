"""A reader in another process, refreshed while a writer writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from measurefs import NotExistError, TableOptions
from measurefs.table import Runtime
from tests.conftest import Store
from tests.database.helpers import DAY, open_store, rows_of, values_of

READER = """
import json, sys
import measurefs

def seen(database):
    if "cpu" not in database.measures():
        return None
    table = database.measure("cpu").query(columns=["time", "host", "usage"], order="series").to_arrow()
    return [[int(time.value), host, usage] for time, host, usage in zip(*table.columns, strict=True)]

url, options = json.loads(sys.argv[1])
with measurefs.open(url, storage_options=options, read_only=True) as database:
    for command in sys.stdin:
        if command.strip() == "refresh":
            database.refresh()
        print(json.dumps(seen(database), default=lambda scalar: scalar.as_py()), flush=True)
"""

Ask = Callable[[str], Any]


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(f"{request.param}_store")
    return found


@pytest.fixture
def ask(store: Store) -> Iterator[Ask]:
    """What a reader in another process sees, or sees once refreshed."""
    with open_store(store):
        pass
    options = {name: value for name, value in store.options.items() if name != "session"}
    command = [sys.executable, "-W", "error", "-c", READER, json.dumps([store.url, options])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None

        def ask(what: str) -> Any:
            print(what, file=reader.stdin, flush=True)
            return json.loads(reader.stdout.readline())  # type: ignore[union-attr]

        yield ask
        reader.stdin.close()
        assert reader.wait() == 0


def test_sees_what_is_committed_when_refreshed(store: Store, ask: Ask) -> None:
    assert ask("look") is None
    with open_store(store, options=TableOptions(gc_interval=3600.0, flush_interval=3600.0)) as writer:
        cpu = writer.create_measure("cpu", entity=["host"], fields={"usage": "float64"}, shards=2)
        assert ask("look") == []
        expected: list[list[Any]] = []
        for step in range(6):
            time = step * DAY // 2
            cpu.write({"time": [time, time], "host": ["a", "b"], "usage": [float(step), -float(step)]})
            assert ask("refresh") == expected, "rows that are not durable were seen"
            cpu.flush()
            assert ask("look") == expected, "rows were seen without a refresh"
            seen = ask("refresh")
            expected = [
                list(row.values()) for row in rows_of(cpu, columns=["time", "host", "usage"], order="series")
            ]
            assert seen == expected
            assert len(expected) == 2 * (step + 1)


def test_sees_whole_commits_while_a_writer_writes_on(store: Store, ask: Ask) -> None:
    """Every refresh shows some commit whole, never an older one than the last."""
    options = TableOptions(gc_grace=3600.0, keep_snapshots=1)
    with open_store(store, options=options) as writer:
        cpu = writer.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
        last = -1.0
        for step in range(15):
            hosts = [f"h{number}" for number in range(20)]
            cpu.write({"time": [1] * 20, "host": hosts, "usage": [float(step)] * 20}, durable=True)
            cpu.gc()
            values = {usage for _, _, usage in ask("refresh")}
            assert values == {float(step)}
            assert float(step) > last
            last = float(step)


# Readers that look by themselves.


def write_on(store: Store, *values: int, compact: bool = False) -> None:
    """Write rows as another process, and remove at once what that replaces."""
    options = TableOptions(gc_grace=0.0, keep_snapshots=1)
    with open_store(store, options=options, background=False) as db:
        cpu = db.create_measure("cpu", entity=["host"], fields={"v": "int64"}, exist_ok=True)
        for value in values:
            cpu.write({"time": [value], "host": [f"h{value % 3}"], "v": [value]}, durable=True)
        if compact:
            cpu.compact()
        cpu.gc()


def test_a_reader_is_never_older_than_asked_for(store_url: Store) -> None:
    write_on(store_url, 1)
    seconds = [0.0]
    runtime = Runtime(monotonic=lambda: seconds[0])
    with open_store(store_url, read_only=True, max_age=10.0, runtime=runtime) as reader:
        cpu = reader.measure("cpu")
        assert values_of(cpu, "v") == [1]
        write_on(store_url, 2)
        seconds[0] = 10.0
        assert values_of(cpu, "v") == [1]
        seconds[0] = 10.1
        assert values_of(cpu, "v") == [1, 2]
        write_on(store_url, DAY)  # in another table
        seconds[0] = 21.0
        assert values_of(cpu, "v") == [1, 2, DAY]
        with open_store(store_url) as db:
            db.measure("cpu").evolve(fields={"w": "int64"})
        seconds[0] = 40.0
        assert "w" in rows_of(cpu)[0]


def test_looking_for_other_things_makes_nobody_younger(memory_store: Store) -> None:
    """A writer that opens a new segment lists the measure, and has not seen what others have committed by that."""
    seconds = [0.0]
    with open_store(memory_store) as other:
        theirs = other.create_measure("cpu", entity=["host"], fields={"v": "int64"}, shards=2)
        hosts = [f"h{number}" for number in range(10)]
        shards = theirs.shard_of({"host": hosts}).tolist()
        first, second = hosts[shards.index(0)], hosts[shards.index(1)]
        theirs.write({"time": [0], "host": [second], "v": [0]}, durable=True)
        runtime = Runtime(monotonic=lambda: seconds[0])
        with open_store(memory_store, runtime=runtime, max_age=10.0, background=False) as db:
            cpu = db.measure("cpu")
            assert values_of(cpu, "v", where={"host": second}) == [0]
            theirs.write({"time": [1], "host": [second], "v": [1]}, durable=True)
            for day in range(1, 4):
                seconds[0] += 4.0
                cpu.write({"time": [day * DAY], "host": [first], "v": [day]})
            assert values_of(cpu, "v", where={"host": second}) == [0, 1]


@pytest.mark.parametrize("on_corrupt", ["error", "skip"])
def test_what_was_collected_is_looked_for_anew_whatever_is_to_be_skipped(
    memory_store: Store, on_corrupt: Any
) -> None:
    write_on(memory_store, 1, 2)
    with open_store(memory_store, read_only=True, max_age=3600.0) as reader:
        cpu = reader.measure("cpu")
        assert cpu.stats()
        write_on(memory_store, 3, compact=True)
        result = cpu.query(on_corrupt=on_corrupt)
        assert result.to_arrow()["v"].to_pylist() == [1, 2, 3]
        assert result.skipped == []


def test_what_was_collected_is_looked_for_anew(store_url: Store) -> None:
    write_on(store_url, 1, 2)
    with open_store(store_url, read_only=True, max_age=3600.0) as reader:
        cpu = reader.measure("cpu")
        assert cpu.stats()  # the tables are open, and of their parts nothing is read
        pinned = cpu.query(columns=["v"])
        write_on(store_url, 3, compact=True)
        assert pinned.to_arrow()["v"].to_pylist() == [1, 2, 3]
        assert values_of(cpu, "v") == [1, 2, 3]
        assert cpu.aggregate(values={"v": ["sum"]}).to_arrow()["v_sum"].to_pylist() == [6]


def test_what_was_collected_is_an_error_that_says_what_to_do(store_url: Store) -> None:
    write_on(store_url, 1, 2)
    with open_store(store_url, read_only=True) as reader:
        cpu = reader.measure("cpu")
        assert cpu.stats()
        write_on(store_url, 3, compact=True)
        with pytest.raises(NotExistError, match=r"call refresh\(\)"):
            rows_of(cpu)
        cpu.refresh()
        assert values_of(cpu, "v") == [1, 2, 3]


def test_rows_that_were_given_out_are_not_mixed_with_newer_ones(store_url: Store) -> None:
    write_on(store_url, 1, DAY)
    with open_store(store_url, read_only=True, max_age=3600.0) as reader:
        cpu = reader.measure("cpu")
        assert cpu.stats()
        batches = cpu.query(columns=["v"], order="series", limit=2).to_batches(batch_rows=1)
        first = next(batches)
        write_on(store_url, 2, DAY + 1, compact=True)
        rest: list[int] = []
        try:
            for batch in batches:
                rest += batch["v"].to_pylist()
        except NotExistError:
            return
        assert [*first["v"].to_pylist(), *rest] == [1, DAY]
