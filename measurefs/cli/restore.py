"""``measurefs restore``."""

from __future__ import annotations

from typing import Any

import click

from measurefs.cli.common import as_json, storage_options, to_options

_EXAMPLES = """\b
Examples:
  measurefs restore s3://bucket/backup ./metrics
  measurefs restore s3://bucket/backup ./january --tag 2026-01-31"""


@click.command(short_help="Make a store of a backup.", epilog=_EXAMPLES)
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option(
    "--tag", metavar="NAME", help="Restore what was there at this backup or tag; default is the last backup."
)
@click.option("--measure", "measures", multiple=True, metavar="MEASURE", help="Only this one. Repeatable.")
@as_json
@storage_options
@to_options
def command(**given: Any) -> None:
    """Make a store at DST, where there must be nothing, of the backup at SRC.

    All of it is checked. Without --tag it is what the last complete backup has brought, with all tags of the measures.
    Interrupted, run it again: it goes on from there.

    --storage-option is for SRC and --to-option for DST; without any of the latter, and if both are on the same kind of
    store, DST takes those of SRC.
    """
    from measurefs.cli._copying import run_restore  # noqa: PLC0415 - slow to import

    run_restore(**given)
