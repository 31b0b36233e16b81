"""The soak: a writer that is killed now and then, readers beside it, and a proxy that disturbs all of them."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import measurefs
from tests.processes.children import PATIENCE, Child, Place
from tests.s3_server import S3Server
from tests.soak.faults import FaultyProxy, options_through
from tests.soak.figures import MIB, Samples, in_bucket, quantiles
from tests.soak.progress import Progress
from tests.soak.reader import MAX_AGE, Reader, read
from tests.soak.rows import NAME
from tests.soak.writer import write

LEASE = 1.0
SILENCE = 2 * PATIENCE
"""Seconds after which a process that says nothing hangs."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is done.

    Attributes
    ----------
    seconds : float
    seed : int
    share : float
        Of requests that the proxy does something to.
    kill_every : float
        Seconds between two kills of the writer, on average.
    readers : int
    least : dict
        What must have been counted how often before it may end, whatever the time.
    """

    seconds: float
    seed: int = 1
    share: float = 0.03
    kill_every: float = 60.0
    readers: int = 3
    least: dict[str, int] = dataclasses.field(default_factory=dict)

    def replay(self) -> str:
        """Return the line that does the same again, as far as processes do the same twice."""
        return (
            f"python -m tests.soak --minutes {self.seconds / 60:g} --seed {self.seed} --faults {self.share:g} "
            f"--kill-every {self.kill_every:g} --readers {self.readers}"
        )


@dataclasses.dataclass
class Outcome:
    """What was counted and measured."""

    counts: collections.Counter[str]
    injected: collections.Counter[str]
    requests: int
    samples: Samples

    def lines(self, warm_up: float) -> list[str]:
        """Return a summary."""
        rows = [*sorted(self.counts.items()), ("requests", self.requests)]
        rows += [(f"injected: {name}", count) for name, count in sorted(self.injected.items())]
        found = [f"{name:.<52}{count:.>12,}" for name, count in rows]
        for kind in self.samples.kinds():
            slope = self.samples.slope(kind, warm_up)
            grows = "too short to say" if slope is None else f"{slope:+,.1f} an hour"
            found.append(
                f"{kind}: least / median / most {quantiles(self.samples.values(kind, warm_up))}, {grows}"
            )
        return found


class Soak:
    """One run; `run` does it."""

    def __init__(self, settings: Settings, server: S3Server, stack: contextlib.ExitStack) -> None:
        self.settings = settings
        self.server = server
        self.bucket = server.make_bucket()
        self.proxy = stack.enter_context(FaultyProxy(server, settings.seed, settings.share))
        self.url = f"s3://{self.bucket}/store"
        self.folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="measurefs-soak-"))
        self.progress = Progress.make(str(Path(self.folder) / "progress"))
        stack.callback(self.progress.close)
        self.counts: collections.Counter[str] = collections.Counter()
        self.samples = Samples()
        self.begun = time.monotonic()
        self._stack = stack
        self._chance = random.Random(f"{settings.seed}/kills")
        self._heard: dict[int, float] = {}

    def place(self, **more: Any) -> Place:
        """Where the processes find the store."""
        return Place(self.url, options_through(self.proxy, lease=LEASE, **more))

    def writer(self) -> Child:
        """Start the next writer, and wait until it has written something."""
        self.progress.say("generation", self.progress.generation + 1)
        child = self._start(write, self.place(), self.progress.path, self.settings.seed)
        self._hear(child, child.next())
        return child

    def reader(self, number: int) -> Child:
        """Start a reader: one that refreshes, one with ``max_age``, one with a cache, and so on."""
        more: dict[str, Any] = [
            {},
            {"max_age": MAX_AGE},
            {"cache": str(Path(self.folder) / "cache"), "cache_limit": MIB},
        ][number % 3]
        return self._start(read, self.place(), self.progress.path, self.settings.seed + number, more)

    def _start(self, *what: Any) -> Child:
        child = self._stack.enter_context(Child(*what))
        self._heard[child.pid] = time.monotonic()
        return child

    def go(self) -> None:
        """Let it go on until the time is over, and look at all that is left."""
        writer = self.writer()
        readers = [self.reader(number) for number in range(self.settings.readers)]
        end, kill = self.begun + self.settings.seconds, self._next_kill()
        sample = 0.0
        while time.monotonic() < end or any(
            self.counts[name] < least for name, least in self.settings.least.items()
        ):
            self._listen([writer, *readers])
            if time.monotonic() >= kill:
                writer = self._kill(writer)
                kill = self._next_kill()
            if time.monotonic() >= sample:
                self._sample(writer, readers)
                sample = time.monotonic() + 1.0
        for child in [writer, *readers]:
            child.send("end")
            for said in child.finish():
                self.counts += said
        self._check_all()

    def _next_kill(self) -> float:
        return time.monotonic() + self.settings.kill_every * self._chance.uniform(0.5, 1.5)

    def _kill(self, writer: Child) -> Child:
        writer.kill()
        for said in writer.rest():
            self.counts += said
        self.counts["kills"] += 1
        return self.writer()

    def _listen(self, children: list[Child]) -> None:
        """Take what the processes say; one that has failed raises here."""
        for child in children:
            while child.waits(0.02):
                self._hear(child, child.next())
            if time.monotonic() - self._heard[child.pid] > SILENCE:
                os.kill(child.pid, signal.SIGABRT)  # it tells on stderr where it was
                raise AssertionError(f"process {child.pid} has said nothing for {SILENCE:g} s: it hangs")

    def _hear(self, child: Child, said: collections.Counter[str]) -> None:
        self._heard[child.pid] = time.monotonic()
        self.counts += said

    def _sample(self, writer: Child, readers: list[Child]) -> None:
        import psutil

        now = time.monotonic() - self.begun
        for kind, children in (("writer MiB", [writer]), ("reader MiB", readers)):
            for child in children:
                self.samples.add(kind, child.pid, now, psutil.Process(child.pid).memory_info().rss / MIB)
        for kind, count in in_bucket(self.server, self.bucket).items():
            self.samples.add(f"bucket {kind}", self.bucket, now, count)

    def _check_all(self) -> None:
        """Look at the store past the proxy: every batch that was acknowledged is there, and nothing is damaged."""
        place = Place(
            self.url, {name: each for name, each in self.server.options.items() if name != "session"}
        )
        with measurefs.open(self.url, read_only=True, storage_options=place.storage_options()) as database:
            reader = Reader(database.measure(NAME), self.progress, random.Random(0), None)
            reader.look()
            for check in reader._everything():
                reader._decide(*check)
            report = database.verify()
        assert report.ok, f"damaged: {report}"
        self.counts["batches acknowledged"] = self.progress.acknowledged

    def outcome(self) -> Outcome:
        """Return what was found so far."""
        return Outcome(self.counts, self.proxy.injected, self.proxy.answered, self.samples)


def run(settings: Settings, server: S3Server) -> Outcome:
    """Do it, and return what was found.

    Raises
    ------
    AssertionError
        An answer was wrong, rows were lost, a process failed or hangs; the message has the line that replays it.
    """
    with contextlib.ExitStack() as stack:
        soak = Soak(settings, server, stack)
        try:
            soak.go()
        except Exception as error:
            after = time.monotonic() - soak.begun
            raise AssertionError(
                f"after {after:.0f} s: {error}\n{dict(soak.counts)}\ninjected: {dict(soak.proxy.injected)}\n"
                f"replay: {settings.replay()}"
            ) from error
        return soak.outcome()
