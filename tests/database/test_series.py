"""Series: whatever an entity is made of, its rows stay its own."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import measurefs
from measurefs import TableOptions
from tests.conftest import Store

ODD = [
    "",
    " ",
    "a",
    "a\0",
    "\0a",
    "a|b",
    "a,b",
    "a\nb",
    "ä",
    "a\u0308",
    "null",
    "None",
    "nan",
    "/",
    "..",
    "😀" * 50,
]
"""Texts that a careless key would take for one another."""


def values(measure: measurefs.Measure, **entity: object) -> list[int]:
    return measure.query(where=entity, columns=["n"]).to_arrow()["n"].to_pylist()


@pytest.mark.parametrize("hasher", [None, lambda key: 7, len], ids=["", "constant", "length"])
def test_odd_entities_stay_apart_also_when_they_share_an_id(memory_store: Store, hasher) -> None:
    settings = {} if hasher is None else {"series_hash": hasher}
    pairs = [(first, second) for first in ODD for second in ("", "b", "|b")]
    with measurefs.open(memory_store.url, options=TableOptions(**settings)) as database:
        measure = database.create_measure("m", entity=["first", "second"], fields={"n": "int64"}, shards=3)
        for part in range(3):
            measure.write(
                {
                    "time": [part] * len(pairs),
                    "first": [first for first, _ in pairs],
                    "second": [second for _, second in pairs],
                    "n": [3 * number + part for number in range(len(pairs))],
                }
            )
            measure.flush()
        for _ in range(2):
            for number, (first, second) in enumerate(pairs):
                expected = [3 * number + part for part in range(3)]
                assert values(measure, first=first, second=second) == expected
            measure.compact()


def test_entities_of_every_type_together(memory_store: Store) -> None:
    entity = {"name": "string", "port": "int64", "mac": "binary"}
    keys = [
        (name, port, mac)
        for name in ("a", "")
        for port in (0, -1, 2**63 - 1)
        for mac in (b"", b"\0", b"\xff")
    ]
    names, ports, macs = zip(*keys, strict=True)
    with measurefs.open(memory_store.url) as database:
        measure = database.create_measure("m", entity=entity, fields={"n": "int64"})
        columns = {"name": names, "port": ports, "mac": macs}
        for time in range(2):
            measure.write(
                pa.table(
                    {name: pa.array(column) for name, column in columns.items()}
                    | {"time": [time] * len(keys), "n": list(range(len(keys)))}
                )
            )
            measure.flush()
        measure.compact()
        for number, (name, port, mac) in enumerate(keys):
            assert values(measure, name=name, port=port, mac=mac) == [number] * 2


def test_a_quarter_of_a_million_series(memory_store: Store) -> None:
    count = 250_000
    hosts = np.char.add("device-", np.arange(count).astype(str))
    with measurefs.open(memory_store.url) as database:
        measure = database.create_measure("m", entity=["host"], fields={"n": "int64"})
        for time in range(2):
            numbers = np.random.default_rng(time).permutation(count)
            measure.write({"time": np.full(count, time), "host": hosts[numbers], "n": numbers}, durable=True)
        measure.compact()
        for number in (0, 1, 77_777, count - 1):
            assert values(measure, host=f"device-{number}") == [number] * 2
        rows = measure.query(columns=["host", "n"], order="series").to_arrow()
        assert rows.num_rows == 2 * count
        assert rows["n"].to_numpy().sum() == count * (count - 1)
