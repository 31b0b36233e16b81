"""The process that writes until it is killed or told to end."""

from __future__ import annotations

import collections
import random
import time
from multiprocessing.connection import Connection

import measurefs
from measurefs import Database, LockError, Measure, NotDurableError, PartOptions, TableOptions
from tests.processes.children import PATIENCE, Place
from tests.soak.progress import Progress
from tests.soak.rows import ENTITY, FIELDS, NAME, SHARDS, TAGS, batch_table

GRACE = 3.0
"""Seconds for which a part that was merged is kept for readers."""


def options(chance: random.Random) -> TableOptions:
    """Return settings with which much happens by itself."""
    return TableOptions(
        flush_interval=chance.choice([0.1, 0.5]),
        flush_bytes=chance.choice([1 << 14, 1 << 26]),
        gc_interval=0.5,
        gc_grace=GRACE,
        keep_snapshots=chance.choice([1, 2]),
        part=PartOptions(compact_bytes=chance.choice([0, 8 << 20, 8 << 20])),
        cache_bytes=1 << 20,
    )


class Writer:
    """Writes the batches after the last that was acknowledged."""

    def __init__(self, place: Place, progress: Progress, seed: int) -> None:
        self.place = place
        self.progress = progress
        self.chance = random.Random(f"{seed}/{progress.generation}")
        self.counts: collections.Counter[str] = collections.Counter()
        self.next = progress.acknowledged + 1
        self._tag = 0

    def open(self) -> tuple[Database, Measure]:
        """Open the store for writing."""
        database = measurefs.open(
            self.place.url, storage_options=self.place.storage_options(), options=options(self.chance)
        )
        measure = database.create_measure(
            NAME, entity=ENTITY, tags=TAGS, fields=FIELDS, shards=SHARDS, exist_ok=True
        )
        return database, measure

    def take_over(self, measure: Measure) -> None:
        """Write a first batch; whoever held the tables died, and that must show within a lease or so."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.write(measure, durable=True)
            except LockError:
                self.counts["locks waited for"] += 1
                if time.monotonic() > until:
                    raise
            else:
                return

    def write(self, measure: Measure, *, durable: bool) -> None:
        """Write the next batch."""
        batch = self.next
        self.progress.say("begun", max(batch, self.progress.begun))
        try:
            measure.write(batch_table(batch), durable=durable)
        except NotDurableError:
            self.counts["not durable at first"] += 1
            measure.flush()
        self.next = batch + 1
        self.counts["batches"] += 1
        if durable:
            self.progress.say("acknowledged", batch)
            self.counts["batches durable on return"] += 1

    def step(self, measure: Measure) -> str:
        """Do something."""
        kinds = {
            "durable": 40,
            "write": 40,
            "flush": 8,
            "compact": 1,
            "gc": 2,
            "tag": 2,
            "reopen": 1,
            "pause": 6,
        }
        kind = self.chance.choices([*kinds], [*kinds.values()])[0]
        if kind in {"durable", "write"}:
            self.write(measure, durable=kind == "durable")
        elif kind == "flush":
            measure.flush()
            self.progress.say("acknowledged", self.next - 1)
        elif kind == "compact":
            measure.compact()
        elif kind == "gc":
            measure.gc()
        elif kind == "tag":
            self._retag(measure)
        elif kind == "pause":
            time.sleep(self.chance.uniform(0, 0.3))  # in which it flushes, merges and collects by itself
        self.counts[f"writer: {kind}"] += 1
        return kind

    def _retag(self, measure: Measure) -> None:
        tags = list(measure.tags())
        if tags:
            measure.untag(tags[0])
        else:
            measure.tag(f"tag {self.chance.randrange(1000)}")

    def close(self, database: Database) -> None:
        """Close the store: then all that was written is durable."""
        database.close()
        self.progress.say("acknowledged", self.next - 1)


def write(pipe: Connection, place: Place, path: str, seed: int) -> None:
    """Write until told to end; tell now and then what was done."""
    progress = Progress(path)
    writer = Writer(place, progress, seed)
    database, measure = writer.open()
    writer.take_over(measure)
    pipe.send(collections.Counter({"take-overs": 1}))
    said = time.monotonic()
    while not pipe.poll():
        if writer.step(measure) == "reopen":
            writer.close(database)
            database, measure = writer.open()
        if time.monotonic() - said > 0.5:
            _merges(writer.counts, measure)
            pipe.send(writer.counts)
            writer.counts = collections.Counter()
            said = time.monotonic()
    writer.close(database)
    pipe.send(writer.counts)
    progress.close()


_merged: dict[str, int] = {}


def _merges(counts: collections.Counter[str], measure: Measure) -> None:
    """Add how many merges there were since the last call."""
    for table, stats in measure.stats().items():
        merges = stats.get("merges", 0)
        before = _merged.get(table, 0)
        counts["merges"] += merges - before if merges >= before else merges
        _merged[table] = merges
