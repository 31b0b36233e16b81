"""``measurefs ingest``."""

from __future__ import annotations

from typing import Any

import click

from measurefs.cli.common import as_json, storage_options

_EXAMPLES = """\b
Examples:
  measurefs ingest ./metrics cpu cpu.csv --time-column timestamp --entity host
  measurefs ingest ./metrics load data/*.csv --entity source --with source={stem}
  measurefs ingest s3://bucket/metrics cpu day.parquet --entity host --tag region --field usage:float64"""


@click.command(short_help="Read CSV and Parquet files into a measure.", epilog=_EXAMPLES)
@click.argument("url")
@click.argument("measure")
@click.argument("files", nargs=-1, required=True)
@click.option("--time-column", default="time", show_default=True, metavar="NAME", help="The column of times.")
@click.option(
    "--time-unit",
    type=click.Choice(["s", "ms", "us", "ns"]),
    help="What whole numbers in the time column count since 1970; text is ISO 8601 and UTC without a zone.",
)
@click.option(
    "--entity",
    multiple=True,
    metavar="NAME[:TYPE]",
    help="A column that tells series apart. Repeatable; needed for a new measure.",
)
@click.option(
    "--tag", "tags", multiple=True, metavar="NAME[:TYPE]", help="A column that is a tag. Repeatable."
)
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="NAME[:TYPE]",
    help="A column that is a field. Repeatable; others: numbers and bools are fields, text is a tag.",
)
@click.option(
    "--with",
    "constants",
    multiple=True,
    metavar="NAME=TEXT",
    help="One more column with this text in every row; {stem}, {name} and {parent} are the file's. Repeatable.",
)
@click.option("--skip", multiple=True, metavar="NAME", help="Leave a column of the files out. Repeatable.")
@click.option(
    "--format", "form", type=click.Choice(["auto", "csv", "parquet"]), default="auto", show_default=True
)
@click.option("--interval", metavar="SPAN", help="New measure: hours or days per segment (default 1d).")
@click.option(
    "--ttl", metavar="SPAN", help="New measure: how long rows are kept, such as 30d (default for ever)."
)
@click.option("--shards", type=int, metavar="N", help="New measure: tables per segment (default 1).")
@click.option(
    "--batch-rows", type=click.IntRange(min=1), default=250_000, show_default=True, help="Rows per write."
)
@click.option(
    "--durable", is_flag=True, help="Wait after each batch until it is durable, not only at the end."
)
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@as_json
@storage_options
def command(**given: Any) -> None:
    """Read CSV and Parquet files into a measure, and create it if it is missing.

    FILES may be directories (their CSV and Parquet files) and - (CSV from standard input). All input is checked
    before any of it is written: if a row is bad, its file and line are named and the store is unchanged.
    """
    from measurefs.cli._ingestion import run  # noqa: PLC0415 - slow to import

    run(**given)
