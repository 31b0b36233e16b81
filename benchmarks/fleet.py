"""The data and the questions of `queries.py`: metrics of a fleet of hosts, each with tags and five fields."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from data import FIELDS, START, STEP

HOUR = 3_600_000_000_000
TAGS = ("region", "os", "dc", "rack", "team")
TAG_TYPES = {"region": "string", "os": "string", "dc": "string", "rack": "int64", "team": "string"}
KEYS = ("time", "host")


@dataclasses.dataclass(frozen=True)
class Fleet:
    """So many hosts with so many rows each, ten seconds apart: the same for the same numbers."""

    series: int
    rows: int

    @functools.cached_property
    def walks(self) -> dict[str, npt.NDArray[np.float64]]:
        """Of each field two-decimal random walks, (rows, series)."""
        random = np.random.default_rng(7)
        shape = self.rows, self.series
        return {name: np.round(np.cumsum(random.normal(0, 0.5, shape), axis=0) + 50, 2) for name in FIELDS}

    @functools.cached_property
    def hosts(self) -> pa.Table:
        """A row for each host: its name and its tags."""
        which = np.arange(self.series)
        random = np.random.default_rng(11)
        regions = random.integers(0, 9, self.series)
        racks = random.integers(0, 100, self.series)
        return pa.table(
            {
                "host": [f"host-{number:06d}" for number in which],
                "region": [f"region-{number}" for number in regions],
                "os": [("linux-6.1", "linux-6.6", "windows-2022")[number] for number in which % 3],
                "dc": [f"dc-{region}-{number}" for region, number in zip(regions, which % 3, strict=True)],
                "rack": pa.array(racks, pa.int64()),
                "team": [f"team-{number}" for number in random.integers(0, 4, self.series)],
            }
        )

    def by_time(self, batch_rows: int = 10_000) -> Iterator[pa.Table]:
        """Yield the rows as collectors send them, batch by batch."""
        total = self.series * self.rows
        for first in range(0, total, batch_rows):
            place = np.arange(first, min(first + batch_rows, total))
            yield self._table(place // self.series, place % self.series)

    def by_series(self) -> pa.Table:
        """Return all rows, by host and time."""
        place = np.arange(self.series * self.rows)
        return self._table(place % self.rows, place // self.rows)

    def _table(self, row: npt.NDArray[np.int64], host: npt.NDArray[np.int64]) -> pa.Table:
        columns = {"time": pa.array(START + row * STEP).view(pa.timestamp("ns", tz="UTC"))}
        columns |= {name: self.hosts[name].combine_chunks().take(pa.array(host)) for name in ("host", *TAGS)}
        columns |= {name: pa.array(walk[row, host]) for name, walk in self.walks.items()}
        return pa.table(columns)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the questions are about, so that a process that answers one need not make the data.

    Attributes
    ----------
    host, hosts : str
        One host, and eight.
    start, end : int
        An hour, nanoseconds since 1970.
    high : float
        The 99.9th percentile of the field ``f0``.
    """

    host: str
    hosts: tuple[str, ...]
    start: int
    end: int
    high: float

    @classmethod
    def of(cls, fleet: Fleet) -> Asked:
        """Return an hour in the midst, and hosts apart from each other."""
        names = fleet.hosts["host"].to_pylist()
        middle = START + fleet.rows // 2 * STEP // HOUR * HOUR
        return cls(
            host=names[fleet.series * 17 // 1000],
            hosts=tuple(names[number * fleet.series // 8] for number in range(8)),
            start=middle,
            end=middle + HOUR,
            high=float(np.quantile(fleet.walks["f0"], 0.999)),
        )
