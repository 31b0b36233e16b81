"""Queries: bounds and conditions, reading from pinned snapshots, results."""

from measurefs.query.bounds import MAX_TIME, MIN_TIME, to_nanoseconds
from measurefs.query.explain import Work
from measurefs.query.names import TIME, TIME_TYPE, VERSION, check_names
from measurefs.query.plan import ON_CORRUPT, ORDERS, OnCorrupt, Order, Query
from measurefs.query.read import Reader
from measurefs.query.result import QueryResult
from measurefs.query.where import Condition, Where

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
    "Reader",
    "Where",
    "Work",
    "check_names",
    "to_nanoseconds",
]
