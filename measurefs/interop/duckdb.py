"""Measures as tables of DuckDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from measurefs.database import Measure
from measurefs.interop.dataset import MeasureDataset, TimeUnit

if TYPE_CHECKING:
    import duckdb


def register(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    measure: Measure,
    *,
    time_unit: TimeUnit = "us",
    **bounds: Any,
) -> MeasureDataset:
    """Make a measure a view in a DuckDB connection: ``select avg(usage) from cpu where host = 'a'``.

    DuckDB tells which columns it needs and most conditions in ``where``, and only what these leave is read. It keeps
    conditions on floats that NaN might fulfil (which it has greater than all else) for itself. Each query sees the
    rows of its moment.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
    name : str
        Of the view.
    measure : Measure
        It must stay open as long as the view is used.
    time_unit : {"us", "ns"}
        By default times are DuckDB's own ``TIMESTAMP WITH TIME ZONE``, in microseconds, rounded down. With "ns" they
        are exact, but DuckDB has few functions for them, and reads all times there are: give bounds here.
    bounds
        ``start``, ``end``, ``as_of``, ``on_corrupt`` as `Measure.query` takes them.

    Returns
    -------
    MeasureDataset
        What the view reads from.
    """
    dataset = MeasureDataset(measure, time_unit=time_unit, **bounds)
    connection.register(name, dataset)
    return dataset
