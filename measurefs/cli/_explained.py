"""What a query took, for ``measurefs query --explain``."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from measurefs.cli.common import count, plural, size
from measurefs.query import Work


def figures(work: Work, seconds: float) -> dict[str, Any]:
    """Return it for machines."""
    return {**msgspec.structs.asdict(work), "seconds": round(seconds, 6)}


def show(out: Console, work: Work, seconds: float) -> None:
    """Print it for people: from the tables down to the bytes, and what came out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    for name, text in (
        ("tables", f"{count(work.tables)} within the bounds, of {plural(work.rows_held, 'row')}"),
        ("parts", f"{_of(work.parts_read, work.parts)} looked at"),
        (
            "blocks",
            f"{_of(work.blocks_read + work.blocks_known, work.blocks)} needed{_known(work.blocks_known)}",
        ),
        ("decoded", plural(work.chunks, "column chunk")),
        ("read", f"{size(work.bytes)} in {plural(work.ranges, 'range')}, {plural(work.requests, 'request')}"),
        ("put in order", f"{plural(work.rows_sorted, 'row')} that several parts have"),
        ("result", f"{plural(work.rows, 'row')} in {seconds:,.3f} s"),
    ):
        table.add_row(name, Text(text))
    out.print(table)
    out.print(
        Text("What an earlier query left in memory is not read again; this command starts with none.", "dim")
    )


def _known(blocks: int) -> str:
    return f"; {count(blocks)} of them told by their summaries" if blocks else ""


def _of(some: int, of_all: int) -> str:
    return f"{count(some)} of {count(of_all)}"
