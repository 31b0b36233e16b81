"""What was written, and what of it was acknowledged: the model that a store is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

Contents = dict[tuple[int, int], int | None]
"""(id, time) to value."""

ARRIVAL = 1 << 62
"""Rows without a version of their own are newer than all that have one, and the later the newer."""


@dataclasses.dataclass(eq=False)
class Piece:
    """What of one batch belongs in one table: it is stored whole or not at all.

    Attributes
    ----------
    table : str
    rows : Contents
    version : int
    mark : tuple
        A key that no other piece of the table has, by which the piece is recognised.
    acknowledged : bool
        Whether anybody was told that it is durable.
    """

    table: str
    rows: Contents
    version: int
    mark: tuple[int, int]
    acknowledged: bool = False


class Journal:
    """All pieces in order of writing."""

    def __init__(self, pieces: Iterable[Piece] = (), arrivals: int = 0) -> None:
        self.pieces = list(pieces)
        self._arrivals = arrivals

    def copy(self) -> Journal:
        """Return a journal that may go on differently."""
        return Journal(map(dataclasses.replace, self.pieces), self._arrivals)

    def add(self, homes: Mapping[str, Contents], version: int | None) -> list[Piece]:
        """Note a batch, by table, before it is written."""
        known = {(piece.table, key) for piece in self.pieces for key in piece.rows}
        added = []
        self._arrivals += 1
        for table, rows in homes.items():
            mark = next(key for key in rows if (table, key) not in known)
            number = ARRIVAL + self._arrivals if version is None else version
            added.append(Piece(table, rows, number, mark))
        self.pieces += added
        return added

    def settle(self, found: Mapping[str, Contents]) -> None:
        """After a death: check, and forget what did not survive it. It must never be seen again."""
        self.check(found)
        self.pieces = [piece for piece in self.pieces if piece.mark in found.get(piece.table, {})]

    def check(self, found: Mapping[str, Contents], demanded: Sequence[Piece] = ()) -> None:
        """Compare with what a store holds.

        Every acknowledged or demanded piece must be there, every other one whole or not at all, with the
        values of the newest version, and nothing else.
        """
        for table in {*found, *(piece.table for piece in self.pieces)}:
            held = found.get(table, {})
            stored = [
                piece
                for piece in self.pieces
                if piece.table == table and (piece.acknowledged or piece in demanded or piece.mark in held)
            ]
            expected: Contents = {}
            for piece in sorted(stored, key=lambda piece: piece.version):  # equal versions: the later one
                expected |= piece.rows
            assert held == expected, (
                f"{table}: lost {_difference(expected, held)}; not expected {_difference(held, expected)}"
            )


def _difference(one: Contents, other: Contents) -> Contents:
    return {key: value for key, value in one.items() if key not in other or other[key] != value}
