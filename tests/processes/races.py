"""Races: several processes open one table for writing at the same moment, round after round.

::

    python -m tests.processes.races --rounds 200 --processes 4 --seed 1 [--s3]

In each round exactly one wins, the others are told by whom the table is held, and tokens and epochs only grow.
The winner is closed or killed, and the next one finds all that was durable.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import random
import socket
import sys
import tempfile
import time
from multiprocessing.connection import Connection

from measurefs import FileSystem, LockError, TsTable
from measurefs.table.epochs import token_of
from tests.processes.children import Child, Place
from tests.s3_server import S3Server
from tests.table.tables import contents, one, ones, open_table


def contend(pipe: Connection, place: Place) -> None:
    """Do as told: ``open`` the table, write a durable row of some number, ``close``."""
    table: TsTable | None = None
    with place.open() as fs:
        while (order := pipe.recv()) != "end":
            if order == "open":
                table, answer = _attempt(fs)
            elif order == "close":
                assert table is not None
                table.close()
                answer = ("closed",)
            else:
                assert table is not None
                assert contents(table) == ones(*range(order)), "not all that was durable is there"
                table.flush(table.add(one(order)))
                answer = ("written", table.epoch)
            pipe.send(answer)


def _attempt(fs: FileSystem) -> tuple[TsTable | None, tuple[object, ...]]:
    try:
        table = open_table(fs)
    except LockError as error:
        holder = error.holder
        return None, ("lost", str(error), holder and (holder.pid, holder.host))
    return table, ("won",)


class Race:
    """Rounds in a row on one table."""

    def __init__(self, place: Place, processes: int, seed: int, stack: contextlib.ExitStack) -> None:
        self.place = place
        self.counts: collections.Counter[str] = collections.Counter()
        self._chance = random.Random(seed)
        self._stack = stack
        self._children = [self._child() for _ in range(processes)]
        self._epoch = 0

    def _child(self) -> Child:
        return self._stack.enter_context(Child(contend, self.place))

    def round(self, number: int) -> None:
        """Let all contend, the losers once more, and the winner write; then it closes or is killed."""
        runners = self._chance.sample(self._children, len(self._children))
        for child in runners:
            child.send("open")
        answers = {child: child.next() for child in runners}
        winners = [child for child, answer in answers.items() if answer[0] == "won"]
        assert len(winners) == 1, f"{len(winners)} winners: {list(answers.values())}"
        winner = winners[0]
        self._refuse([child for child in runners if child is not winner], winner)
        winner.send(number)
        _, epoch = winner.next()
        assert token_of(epoch) > token_of(self._epoch), "the token has not grown"
        self._epoch = epoch
        if self._chance.random() < 0.5:
            winner.send("close")
            assert winner.next() == ("closed",)
            self.counts["winners that closed"] += 1
        else:
            winner.kill()
            self._children[self._children.index(winner)] = self._child()
            self.counts["winners that were killed"] += 1
        self.counts["rounds"] += 1

    def _refuse(self, losers: list[Child], winner: Child) -> None:
        """Who comes now that the winner is known is told its name."""
        for child in losers:
            child.send("open")
        for child in losers:
            what, said, holder = child.next()
            assert what == "lost"
            assert holder == (winner.pid, socket.gethostname()), said
            assert f"process {winner.pid} on {socket.gethostname()}" in said
            self.counts["refusals"] += 1

    def end(self) -> None:
        """Let the processes end."""
        for child in self._children:
            child.send("end")
            child.finish()


def run(rounds: int, processes: int, seed: int, place: Place) -> collections.Counter[str]:
    """Race so many rounds, and return what was counted."""
    with contextlib.ExitStack() as stack:
        race = Race(place, processes, seed, stack)
        for number in range(rounds):
            try:
                race.round(number)
            except AssertionError as error:
                s3 = " --s3" if place.remote else ""
                raise AssertionError(
                    f"in round {number + 1}: {error}\nreplay: python -m tests.processes.races "
                    f"--rounds {number + 1} --processes {processes} --seed {seed}{s3}"
                ) from error
        race.end()
    return race.counts


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.processes.races", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--s3", action="store_true", help="on S3 (moto) instead of the local disk")
    given = parser.parse_args()
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        if given.s3:
            place = Place.of_s3(stack.enter_context(S3Server()))
        else:
            place = Place(stack.enter_context(tempfile.TemporaryDirectory()), {})
        counts = run(given.rounds, given.processes, given.seed, place)
    for name in sorted(counts):
        print(f"{name:.<44}{counts[name]:.>12,}")
    print(f"{time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
