"""Running a query for ``measurefs query``: what was typed becomes a query, and its batches go where they should."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import click
import numpy as np
import pyarrow as pa

from measurefs.cli._writers import ENDINGS, WRITERS, print_table
from measurefs.cli.common import BadInput, Failed, open_store, user_file
from measurefs.database import Measure, MeasureSchema
from measurefs.query import TIME, check_names, to_nanoseconds

_SPAN = re.compile(r"(?:now\s*)?([+-])\s*(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def run(
    url: str,
    measure: str,
    where: Sequence[str],
    start: str | None,
    end: str | None,
    columns: str | None,
    order: Any,
    limit: int | None,
    as_of: str | None,
    form: str | None,
    as_json: bool,
    output: str | None,
    storage_options: Mapping[str, Any],
) -> None:
    """Run the command; the parameters are its options."""
    form = _format("json" if as_json else form, output)
    now = time.time_ns()
    first, last = parse_time(start, "--start", now), parse_time(end, "--end", now)
    with open_store(url, storage_options) as db:
        found = db.measure(measure)
        result = found.query(
            first,
            last,
            parse_where(where, found.schema),
            None if columns is None else [name.strip() for name in columns.split(",")],
            order,
            limit,
            None if as_of is None else parse_as_of(as_of, found, now),
        )
        with result:
            if form == "table" and output is None:
                print_table(result)
                return
            with _destination(output) as stream:
                write = WRITERS[form]
                write(result, stream)


def _format(form: str | None, output: str | None) -> str:
    if form is None and output is not None:
        form = ENDINGS.get(Path(output).suffix.lower())
        if form is None:
            raise BadInput(
                f"cannot tell the format from the name {output!r}; say it with --format, "
                f"or let the name end in one of {', '.join(ENDINGS)}"
            )
    if form is None:
        form = "table" if sys.stdout.isatty() else "csv"
    if form == "table" and output is not None:
        raise BadInput(
            "--format table is for people to look at; use csv, json, jsonl, parquet or arrow in a file"
        )
    if form in {"parquet", "arrow"} and output is None and sys.stdout.isatty():
        raise BadInput(f"{form} is binary and would garble the terminal; add --output FILE, or pipe it")
    return form


def parse_time(text: str | None, option: str, now: int) -> int | None:
    """Read a time as typed.

    Parameters
    ----------
    text : str or None
        ISO 8601, ``now``, ``-1h``, or nanoseconds since 1970-01-01 UTC.
    option : str
        Where it was typed, for the message.
    now : int
        Nanoseconds since 1970-01-01 UTC.
    """
    if text is None:
        return None
    text = text.strip()
    if text == "now":
        return now
    span = _SPAN.fullmatch(text)
    if span is not None:
        sign, amount, unit = span.groups()
        return now + int(float(f"{sign}{amount}") * _SECONDS[unit] * 1_000_000_000)
    try:
        return to_nanoseconds(int(text) if re.fullmatch(r"-?\d{9,}", text) else text, option)
    except ValueError as error:
        raise BadInput(
            f"cannot use {text!r} as {option}; give a time such as 2026-01-31T12:00:00Z or 2026-01-31, "
            "now, or a time before now such as -30m, -1h or -7d"
        ) from error


def parse_as_of(text: str, measure: Measure, now: int) -> Any:
    """Read a moment as typed: a tag before all else, digits are an epoch, the rest is written as --start."""
    digits, span = text.isdecimal(), text == "now" or _SPAN.fullmatch(text)
    if not (digits or span) or text in measure.tags():
        return text  # a tag or a time; the query says so if it is neither
    return int(text) if digits else np.datetime64(parse_time(text, "--as-of", now) or 0, "ns")


def parse_where(conditions: Sequence[str], schema: MeasureSchema) -> dict[str, list[Any]] | None:
    """Read conditions as typed; the values get the types of the schema."""
    wanted: dict[str, list[Any]] = {}
    known = {**schema.entity, **schema.columns}
    for condition in conditions:
        name, equals, text = condition.partition("=")
        if not (name and equals):
            raise BadInput(f"--where {condition!r} is not of the form COL=VALUE, such as --where host=a")
        if name == TIME:
            raise BadInput("--where does not choose times; use --start and --end")
        check_names([name], known, "--where")
        kind = known[name]
        if kind.element is not None:
            raise BadInput(f"--where cannot compare {name!r}, which holds lists; choose another column")
        try:
            wanted.setdefault(name, []).append(pa.scalar(text).cast(kind.arrow).as_py())
        except pa.ArrowException as error:
            raise BadInput(
                f"--where {condition!r}: the column {name!r} is {kind.value}, and {text!r} is no such value"
            ) from error
    return wanted or None


@contextlib.contextmanager
def _destination(output: str | None) -> Iterator[BinaryIO]:
    """Open where the bytes go; a file appears under its name only when all of it is there."""
    if output is None:
        yield cast(BinaryIO, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    final = Path(output)
    partial = final.with_name(f".{final.name}.partial")
    kind: type[click.ClickException] = Failed if final.parent.is_dir() else BadInput
    with user_file(output, "write", kind):
        try:
            with partial.open("wb") as file:
                yield file
            partial.replace(final)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
