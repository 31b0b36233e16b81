"""``measurefs doctor``."""

from __future__ import annotations

from typing import Any

import click

from measurefs.cli.common import as_json, storage_options

_EXAMPLES = """\b
Examples:
  measurefs doctor s3://bucket/metrics
  measurefs doctor s3://bucket/metrics --read-only --storage-option anon=true
  measurefs doctor s3://bucket/metrics --storage-option endpoint_url=https://minio:9000 --large --json"""


@click.command(short_help="Try out whether a place is fit for stores.", epilog=_EXAMPLES)
@click.argument("url")
@click.option(
    "--read-only", is_flag=True, help="Try only what needs no permission to write, on a store there."
)
@click.option("--large", is_flag=True, help="Write a file of 72 MiB, too, which goes to S3 in parts.")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How often each kind of call is timed.",
)
@as_json
@storage_options
def command(**given: Any) -> None:
    """Try out whether a place can keep stores: permissions, conditional writes, listings, ranges, locks, speed.

    Everything is done in a directory of its own below URL/_doctor, which is removed in the end; a store that is there
    is not touched. It takes some 300 small requests. The exit status is 1 if the place is not fit for one writer and
    many readers, or with --read-only not fit to read.
    """
    from measurefs.cli._examining import run  # noqa: PLC0415 - slow to import

    run(**given)
