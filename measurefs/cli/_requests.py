"""From the options of ``measurefs query`` to a query: which of them go together, and what they ask of a measure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from measurefs.cli._conditions import parse_where
from measurefs.cli._functions import parse_agg, parse_fill, parse_names
from measurefs.cli.common import BadInput
from measurefs.database import Measure
from measurefs.query import QueryResult, Work, to_nanoseconds

_SPAN = re.compile(r"(?:now\s*)?([+-])\s*(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What was typed about which rows are wanted, and what of them; None, False or empty where nothing was."""

    where: Sequence[str]
    start: str | None
    end: str | None
    columns: str | None
    order: Any
    limit: int | None
    offset: int
    last: bool
    agg: Sequence[str]
    every: str | None
    by: str | None
    timezone: str | None
    fill: str | None
    as_of: str | None
    plot: str | None

    def check(self) -> None:
        """Raise `BadInput` for options that do not go together."""
        for there, told in (
            (self.last and self.agg, "--last shows rows and --agg sums them up; for the newest values by group give "
                                     "--agg COL:last --by COL"),
            (self.columns and self.agg, "--columns chooses columns of rows; with --agg name them there, as in "
                                        "--agg usage:mean"),
            (self.order and self.agg, "--order is for rows; what --agg finds comes by time and then by the columns of "
                                      "--by"),
            (self.order and self.last, "--order is for all rows; --last shows one of each series, in the order of the "
                                       "series"),
            (self.every and not self.agg, "--every cuts time for --agg; add --agg mean, or --agg count"),
            (self.by and not self.agg, "--by groups rows for --agg; add --agg mean, or --agg count"),
            (self.fill and not self.every, "--fill is for the empty buckets of --every; add --agg mean --every 1h"),
            (self.timezone and not (self.every or self.plot), "--timezone is for --every and --plot; rows are shown "
                                                              "in UTC"),
            (self.plot and self.last, "--plot draws lines over time, and --last shows one row of each series; leave "
                                      "one out"),
            (self.plot and self.agg and not self.every, "--plot draws lines over time; say in which steps, as in "
                                                        "--every 1h"),
        ):  # fmt: skip
            if there:
                raise BadInput(told)


class Request:
    """A query as it was asked for.

    Parameters
    ----------
    measure : Measure
    options : Options
        They go together.
    now : int
        Nanoseconds since 1970-01-01 UTC.
    """

    def __init__(self, measure: Measure, options: Options, now: int) -> None:
        self.measure, self.options = measure, options
        self.schema = measure.schema
        self.start = parse_time(options.start, "--start", now)
        self.end = parse_time(options.end, "--end", now)
        self.by = parse_names(options.by)
        self.columns = None if options.columns is None else parse_names(options.columns)
        self.functions = parse_agg(options.agg, self.schema)
        self._where = parse_where(options.where, self.schema)
        self._fill = parse_fill(options.fill)
        self._as_of = None if options.as_of is None else parse_as_of(options.as_of, measure, now)

    def result(self, columns: Sequence[str] | None = None) -> QueryResult | Cut:
        """Make the query; columns are those of rows, instead of those that were asked for."""
        options, measure = self.options, self.measure
        columns = self.columns if columns is None else columns
        span: dict[str, Any] = {"start": self.start, "end": self.end, "as_of": self._as_of}
        if options.agg:
            found = measure.aggregate(
                where=self._where,
                every=options.every,
                by=self.by,
                values=self.functions,
                timezone=options.timezone or "UTC",
                fill=self._fill,
                **span,
            )
            return Cut(found, options.offset, options.limit)
        if options.last:
            found = measure.last(where=self._where, columns=columns, **span)
            return Cut(found, options.offset, options.limit)
        return measure.query(
            where=self._where,
            columns=columns,
            order=options.order or "time",
            limit=options.limit,
            offset=options.offset,
            **span,
        )


class Cut:
    """Some of a result's rows.

    Parameters
    ----------
    result : QueryResult
    offset : int
        Rows to leave out at the beginning.
    limit : int or None
        Rows to show then, at most.
    """

    def __init__(self, result: QueryResult, offset: int, limit: int | None) -> None:
        self._result, self._offset, self._limit = result, offset, limit
        self.schema: pa.Schema = result.schema

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """Return the rows in batches, read as they are taken."""
        skip, left = self._offset, self._limit
        if left == 0:
            return
        for batch in self._result.to_batches():
            rows = batch.slice(skip, left)
            skip = max(skip - batch.num_rows, 0)
            if rows.num_rows:
                yield rows
            if left is not None:
                left -= rows.num_rows
                if not left:
                    return

    def explain(self) -> Work:
        """Read all of it, and return what that took."""
        return self._result.explain()

    def close(self) -> None:
        """Let go of the snapshots."""
        self._result.close()


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
