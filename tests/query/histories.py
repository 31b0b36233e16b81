"""Stores with a random past for the differential tests, and in a plain dictionary the rows that count."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pyarrow as pa

from measurefs import Database, Measure, PartOptions, TableOptions
from measurefs.part.series import xxh3

HOUR = 3_600_000_000_000
TIME_TYPE = pa.timestamp("ns", tz="UTC")
ENTITY = {"host": "string", "port": "int64"}
TAGS = {"region": "string", "rack": "int64", "labels": "list<string>"}
FIELDS = {
    "usage": "float64",
    "load": "float64",
    "n": "int64",
    "up": "bool",
    "note": "string",
    "raw": "binary",
}
TYPES = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "binary": pa.binary(),
    "list<string>": pa.list_(pa.string()),
}
BASES = (1_711_756_800_000_000_000, -HOUR * 30, 1_698_436_800_000_000_000)
"""Before clocks change in Europe, around 1970, and before clocks change back."""

_MOST_ROWS = {1: 250, 7: 1000}
"""By the rows of a block: with thousands of blocks every question takes its time."""

Row = dict[str, Any]


def colliding(key: bytes) -> int:
    """Give many entities the same id."""
    return xxh3(key) % 3


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a store is laid out, which no answer may show."""

    interval: str
    shards: int
    block_rows: int
    compact_bytes: int
    collide: bool
    entity: tuple[str, ...]
    versioned: bool

    @classmethod
    def drawn(cls, chance: random.Random) -> Layout:
        return cls(
            interval=chance.choice(["1h", "6h", "1d", "30d"]),
            shards=chance.choice([1, 1, 3]),
            block_rows=chance.choice([1, 7, 64, 4096]),
            compact_bytes=chance.choice([0, 8 << 20]),
            collide=chance.random() < 0.15,
            entity=chance.choice([("host",), ("host", "port")]),
            versioned=chance.random() < 0.3,
        )

    @property
    def options(self) -> TableOptions:
        return TableOptions(
            gc_grace=0.0,
            series_hash=colliding if self.collide else xxh3,
            part=PartOptions(block_rows=self.block_rows, compact_bytes=self.compact_bytes),
        )

    @property
    def names(self) -> list[str]:
        """The columns of a row."""
        return ["time", *self.entity, *TAGS, *FIELDS]

    def type_of(self, name: str) -> pa.DataType:
        if name == "time":
            return TIME_TYPE
        kinds = {**ENTITY, **TAGS, **FIELDS, "version": "int64", "place": "int64"}
        return TYPES[kinds[name]]


class History:
    """A measure that has been through something, and the rows that are left of it.

    Attributes
    ----------
    winners : dict
        By entity and time: of rows with the same key the one with the highest version, of equal ones the later.
    """

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.layout = Layout.drawn(self._chance)
        self.winners: dict[tuple[Any, ...], Row] = {}
        rows = min(self._chance.choice([60, 600, 3000]), _MOST_ROWS.get(self.layout.block_rows, 3000))
        self.base = self._chance.choice(BASES)
        self.step = self._chance.choice([1, 10, 420]) * 10**9
        self.hosts = [f"h{number}" for number in range(self._chance.choice([1, 3, 9]))] + ["ü", ""]
        self.ports = [-1, 80, 443]
        keys = len(self.hosts) * (len(self.ports) if "port" in self.layout.entity else 1)
        self.span = max(rows // keys, 1)
        self._rows = rows

    def replay(self, database: Database) -> Measure:
        """Create the measure and do to it all that has happened."""
        layout = self.layout
        measure = database.create_measure(
            "m",
            entity={name: ENTITY[name] for name in layout.entity},
            tags=TAGS,
            fields=FIELDS,
            interval=layout.interval,
            shards=layout.shards,
        )
        written = arrival = 0
        while written < self._rows:
            batch = self._batch(min(self._rows - written, self._chance.choice([1, 40, 400, 400])))
            measure.write(self._table(batch))
            arrival += 1
            self._take(batch, 1000 + arrival)
            written += len(batch)
            match self._chance.choice(["flush", "flush", "flush", "compact", "delete", "", ""]):
                case "flush":
                    measure.flush()
                case "compact":
                    measure.compact()
                case "delete" if self._chance.random() < 0.5:
                    self._delete(measure)
        if self._chance.random() < 0.3:
            measure.compact()
        return measure

    def time(self) -> int:
        """A time that rows have, most probably."""
        return self.base + self._chance.randrange(self.span) * self.step

    def value(self, name: str, chance: random.Random) -> Any:
        """A value of a column, or null."""
        if name not in ENTITY and chance.random() < 0.12:
            return None
        match name:
            case "host":
                return chance.choice(self.hosts)
            case "port":
                return chance.choice(self.ports)
            case "region":
                return chance.choice(["eu", "us", "ap", "", "ü"])
            case "rack":
                return chance.randrange(-1, 5)
            case "labels":
                return [chance.choice(["x", "y", "", None]) for _ in range(chance.randrange(3))]
            case "usage":
                special = [0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1.5]
                return chance.choice(special) if chance.random() < 0.1 else round(chance.gauss(0, 9), 2)
            case "load":
                return round(chance.uniform(-50, 50), 2)
            case "n":
                return 2**53 + chance.randrange(3) if chance.random() < 0.05 else chance.randrange(-20, 100)
            case "up":
                return chance.random() < 0.5
            case "note":
                return chance.choice(["ok", "warn", "error: disk", "ü", ""])
        return chance.choice([b"", b"\x00\xff", b"abc"])

    def _batch(self, count: int) -> list[Row]:
        columns = [name for name in (*TAGS, *FIELDS) if self._chance.random() < 0.85]
        versioned = self.layout.versioned or self._chance.random() < 0.2
        batch = []
        for _ in range(count):
            row = {"time": self.time()}
            row |= {name: self.value(name, self._chance) for name in (*self.layout.entity, *columns)}
            if versioned:
                row["version"] = self._chance.randrange(-2, 4)
            batch.append(row)
        return batch

    def _table(self, batch: list[Row]) -> pa.Table:
        kinds = {name: self.layout.type_of(name) for name in batch[0]} | {"time": pa.int64()}
        return pa.table({name: pa.array([row[name] for row in batch], kinds[name]) for name in batch[0]})

    def _take(self, batch: list[Row], arrival: int) -> None:
        for row in batch:
            whole = dict.fromkeys(self.layout.names) | {"version": arrival} | row
            key = self._key(whole)
            held = self.winners.get(key)
            if held is None or whole["version"] >= held["version"]:
                self.winners[key] = whole

    def _key(self, row: Row) -> tuple[Any, ...]:
        return (*(row[name] for name in self.layout.entity), row["time"])

    def _delete(self, measure: Measure) -> None:
        start = self.time()
        end = start + self.step * self._chance.randrange(1, max(self.span // 4, 2))
        hosts = self._chance.sample(self.hosts, 2)
        measure.delete(start, end, {"host": hosts})
        for key, row in list(self.winners.items()):
            if start <= row["time"] < end and row["host"] in hosts:
                del self.winners[key]
