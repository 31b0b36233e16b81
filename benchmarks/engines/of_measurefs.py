"""measurefs: with all its defaults, and on one thread."""

# ruff: noqa: D102 - `Engine` says what each method does

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa

from benchmarks.data import FIELDS
from benchmarks.engines.engine import Engine
from benchmarks.fleet import KEYS, TAG_TYPES, WHOLE, Asked
from benchmarks.places import KEY, REGION, SECRET, Bucket, Place


class Measurefs(Engine):
    """measurefs with all its defaults; for compaction nothing is kept for readers that are behind."""

    name = package = module = layout = "measurefs"
    remote = True
    threads: ClassVar[int | None] = None

    @staticmethod
    def imports() -> None:
        import measurefs
        import measurefs.backends.local

        _ = measurefs.open, measurefs.backends.local  # it imports what it needs when asked for it

    def __init__(self, place: Place, *, write: bool = False, merging: bool = True) -> None:
        self.place = place
        self._open(write=write, merging=merging)

    def _open(self, *, write: bool, merging: bool = True, patient: bool = True) -> None:
        import measurefs

        kept = {} if patient else {"gc_grace": 0.0, "keep_snapshots": 1}
        merge = measurefs.MergeOptions(enabled=merging)
        options = measurefs.TableOptions(threads=self.threads, merge=merge, **kept)
        self.db = measurefs.open(
            self.place.url("store"),
            read_only=not write,
            options=options,
            storage_options=_storage_options(self.place),
        )
        fields = dict.fromkeys(FIELDS, "float64")
        self.cpu: Any = (
            self.db.create_measure("cpu", entity=["host"], tags=TAG_TYPES, fields=fields, exist_ok=True)
            if write
            else self.db.measure("cpu")
        )

    def add(self, batch: Any) -> None:
        self.cpu.write(batch)

    def append(self, batch: Any) -> None:
        self.cpu.write(batch, durable=True)

    def flush(self) -> None:
        self.cpu.flush()

    def compact(self) -> None:
        self.close()
        self._open(write=True, patient=False)
        self.cpu.compact()
        self.cpu.gc()

    def rewrite(self, batch: Any) -> None:
        self.append(batch)

    def close(self) -> None:
        self.db.close()

    def series_hour(self, asked: Asked) -> pa.Table:
        return self.cpu.query(asked.start, asked.end, {"host": asked.host}, WHOLE, order="series").to_arrow()

    def eight_series_hour(self, asked: Asked) -> pa.Table:
        hosts = list(asked.hosts)
        return self.cpu.query(asked.start, asked.end, {"host": hosts}, WHOLE, order="series").to_arrow()

    def all_hour(self, asked: Asked) -> pa.Table:
        return self.cpu.query(asked.start, asked.end, columns=WHOLE, order="series").to_arrow()

    def all_hour_by_time(self, asked: Asked) -> pa.Table:
        return self.cpu.query(asked.start, asked.end, columns=WHOLE).to_arrow()

    def scan_value(self, asked: Asked) -> pa.Table:
        return self.cpu.query(columns=["f0"], order="series").to_arrow()

    def scan_rows(self, asked: Asked) -> pa.Table:
        return self.cpu.query(columns=[*KEYS, "f0"], order="series").to_arrow()

    def mean_by_series(self, asked: Asked) -> pa.Table:
        return self.cpu.aggregate(by=["host"], values={"f0": "mean"}).to_arrow()

    def hourly_by_region(self, asked: Asked) -> pa.Table:
        return self.cpu.aggregate(every="1h", by=["region"], values={"f0": "mean"}).to_arrow()

    def last_rows(self, asked: Asked) -> pa.Table:
        return self.cpu.last(columns=WHOLE).to_arrow()

    def newest_of_series(self, asked: Asked) -> pa.Table:
        return self.cpu.query(where={"host": asked.host}, columns=WHOLE, order="-time", limit=10).to_arrow()

    def count_high(self, asked: Asked) -> pa.Table:
        return self.cpu.aggregate(where={"f0": {">": asked.high}}).to_arrow()


class MeasurefsOnOneThread(Measurefs):
    """measurefs that encodes and decodes on one thread."""

    name = "measurefs, 1 thread"
    threads = 1


def _storage_options(place: Place) -> dict[str, Any] | None:
    if not isinstance(place, Bucket):
        return None
    return {
        "key": KEY,
        "secret": SECRET,
        "endpoint_url": place.endpoint,
        "client_kwargs": {"region_name": REGION},
    }
