"""Measures as sources of other libraries: `MeasureDataset` for Arrow, and what hands it to Polars and DuckDB.

Import what is needed by its module, such as ``measurefs.interop.polars``; each needs its library.
"""

from measurefs.interop.dataset import MeasureDataset

__all__ = ["MeasureDataset"]
