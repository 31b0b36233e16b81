"""What must hold of a store after any crash, whatever it left."""

from __future__ import annotations

from tests.crash.journal import Journal
from tests.crash.stores import Opened, Row, Store, StrictFileSystem

Parts = dict[str, list[int]]

PROOF: list[Row] = [(900, 900, 9_000), (901, 901, 9_010)]
"""Rows written after a recovery, to see that the store accepts them."""


def verify(store: Store, fs: StrictFileSystem, journal: Journal) -> None:
    """Check a store that was found after a crash.

    A reader opens it and changes nothing; it holds all that was acknowledged and nothing that was never
    written, each batch whole or not at all. A writer opens it and finds the same, and so does the next one
    after a crash right then. It takes durable writes. After a collection nothing is left that nothing names.
    """
    before = fs.operations
    journal.check(store.read(fs))
    parts = store.parts(fs)
    assert fs.operations == before, "a reader has changed the store"
    recover(store, fs, parts)

    again = fs.crash("none")
    journal = journal.copy()
    opened = recover(store, again, parts)
    pieces = journal.add(opened.homes(PROOF), None)
    opened.add(PROOF, None, durable=True)
    for piece in pieces:
        piece.acknowledged = True

    last = again.crash("none")
    journal.check(store.read(last))
    parts = store.parts(last)
    opened = recover(store, last, parts)
    opened.gc()
    assert store.leftovers(last) == []
    opened.close()
    assert present(store.parts(last.crash("none"))) == present(parts), "collecting has changed what is stored"
    assert store.leftovers(last) == []


def recover(store: Store, fs: StrictFileSystem, parts: Parts) -> Opened:
    """Open for writing, which must not change what is stored."""
    opened = store.open(fs)
    assert present(opened.parts()) == present(parts), "opening for writing has changed what is stored"
    return opened


def present(parts: Parts) -> Parts:
    """The tables that are not empty."""
    return {table: numbers for table, numbers in parts.items() if numbers}
