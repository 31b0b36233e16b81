"""Backup, restore and copy, for the commands of these names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

import measurefs
from measurefs.cli.common import BadInput, Failed, console, plural, print_json, size
from measurefs.database.backup import backup
from measurefs.fs import scheme_of


def run_backup(
    source: str,
    target: str,
    tag: str | None,
    measures: Sequence[str],
    verify: bool,
    forget: Sequence[str],
    as_json: bool,
    storage_options: Mapping[str, Any],
    to_options: Mapping[str, Any],
) -> None:
    """Run ``measurefs backup``; the parameters are its options."""
    chosen = {"tag": tag, "measures": measures or None, "verify": verify, "forget": forget}
    _run(backup, source, target, chosen, as_json, storage_options, to_options)


def run_restore(
    source: str,
    target: str,
    tag: str | None,
    measures: Sequence[str],
    as_json: bool,
    storage_options: Mapping[str, Any],
    to_options: Mapping[str, Any],
) -> None:
    """Run ``measurefs restore``; the parameters are its options."""
    chosen = {"tag": tag, "measures": measures or None}
    _run(measurefs.restore, source, target, chosen, as_json, storage_options, to_options)


def run_copy(
    source: str,
    target: str,
    measures: Sequence[str],
    as_json: bool,
    storage_options: Mapping[str, Any],
    to_options: Mapping[str, Any],
) -> None:
    """Run ``measurefs copy``; the parameters are its options."""
    _run(measurefs.copy, source, target, {"measures": measures or None}, as_json, storage_options, to_options)


def _run(
    call: Callable[..., measurefs.CopyReport],
    source: str,
    target: str,
    chosen: Mapping[str, Any],
    as_json: bool,
    storage_options: Mapping[str, Any],
    to_options: Mapping[str, Any],
) -> None:
    if not to_options and scheme_of(source) == scheme_of(target):
        to_options = storage_options
    with _bar(visible=not as_json) as progress:
        task = progress.add_task("", total=None)
        try:
            done = call(
                source,
                target,
                source_options=storage_options,
                target_options=to_options,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
                **chosen,
            )
        except measurefs.NotExistError as error:
            if error.path == source:
                raise BadInput(f"there is no measurefs store at {source!r}; check the URL") from error
            raise
        except (measurefs.LockError, measurefs.InvalidPathError):
            raise
        except measurefs.FileSystemError as error:
            raise Failed(
                f"cannot copy from {source!r} to {target!r}: {error}; check both URLs, the permissions, "
                "--storage-option and --to-option, and run it again: it goes on from where it was"
            ) from error
    if as_json:
        print_json({"source": source, "target": target, **msgspec.to_builtins(done)})
    else:
        _print(target, done)


def _print(target: str, done: measurefs.CopyReport) -> None:
    there = done.parts - done.copied
    out = console()
    out.print(
        f"{target}: {plural(len(done.measures), 'measure')}, {plural(done.tables, 'table')}, "
        f"{plural(done.parts, 'part')}; {size(done.bytes)} copied in {plural(done.copied, 'part')}, "
        f"{there:,} were there, {done.removed:,} removed; {done.seconds:.1f} s",
        soft_wrap=True,
    )
    for name in done.kept:
        out.print(f"  {name} is not in the source any more; tags in the backup keep it", soft_wrap=True)


def _bar(*, visible: bool) -> Progress:
    out = console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=out, transient=True, disable=not (visible and out.is_terminal))
