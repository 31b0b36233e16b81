"""Rows as the engine hands them to an aggregation: in pieces, each with series and dictionaries of its own."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from measurefs.codec.types import ColumnType
from measurefs.part.part import Blocks
from measurefs.part.series import Hash, SeriesTable, encode_series, xxh3
from measurefs.part.summarise import summarise
from measurefs.part.summary import ColumnSummary

Row = dict[str, Any]
ENTITY = {"host": ColumnType.STRING, "port": ColumnType.INT64}
TAGS = {
    "region": ColumnType.STRING,
    "rack": ColumnType.INT64,
    "load": ColumnType.FLOAT64,
    "spare": ColumnType.BOOL,
    "labels": ColumnType.STRING_LIST,
}
FIELDS = {
    "usage": ColumnType.FLOAT64,
    "n": ColumnType.INT64,
    "up": ColumnType.BOOL,
    "note": ColumnType.STRING,
    "raw": ColumnType.BINARY,
}
COLUMNS = TAGS | FIELDS


@dataclasses.dataclass(eq=False)
class Piece:
    """A stretch of rows, held between others that are not asked for."""

    series: SeriesTable
    codes: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    times: np.ndarray
    columns: dict[str, pa.Array]

    def column(self, name: str) -> pa.Array | None:
        return self.columns.get(name)

    def those(self, runs: np.ndarray) -> Piece:
        return dataclasses.replace(
            self, codes=self.codes[runs], starts=self.starts[runs], stops=self.stops[runs]
        )

    def blocks(self) -> Blocks:
        first, last = self.times[self.starts], self.times[self.stops - 1]
        return Blocks(self.series, self.codes, self.stops - self.starts, first, last)

    def summaries(self) -> dict[str, ColumnSummary]:
        """What a part knows of these runs, if each is a block."""
        positions = np.concatenate([np.arange(*run) for run in zip(self.starts, self.stops, strict=True)])
        bounds = np.append(0, np.cumsum(self.stops - self.starts))
        return {
            name: summarise(column.take(pa.array(positions)), bounds) for name, column in self.columns.items()
        }

    def dictionaries(self) -> dict[str, pa.Array]:
        return {
            name: column.dictionary
            for name, column in self.columns.items()
            if pa.types.is_dictionary(column.type)
        }


def piece_of(
    rows: Sequence[Row], chance: random.Random, block_rows: int = 10**9, hasher: Hash = xxh3
) -> Piece:
    """Lay rows out as a part would: by series and time, in blocks; with other rows between these, in any order."""
    entities = pa.record_batch(
        [pa.array([row[name] for row in rows], ENTITY[name].arrow) for name in ENTITY], list(ENTITY)
    )
    series, codes = encode_series(entities, hasher)
    order = sorted(range(len(rows)), key=lambda place: (codes[place], rows[place]["time"]))
    runs: list[list[int]] = []
    for place in order:
        if not runs or codes[runs[-1][0]] != codes[place] or len(runs[-1]) >= block_rows:
            runs.append([])
        runs[-1].append(place)
    gaps = chance.choice([0, 0, 3, 40])
    laid: list[int] = []
    starts = np.zeros(len(runs), np.int64)
    for number in chance.sample(range(len(runs)), len(runs)) if chance.random() < 0.3 else range(len(runs)):
        laid += [chance.randrange(len(rows)) for _ in range(chance.randint(0, gaps))]
        starts[number] = len(laid)
        laid += runs[number]
    laid += [0] * chance.randint(0, gaps)
    stops = starts + np.array([len(run) for run in runs], np.int64)
    columns = {}
    for name, kind in COLUMNS.items():
        values = [rows[place][name] for place in laid]
        if all(value is None for value in values) and chance.random() < 0.5:
            continue
        column = pa.array(values, kind.arrow)
        if kind in (ColumnType.STRING, ColumnType.BINARY) and chance.random() < 0.7:
            column = column.dictionary_encode()
        columns[name] = column
    times = np.array([rows[place]["time"] for place in laid], np.int64)
    return Piece(series, codes[[run[0] for run in runs]], starts, stops, times, columns)


def random_rows(chance: random.Random, count: int, span: int, start: int = 0) -> list[Row]:
    """Draw rows with distinct keys, and all that values can be."""
    nulls = chance.choice([0.0, 0.1, 0.9])
    odd = chance.choice([0.0, 0.05])
    sticky: dict[Any, Row] = {}
    rows: dict[tuple[Any, ...], Row] = {}

    def maybe(value: Any) -> Any:
        return None if chance.random() < nulls else value

    for _ in range(count):
        host, port = chance.choice(["a", "b", "c", "", "ü"]), chance.choice([1, 2, -(2**63)])
        drawn = {
            "region": maybe(chance.choice(["x", "y", "z", ""])),
            "rack": maybe(chance.choice([1, 2, 2**63 - 1])),
            "load": maybe(chance.choice([0.0, -0.0, 1.5, math.nan])),
            "spare": maybe(chance.random() < 0.5),
            "labels": maybe([]),
        }
        tags = sticky.setdefault((host, port), drawn) if chance.random() < 0.8 else drawn
        usage = (
            chance.choice([math.nan, math.inf, -math.inf, 1e300])
            if chance.random() < odd
            else chance.gauss(50, 10)
        )
        row = tags | {
            "time": start + chance.randrange(span),
            "host": host,
            "port": port,
            "usage": maybe(usage),
            "n": maybe(chance.choice([chance.randrange(-9, 9), chance.randrange(-(2**40), 2**40)])),
            "up": maybe(chance.random() < 0.5),
            "note": maybe(chance.choice(["", "p", "q", "ä", "\U0001f600"])),
            "raw": maybe(chance.choice([b"", b"\0", b"\xff", b"a"])),
        }
        rows[host, port, row["time"]] = row
    return list(rows.values())
