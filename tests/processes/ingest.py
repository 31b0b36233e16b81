"""The process that ingests until it is killed, and what it writes, which its parent knows as well."""

from __future__ import annotations

import dataclasses
import random
import time
from multiprocessing.connection import Connection
from typing import Any

import pyarrow as pa

import measurefs
from measurefs import Database, Measure, PartOptions, TableOptions
from measurefs.part.series import encode_series
from tests.processes.children import Place

DAY = 86_400_000_000_000
SHARDS = 2
IDS = 12
NAME = "m"
GENERATIONS_A_DAY = 8
"""So many processes write to the same days before the next ones do, so that no table grows without end."""

SPREAD = 2
"""To so many days each process writes."""

Key = tuple[int, int]
"""id, time."""

Table = tuple[int, int]
"""Day, shard."""


@dataclasses.dataclass(frozen=True)
class Step:
    """What a process does next.

    Attributes
    ----------
    kind : str
        ``"write"``, ``"durable"``, ``"flush"``, ``"gc"``, ``"reopen"`` or ``"pause"``.
    rows : dict
        Key to value; a value occurs once in all batches of all processes.
    version : int or None
        Of all rows; None leaves it to their order of arrival.
    """

    kind: str
    rows: dict[Key, int] = dataclasses.field(default_factory=dict)
    version: int | None = None


def plan(seed: int, generation: int, number: int) -> Step:
    """Return what a process does as its step of that number."""
    chance = random.Random(f"{seed}/{generation}/{number}")
    kinds = ["durable"] * 8 + ["write"] * 8 + ["flush"] * 2 + ["gc", "reopen", "pause"]
    kind = chance.choice(kinds)
    if kind not in {"durable", "write"}:
        return Step(kind)
    version = chance.choice([None, None, chance.randrange(5)])
    return Step(kind, _rows(chance, generation, generation * 10_000 + number), version)


def _rows(chance: random.Random, generation: int, batch: int) -> dict[Key, int]:
    """Make rows of some series on some days, late ones too: new ones, and some that were there before."""
    day = generation // GENERATIONS_A_DAY + SPREAD
    days = chance.sample(range(day - SPREAD + 2, day + 2), chance.choice([1, 1, SPREAD]))
    ids = chance.sample(range(IDS), chance.randint(1, IDS))
    many = chance.choice([1, 1, 1, 1, 100])
    keys = []
    for which in days:
        for key in ids:
            start = which * DAY
            keys += [(key, start + 1000 + batch * 1000 + place) for place in range(many)]
            if chance.random() < 0.5:
                keys.append((key, start + chance.randrange(4)))
    chance.shuffle(keys)
    return {key: batch * 10_000 + place for place, key in enumerate(keys)}


def is_new(key: Key) -> bool:
    """Whether only one batch has the key: by such a row one sees whether its batch is there."""
    return key[1] % DAY >= 1000


def shards() -> list[int]:
    """Return the shard of each series."""
    series, codes = encode_series(pa.record_batch([pa.array(range(IDS), pa.int64())], names=["id"]))
    return [int(series.ids[code]) % SHARDS for code in codes]


def options(chance: random.Random) -> TableOptions:
    """Return settings with which much happens by itself."""
    return TableOptions(
        flush_interval=chance.choice([0.005, 0.02, 0.1]),
        flush_bytes=chance.choice([1 << 14, 1 << 26]),
        gc_interval=0.02,
        gc_grace=0.0,
        keep_snapshots=chance.choice([1, 2]),
        part=PartOptions(compact_bytes=chance.choice([0, 8 << 20])),
    )


def open_measure(
    place: Place, settings: TableOptions, *, background: bool = True
) -> tuple[Database, Measure]:
    """Open the store for writing, and make what is missing."""
    database = measurefs.open(
        place.url, storage_options=place.storage_options(), options=settings, background=background
    )
    measure = database.create_measure(
        NAME, entity={"id": "int64"}, fields={"value": "int64"}, shards=SHARDS, exist_ok=True
    )
    return database, measure


def columns(rows: dict[Key, int], version: int | None) -> dict[str, Any]:
    """Return a batch as `Measure.write` takes it."""
    data = {"time": [key[1] for key in rows], "id": [key[0] for key in rows], "value": list(rows.values())}
    return data if version is None else data | {"version": [version] * len(rows)}


def ingest(pipe: Connection, place: Place, seed: int, generation: int) -> None:
    """Do one step after the other: say which before it begins, and again once it is done."""
    chance = random.Random(f"{seed}/{generation}")
    settings = options(chance)
    pipe.send(("opening", -1))
    database, measure = open_measure(place, settings)
    for number in range(5_000):
        step = plan(seed, generation, number)
        pipe.send(("begun", number))
        if step.rows:
            measure.write(columns(step.rows, step.version), durable=step.kind == "durable")
        elif step.kind == "flush":
            measure.flush()
        elif step.kind == "gc":
            measure.gc()
        elif step.kind == "reopen":
            database.close()
            database, measure = open_measure(place, settings)
        else:
            time.sleep(chance.uniform(0, 0.05))  # in which it flushes by itself
        pipe.send(("done", number))
