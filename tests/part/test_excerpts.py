"""Excerpts have the rows that whole chunks have, cost less where little is wanted, and are kept for who asks again."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import CorruptionError, FileSystem
from measurefs.part.fetch import fetch
from measurefs.part.file_part import FilePart
from measurefs.part.held import Cache
from measurefs.part.metadata import PartMetadata
from measurefs.part.part import TIME, VERSION, Extent, Scan, Within, decode, runs_of, taker
from tests.part.made import ALL_TYPES, EVER, WIDE, make_rows, many_rows, store, values

ROWS, SERIES = 3000, 5
NAMES = [TIME, VERSION, *(column.name for column in ALL_TYPES)]
Found = dict[str, list[Any]]


@pytest.fixture(scope="module", params=[True, False], ids=["nulls", "no nulls"])
def stored(request: pytest.FixtureRequest) -> tuple[FileSystem, PartMetadata]:
    """Series of 600 rows, ten apart in time, in blocks of 400 and of 200, and primary blocks of up to 400."""
    fs = MemoryFileSystem()
    return fs, store(
        fs, many_rows(ROWS, SERIES, nulls=request.param), ALL_TYPES, block_rows=400, compact_bytes=WIDE
    )


def extent_of(fs: FileSystem, part: FilePart) -> Extent:
    (extent,) = fetch(fs, part.extents(Scan(*EVER, [])))
    return extent


def load(
    fs: FileSystem,
    part: FilePart,
    names: list[str],
    which: np.ndarray | None,
    within: Within,
    *,
    keep: bool = True,
    whole: bool = False,
) -> tuple[Found, int]:
    """Return the wanted rows of some blocks, and how many chunks were decoded."""
    extent = extent_of(fs, part)
    loading = fetch(fs, part.load(extent, names, which, keep=keep, within=None if whole else within))
    (loaded,) = decode([loading], map)
    places = np.arange(len(extent.places)) if which is None else which.nonzero()[0]
    starts, stops = runs_of(extent, places, loaded, within.since, within.until)
    take, _ = taker(loaded, starts, stops)
    return {name: values(take(column)) for name, column in loaded.columns.items()}, loading.chunks


@pytest.mark.parametrize("seed", range(12))
def test_any_rows_of_any_blocks(stored: tuple[FileSystem, PartMetadata], seed: int) -> None:
    """Whatever was asked for before, and whatever of it was kept."""
    fs, metadata = stored
    chance = random.Random(seed)
    part, reference = FilePart("", metadata), FilePart("", metadata)
    count = len(extent_of(fs, part).places)
    for _ in range(15):
        since, until = sorted(chance.choices(range(-20, 6040), k=2))
        within = Within(since, chance.choice([until, since, since + 300]), chance.random() < 0.7)
        names = [TIME, *chance.sample(NAMES[1:], chance.randint(0, 4))]
        which = None
        if chance.random() < 0.6:
            which = np.zeros(count, np.bool_)
            which[chance.sample(range(count), chance.randint(1, 3))] = True
        found, _ = load(fs, part, names, which, within, keep=chance.random() < 0.5)
        assert found == load(fs, reference, names, which, within, whole=True)[0]
        assert list(found) == names


def test_a_stretch_of_time_is_kept_and_another_makes_the_chunks_be_kept_whole(
    stored: tuple[FileSystem, PartMetadata],
) -> None:
    fs, metadata = stored
    part = FilePart("", metadata)
    early, inside, wider, late = (
        Within(since, until, True) for since, until in [(100, 500), (200, 300), (50, 600), (4000, 4500)]
    )
    names = [TIME, "n", "x"]
    asked = [load(fs, part, names, None, within)[1] for within in (early, early, inside, wider)]
    assert asked[1:3] == [0, 0]
    assert asked[0] > 0
    assert asked[3] > 0  # a wider one takes its place
    assert load(fs, part, names, None, early)[1] == 0
    assert load(fs, part, names, None, late)[1] > 0
    assert load(fs, part, names, None, Within(1000, 2000, True))[1] == 0  # all of it is there by now


@pytest.mark.parametrize("keep", [True, False])
def test_what_is_kept_is_in_proportion_to_what_was_asked_for(keep: bool) -> None:
    fs = MemoryFileSystem()
    times = np.arange(20_000) % 4000
    rows = make_rows((np.arange(20_000) // 4000).tolist(), times.tolist())
    cache = Cache(1 << 30)
    part = FilePart("", store(fs, rows, [], block_rows=8192), cache)
    extent_of(fs, part)
    before = cache.nbytes
    load(fs, part, [VERSION, TIME], None, Within(100, 199, keep), keep=False)
    kept = cache.nbytes - before
    assert (5 * 100 * 16 <= kept < 3 * 5 * 100 * 16) if keep else kept == 0


def test_damage_is_found(stored: tuple[FileSystem, PartMetadata]) -> None:
    fs, metadata = stored
    damaged = MemoryFileSystem()
    damaged.make_dir(metadata.name)
    for section in metadata.sections:
        data = bytearray(fs.read(f"{metadata.name}/{section}"))
        if section == "fields.bin":
            data = bytearray(byte ^ (place % 16 == 0) for place, byte in enumerate(data))
        damaged.write(f"{metadata.name}/{section}", bytes(data))
    with pytest.raises(CorruptionError, match=r"fields\.bin"):
        load(damaged, FilePart("", metadata), [TIME, "n", "x", "note"], None, Within(100, 200, True))
