"""``measurefs gc``."""

from __future__ import annotations

from typing import Any

import click

from measurefs.cli.common import as_json, storage_options

_EXAMPLES = """\b
Examples:
  measurefs gc ./metrics
  measurefs gc ./metrics cpu --grace 0 --keep 1"""


@click.command(short_help="Remove files that nothing needs any more.", epilog=_EXAMPLES)
@click.argument("url")
@click.argument("measure", required=False)
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    metavar="SECONDS",
    help="How long files that nothing needs stay for readers in other processes; it is waited for.",
)
@click.option(
    "--keep",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    metavar="SNAPSHOTS",
    help="How many snapshots of each table to keep, besides the tagged ones.",
)
@as_json
@storage_options
def command(**given: Any) -> None:
    """Remove superseded snapshots, parts that none of the others needs, and segments that are past their ttl.

    Writers do this by themselves. Takes the lock of every table, so stop its writers first. With a grace of 0 make
    sure that nobody reads, too: a query that began before may miss its files, and has to be made again.
    """
    from measurefs.cli._upkeep import run_gc  # noqa: PLC0415 - slow to import

    run_gc(**given)
