"""Showing and breaking locks, for ``measurefs unlock``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import click
from rich import box
from rich.table import Table
from rich.text import Text

import measurefs
from measurefs.cli.common import BadInput, console, plural, print_json, reaching
from measurefs.database.verify import chosen_roots, opened, tables_of
from measurefs.fs import FileSystem, HeldLock, basename, join, parent
from measurefs.table.lock import LOCK

_THREADS = 16
_TREE = 20_000

_WARNING = (
    "A writer that is still alive will be fenced: it loses what it has not made durable, and must open the store "
    "again. Make sure that the processes above are dead, or wait: a lock that is not renewed for a lease gets free by "
    "itself."
)


class _Held(NamedTuple):
    """A table, and who holds it."""

    table: str
    lock: HeldLock


def run(url: str, measure: str | None, yes: bool, as_json: bool, storage_options: Mapping[str, Any]) -> None:
    """Run the command; the parameters are its options."""
    with _store(url, storage_options) as fs:
        found = _held(fs, [table for root in chosen_roots(fs, measure) for table in _tables(fs, root)])
        if found and not as_json:
            _show(found)
            if not yes:
                click.confirm(f"Break {plural(len(found), 'lock')}?", abort=True, err=True)
        broken = [held for held in found if _break(fs, held)] if yes or not as_json else []
    if as_json:
        print_json({"url": url, "locks": [_plain(held, broken=held in broken) for held in found]})
    elif not found:
        console().print("No table is locked.")
    else:
        console().print(f"Broke {plural(len(broken), 'lock')}.")
        for held in found:
            if held not in broken:
                console().print(
                    f"{held.table} has changed hands meanwhile, and was left alone.", soft_wrap=True
                )


@contextmanager
def _store(url: str, storage_options: Mapping[str, Any]) -> Iterator[FileSystem]:
    try:
        with reaching(url), opened(url, storage_options) as fs:
            yield fs
    except measurefs.NotExistError as error:
        raise BadInput(f"there is no measurefs store at {url!r}; check the URL") from error


def _tables(fs: FileSystem, root: str) -> list[str]:
    """Return the directories of a measure's tables, at least of those that were ever locked."""
    tree = fs.read_tree(root, _TREE)
    if tree is None:
        return [place.path for place in tables_of(fs, root, None)]
    return sorted({join(root, parent(entry.name)) for entry in tree if basename(entry.name).startswith(LOCK)})


def _held(fs: FileSystem, tables: Sequence[str]) -> list[_Held]:
    with ThreadPoolExecutor(_THREADS) as threads:
        locks = list(threads.map(lambda table: fs.lock_holder(join(table, LOCK)), tables))
    return [_Held(table, lock) for table, lock in zip(tables, locks, strict=True) if lock is not None]


def _break(fs: FileSystem, held: _Held) -> bool:
    """Break a lock, if it is still held by whom it was shown with."""
    path = join(held.table, LOCK)
    now = fs.lock_holder(path)
    if now is None or now.holder.token != held.lock.holder.token:
        return False
    return fs.break_lock(path) is not None


# Showing


def _show(found: Sequence[_Held]) -> None:
    out = console(stderr=True)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for name in ("table", "held by", "since (by its clock)", "renewed"):
        table.add_column(name, overflow="fold")
    for held in found:
        holder, unrenewed = held.lock
        ago = "-" if unrenewed is None else f"{unrenewed:.0f} s ago"
        table.add_row(Text(held.table, "bold"), f"process {holder.pid} on {holder.host}", holder.since, ago)
    out.print(table)
    out.print(Text(_WARNING, "yellow"), soft_wrap=True)


def _plain(held: _Held, *, broken: bool) -> dict[str, Any]:
    holder, unrenewed = held.lock
    return {
        "table": held.table,
        "host": holder.host,
        "pid": holder.pid,
        "since": holder.since,
        "unrenewed_seconds": unrenewed,
        "broken": broken,
    }
