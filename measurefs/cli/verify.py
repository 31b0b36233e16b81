"""``measurefs verify``."""

from __future__ import annotations

from typing import Any

import click

from measurefs.cli.common import as_json, storage_options

_EXAMPLES = """\b
Examples:
  measurefs verify ./metrics
  measurefs verify ./metrics cpu
  measurefs verify s3://bucket/metrics --json"""


@click.command(short_help="Check every file of a store.", epilog=_EXAMPLES)
@click.argument("url")
@click.argument("measure", required=False)
@as_json
@storage_options
def command(**given: Any) -> None:
    """Read a store, or one measure of it, and check every checksum, order and count.

    Never writes, needs no lock, and does not mind a writer at work. Works on stores that do not open, too. The exit
    status is 1 if there is any damage.
    """
    from measurefs.cli._health import run_verify  # noqa: PLC0415 - slow to import

    run_verify(**given)
