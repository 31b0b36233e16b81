"""What is measured: the rows of the tables, with their units, and what bounds each."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Measure:
    """One row of a table.

    Attributes
    ----------
    key : str
        Its name in JSON; up to the first point that of its group.
    title : str
        What it is.
    unit : str
        Of its figures.
    more : bool
        Whether more is better.
    """

    key: str
    title: str
    unit: str
    more: bool = False

    @property
    def group(self) -> str:
        """The group whose run measures it."""
        return self.key.partition(".")[0]

    def ratio(self, figure: float, other: float) -> float:
        """Return how many times better a figure is than another."""
        if not figure or not other:
            return float("nan")
        return figure / other if self.more else other / figure


QUESTIONS = {
    "series_hour": "one series for an hour",
    "eight_series_hour": "eight series for an hour",
    "all_hour": "all series for an hour",
    "all_hour_by_time": "all series for an hour, by time",
    "scan_value": "all values of a field",
    "scan_rows": "a field with time and series",
    "mean_by_series": "mean of a field by series",
    "hourly_by_region": "hourly mean of a field by region",
    "last_rows": "newest row of every series",
    "newest_of_series": "ten newest rows of a series",
    "count_high": "count above the 99.9th percentile",
}
ORDERED = ("series_hour", "newest_of_series", "all_hour_by_time")
"""The questions whose answers are in order of time; others need only have the rows of a series together."""

_S3 = {
    "append": "durable append of 10,000 rows",
    "first_append": "open to write, and append",
    "cold": "cold open to one series for an hour",
    "warm": "the same question again",
    "other": "that of another series",
    "compact": "compaction",
}
_S3_UNITS = {"ms": "ms", "requests": "requests", "round_trips": "round trips"}

MEASURES = (
    Measure("ingest.end", "durable at the end", "M rows/s", True),
    Measure("ingest.each", "each batch durable", "M rows/s", True),
    Measure("ingest.wide", "many series, durable at the end", "M rows/s", True),
    Measure("ingest.compaction", "compaction after durable batches", "M rows/s", True),
    Measure("ingest.cpu", "CPU time, durable at the end", "s/M rows"),
    Measure("ingest.memory", "peak memory above the start", "MiB"),
    Measure("ingest.written", "size after durable batches", "bytes/row"),
    Measure("ingest.compacted", "size compacted", "bytes/row"),
    Measure("ingest.wide_written", "size of many series as written", "bytes/row"),
    Measure("ingest.wide_compacted", "size of many series compacted", "bytes/row"),
    Measure("appends.p50", "durable append, median", "ms"),
    Measure("appends.p99", "durable append, 99th percentile", "ms"),
    Measure("appends.rate_of_threads", "durable appends of {threads} threads", "k rows/s", True),
    Measure("appends.p50_of_threads", "durable append of {threads} threads, median", "ms"),
    Measure("rewriting.tenth", "rewriting a tenth of the rows", "ms"),
    Measure("rewriting.mean", "mean of a field by series after that", "ms"),
    *(Measure(f"queries.{name}", title, "ms") for name, title in QUESTIONS.items()),
    Measure("cold.series_hour", "open to one series for an hour", "ms"),
    Measure("cold.scan_value", "open to all values of a field", "ms"),
    Measure("cold.mean_by_series", "open to mean of a field by series", "ms"),
    Measure("cold.open", "open after 100 appends, not merged", "ms"),
    Measure("cold.open_answer", "the same to one series for an hour", "ms"),
    Measure("cold.process", "whole process to one series for an hour", "ms"),
    Measure("cold.import", "process that imports the engine", "ms"),
    Measure("cold.import_alone", "process that imports measurefs, for later", "ms"),
    Measure("cold.help", "measurefs --help", "ms"),
    Measure("growth.memory", "peak memory of the largest ingest", "MiB"),
    *(
        Measure(f"s3.{step}_{key}", title, unit)
        for step, title in _S3.items()
        for key, unit in _S3_UNITS.items()
    ),
    Measure("limits.sync", "write and sync a file of 16 KiB, sync its folder", "ms"),
    Measure("limits.sync_two", "the same with two files", "ms"),
    Measure("limits.read", "open and read a file of 16 KiB", "ms"),
    Measure("limits.write", "write sequentially and sync", "MB/s", True),
    Measure("limits.copy", "copy memory, one thread", "MB/s", True),
    Measure("limits.sort", "order rows by series and time, one thread", "M rows/s", True),
    Measure("limits.pcodec_in", "pcodec encodes time and five fields, one thread", "M rows/s", True),
    Measure("limits.pcodec_in_all", "the same, all cores", "M rows/s", True),
    Measure("limits.pcodec_out", "pcodec decodes them, one thread", "M rows/s", True),
    Measure("limits.pcodec_size", "what they take by pcodec", "bytes/row"),
    Measure("limits.wide_in_all", "pcodec encodes many series, all cores", "M rows/s", True),
    Measure("limits.wide_size", "what many series take by pcodec", "bytes/row"),
    Measure("limits.zstd_in", "zstandard compresses time and five fields, one thread", "M rows/s", True),
    Measure("limits.zstd_out", "zstandard decompresses them, one thread", "M rows/s", True),
    Measure("limits.zstd_size", "what they take by zstandard", "bytes/row"),
)
BY_KEY = {measure.key: measure for measure in MEASURES}
