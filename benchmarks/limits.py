"""What this machine can do: syncing, writing, copying, sorting, and encoding alone, without anything around it."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard
from pcodec import ChunkConfig, DeltaSpec, ModeSpec, standalone

from benchmarks.data import START, STEP
from benchmarks.fleet import Fleet
from benchmarks.places import sync

Array = npt.NDArray[Any]
SMALL = os.urandom(16 << 10)
CHUNK = 8_192
LEVEL = 4
SYNCS = 30
MIB = 1 << 20
MOMENT = 0.3


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measure(folder: Path, fleet: Fleet, wide: Fleet) -> dict[str, list[float]]:
    """Return the figures of one round, each in the unit of its measure."""
    folder.mkdir()
    size = min(256 * MIB, fleet.total * 128)
    found: dict[str, list[float]] = {
        "sync": [synced(folder, 1) for _ in range(SYNCS)],
        "sync_two": [synced(folder, 2) for _ in range(SYNCS)],
        "read": [_read(folder) for _ in range(SYNCS)],
        "write": [_written(folder, size)],
        "copy": [_copied(size)],
        "sort": [_sorted(fleet)],
    }
    found |= {name: [each] for name, each in _encoded(fleet, "pcodec").items()}
    found |= {name: [each] for name, each in _encoded(wide, "wide").items()}
    return found | {name: [each] for name, each in _compressed(fleet).items()}


def synced(folder: Path, count: int, name: str = "synced") -> float:
    """Return the milliseconds for so many small files that are written and synced, and their folder synced."""
    started = time.perf_counter()
    for number in range(count):
        with open(folder / f"{name}-{number}-{time.monotonic_ns()}", "wb", buffering=0) as file:
            file.write(SMALL)
            os.fsync(file.fileno())
    sync(folder)
    return (time.perf_counter() - started) * 1e3


def _read(folder: Path) -> float:
    path = next(folder.iterdir())
    started = time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        file.read()
    return (time.perf_counter() - started) * 1e3


def _written(folder: Path, size: int) -> float:
    block = os.urandom(4 * MIB)
    started = time.perf_counter()
    with open(folder / "written", "wb", buffering=0) as file:
        for _ in range(max(size // len(block), 1)):
            file.write(block)
        os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    (folder / "written").unlink()
    return max(size // len(block), 1) * len(block) / seconds / 1e6


def _copied(size: int) -> float:
    source = np.ones(size // 8)
    target = np.zeros_like(source)
    return source.nbytes / _seconds(lambda: np.copyto(target, source)) / 1e6


def _sorted(fleet: Fleet) -> float:
    series = np.tile(np.random.default_rng(1).permutation(fleet.series), fleet.rows)
    times = np.repeat(np.arange(fleet.rows), fleet.series)
    return fleet.total / _seconds(lambda: np.lexsort((times, series))) / 1e6


def columns(fleet: Fleet) -> list[Array]:
    """Return time and fields of all rows by series and time; the fields, being decimals, as integers."""
    times = np.tile(START + np.arange(fleet.rows) * STEP, fleet.series)
    return [times, *(np.ascontiguousarray(cents.T).ravel() for cents in fleet.cents.values())]


def _chunks(column: Array) -> Iterator[Array]:
    for first in range(0, len(column), CHUNK):
        yield column[first : first + CHUNK]


def _config(column: Array) -> ChunkConfig:
    """Return the better of the likely ways, tried once on a chunk: what is known of a column need not be sought."""
    deltas = (DeltaSpec.no_op(), DeltaSpec.try_consecutive(1))
    configs = [ChunkConfig(LEVEL, mode_spec=ModeSpec.classic(), delta_spec=delta) for delta in deltas]
    return min(configs, key=lambda config: len(standalone.simple_compress(column[:CHUNK], config)))


def _encoded(fleet: Fleet, prefix: str) -> dict[str, float]:
    """Return rows/s of pcodec in and out, on one thread and on all, and what the rows take."""
    jobs = [
        (chunk, config)
        for column in columns(fleet)
        for config in [_config(column)]
        for chunk in _chunks(column)
    ]

    def encode(some: Sequence[tuple[Array, ChunkConfig]]) -> list[bytes]:
        return [bytes(standalone.simple_compress(*job)) for job in some]

    shares = [jobs[number :: 4 * cores()] for number in range(4 * cores())]
    done = encode(jobs)
    scratch = {chunk.dtype: np.empty(CHUNK, chunk.dtype) for chunk, _ in jobs}

    def decode() -> None:
        for (chunk, _), data in zip(jobs, done, strict=True):
            standalone.simple_decompress_into(data, scratch[chunk.dtype][: len(chunk)])

    with ThreadPoolExecutor(cores()) as pool:
        all_cores = _seconds(lambda: list(pool.map(encode, shares)))
    return {
        f"{prefix}_in": fleet.total / _seconds(lambda: encode(jobs)) / 1e6,
        f"{prefix}_in_all": fleet.total / all_cores / 1e6,
        f"{prefix}_out": fleet.total / _seconds(decode) / 1e6,
        f"{prefix}_size": sum(map(len, done)) / fleet.total,
    }


def _compressed(fleet: Fleet) -> dict[str, float]:
    chunks = [chunk for column in columns(fleet) for chunk in _chunks(column)]
    there, back = zstandard.ZstdCompressor(), zstandard.ZstdDecompressor()
    done = [there.compress(chunk) for chunk in chunks]
    return {
        "zstd_in": fleet.total / _seconds(lambda: [there.compress(chunk) for chunk in chunks]) / 1e6,
        "zstd_out": fleet.total / _seconds(lambda: [back.decompress(data) for data in done]) / 1e6,
        "zstd_size": sum(map(len, done)) / fleet.total,
    }


def _seconds(work: Callable[[], Any]) -> float:
    """Return what work takes, the median of as many times as it fits into a moment."""
    took: list[float] = []
    while not took or sum(took) < MOMENT:
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def in_parallel(threads: int, work: Callable[[int], Sequence[float]]) -> tuple[list[float], float]:
    """Return what each of so many threads measured, and the seconds until the last was done."""
    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        found = list(pool.map(work, range(threads)))
        return [each for one in found for each in one], time.perf_counter() - started
