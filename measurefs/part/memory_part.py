"""A part whose rows are in memory."""

from __future__ import annotations

import numpy as np

from measurefs.part.blocks import lay_out
from measurefs.part.fetch import Fetch
from measurefs.part.part import Blocks, Part, Scan
from measurefs.part.rows import Rows


class MemoryPart(Part):
    """One written batch.

    Parameters
    ----------
    part_id : int
        Its number.
    rows : Rows
        At least one, in order of (series, time), each once; see `sort_rows`.
    block_rows : int
        How `blocks` cuts them.
    """

    def __init__(self, part_id: int, rows: Rows, block_rows: int) -> None:
        self.id = part_id
        self.rows = len(rows)
        self.min_time = int(rows.times.min())
        self.max_time = int(rows.times.max())
        self.nbytes = rows.nbytes
        self.held = rows
        self._block_rows = block_rows

    def blocks(self, scan: Scan) -> Fetch[Blocks]:
        """Find the wanted blocks; needs no reads."""
        yield from ()
        rows = self.held
        starts = lay_out(rows, self._block_rows).starts
        codes = rows.codes[starts[:-1]]
        min_times, max_times = rows.times[starts[:-1]], rows.times[starts[1:] - 1]
        blocks = Blocks(rows.series, codes, np.diff(starts), min_times, max_times)
        return blocks.those(scan.touches(blocks))

    def read(self, scan: Scan) -> Fetch[Rows]:
        """Return the wanted rows; needs no reads."""
        yield from ()
        rows = self.held
        held = {name: rows.columns[name] for name in scan.columns if name in rows.columns}
        rows = Rows(rows.series, rows.codes, rows.times, rows.versions, held)
        if scan.series is None and scan.start <= self.min_time and self.max_time < scan.end:
            return rows
        return rows.take(np.flatnonzero(scan.wants(rows)))
