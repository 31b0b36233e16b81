"""Readers in other processes beside a writer that writes, flushes and collects.

::

    python -m tests.processes.readers --news 50 --readers 3 [--s3]

Each batch has a row of every series in every table, and rewrites one row of each. So a reader can tell whether it
saw a batch whole: a batch's rows in a table are all there or none is, and the rewritten rows are all of the last
batch that is there.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import itertools
import random
import sys
import tempfile
import time
from multiprocessing.connection import Connection

import measurefs
from measurefs import TableOptions
from tests.processes.children import Child, Place
from tests.processes.ingest import DAY, IDS, NAME, shards
from tests.s3_server import S3Server

DAYS = 2
GRACE = 1.0
OPTIONS = TableOptions(gc_grace=GRACE, gc_interval=0.05, flush_interval=0.2, keep_snapshots=1)
_OF = shards()
_TABLES = {(day, shard): _OF.count(shard) for day in range(DAYS) for shard in set(_OF)}

Progress = dict[tuple[int, int], int]
"""Day and shard to the number of the last batch seen in that table."""


def value(series: int, batch: int) -> int:
    """Return what a batch says of a series: no two say the same."""
    return batch * 1000 + series * 31 % 1000


def write(pipe: Connection, place: Place, files: int) -> None:
    """Write batches until told to end; then tell the number of the last.

    So many other files in a table's directory make a listing of it several calls of the operating system, between
    which names come and go.
    """
    chance = random.Random(1)
    with measurefs.open(place.url, storage_options=place.storage_options(), options=OPTIONS) as database:
        measure = database.create_measure(
            NAME, entity={"id": "int64"}, fields={"batch": "int64", "value": "int64"}, shards=2
        )
        batch = 0
        while not pipe.poll():
            batch += 1
            keys = [
                (series, day * DAY + time)
                for series in range(IDS)
                for day in range(DAYS)
                for time in (0, batch)
            ]
            chance.shuffle(keys)
            rows = {
                "time": [time for _, time in keys],
                "id": [series for series, _ in keys],
                "batch": [batch] * len(keys),
                "value": [value(series, batch) for series, _ in keys],
            }
            measure.write(rows, durable=chance.random() < 0.1)
            time.sleep(0.02)  # or there would soon be so much that readers are slow
            if batch == 1:
                measure.flush()
                for table, number in itertools.product(measure.stats(), range(files)):
                    database.fs.write(f"{table}/other-{number * 7919 % 10_007:05}", b"")
                pipe.send("there is something to read")
    pipe.send(batch)


def read(pipe: Connection, place: Place, news: int) -> None:
    """Refresh and query until there was something new so many times; then tell what was seen last."""
    seen: Progress = dict.fromkeys(_TABLES, 0)
    counts: collections.Counter[str] = collections.Counter()
    with measurefs.open(place.url, storage_options=place.storage_options(), read_only=True) as database:
        measure = database.measure(NAME)
        while counts["news"] < news:
            database.refresh()
            with measure.query(order="series") as result:
                now = check(result.to_arrow().to_pydict())
                assert all(now[table] >= seen[table] for table in _TABLES), f"{seen}, and later {now}"
                counts["queries"] += 1
                counts["rows"] += sum(_TABLES[table] * (batch + 1) for table, batch in now.items())
                counts["news"] += now != seen
                seen = now
                pipe.send("one more query")
                if counts["queries"] % 5 == 0:  # a result is read again after what it pins was superseded
                    database.refresh()
                    assert check(result.to_arrow().to_pydict()) == now
    pipe.send((seen, counts))


def check(rows: dict[str, list]) -> Progress:
    """Return which batch is the last in each table; all up to it must be there, each whole."""
    batches: dict[tuple[int, int], dict[int, set[int]]] = {table: {} for table in _TABLES}
    heads: dict[tuple[int, int], set[int]] = {table: set() for table in _TABLES}
    for moment, series, batch, held in zip(*rows.values(), strict=True):
        assert held == value(series, batch)
        day, place = divmod(moment.value, DAY)
        table = day, _OF[series]
        if place == 0:
            heads[table].add(batch)
        else:
            assert place == batch
            batches[table].setdefault(batch, set()).add(series)
    for table, found in batches.items():
        assert sorted(found) == list(range(1, len(found) + 1)), f"batches are missing in {table}"
        assert all(len(series) == _TABLES[table] for series in found.values()), f"a torn batch in {table}"
        assert heads[table] <= {len(found)}, (
            f"rewritten rows of {heads[table]}, the last batch is {len(found)}"
        )
    return {table: len(found) for table, found in batches.items()}


def run(news: int, readers: int, place: Place, files: int = 0) -> collections.Counter[str]:
    """Let readers read beside a writer until each has seen so much news, and return what was counted."""
    counts: collections.Counter[str] = collections.Counter()
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(Child(write, place, files))
        writer.next()
        children = [stack.enter_context(Child(read, place, news)) for _ in range(readers)]
        told = [child.finish()[-1] for child in children]
        writer.send("end")
        (batches,) = writer.finish()
        for seen, counted in told:
            counts += counted
            assert max(seen.values()) <= batches
        counts["batches"] = batches
    return counts


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.processes.readers", description=__doc__)
    parser.add_argument("--news", type=int, default=50, help="until each has seen something new so often")
    parser.add_argument("--readers", type=int, default=3)
    parser.add_argument("--files", type=int, default=0, help="so many other files beside those of each table")
    parser.add_argument("--s3", action="store_true", help="on S3 (moto) instead of the local disk")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if given.s3:
            place = Place.of_s3(stack.enter_context(S3Server()))
        else:
            place = Place(stack.enter_context(tempfile.TemporaryDirectory()), {})
        counts = run(given.news, given.readers, place, given.files)
    for name in sorted(counts):
        print(f"{name:.<44}{counts[name]:.>12,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
