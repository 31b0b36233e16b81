"""``measurefs query``."""

from __future__ import annotations

from typing import Any

import click

from measurefs.cli.common import storage_options

FORMATS = ("table", "csv", "json", "jsonl", "parquet", "arrow")

_EXAMPLES = """\b
Examples:
  measurefs query ./metrics cpu --where host=a --start -1h
  measurefs query ./metrics cpu --start 2026-01-01 --end 2026-01-02 --output day.parquet
  measurefs query ./metrics cpu --columns time,usage --order -time --limit 10
  measurefs query ./metrics cpu --as-of before-upgrade"""


@click.command(short_help="Print or export rows.", epilog=_EXAMPLES)
@click.argument("url")
@click.argument("measure")
@click.option(
    "--where",
    multiple=True,
    metavar="COL=VALUE",
    help="Only rows with this value; repeated for one column: with any of the values.",
)
@click.option(
    "--start", metavar="TIME", help="First time: ISO 8601 (UTC), now, or -1h (units s, m, h, d, w)."
)
@click.option("--end", metavar="TIME", help="Where to stop, exclusive; written as --start.")
@click.option("--columns", metavar="A,B", help="The columns wanted, in this order.")
@click.option("--order", type=click.Choice(["time", "-time", "series"]), default="time", show_default=True)
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="The first N rows only.")
@click.option(
    "--as-of",
    metavar="TAG|TIME",
    help="Rows as they were: at a tag, at a time written as --start, or at an epoch.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Default: by the ending of --output; else table in a terminal and csv in a pipe.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--output", "-o", type=click.Path(), metavar="FILE", help="Write to a file.")
@storage_options
def command(**given: Any) -> None:
    """Print or export the rows of a measure.

    Reads as it prints: the output may be larger than memory. Never writes to the store, and needs no lock.
    """
    from measurefs.cli._results import run  # noqa: PLC0415 - slow to import

    run(**given)
