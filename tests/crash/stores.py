"""What workloads run on: a table alone, one of wide parts, or a database with segments and shards."""

from __future__ import annotations

from tests.crash.measures import MeasureStore
from tests.crash.store import DAY, Opened, Row, Store, StrictFileSystem
from tests.crash.store import table_leftovers as _leftovers
from tests.crash.tables import LeasedStore, TableStore

STORES = {
    store.name: store
    for store in (
        TableStore("table"),
        TableStore("wide", compact_bytes=0, keep_snapshots=1),
        LeasedStore("leased"),
        MeasureStore("measure"),
    )
}
__all__ = [
    "DAY",
    "STORES",
    "LeasedStore",
    "MeasureStore",
    "Opened",
    "Row",
    "Store",
    "StrictFileSystem",
    "TableStore",
    "_leftovers",
]
