"""``measurefs demo``."""

from __future__ import annotations

from typing import Any

import click

from measurefs.cli.common import as_json, storage_options

_EXAMPLES = """\b
Examples:
  measurefs demo
  measurefs demo ./metrics --seconds 10"""


@click.command(short_help="See it work on this machine's own figures.", epilog=_EXAMPLES)
@click.argument("url", required=False)
@click.option(
    "--seconds", type=click.FloatRange(0.5, 3600), default=3.0, show_default=True, help="How long to sample."
)
@click.option("--keep", is_flag=True, help="Keep the temporary store.")
@as_json
@storage_options
def command(**given: Any) -> None:
    """See it work: sample this machine, kill the writer, and find every row that it called durable.

    A process samples CPU, memory, disk and network and writes durably, ten times a second. It is killed in the
    middle, and the store is opened again. Without a URL the store is a temporary directory, removed at the end.
    """
    from measurefs.cli._showcase import run  # noqa: PLC0415 - slow to import

    run(**given)
