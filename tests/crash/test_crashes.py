"""Crashes, faults and zombies at a share of all operations; ``python -m tests.crash --long`` takes all."""

from __future__ import annotations

import collections

import pytest

from tests.crash.campaigns import Case, crash_once, healthy, replayable, survey
from tests.crash.plan import SHORT, Unit, run_unit, units
from tests.crash.stores import StrictFileSystem
from tests.crash.workloads import KINDS, WORKLOADS

everywhere = pytest.mark.parametrize(
    ("workload", "store"), [(workload, store) for workload in WORKLOADS for store in KINDS[workload]]
)


@everywhere
def test_nothing_goes_wrong_without_faults(workload: str, store: str) -> None:
    """And each run is the same: otherwise no failure could be replayed."""
    assert healthy(workload, store)[1].trace == survey(workload, store)[1]


@pytest.mark.parametrize(
    "unit", list(units(SHORT)), ids=lambda unit: f"{unit.campaign}-{unit.workload}-{unit.store}"
)
def test_nothing_acknowledged_is_lost_and_the_store_opens(unit: Unit) -> None:
    counts: collections.Counter[str] = collections.Counter()
    run_unit(unit, counts)
    assert counts.total() > 0


class TestTheTestsThemselves:
    """They find what they are there to find."""

    def test_a_commit_without_its_last_sync(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = StrictFileSystem.sync_path

        def lazy(fs: StrictFileSystem, path: str) -> None:
            if not any(entry.name.endswith(".snp") for entry in fs.read_dir(path)):
                real(fs, path)

        monkeypatch.setattr(StrictFileSystem, "sync_path", lazy)
        with pytest.raises(AssertionError, match=r"lost|not synced"):
            for at in range(1, 9):
                crash_once(Case("first_write", "table", at, "before", "none"))

    def test_a_failure_says_how_it_is_replayed(self) -> None:
        case = Case("first_write", "table", 7, "after", "killed,1", -3)
        said = r"replay: python -m tests\.crash .* --survivors killed,1 --again=-3"
        with pytest.raises(AssertionError, match=said), replayable(case):
            raise AssertionError("something is wrong")
