"""What was measured: of each measure and engine a median and a spread, to and from JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

MACHINE = "the machine"
"""Stands among the engines for what bounds them: syncing alone, encoding alone, NumPy on arrays in memory."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """The median, the 10th and the 90th percentile of so many runs."""

    median: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return that of at least one value."""
        low, median, high = np.quantile(values, [0.1, 0.5, 0.9]).tolist()
        return cls(median, low, high, len(values))


Figures: TypeAlias = dict[str, dict[str, Spread]]
"""By measure and engine."""


@dataclasses.dataclass
class Results:
    """All that one run of the benchmarks found.

    Attributes
    ----------
    shape : dict
        How much data there was, how often things were measured, and on what machine.
    figures : dict
        Of each measure and engine a `Spread`.
    growth : dict
        What `growth` found.
    failed : list of str
        What could not be measured, and why.
    """

    shape: dict[str, Any] = dataclasses.field(default_factory=dict)
    figures: Figures = dataclasses.field(default_factory=dict)
    growth: dict[str, Any] = dataclasses.field(default_factory=dict)
    failed: list[str] = dataclasses.field(default_factory=list)
    _values: dict[tuple[str, str], list[float]] = dataclasses.field(default_factory=dict, repr=False)

    def note(self, measure: str, engine: str, values: float | Iterable[float]) -> None:
        """Add what was measured, in the measure's unit."""
        kept = self._values.setdefault((measure, engine), [])
        kept += [values] if isinstance(values, int | float) else values
        if kept:
            self.figures.setdefault(measure, {})[engine] = Spread.of(kept)

    def median(self, measure: str, engine: str) -> float | None:
        """Return a median, None if that was not measured."""
        found = self.figures.get(measure, {}).get(engine)
        return None if found is None else found.median

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        told = dataclasses.asdict(self)
        del told["_values"]
        path.write_text(json.dumps(told, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what `save` wrote."""
        told = json.loads(path.read_text())
        told["figures"] = {
            measure: {engine: Spread(**spread) for engine, spread in engines.items()}
            for measure, engines in told["figures"].items()
        }
        return cls(**told)
