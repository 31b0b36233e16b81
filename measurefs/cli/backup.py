"""``measurefs backup``."""

from __future__ import annotations

from typing import Any

import click

from measurefs.cli.common import as_json, storage_options, to_options

_EXAMPLES = """\b
Examples:
  measurefs backup ./metrics s3://bucket/backup --tag 2026-01-31
  measurefs backup ./metrics /mnt/backup --measure cpu
  measurefs backup s3://bucket/metrics /mnt/backup --storage-option endpoint_url=http://localhost:9000"""


@click.command(short_help="Bring a backup of a store up to date.", epilog=_EXAMPLES)
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option(
    "--tag", metavar="NAME", help="Keep this very state in the backup under a name, to restore it later."
)
@click.option("--measure", "measures", multiple=True, metavar="MEASURE", help="Only this one. Repeatable.")
@click.option("--verify", is_flag=True, help="Also check what is in DST already, and mend it.")
@click.option(
    "--forget", multiple=True, metavar="NAME", help="Give up a state kept in DST under a name. Repeatable."
)
@as_json
@storage_options
@to_options
def command(**given: Any) -> None:
    """Bring the backup of SRC at DST up to date, or make one where there is nothing.

    Only what DST lacks is copied, and all of it is checked. A backup is a store: query it, verify it, restore it, but
    it is not written to. With --tag any number of states stay in one backup and share their files, until --forget.
    Needs no lock of SRC and does not mind its writer: of each table it takes what was committed last. Interrupted, run
    it again.

    --storage-option is for SRC and --to-option for DST; without any of the latter, and if both are on the same kind of
    store, DST takes those of SRC.
    """
    from measurefs.cli._copying import run_backup  # noqa: PLC0415 - slow to import

    run_backup(**given)
