"""What runs where a disk is small or refuses: each scenario in a process, and where needed mounts, of its own.

::

    unshare --user --map-root-user --mount python -m tests.processes.small_disk full /some/directory --seconds 10
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import measurefs
from measurefs import BackpressureError, Database, FileSystemError, Measure, NotDurableError, TableOptions
from measurefs.table.policy import MergeOptions
from tests.database.helpers import DAY, rows_of
from tests.table.tables import until

MIB = 1 << 20
ROWS = 1_000
OPTIONS = TableOptions(
    flush_interval=0.05,
    flush_bytes=MIB // 4,
    memory_limit=MIB,
    write_timeout=0.1,
    gc_interval=3600.0,  # what is collected makes room
    merge=MergeOptions(enabled=False),  # and so does a merge that fails
    gc_grace=0.0,
)


class Ingest:
    """Writes batches that do not compress, and knows what must be there."""

    def __init__(self, store: Path, options: TableOptions = OPTIONS) -> None:
        self.store = store
        self.acknowledged: set[int] = set()
        self.taken: set[int] = set()
        self.refused: set[int] = set()
        self.number = 0
        self._chance = random.Random(1)
        self.database: Database = measurefs.open(store, options=options)
        self.measure: Measure = self.database.create_measure(
            "m", entity=["host"], fields={"batch": "int64", "noise": "float64"}, exist_ok=True
        )

    def write(self, *, durable: bool, day: int = 0) -> None:
        """Write one batch and note how that went; raises what it raised."""
        self.number += 1
        start = day * DAY + self.number * ROWS
        rows = {
            "time": list(range(start, start + ROWS)),
            "host": ["a"] * ROWS,
            "batch": [self.number] * ROWS,
            "noise": [self._chance.random() for _ in range(ROWS)],
        }
        try:
            self.measure.write(rows, durable=durable)
        except NotDurableError:
            self.taken.add(self.number)  # stored, and to be made durable by itself
            raise
        except BaseException:
            self.refused.add(self.number)
            raise
        self.taken.add(self.number)
        if durable:
            self.acknowledged.add(self.number)

    def check(self) -> None:
        """All that was taken is readable, and nothing else; a reader finds at least what was acknowledged."""
        assert batches_of(self.measure) == self.taken
        with measurefs.open(self.store, read_only=True) as reader:
            seen = batches_of(reader.measure("m"))
        assert self.acknowledged <= seen <= self.taken

    def heal(self) -> None:
        """Without opening anything anew all that was taken becomes durable, and writing goes on."""
        until(lambda: not self.measure.rows_at_risk(), 60)
        self.write(durable=True)
        self.write(durable=True, day=1)
        self.check()
        self.close()

    def close(self) -> None:
        """Close; all that was taken is there, and the next one can write."""
        self.database.close()
        with measurefs.open(self.store, options=OPTIONS) as again:
            measure = again.measure("m")
            assert batches_of(measure) == self.taken
            measure.write({"time": [0], "host": ["z"], "batch": [0], "noise": [0.0]}, durable=True)


def batches_of(measure: Measure) -> set[int]:
    """The batches that are there; each must be whole."""
    found: dict[int, int] = {}
    for row in rows_of(measure, where={"host": "a"}, columns=["batch"]):
        found[row["batch"]] = found.get(row["batch"], 0) + 1
    assert set(found.values()) <= {ROWS}, found
    return set(found)


def fails(call: Callable[[], object], number: int, *words: str) -> None:
    """Check that a call raises a file-system error of a number, and that it says so."""
    try:
        call()
    except FileSystemError as error:
        assert error.errno == number, f"{errno.errorcode.get(error.errno or 0)}: {error}"
        assert all(word in str(error) for word in (os.strerror(number), *words)), str(error)
        return
    raise AssertionError("it did not fail")


@contextlib.contextmanager
def mounted(target: Path, *arguments: str) -> Iterator[None]:
    """Mount something, for this process and its children."""
    subprocess.run(["mount", *arguments, str(target)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(target)], check=True)  # after a failure there are files open


def fill(store: Path) -> Path:
    """Leave no room, and return the file to delete to have some again."""
    ballast = store / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return ballast


def full(store: Path, seconds: float) -> None:
    """The disk is full, and stays so for a time."""
    with mounted(store, "-t", "tmpfs", "-o", "size=8m", "none"):
        ingest = Ingest(store)
        for _ in range(20):
            ingest.write(durable=True)
        ballast = fill(store)
        what_to_do = "free some space on the disk"
        fails(lambda: ingest.write(durable=True), errno.ENOSPC, what_to_do, "kept in memory")
        fails(ingest.measure.flush, errno.ENOSPC, what_to_do)
        fails(lambda: ingest.write(durable=False, day=2), errno.ENOSPC, what_to_do)
        ingest.check()
        end = time.monotonic() + seconds
        pressed = 0
        while not pressed or time.monotonic() < end:
            try:
                ingest.write(durable=False)
            except BackpressureError as error:
                pressed += 1
                assert what_to_do in str(error), str(error)
                assert "nothing of this batch was stored" in str(error), str(error)
                ingest.check()
        fails(ingest.measure.flush, errno.ENOSPC, what_to_do)
        ingest.measure.gc()
        ingest.check()
        ballast.unlink()
        ingest.heal()
        again = Ingest(store)
        again.number, again.taken = ingest.number, set(ingest.taken)
        again.measure.gc()  # or it might make room meanwhile
        ballast = fill(store)
        again.write(durable=False)
        fails(again.database.close, errno.ENOSPC, what_to_do)
        ballast.unlink()
        again.close()
        print(f"{len(ingest.taken)} batches taken, {len(ingest.refused)} refused")


def exits(store: Path, _: float) -> None:
    """The program ends while the disk is full."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(store)], check=True)
    ingest = Ingest(store, TableOptions(flush_interval=3600.0))
    ingest.write(durable=True)
    ingest.write(durable=False)
    fill(store)


def read_only(store: Path, _: float) -> None:
    """The disk is mounted read-only for a time, below a writer."""
    ingest = Ingest(store)
    ingest.write(durable=True)
    what_to_do = "the disk is mounted read-only; open the store with read_only=True"
    # Once more over itself: the lock, which is open for writing, would keep the first mount from becoming read-only.
    with mounted(store, "--bind", str(store)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(store)], check=True)
        fails(lambda: ingest.write(durable=True), errno.EROFS, what_to_do)
        fails(lambda: ingest.write(durable=False, day=2), errno.EROFS, what_to_do)
        ingest.check()
        with measurefs.open(store) as other:
            fails(
                lambda: other.measure("m").write({"time": [1], "host": ["a"]}, durable=True),
                errno.EROFS,
                what_to_do,
            )
            fails(lambda: other.create_measure("n", entity=["host"]), errno.EROFS, what_to_do)
    ingest.heal()


def denied(store: Path, _: float) -> None:
    """The directories are not ours to write for a time."""
    ingest = Ingest(store)
    ingest.write(durable=True)
    directories = [store, *(path for path in store.rglob("*") if path.is_dir())]
    what_to_do = "check the owner and the permissions of the store's directory"
    for directory in directories:
        directory.chmod(0o500)
    fails(lambda: ingest.write(durable=True), errno.EACCES, what_to_do)
    fails(lambda: ingest.write(durable=False, day=2), errno.EACCES, what_to_do)
    ingest.check()
    for directory in reversed(directories):
        directory.chmod(0o000)
    fails(lambda: measurefs.open(store), errno.EACCES, what_to_do)
    for directory in directories:
        directory.chmod(0o700)
    ingest.heal()


def no_files(store: Path, _: float) -> None:
    """There are no more file descriptors for a time."""
    import resource

    ingest = Ingest(store)
    ingest.write(durable=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    what_to_do = "raise the limit on open files (ulimit -n)"
    with open(os.devnull) as lowest:
        limit = lowest.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    fails(lambda: ingest.write(durable=True), errno.EMFILE, what_to_do)
    fails(lambda: ingest.write(durable=False, day=2), errno.EMFILE, what_to_do)
    fails(lambda: batches_of(ingest.measure), errno.EMFILE, what_to_do)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    ingest.check()
    ingest.heal()


def no_files_to_open(store: Path, _: float) -> None:
    """There are no file descriptors when the store is to be opened."""
    import resource

    with measurefs.open(store), open(os.devnull) as lowest:
        limit = lowest.fileno()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    fails(lambda: measurefs.open(store), errno.EMFILE, "raise the limit on open files (ulimit -n)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    measurefs.open(store).close()


SCENARIOS = {each.__name__: each for each in (full, exits, read_only, denied, no_files, no_files_to_open)}


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.processes.small_disk", description=__doc__)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0, help="for so long the disk stays full")
    given = parser.parse_args()
    SCENARIOS[given.scenario](given.directory, given.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
