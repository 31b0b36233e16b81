"""The engines that are measured, each by one class."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sqlite3
from collections.abc import Callable, Sequence

from benchmarks.engines.delta import DeltaLake
from benchmarks.engines.engine import Engine
from benchmarks.engines.of_arcticdb import ArcticDB
from benchmarks.engines.of_duckdb import DuckDB
from benchmarks.engines.of_lance import Lance
from benchmarks.engines.of_measurefs import Measurefs, MeasurefsOnOneThread
from benchmarks.engines.of_sqlite import SQLite
from benchmarks.engines.parquet import Parquet, Polars

__all__ = ["ENGINES", "Engine", "Measurefs", "MeasurefsOnOneThread", "chosen", "of_name", "version"]

ENGINES: tuple[type[Engine], ...] = (
    Measurefs,
    MeasurefsOnOneThread,
    Parquet,
    Polars,
    DuckDB,
    DeltaLake,
    Lance,
    ArcticDB,
    SQLite,
)


def chosen(wanted: Sequence[str], say: Callable[[str], None]) -> list[type[Engine]]:
    """Return the engines that are installed, of those whose names contain what is wanted; all if nothing is."""
    found = []
    for engine in ENGINES:
        if wanted and not any(_matches(engine, each) for each in wanted):
            continue
        if importlib.util.find_spec(engine.module) is None:
            say(f"{engine.name} is left out: it needs {engine.package}, which is not installed")
            continue
        found.append(engine)
    return found


def of_name(name: str) -> type[Engine]:
    """Return the engine of this name."""
    return {engine.name: engine for engine in ENGINES}[name]


def version(engine: type[Engine]) -> str:
    """Return which release of an engine is installed."""
    return (
        sqlite3.sqlite_version if engine.module == "sqlite3" else importlib.metadata.version(engine.package)
    )


def _matches(engine: type[Engine], wanted: str) -> bool:
    return wanted.strip().lower() in engine.name.lower()
