"""A table: parts, snapshots, and what keeps them: introducer, flusher, garbage cleaner, recovery."""

from measurefs.table.background import Background
from measurefs.table.memory import MemoryBudget
from measurefs.table.options import Runtime, TableOptions
from measurefs.table.schema import TableSchema
from measurefs.table.snapshot import Snapshot
from measurefs.table.table import TsTable

__all__ = [
    "Background",
    "MemoryBudget",
    "Runtime",
    "Snapshot",
    "TableOptions",
    "TableSchema",
    "TsTable",
]
