"""``measurefs inspect``."""

from __future__ import annotations

from typing import Any

import click

from measurefs.cli.common import as_json, storage_options

_EXAMPLES = """\b
Examples:
  measurefs inspect ./metrics
  measurefs inspect ./metrics cpu --parts
  measurefs inspect s3://bucket/metrics --json"""


@click.command(short_help="Show what a store holds.", epilog=_EXAMPLES)
@click.argument("url")
@click.argument("measure", required=False)
@click.option("--parts", is_flag=True, help="Show each part, its sections and its columns.")
@click.option("--all", "everything", is_flag=True, help="Show every segment, not only the last 20.")
@as_json
@storage_options
def command(**given: Any) -> None:
    """Show what a store, or one measure of it, holds, and how much space that takes.

    Reads what parts say of themselves and no rows; rows that replace others count until they are merged.
    """
    from measurefs.cli._inspection import run  # noqa: PLC0415 - slow to import

    run(**given)
