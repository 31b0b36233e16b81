"""Showing what a store holds, for ``measurefs inspect``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from measurefs.cli._overview import (
    Figures,
    MeasureFigures,
    TableFigures,
    measure_bytes,
    measure_figures,
    part_figures,
    sections,
    stored_bytes,
)
from measurefs.cli._tagging import iso
from measurefs.cli.common import console, count, moment, open_store, plural, print_json, size
from measurefs.database import Database, Measure, MeasureSchema
from measurefs.part.metadata import PartMetadata

_SHOWN = 20


def run(
    url: str,
    measure: str | None,
    parts: bool,
    everything: bool,
    as_json: bool,
    storage_options: Mapping[str, Any],
) -> None:
    """Run the command; the parameters are its options."""
    with open_store(url, storage_options) as db:
        names = db.measures() if measure is None else [measure]
        found = [measure_figures(db.measure(name)) for name in names]
        if as_json:
            print_json(_store_json(url, db, found) if measure is None else _measure_json(db, found[0], parts))
            return
        out = console()
        if measure is None:
            _print_store(out, url, db, found)
        for each in found if measure is not None or parts else ():
            _print_measure(out, db, each, parts=parts, everything=everything)


# For machines


def _store_json(url: str, db: Database, found: list[MeasureFigures]) -> dict[str, Any]:
    return {
        "url": url,
        "stored_bytes": stored_bytes(db.fs),
        "measures": [
            {"name": each.measure.name, "segments": each.segments, "tables": len(each.tables)}
            | each.total.to_dict()
            for each in found
        ],
    }


def _measure_json(db: Database, figures: MeasureFigures, parts: bool) -> dict[str, Any]:
    schema = figures.measure.schema
    return {
        "name": schema.name,
        "schema": _schema_json(schema),
        "tags": {name: iso(moment) for name, moment in figures.measure.tags().items()},
        "segments": figures.segments,
        "stored_bytes": measure_bytes(db, schema.name),
        **figures.total.to_dict(),
        "tables": [_table_json(table, parts) for table in figures.tables],
    }


def _schema_json(schema: MeasureSchema) -> dict[str, Any]:
    return {
        "entity": {name: str(kind) for name, kind in schema.entity.items()},
        "tags": {
            family: {name: str(kind) for name, kind in tags.items()} for family, tags in schema.tags.items()
        },
        "fields": {name: str(kind) for name, kind in schema.fields.items()},
        "interval": schema.interval,
        "ttl": schema.ttl,
        "shards": schema.shards,
        "revision": schema.revision,
    }


def _table_json(table: TableFigures, parts: bool) -> dict[str, Any]:
    figures = {"path": table.path, "segment": table.segment, "shard": table.shard, "epoch": table.epoch}
    figures |= table.total.to_dict()
    if parts:
        figures["part_list"] = [
            {
                "name": part.name,
                **part_figures(part).to_dict(),
                "sections": sections(part),
                "columns": {stored.column.name: str(stored.column.type) for stored in part.columns},
            }
            for part in table.parts
        ]
    return figures


# For people


def _print_store(out: Console, url: str, db: Database, found: list[MeasureFigures]) -> None:
    rows = sum(each.total.rows for each in found)
    out.print()
    out.print(
        Text.assemble(
            (url, "bold"),
            f"   {plural(len(found), 'measure')}, {plural(rows, 'row')}, {size(stored_bytes(db.fs))} in all files",
        ),
        soft_wrap=True,
    )
    if not found:
        out.print("It has no measures yet; make one with: measurefs ingest URL MEASURE FILES...")
        return
    table = _grid("measure", "rows", "series", "segments", "parts", "size", "B/row", "ratio", "time (UTC)")
    for each in found:
        total = each.total
        table.add_row(
            Text(each.measure.name, "bold"),
            count(total.rows),
            f"≥ {count(total.series)}" if total.parts > 1 else count(total.series),
            count(each.segments),
            count(total.parts),
            size(total.bytes),
            _per_row(total),
            f"{total.raw_bytes / total.bytes:.1f}x" if total.bytes else "-",
            _span(total, coarse=True),
        )
    out.print(table)


def _grid(*names: str) -> Table:
    """Return an empty table whose first column and whose times are at the left and numbers at the right."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for place, name in enumerate(names):
        left = place == 0 or name.endswith("(UTC)")
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    return table


def _per_row(figures: Figures) -> str:
    return f"{figures.bytes / figures.rows:.2f}" if figures.rows else "-"


def _span(figures: Figures, *, coarse: bool = False) -> str:
    """Show the first and the last time, no finer than helps: of one day to the second."""
    (first_day, first_time), (last_day, last_time) = (
        moment(time).split() for time in (figures.first or 0, figures.last or 0)
    )
    if figures.first is None:
        return "-"
    if first_day == last_day:
        return f"{first_day} {first_time} → {last_time}"
    if coarse:
        return f"{first_day} → {last_day}"
    return f"{first_day} {first_time[:5]} → {last_day} {last_time[:5]}"


def _print_measure(
    out: Console, db: Database, figures: MeasureFigures, *, parts: bool, everything: bool
) -> None:
    schema, total = figures.measure.schema, figures.total
    out.print()
    out.print(
        Text.assemble(
            (schema.name, "bold"),
            f"   {plural(total.rows, 'row')}, {plural(figures.segments, 'segment')}, {plural(total.parts, 'part')}, "
            f"{size(total.bytes)} ({size(measure_bytes(db, schema.name))} in all files)",
        ),
        soft_wrap=True,
    )
    out.print(_schema(figures.measure))
    if not figures.tables:
        out.print("It has no rows yet; write some with: measurefs ingest URL MEASURE FILES...")
        return
    out.print(_tables(figures, everything=everything))
    for table in figures.tables if parts else ():
        for part in table.parts:
            _print_part(out, table, part)


def _schema(measure: Measure) -> Table:
    schema = measure.schema
    made = (f"{name} ({moment:%Y-%m-%d %H:%M:%S})" for name, moment in measure.tags().items())
    rows = {
        "entity": _columns(schema.entity),
        "tags": ", ".join(
            _columns(tags) + ("" if family == "default" else f" (family {family})")
            for family, tags in schema.tags.items()
        ),
        "fields": _columns(schema.fields),
        "kept": f"in segments of {schema.interval}, {plural(schema.shards, 'shard')} each, "
        + (f"for {schema.ttl}" if schema.ttl else "for ever"),
        "tagged": ", ".join(made),
    }
    table = Table.grid(padding=(0, 2))
    for name, text in rows.items():
        if text:
            table.add_row(Text(f"  {name}", "dim"), Text(text))
    return table


def _columns(columns: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns.items())


def _tables(figures: MeasureFigures, *, everything: bool) -> Table:
    grid = _grid("segment", "epoch", "parts", "rows", "blocks", "size", "B/row", "time (UTC)")
    shards = figures.measure.schema.shards > 1
    hidden = 0 if everything else max(len(figures.tables) - _SHOWN, 0)
    for table in figures.tables[hidden:]:
        total = table.total
        grid.add_row(
            f"{table.segment}/{table.shard}" if shards else table.segment,
            _short(table.epoch),
            f"{count(total.parts)} {total.kind}",
            count(total.rows),
            count(total.blocks),
            size(total.bytes),
            _per_row(total),
            _span(total),
        )
    if hidden:
        grid.caption = Text(f"… and {count(hidden)} before these; see them with --all, or --json")
        grid.caption_justify = "left"
    return grid


def _short(epoch: int) -> str:
    """Show an epoch as the lock's number and the count since it was taken."""
    return f"{epoch >> 40}.{epoch & (1 << 40) - 1}"


def _print_part(out: Console, table: TableFigures, part: PartMetadata) -> None:
    figures = part_figures(part)
    out.print(
        Text.assemble(
            (f"{table.path}/{part.name}", "bold"),
            f"   {plural(part.rows, 'row')}, {plural(part.series, 'series')}, "
            f"{plural(part.blocks, 'block')}, {size(figures.bytes)}",
        ),
        soft_wrap=True,
    )
    grid = Table.grid(padding=(0, 2))
    for name, number in sections(part).items():
        grid.add_row(f"  {name}", Text(size(number), justify="right"), f"{number / figures.bytes:.0%}")
    out.print(grid)
    columns = {stored.column.name: stored.column.type for stored in part.columns}
    out.print(Text(f"  columns: {_columns({**part.entity, **columns})}\n"), soft_wrap=True)
