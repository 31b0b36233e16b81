"""Measures as lazy frames of Polars."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from measurefs.database import Measure
from measurefs.interop.polars_predicates import conjuncts, lower
from measurefs.query import Order

_BATCH_ROWS = 131_072


def scan(measure: Measure, *, order: Order = "series", **bounds: Any) -> pl.LazyFrame:
    """Return a lazy frame of a measure's rows: ``scan(cpu).filter(pl.col("host") == "a").select("usage").collect()``.

    Polars tells which columns it needs, how many rows, and its filters; only what these leave is read, and Polars
    judges the rest of each filter. Each time the frame is collected it sees the rows of that moment.

    Parameters
    ----------
    measure : Measure
        It must stay open as long as the frame is used.
    order : {"series", "time", "-time"}
        Of the rows.
    bounds
        ``start``, ``end``, ``as_of``, ``on_corrupt`` as `Measure.query` takes them.
    """

    def read(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, batch_rows: int | None
    ) -> Iterator[pl.DataFrame]:
        schema = measure.query(**bounds).schema
        wanted = list(columns) if columns else schema.names
        terms = [] if predicate is None else conjuncts(predicate)
        used = {name for term in terms for name in term.meta.root_names()}
        result = measure.query(
            where=lower(terms, schema),
            columns=[*wanted, *sorted(used - set(wanted))],
            order=order,
            limit=None if terms else rows,
            **bounds,
        )
        yield from _frames(result.to_batches(batch_rows or _BATCH_ROWS), terms, wanted, rows)

    empty = pl.from_arrow(measure.query(**bounds).schema.empty_table())
    assert isinstance(empty, pl.DataFrame)
    return register_io_source(read, schema=empty.schema)


def _frames(
    batches: Iterator[Any], terms: list[pl.Expr], columns: list[str], rows: int | None
) -> Iterator[pl.DataFrame]:
    """Yield no more than so many rows of those that fulfil all terms."""
    for batch in batches:
        frame = pl.from_arrow(batch)
        assert isinstance(frame, pl.DataFrame)
        frame = frame.filter(*terms).select(columns).head(frame.height if rows is None else rows)
        rows = None if rows is None else rows - frame.height
        if frame.height:
            yield frame
        if rows == 0:
            return
