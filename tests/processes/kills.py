"""SIGKILL: a process ingests and is killed at any moment, the next one goes on with what it left, and so forth.

::

    python -m tests.processes.kills --kills 300 --seed 1 [--s3]

After each kill everything that was acknowledged as durable must be there with its value, and nothing else but
batches under way, each of them whole or absent in each table.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import os
import random
import shutil
import sys
import tempfile
import time

import measurefs
from measurefs import Measure, NotExistError, TableOptions
from measurefs.fs import FileSystem, basename, join
from tests.crash.stores import _leftovers
from tests.processes.children import Child, Place
from tests.processes.ingest import (
    DAY,
    GENERATIONS_A_DAY,
    NAME,
    SPREAD,
    Key,
    Table,
    columns,
    ingest,
    is_new,
    open_measure,
    plan,
    shards,
)
from tests.s3_server import S3Server

CHECKS = TableOptions(gc_grace=0.0)
EVERYTHING = 20
"""After so many kills the whole store is read; else the days that may have changed."""

Found = dict[Key, int]


@dataclasses.dataclass(eq=False)
class Piece:
    """What of one batch belongs in one table."""

    table: Table
    rows: Found
    version: tuple[int, int]
    mark: Key
    acknowledged: bool = False


@dataclasses.dataclass
class Model:
    """What is known to be stored, by day, and the pieces of which that is not known."""

    settled: dict[int, dict[Key, tuple[tuple[int, int], int]]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(dict)
    )
    pending: list[Piece] = dataclasses.field(default_factory=list)
    batches: int = 0
    shards: list[int] = dataclasses.field(default_factory=shards)

    def add(self, rows: Found, version: int | None) -> list[Piece]:
        """Note a batch that was, or is about to be, written."""
        self.batches += 1
        by_table: dict[Table, Found] = {}
        for key, value in rows.items():
            by_table.setdefault((key[1] // DAY, self.shards[key[0]]), {})[key] = value
        # Rows without a version are newer than all with one.
        rank = (1 << 62 if version is None else version, self.batches)
        pieces = [Piece(table, found, rank, next(filter(is_new, found))) for table, found in by_table.items()]
        self.pending += pieces
        return pieces

    def check(self, found: Found, days: range, counts: collections.Counter[str]) -> None:
        """Compare with what was found on some days."""
        expected = {key: held for day in days for key, held in self.settled[day].items()}
        for piece in self._present(found, days):
            _put(expected, piece)
        lost = [key for key, (_, value) in expected.items() if found.get(key) != value]
        phantom = [key for key, value in found.items() if key not in expected]
        counts["rows lost or changed"] += len(lost)
        counts["rows never written, or of torn batches"] += len(phantom)
        assert not lost, f"{len(lost)} rows are lost or have other values, such as {lost[:5]}"
        assert not phantom, f"{len(phantom)} rows are there that must not be, such as {phantom[:5]}"

    def _present(self, found: Found, days: range) -> list[Piece]:
        pending = [piece for piece in self.pending if piece.table[0] in days]
        return [piece for piece in pending if piece.acknowledged or piece.mark in found]

    def settle(self, found: Found, days: range) -> None:
        """What is there now stays, and what is not never comes: another writer has taken over."""
        for piece in self._present(found, days):
            _put(self.settled[piece.table[0]], piece)
        self.pending = [piece for piece in self.pending if piece.table[0] not in days]


def _put(expected: dict[Key, tuple[tuple[int, int], int]], piece: Piece) -> None:
    for key, value in piece.rows.items():
        if key not in expected or expected[key][0] <= piece.version:
            expected[key] = piece.version, value


class Campaign:
    """Kills in a row on one store."""

    def __init__(self, place: Place, seed: int) -> None:
        self.place = place
        self.seed = seed
        self.model = Model()
        self.counts: collections.Counter[str] = collections.Counter()
        self._chance = random.Random(seed)

    def generation(self, number: int) -> None:
        """Let a process ingest, kill it, and look at what it left."""
        with Child(ingest, self.place, self.seed, number) as child:
            steps = self._kill(child)
        self.counts["kills"] += 1
        self._note(number, steps)
        day = number // GENERATIONS_A_DAY + SPREAD
        first = 0 if number % EVERYTHING == EVERYTHING - 1 else day - SPREAD + 2
        days = range(first, day + 2)
        # On S3 a request that was under way may take effect after a reader has looked.
        if not self.place.remote:
            self.model.check(self._read(days), days, self.counts)
        if self._chance.random() < 0.7:  # else the next process finds what the last one left
            self._take_over(number, days)

    def _kill(self, child: Child) -> list[tuple[str, int]]:
        """Kill it at some moment, and return all it said."""
        said = [child.next()]
        when = self._chance.choice(["opening", "time", "time", "steps", "steps"])
        steps = self._chance.randint(1, 20)
        while when != "opening":
            said.append(child.next())
            acknowledged = sum(what == "done" for what, _ in said)
            if (when == "time" and acknowledged) or acknowledged >= steps:
                break
        least, most = {"opening": (0.0, 0.05), "time": (0.005, 0.2), "steps": (0.0, 0.001)}[when]
        moment = time.monotonic() + self._chance.uniform(least, most)
        while (left := moment - time.monotonic()) > 0:
            if child.waits(left):
                said.append(child.next())
        child.kill()
        return [*said, *child.rest()]

    def _note(self, generation: int, said: list[tuple[str, int]]) -> None:
        undecided: list[Piece] = []
        for what, number in said:
            if number < 0:
                continue
            step = plan(self.seed, generation, number)
            if what == "begun" and step.rows:
                pieces = self.model.add(step.rows, step.version)
                undecided += pieces
            elif what == "done":
                durable = pieces if step.kind == "durable" else []
                if step.kind in {"flush", "reopen"}:
                    durable, undecided = undecided, []
                self._acknowledge(durable)

    def _acknowledge(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if not piece.acknowledged:
                piece.acknowledged = True
                self.counts["rows acknowledged"] += len(piece.rows)

    def _read(self, days: range) -> Found:
        """Return what a reader finds."""
        try:
            with measurefs.open(
                self.place.url, storage_options=self.place.storage_options(), read_only=True
            ) as database:
                return self._rows(database.measure(NAME), days) if NAME in database.measures() else {}
        except NotExistError:
            return {}

    def _rows(self, measure: Measure, days: range) -> Found:
        result = measure.query(
            days[0] * DAY, (days[-1] + 1) * DAY, columns=["id", "time", "value"], order="series"
        )
        with result:
            table = result.to_arrow()
        times = table["time"].cast("int64").to_pylist()
        found = dict(
            zip(zip(table["id"].to_pylist(), times, strict=True), table["value"].to_pylist(), strict=True)
        )
        assert len(found) == table.num_rows, "a key is there twice"
        self.counts["rows found and compared"] += len(found)
        return found

    def _take_over(self, generation: int, days: range) -> None:
        """Open for writing: all is there, a durable row can be written, and nothing is left to collect."""
        database, measure = open_measure(self.place, CHECKS, background=False)
        with database:
            tables = measure._tables
            places = [place for place in tables.places() if place.segment.start // DAY in days]
            tables.writing(places)  # as a writer would sooner or later, so that all can be collected
            found = self._rows(measure, days)
            self.model.check(found, days, self.counts)
            self.model.settle(found, days)
            batch = generation * 10_000 + 9_999
            rows = {(0, days[-1] * DAY + 1000 + batch * 1000): batch * 10_000}
            pieces = self.model.add(rows, None)
            measure.write(columns(rows, None), durable=True)
            self._acknowledge(pieces)
            measure.gc()
            left = self._left_over(database.fs, [tables.path(each) for each in places])
        assert not left, f"the collector has left {left}"
        self.counts["take-overs"] += 1
        if not self.place.remote:
            found = self._read(days)
            self.model.check(found, days, self.counts)
        self.model.settle({}, days)

    def _left_over(self, fs: FileSystem, tables: list[str]) -> list[str]:
        """Return the files of tables that nothing names, and those that were never finished."""
        found = [path for table in tables for path in _leftovers(fs, table, CHECKS)]
        found = [path for path in found if not basename(path).startswith("LOCK.")]
        if not self.place.remote:
            for table in tables:
                for directory, _, names in os.walk(join(self.place.url, table)):
                    found += [join(directory, name) for name in names if name.startswith(".")]
        return found


def run(kills: int, seed: int, place: Place) -> collections.Counter[str]:
    """Kill so many processes in a row, and return what was counted.

    Raises
    ------
    AssertionError
        Something was lost, or is there that must not be; the message has the line that replays it.
    """
    campaign = Campaign(place, seed)
    for number in range(kills):
        try:
            campaign.generation(number)
        except Exception as error:
            campaign.counts["failures"] += 1
            s3 = " --s3" if place.remote else ""
            raise AssertionError(
                f"after kill {number + 1}: {error}\n{dict(campaign.counts)}\n"
                f"replay: python -m tests.processes.kills --kills {number + 1} --seed {seed}{s3}"
            ) from error
    return campaign.counts


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.processes.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--s3", action="store_true", help="on S3 (moto) instead of the local disk")
    given = parser.parse_args()
    start = time.monotonic()
    if given.s3:
        with S3Server() as server:
            place = Place.of_s3(server)
            counts = run(given.kills, given.seed, place)
    else:
        directory = tempfile.mkdtemp(prefix="measurefs-kills-")
        counts = run(given.kills, given.seed, Place(directory, {}))
        shutil.rmtree(directory)  # after a failure it stays, to be looked at
    for name in sorted(counts):
        print(f"{name:.<44}{counts[name]:.>12,}")
    print(f"{time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
