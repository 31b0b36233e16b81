"""A part whose rows are in memory."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from measurefs.codec.cached import cached_property
from measurefs.codec.memory import array_of
from measurefs.codec.types import ColumnType
from measurefs.part.blocks import lay_out
from measurefs.part.fetch import Fetch
from measurefs.part.part import (
    TIME,
    VERSION,
    Blocks,
    ChunkStatistics,
    Extent,
    Known,
    Loaded,
    Loading,
    Part,
    Scan,
    Within,
)
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
        How many a block has at most.
    """

    def __init__(self, part_id: int, rows: Rows, block_rows: int) -> None:
        self.id = part_id
        self.rows = len(rows)
        self.min_time = int(rows.times.min())
        self.max_time = int(rows.times.max())
        self.nbytes = rows.nbytes
        self.held = rows
        self._block_rows = block_rows

    @cached_property
    def _laid_out(self) -> tuple[Blocks, npt.NDArray[np.int64]]:
        """All blocks, and where each begins; found when first asked for, since many parts never are."""
        rows = self.held
        starts = lay_out(rows, self._block_rows).starts
        times = rows.times[starts[:-1]], rows.times[starts[1:] - 1]
        return Blocks(rows.series, rows.codes[starts[:-1]], np.diff(starts), *times), starts[:-1]

    def extents(self, scan: Scan) -> Fetch[list[Extent]]:
        """Find the wanted blocks; needs no reads."""
        yield from ()
        blocks, starts = self._laid_out
        touched = scan.touched(blocks)
        if not len(touched):
            return []
        return [Extent(self, 0, scan.cut(blocks, touched), starts[touched], touched)]

    def load(
        self,
        extent: Extent,
        names: Sequence[str],
        which: npt.NDArray[np.bool_] | None = None,
        *,
        keep: bool = True,
        within: Within | None = None,
    ) -> Fetch[Loading]:
        """Return columns; needs no reads."""
        yield from ()
        rows = self.held
        columns = {name: rows.columns[name] for name in names if name in rows.columns}
        keys = {TIME: rows.times, VERSION: rows.versions}
        columns |= {name: array_of(values) for name, values in keys.items() if name in names}
        count = len(extent.places) if which is None else int(np.count_nonzero(which))
        loaded = Loaded(columns, np.zeros(count, np.int64))
        return Loading(lambda: loaded, [], 0)

    def known(self, extent: Extent, names: Sequence[str]) -> Fetch[Known]:
        """Return its blocks: nothing more is known of them."""
        yield from ()
        return Known(self._laid_out[0], None, {})

    def statistics(self, extent: Extent, name: str) -> ChunkStatistics | None:
        """Return the least and the greatest version; of other columns nothing is known."""
        if name != VERSION:
            return None
        every = np.ones(len(extent.places), np.int64)
        low, high = self._versions
        return ChunkStatistics(ColumnType.INT64, self.rows * every, 0 * every, low * every, high * every)

    @cached_property
    def _versions(self) -> tuple[int, int]:
        return int(self.held.versions.min()), int(self.held.versions.max())

    def empty_rows(self, names: Sequence[str]) -> Rows:
        """Return no rows, of the columns that it has."""
        columns = {name: self.held.columns[name][:0] for name in names if name in self.held.columns}
        return msgspec.structs.replace(self.held.slice(0, 0), columns=columns)
