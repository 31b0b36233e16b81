"""How much memory this process takes, and took at most."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
KIB = 1 << 10


def forget_peak() -> int:
    """Let the peak begin anew, where the system can, and return the bytes that are taken now."""
    if not STATUS.exists():
        return peak()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """Return the most bytes that were taken since `forget_peak`; since the start where the system cannot forget."""
    if STATUS.exists():
        return _status("VmHWM")  # ru_maxrss would have what the parent took when it started this process
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * KIB


def _status(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    assert found is not None
    return int(found[1]) * KIB
