"""Several processes write to one measure side by side, each to shards of its own."""

from __future__ import annotations

from collections import defaultdict
from multiprocessing.connection import Connection

import numpy as np
import pytest

import measurefs
from measurefs import LockError
from tests.conftest import Store
from tests.processes.children import Child, Place

DAY = 86_400_000_000_000
SHARDS = 4
BATCHES = 8
HOSTS = [f"host {number}" for number in range(40)]

Seen = dict[int, dict[int, int]]
"""Shard to batch to rows."""


def batch(number: int) -> dict[str, list[object]]:
    """A row of every host, whoever is to write it; batches take turns between two days."""
    time = number % 2 * DAY + number
    return {"time": [time] * len(HOSTS), "host": list(HOSTS), "batch": [number] * len(HOSTS)}


def ingest(pipe: Connection, place: Place, shard: int) -> None:
    """Write one's own rows, each batch durably, and tell so; then try those of the next."""
    with measurefs.open(place.open()) as database:
        measure = database.measure("m")
        owners = measure.shard_of({"host": HOSTS})
        mine = np.flatnonzero(owners == shard)
        pipe.send(len(mine))
        pipe.recv()
        for number in range(BATCHES):
            rows = {name: [values[row] for row in mine] for name, values in batch(number).items()}
            assert measure.write(rows, durable=number % 3 != 0) == len(mine)
        measure.flush()
        pipe.send("done")
        pipe.recv()
        with pytest.raises(LockError) as refused:
            measure.write(batch(0))
        pipe.send(str(refused.value))
        pipe.recv()


def watch(pipe: Connection, place: Place) -> None:
    """Refresh and look until told to stop; tell how many looks found something new, and what is there at the end."""
    with measurefs.open(place.open(), read_only=True) as database:
        measure = database.measure("m")
        whole = np.bincount(measure.shard_of({"host": HOSTS}), minlength=SHARDS).tolist()
        known: dict[int, set[int]] = defaultdict(set)
        news = 0
        pipe.send("ready")
        last = False
        while not last:
            last = pipe.poll()
            database.refresh()
            seen = look(measure)
            for shard, batches in seen.items():
                assert set(batches.values()) == {whole[shard]}, f"not whole: {shard}, {batches}"
            for shard, batches in known.items():
                assert batches <= seen[shard].keys(), f"fewer than before: {shard}, {batches}, {seen[shard]}"
            news += any(set(batches) - known[shard] for shard, batches in seen.items())
            known |= {shard: set(batches) for shard, batches in seen.items()}
        pipe.send((news, seen))


def look(measure: measurefs.Measure) -> Seen:
    """Count the rows of each batch of each shard."""
    seen: Seen = defaultdict(lambda: defaultdict(int))
    with measure.query(columns=["host", "batch"]) as result:
        rows = result.to_arrow()
    for shard, number in zip(measure.shard_of(rows).tolist(), rows["batch"].to_pylist(), strict=True):
        seen[shard][number] += 1
    return {shard: dict(batches) for shard, batches in seen.items()}


def run(place: Place) -> None:
    with measurefs.open(place.open()) as database:
        database.create_measure("m", entity=["host"], fields={"batch": "int64"}, shards=SHARDS)
    with Child(watch, place) as reader:
        writers = [Child(ingest, place, shard) for shard in range(SHARDS)]
        try:
            sizes = [writer.next() for writer in writers]
            assert sum(sizes) == len(HOSTS)
            assert min(sizes) > 0
            assert reader.next() == "ready"
            for step in ("go", "quarrel"):
                for writer in writers:
                    writer.send(step)
                said = [writer.next() for writer in writers]
            for refusal in said:
                assert "of segment seg-19700101" in refusal
                assert "Measure.shard_of" in refusal
                assert "process" in refusal
            reader.send("stop")
            news, seen = reader.next()
            for writer in writers:
                writer.send("end")
                writer.finish()
        finally:
            for writer in writers:
                writer.close()
        reader.finish()
    assert news >= 1
    assert seen == {shard: dict.fromkeys(range(BATCHES), sizes[shard]) for shard in range(SHARDS)}
    with measurefs.open(place.open()) as database:  # all of them have let go of their locks
        assert database.measure("m").write(batch(BATCHES), durable=True) == len(HOSTS)
        assert database.verify().ok


def test_four_writers_and_a_reader(local_store: Store) -> None:
    run(Place.of(local_store))
