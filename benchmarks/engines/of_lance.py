"""Lance by pylance (Rust)."""

# ruff: noqa: D102 - `Engine` says what each method does

from __future__ import annotations

import contextlib
import datetime
from typing import Any

import pyarrow as pa

from benchmarks.engines.arrow_rows import ArrowRows
from benchmarks.fleet import KEYS, WHOLE, Asked
from benchmarks.places import NewFiles, Place


class Lance(ArrowRows):
    """Lance; on the local disk, where it does not sync what it writes, its files are synced for it."""

    name = layout = "Lance"
    package = "pylance"
    module = "lance"
    remote = True

    @staticmethod
    def imports() -> None:
        import lance

        _ = lance.dataset

    def __init__(self, place: Place, *, write: bool = False, merging: bool = True) -> None:
        import lance

        self.url, self.options = place.url("cpu.lance"), place.rust_options
        self.data = None  # a table is made with its first rows
        with contextlib.suppress(ValueError if write else ()):  # what it raises if there is none
            self.data = lance.dataset(self.url, storage_options=self.options)
        self.new = NewFiles(place)

    @property
    def coded(self) -> Any:  # type: ignore[override]
        """Strings are read as they are."""
        return self.data

    def add(self, batch: Any) -> None:
        import lance

        there = self.url if self.data is None else self.data
        mode = "create" if self.data is None else "append"
        self.data = lance.write_dataset(batch, there, mode=mode, storage_options=self.options)

    def flush(self) -> None:
        self.new.sync()

    def compact(self) -> None:
        self.data.optimize.compact_files()
        self._clean()

    def arrange(self) -> None:
        import lance

        rows = self.data.to_table().sort_by([("host", "ascending"), ("time", "ascending")])
        self.data = lance.write_dataset(rows, self.url, mode="overwrite", storage_options=self.options)
        self.data.create_scalar_index("host", "BTREE")
        self._clean()

    def _clean(self) -> None:
        self.data.cleanup_old_versions(older_than=datetime.timedelta(0), delete_unverified=True)
        self.new.sync()

    def rewrite(self, batch: Any) -> None:
        self.data.merge_insert(list(KEYS)).when_matched_update_all().when_not_matched_insert_all().execute(
            batch
        )
        self.new.sync()

    def close(self) -> None:
        self.data = None

    def series_hour(self, asked: Asked) -> pa.Table:
        return self.data.to_table(WHOLE, filter=f"host = '{asked.host}' and {_hour(asked)}")

    def eight_series_hour(self, asked: Asked) -> pa.Table:
        return self.data.to_table(WHOLE, filter=f"host in {asked.hosts} and {_hour(asked)}")

    def all_hour(self, asked: Asked) -> pa.Table:
        return self.data.to_table(WHOLE, filter=_hour(asked))

    def newest_of_series(self, asked: Asked) -> pa.Table:
        rows = self.data.to_table(WHOLE, filter=f"host = '{asked.host}'")
        return rows.sort_by([("time", "descending")]).slice(0, 10)

    def count_high(self, asked: Asked) -> pa.Table:
        return pa.table({"count": [self.data.count_rows(filter=f"f0 > {asked.high!r}")]})


def _hour(asked: Asked) -> str:
    return f"time >= {_moment(asked.start)} and time < {_moment(asked.end)}"


def _moment(nanoseconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(nanoseconds / 1e9, datetime.UTC)
    return f"timestamp '{moment:%Y-%m-%d %H:%M:%S}'"
