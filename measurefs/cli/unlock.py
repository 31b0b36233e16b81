"""``measurefs unlock``."""

from __future__ import annotations

from typing import Any

import click

from measurefs.cli.common import as_json, storage_options

_EXAMPLES = """\b
Examples:
  measurefs unlock s3://bucket/metrics
  measurefs unlock s3://bucket/metrics cpu --yes
  measurefs unlock s3://bucket/metrics --json"""


@click.command(short_help="Break the locks of a writer that died.", epilog=_EXAMPLES)
@click.argument("url")
@click.argument("measure", required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@storage_options
def command(**given: Any) -> None:
    """Show who holds the tables of a store in an object store, or of one measure, and break these locks when told to.

    There is no need to: the lock of a writer that died is free by itself once it was not renewed for a lease (30
    seconds). A writer that is alive after all is fenced: it loses the rows that it has not made durable, and has to
    open the store again. With --json nothing is asked: the locks are shown, and broken only with --yes. On a local disk
    a lock ends with its process.
    """
    from measurefs.cli._unlocking import run  # noqa: PLC0415 - slow to import

    run(**given)
