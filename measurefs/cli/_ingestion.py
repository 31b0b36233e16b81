"""Reading files into a measure for ``measurefs ingest``: first everything is checked, then it is written.

Bad input must not leave a trace, and a batch that `Measure.write` has taken cannot be taken back. So the files are
read twice: once to check every row, to the last check that the store makes, and once to write. What the first
pass read is kept as long as it is small, so that small files are read only once.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

import measurefs
from measurefs.cli._files import Block, Source, blocks, find_sources, parquet_types
from measurefs.cli._overview import live_bytes
from measurefs.cli._shape import Shape
from measurefs.cli._wishes import Wishes, parse_columns
from measurefs.cli.common import BadInput, console, count, plural, print_json, reaching, size
from measurefs.database import MeasureSchema
from measurefs.database.batch import check_batch
from measurefs.part.labels import LabelEncoder
from measurefs.query import TIME

_KEPT_BYTES = 64 << 20


def run(url: str, measure: str, files: Sequence[str], **options: Any) -> None:
    """Run the command; the parameters are its options."""
    storage_options, batch_rows = options["storage_options"], options["batch_rows"]
    wishes = _wishes(options)
    start = time.perf_counter()
    visible = not (options["quiet"] or options["as_json"])
    with contextlib.ExitStack() as keep:
        sources = find_sources(files, options["form"], keep)
        shape = Shape(measure, wishes, _existing(url, measure, storage_options))
        with _Bars(sources, visible=visible) as bars:
            kept = _check(sources, shape, bars.reader("Checking"))
            schema = shape.schema(final=True)
            again = kept if kept is not None else _read_again(sources, bars.reader("Writing"))
            report = _write(
                url, schema, storage_options, _batches(again, shape, batch_rows), options["durable"]
            )
    report |= {"files": len(sources), "seconds": round(time.perf_counter() - start, 3)}
    report["rows_per_second"] = round(report["rows"] / max(report["seconds"], 0.001))
    if options["as_json"]:
        print_json(report)
    elif not options["quiet"]:
        _print(report)


def _wishes(options: Mapping[str, Any]) -> Wishes:
    constants: dict[str, str] = {}
    for text in options["constants"]:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise BadInput(f"--with {text!r} is not of the form NAME=TEXT, such as --with source={{stem}}")
        constants[name] = value
    return Wishes(
        time_column=options["time_column"],
        time_unit=options["time_unit"],
        entity=parse_columns(options["entity"]),
        tags=parse_columns(options["tags"]),
        fields=parse_columns(options["fields"]),
        constants=constants,
        skip=options["skip"],
        interval=options["interval"],
        ttl=options["ttl"],
        shards=options["shards"],
    )


def _existing(url: str, measure: str, storage_options: Mapping[str, Any]) -> MeasureSchema | None:
    try:
        with reaching(url):
            db = measurefs.open(url, read_only=True, storage_options=storage_options)
    except measurefs.NotExistError:
        return None
    with db:
        return db.measure(measure).schema if measure in db.measures() else None


def _check(sources: Sequence[Source], shape: Shape, bar: _Bar) -> list[Block] | None:
    """Check every row; return all of them if they are few."""
    kept: list[Block] | None = []
    room = _KEPT_BYTES
    for source, types in parquet_types(sources):
        shape.survey(source, types)
    for source in sources:
        for number, block in enumerate(blocks(source, bar.read)):
            if number == 0:
                shape.check_header(source, block.rows.column_names)
            if block.rows.num_rows:
                _check_block(block, shape)
            room -= block.rows.nbytes
            if kept is not None:
                kept.append(block)
            if room < 0:
                kept = None
        bar.done(source)
    return kept


def _check_block(block: Block, shape: Shape) -> None:
    rows = shape.convert(block)
    try:
        check_batch(rows, shape.schema(final=False), TIME, LabelEncoder())
    except measurefs.SchemaError as error:
        raise BadInput(f"{block.where(0)} and the rows that follow: {error}") from error


def _read_again(sources: Sequence[Source], bar: _Bar) -> Iterator[Block]:
    for source in sources:
        source.check_unchanged()
        yield from blocks(source, bar.read)
        bar.done(source)


def _batches(found: Iterable[Block], shape: Shape, batch_rows: int) -> Iterator[pa.Table]:
    """Join blocks, which are small where files are, and cut them into batches."""
    waiting: list[pa.Table] = []
    rows = 0
    for block in found:
        waiting.append(shape.convert(block))
        rows += waiting[-1].num_rows
        if rows >= batch_rows:
            joined = pa.concat_tables(waiting, promote_options="default")
            whole = joined.num_rows // batch_rows * batch_rows
            for first in range(0, whole, batch_rows):
                yield joined.slice(first, batch_rows)
            waiting, rows = [joined.slice(whole)], joined.num_rows - whole
    rest = pa.concat_tables(waiting, promote_options="default")
    if rest.num_rows:
        yield rest


def _write(
    url: str,
    schema: MeasureSchema,
    storage_options: Mapping[str, Any],
    batches: Iterable[pa.Table],
    durable: bool,
) -> dict[str, Any]:
    rows = 0
    try:
        with reaching(url):
            opened = measurefs.open(url, storage_options=storage_options)
    except measurefs.NotExistError as error:
        raise BadInput(f"cannot make a store at {url!r}: {error.reason}; check the URL") from error
    with opened as db:
        measure = db.create_measure(
            schema.name,
            entity={name: str(kind) for name, kind in schema.entity.items()},
            tags={
                family: {name: str(kind) for name, kind in tags.items()}
                for family, tags in schema.tags.items()
            },
            fields={name: str(kind) for name, kind in schema.fields.items()},
            interval=schema.interval,
            ttl=schema.ttl,
            shards=schema.shards,
            exist_ok=True,
        )
        for batch in batches:
            rows += measure.write(batch, durable=durable)
        measure.flush()
        total, stored = live_bytes(measure)
    # Closing has made everything durable and let go of the locks: only now is the work done.
    return {"measure": schema.name, "rows": rows, "measure_rows": total, "measure_bytes": stored}


def _print(report: Mapping[str, Any]) -> None:
    out = console()
    out.print(
        f"{count(report['rows'])} rows from {plural(report['files'], 'file')} "
        f"in {report['seconds']:.1f} s ({count(report['rows_per_second'])} rows/s)",
        soft_wrap=True,
    )
    rows, stored = report["measure_rows"], report["measure_bytes"]
    each = f", {stored / rows:.1f} bytes/row" if rows else ""
    out.print(
        f"{report['measure']} now holds {count(rows)} rows in {size(stored)} on disk{each}", soft_wrap=True
    )


# Progress


class _Bar:
    """Shows how much of the files has been read."""

    def __init__(self, progress: Progress, text: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(text, total=total)
        self._before = 0

    def read(self, position: int) -> None:
        """Take note of the position in the current file."""
        self._progress.update(self._task, completed=self._before + position)

    def done(self, source: Source) -> None:
        """Take note that a file is done."""
        self._before += source.size
        self.read(0)


class _Bars:
    """Progress bars on stderr, if that is a terminal."""

    def __init__(self, sources: Sequence[Source], *, visible: bool) -> None:
        out = console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._progress = Progress(
            *columns, console=out, transient=True, disable=not (visible and out.is_terminal)
        )
        self._total = sum(source.size for source in sources)

    def reader(self, text: str) -> _Bar:
        """Begin one pass over the files."""
        return _Bar(self._progress, text, self._total)

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
