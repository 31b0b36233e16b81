"""The questions, answered by NumPy from arrays that lie in memory in the best order: what bounds any engine."""

# ruff: noqa: D102 - `Engine` says what each method answers

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.data import HOUR, START, STEP
from benchmarks.fleet import NANOSECONDS, Asked, Fleet
from benchmarks.results import MACHINE

Array = npt.NDArray[Any]


class InMemory:
    """All rows of a fleet, each field as an array of series x rows; on one thread."""

    name = MACHINE

    def __init__(self, fleet: Fleet) -> None:
        self.fields = {name: np.ascontiguousarray(cents.T) / 100 for name, cents in fleet.cents.items()}
        self.times = START + np.arange(fleet.rows) * STEP
        self.hosts = fleet.hosts["host"].combine_chunks()
        self.places = {host: place for place, host in enumerate(self.hosts.to_pylist())}
        self.regions = fleet.hosts["region"].combine_chunks().dictionary_encode()

    def close(self) -> None:
        pass

    def _rows(self, hosts: Array, rows: slice, turned: bool = False) -> pa.Table:
        times = self.times[rows]
        codes = np.tile(hosts, len(times)) if turned else np.repeat(hosts, len(times))
        moments = np.repeat(times, len(hosts)) if turned else np.tile(times, len(hosts))
        columns = {"time": pa.array(moments).view(NANOSECONDS), "host": self._named(codes)}
        for name, values in self.fields.items():
            found = values[hosts, rows] if len(hosts) < len(self.hosts) else values[:, rows]
            columns[name] = pa.array((found.T if turned else found).ravel())
        return pa.table(columns)

    def _named(self, codes: Array) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), self.hosts)

    def _hour(self, asked: Asked) -> slice:
        start, end = np.searchsorted(self.times, (asked.start, asked.end)).tolist()
        return slice(start, end)

    def _place(self, *hosts: str) -> Array:
        return np.array([self.places[host] for host in hosts])

    def _every(self) -> Array:
        return np.arange(len(self.hosts))

    def series_hour(self, asked: Asked) -> pa.Table:
        return self._rows(self._place(asked.host), self._hour(asked))

    def eight_series_hour(self, asked: Asked) -> pa.Table:
        return self._rows(self._place(*asked.hosts), self._hour(asked))

    def all_hour(self, asked: Asked) -> pa.Table:
        return self._rows(self._every(), self._hour(asked))

    def all_hour_by_time(self, asked: Asked) -> pa.Table:
        return self._rows(self._every(), self._hour(asked), turned=True)

    def scan_value(self, asked: Asked) -> pa.Table:
        return pa.table({"f0": self.fields["f0"].flatten()})

    def scan_rows(self, asked: Asked) -> pa.Table:
        times = pa.array(np.tile(self.times, len(self.hosts))).view(NANOSECONDS)
        codes = np.repeat(self._every(), len(self.times))
        return pa.table({"time": times, "host": self._named(codes), "f0": self.fields["f0"].flatten()})

    def mean_by_series(self, asked: Asked) -> pa.Table:
        return pa.table({"host": self.hosts, "f0": self.fields["f0"].mean(axis=1)})

    def hourly_by_region(self, asked: Asked) -> pa.Table:
        hours, begins = np.unique(self.times // HOUR, return_index=True)
        counts = np.diff(np.append(begins, len(self.times)))
        sums = np.add.reduceat(self.fields["f0"], begins, axis=1)
        codes = self.regions.indices.to_numpy()
        names = self.regions.dictionary
        of_regions = np.zeros((len(names), len(hours)))
        np.add.at(of_regions, codes, sums)
        rows = np.outer(np.bincount(codes, minlength=len(names)), counts)
        return pa.table(
            {
                "time": pa.array(np.tile(hours * HOUR, len(names))).view(NANOSECONDS),
                "region": names.take(pa.array(np.repeat(np.arange(len(names)), len(hours)))),
                "f0": (of_regions / rows).ravel(),
            }
        )

    def last_rows(self, asked: Asked) -> pa.Table:
        return self._rows(self._every(), slice(-1, None))

    def newest_of_series(self, asked: Asked) -> pa.Table:
        return self._rows(self._place(asked.host), slice(None, -11, -1))

    def count_high(self, asked: Asked) -> pa.Table:
        return pa.table({"count": [int(np.count_nonzero(self.fields["f0"] > asked.high))]})
