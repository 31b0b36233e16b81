"""What was written, and what of it was acknowledged: the model that a store is compared with."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")
Key = tuple[int, int]
Contents = dict[Key, int | None]
"""(id, time) to value."""

Shape = tuple[str, ...]
"""What a schema says, as text."""

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


@dataclasses.dataclass(eq=False)
class Removal:
    """Rows that were to go: by a deletion, with a segment or with a measure.

    Attributes
    ----------
    takes : callable
        Whether a row of this table and key goes.
    pieces : list of Piece
        What it takes rows of: those written before.
    whole : bool
        Whether it takes effect in all tables at once, and not in each by itself.
    lasting : bool
        Whether it takes what is written later, too, as long as nobody was told that it is done.
    acknowledged : bool
        Whether anybody was told that the rows are gone. Until then they are all there or all gone.
    """

    takes: Callable[[str, Key], bool]
    pieces: list[Piece]
    whole: bool = False
    lasting: bool = False
    acknowledged: bool = False

    def took(self, piece: Piece, key: Key) -> bool:
        """Whether a row of a piece is gone if this took effect."""
        return any(each is piece for each in self.pieces) and self.takes(piece.table, key)


@dataclasses.dataclass
class Tag:
    """A name for what a store held at a moment: by table, those that were empty left out.

    Attributes
    ----------
    sure : bool
        Whether it must be there: it was made, and nobody has begun to remove it.
    torn : bool
        Whether it may show nothing: removing it has failed half-way.
    """

    held: dict[str, Contents]
    sure: bool = False
    torn: bool = False


@dataclasses.dataclass(frozen=True)
class Beside:
    """What a store holds besides rows.

    Attributes
    ----------
    tags : dict
        Their names, and what is found at each; None if that is damaged.
    shape : tuple, optional
        The schema; None if there is none.
    """

    tags: Mapping[str, Mapping[str, Contents] | None]
    shape: Shape | None = None


class Journal:
    """All pieces in order of writing, and all else that was done.

    Attributes
    ----------
    contested : bool
        Whether several writers have been at work at once. Then a tag that nobody was told of may be a torn one.
    shapes : list of tuple
        What the schema may be. Nothing is known of it as long as the list is empty.
    watched : bool
        Whether tags and schema are to be looked at.
    expired : int
        Rows before this time may be refused.
    """

    def __init__(self, pieces: Iterable[Piece] = (), arrivals: int = 0) -> None:
        self.pieces = list(pieces)
        self.removals: list[Removal] = []
        self.tags: dict[str, Tag] = {}
        self.shapes: list[Shape] = []
        self.contested = False
        self.watched = False
        self.expired = 0
        self._arrivals = arrivals

    def copy(self) -> Journal:
        """Return a journal that may go on differently."""
        twins = {id(piece): dataclasses.replace(piece) for piece in self.pieces}
        other = Journal(twins.values(), self._arrivals)
        other.removals = [
            dataclasses.replace(
                removal, pieces=[twins[id(piece)] for piece in removal.pieces if id(piece) in twins]
            )
            for removal in self.removals
        ]
        other.tags = {name: dataclasses.replace(tag) for name, tag in self.tags.items()}
        other.shapes, other.expired = list(self.shapes), self.expired
        other.contested, other.watched = self.contested, self.watched
        return other

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
        for removal in self.removals:
            if removal.lasting and not removal.acknowledged:
                removal.pieces += added
        return added

    def remove(
        self, takes: Callable[[str, Key], bool], *, whole: bool = False, lasting: bool = False
    ) -> Removal:
        """Note that rows are to go, before it is asked for."""
        self.removals.append(Removal(takes, list(self.pieces), whole, lasting))
        return self.removals[-1]

    def settle(self, found: Mapping[str, Contents]) -> None:
        """After a death: check, and forget what did not survive it. It must never be seen again."""
        self.check(found)
        self.pieces = [piece for piece in self.pieces if piece.mark in found.get(piece.table, {})]

    def decide(self, found: Mapping[str, Contents]) -> None:
        """Check what a writer finds, before it goes on: what is gone as a whole stays so, or is not lost any more."""
        happened = self.check(found)
        for removal in happened:
            removal.acknowledged = True
        self.removals = [removal for removal in self.removals if removal.acknowledged or not removal.whole]

    def check(self, found: Mapping[str, Contents], demanded: Sequence[Piece] = ()) -> Sequence[Removal]:
        """Compare with what a store holds.

        Every acknowledged or demanded piece must be there, every other one whole or not at all, with the
        values of the newest version, and nothing else. Of a removal that nobody was told of all rows are
        there or none: of a whole one in all tables, of others in each. Returns which of the whole ones have
        taken effect.
        """
        open_ones = [removal for removal in self.removals if not removal.acknowledged]
        done = [removal for removal in self.removals if removal.acknowledged]
        tables = {*found, *(piece.table for piece in self.pieces)}
        failures = []
        for together in _subsets([removal for removal in open_ones if removal.whole]):
            single = [removal for removal in open_ones if not removal.whole]
            wrong = [
                self._wrong(table, found, demanded, [*done, *together], single) for table in sorted(tables)
            ]
            failures.append([each for each in wrong if each])
            if not failures[-1]:
                return together
        raise AssertionError("; or ".join("; ".join(wrong) for wrong in failures))

    def _wrong(
        self,
        table: str,
        found: Mapping[str, Contents],
        demanded: Sequence[Piece],
        removed: Sequence[Removal],
        perhaps: Sequence[Removal],
    ) -> str | None:
        """Say what is wrong with a table if these removals took effect, and any of those; None if nothing is."""
        held = found.get(table, {})
        pieces = [piece for piece in self.pieces if piece.table == table]
        there = {
            id(piece) for piece in pieces if piece.acknowledged or piece in demanded or piece.mark in held
        }
        first = None
        for more in _subsets(perhaps):
            gone = [*removed, *more]
            # Of a piece whose mark is removed nothing tells whether it was stored.
            unknown = [
                piece
                for piece in pieces
                if id(piece) not in there and any(each.took(piece, piece.mark) for each in gone)
            ]
            for stored in _subsets(unknown):
                chosen = [piece for piece in pieces if id(piece) in there or piece in stored]
                expected = _merged(chosen, gone)
                if held == expected:
                    return None
                first = first or (
                    f"{table}: lost {_difference(expected, held)}; not expected {_difference(held, expected)}"
                )
        return first

    def check_beside(self, look: Callable[[], Beside]) -> None:
        """Compare tags and schema, if the workload is about these."""
        if not self.watched:
            return
        found = look()
        for name, tag in self.tags.items():
            held = found.tags.get(name)
            if name not in found.tags:
                assert not tag.sure, f"the tag {name!r} is gone"
            elif held is None:
                assert tag.torn or (self.contested and not tag.sure), f"the tag {name!r} is damaged"
            else:
                held = {table: rows for table, rows in held.items() if rows}
                assert held == tag.held, f"the tag {name!r} shows {held}, not {tag.held}"
        strange = found.tags.keys() - self.tags.keys()
        assert not strange, f"there are tags that were removed, or never made: {strange}"
        if self.shapes and found.shape is not None:
            assert found.shape in self.shapes, f"the schema is {found.shape}, and not one of {self.shapes}"


def _merged(pieces: Sequence[Piece], gone: Collection[Removal]) -> Contents:
    """Return what pieces are together, without what was removed."""
    rows: Contents = {}
    for piece in sorted(pieces, key=lambda piece: piece.version):  # equal versions: the later one
        rows |= {
            key: value
            for key, value in piece.rows.items()
            if not any(removal.took(piece, key) for removal in gone)
        }
    return rows


def _subsets(items: Sequence[T]) -> Iterator[tuple[T, ...]]:
    """Yield each choice of items, none first."""
    for count in range(len(items) + 1):
        yield from itertools.combinations(items, count)


def _difference(one: Contents, other: Contents) -> Contents:
    return {key: value for key, value in one.items() if key not in other or other[key] != value}
