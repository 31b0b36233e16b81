"""Tasks: what is made ahead comes in order, each once, by one thread or several."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from measurefs.part.tasks import made_ahead


def numbers(stop: int, made: list[int]) -> Iterator[int]:
    for number in range(stop):
        made.append(number)
        yield number


@pytest.mark.parametrize("stop", [0, 1, 2, 7])
def test_everything_comes_once_and_in_order(stop: int) -> None:
    with ThreadPoolExecutor(2) as pool:
        for run in (map, pool.map):
            made: list[int] = []
            assert list(made_ahead(numbers(stop, made), run)) == list(range(stop)) == made


def test_one_is_made_while_another_is_dealt_with() -> None:
    made: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        ahead = made_ahead(numbers(3, made), pool.map)
        next(ahead)
        pool.submit(lambda: None).result()
        assert made == [0, 1]
        ahead.close()


def test_an_error_comes_where_the_item_would_have() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with ThreadPoolExecutor(1) as pool:
        ahead = made_ahead(broken(), pool.map)
        assert next(ahead) == 1
        with pytest.raises(ValueError, match="no more"):
            next(ahead)
