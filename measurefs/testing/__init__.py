"""For authors of backends and engines: a conformance suite, and file systems that crash and fail on demand.

The suite needs pytest; everything is imported only when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from measurefs.testing.conformance import FileSystemConformance, RawAccess
    from measurefs.testing.crash import CrashFileSystem, SimulatedCrash
    from measurefs.testing.fault import Fault, FaultFileSystem, Stall

__all__ = [
    "CrashFileSystem",
    "Fault",
    "FaultFileSystem",
    "FileSystemConformance",
    "RawAccess",
    "SimulatedCrash",
    "Stall",
]

_HOMES = {
    **dict.fromkeys(("FileSystemConformance", "RawAccess"), "measurefs.testing.conformance"),
    **dict.fromkeys(("CrashFileSystem", "SimulatedCrash"), "measurefs.testing.crash"),
    **dict.fromkeys(("Fault", "FaultFileSystem", "Stall"), "measurefs.testing.fault"),
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
