"""A share of the kills; ``python -m tests.processes.kills`` does any number."""

from __future__ import annotations

import pytest

from tests.conftest import Store
from tests.processes.children import Place
from tests.processes.kills import run


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_durable_is_lost_on_the_local_disk(local_store: Store, seed: int) -> None:
    counts = run(4, seed, Place.of(local_store))
    assert counts["kills"] == 4
    assert counts["rows acknowledged"] > 0


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_durable_is_lost_on_s3(s3_store: Store, seed: int) -> None:
    counts = run(2, seed, Place.of(s3_store))
    assert counts["kills"] == 2
    assert counts["rows acknowledged"] > 0
