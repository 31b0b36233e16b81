"""Compaction and collection, for ``measurefs compact`` and ``measurefs gc``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import measurefs
from measurefs.cli.common import console, count, open_store, plural, print_json, reaching, size
from measurefs.database import Database, Measure

_FIGURES = ("rows", "file_parts", "compressed_bytes")


def run_compact(url: str, measure: str | None, as_json: bool, storage_options: Mapping[str, Any]) -> None:
    """Run ``measurefs compact``; the parameters are its options."""
    told: list[dict[str, Any]] = []
    with _writing(url, measure, storage_options) as (database, names), _bar(visible=not as_json) as progress:
        for name in names:
            opened = database.measure(name)
            before = _figures(opened)
            task = progress.add_task(name, total=before["rows"] or 1)
            opened.compact(
                progress=lambda done, total, task=task: progress.update(task, completed=done, total=total)  # type: ignore[misc]
            )
            told.append({"measure": name, "before": before, "after": _figures(opened)})
    if as_json:
        print_json({"url": url, "measures": told})
        return
    for each in told:
        before, after = each["before"], each["after"]
        console().print(
            f"{each['measure']}: {count(after['rows'])} rows in {plural(after['file_parts'], 'part')}, "
            f"{size(after['compressed_bytes'])} (before: {plural(before['file_parts'], 'part')}, "
            f"{size(before['compressed_bytes'])})",
            soft_wrap=True,
        )


def run_gc(
    url: str,
    measure: str | None,
    grace: float,
    keep: int,
    as_json: bool,
    storage_options: Mapping[str, Any],
) -> None:
    """Run ``measurefs gc``; the parameters are its options."""
    options = measurefs.TableOptions(gc_grace=grace, keep_snapshots=keep)
    removed: list[str] = []
    with _writing(url, measure, storage_options, options) as (database, names):
        for attempt in range(2 if grace else 1):
            if attempt:
                time.sleep(grace)  # what nothing needs must have been so for the whole grace
            for name in names:
                removed += database.measure(name).gc()
    if as_json:
        print_json({"url": url, "removed": removed})
        return
    for path in removed:
        console().print(path, soft_wrap=True)
    console().print(f"Removed {plural(len(removed), 'file')}.")


@contextlib.contextmanager
def _writing(
    url: str,
    measure: str | None,
    storage_options: Mapping[str, Any],
    options: measurefs.TableOptions | None = None,
) -> Iterator[tuple[Database, Sequence[str]]]:
    """Open a store that is there, and give it with the measures that are meant."""
    with open_store(
        url, storage_options
    ) as database:  # read-only, so that a wrong URL does not become a store
        names = database.measures() if measure is None else [database.measure(measure).name]
    with (
        reaching(url),
        measurefs.open(url, storage_options=storage_options, options=options, background=False) as database,
    ):
        yield database, names


def _figures(measure: Measure) -> dict[str, int]:
    """Return the figures of all tables of a measure together."""
    tables = measure.stats().values()
    return {name: sum(table[name] for table in tables) for name in _FIGURES}


def _bar(*, visible: bool) -> Progress:
    out = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    return Progress(*columns, console=out, transient=True, disable=not (visible and out.is_terminal))
