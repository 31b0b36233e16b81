"""``measurefs tag``."""

from __future__ import annotations

from typing import Any

import click

from measurefs.cli.common import as_json, storage_options

_EXAMPLES = """\b
Examples:
  measurefs tag ./metrics cpu before-upgrade
  measurefs query ./metrics cpu --as-of before-upgrade
  measurefs tag ./metrics cpu
  measurefs tag ./metrics cpu --delete before-upgrade"""


@click.command(short_help="Name the present moment, to come back to.", epilog=_EXAMPLES)
@click.argument("url")
@click.argument("measure")
@click.argument("name", required=False)
@click.option("--delete", metavar="NAME", help="Remove the tag of this name.")
@as_json
@storage_options
def command(**given: Any) -> None:
    """Tag what a measure holds now with a NAME; without one, list the tags.

    What is tagged can be queried as it was, whatever is written or deleted later, until the tag is removed; the files
    it needs are kept until then. To tag and to remove take the lock of each of the measure's tables, so stop its
    writer first, or let that make the tag.
    """
    from measurefs.cli._tagging import run  # noqa: PLC0415 - slow to import

    run(**given)
