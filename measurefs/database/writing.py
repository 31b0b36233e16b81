"""Storing a batch: leaving out what has expired, finding its tables, and making it visible in all of them at once."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import numpy as np

from measurefs.database.batch import Checked, split
from measurefs.database.evolution import becoming_floats
from measurefs.database.retention import expired_before
from measurefs.database.tables import Tables
from measurefs.fs.errors import ClosedError
from measurefs.part.rows import Rows, sort_rows
from measurefs.table import TsTable


class Stored(NamedTuple):
    """What became of a batch.

    Attributes
    ----------
    rows : int
        How many were stored.
    epochs : dict
        For each table they are in, the epoch from which on they are visible.
    """

    rows: int
    epochs: dict[TsTable, int]


def store(tables: Tables, batch: Checked, now: int) -> Stored:
    """Store the rows of a batch that have not expired; all of them, or after an error none.

    Parameters
    ----------
    now : int
        The moment that their age is counted to, nanoseconds since 1970-01-01 UTC.

    Raises
    ------
    LockError, BackpressureError, ClosedError, FencedError
        See `Measure.write`.
    SchemaError
        A column has become, or is becoming, float64, and the rows have an integer in it that float64 does not have.
    """
    while True:
        schema = tables.schema
        rows = _unexpired(batch.rows, expired_before(schema, now))
        pieces = dict(split(rows, tables.division(), schema.shards))
        targets = tables.ready(pieces)
        if targets is None:
            # It may find that others have dropped segments, or divided time otherwise.
            tables.prepare(pieces)
            continue
        try:
            epochs = _publish(tables, dict(zip(targets, pieces.values(), strict=True)), batch)
        except ClosedError:
            if tables.ready(pieces) == targets:
                raise
            continue  # one of its segments was dropped meanwhile
        return Stored(len(rows), epochs)


def _unexpired(rows: Rows, bound: int) -> Rows:
    if len(rows) == 0 or int(rows.times.min()) >= bound:
        return rows
    return rows.take(np.flatnonzero(rows.times >= bound))


def _publish(tables: Tables, pieces: dict[TsTable, Rows], batch: Checked) -> dict[TsTable, int]:
    with contextlib.ExitStack() as admitted:
        for table, rows in pieces.items():
            admitted.enter_context(table.admit(rows.nbytes))
        ordered = {table: sort_rows(rows) for table, rows in pieces.items()}
        with tables.publishing:
            tables.exact.check(ordered.values(), becoming_floats(batch.schema, tables.schema))
            epochs = {
                table: table.publish(rows, arrival=not batch.versioned) for table, rows in ordered.items()
            }
        for table in epochs:
            table.account()
    return epochs
