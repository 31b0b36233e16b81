"""Uses an engine a little before it is measured: what a process does once is a matter of `cold`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.engines import Engine
from benchmarks.places import Folder

ROWS = 2_000


def warm_up(engine: type[Engine], batch: pa.Table, use: Callable[[Any, Any], object] | None = None) -> None:
    """Import what an engine needs, write some rows to a store of their own, perhaps use that, and forget it.

    Parameters
    ----------
    engine : type
        Whose store it is.
    batch : pyarrow.Table
        Rows.
    use : callable, optional
        Is given the store, and the rows in the engine's form.
    """
    engine.imports()
    form = engine.form(batch.slice(0, ROWS))
    with tempfile.TemporaryDirectory() as folder:
        store = engine(Folder(Path(folder) / "store"), write=True)
        store.add(form)
        store.flush()
        if use is not None:
            use(store, form)
        store.close()
