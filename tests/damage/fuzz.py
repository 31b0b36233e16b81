"""Decoders on bad input: they raise what they say, soon, and take little memory."""

from __future__ import annotations

import collections
import faulthandler
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from measurefs.codec.zstd import MOST_EXPANSION
from measurefs.fs import CorruptionError, UnsupportedStoreError
from tests.damage.decoders import Decoder, decoders
from tests.damage.mutate import noise

PATIENCE = 30
"""Seconds after which an input counts as a hang, on however slow a machine."""

_FIXED, _PER_BYTE = 16 << 20, 8 * MOST_EXPANSION
"""What a decoder may take: some, and for each byte of the input a number for each byte that zstd can make of it."""

_ADDRESS_SPACE = 1 << 30
_TOLD = 3


def input_of(decoder: Decoder, number: int, seed: int) -> bytes:
    """Return one of a decoder's inputs: the valid ones, then noise and mutations in turn."""
    if number < len(decoder.valid):
        return decoder.valid[number]
    rng = random.Random(f"{seed} {decoder.name} {number}")
    if number % 4 == 0:
        return noise(rng)
    return decoder.mutate(rng.choice(decoder.valid), decoder.valid, rng)


def allowed(data: bytes) -> int:
    """Return how many bytes decoding may take."""
    return _FIXED + _PER_BYTE * len(data)


def try_one(decoder: Decoder, data: bytes) -> str:
    """Decode, and return ``"detected"``, ``"decoded"``, or what is wrong."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        decoder.decode(data)
        outcome = "decoded"
    except (CorruptionError, UnsupportedStoreError, decoder.also):
        outcome = "detected"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})"
    taken = tracemalloc.get_traced_memory()[1] - before
    return outcome if taken <= allowed(data) else f"it took {taken:,} bytes for {len(data)}"


def fuzz(
    inputs: int, seed: int, only: str | None = None
) -> Iterator[tuple[str, collections.Counter[str], list[str]]]:
    """Run every decoder, and yield its name, counts, and lines about what is wrong."""
    tracemalloc.start()
    for decoder in decoders():
        if only not in (None, decoder.name):
            continue
        counts: collections.Counter[str] = collections.Counter()
        lines: dict[str, str] = {}
        for number in range(inputs // decoder.share):
            data = input_of(decoder, number, seed)
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            _say(f"{decoder.name} {number}")
            start = time.perf_counter()
            outcome = try_one(decoder, data)
            counts["slow"] += time.perf_counter() - start > 1.0
            known = outcome in {"detected", "decoded"}
            counts[outcome if known else "wrong"] += 1
            if number < len(decoder.valid) and outcome != "decoded" and "bomb" not in outcome:
                counts["refused"] += 1
            if not known:
                lines.setdefault(
                    outcome.partition(":")[0] + outcome[-40:], _line(decoder, number, seed, outcome)
                )
        faulthandler.cancel_dump_traceback_later()
        yield decoder.name, counts, list(lines.values())[:_TOLD]


def _line(decoder: Decoder, number: int, seed: int, outcome: str) -> str:
    return f"{outcome}\n    python -m tests.damage --replay 'fuzz {seed} {number} {decoder.name}'"


def _say(what: str) -> None:
    """Leave a note of what is being done, for whoever finds this process dead."""
    if _note is not None:
        _note.seek(0)
        _note.write(what.ljust(80))
        _note.flush()


_note = None


def confine(note: str | None) -> None:
    """Bound this process's memory, and keep a note of what it does."""
    global _note  # noqa: PLW0603
    faulthandler.enable()
    if note is not None:
        _note = open(note, "w")  # noqa: SIM115 - as long as the process
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + _ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def fuzz_in_a_process(name: str, inputs: int, seed: int) -> tuple[bool, str]:
    """Run one decoder in a process of its own, which may die; return whether anything is wrong, and what to tell."""
    with tempfile.NamedTemporaryFile("r") as note:
        command = [sys.executable, "-m", "tests.damage", "--fuzz", "--decoder", name, "--note", note.name]
        command += ["--inputs", str(inputs), "--seed", str(seed)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = done.stdout.splitlines()
        if done.returncode in {0, 1} and lines:
            return done.returncode != 0, "\n".join(lines if done.returncode else lines[-1:])
        return (
            True,
            f"{name}: it died ({done.returncode}) at {note.read().strip()}\n{done.stdout}{done.stderr}",
        )
