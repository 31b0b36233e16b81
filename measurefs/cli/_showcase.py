"""What ``measurefs demo`` shows: a writer that is killed, its store opened again, and what one does with it."""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

import measurefs
from measurefs.cli._demo_view import Acknowledged, show
from measurefs.cli._overview import measure_figures
from measurefs.cli._sampler import CPU
from measurefs.cli.common import (
    BadInput,
    Failed,
    console,
    open_store,
    plural,
    print_json,
)
from measurefs.fs import scheme_of

_FIRST_ROW_WITHIN = 60.0
_LATE = 5.0


def run(
    url: str | None, seconds: float, keep: bool, as_json: bool, storage_options: Mapping[str, Any]
) -> None:
    """Run the command; the parameters are its options."""
    if url is not None and scheme_of(url) == "memory":
        raise BadInput("the demo kills the process that writes, and memory:// dies with it; give a directory")
    with _store(url, keep=keep) as where:
        acknowledged = _write_and_kill(where, seconds, storage_options, quiet=as_json)
        began = time.perf_counter()
        with open_store(where, storage_options) as db:
            opened = time.perf_counter() - began
            found = _recount(db, acknowledged)
            if as_json:
                print_json(_report(where, db, acknowledged, found))
            else:
                show(console(), where, db, acknowledged, found, opened, temporary=url is None and not keep)
        lost = acknowledged.total - sum(found.values())
        if lost:
            raise Failed(
                f"{lost} rows that were acknowledged as durable are not in the store; please report this"
            )


@contextlib.contextmanager
def _store(url: str | None, *, keep: bool) -> Iterator[str]:
    if url is not None:
        yield url
        return
    directory = tempfile.mkdtemp(prefix="measurefs-demo-")
    try:
        yield str(Path(directory) / "metrics")
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


# The writer


def _write_and_kill(
    url: str, seconds: float, storage_options: Mapping[str, Any], *, quiet: bool
) -> Acknowledged:
    """Let a process write for a while and kill it; return what it had called durable."""
    arguments = [sys.executable, "-m", "measurefs.cli._sampler", url, json.dumps(dict(storage_options))]
    writer = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_pass_on, args=(writer, lines), daemon=True)
    reader.start()
    acknowledged = Acknowledged()
    try:
        ended = not _watch(lines, acknowledged, seconds, console(stderr=True), quiet=quiet)
    finally:
        writer.kill()  # SIGKILL, or TerminateProcess on Windows: nothing of the writer runs any more
        reader.join()
        _, errors = writer.communicate()
    while (line := lines.get()) is not None:
        acknowledged.add(line)
    if ended or not acknowledged.rows:
        raise Failed(f"the process that writes has failed: {errors.strip() or 'it was too slow'}")
    return acknowledged


def _pass_on(writer: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    assert writer.stdout is not None
    for line in writer.stdout:
        if line.endswith("\n"):  # the last one may be torn
            lines.put(line)
    lines.put(None)


def _watch(
    lines: queue.SimpleQueue[str | None],
    acknowledged: Acknowledged,
    seconds: float,
    out: Console,
    *,
    quiet: bool,
) -> bool:
    """Return when the writer has written long enough and is in the middle of a write; false if it has ended."""
    deadline = time.monotonic() + _FIRST_ROW_WITHIN
    visible = out.is_terminal and not quiet
    with out.status("starting a process that writes") if visible else contextlib.nullcontext() as status:
        while True:
            try:
                line = lines.get(timeout=max(deadline - time.monotonic(), _LATE))
            except queue.Empty:
                return True
            if line is None:
                lines.put(None)
                return False
            if not acknowledged.rows:
                deadline = time.monotonic() + seconds
            acknowledged.add(line)
            if status is not None:
                status.update(f"sampling this machine: {plural(acknowledged.total, 'row')} durable")
            # After the rows of the cores come those of the machine, so now they are being written.
            if time.monotonic() >= deadline and json.loads(line)["measure"] == CPU:
                return True


# What came of it


def _recount(db: measurefs.Database, acknowledged: Acknowledged) -> dict[str, int]:
    """Return how many of the acknowledged rows are in the store, by measure."""
    found = {}
    for name in acknowledged.rows:
        first, last = acknowledged.first[name], acknowledged.last[name]
        with db.measure(name).query(first, last + 1, columns=["time"]) as result:
            found[name] = sum(batch.num_rows for batch in result)
    return found


def _report(
    where: str, db: measurefs.Database, acknowledged: Acknowledged, found: Mapping[str, int]
) -> dict[str, Any]:
    return {
        "url": where,
        "measures": {
            name: {
                "acknowledged_rows": acknowledged.rows[name],
                "found_rows": found[name],
                **measure_figures(db.measure(name)).total.to_dict(),
            }
            for name in acknowledged.rows
        },
    }
