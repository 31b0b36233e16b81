"""What must hold of a store after any crash, whatever it left."""

from __future__ import annotations

from tests.crash.journal import Journal
from tests.crash.store import Opened, Row, Store, StrictFileSystem

Parts = dict[str, list[int]]


def proof(journal: Journal, later: int = 0) -> list[Row]:
    """Rows written after a recovery, to see that the store accepts them."""
    return [(key, journal.expired + later + key, 10 * key) for key in (900, 901)]


def verify(store: Store, fs: StrictFileSystem, journal: Journal) -> None:
    """Check a store that was found after a crash.

    A reader opens it and changes nothing; it holds all that was acknowledged and nothing that was never
    written, each batch whole or not at all. A writer opens it and finds the same, and so does the next one
    after a crash right then. It takes durable writes. After a collection nothing is left that nothing names.
    """
    before = fs.operations
    journal.check(store.read(fs))
    journal.check_beside(lambda: store.beside(fs))
    parts = store.parts(fs)
    assert fs.operations == before, "a reader has changed the store"
    recover(store, fs, parts)

    again = fs.crash("none")
    journal = journal.copy()
    opened = recover(store, again, parts)
    journal.decide(opened.contents())
    rows = proof(journal)
    pieces = journal.add(opened.homes(rows), None)
    opened.add(rows, None, durable=True)
    for piece in pieces:
        piece.acknowledged = True

    last = again.crash("none")
    journal.check(store.read(last))
    journal.check_beside(lambda: store.beside(last))
    parts = store.parts(last)
    opened = recover(store, last, parts)
    if journal.shapes:
        opened.evolve({"fields": {"proof": "int64"}})  # which also removes what crashed changes have left
    opened.gc()
    assert store.leftovers(last) == [], f"left over: {store.leftovers(last)}"
    opened.close()
    assert present(store.parts(last.crash("none"))) == present(parts), "collecting has changed what is stored"
    assert store.leftovers(last) == [], f"left over: {store.leftovers(last)}"


def recover(store: Store, fs: StrictFileSystem, parts: Parts) -> Opened:
    """Open for writing, which must not change what is stored."""
    opened = store.open(fs)
    assert present(opened.parts()) == present(parts), "opening for writing has changed what is stored"
    return opened


def present(parts: Parts) -> Parts:
    """The tables that are not empty."""
    return {table: numbers for table, numbers in parts.items() if numbers}
