"""The merge policy over ten million flushes, without any I/O: how many parts there are, and what is written in all.

Run it as ``python -m benchmarks.policy [--flushes 10000000] [--plot docs/merging.svg]``; the plot needs matplotlib.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from pathlib import Path

from measurefs.table.policy import MergeOptions, choose

KIB, MIB = 1 << 10, 1 << 20

FLUSHES: dict[str, Callable[[random.Random], int]] = {
    "one row each (1.5 KiB)": lambda _: 1536,
    "64 MiB of rows each (8 MiB encoded)": lambda _: 8 * MIB,
    "anything from 1.5 KiB to 6 MiB": lambda chance: int(1536 * 4 ** chance.uniform(0, 6)),
}


def simulate(size: Callable[[random.Random], int], flushes: int) -> list[tuple[int, int, float]]:
    """Return after 1, 2, 4... flushes how many, the most parts there were, and bytes written per byte flushed."""
    chance, options = random.Random(1), MergeOptions()
    parts: list[int] = []
    flushed = written = most = 0
    shown: list[tuple[int, int, float]] = []
    for number in range(1, flushes + 1):
        parts.append(size(chance))
        flushed += parts[-1]
        written += parts[-1]
        while (chosen := choose(parts, options)) is not None:
            merged = sum(parts[chosen.start : chosen.stop])
            parts[chosen.start : chosen.stop] = [merged]
            written += merged
        most = max(most, len(parts))
        if number & (number - 1) == 0 or number == flushes:
            shown.append((number, most, written / flushed))
    return shown


def plot(results: dict[str, list[tuple[int, int, float]]], path: Path) -> None:
    """Draw both figures over the number of flushes."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "measurefs"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    titles = ("the most parts there were after merging", "bytes written per byte flushed")
    for place, (axis, title) in enumerate(zip(axes, titles, strict=True), start=1):
        for name, shown in results.items():
            axis.plot([each[0] for each in shown], [each[place] for each in shown], label=name)
        axis.set(xscale="log", xlabel="flushes", title=title, ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].axhline(15, color="grey", linestyle=":", linewidth=1)
    axes[1].legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Simulate, print, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flushes", type=int, default=10_000_000)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    results = {}
    for name, size in FLUSHES.items():
        results[name] = simulate(size, given.flushes)
        print(name)
        for number, most, amplification in results[name]:
            print(
                f"  {number:>10,} flushes: at most {most:>2} parts, {amplification:5.2f} bytes written per byte"
            )
    if given.plot:
        plot(results, given.plot)


if __name__ == "__main__":
    main()
