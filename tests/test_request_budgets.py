"""What the engine's main operations cost on an object store, in requests and in round trips one after another.

They are counted before a real HTTP server. A budget that is beaten is lowered: these are the figures that
docs/object-stores.md counts with.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pyarrow as pa
import pytest

import measurefs
from measurefs import Database, PartOptions, TableOptions
from measurefs.fs import FileSystem
from measurefs.fs.wrappers import FileSystemWrapper
from tests.s3_proxy import Request, S3Proxy

SECOND = 10**9
START = np.datetime64("2026-01-01", "ns").astype(np.int64)
WINDOW = {"start": "2026-01-01T00:00:10Z", "end": "2026-01-01T00:01:00Z", "where": {"host": "h07"}}


class RoundTrips(FileSystemWrapper):
    """Counts the calls that wait for an answer: what a call sends at the same time is one round trip."""

    def __init__(self, wrapped: FileSystem) -> None:
        super().__init__(wrapped)
        self.taken = 0

    def read_dir(self, path: str) -> Any:
        self.taken += 1
        return super().read_dir(path)

    def read_tree(self, path: str, limit: int) -> Any:
        self.taken += 1
        return super().read_tree(path, limit)

    def read(self, path: str) -> bytes:
        self.taken += 1
        return super().read(path)

    def read_ranges(self, ranges: Any) -> list[bytes]:
        self.taken += 1
        return super().read_ranges(ranges)


def batch(number: int, rows: int = 10_000, series: int = 100) -> pa.Table:
    """Rows of the seconds that belong to a number, of 100 hosts."""
    count = np.arange(rows)
    times = START + (number * (rows // series) + count // series) * SECOND
    usage = np.round(np.random.default_rng(number).random(rows) * 100, 2)
    return pa.table(
        {
            "time": pa.array(times, pa.timestamp("ns", "UTC")),
            "host": [f"h{each % series:02d}" for each in range(rows)],
            "usage": usage,
        }
    )


@pytest.fixture
def opened(s3_proxy: S3Proxy, s3_url: str) -> Iterator[Callable[..., Database]]:
    """Opens the store, through the proxy, with nothing done behind the test's back."""
    databases: list[Database] = []

    def open_it(**settings: Any) -> Database:
        names = {"part", "keep_snapshots"}
        options = TableOptions(**{name: value for name, value in settings.items() if name in names})
        more = {name: value for name, value in settings.items() if name not in names}
        databases.append(
            measurefs.open(
                s3_url, storage_options=s3_proxy.options, options=options, background=False, **more
            )
        )
        return databases[-1]

    yield open_it
    for database in databases:
        database.close()


@pytest.fixture
def spent(s3_proxy: S3Proxy) -> Callable[[], dict[str, int]]:
    """Returns the requests, by kind, since it was called last, but for the renewal of locks."""

    def count() -> dict[str, int]:
        requests = [request for request in s3_proxy.requests if not is_renewal(request)]
        s3_proxy.clear()
        return dict(collections.Counter(request.kind for request in requests))

    return count


def is_renewal(request: Request) -> bool:
    return request.kind == "PUT" and b'"renewals":' in request.body and b'"renewals":0' not in request.body


def filled(opened: Callable[..., Database], batches: int, **settings: Any) -> None:
    """Write a part of each batch."""
    with opened(**settings) as db:
        cpu = db.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
        for number in range(batches):
            cpu.write(batch(number))
            cpu.flush()


@pytest.mark.parametrize("compact_bytes", [8 << 20, 0], ids=["compact", "wide"])
def test_a_durable_write_is_one_put_and_one_look_at_the_lock(
    opened: Callable[..., Database], spent: Callable[[], dict[str, int]], compact_bytes: int
) -> None:
    """However the parts are that its rows will be in."""
    db = opened(part=PartOptions(compact_bytes=compact_bytes))
    cpu = db.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
    cpu.write(batch(0), durable=True)
    for number in range(1, 4):
        spent()
        cpu.write(batch(number), durable=True)
        assert spent() == {"PUT": 1, "GET": 1}


def test_a_flush_is_two_puts_and_one_look_at_the_lock(
    opened: Callable[..., Database], spent: Callable[[], dict[str, int]]
) -> None:
    """A part and a snapshot, whether its rows are durable already or not."""
    db = opened()
    cpu = db.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
    for durable in (False, True):
        cpu.write(batch(0), durable=True)
        cpu.write(batch(1), durable=durable)
        spent()
        cpu.flush()
        assert spent() == {"PUT": 2, "GET": 1}
        cpu.flush()
        assert spent() == {}


def test_a_durable_write_that_is_large_is_a_part_and_a_snapshot(
    opened: Callable[..., Database], spent: Callable[[], dict[str, int]]
) -> None:
    db = opened()
    cpu = db.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
    cpu.write(batch(0), durable=True)
    spent()
    cpu.write(batch(1, rows=400_000), durable=True)
    assert spent() == {"PUT": 2, "GET": 1}


def test_a_flush_of_a_wide_part_is_a_put_for_each_section(
    opened: Callable[..., Database], spent: Callable[[], dict[str, int]]
) -> None:
    db = opened(part=PartOptions(compact_bytes=0))
    cpu = db.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
    cpu.write(batch(0), durable=True)
    spent()
    cpu.flush()
    with next(iter(cpu.snapshots().values())) as snapshot:
        sections = len(snapshot.file_parts[-1].metadata.sections)
    assert spent() == {"PUT": sections + 2, "GET": 1}  # and metadata.json, and the snapshot


@pytest.mark.parametrize("batches", [1, 12])
def test_opening_to_the_first_answer(
    opened: Callable[..., Database], spent: Callable[[], dict[str, int]], batches: int
) -> None:
    """Whatever the number of parts: measurefs.json, one listing, the schema, and the snapshot."""
    filled(opened, batches)
    spent()
    reader = opened(read_only=True)
    cpu = reader.measure("cpu")
    assert spent() == {"GET": 2, "LIST": 1}
    rows = cpu.query(**WINDOW).to_arrow().num_rows
    assert rows == 50
    assert spent() == {"GET": 3}  # the snapshot; of the one part with such rows the index, and the chunks
    assert cpu.query(**WINDOW).to_arrow().num_rows == rows
    assert spent() == {}


@pytest.mark.parametrize("batches", [1, 12])
def test_opening_beside_a_writer_to_the_first_answer(
    opened: Callable[..., Database], spent: Callable[[], dict[str, int]], batches: int
) -> None:
    """As if it had flushed, and one request for what each part of the log says of itself: all of these at once."""
    writer = opened()
    written = writer.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
    for number in range(batches):
        written.write(batch(number), durable=True)
    spent()
    cpu = opened(read_only=True).measure("cpu")
    assert spent() == {"GET": 2, "LIST": 1}
    assert cpu.query(**WINDOW).to_arrow().num_rows == 50
    assert spent() == {"GET": 1 + batches + 2}
    assert cpu.query(**WINDOW).to_arrow().num_rows == 50
    assert spent() == {}


def test_a_cold_point_query_reads_little_more_than_its_chunks(
    opened: Callable[..., Database], s3_proxy: S3Proxy
) -> None:
    with opened() as db:
        cpu = db.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
        cpu.write(batch(0, rows=400_000, series=200), durable=True)
        cpu.compact()
    cpu = opened(read_only=True).measure("cpu")
    with next(iter(cpu.snapshots().values())) as snapshot:
        (part,) = snapshot.file_parts
    s3_proxy.clear()
    found = cpu.query(where={"host": "h07"}).to_arrow()
    assert found.num_rows == 2000
    chunks = 2 * part.metadata.compressed_bytes * 4096 // part.metadata.rows  # of two primary blocks
    assert sum(ranged(request) for request in s3_proxy.requests) <= 2 * chunks
    assert len(s3_proxy.requests) <= 3


def ranged(request: Request) -> int:
    """How many bytes a GET asks for."""
    first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
    return int(last) - int(first) + 1


def test_round_trips_of_a_cold_query(opened: Callable[..., Database], s3_proxy: S3Proxy, s3_url: str) -> None:
    """Of many parts as many as of one."""
    filled(opened, 6)
    with measurefs.fs.open_url(s3_url, **s3_proxy.options) as fs:
        trips = RoundTrips(fs)
        with measurefs.open(trips, read_only=True, background=False) as reader:
            cpu = reader.measure("cpu")
            assert trips.taken == 3
            assert cpu.query(where={"host": "h07"}).to_arrow().num_rows == 600
            assert trips.taken == 6
        with opened() as writer:
            for number in range(6, 12):
                writer.measure("cpu").write(batch(number), durable=True)
            trips.taken = 0
            with measurefs.open(trips, read_only=True, background=False) as reader:
                found = reader.measure("cpu").query(where={"host": "h07"}).to_arrow()
                assert found.num_rows == 1200
                assert trips.taken == 7  # one more for what the parts of the log say of themselves


def test_a_refresh_that_finds_nothing_is_one_request(
    opened: Callable[..., Database], spent: Callable[[], dict[str, int]]
) -> None:
    filled(opened, 3)
    reader = opened(read_only=True)
    cpu = reader.measure("cpu")
    assert cpu.query().to_arrow().num_rows == 30_000
    spent()
    cpu.refresh()
    assert spent() == {"LIST": 1}
    with opened() as db:
        db.measure("cpu").write(batch(3), durable=True)
        spent()
        cpu.refresh()
        assert spent() == {"LIST": 1, "GET": 1}
    assert cpu.query().to_arrow().num_rows == 40_000


def test_closing(opened: Callable[..., Database], spent: Callable[[], dict[str, int]]) -> None:
    db = opened()
    cpu = db.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
    cpu.write(batch(0))
    cpu.flush()
    spent()
    db.close()
    assert spent() == {"PUT": 1}  # the lock is marked released
    db = opened()
    db.measure("cpu").write(batch(1), durable=True)
    spent()
    db.close()
    assert spent() == {"PUT": 2 + 1, "GET": 1}  # after a flush
    reader = opened(read_only=True)
    reader.measure("cpu").query().to_arrow()
    spent()
    reader.close()
    assert spent() == {}


def test_collecting(opened: Callable[..., Database], spent: Callable[[], dict[str, int]]) -> None:
    """One request deletes all that is due, however much."""
    db = opened(keep_snapshots=1)
    cpu = db.create_measure("cpu", entity=["host"], fields={"usage": "float64"})
    for number in range(5):
        cpu.write(batch(number))
        cpu.flush()
    spent()
    db.step()
    counts = spent()
    assert counts["DELETE_MANY"] == counts["LIST"] == 1
    assert not {"DELETE", "HEAD"} & set(counts)


def test_merging_reads_each_small_part_by_one_request(
    opened: Callable[..., Database], spent: Callable[[], dict[str, int]]
) -> None:
    """And then it is a commit like any other. What this process has just written it does not read again."""
    filled(opened, 4)
    db = opened()
    cpu = db.measure("cpu")
    for number in range(4, 8):
        cpu.write(batch(number))
        cpu.flush()
    spent()
    cpu.compact()
    assert spent() == {"GET": 4 + 1, "PUT": 2}


def test_nothing_is_listed_but_the_measure(
    opened: Callable[..., Database], s3_proxy: S3Proxy, s3_url: str
) -> None:
    """However many objects other prefixes of the bucket have, and other measures: nobody pays for them."""
    filled(opened, 2)
    s3_proxy.clear()
    cpu = opened(read_only=True).measure("cpu")
    cpu.query(**WINDOW).to_arrow()
    cpu.refresh()
    with opened() as db:
        db.measure("cpu").write(batch(2), durable=True)
    listings = [request for request in s3_proxy.requests if request.kind == "LIST"]
    prefixes = [parse_qs(urlsplit(listing.target).query)["prefix"][0] for listing in listings]
    below = s3_url.removeprefix("s3://").partition("/")[2] + "/cpu/"
    assert prefixes
    assert all(prefix.startswith(below) for prefix in prefixes)
