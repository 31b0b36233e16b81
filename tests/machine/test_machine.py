"""A share of random histories on each kind of store; ``python -m tests.machine`` runs as many as one likes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import Store
from tests.machine.machine import Machine
from tests.machine.worlds import on

SHARE = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def test_in_memory_with_power_cuts() -> None:
    run_state_machine_as_test(Machine, settings=settings(SHARE, max_examples=16, stateful_step_count=30))


@pytest.mark.parametrize(("kind", "histories"), [("local", 8), ("s3", 1)])
def test_on_a_real_store(request: pytest.FixtureRequest, kind: str, histories: int) -> None:
    store: Store = request.getfixturevalue(f"{kind}_store")
    numbers = iter(range(10**9))

    class Here(Machine):
        @staticmethod
        def make_world():
            return on(Store(f"{store.url}/{next(numbers)}", store.options))

    # Not made smaller when they fail: each step is requests, and each death a lease.
    run_state_machine_as_test(
        Here,
        settings=settings(SHARE, max_examples=histories, stateful_step_count=20, phases=[Phase.generate]),
    )
