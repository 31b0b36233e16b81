"""What a query reads: few blocks and few bytes where few rows are wanted, and never too few."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import measurefs
from measurefs import Measure, TableOptions
from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import CountingFileSystem, FileSystem
from tests.conftest import Store
from tests.database.helpers import open_store

SERIES, EACH = 400, 500
KEYS = ["time", "host"]
orders = pytest.mark.parametrize("order", ["time", "-time", "series"])


def rows(first: int = 0, count: int = EACH, add: float = 0.0) -> pa.Table:
    """So many rows of each host; usage grows with time."""
    place = np.arange(SERIES * count)
    time, host = first + place // SERIES, place % SERIES
    hosts = pa.array([f"h{number:03d}" for number in range(SERIES)]).take(pa.array(host))
    return pa.table({"time": time, "host": hosts, "usage": time + add, "load": np.round(np.sin(place), 2)})


@pytest.fixture(scope="module")
def one_part() -> tuple[FileSystem, int]:
    """One part with some 200,000 rows, and its bytes."""
    fs = MemoryFileSystem()
    with measurefs.open(fs) as db:
        measure = create(db)
        measure.write(rows())
        measure.flush()
        ((_, snapshot),) = measure.snapshots().items()
        with snapshot:
            size = sum(piece.size for piece in snapshot.file_parts[0].metadata.sections.values())
    return fs, size


def create(db: measurefs.Database) -> Measure:
    fields = {"usage": "float64", "load": "float64"}
    return db.create_measure("m", entity=["host"], fields=fields)


class TestFewRows:
    """Of a part that nobody has read yet."""

    def ask(self, stored: tuple[FileSystem, int], **query: Any) -> tuple[pa.Table, float]:
        """Return the answer, and the share of the part that was read for it, in at most three round trips."""
        fs = CountingFileSystem(stored[0])
        with measurefs.open(fs, read_only=True) as db:
            result = db.measure("m").query(**query)
            fs.reset()
            found = result.to_arrow()
            assert fs.calls["read_ranges"] <= 3
            assert fs.calls.total() == fs.calls["read_ranges"]
            return found, fs.bytes["read"] / stored[1]

    def whole(self, stored: tuple[FileSystem, int], order: str) -> pa.Table:
        return self.ask(stored, order=order)[0]

    @orders
    def test_the_first_ones(self, one_part: tuple[FileSystem, int], order: str) -> None:
        found, share = self.ask(one_part, order=order, limit=10)
        assert found == self.whole(one_part, order)[:10]
        assert share < 0.1

    @orders
    def test_some_behind_others(self, one_part: tuple[FileSystem, int], order: str) -> None:
        found, share = self.ask(one_part, order=order, limit=10, offset=30)
        assert found == self.whole(one_part, order)[30:40]
        assert share < 0.25

    def test_the_last_ones_of_a_series(self, one_part: tuple[FileSystem, int]) -> None:
        found, share = self.ask(one_part, order="-time", limit=10, where={"host": "h123"})
        assert found["usage"].to_pylist() == list(range(EACH - 1, EACH - 11, -1))
        assert found["host"].unique().to_pylist() == ["h123"]
        assert share < 0.06

    @orders
    def test_no_row_at_all(self, one_part: tuple[FileSystem, int], order: str) -> None:
        found, share = self.ask(one_part, order=order, limit=0)
        assert (len(found), share) == (0, 0)

    def test_some_columns(self, one_part: tuple[FileSystem, int]) -> None:
        some, all_ = (self.ask(one_part, columns=columns)[1] for columns in (["usage"], None))
        assert some < all_ / 2


class TestWhatIsNotNeeded:
    """Blocks and chunks that cannot have a wanted row are left out."""

    @pytest.fixture
    def measure(self, one_part: tuple[FileSystem, int]) -> Any:
        with measurefs.open(one_part[0], read_only=True, options=TableOptions(cache_bytes=0)) as db:
            yield db.measure("m")

    def test_by_series(self, measure: Measure) -> None:
        work = measure.query(where={"host": ["h001", "h399"]}).explain()
        assert (work.rows, work.blocks, work.blocks_read) == (2 * EACH, 2, 2)

    def test_by_time(self, memory_store: Store) -> None:
        with open_store(memory_store, options=TableOptions(cache_bytes=0, log_bytes=0)) as db:
            measure = create(db)
            for number in range(4):
                measure.write(rows(100 * number, 100), durable=True)
            work = measure.query(100, 200).explain()
            assert (work.rows, work.parts_read, work.blocks) == (100 * SERIES, 1, SERIES)
            assert work.parts == 4
            assert measure.query(1000, 2000).explain().requests == 0

    def test_by_values(self, memory_store: Store) -> None:
        with open_store(memory_store, options=TableOptions(cache_bytes=0, log_bytes=0)) as db:
            measure = create(db)
            for number in range(4):
                measure.write(rows(100 * number, 100), durable=True)
            all_ = measure.query().explain()
            result = measure.query(where={"usage": {">": 349}})
            work = result.explain()
            assert result.to_arrow()["usage"].to_numpy().min() == 350
            assert work.rows == 50 * SERIES
            assert work.blocks == all_.blocks
            assert work.blocks_read == SERIES
            assert work.chunks <= all_.chunks // 4
            assert measure.query(where={"usage": {">": 399}}).explain().chunks == 0

    def test_chunks_of_other_columns_only_where_rows_are_found(self, measure: Measure) -> None:
        everywhere = measure.query(columns=["load"], where={"usage": {">=": 0}}).explain()
        nowhere = measure.query(columns=["load"], where={"usage": {"==": 0.5}}).explain()
        assert nowhere.rows == 0
        assert 0 < nowhere.chunks < everywhere.chunks

    @pytest.mark.parametrize("threshold", [5000, 500])
    def test_a_newer_row_hides_an_older_one_whatever_values_tell(
        self, memory_store: Store, threshold: int
    ) -> None:
        """One of two parts can have no wanted row, but it says which rows of the other still count."""
        with open_store(memory_store, options=TableOptions(cache_bytes=0, log_bytes=0)) as db:
            measure = create(db)
            measure.write(rows(0, 10, add=10_000), durable=True)
            measure.write(rows(5, 1, add=0), durable=True)
            for order in ("time", "-time", "series"):
                found = measure.query(where={"usage": {">": threshold}}, order=order).to_arrow()
                assert sorted(found["time"].cast("int64").unique().to_pylist()) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
                assert len(found) == 9 * SERIES
            measure.write(rows(5, 1, add=20_000), durable=True)
            found = measure.query(where={"usage": {">": 20_000}}).to_arrow()
            assert found["usage"].unique().to_pylist() == [20_005]
