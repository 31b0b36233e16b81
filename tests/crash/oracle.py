"""What must hold of a store after any crash, whatever it left."""

from __future__ import annotations

from tests.crash.journal import Contents, Journal
from tests.crash.store import Opened, Row, Store, StrictFileSystem

Held = dict[str, Contents]


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
    held = store.read(fs)
    journal.check(held)
    journal.check_beside(lambda: store.beside(fs))
    assert fs.operations == before, "a reader has changed the store"
    recover(store, fs, held)

    again = fs.crash("none")
    journal = journal.copy()
    opened = recover(store, again, held)
    journal.decide(opened.contents())
    rows = proof(journal)
    pieces = journal.add(opened.homes(rows), None)
    opened.add(rows, None, durable=True)
    for piece in pieces:
        piece.acknowledged = True

    last = again.crash("none")
    held = store.read(last)
    journal.check(held)
    journal.check_beside(lambda: store.beside(last))
    opened = recover(store, last, held)
    if journal.shapes:
        opened.evolve({"fields": {"proof": "int64"}})  # which also removes what crashed changes have left
    opened.gc()
    assert store.leftovers(last) == [], f"left over: {store.leftovers(last)}"
    opened.close()
    assert present(store.read(last.crash("none"))) == present(held), "collecting has changed what is stored"
    assert store.leftovers(last) == [], f"left over: {store.leftovers(last)}"


def recover(store: Store, fs: StrictFileSystem, held: Held) -> Opened:
    """Open for writing, which must not change what is stored."""
    opened = store.open(fs)
    assert present(opened.contents()) == present(held), "opening for writing has changed what is stored"
    return opened


def present(held: Held) -> Held:
    """The tables that are not empty."""
    return {table: rows for table, rows in held.items() if rows}
