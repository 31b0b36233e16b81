"""What ``measurefs demo`` prints."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

import measurefs
from measurefs.cli._chart import Chart
from measurefs.cli._overview import measure_figures
from measurefs.cli._sampler import CPU, MACHINE, PERIOD
from measurefs.cli.common import count, moment, plural, size

_CORES_SHOWN = 4


@dataclasses.dataclass(slots=True)
class Acknowledged:
    """What the writer called durable before it was killed.

    Attributes
    ----------
    rows : dict
        By measure.
    first, last : dict
        The times of the first and the last rows, by measure.
    """

    rows: dict[str, int] = dataclasses.field(default_factory=dict)
    first: dict[str, int] = dataclasses.field(default_factory=dict)
    last: dict[str, int] = dataclasses.field(default_factory=dict)

    def add(self, line: str) -> None:
        """Take note of a line that the writer printed."""
        report = json.loads(line)
        name = report["measure"]
        self.rows[name] = self.rows.get(name, 0) + report["rows"]
        self.first.setdefault(name, report["time"])
        self.last[name] = report["time"]

    @property
    def total(self) -> int:
        """All rows."""
        return sum(self.rows.values())


def show(
    out: Console,
    where: str,
    db: measurefs.Database,
    acknowledged: Acknowledged,
    found: Mapping[str, int],
    opened: float,
    *,
    temporary: bool,
) -> None:
    """Tell what happened, draw the CPU, and show what was stored and how to go on."""
    _show_story(out, acknowledged, sum(found.values()), opened)
    if CPU in found:
        _show_cpu(out, _rows(db, CPU, acknowledged))
    if MACHINE in found:
        _show_machine(out, _rows(db, MACHINE, acknowledged))
    _show_figures(out, db, list(found))
    _show_next(out, where, temporary=temporary)


def _rows(db: measurefs.Database, name: str, acknowledged: Acknowledged) -> pa.Table:
    with db.measure(name).query(acknowledged.first[name], acknowledged.last[name] + 1) as result:
        return result.to_arrow()


def _show_story(out: Console, acknowledged: Acknowledged, found: int, opened: float) -> None:
    span = (max(acknowledged.last.values()) - min(acknowledged.first.values())) / 1e9
    total = count(acknowledged.total)
    verdict = (
        ("all of them are there", "bold green")
        if found == acknowledged.total
        else (f"only {count(found)} are there", "bold red")
    )
    story = Table.grid(padding=(0, 2))
    for name, *text in (
        ("sampled", f"this machine for {span:.1f} s, {1 / PERIOD:.0f} times a second"),
        ("wrote", f"{total} rows durably, in a process of its own"),
        ("killed", "that process in the middle of a write, so that it could not clean up"),
        ("reopened", f"the store in {opened * 1000:.0f} ms and counted the {total} rows: ", verdict),
    ):
        story.add_row(Text(f"  {name}", "dim"), Text.assemble(*text))
    out.print()
    out.print(story)
    out.print()


def _show_cpu(out: Console, rows: pa.Table) -> None:
    by_time = rows.group_by("time").aggregate([("busy", "mean")]).sort_by("time")
    first, last = (moment(by_time["time"][place].value).split()[1] for place in (0, -1))
    cores = rows.group_by("core").aggregate([("busy", "mean"), ("busy", "max")]).sort_by("core")
    out.print(Text(f"  CPU busy, mean of {plural(cores.num_rows, 'core')}", "bold"))
    out.print(Chart(by_time["busy_mean"].to_pylist(), unit="%", left=first, right=f"{last} UTC", top=100.0))
    out.print()
    busiest = cores.sort_by([("busy_mean", "descending")]).slice(0, _CORES_SHOWN).to_pylist()
    shown = ", ".join(
        f"{core['core']}: {core['busy_mean']:.0f}% (max {core['busy_max']:.0f}%)" for core in busiest
    )
    most = "busiest " if cores.num_rows > _CORES_SHOWN else ""
    out.print(Text.assemble((f"  {most}cores   ", "dim"), shown))


def _show_machine(out: Console, rows: pa.Table) -> None:
    def change(name: str) -> str:
        values = rows[name].drop_null()
        return size(values[-1].as_py() - values[0].as_py()) if len(values) else "none here"

    used, percent = pc.max(rows["memory_used"]).as_py(), pc.max(rows["memory_percent"]).as_py()
    for name, text in (
        ("memory", f"{size(used)} used at most ({percent:.0f}%)"),
        ("disk", f"{change('disk_read')} read, {change('disk_written')} written"),
        ("network", f"{change('net_received')} received, {change('net_sent')} sent"),
    ):
        out.print(Text.assemble((f"  {name:<8}", "dim"), text))


def _show_figures(out: Console, db: measurefs.Database, names: list[str]) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in ("measure", "rows", "series", "parts", "size", "bytes/row"):
        table.add_column(title, justify="left" if title == "measure" else "right")
    for name in names:
        total = measure_figures(db.measure(name)).total
        each = f"{total.bytes / max(total.rows, 1):.1f}"
        table.add_row(
            name, count(total.rows), count(total.series), count(total.parts), size(total.bytes), each
        )

    out.print()
    out.print(Padding(table, (0, 0, 0, 1)))
    out.print(Text("  The more rows a durable write has, the fewer bytes each takes.\n", "dim"))


def _show_next(out: Console, where: str, *, temporary: bool) -> None:
    url = "./metrics" if temporary else where
    if not temporary:
        out.print(Text(f"  The store is kept: measurefs inspect {url}\n"), soft_wrap=True)
    out.print(Text("  Now with figures of your own:\n", "bold"))
    for line in _EXAMPLE.format(url=url).splitlines():
        out.print(Text(f"    {line}", "cyan"), soft_wrap=True)
    out.print()


_EXAMPLE = """\
import measurefs
with measurefs.open({url!r}) as db:
    cpu = db.create_measure("cpu", entity=["host"], fields={{"usage": "float64"}}, exist_ok=True)
    cpu.write({{"time": ["2026-01-01T12:00:00Z"], "host": ["a"], "usage": [0.5]}}, durable=True)
    print(cpu.query(where={{"host": "a"}}).to_pandas())
"""
