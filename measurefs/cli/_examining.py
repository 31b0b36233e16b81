"""Showing what an examination of a file system found, for ``measurefs doctor``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from measurefs.cli.common import Failed, console, print_json, size
from measurefs.fs import ReadOnlyFileSystem, open_url
from measurefs.fs.examination import FAILED, LARGE, LARGER, PASSED, Examination, examine
from measurefs.fs.latency import Latency

_COLOURS = {PASSED: "green", FAILED: "bold red"}
_DOING = {
    "write": "write 4 KiB",
    "read": "read a small file",
    "range": "read a range of 4 KiB",
    "list": "list a directory",
}


def run(
    url: str,
    read_only: bool,
    large: bool,
    samples: int,
    as_json: bool,
    storage_options: Mapping[str, Any],
) -> None:
    """Run the command; the parameters are its options."""
    with open_url(url, **storage_options) as fs, _progress(shown=not as_json) as tell:
        found = examine(
            ReadOnlyFileSystem(fs) if read_only else fs,
            read_only=read_only,
            large=LARGER if large else LARGE,
            samples=samples,
            tell=tell,
        )
    if as_json:
        print_json(_plain(url, found))
    else:
        _show(console(), found, remote=fs.remote)
    if not found.fit:
        raise Failed(f"{url} is {found.verdict}")


@contextlib.contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[str], object]]:
    """Say on a terminal what is being tried."""
    out = console(stderr=True)
    if not (shown and out.is_terminal):
        yield lambda _: None
        return
    with out.status("") as status:
        yield status.update


def _show(out: Console, found: Examination, *, remote: bool) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for name in ("check", "outcome", "what it proves", "seen"):
        table.add_column(name, overflow="fold")
    for check in found.checks:
        seen = "see below" if check.outcome == FAILED else check.details
        outcome = Text(check.outcome, _COLOURS.get(check.outcome, "dim"))
        table.add_row(Text(check.name, "bold"), outcome, check.proves, Text(seen, "dim"))
    out.print(table)
    for check in found.failed:
        out.print(Text.assemble((check.name, "bold"), f": {check.details}"), soft_wrap=True)
        if check.advice:
            out.print(Padding(Text(check.advice), (0, 0, 0, 4), expand=False))
    if found.latency is not None:
        _show_latency(out, found.latency, remote=remote)
    if found.left_over:
        out.print(
            Text(f"What was written could not be removed: remove {found.left_over!r} yourself.", "yellow")
        )
    if found.fit:
        out.print(Text(found.verdict[0].upper() + found.verdict[1:] + ".", "bold green"))


def _show_latency(out: Console, latency: Latency, *, remote: bool) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("a call")
    table.add_column("median", justify="right")
    table.add_column("p95", justify="right")
    for name, timing in latency.calls.items():
        table.add_row(_DOING[name], _time(timing.median), _time(timing.p95))
    out.print(table)
    rates = ", ".join(f"{way} at {size(rate)}/s" for way, rate in latency.throughput.items())
    out.print(f"One large file: {rates}.")
    if remote:
        durable = latency.durable_write
        written = f"a durable write takes about {_time(durable)} (three round trips), and " if durable else ""
        first = f"opening and a first answer {_time(latency.first_answer)} (six)"
        out.print(f"By that {written}{first}.")


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:,.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.2f} ms"


def _plain(url: str, found: Examination) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(found)
    latency = found.latency
    plain["latency"] = latency and {
        "calls": {name: timing._asdict() for name, timing in latency.calls.items()},
        "throughput": latency.throughput,
        "durable_write": latency.durable_write,
        "first_answer": latency.first_answer,
    }
    return {"url": url, "fit": found.fit, "verdict": found.verdict, **plain}
