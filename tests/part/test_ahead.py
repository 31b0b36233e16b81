"""Reading ahead: the same bytes as without it, in fewer requests."""

from __future__ import annotations

import random

import pytest

from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import CountingFileSystem
from measurefs.part import ahead
from measurefs.part.ahead import ReadAhead
from measurefs.part.file_part import FilePart
from tests.part.made import ALL_TYPES, COMPACT, WIDE, many_rows, store


def parts_in(fs, compact_bytes, count=3, rows=2000):
    return [
        FilePart(
            "",
            store(
                fs,
                many_rows(rows, seed=number),
                ALL_TYPES,
                number=number,
                block_rows=64,
                compact_bytes=compact_bytes,
            ),
        )
        for number in range(1, count + 1)
    ]


def pieces_of(part, rng):
    """Ranges of a part's sections, each section's in order, and now and then one that is not."""
    found = []
    for section, piece in part.metadata.sections.items():
        at = 0
        while at < piece.size:
            size = min(rng.randrange(1, 3000), piece.size - at)
            found.append(part.locate(section, at, size))
            at += size if rng.random() < 0.9 else 0
    return found


@pytest.mark.parametrize("compact_bytes", [COMPACT, WIDE], ids=["compact", "wide"])
@pytest.mark.parametrize("memory", [1, 40_000, 1 << 30])
@pytest.mark.parametrize("seed", range(5))
def test_every_range_is_what_it_would_be_without(compact_bytes, memory, seed, monkeypatch):
    monkeypatch.setattr(ahead, "_LEAST", 4096)
    fs, rng = MemoryFileSystem(), random.Random(seed)
    parts = parts_in(fs, compact_bytes)
    reading = ReadAhead(fs, parts, memory)
    wanted = [each for part in parts for each in pieces_of(part, rng)]
    while wanted:
        taken, wanted = wanted[:7], wanted[7:]
        if rng.random() < 0.3:
            rng.shuffle(taken)
        assert reading.read_ranges(taken) == fs.read_ranges(taken)


def test_small_parts_are_read_whole_and_all_at_once():
    fs = CountingFileSystem(MemoryFileSystem())
    parts = parts_in(fs, COMPACT, count=8)
    fs.reset()
    reading = ReadAhead(fs, parts, 16 << 20)
    for part in parts:
        reading.read_ranges(pieces_of(part, random.Random(1)))
    assert fs.calls == {"read_ranges": 1}
    assert fs.bytes["read"] <= sum(part.metadata.compressed_bytes for part in parts)


def test_large_parts_are_read_in_long_stretches():
    fs = CountingFileSystem(MemoryFileSystem())
    (part,) = parts_in(fs, WIDE, count=1, rows=60_000)
    fs.reset()
    memory = 8 * ahead._LEAST
    reading = ReadAhead(fs, [part], memory)
    for piece in pieces_of(part, random.Random(1)):
        reading.read_ranges([piece])
    size = sum(piece.size for piece in part.metadata.sections.values())
    assert fs.calls["read_ranges"] <= 2 + 2 * size // ahead._LEAST
    assert fs.bytes["read"] <= 1.5 * size
