"""``measurefs copy``."""

from __future__ import annotations

from typing import Any

import click

from measurefs.cli.common import as_json, storage_options, to_options

_EXAMPLES = """\b
Examples:
  measurefs copy ./metrics s3://bucket/metrics
  measurefs copy s3://bucket/metrics ./metrics --storage-option endpoint_url=http://localhost:9000"""


@click.command(short_help="Copy a store to another place.", epilog=_EXAMPLES)
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--measure", "measures", multiple=True, metavar="MEASURE", help="Only this one. Repeatable.")
@as_json
@storage_options
@to_options
def command(**given: Any) -> None:
    """Copy what SRC holds now, with all tags, to DST, where there must be nothing.

    All of it is checked. Stop the writers of SRC first if you are moving: what they write meanwhile may be missed.
    Interrupted, run it again: it goes on from there.

    --storage-option is for SRC and --to-option for DST; without any of the latter, and if both are on the same kind of
    store, DST takes those of SRC.
    """
    from measurefs.cli._copying import run_copy  # noqa: PLC0415 - slow to import

    run_copy(**given)
