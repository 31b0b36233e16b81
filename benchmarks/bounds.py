"""What bounds each figure on this machine, out of the limits that the same run measured."""

from __future__ import annotations

from benchmarks.limits import CHUNK, cores
from benchmarks.results import MACHINE, Results

COLUMNS = 6
"""Time and five fields: what `pcodec_out` decodes of each row."""


def add_bounds(results: Results) -> None:
    """Note what the machine would take for those measures whose limit was not measured beside the engines."""

    def limit(name: str) -> float | None:
        return results.median(f"limits.{name}", MACHINE)

    needed = (
        "sync",
        "read",
        "pcodec_in",
        "pcodec_in_all",
        "pcodec_out",
        "pcodec_size",
        "wide_in_all",
        "wide_size",
    )
    found = {name: limit(name) for name in needed}
    if any(each is None for each in found.values()):
        return
    known = {name: each for name, each in found.items() if each is not None}
    rows = results.shape["series"] * results.shape["rows"]
    syncing = known["sync"] / 1e3
    chunk = 3 * known["read"] + CHUNK / known["pcodec_out"] / 1e3
    bounds = {
        # all columns through the encoder, on all cores
        "ingest.end": known["pcodec_in_all"],
        "ingest.wide": known["wide_in_all"],
        "ingest.compaction": known["pcodec_in_all"],
        "ingest.cpu": 1 / known["pcodec_in"],
        # that, and one file synced with its folder for each batch
        "ingest.each": 0.01 / (0.01 / known["pcodec_in_all"] + syncing),
        "rewriting.tenth": (rows / 1e7 / known["pcodec_in_all"] + syncing) * 1e3,
        # time and fields alone
        "ingest.compacted": known["pcodec_size"],
        "ingest.wide_compacted": known["wide_size"],
        # three small reads, and one chunk of each column decoded
        "cold.series_hour": chunk,
        "cold.open": known["read"],
        "cold.open_answer": chunk,
        # one of the columns decoded, on all cores
        "cold.scan_value": rows / 1e3 / (known["pcodec_out"] * COLUMNS * cores()),
    }
    for measure, bound in bounds.items():
        if measure in results.figures:
            results.note(measure, MACHINE, bound)
