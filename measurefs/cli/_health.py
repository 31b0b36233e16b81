"""Showing what verify and repair found, and did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

import measurefs
from measurefs.cli.common import (
    BadInput,
    Failed,
    console,
    count,
    iso,
    moment,
    plural,
    print_json,
    reaching,
    size,
)
from measurefs.part.verify import Damage
from measurefs.table.repair import Action, RepairReport
from measurefs.table.verify import VerifyReport

_TIMES = ("min_time", "max_time")


def run_verify(url: str, measure: str | None, as_json: bool, storage_options: Mapping[str, Any]) -> None:
    """Run ``measurefs verify``; the parameters are its options."""
    with _reading(url):
        report = measurefs.verify(url, measure, storage_options=storage_options)
    if as_json:
        print_json({"url": url, "ok": report.ok, **_report_json(report)})
    else:
        out = console()
        _print_checked(out, url, report)
        _print_damages(out, "damage", report.damages)
    if not report.ok:
        raise Failed(f"{_damages(report)}; see what can be done: measurefs repair {url}")


def run_repair(
    url: str, measure: str | None, apply: bool, as_json: bool, storage_options: Mapping[str, Any]
) -> None:
    """Run ``measurefs repair``; the parameters are its options."""
    with _reading(url):
        done = measurefs.repair(url, measure, apply=apply, storage_options=storage_options)
    if as_json:
        print_json(_repair_json(url, done))
    else:
        out = console()
        _print_checked(out, url, done.found)
        _print_actions(out, done)
        _print_damages(out, "left to you", done.left)
    if not done.complete:
        raise Failed(f"{plural(len(done.left), 'damage')} cannot be repaired here; each says what to do")
    if done.actions and not apply:
        raise Failed(
            f"{_damages(done.found)}; nothing was changed, do it with: measurefs repair {url} --apply"
        )


@contextmanager
def _reading(url: str) -> Iterator[None]:
    try:
        with reaching(url):
            yield
    except measurefs.NotExistError as error:
        raise BadInput(f"there is no measurefs store at {url!r}; check the URL") from error


def _damages(report: VerifyReport) -> str:
    return f"{plural(len(report.damages), 'damage')} found"


# For machines


def _report_json(report: VerifyReport) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(report)
    return plain | {"damages": _timed(report.damages)}


def _repair_json(url: str, done: RepairReport) -> dict[str, Any]:
    return {
        "url": url,
        "applied": done.applied,
        "complete": done.complete,
        "found": _report_json(done.found),
        "actions": _timed(done.actions),
        "left": _timed(done.left),
    }


def _timed(items: Iterable[Damage | Action]) -> list[dict[str, Any]]:
    plain: list[dict[str, Any]] = msgspec.to_builtins(list(items))
    return [item | {name: iso(item[name]) for name in _TIMES} for item in plain]


# For people


def _print_checked(out: Console, url: str, report: VerifyReport) -> None:
    figures = (
        (report.measures, "measure"),
        (report.tables, "table"),
        (report.snapshots, "snapshot"),
        (report.parts, "part"),
        (report.rows, "row"),
    )
    checked = ", ".join(plural(number, noun) for number, noun in figures)
    out.print(Text.assemble((url, "bold"), f"   {checked}, {size(report.bytes)} read"), soft_wrap=True)
    others = (
        (report.unnamed, "part that nothing names yet or any more"),
        (report.set_aside, "file set aside"),
        (report.foreign, "name that is not ours"),
    )
    for number, noun in others:
        if number:
            out.print(f"  besides: {count(number)} x {noun}", soft_wrap=True)
    if report.ok:
        out.print("No damage.")


def _print_damages(out: Console, title: str, damages: Sequence[Damage]) -> None:
    for damage in damages:
        byte = "" if damage.offset is None else f" at byte {count(damage.offset)}"
        _print_item(out, title, damage.path + byte, _held(damage), damage.reason)


def _print_actions(out: Console, done: RepairReport) -> None:
    for action in done.actions:
        title = action.what if done.applied else f"would be {action.what}"
        _print_item(out, title, action.path, _held(action), action.detail)


def _print_item(out: Console, title: str, path: str, *details: str) -> None:
    """Print a path on a line of its own, however long, so that it can be copied, and what there is to say of it."""
    out.print(Text.assemble((title, "bold"), f"  {path}"), soft_wrap=True)
    for detail in filter(None, details):
        out.print(Padding(Text(detail, "dim"), (0, 0, 0, 4), expand=False))


def _held(item: Damage | Action) -> str:
    """Show what something holds or held: rows, and their times."""
    if item.rows is None:
        return ""
    rows = plural(item.rows, "row")
    return rows if item.min_time is None else f"{rows}, {moment(item.min_time)} → {moment(item.max_time)}"
