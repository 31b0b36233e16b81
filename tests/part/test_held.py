"""Decoded columns of a page, in spans: whatever was asked for before, the rows of some primary blocks are theirs."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from measurefs.codec import columns as codec
from measurefs.codec.numbers import default_encoding
from measurefs.codec.types import ColumnType
from measurefs.part.held import Choice, HeldColumn, arranged

BLOCKS = 12
NAMES = ("a", "b")


class Page:
    """Columns of a page whose primary blocks have from 1 to 9 rows; the value of a row is its number in the page."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.starts = np.cumsum([0, *(self.random.randint(1, 9) for _ in range(BLOCKS))])
        self.held = {name: HeldColumn(ColumnType.INT64, None, self.starts, nulls=False) for name in NAMES}

    def choice(self) -> Choice:
        """Some primary blocks: often a run of them, sometimes all."""
        first, last = sorted(self.random.choices(range(BLOCKS), k=2))
        places = range(first, last + 1)
        if self.random.random() < 0.6:
            places = sorted(self.random.sample(range(BLOCKS), self.random.randint(1, BLOCKS)))
        return Choice.of(np.array(places))

    def decode(self, name: str, choice: Choice) -> None:
        held = self.held[name]
        assert held.has(choice) == (len(held.missing(choice)) == 0)
        missing = held.missing(choice)
        if len(missing):
            held.decode(missing, [self.chunk(place) for place in missing.tolist()], "page")
        assert held.has(choice)

    def chunk(self, place: int) -> bytes:
        rows = np.arange(self.starts[place], self.starts[place + 1])
        return codec.encode(pa.array(rows), default_encoding(level=1)).data

    def rows(self, choice: Choice) -> np.ndarray:
        return np.concatenate([np.arange(*self.starts[place : place + 2]) for place in choice.places])


@pytest.mark.parametrize("seed", range(60))
def test_rows_of_any_primary_blocks(seed: int) -> None:
    page = Page(seed)
    for _ in range(20):
        choice = page.choice()
        for name in NAMES if page.random.random() < 0.7 else NAMES[:1]:
            page.decode(name, choice)
        names = [name for name in NAMES if page.held[name].has(choice)]
        arrays, shifts = arranged({name: page.held[name] for name in names}, choice, page.starts)
        expected = page.rows(choice)
        lengths = np.diff(page.starts)[choice.places]
        for name in names:
            found = np.asarray(arrays[name])
            assert found[expected + np.repeat(shifts, lengths)].tolist() == expected.tolist()
            assert np.asarray(page.held[name].array(choice)).tolist() == expected.tolist()


def test_what_is_put_together_is_held_in_its_place() -> None:
    """No row is held twice, and what was asked for once lies in one piece for those who ask again."""
    page = Page(0)
    held = page.held["a"]
    for places in ([1], [4, 6], [0, 2, 3], range(BLOCKS)):
        page.decode("a", Choice.of(np.array(places)))
    everything = Choice.of(np.arange(BLOCKS))
    assert held.span(everything) is None
    size = held.nbytes
    held.array(everything)
    span = held.span(everything)
    assert span is not None
    assert held.nbytes < size
    assert held.array(Choice.of(np.array([3, 4]))).buffers()[1].address == span.array.buffers()[1].address


def test_another_thread_that_decodes_the_same_adds_nothing_twice() -> None:
    page = Page(3)
    held = page.held["a"]
    first, second = Choice.of(np.array([2, 3, 5])), Choice.of(np.array([1, 3, 5, 8]))
    for choice in (first, second, second):  # as if all had looked before any of them had decoded
        held.decode(choice.places, [page.chunk(place) for place in choice.places.tolist()], "page")
    both = Choice.of(np.array([1, 2, 3, 5, 8]))
    assert np.asarray(held.array(both)).tolist() == page.rows(both).tolist()
    assert sum(len(span.blocks.places) for span in held._spans) == len(both.places)
