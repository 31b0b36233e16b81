"""Delta Lake by deltalake (Rust), asked through its Arrow dataset."""

# ruff: noqa: D102 - `Engine` says what each method does

from __future__ import annotations

from typing import Any

import pyarrow as pa

from benchmarks.engines.arrow_rows import ArrowRows
from benchmarks.fleet import SCHEMA
from benchmarks.places import NewFiles, Place

MICROSECONDS = pa.timestamp("us", tz="UTC")
"""It has nothing finer."""
RETRIES = 1_000
"""How often a commit is tried again while others commit: with its own few, appends of several threads fail."""


class DeltaLake(ArrowRows):
    """Delta Lake; on the local disk, where it does not sync what it writes, its files are synced for it."""

    name = layout = "Delta Lake"
    package = module = "deltalake"
    remote = True

    @staticmethod
    def imports() -> None:
        import deltalake
        import pyarrow.dataset  # noqa: F401

        _ = deltalake.DeltaTable

    @staticmethod
    def form(batch: pa.Table) -> pa.Table:
        return batch.set_column(0, "time", batch["time"].cast(MICROSECONDS))

    def __init__(self, place: Place, *, write: bool = False, merging: bool = True) -> None:
        import deltalake

        self.url, self.options = place.url("cpu"), place.rust_options
        try:
            self.table = deltalake.DeltaTable(self.url, storage_options=self.options)
        except deltalake.exceptions.TableNotFoundError:
            if not write:
                raise
            schema = SCHEMA.set(0, pa.field("time", MICROSECONDS))
            self.table = deltalake.DeltaTable.create(self.url, schema, storage_options=self.options)
        self.new = NewFiles(place)
        self._data: Any = None
        self._coded: Any = None

    @property
    def data(self) -> Any:  # type: ignore[override]
        """The rows, as they were when they were first asked for."""
        if self._data is None:
            self._data = self.table.to_pyarrow_dataset()
        return self._data

    @property
    def coded(self) -> Any:  # type: ignore[override]
        """The same with dictionaries."""
        import pyarrow.dataset as ds

        if self._coded is None:
            options = ds.ParquetReadOptions(dictionary_columns={"host", "region"})
            self._coded = self.table.to_pyarrow_dataset(parquet_read_options=options)
        return self._coded

    def add(self, batch: Any) -> None:
        import deltalake

        patient = deltalake.CommitProperties(max_commit_retries=RETRIES)
        deltalake.write_deltalake(self.table, batch, mode="append", commit_properties=patient)

    def flush(self) -> None:
        self.new.sync()

    def compact(self) -> None:
        self.table.optimize.compact()
        self._clean()

    def arrange(self) -> None:
        import deltalake

        rows = self.table.to_pyarrow_dataset().to_table()
        rows = rows.sort_by([("host", "ascending"), ("time", "ascending")])
        properties = deltalake.WriterProperties(compression="ZSTD", max_row_group_size=100_000)
        deltalake.write_deltalake(self.table, rows, mode="overwrite", writer_properties=properties)
        self._clean()

    def _clean(self) -> None:
        self.table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
        self.table.create_checkpoint()
        self.table.cleanup_metadata()
        self.new.sync()

    def rewrite(self, batch: Any) -> None:
        import deltalake
        import pyarrow.compute as pc

        ends = pc.min_max(batch["time"]).as_py()
        kind = 'Timestamp(Microsecond, Some("UTC"))'
        since, until = (f"arrow_cast('{ends[end]:%Y-%m-%dT%H:%M:%SZ}', '{kind}')" for end in ("min", "max"))
        within = f"time >= {since} and time <= {until}"
        deltalake.write_deltalake(self.table, batch, mode="overwrite", predicate=within)
        self.new.sync()

    def close(self) -> None:
        del self.table
