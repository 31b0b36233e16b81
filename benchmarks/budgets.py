"""What measurefs is to reach on two cores: each budget beside its figure."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from benchmarks.measures import BY_KEY
from benchmarks.results import MACHINE, Results

OURS = "measurefs"
FULL_ROWS = 2_000_000


@dataclasses.dataclass(frozen=True)
class Budget:
    """A bound on a figure.

    Attributes
    ----------
    key : str
        The measure.
    bound : float
        In its unit; or how many times the figure of `of`.
    of : str
        The engine, or the machine, whose figure in this run is the yardstick.
    scales : bool
        Whether it is for two million rows, and for fewer accordingly.
    note : str
        What else was wished for.
    """

    key: str
    bound: float
    of: str = ""
    scales: bool = False
    note: str = ""


BUDGETS = (
    Budget("ingest.end", 3.0, note="5 is the aim"),
    Budget("ingest.compacted", 6.5),
    Budget("ingest.wide", 3.0, note="4 is the aim"),
    Budget("ingest.wide_compacted", 12.0),
    Budget("growth.memory", 256.0 + 200.0, note="memory_limit + 200 MiB, whatever the amount"),
    Budget("appends.p50", 1.0, of="Parquet (pyarrow)", note="a Parquet file written and synced"),
    Budget("appends.p50", 2.5, of=MACHINE, note="a file and its folder synced"),
    Budget("queries.series_hour", 1.0, of="SQLite"),
    Budget("queries.all_hour", 10.0, scales=True),
    Budget("queries.scan_value", FULL_ROWS / 350e6 * 1e3, scales=True, note="350 M values/s"),
    Budget("queries.mean_by_series", 5.0, scales=True),
    Budget("cold.open", 20.0),
    Budget("cold.series_hour", 8.0),
    Budget("cold.import_alone", 300.0),
    Budget("cold.import", 300.0, note="with all that opening a store needs"),
    Budget("cold.help", 500.0),
    Budget("s3.append_round_trips", 3.0, note="a PUT and a look at the lock"),
)


class Verdict(NamedTuple):
    """A budget beside its figure; None where that was not measured."""

    budget: Budget
    bound: float | None
    figure: float | None

    @property
    def met(self) -> bool | None:
        """Whether it was kept."""
        if self.bound is None or self.figure is None:
            return None
        return self.figure >= self.bound if BY_KEY[self.budget.key].more else self.figure <= self.bound


def verdicts(results: Results) -> list[Verdict]:
    """Return every budget with what this run found."""
    share = results.shape["series"] * results.shape["rows"] / FULL_ROWS
    found = []
    for budget in BUDGETS:
        yardstick = results.median(budget.key, budget.of) if budget.of else 1.0
        bound = None if yardstick is None else budget.bound * yardstick * (share if budget.scales else 1.0)
        found.append(Verdict(budget, bound, results.median(budget.key, OURS)))
    return found
