"""The data and the questions: metrics of a fleet of hosts, each with tags and five fields.

The fields are random walks of two decimals, ten seconds apart; all is the same for the same numbers of hosts and rows.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.data import FIELDS, HOUR, START, STEP

TAG_TYPES = {"region": "string", "os": "string", "dc": "string", "rack": "int64", "team": "string"}
TAGS = tuple(TAG_TYPES)
KEYS = ("time", "host")
NANOSECONDS = pa.timestamp("ns", tz="UTC")
SCHEMA = pa.schema(
    [
        ("time", NANOSECONDS),
        ("host", pa.string()),
        *((name, pa.string() if kind == "string" else pa.int64()) for name, kind in TAG_TYPES.items()),
        *((name, pa.float64()) for name in FIELDS),
    ]
)
WHOLE = [*KEYS, *FIELDS]
"""The columns that a question for rows asks for."""


@dataclasses.dataclass(frozen=True)
class Fleet:
    """So many hosts with so many rows each."""

    series: int
    rows: int

    @property
    def total(self) -> int:
        """How many rows there are."""
        return self.series * self.rows

    @property
    def cents(self) -> dict[str, npt.NDArray[np.int32]]:
        """Of each field a hundred times its values, (rows, series)."""
        return _cents(self)

    @property
    def hosts(self) -> pa.Table:
        """A row for each host: its name and its tags."""
        return _hosts(self)

    def by_time(self, batch_rows: int = 10_000) -> Iterator[pa.Table]:
        """Yield the rows as collectors send them, batch by batch."""
        for first in range(0, self.total, batch_rows):
            place = np.arange(first, min(first + batch_rows, self.total))
            yield self._table(place // self.series, place % self.series)

    def rewritten(self) -> pa.Table:
        """Return the rows of a tenth of the time, in its midst, each value larger by one."""
        middle = self.rows * 9 // 20
        place = np.arange(middle * self.series, (middle + max(self.rows // 10, 1)) * self.series)
        return self._table(place // self.series, place % self.series, change=100)

    def _table(self, row: npt.NDArray[np.int64], host: npt.NDArray[np.int64], change: int = 0) -> pa.Table:
        columns = {"time": pa.array(START + row * STEP).view(NANOSECONDS)}
        columns |= {name: self.hosts[name].combine_chunks().take(pa.array(host)) for name in ("host", *TAGS)}
        columns |= {name: pa.array((cents[row, host] + change) / 100) for name, cents in self.cents.items()}
        return pa.table(columns, SCHEMA)


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
            high=float(np.quantile(fleet.cents["f0"], 0.999)) / 100,
        )


@functools.lru_cache(maxsize=2)
def _cents(fleet: Fleet) -> dict[str, npt.NDArray[np.int32]]:
    random = np.random.default_rng(7)
    shape = fleet.rows, fleet.series
    return {
        name: 5000 + np.cumsum(np.rint(random.normal(0, 50, shape)).astype(np.int32), axis=0, dtype=np.int32)
        for name in FIELDS
    }


@functools.lru_cache(maxsize=2)
def _hosts(fleet: Fleet) -> pa.Table:
    which = np.arange(fleet.series)
    random = np.random.default_rng(11)
    regions = random.integers(0, 9, fleet.series)
    racks = random.integers(0, 100, fleet.series)
    return pa.table(
        {
            "host": [f"host-{number:06d}" for number in which],
            "region": [f"region-{number}" for number in regions],
            "os": [("linux-6.1", "linux-6.6", "windows-2022")[number] for number in which % 3],
            "dc": [f"dc-{region}-{number}" for region, number in zip(regions, which % 3, strict=True)],
            "rack": pa.array(racks, pa.int64()),
            "team": [f"team-{number}" for number in random.integers(0, 4, fleet.series)],
        }
    )
