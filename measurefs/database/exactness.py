"""Integers that float64 does not have, in columns that become of that type."""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Iterable, Iterator

from measurefs.codec.types import ColumnType
from measurefs.codec.widening import first_inexact
from measurefs.fs.errors import SchemaError
from measurefs.part.rows import Rows


class ExactColumns:
    """The columns of a measure that take, for now, no integer that float64 does not have.

    Parameters
    ----------
    publishing : threading.Lock
        Under which rows become visible.
    """

    def __init__(self, publishing: threading.Lock) -> None:
        self._publishing = publishing
        self._names: collections.Counter[str] = collections.Counter()

    @contextlib.contextmanager
    def required(self, names: Iterable[str]) -> Iterator[None]:
        """From the beginning of the block on, until its end, no such integer becomes visible in these columns."""
        with self._publishing:
            self._names.update(names)
        try:
            yield
        finally:
            with self._publishing:
                self._names.subtract(names)

    def check(self, batches: Iterable[Rows], others: Iterable[str]) -> None:
        """Raise `SchemaError` if rows have such an integer in one of these columns or others; while publishing."""
        names = {name for name, count in self._names.items() if count} | set(others)
        for rows in batches if names else ():
            value = inexact_value(rows, names)
            if value is not None:
                raise SchemaError(
                    f"column {value[0]!r} becomes float64, which has no {value[1]}; nothing was stored"
                )


def inexact_value(rows: Rows, names: Iterable[str]) -> tuple[str, int] | None:
    """Return the first integer that float64 does not have, and its column, None if there is none."""
    for name in sorted(names):
        column = rows.columns.get(name)
        if column is None or column.type != ColumnType.INT64.arrow:
            continue
        position = first_inexact(column)
        if position is not None:
            return name, column[position].as_py()
    return None
