"""Queries: bounds and conditions, reading from pinned snapshots, results."""

from measurefs.query.bounds import MAX_TIME, MIN_TIME, to_nanoseconds
from measurefs.query.read import ORDERS, TIME, TIME_TYPE, VERSION, Order, Query, read
from measurefs.query.result import QueryResult
from measurefs.query.where import Condition, Where, check_names

__all__ = [
    "MAX_TIME",
    "MIN_TIME",
    "ORDERS",
    "TIME",
    "TIME_TYPE",
    "VERSION",
    "Condition",
    "Order",
    "Query",
    "QueryResult",
    "Where",
    "check_names",
    "read",
    "to_nanoseconds",
]
