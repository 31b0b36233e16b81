"""Reading many parts in few round trips.

What a part reads depends on what it has read: its list of pages says where they are, and these where the
chunks are. A `Fetch` is such a reading as a generator: it yields the ranges it needs, is sent their bytes,
and returns its result. `together` advances several in step, so that each step is one batch of range reads.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from measurefs.fs.filesystem import FileSystem

Range = tuple[str, int, int]
"""Path, offset, size."""

T = TypeVar("T")
Fetch = Generator[list[Range], list[bytes], T]


def fetch(fs: FileSystem, reading: Fetch[T], count: Callable[[list[Range]], None] | None = None) -> T:
    """Run a reading to its end; each of its steps is one `FileSystem.read_ranges`, of which `count` is told."""
    try:
        ranges = next(reading)
        while True:
            if count is not None:
                count(ranges)
            ranges = reading.send(fs.read_ranges(ranges))
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


def together(*readings: Fetch[Any]) -> Fetch[list[Any]]:
    """Run readings in step and return their results in order."""
    if len(readings) == 1:
        return [(yield from readings[0])]
    results: list[Any] = [None] * len(readings)
    wanted: dict[int, list[Range]] = {}

    def advance(number: int, answer: list[bytes] | None) -> None:
        reading = readings[number]
        try:
            wanted[number] = next(reading) if answer is None else reading.send(answer)
        except StopIteration as done:
            results[number] = done.value

    for number in range(len(readings)):
        advance(number, None)
    while wanted:
        needs, wanted = wanted, {}
        data = iter((yield [one for ranges in needs.values() for one in ranges]))
        for number, ranges in needs.items():
            advance(number, [next(data) for _ in ranges])
    return results
