"""Which parts of a table to merge: a pure function of their sizes.

Neighbours are merged, so that order of arrival is kept, and of like size, so that a byte is rewritten about once
each time the part that holds it grows by the ratio: parts and rewriting both grow with the logarithm of the data.
The measure of likeness is that of VictoriaMetrics and BanyanDB: the size of the result over that of the largest input.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

_PART_BYTES = 16 << 10


@dataclasses.dataclass(frozen=True, slots=True)
class MergeOptions:
    """When and how parts are merged.

    Attributes
    ----------
    enabled : bool
        Whether it is done in the background; `TsTable.compact` works either way.
    ratio : float
        Neighbours are merged when the result is so many times as large as the largest of them, or more.
    least_inputs, most_inputs : int
        So many at once at least, and at most.
    most_parts : int
        A table with more parts than this merges the best of its neighbours whatever their ratio.
    memory : int
        Bytes that the rows of a merge may take at any moment, roughly, whatever its inputs' size.
    """

    enabled: bool = True
    ratio: float = 5.0
    least_inputs: int = 8
    most_inputs: int = 8
    most_parts: int = 15
    memory: int = 64 << 20

    def __post_init__(self) -> None:
        if not 2 <= self.least_inputs <= self.most_inputs:
            raise ValueError(
                f"a merge needs from 2 inputs on, not {self.least_inputs} to {self.most_inputs}; "
                "give least_inputs and most_inputs so that 2 <= least_inputs <= most_inputs"
            )
        if not self.ratio > 1 or self.most_parts < 1:
            raise ValueError("ratio must be greater than 1 and most_parts at least 1")


def choose(sizes: Sequence[int], options: MergeOptions) -> range | None:
    """Choose the neighbours to merge next, None if all is well as it is.

    Parameters
    ----------
    sizes : sequence of int
        Bytes of the parts, in order of arrival.
    options : MergeOptions
    """
    crowded = len(sizes) > options.most_parts
    costs = [size + _PART_BYTES for size in sizes]  # what a part costs however small it is
    best: tuple[float, int] | None = None
    chosen: range | None = None
    for first in range(len(costs) - 1):
        total = largest = costs[first]
        for last in range(first + 1, min(first + options.most_inputs, len(costs))):
            total += costs[last]
            largest = max(largest, costs[last])
            ratio = total / largest
            enough = last - first + 1 >= options.least_inputs and ratio >= options.ratio
            if (enough or crowded) and (best is None or (ratio, -total) > best):
                best, chosen = (ratio, -total), range(first, last + 1)
    return chosen
