"""Rows for people and for other programs: a table in a terminal, and formats that are written batch by batch."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet
from rich import box
from rich.table import Table
from rich.text import Text

from measurefs.cli.common import console, count

SHOWN = 40
"""Rows that a table shows."""

NO_ROWS = "No rows. Are --start, --end and --where as you mean them?  measurefs inspect shows what is there."

ENDINGS = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}


class Rows(Protocol):
    """Rows that are read as they are taken."""

    schema: pa.Schema

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """Return them in batches."""


def print_table(result: Rows) -> None:
    """Print the first rows as a table, and how many more there are."""
    batches = result.to_batches()
    shown: list[pa.RecordBatch] = []
    left, total = SHOWN, 0
    for batch in batches:
        total += batch.num_rows
        if left:
            shown.append(batch.slice(0, left))
            left -= shown[-1].num_rows
    out = console()
    out.print(_table(pa.Table.from_batches(shown, result.schema)))
    if total > SHOWN:
        out.print(f"… {count(total - SHOWN)} more rows; see them with --format csv, or --output FILE.parquet")
    elif total == 0:
        out.print(NO_ROWS)


def _table(rows: pa.Table) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in rows.column_names:
        number = pa.types.is_integer(rows.schema.field(name).type) or pa.types.is_floating(
            rows.schema.field(name).type
        )
        table.add_column(Text(name), justify="right" if number else "left", overflow="fold")
    columns = [_readable(column) for column in rows.columns]
    for row in zip(*columns, strict=True):
        table.add_row(*row)
    return table


def _readable(column: pa.ChunkedArray) -> list[Text]:
    """Show a column's values; null is dimmed, to tell it from the text."""
    if pa.types.is_timestamp(column.type):
        shown = [value.removesuffix("Z").replace("T", " ") for value in _iso(column).to_pylist()]
        return [Text(value) for value in shown]
    return [Text("null", "dim") if value is None else Text(_plain(value)) for value in column.to_pylist()]


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)


def _iso(column: Any) -> Any:
    """Return timestamps as ISO 8601 text, with as many digits as each needs."""
    return pc.replace_substring_regex(_iso_nanoseconds(column), r"\.?0*Z$", "Z")


def _iso_nanoseconds(column: Any) -> Any:
    """Return timestamps as ISO 8601 text; Arrow is twenty times slower with timestamps that have a zone."""
    text = column.cast(pa.timestamp("ns")).cast(pa.string())
    return pc.binary_join_element_wise(pc.replace_substring(text, " ", "T"), "Z", "")


# Files and pipes


def _write_csv(result: Rows, stream: BinaryIO) -> None:
    # Times have all nine digits in every row, so that whoever reads them finds one format throughout.
    schema = pa.schema([(field.name, _csv_type(field.type)) for field in result.schema])
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(schema.names)
    stream.write(header.getvalue().encode())
    for batch in result.to_batches():
        rows = pa.record_batch([_for_csv(column) for column in batch.columns], schema=schema)
        style = "needed" if any(map(_needs_quotes, rows.columns)) else "none"
        options = pyarrow.csv.WriteOptions(include_header=False, quoting_style=style)
        pyarrow.csv.write_csv(rows, _Sink(stream), options)


def _needs_quotes(column: pa.Array) -> bool:
    """Whether text cannot stand bare: Arrow quotes all text or none, and an empty text is not a null."""
    return pa.types.is_string(column.type) and bool(
        pc.any(pc.match_substring_regex(column, r'[",\r\n]|^\s*$')).as_py()
    )


def _csv_type(kind: pa.DataType) -> pa.DataType:
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return kind if plain else pa.string()


def _for_csv(column: pa.Array) -> pa.Array:
    """Return lists as JSON and bytes as base64, since CSV has neither."""
    if pa.types.is_timestamp(column.type):
        return _iso_nanoseconds(column)
    if pa.types.is_list(column.type):
        return pa.array(
            [None if value is None else json.dumps(value) for value in column.to_pylist()], pa.string()
        )
    return _base64(column) if pa.types.is_binary(column.type) else column


def _base64(column: pa.Array) -> pa.Array:
    values = [None if value is None else base64.b64encode(value).decode() for value in column.to_pylist()]
    return pa.array(values, pa.string())


def _json_rows(result: Rows) -> Iterator[str]:
    for batch in result.to_batches():
        columns = [_for_json(column) for column in batch.columns]
        for row in zip(*columns, strict=True):
            yield json.dumps(dict(zip(batch.schema.names, row, strict=True)), ensure_ascii=False)


def _for_json(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column = _iso(column)
    elif pa.types.is_binary(column.type):
        column = _base64(column)
    elif pa.types.is_floating(column.type):  # JSON has no NaN and no infinity
        column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
    values: list[Any] = column.to_pylist()
    return values


def _write_jsonl(result: Rows, stream: BinaryIO) -> None:
    for row in _json_rows(result):
        stream.write(f"{row}\n".encode())


def _write_json(result: Rows, stream: BinaryIO) -> None:
    separators = itertools.chain(["[\n"], itertools.repeat(",\n"))
    empty = True
    for separator, row in zip(separators, _json_rows(result), strict=False):
        stream.write(f"{separator}{row}".encode())
        empty = False
    stream.write(b"[]\n" if empty else b"\n]\n")


def _write_parquet(result: Rows, stream: BinaryIO) -> None:
    with pyarrow.parquet.ParquetWriter(_Sink(stream), result.schema, compression="zstd") as writer:
        for batch in result.to_batches():
            writer.write_batch(batch)


def _write_arrow(result: Rows, stream: BinaryIO) -> None:
    """Write the stream format to a pipe, whose reader may begin at once, and the file format to a file."""
    new = pyarrow.ipc.new_file if stream.seekable() else pyarrow.ipc.new_stream
    with new(_Sink(stream), result.schema) as writer:
        for batch in result.to_batches():
            writer.write_batch(batch)


class _Sink:
    """A stream that knows its position, as Arrow's writers must; a pipe does not."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._written = 0

    def write(self, data: Any) -> int:
        """Write bytes."""
        self._stream.write(data)
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._written

    def flush(self) -> None:
        """Hand on what is buffered."""
        self._stream.flush()

    def close(self) -> None:
        """Flush; whoever opened the stream closes it."""
        self.flush()
        self.closed = True

    def readable(self) -> bool:
        """Return false."""
        return False

    def writable(self) -> bool:
        """Return true."""
        return True

    def seekable(self) -> bool:
        """Return false."""
        return False


def _write_table(result: Rows, _: BinaryIO) -> None:
    print_table(result)


WRITERS: dict[str, Callable[[Rows, BinaryIO], None]] = {
    "table": _write_table,
    "csv": _write_csv,
    "json": _write_json,
    "jsonl": _write_jsonl,
    "parquet": _write_parquet,
    "arrow": _write_arrow,
}
"""How each format is written; a format reads the result's batches one by one."""
