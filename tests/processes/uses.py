"""Every way to use an open database, measure or table, found by looking at their public methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from measurefs import Database, Measure, TsTable
from measurefs.table.history import Moment
from tests.table.tables import one

ARGUMENTS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "Database.backup": (("memory://uses",), {}),
    "Database.create_measure": (("n",), {"entity": ["host"]}),
    "Database.drop_measure": (("m",), {}),
    "Database.measure": (("m",), {}),
    "Measure.shard_of": (({"host": ["a"]},), {}),
    "Measure.tag": (("a",), {}),
    "Measure.untag": (("a",), {}),
    "Measure.write": (({"time": [99], "host": ["a"], "value": [99]},), {"durable": True}),
    "TsTable.add": ((one(99),), {}),
    "TsTable.admit": ((1,), {}),
    "TsTable.at": ((Moment(epoch=1),), {}),
    "TsTable.delete": ((0, 1), {}),
    "TsTable.tag": (("a",), {}),
    "TsTable.untag": (("a",), {}),
}
"""What the methods are called with that cannot be called without anything."""

NOT_USES = {"close", "abandon"}
EXEMPT = {
    # called by `Database.drop_measure` alone
    "Measure.discard",
    "Measure.held",
    # called by what drives it, which has nothing to do then
    "TsTable.step",
    "TsTable.merge",
    # inside `admit` alone
    "TsTable.take",
    "TsTable.publish",
    "TsTable.account",
    # says that the epoch will not be reached
    "TsTable.wait",
}


def uses(*opened: Database | Measure | TsTable) -> dict[str, Callable[[], object]]:
    """Return a call of each public method that uses what is open."""
    found = {}
    for each in opened:
        for method in dir(type(each)):
            name = f"{type(each).__name__}.{method}"
            if method.startswith("_") or method in NOT_USES or name in EXEMPT:
                continue
            if callable(getattr(type(each), method)):
                found[name] = _call(each, method, name)
    return found


def _call(opened: object, method: str, name: str) -> Callable[[], object]:
    positional, named = ARGUMENTS.get(name, ((), {}))

    def call() -> object:
        result = getattr(opened, method)(*positional, **named)
        if name == "TsTable.admit":
            with result:
                return result
        return result

    return call
