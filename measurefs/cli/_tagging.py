"""Listing, making and removing tags, for ``measurefs tag``."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import click
from rich import box
from rich.table import Table
from rich.text import Text

import measurefs
from measurefs.cli.common import console, open_store, print_json, reaching


def run(
    url: str,
    measure: str,
    name: str | None,
    delete: str | None,
    as_json: bool,
    storage_options: Mapping[str, Any],
) -> None:
    """Run the command; the parameters are its options."""
    if name is not None and delete is not None:
        raise click.UsageError("give a NAME to make a tag or --delete NAME to remove one, not both")
    with open_store(url, storage_options) as db:  # read-only, so that a wrong URL does not become a store
        tags = db.measure(measure).tags()
    if name is None and delete is None:
        _list(measure, tags, as_json=as_json)
        return
    with reaching(url), measurefs.open(url, storage_options=storage_options) as db:
        if name is not None:
            time = iso(db.measure(measure).tag(name))
            done, told = {"tag": name, "time": time}, f"Tagged {measure!r} as {name!r} at {time}."
        elif delete is not None:
            db.measure(measure).untag(delete)
            done, told = {"removed": delete}, f"Removed tag {delete!r} of {measure!r}."
    if as_json:
        print_json({"measure": measure, **done})
    else:
        console().print(told, soft_wrap=True)


def iso(moment: datetime.datetime) -> str:
    """Show when a tag was made as ISO 8601 in UTC."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


def _list(measure: str, tags: Mapping[str, datetime.datetime], *, as_json: bool) -> None:
    if as_json:
        listed = [{"name": name, "time": iso(moment)} for name, moment in tags.items()]
        print_json({"measure": measure, "tags": listed})
        return
    if not tags:
        console().print(f"{measure!r} has no tags; make one with: measurefs tag URL MEASURE NAME")
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("tag", overflow="fold")
    table.add_column("made (UTC)")
    for name, moment in tags.items():
        table.add_row(Text(name, "bold"), f"{moment:%Y-%m-%d %H:%M:%S}")
    console().print(table)
