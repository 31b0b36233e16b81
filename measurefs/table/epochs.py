"""Epochs: 64-bit numbers that order everything a table ever publishes, across all its writers.

The high 24 bits are the token of the writer's lock, the low 40 count what that writer publishes. Whoever
holds a later lock has only higher numbers than everybody before. Parts and snapshots draw from the same
numbers.
"""

from __future__ import annotations

import re

_COUNTER_BITS = 40
MAX_TOKEN = (1 << 23) - 1
"""One bit of the token stays unused, so that an epoch also is a row's version, an int64."""

SNAPSHOT_SUFFIX = ".snp"
CORRUPT = ".corrupt"
"""The ending of what was set aside."""

_SNAPSHOT = re.compile(r"([0-9a-f]{16})\.snp")
_PART = re.compile(r"([0-9a-f]{16})(?:\.part|\.log)?")
_LOG = re.compile(r"([0-9a-f]{16})\.log")


def first_epoch(token: int) -> int:
    """Return the number before the first that the holder of a token may use."""
    return token << _COUNTER_BITS


def token_of(epoch: int) -> int:
    """Return the token of the lock under which an epoch was published."""
    return epoch >> _COUNTER_BITS


def snapshot_name(epoch: int) -> str:
    """Return the name of a snapshot's file."""
    return f"{epoch:016x}{SNAPSHOT_SUFFIX}"


def snapshot_epoch(name: str) -> int | None:
    """Return the epoch of a snapshot's file, None if the name is not one."""
    match = _SNAPSHOT.fullmatch(name)
    return int(match.group(1), 16) if match else None


def log_number(name: str) -> int | None:
    """Return the number of a part of the log, None if the name is not that of one."""
    match = _LOG.fullmatch(name)
    return int(match.group(1), 16) if match else None


def part_id(name: str) -> int | None:
    """Return the id of a part's file or directory, None if the name is not one."""
    match = _PART.fullmatch(name)
    return int(match.group(1), 16) if match else None
