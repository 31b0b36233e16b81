"""The process that ``measurefs demo`` kills: it samples this machine, and writes what it sees durably.

It runs as ``python -m measurefs.cli._sampler URL OPTIONS`` and prints a line of JSON whenever rows have become
durable, and never before: what it has printed must be found in the store after it was killed.
"""

from __future__ import annotations

import itertools
import json
import socket
import sys
import time
from typing import Any

import click
import psutil

import measurefs

PERIOD = 0.1
"""Seconds between two samples."""

CPU, MACHINE = "demo_cpu", "demo_machine"


def create(db: measurefs.Database) -> tuple[measurefs.Measure, measurefs.Measure]:
    """Create the two measures: of each core, and of the whole machine."""
    cpu = db.create_measure(
        CPU,
        entity={"host": "string", "core": "int64"},
        fields={"busy": "float64", "user": "float64", "system": "float64"},
        exist_ok=True,
    )
    machine = db.create_measure(
        MACHINE,
        entity=["host"],
        fields={
            "memory_used": "int64",
            "memory_percent": "float64",
            "disk_read": "int64",
            "disk_written": "int64",
            "net_received": "int64",
            "net_sent": "int64",
        },
        exist_ok=True,
    )
    return cpu, machine


def sample_cpu(host: str) -> list[dict[str, Any]]:
    """Return a row per core: percent of the time since the last call, for user and system of that spent busy."""
    now = time.time_ns()
    return [
        {
            "time": now,
            "host": host,
            "core": core,
            "busy": round(100.0 - share.idle, 1),
            "user": share.user,
            "system": share.system,
        }
        for core, share in enumerate(psutil.cpu_times_percent(percpu=True))
    ]


def sample_machine(host: str) -> list[dict[str, Any]]:
    """Return a row with memory in bytes, and the counters of disk and network (null where there are none)."""
    memory, disk, network = psutil.virtual_memory(), psutil.disk_io_counters(), psutil.net_io_counters()
    return [
        {
            "time": time.time_ns(),
            "host": host,
            "memory_used": memory.total - memory.available,
            "memory_percent": memory.percent,
            "disk_read": disk.read_bytes if disk else None,
            "disk_written": disk.write_bytes if disk else None,
            "net_received": network.bytes_recv if network else None,
            "net_sent": network.bytes_sent if network else None,
        }
    ]


def _sample_until_killed(db: measurefs.Database) -> None:
    cpu, machine = create(db)
    host = socket.gethostname()
    psutil.cpu_times_percent(percpu=True)  # the first call has nothing to compare with
    start = time.monotonic()
    for number in itertools.count(1):
        time.sleep(max(start + number * PERIOD - time.monotonic(), 0.0))
        for measure, rows in ((cpu, sample_cpu(host)), (machine, sample_machine(host))):
            written = measure.write(rows, durable=True)
            print(json.dumps({"measure": measure.name, "rows": written, "time": rows[0]["time"]}), flush=True)  # noqa: T201


def main() -> None:
    """Sample and write until killed; an error becomes a line on stderr."""
    url, options = sys.argv[1], json.loads(sys.argv[2])
    try:
        with measurefs.open(url, storage_options=options) as db:
            _sample_until_killed(db)
    except measurefs.MeasureFSError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
