"""What comes out of calls to several tables, of which all are made before the first error is raised."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from measurefs.fs.errors import FencedError, FileSystemError, MeasureFSError, NotDurableError
from measurefs.table import TsTable


def make_durable(table: TsTable, epoch: int | None) -> None:
    """Flush a table; raises `NotDurableError`, or `FencedError`, where it cannot."""
    try:
        table.flush(epoch)
    except FencedError:
        raise
    except FileSystemError as error:
        raise NotDurableError(
            "make durable",
            table.root,
            f"{error}; the rows are stored, readable and kept in memory, and it will be tried again by itself; "
            "call flush() to wait for it",
            error.errno,
        ) from error


def caught(call: Callable[[], None]) -> MeasureFSError | None:
    """Make a call and return the error it raised, if any, to make the other calls before `raise_first`."""
    try:
        call()
    except MeasureFSError as error:
        return error
    return None


def raise_first(outcomes: Iterable[object]) -> None:
    """Raise the first of the outcomes that is an error."""
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
