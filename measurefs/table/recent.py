"""The rows of the small parts that a table wrote last, for the merge that reads them next."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from measurefs.part.file_part import FilePart
from measurefs.part.held import Cache
from measurefs.part.rows import Rows

_MOST = 8 << 20
_tokens = itertools.count()


class RecentRows:
    """Keeps the rows of small parts as they are written; reading them back takes longer than merging them.

    Parameters
    ----------
    cache : Cache
        Where to keep them, beside what queries have decoded, while it has room.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._token = next(_tokens)

    def has_room(self, size: int) -> bool:
        """Whether a part of so many bytes of rows is to be kept."""
        return size <= _MOST

    def keep(self, number: int, slices: Sequence[Rows]) -> None:
        """Keep the rows of a part that was written."""
        size = sum(rows.nbytes + rows.series.nbytes for rows in slices)
        self._cache.keep(self._key(number), slices, size)

    def take(self, parts: Sequence[FilePart]) -> dict[int, Sequence[Rows]]:
        """Return the rows of those parts whose rows are kept, by their ids; they are kept no more."""
        found = {part.id: self._cache.pop(self._key(part.id)) for part in parts}
        return {number: rows for number, rows in found.items() if rows is not None}

    def _key(self, number: int) -> tuple[str, int, int]:
        return "recent", self._token, number
