"""A share of the races; ``python -m tests.processes.races`` does any number of rounds."""

from __future__ import annotations

import pytest

from tests.conftest import Store
from tests.processes.children import Place
from tests.processes.races import run


@pytest.mark.parametrize("processes", [2, 4])
def test_one_of_several_processes_gets_the_table_on_the_local_disk(
    local_store: Store, processes: int
) -> None:
    counts = run(20, processes, 1, Place.of(local_store))
    assert counts["rounds"] == 20
    assert counts["refusals"] == 20 * (processes - 1)


@pytest.mark.parametrize(("processes", "rounds"), [(2, 4), (4, 3)])
def test_one_of_several_processes_gets_the_table_on_s3(s3_store: Store, processes: int, rounds: int) -> None:
    # A lease that a busy machine does not let run out between two renewals.
    counts = run(rounds, processes, 1, Place.of(s3_store, lease=3.0))
    assert counts["rounds"] == rounds
    assert counts["refusals"] == rounds * (processes - 1)
