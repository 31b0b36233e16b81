"""Fixtures for tests of databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from measurefs import (
    Database,
)
from tests.conftest import Store
from tests.database.copied import (
    fill,
    make,
    quiet,
)
from tests.database.helpers import one_row


@pytest.fixture
def source(memory_store: Store) -> Iterator[Database]:
    """A store with all there is: wide and compact parts, several tables, tags, a second measure."""
    with memory_store.open() as fs, quiet(fs) as database:
        measure = make(database)
        fill(measure, 1)
        measure.tag("first")
        fill(measure, 2)
        make(database, "other").write(one_row(time=5, host="x", v=1), durable=True)
        yield database
