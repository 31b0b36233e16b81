"""The rows of the small parts that a table wrote last, for the merge that reads them next."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

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

    def keep(self, number: int, slices: Iterable[Rows], size: int) -> Iterable[Rows]:
        """Keep the rows of a part, unless their size in bytes is too large; return what is to be written."""
        if size > _MOST:
            return slices
        held = list(slices)
        self._cache.keep(self._key(number), held, size)
        return held

    def take(self, parts: Sequence[FilePart]) -> list[Rows] | None:
        """Return the rows of parts that become one, None unless those of all are kept; then keep them no more."""
        found = [self._cache.pop(self._key(part.id)) for part in parts]
        return None if None in found else [rows for held in found for rows in held]

    def _key(self, number: int) -> tuple[str, int, int]:
        return "recent", self._token, number
