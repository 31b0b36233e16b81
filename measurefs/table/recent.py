"""The rows of the small parts that a table wrote last, for the merge that reads them next."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TypeVar

from measurefs.part.file_part import FilePart
from measurefs.part.held import Cache
from measurefs.part.rows import Rows

T = TypeVar("T")

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

    def keep(self, number: int, slices: Iterable[T], size: int) -> Iterable[T]:
        """Keep the rows of a part, unless their size in bytes is too large; return what is to be written."""
        if size > _MOST:
            return slices
        held = list(slices)
        self._cache.keep(self._key(number), held, size)
        return held

    def take(self, parts: Sequence[FilePart]) -> dict[int, Sequence[Rows]]:
        """Return the rows of those parts whose rows are kept, by their ids; they are kept no more."""
        found = {part.id: self._cache.pop(self._key(part.id)) for part in parts}
        return {number: rows for number, rows in found.items() if rows is not None}

    def _key(self, number: int) -> tuple[str, int, int]:
        return "recent", self._token, number
