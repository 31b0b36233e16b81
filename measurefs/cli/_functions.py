"""``--agg``, ``--by`` and ``--fill``: aggregates as they are typed."""

from __future__ import annotations

from collections.abc import Sequence

from measurefs.cli.common import BadInput
from measurefs.codec.types import ColumnType
from measurefs.database import MeasureSchema
from measurefs.query import check_names

ROWS = "*"
"""Stands for the rows themselves, which are counted."""

_NUMBERS = (ColumnType.INT64, ColumnType.FLOAT64)


def parse_names(text: str | None) -> list[str]:
    """Read names between commas."""
    return [] if text is None else [name.strip() for name in text.split(",") if name.strip()]


def parse_agg(given: Sequence[str], schema: MeasureSchema) -> dict[str, list[str]]:
    """Read what to compute of which column.

    Parameters
    ----------
    given : sequence of str
        ``COL:FUNCTION,...``, or ``FUNCTION,...`` for every field that is a number; there, ``count`` counts rows. A
        function belongs to the column named last before it.
    schema : MeasureSchema

    Returns
    -------
    dict
        Column, or `ROWS`, to functions.
    """
    wanted: dict[str, list[str]] = {}

    def add(column: str, function: str) -> None:
        functions = wanted.setdefault(column, [])
        if function not in functions:
            functions.append(function)

    for text in given:
        column = ""
        for item in text.split(","):
            before, colon, name = (part.strip() for part in item.rpartition(":"))
            column = before if colon else column
            if not name or (colon and not column):
                raise BadInput(
                    f"--agg {text!r} names no function; write --agg mean,max or --agg COL:mean,max"
                )
            if name in schema.columns:
                raise BadInput(f"--agg {text!r}: {name!r} is a column; say what of it, as --agg {name}:mean")
            if column:
                check_names([column], {ROWS: None, **schema.columns}, "--agg")
            for each in [column] if column else [ROWS] if name == "count" else _number_fields(text, schema):
                add(each, name)
    return wanted


def _number_fields(text: str, schema: MeasureSchema) -> list[str]:
    fields = [name for name, kind in schema.fields.items() if kind in _NUMBERS]
    if not fields:
        raise BadInput(
            f"--agg {text!r} is for fields that are numbers, and measure {schema.name!r} has none; "
            "--agg count counts rows, and --agg COL:last takes any column"
        )
    return fields


def parse_fill(text: str | None) -> str | float | None:
    """Read what stands in empty buckets."""
    if text is None or text in ("null", "previous", "linear"):
        return text
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError as error:
        raise BadInput(f"cannot use {text!r} as --fill; give null, previous, linear or a number") from error
