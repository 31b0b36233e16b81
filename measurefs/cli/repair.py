"""``measurefs repair``."""

from __future__ import annotations

from typing import Any

import click

from measurefs.cli.common import as_json, storage_options

_EXAMPLES = """\b
Examples:
  measurefs repair ./metrics
  measurefs repair ./metrics cpu --apply"""


@click.command(short_help="Let a damaged store open again.", epilog=_EXAMPLES)
@click.argument("url")
@click.argument("measure", required=False)
@click.option("--apply", is_flag=True, help="Do it; without this it is only shown.")
@as_json
@storage_options
def command(**given: Any) -> None:
    """Make a damaged store, or one measure of it, one that opens, with every row in it that can be read.

    Deletes nothing: what is damaged is kept as .corrupt. Takes the lock of each table that it repairs, so stop its
    writer first. If it is interrupted, run it again. The exit status is 1 as long as there is damage.
    """
    from measurefs.cli._health import run_repair  # noqa: PLC0415 - slow to import

    run_repair(**given)
