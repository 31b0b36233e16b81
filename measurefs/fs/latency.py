"""How long a file system takes to answer, and what that makes of the engine's operations."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from measurefs.fs.checks import KIB, MIB, Scratch
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.paths import parent

SMALL, LARGE = 4 * KIB, 8 * MIB

Clock = Callable[[], float]


class Timing(NamedTuple):
    """How long a call takes, in seconds: half of the calls at most `median`, nineteen of twenty at most `p95`."""

    median: float
    p95: float


class Latency(NamedTuple):
    """What was measured.

    Attributes
    ----------
    calls : dict
        By what was done; the keys are ``read``, ``range``, ``list`` and, where it was allowed, ``write``.
    throughput : dict
        Bytes a second of a single large file, under ``read`` and ``write``.
    """

    calls: dict[str, Timing]
    throughput: dict[str, float]

    @property
    def durable_write(self) -> float | None:
        """Return the seconds that a small durable write takes: the part, the snapshot, and a look at the lock."""
        if "write" not in self.calls:
            return None
        return 2 * self.calls["write"].median + self.calls["read"].median

    @property
    def first_answer(self) -> float:
        """Return the seconds from opening to the first rows.

        These are measurefs.json, a listing, the schema, the snapshot, the index of a part, and its chunks.
        """
        calls = self.calls
        return 3 * calls["read"].median + calls["list"].median + 2 * calls["range"].median


def measure(at: Scratch, samples: int, clock: Clock = time.perf_counter) -> Latency:
    """Time small calls, so many of each, and one large file each way."""
    fs, small, large = at.fs, at.content(SMALL), at.content(MIB) * (LARGE // MIB)
    names = iter([at.file(f"small-{number}") for number in range(samples)])
    calls = {"write": _times(lambda: fs.write(next(names), small), samples, clock)}
    body = at.file("large-timed")
    seconds = {"write": _seconds(lambda: fs.write(body, large), clock)}
    calls |= _reading(fs, at.file("small-0"), body, LARGE, samples, clock)
    seconds["read"] = _seconds(lambda: fs.read(body), clock)
    return Latency(calls, {way: LARGE / max(took, 1e-9) for way, took in seconds.items()})


def measure_reading(
    fs: FileSystem, small: str, large: str, size: int, samples: int, clock: Clock = time.perf_counter
) -> Latency:
    """Time reading only, of files that are there."""
    calls = _reading(fs, small, large, size, samples, clock)
    length = min(size, LARGE)
    took = _seconds(lambda: fs.read_ranges([(large, 0, length)]), clock)
    return Latency(calls, {"read": length / max(took, 1e-9)})


def _reading(
    fs: FileSystem, small: str, large: str, size: int, samples: int, clock: Clock
) -> dict[str, Timing]:
    length = min(SMALL, size)
    return {
        "read": _times(lambda: fs.read(small), samples, clock),
        "range": _times(lambda: fs.read_ranges([(large, (size - length) // 2, length)]), samples, clock),
        "list": _times(lambda: fs.read_dir(parent(small)), samples, clock),
    }


def _times(call: Callable[[], object], samples: int, clock: Clock) -> Timing:
    took = sorted(_seconds(call, clock) for _ in range(samples))
    return Timing(took[(samples - 1) // 2], took[math.ceil(0.95 * samples) - 1])


def _seconds(call: Callable[[], object], clock: Clock) -> float:
    begun = clock()
    call()
    return clock() - begun
