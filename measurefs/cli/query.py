"""``measurefs query``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from measurefs.cli.common import storage_options

FORMATS = ("table", "csv", "json", "jsonl", "parquet", "arrow")

_EXAMPLES = """\b
Examples:
  measurefs query ./metrics cpu --where host=a --start -1h
  measurefs query ./metrics cpu --where 'usage>0.9' --where host^=web- --limit 10
  measurefs query ./metrics cpu --start 2026-01-01 --end 2026-01-02 --output day.parquet
  measurefs query ./metrics cpu --columns time,usage --order -time --limit 10
  measurefs query ./metrics cpu --last
  measurefs query ./metrics cpu --as-of before-upgrade
  measurefs query ./metrics cpu --agg count
  measurefs query ./metrics cpu --agg mean,max --every 1h --by host
  measurefs query ./metrics cpu --agg usage:mean,p99 --every 1d --timezone Europe/Berlin
  measurefs query ./metrics cpu --start -1h --plot
  measurefs query ./metrics cpu --agg usage:mean --every 1h --by host --plot usage.png

\b
Functions: count, sum, mean, min, max, first, last, stddev, median, and quantiles such as
p99 (exact) and approx_p99 (at most 1 % off, in little memory)."""


class _Query(click.Command):
    """The command, which takes a word behind ``--plot`` for a file only if it looks like one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words."""
        words = [
            "--plot=-" if word == "--plot" and not _is_file(after) else word
            for word, after in zip(args, [*args, ""][1:], strict=True)
        ]
        return super().parse_args(ctx, words)


def _is_file(word: str) -> bool:
    """Whether a word is where to draw, and not the next argument."""
    return word == "-" or (Path(word).suffix != "" and "://" not in word and not Path(word).is_dir())


@click.command(cls=_Query, short_help="Print, sum up, draw or export rows.", epilog=_EXAMPLES)
@click.argument("url")
@click.argument("measure")
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="COL=VALUE (several for one column: any of them), COL!=VALUE, COL<VALUE, <=, >, >=, COL~REGEX, "
    "COL^=PREFIX, 'COL is null', 'COL is not null'. A list has the VALUE in it. Repeatable: all must hold.",
)
@click.option(
    "--start", metavar="TIME", help="First time: ISO 8601 (UTC), now, or -1h (units s, m, h, d, w)."
)
@click.option("--end", metavar="TIME", help="Where to stop, exclusive; written as --start.")
@click.option("--columns", metavar="A,B", help="The columns wanted, in this order.")
@click.option("--order", type=click.Choice(["time", "-time", "series"]), help="Of rows; default time.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="The first N rows only.")
@click.option(
    "--offset", type=click.IntRange(min=0), default=0, metavar="N", help="Leave out the first N rows."
)
@click.option("--last", is_flag=True, help="The newest row of each series.")
@click.option(
    "--agg",
    multiple=True,
    metavar="[COL:]FUNCTION,...",
    help="Compute these of a column, or of every field that is a number; count alone counts rows. Repeatable.",
)
@click.option("--every", metavar="SPAN", help="Of --agg: in steps of 10s, 5m, 1h, 1d, 1w, 1mo, 1y and so on.")
@click.option("--by", metavar="A,B", help="Of --agg: for each value of these entity columns and tags.")
@click.option(
    "--timezone", metavar="NAME", help="Where days, weeks and months of --every begin, and that charts show."
)
@click.option(
    "--fill", metavar="HOW", help="In steps without rows: null, previous, linear or a number. Else left out."
)
@click.option(
    "--as-of",
    metavar="TAG|TIME",
    help="Rows as they were: at a tag, at a time written as --start, or at an epoch.",
)
@click.option(
    "--plot",
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="Draw a line chart instead: in the terminal, or to a .png, .svg or .pdf (needs measurefs[plot]).",
)
@click.option("--explain", is_flag=True, help="Print what was read for it instead.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Default: by the ending of --output; else table in a terminal and csv in a pipe.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--output", "-o", type=click.Path(), metavar="FILE", help="Write to a file.")
@click.option(
    "--cache", metavar="DIRECTORY", help="Keep what is read of a remote store here, for the next query."
)
@storage_options
def command(**given: Any) -> None:
    """Print or export the rows of a measure, or what they come to, or draw them.

    Reads as it prints: the output may be larger than memory. Never writes to the store, and needs no lock.
    """
    from measurefs.cli._results import run  # noqa: PLC0415 - slow to import

    run(**given)
