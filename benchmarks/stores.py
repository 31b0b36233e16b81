"""The engines of `object_store.py`: how each stores rows in a bucket, and how a user of it would ask.

All are given the endpoint of an S3 server and a bucket. An engine is opened to write or to read by making a new object
of its class; what it imports is imported before.
"""

# ruff: noqa: D102 - `Engine` says what each method does

from __future__ import annotations

import abc
import contextlib
import dataclasses
import datetime
import os
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.data import FIELDS

KEY = SECRET = "testing"
REGION = "us-east-1"
WHOLE = ["time", "host", *FIELDS]
NANOSECONDS = pa.timestamp("ns", tz="UTC")


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Where a store is: a bucket and its server."""

    name: str
    port: int

    @property
    def endpoint(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def rust_options(self) -> dict[str, str]:
        """What Rust's object_store takes, which Delta Lake and Lance use."""
        return {
            "aws_access_key_id": KEY,
            "aws_secret_access_key": SECRET,
            "aws_region": REGION,
            "aws_endpoint": self.endpoint,
            "allow_http": "true",
            "aws_virtual_hosted_style_request": "false",
        }


@dataclasses.dataclass(frozen=True)
class Question:
    """All fields of one host from start to before end, nanoseconds."""

    host: str
    start: int
    end: int


class Engine(abc.ABC):
    """A store that is open."""

    name: ClassVar[str]
    package: ClassVar[str]

    @staticmethod
    @abc.abstractmethod
    def imports() -> None:
        """Import what is needed."""

    @staticmethod
    def form(batch: pa.Table) -> Any:
        """Bring a batch into the form that the engine takes; not timed."""
        return batch

    @abc.abstractmethod
    def __init__(self, bucket: Bucket, *, write: bool) -> None:
        """Open the store; make it if it is to be written and not there."""

    @abc.abstractmethod
    def append(self, batch: Any) -> None:
        """Store rows, durably on return."""

    @abc.abstractmethod
    def ask(self, question: Question) -> Any:
        """Return rows as Arrow or pandas, in order of time."""

    @abc.abstractmethod
    def compact(self) -> None:
        """Do what the engine offers to make many small writes into few large ones, and remove what is left."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close it."""


class Measurefs(Engine):
    """measurefs, with all its defaults; for compaction nothing is kept for readers that are behind."""

    name = package = "measurefs"

    @staticmethod
    def imports() -> None:
        import measurefs
        import measurefs.backends.s3

        _ = measurefs.open

    def __init__(self, bucket: Bucket, *, write: bool, grace: float | None = None) -> None:
        import measurefs

        self.bucket = bucket
        url = f"s3://{bucket.name}/store"
        options = {
            "key": KEY,
            "secret": SECRET,
            "endpoint_url": bucket.endpoint,
            "client_kwargs": {"region_name": REGION},
        }
        table = measurefs.TableOptions(gc_grace=grace, keep_snapshots=2 if grace is None else 1)
        self.db = measurefs.open(url, read_only=not write, storage_options=options, options=table)
        fields = dict.fromkeys(FIELDS, "float64")
        self.cpu: Any = None
        if write:
            self.cpu = self.db.create_measure("cpu", entity=["host"], fields=fields, exist_ok=True)

    def append(self, batch: Any) -> None:
        self.cpu.write(batch, durable=True)

    def ask(self, question: Question) -> pa.Table:
        self.cpu = self.cpu or self.db.measure("cpu")
        where = {"host": question.host}
        return self.cpu.query(question.start, question.end, where, WHOLE, order="series").to_arrow()

    def compact(self) -> None:
        self.close()
        patient = Measurefs(self.bucket, write=True, grace=0.0)
        patient.cpu.compact()
        patient.cpu.gc()
        patient.close()

    def close(self) -> None:
        self.db.close()


class DeltaLake(Engine):
    """Delta Lake by deltalake (Rust), asked through its pyarrow dataset."""

    name = "Delta Lake"
    package = "deltalake"

    @staticmethod
    def imports() -> None:
        import deltalake
        import pyarrow.dataset  # noqa: F401

        _ = deltalake.DeltaTable

    @staticmethod
    def form(batch: pa.Table) -> pa.Table:
        return _with_time(batch, pa.timestamp("us", tz="UTC"))

    def __init__(self, bucket: Bucket, *, write: bool) -> None:
        import deltalake

        self.url, self.options = f"s3://{bucket.name}/cpu", bucket.rust_options
        try:
            self.table = deltalake.DeltaTable(self.url, storage_options=self.options)
        except deltalake.exceptions.TableNotFoundError:
            if not write:
                raise
            schema = pa.schema(
                [
                    ("time", pa.timestamp("us", tz="UTC")),
                    ("host", pa.string()),
                    *((name, pa.float64()) for name in FIELDS),
                ]
            )
            self.table = deltalake.DeltaTable.create(self.url, schema, storage_options=self.options)

    def append(self, batch: Any) -> None:
        import deltalake

        deltalake.write_deltalake(self.table, batch, mode="append")

    def ask(self, question: Question) -> pa.Table:
        start, end = (
            pa.scalar(each, NANOSECONDS).cast(pa.timestamp("us", "UTC"))
            for each in (question.start, question.end)
        )
        wanted = (pc.field("host") == question.host) & (pc.field("time") >= start) & (pc.field("time") < end)
        return self.table.to_pyarrow_dataset().to_table(WHOLE, filter=wanted)

    def compact(self) -> None:
        self.table.optimize.compact()
        self.table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
        self.table.create_checkpoint()
        self.table.cleanup_metadata()

    def close(self) -> None:
        del self.table


class Lance(Engine):
    """Lance by pylance (Rust)."""

    name = "Lance"
    package = "pylance"

    @staticmethod
    def imports() -> None:
        import lance

        _ = lance.dataset

    def __init__(self, bucket: Bucket, *, write: bool) -> None:
        import lance

        self.url, self.options = f"s3://{bucket.name}/cpu.lance", bucket.rust_options
        self.table: Any = None  # a table is made with its first rows
        with contextlib.suppress(ValueError if write else ()):  # what it raises if there is none
            self.table = lance.dataset(self.url, storage_options=self.options)

    def append(self, batch: Any) -> None:
        import lance

        there = self.url if self.table is None else self.table
        mode = "create" if self.table is None else "append"
        self.table = lance.write_dataset(batch, there, mode=mode, storage_options=self.options)

    def ask(self, question: Question) -> pa.Table:
        start, end = (f"timestamp '{_iso(each)}'" for each in (question.start, question.end))
        wanted = f"host = '{question.host}' and time >= {start} and time < {end}"
        return self.table.to_table(WHOLE, filter=wanted)

    def compact(self) -> None:
        self.table.optimize.compact_files()
        self.table.cleanup_old_versions(older_than=datetime.timedelta(0), delete_unverified=True)

    def close(self) -> None:
        self.table = None


class ArcticDB(Engine):
    """ArcticDB (C++), all hosts in one symbol by time."""

    name = "ArcticDB"
    package = "arcticdb"

    @staticmethod
    def imports() -> None:
        import arcticdb
        import pandas  # noqa: F401

        _ = arcticdb.Arctic

    @staticmethod
    def form(batch: pa.Table) -> Any:
        return _with_time(batch, pa.timestamp("ns")).to_pandas().set_index("time")

    def __init__(self, bucket: Bucket, *, write: bool) -> None:
        import arcticdb

        url = f"s3://127.0.0.1:{bucket.name}?port={bucket.port}&access={KEY}&secret={SECRET}&region={REGION}"
        store = arcticdb.Arctic(url)
        self.library = store.get_library("fleet", create_if_missing=write)

    def append(self, batch: Any) -> None:
        self.library.append("cpu", batch, validate_index=False)

    def ask(self, question: Question) -> Any:
        import arcticdb
        import pandas

        query = arcticdb.QueryBuilder()
        hour = (
            pandas.Timestamp(question.start),
            pandas.Timestamp(question.end - 1),
        )  # its ranges include their ends
        return self.library.read(
            "cpu", date_range=hour, query_builder=query[query["host"] == question.host]
        ).data

    def compact(self) -> None:
        self.library.compact_data("cpu", prune_previous_versions=True)

    def close(self) -> None:
        del self.library


def _with_time(batch: pa.Table, kind: pa.DataType) -> pa.Table:
    return batch.set_column(0, "time", batch["time"].cast(kind))


def _iso(moment: int) -> str:
    return datetime.datetime.fromtimestamp(moment / 1e9, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def quiet() -> None:
    """Keep clients from asking cloud services for credentials, or talking about themselves."""
    os.environ |= {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }


ENGINES: tuple[type[Engine], ...] = (Measurefs, DeltaLake, Lance, ArcticDB)
