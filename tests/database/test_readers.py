"""A reader in another process, refreshed while a writer writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from measurefs import TableOptions
from tests.conftest import Store
from tests.database.helpers import DAY, open_store, rows_of

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
