"""What a table holds, in figures."""

from __future__ import annotations

from typing import Any

from measurefs.table.flusher import Flusher
from measurefs.table.merger import Merger
from measurefs.table.snapshot import Snapshot


def describe(snapshot: Snapshot) -> dict[str, Any]:
    """Return what a snapshot holds, as plain numbers."""
    files, memory = snapshot.file_parts, snapshot.memory_parts
    every = (*files, *memory)
    return {
        "epoch": snapshot.epoch,
        "file_parts": len(files),
        "memory_parts": len(memory),
        "rows": sum(part.rows for part in every),
        "blocks": sum(part.metadata.blocks for part in files),
        "compressed_bytes": sum(part.metadata.compressed_bytes for part in files),
        "uncompressed_bytes": sum(part.metadata.uncompressed_bytes for part in files),
        "memory_bytes": snapshot.memory_bytes,
        "min_time": min((part.min_time for part in every), default=None),
        "max_time": max((part.max_time for part in every), default=None),
    }


def describe_writing(flusher: Flusher, merger: Merger) -> dict[str, Any]:
    """Return what was written since the table was opened, and what that cost: bytes in all per byte flushed."""
    flushed, written = (
        flusher.flushed_bytes,
        flusher.logged_bytes + flusher.flushed_bytes + merger.merged_bytes,
    )
    return {
        "committed_epoch": max(flusher.committed, flusher.durable),
        "logged_bytes": flusher.logged_bytes,
        "flushed_bytes": flushed,
        "merges": merger.merges,
        "merged_bytes": merger.merged_bytes,
        "write_amplification": written / flushed if flushed else None,
        "merge_error": str(error) if (error := merger.trouble) else None,
    }
