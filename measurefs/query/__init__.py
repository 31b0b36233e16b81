"""Queries: bounds and conditions, reading from pinned snapshots, results."""

from measurefs.query.bounds import MAX_TIME, MIN_TIME, to_nanoseconds
from measurefs.query.read import (
    ON_CORRUPT,
    ORDERS,
    TIME,
    TIME_TYPE,
    VERSION,
    OnCorrupt,
    Order,
    Query,
    read,
)
from measurefs.query.result import QueryResult
from measurefs.query.where import Condition, Where, check_names

__all__ = [
    "MAX_TIME",
    "MIN_TIME",
    "ON_CORRUPT",
    "ORDERS",
    "TIME",
    "TIME_TYPE",
    "VERSION",
    "Condition",
    "OnCorrupt",
    "Order",
    "Query",
    "QueryResult",
    "Where",
    "check_names",
    "read",
    "to_nanoseconds",
]
