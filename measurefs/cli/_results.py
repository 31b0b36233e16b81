"""Running a query for ``measurefs query``: its rows, its chart or what it took go where they should."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import click

from measurefs.cli._requests import Options, Request
from measurefs.cli._writers import ENDINGS, NO_ROWS, WRITERS, print_table
from measurefs.cli.common import BadInput, Failed, console, open_store, print_json, user_file

TERMINAL = "-"
"""Where ``--plot`` draws without a file."""
_PICTURES = (".png", ".svg", ".pdf")


def run(
    url: str,
    measure: str,
    storage_options: Mapping[str, Any],
    form: str | None,
    as_json: bool,
    output: str | None,
    explain: bool,
    cache: str | None,
    **asked: Any,
) -> None:
    """Run the command; the parameters are its options."""
    options = Options(**asked)
    options.check()
    _check_output(options.plot, form, as_json, output, explain)
    if not (options.plot or explain):
        form = _format("json" if as_json else form, output)
    with open_store(url, storage_options, cache) as db:
        request = Request(db.measure(measure), options, time.time_ns())
        if options.plot is not None:
            _draw(request, options.plot)
        elif explain:
            _explain(request, as_json)
        else:
            assert form is not None
            _print_rows(request, form, output)


def _check_output(
    plot: str | None, form: str | None, as_json: bool, output: str | None, explain: bool
) -> None:
    """Raise `BadInput` for more than one thing to show, or for a file that is no picture."""
    if plot is not None:
        if form or as_json or output or explain:
            raise BadInput(
                "--plot draws a chart instead of printing rows; "
                "run the command twice, once without --format, --json, --output and --explain"
            )
        if plot != TERMINAL and Path(plot).suffix.lower() not in _PICTURES:
            raise BadInput(
                f"cannot draw to {plot!r}; let the name end in one of {', '.join(_PICTURES)}, "
                "or give --plot alone, for a chart in the terminal"
            )
    if explain and (form or output):
        raise BadInput("--explain prints what was read instead of rows; leave out --format and --output")


def _print_rows(request: Request, form: str, output: str | None) -> None:
    with contextlib.closing(request.result()) as result:
        if form == "table" and output is None:
            print_table(result)
            return
        with _destination(output) as stream:
            WRITERS[form](result, stream)


def _draw(request: Request, where: str) -> None:
    from measurefs.cli._charting import draw  # noqa: PLC0415 - not needed for rows

    drawing = draw(request)
    if where == TERMINAL:
        from measurefs.cli._linechart import LineChart  # noqa: PLC0415

        console().print(NO_ROWS if drawing is None else LineChart(drawing))
        return
    if drawing is None:
        raise Failed(f"nothing to draw, {where!r} was not written. {NO_ROWS}")
    from measurefs.cli._plot import save_picture  # noqa: PLC0415

    with _destination(where) as stream:
        width, height = save_picture(drawing, stream, Path(where).suffix.lower()[1:])
    size = f" ({width} x {height} pixels)" if where.lower().endswith(".png") else ""
    console(stderr=True).print(f"wrote {where}{size}", soft_wrap=True)


def _explain(request: Request, as_json: bool) -> None:
    from measurefs.cli._explained import figures, show  # noqa: PLC0415

    began = time.perf_counter()
    with contextlib.closing(request.result()) as result:
        work = result.explain()
    seconds = time.perf_counter() - began
    if as_json:
        print_json(figures(work, seconds))
    else:
        show(console(), work, seconds)


def _format(form: str | None, output: str | None) -> str:
    if form is None and output is not None:
        form = ENDINGS.get(Path(output).suffix.lower())
        if form is None:
            picture = Path(output).suffix.lower() in _PICTURES
            hint = f"draw a picture with --plot {output}" if picture else "say it with --format"
            raise BadInput(
                f"cannot tell the format from the name {output!r}; {hint}, "
                f"or let the name end in one of {', '.join(ENDINGS)}"
            )
    if form is None:
        form = "table" if sys.stdout.isatty() else "csv"
    if form == "table" and output is not None:
        raise BadInput(
            "--format table is for people to look at; use csv, json, jsonl, parquet or arrow in a file"
        )
    if form in {"parquet", "arrow"} and output is None and sys.stdout.isatty():
        raise BadInput(f"{form} is binary and would garble the terminal; add --output FILE, or pipe it")
    return form


@contextlib.contextmanager
def _destination(output: str | None) -> Iterator[BinaryIO]:
    """Open where the bytes go; a file appears under its name only when all of it is there."""
    if output is None:
        yield cast(BinaryIO, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    final = Path(output)
    partial = final.with_name(f".{final.name}.partial")
    kind: type[click.ClickException] = Failed if final.parent.is_dir() else BadInput
    with user_file(output, "write", kind):
        try:
            with partial.open("wb") as file:
                yield file
            partial.replace(final)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
