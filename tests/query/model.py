"""What the store must answer, in plain Python: a list of rows as they were written, and no cleverness."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]
ENTITY = ("host", "port")
COLUMNS = ("region", "rack", "labels", "usage", "n", "up", "note")
ALL = ("time", *ENTITY, *COLUMNS)


class Model:
    """Rows by series and time: the highest version counts, of equal versions the later."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], Row] = {}

    def write(self, rows: Sequence[Row], arrival: int) -> None:
        """Take a batch; rows without a version get the number of their arrival."""
        for row in rows:
            whole = dict.fromkeys(ALL) | {"version": arrival} | row
            key = (*(row[name] for name in ENTITY), row["time"])
            held = self.rows.get(key)
            if held is None or whole["version"] >= held["version"]:
                self.rows[key] = whole

    def query(
        self,
        series: Sequence[tuple[Any, ...]],
        start: int | None,
        end: int | None,
        where: Mapping[str, Any],
        columns: Sequence[str],
        order: str,
        limit: int | None,
    ) -> list[Row]:
        """Answer a query; series are in the order that ties and ``"series"`` follow."""
        found = [
            row
            for row in self.rows.values()
            if (start is None or row["time"] >= start)
            and (end is None or row["time"] < end)
            and all(matches(row[name], wanted) for name, wanted in where.items())
        ]
        place = {entity: number for number, entity in enumerate(series)}

        def by_series(row: Row) -> int:
            return place[tuple(row[name] for name in ENTITY)]

        if order == "series":
            found.sort(key=lambda row: (by_series(row), row["time"]))
        else:
            sign = 1 if order == "time" else -1
            found.sort(key=lambda row: (sign * row["time"], by_series(row)))
        return [{name: plain(row[name]) for name in columns} for row in found[:limit]]


def matches(value: Any, wanted: Any) -> bool:
    """Whether a value is the wanted one, or one of several."""
    choices = wanted if isinstance(wanted, list) else [wanted]
    return any(plain(value) == plain(choice) and (value is None) == (choice is None) for choice in choices)


def plain(value: Any) -> Any:
    """Return a value that equals itself: NaN does not."""
    return "NaN" if isinstance(value, float) and math.isnan(value) else value
