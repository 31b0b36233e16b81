"""Primary blocks as they are stored: what goes from a writer, or from another part, into a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from measurefs.codec.columns import Chunk
from measurefs.part.part import Blocks, join_blocks
from measurefs.part.summary import Summary, join_summaries


class EncodedBlocks(NamedTuple):
    """Consecutive primary blocks, encoded: p of them, b blocks in all, c columns.

    Attributes
    ----------
    blocks : Blocks
        Of all, in order.
    counts : int64 array, shape (p,)
        How many blocks each primary block has.
    chunks : p sequences of c chunks
    checks : int64 array, shape (p, c)
        The chunks' 32-bit checksums.
    uncompressed : int
        Bytes of the rows before encoding.
    summary : Summary or None
        What is known of the blocks, if it was found out.
    """

    blocks: Blocks
    counts: npt.NDArray[np.int64]
    chunks: Sequence[Sequence[Chunk]]
    checks: npt.NDArray[np.int64]
    uncompressed: int
    summary: Summary | None = None

    @property
    def rows(self) -> int:
        """How many rows they hold."""
        return int(self.blocks.rows.sum())

    def slice(self, first: int, stop: int) -> EncodedBlocks:
        """Return the primary blocks from first up to stop; all bytes before encoding count for the first slice."""
        starts = np.append(0, np.cumsum(self.counts))
        part = slice(int(starts[first]), int(starts[min(stop, len(self.counts))]))
        return EncodedBlocks(
            self.blocks.those(part),
            self.counts[first:stop],
            self.chunks[first:stop],
            self.checks[first:stop],
            0 if first else self.uncompressed,
            None if self.summary is None else self.summary.those(part),
        )


def join_encoded(pieces: Sequence[EncodedBlocks]) -> EncodedBlocks:
    """Join pieces of one part end to end."""
    if len(pieces) == 1:
        return pieces[0]
    return EncodedBlocks(
        join_blocks([piece.blocks for piece in pieces]),
        np.concatenate([piece.counts for piece in pieces]),
        [chunk for piece in pieces for chunk in piece.chunks],
        np.concatenate([piece.checks for piece in pieces]),
        sum(piece.uncompressed for piece in pieces),
        join_summaries([piece.summary for piece in pieces]),
    )
