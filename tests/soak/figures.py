"""What is measured now and then: memory of the processes, and what is in the bucket; and how fast it grows."""

from __future__ import annotations

import collections
import re
import xml.etree.ElementTree as ET
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from tests.s3_server import S3Server

MIB = 1 << 20
_LOCK = re.compile(r"LOCK\.[0-9a-f]{16}$")


class Sample(NamedTuple):
    """A figure of something at a moment, seconds after the beginning."""

    seconds: float
    value: float


class Samples:
    """Figures of several things over time; those of one kind have a slope together, each its own level."""

    def __init__(self) -> None:
        self._of: dict[str, dict[Hashable, list[Sample]]] = collections.defaultdict(dict)

    def add(self, kind: str, which: Hashable, seconds: float, value: float) -> None:
        """Note a figure."""
        self._of[kind].setdefault(which, []).append(Sample(seconds, value))

    def values(self, kind: str, after: float = 0.0) -> list[float]:
        """Return all figures of a kind from some moment on."""
        return [
            each.value for samples in self._of[kind].values() for each in samples if each.seconds >= after
        ]

    def kinds(self) -> list[str]:
        """Return what there are figures of."""
        return [*self._of]

    def slope(self, kind: str, warm_up: float) -> float | None:
        """Return by how much a figure grows in an hour, on average, once each thing is older than the warm-up.

        None where no thing was long enough there.
        """
        above = below = 0.0
        for samples in self._of[kind].values():
            late = [each for each in samples if each.seconds >= samples[0].seconds + warm_up]
            if len(late) >= 3:
                seconds, values = np.array(late).T
                off = seconds - seconds.mean()
                above += float(off @ (values - values.mean()))
                below += float(off @ off)
        return above / below * 3600 if below else None


def in_bucket(server: S3Server, bucket: str) -> dict[str, int]:
    """Return how many objects of which kind a bucket has, and their bytes."""
    found: collections.Counter[str] = collections.Counter()
    after = ""
    while True:
        status, body = server.request("GET", f"/{bucket}?list-type=2{after}")
        assert status == 200, body
        root = ET.fromstring(body)
        space = root.tag.partition("}")[0] + "}"
        for entry in root.iter(f"{space}Contents"):
            found["lock files" if _LOCK.search(entry.findtext(f"{space}Key", "")) else "objects"] += 1
            found["kB"] += int(entry.findtext(f"{space}Size", "0")) // 1024
        token = root.findtext(f"{space}NextContinuationToken")
        if not token:
            return dict(found)
        after = f"&continuation-token={token}"


def quantiles(values: Sequence[float]) -> str:
    """Return least, median and largest of some figures."""
    low, middle, high = np.quantile(values, [0, 0.5, 1]) if len(values) else (np.nan,) * 3
    return f"{low:,.0f} / {middle:,.0f} / {high:,.0f}"
