"""The measure of a history: how it is opened by its writer and by readers, and what of it is read."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

import measurefs
from measurefs import Database, FileSystem, Measure, PartOptions, TableOptions
from measurefs.codec.types import ColumnType
from measurefs.database.batch import check_batch, split
from measurefs.database.database import _open_databases
from measurefs.database.inputs import to_table
from measurefs.database.schema_chain import revision_of
from measurefs.database.segments import is_segment_name
from measurefs.fs import NotExistError, join
from measurefs.table import Runtime
from measurefs.table.epochs import snapshot_epoch
from measurefs.table.policy import MergeOptions
from measurefs.table.recovery import read_snapshot
from measurefs.table.tags import tags_in
from tests.machine.model import HOUR, Contents, Key, Row, Shape
from tests.table.tables import Clock

NAME = "m"
PERIOD = 3600.0


@dataclasses.dataclass
class Times:
    """The clocks of all processes of a history."""

    now: int = 12 * HOUR + HOUR // 2
    monotonic: Clock = dataclasses.field(default_factory=Clock)

    def runtime(self) -> Runtime:
        return Runtime(monotonic=self.monotonic, now=lambda: self.now, random=random.Random(1), run=map)


@dataclasses.dataclass(frozen=True)
class Options:
    """How a history's tables behave."""

    compact: bool
    keep: int
    block_rows: int
    least_inputs: int
    log_bytes: int

    def of_tables(self) -> TableOptions:
        return TableOptions(
            log_bytes=self.log_bytes,
            gc_grace=0.0,
            keep_snapshots=self.keep,
            gc_interval=PERIOD,
            part=PartOptions(block_rows=self.block_rows, compact_bytes=8 << 20 if self.compact else 0),
            merge=MergeOptions(least_inputs=self.least_inputs, ratio=1.1, memory=1),
        )


def open_writer(fs: FileSystem, options: Options, times: Times) -> Database:
    database = measurefs.open(fs, options=options.of_tables(), runtime=times.runtime(), background=False)
    # A process that dies in a test is not there to close its database when the interpreter exits.
    _open_databases.discard(database)
    return database


@contextlib.contextmanager
def reader(fs: FileSystem, options: Options, times: Times) -> Iterator[Measure | None]:
    """Another process's view; None if there is no such measure."""
    with measurefs.open(
        fs, read_only=True, options=options.of_tables(), runtime=times.runtime(), background=False
    ) as database:
        yield database.measure(NAME) if NAME in database.measures() else None


def shape_of(measure: Measure) -> Shape:
    schema = measure.schema
    columns = {name: str(kind) for name, kind in schema.columns.items()}
    return Shape(columns, schema.interval, schema.ttl)


def rows_of(measure: Measure, **query: Any) -> tuple[list[Key], Contents]:
    """What a query finds: the keys in its order, and the rows."""
    table = measure.query(**query).to_arrow()
    wanted = {"time": pa.timestamp("ns", "UTC"), "id": pa.int64()} | {
        name: ColumnType(kind).arrow for name, kind in shape_of(measure).columns.items()
    }
    assert dict(zip(table.column_names, table.schema.types, strict=True)) == wanted
    keys = list(zip(table["id"].to_pylist(), table["time"].cast(pa.int64()).to_pylist(), strict=True))
    rows = table.drop_columns(["id", "time"]).to_pylist()
    found = dict(zip(keys, rows, strict=True))
    assert len(found) == len(keys), "a key was found twice"
    return keys, found


def data_of(rows: Sequence[tuple[Key, int | None, Row]], columns: Mapping[str, str]) -> dict[str, Any]:
    """Rows as a user gives them."""
    data: dict[str, Any] = {
        "time": [time for (_, time), _, _ in rows],
        "id": [series for (series, _), _, _ in rows],
    }
    for name, kind in columns.items():
        data[name] = pa.array([row.get(name) for _, _, row in rows], ColumnType(kind).arrow)
    versions = [version for _, version, _ in rows]
    return data if versions[0] is None else data | {"version": versions}


def homes_of(
    measure: Measure, rows: Sequence[tuple[Key, int | None, Row]]
) -> dict[str, list[tuple[Key, int | None, Row]]]:
    """Divide rows among tables, as the measure will."""
    if not rows:
        return {}
    numbered = {"time": [time for (_, time), _, _ in rows], "id": [series for (series, _), _, _ in rows]}
    checked = check_batch(
        to_table(numbered | {"batch": list(range(len(rows)))}, "time"),
        measure.schema,
        "time",
        measure._encoder,
    ).rows
    tables = measure._tables
    return {
        tables.path(place): [rows[number] for number in piece.columns["batch"].to_pylist()]
        for place, piece in split(checked, tables.division(), measure.schema.shards)
    }


def leftovers(fs: FileSystem, measure: Measure, keep: int) -> list[str]:
    """What is in a measure's directory after a collection though nothing needs it.

    A table that was dropped, and that a tag keeps, keeps all it has.
    """
    root, tags = measure._root, set(measure.tags())
    entries = fs.read_dir(root)
    revisions = [entry.name for entry in entries if revision_of(entry.name) is not None]
    unwanted: list[str] = []
    segments = [entry.name for entry in entries if entry.is_dir and is_segment_name(entry.name)]
    dropped = {
        measure._tables.segment_path(each)
        for each in measure._tables.segments()
        if measure._tables.is_dropped(each)
    }
    for segment in segments:
        for shard in fs.read_dir(join(root, segment)):
            names = (entry.name for entry in fs.read_dir(join(root, segment, shard.name)))
            if join(root, segment) in dropped and tags & {tag.tag for tag in tags_in(names)}:
                continue
            unwanted += _of_table(fs, join(root, segment, shard.name), keep, tags)
    names = {"tags", *segments, *revisions}
    return [*unwanted, *(join(root, entry.name) for entry in entries if entry.name not in names)]


def _of_table(fs: FileSystem, root: str, keep: int, known: set[str]) -> list[str]:
    names = {entry.name for entry in fs.read_dir(root) if not entry.name.startswith("LOCK")}
    tags = tags_in(names)
    kept = {tag.epoch for tag in tags if tag.tag in known}
    epochs = sorted(epoch for name in names if (epoch := snapshot_epoch(name)) is not None)
    wanted = {tag.file for tag in tags if tag.tag in known}
    for epoch in {*epochs[-keep:], *kept}:
        with contextlib.suppress(NotExistError):
            wanted |= {part.name for part in read_snapshot(fs, root, epoch).parts}
            wanted.add(f"{epoch:016x}.snp")
    return [join(root, name) for name in names - wanted]
