"""Queries: bounds and conditions, reading from pinned snapshots, results."""

from measurefs.query.bounds import MAX_TIME, MIN_TIME, to_nanoseconds
from measurefs.query.conditions.where import Condition, Where
from measurefs.query.explain import Work
from measurefs.query.names import TIME, TIME_TYPE, VERSION, check_names
from measurefs.query.newest import Newest
from measurefs.query.plan import ON_CORRUPT, ORDERS, OnCorrupt, Order, Query, Shape
from measurefs.query.read import Group, Reader, naming_the_remedy
from measurefs.query.result import QueryResult

__all__ = [
    "MAX_TIME",
    "MIN_TIME",
    "ON_CORRUPT",
    "ORDERS",
    "TIME",
    "TIME_TYPE",
    "VERSION",
    "Condition",
    "Group",
    "Newest",
    "OnCorrupt",
    "Order",
    "Query",
    "QueryResult",
    "Reader",
    "Shape",
    "Where",
    "Work",
    "check_names",
    "naming_the_remedy",
    "to_nanoseconds",
]
