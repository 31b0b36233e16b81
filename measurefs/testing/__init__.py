"""For authors of backends: the conformance suite that a `FileSystem` must pass.

The suite needs pytest, and is imported only when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from measurefs.testing.conformance import FileSystemConformance, RawAccess

__all__ = ["FileSystemConformance", "RawAccess"]

_HOMES = dict.fromkeys(("FileSystemConformance", "RawAccess"), "measurefs.testing.conformance")


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
