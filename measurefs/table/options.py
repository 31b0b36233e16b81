"""The settings of a table, and what it takes from outside: clock, sleep, randomness, threads."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from measurefs.part.held import Cache
from measurefs.part.series import Hash, xxh3
from measurefs.part.tasks import Mapper
from measurefs.part.writer import PartOptions
from measurefs.table.policy import MergeOptions

MIB = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class TableOptions:
    """How a table behaves; every value has a default that suits most.

    Attributes
    ----------
    flush_bytes : int
        Rows in memory are flushed when they take this much; the first of many when they take a quarter of it, then
        half, so that flushing begins soon.
    flush_interval : float
        Seconds after which rows in memory are flushed in any case: what a crash can take from writes that did
        not ask to be durable.
    log_bytes : int
        Rows that are to be durable at once and take no more are written as they are, and again when they are flushed.
        0 flushes them at once.
    memory_limit : int
        Bytes that rows in memory may take; writers wait for the flusher above it.
    write_timeout : float
        Seconds they wait before `BackpressureError`.
    keep_snapshots : int
        Snapshots kept on disk, the newest one included.
    gc_interval : float
        Seconds between two collections of garbage.
    gc_grace : float or None
        Seconds for which a part that nothing names any more is kept for readers in other processes. None
        means a minute, and an hour on object stores.
    idle : float or None
        Seconds without writes after which a table's lock is let go of, until the next write. None means never, and a
        quarter of an hour on object stores, where holding a lock costs requests.
    part : PartOptions
        How parts are written.
    merge : MergeOptions
        When and how parts are merged.
    threads : int or None
        Threads that decode for queries, and put the columns of large batches in order, for the whole process; None
        means one per core.
    cache_bytes : int
        Bytes of decoded columns and indexes that a database keeps for the next query.
    series_hash : callable
        From an entity's key (bytes) to its 64-bit id. Never change it for a table that has data.
    """

    flush_bytes: int = 64 * MIB
    flush_interval: float = 5.0
    log_bytes: int = 4 * MIB
    memory_limit: int = 256 * MIB
    write_timeout: float = 60.0
    keep_snapshots: int = 2
    gc_interval: float = 30.0
    gc_grace: float | None = None
    idle: float | None = None
    part: PartOptions = dataclasses.field(default_factory=PartOptions)
    merge: MergeOptions = dataclasses.field(default_factory=MergeOptions)
    threads: int | None = None
    cache_bytes: int = 128 * MIB
    series_hash: Hash = xxh3

    def __post_init__(self) -> None:
        if self.keep_snapshots < 1:
            raise ValueError(f"keep_snapshots must be at least 1, not {self.keep_snapshots}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1, or None for one per core, not {self.threads}")
        if self.memory_limit < self.flush_bytes:
            raise ValueError("memory_limit must be at least flush_bytes, or writers would wait for ever")

    def grace(self, *, remote: bool) -> float:
        """Return the seconds for which unnamed parts are kept."""
        if self.gc_grace is not None:
            return self.gc_grace
        return 3600.0 if remote else 60.0

    def idleness(self, *, remote: bool) -> float:
        """Return the seconds without writes after which a table's lock is let go of."""
        if self.idle is not None:
            return self.idle
        return 900.0 if remote else math.inf


@dataclasses.dataclass(frozen=True, slots=True)
class Runtime:
    """What a table takes from outside instead of calling it by name, so that a test can decide it.

    Attributes
    ----------
    monotonic : callable
        Seconds on a clock that never goes back.
    now : callable
        Nanoseconds since 1970-01-01 UTC.
    random : random.Random
        For jitter.
    run : callable
        ``map``, or an executor's, for decoding, and for putting columns in order.
    run_io : callable
        The same, for opening, flushing and closing several tables; its threads wait for those of ``run``.
    cache : Cache
        For what queries decode.
    """

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], int] = time.time_ns
    random: random.Random = dataclasses.field(default_factory=random.Random)
    run: Mapper[Any, Any] = map
    run_io: Mapper[Any, Any] = map
    cache: Cache = dataclasses.field(default_factory=lambda: Cache(64 * MIB))

    @classmethod
    def threaded(cls, options: TableOptions | None = None) -> Runtime:
        """Return one with threads that this process shares: one per core, and some that mostly wait."""
        options = options or TableOptions()
        return cls(
            run=_threads("measurefs", options.threads or _cores()),
            run_io=_threads("measurefs-io", _IO_THREADS),
            cache=Cache(options.cache_bytes),
        )


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1


_IO_THREADS = 16
_pools: dict[tuple[int, str, int], ThreadPoolExecutor] = {}
_pools_lock = threading.Lock()


def _forget_pools() -> None:
    """Begin anew in a forked child: the threads did not come along, and one of them may have held the lock."""
    global _pools_lock  # noqa: PLW0603
    _pools_lock = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pools)


def _threads(name: str, count: int) -> Mapper[Any, Any]:
    """Return a ``map`` over a pool of so many threads, shared in this process (threads do not fork)."""
    if count == 1:
        return map

    def run(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        key = os.getpid(), name, count
        with _pools_lock:
            if key not in _pools:
                _pools[key] = ThreadPoolExecutor(count, thread_name_prefix=name)
            pool = _pools[key]
        return pool.map(function, items)

    return run
