"""Parquet files: one for each batch, then one with all rows sorted; by pyarrow and by Polars."""

# ruff: noqa: D102 - `Engine` says what each method does

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.engines.arrow_rows import ArrowRows
from benchmarks.engines.engine import Engine
from benchmarks.fleet import KEYS, WHOLE, Asked
from benchmarks.places import Folder, Place, sync

GROUP_ROWS = 100_000
LATER = "later-"
"""Begins the names of files with rows that are elsewhere too, and count instead of those."""


class Files(Engine):
    """A folder of Parquet files, which are written by whoever inherits this."""

    def __init__(self, place: Place, *, write: bool = False, merging: bool = True) -> None:
        assert isinstance(place, Folder)
        self.root = place.path
        self.root.mkdir(exist_ok=True)
        self._numbers = itertools.count(len(self.paths()))
        self._unsynced: list[Path] = []
        if not write:
            self.open()

    def paths(self) -> list[Path]:
        """Return the files there are."""
        return sorted(self.root.glob("*.parquet"))

    def open(self) -> None:
        """Get ready to be asked."""

    def write(self, rows: Any, path: Path) -> None:
        """Write a file."""
        raise NotImplementedError

    def add(self, batch: Any) -> None:
        self._unsynced.append(self._new(batch, ""))

    def append(self, batch: Any) -> None:
        self._sync([self._new(batch, "")])

    def flush(self) -> None:
        self._sync(self._unsynced)
        self._unsynced = []

    def rewrite(self, batch: Any) -> None:
        self._sync([self._new(batch, LATER)])
        self.open()

    def replace(self, rows: Any) -> None:
        """Put one file in the place of all."""
        old = self.paths()
        self.append(rows)
        for path in old:
            path.unlink()
        sync(self.root)

    def close(self) -> None:
        pass

    def _new(self, rows: Any, prefix: str) -> Path:
        path = self.root / f"{prefix}{next(self._numbers):06d}.parquet"
        self.write(rows, path)
        return path

    def _sync(self, paths: list[Path]) -> None:
        for path in paths:
            sync(path)
        sync(self.root)


class Parquet(Files, ArrowRows):
    """Parquet by pyarrow, asked as one of its datasets."""

    name = layout = "Parquet (pyarrow)"
    package = module = "pyarrow"

    @staticmethod
    def imports() -> None:
        import pyarrow.dataset
        import pyarrow.parquet  # noqa: F401

    def open(self) -> None:
        import pyarrow.dataset as ds

        self.data = ds.dataset(self.root, format="parquet", schema=None)
        form = ds.ParquetFileFormat(dictionary_columns=["host", "region"])
        self.coded = ds.dataset(self.root, format=form)  # better where no host is picked out

    def write(self, rows: Any, path: Path) -> None:
        import pyarrow.parquet as pq

        pq.write_table(rows, path, compression="zstd", row_group_size=GROUP_ROWS)

    def compact(self) -> None:
        import pyarrow.dataset as ds

        rows = ds.dataset(self.root, format="parquet").to_table()
        self.replace(rows.sort_by([("host", "ascending"), ("time", "ascending")]))

    def mean_after_rewriting(self, asked: Asked) -> pa.Table:
        import pyarrow.dataset as ds

        old, new = (
            ds.dataset(
                [path for path in self.paths() if path.name.startswith(LATER) is later], format="parquet"
            ).to_table([*KEYS, "f0"])
            for later in (False, True)
        )
        kept = old.join(new.select(list(KEYS)), list(KEYS), join_type="left anti")
        return pa.concat_tables([kept, new]).group_by("host").aggregate([("f0", "mean")])


class Polars(Files):
    """Parquet by Polars, asked as a lazy frame."""

    name = layout = "Parquet (Polars)"
    package = module = "polars"

    @staticmethod
    def imports() -> None:
        import polars  # noqa: F401

    @staticmethod
    def form(batch: pa.Table) -> Any:
        import polars as pl

        return pl.from_arrow(batch)

    def open(self) -> None:
        import polars as pl

        self.pl = pl
        self.rows = pl.scan_parquet(self.paths())

    def write(self, rows: Any, path: Path) -> None:
        rows.write_parquet(path, row_group_size=GROUP_ROWS)

    def compact(self) -> None:
        import polars as pl

        self.replace(pl.read_parquet(self.paths()).sort("host", "time"))

    def series_hour(self, asked: Asked) -> pa.Table:
        chosen = self.pl.col("host") == asked.host
        return self.rows.filter(chosen & self._hour(asked)).select(WHOLE).collect().to_arrow()

    def eight_series_hour(self, asked: Asked) -> pa.Table:
        chosen = self.pl.col("host").is_in(list(asked.hosts))
        return self.rows.filter(chosen & self._hour(asked)).select(WHOLE).collect().to_arrow()

    def all_hour(self, asked: Asked) -> pa.Table:
        return self.rows.filter(self._hour(asked)).select(WHOLE).collect().to_arrow()

    def all_hour_by_time(self, asked: Asked) -> pa.Table:
        return self.rows.filter(self._hour(asked)).select(WHOLE).sort("time").collect().to_arrow()

    def scan_value(self, asked: Asked) -> pa.Table:
        return self.rows.select("f0").collect().to_arrow()

    def scan_rows(self, asked: Asked) -> pa.Table:
        return self.rows.select(*KEYS, "f0").collect().to_arrow()

    def mean_by_series(self, asked: Asked) -> pa.Table:
        return self.rows.group_by("host").agg(self.pl.col("f0").mean()).collect().to_arrow()

    def mean_after_rewriting(self, asked: Asked) -> pa.Table:
        old, new = (
            self.pl.scan_parquet([path for path in self.paths() if path.name.startswith(LATER) is later])
            for later in (False, True)
        )
        kept = old.select(*KEYS, "f0").join(new.select(KEYS), on=KEYS, how="anti")
        rows = self.pl.concat([kept, new.select(*KEYS, "f0")])
        return rows.group_by("host").agg(self.pl.col("f0").mean()).collect().to_arrow()

    def hourly_by_region(self, asked: Asked) -> pa.Table:
        hours = self.pl.col("time").dt.truncate("1h")
        return self.rows.group_by(hours, "region").agg(self.pl.col("f0").mean()).collect().to_arrow()

    def last_rows(self, asked: Asked) -> pa.Table:
        newest = self.rows.select(WHOLE).unique("host", keep="last", maintain_order=True)
        return newest.collect().to_arrow()

    def newest_of_series(self, asked: Asked) -> pa.Table:
        chosen = self.rows.filter(self.pl.col("host") == asked.host).select(WHOLE)
        return chosen.top_k(10, by="time").sort("time", descending=True).collect().to_arrow()

    def count_high(self, asked: Asked) -> pa.Table:
        counted = self.rows.filter(self.pl.col("f0") > asked.high).select(count=self.pl.len())
        return counted.collect().to_arrow()

    def _hour(self, asked: Asked) -> Any:
        pl = self.pl
        start, end = (pl.lit(each).cast(pl.Datetime("ns", "UTC")) for each in (asked.start, asked.end))
        return (pl.col("time") >= start) & (pl.col("time") < end)
