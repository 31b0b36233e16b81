"""``measurefs compact``."""

from __future__ import annotations

from typing import Any

import click

from measurefs.cli.common import as_json, storage_options

_EXAMPLES = """\b
Examples:
  measurefs compact ./metrics
  measurefs compact ./metrics cpu"""


@click.command(short_help="Merge the parts of each table into one.", epilog=_EXAMPLES)
@click.argument("url")
@click.argument("measure", required=False)
@as_json
@storage_options
def command(**given: Any) -> None:
    """Merge the parts of each table of a store, or of one measure, into one part.

    Writers merge parts by themselves; this is for a store that is only read from now on. Takes the lock of each table
    that has more than one part. What is replaced is removed by the next collection, see measurefs gc.
    """
    from measurefs.cli._upkeep import run_compact  # noqa: PLC0415 - slow to import

    run_compact(**given)
