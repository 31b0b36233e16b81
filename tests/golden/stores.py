"""The golden stores: what this release can put on disk, each as small as shows it.

A release that changes the format keeps these functions, adds to them, and writes a new directory. The stores of
earlier formats stay as they are.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator

from measurefs.fs import join
from tests.golden.recorder import START, Key, Recorder, Row

HOUR = 3_600_000_000_000
DAY = 24 * HOUR
STORES: dict[str, Callable[[Recorder], None]] = {}
KEEP_LOCKS = frozenset({"compact"})
"""The stores that keep their lock files (8 KiB each); the others are as after a copy without them."""


def golden(function: Callable[[Recorder], None]) -> Callable[[Recorder], None]:
    """Make it one of the `STORES`."""
    STORES[function.__name__] = function
    return function


@golden
def empty(store: Recorder) -> None:
    """A store without measures."""
    with store.open():
        pass


@golden
def compact(store: Recorder) -> None:
    """Ordinary metrics in two compact parts, of one opening each, and the lock of the writer."""
    schema = {
        "entity": ["host"],
        "tags": {"region": "string"},
        "fields": {"usage": "float64", "requests": "int64", "up": "bool", "note": "string"},
    }
    with store.open() as db:
        cpu = store.create(db, "cpu", **schema)
        store.write(cpu, list(_metrics(0)))
    with store.open() as db:
        store.write(db.measure("cpu"), list(_metrics(1)))


def _metrics(part: int) -> Iterator[Row]:
    for step in range(4):
        for host in range(3):
            yield {
                "time": START + (part * 4 + step) * 10_000_000_000,
                "host": f"host-{host}",
                "region": ("north", "south", None)[host],
                "usage": (step * 37 + host * 11 + part) % 1000 / 100,
                "requests": step * step + host,
                "up": (step + host) % 5 != 0,
                "note": f"{part}.{step}.{host} of its own",
            }


@golden
def wide(store: Recorder) -> None:
    """A wide part of two pages of small blocks, families of names that no file could have, then a second part."""
    with store.open(compact_bytes=0, block_rows=1) as db:
        disk = store.create(
            db,
            "disk",
            entity={"serial": "int64"},
            tags={"a/b": {"rack": "string"}, "..": {"slot": "int64"}, "größe?": {"label": "string"}},
            fields={"used": "int64"},
        )
        store.write(disk, list(_disks(range(22))))
        store.write(disk, list(_disks(range(20, 22))))


def _disks(serials: range) -> Iterator[Row]:
    for serial in serials:
        for step in range(3):
            yield {
                "time": START + step * 60_000_000_000,
                "serial": serial * 10**15,
                "rack": f"rack {serial % 3}",
                "slot": 7,
                "label": ["ssd", "", None][step],
                "used": serial * 1000 + step + serials.start,
            }


_NAN_WITH_BITS = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_0001))[0]


@golden
def types(store: Recorder) -> None:
    """Every type with nulls and extremes, names in several scripts, and entities of several columns and types."""
    schema = {
        "entity": {"Ort": "string", "порт": "int64", "id": "binary"},
        "tags": {
            "タグ": {"text": "string", "zahl": "int64", "raw": "binary"},
            "lists": {"texts": "list<string>", "numbers": "list<int64>"},
        },
        "fields": {
            "int": "int64",
            "float": "float64",
            "flag": "bool",
            "string": "string",
            "bytes 🧪": "binary",
            "never": "float64",
        },
    }
    values = {
        "Ort": ["", "Zürich", "Zürich", "東京", "a|b\\c", "\0", "Zu\u0308rich"],
        "порт": [0, -1, 443, 2**63 - 1, -(2**63), 7, 443],
        "id": [b"", b"\0", b"\xff\xfe", b"|", b"\\", b"\n", b"\0"],
        "text": [None, "", "x", "null", "x", None, "\r\n"],
        "zahl": [0, None, 2**63 - 1, -(2**63), 1, None, -1],
        "raw": [b"", None, b"\xff", b"\xff", b"\xff", None, b"\xff"],
        "texts": [[], None, [None], [""], ["a", None, "ü"], ["x"], []],
        "numbers": [None, [], [None], [0], [2**63 - 1, None, -(2**63)], [1, 2, 3], None],
        "int": [-(2**63), 2**63 - 1, 0, None, 1, -1, 2**53 + 1],
        "float": [math.nan, math.inf, -math.inf, -0.0, 5e-324, None, _NAN_WITH_BITS],
        "flag": [True, False, None, True, None, False, True],
        "string": ["", None, "\u2028", "🧪", "é", "é", "e\u0301"],
        "bytes 🧪": [None, b"", b"\0", bytes(range(8)), b"x", b"x", b"x"],
        "never": [None] * 7,
    }
    rows = [{name: column[n] for name, column in values.items()} for n in range(7)]
    with store.open() as db:
        every = store.create(db, "Maß/測定", **schema)
        store.write(every, [row | {"time": START + n} for n, row in enumerate(rows)])
        plain = store.create(db, "plain", entity=["host"], fields={"x": "float64", "n": "int64"})
        store.write(plain, [{"time": START + n, "host": "a", "x": 0.1 * n, "n": 7} for n in range(5)])
    with store.open(compact_bytes=0) as db:
        store.write(
            db.measure("Maß/測定"),
            [row | {"time": START + 6 - n} for n, row in enumerate(reversed(rows))][:4],
        )


@golden
def versions(store: Recorder) -> None:
    """Rows written again with versions, in one batch and across parts; each snapshot is kept, and known."""
    lowest, highest = -(2**63), 2**63 - 1
    batches = [
        [("a", 1, 5, 1), ("a", 1, 7, 2), ("a", 1, 6, 3), ("b", 1, lowest, 4), ("b", 2, 0, 5), ("b", 2, 0, 6)],
        [("a", 1, 6, 7), ("b", 1, lowest + 1, 8), ("c", 1, -1, 9)],
        [("a", 1, 7, 10), ("b", 2, -1, 11), ("c", 1, highest, None), ("c", 2, highest, 12)],
    ]
    with store.open() as db:
        measure = store.create(db, "m", entity=["host"], fields={"value": "int64"})
        for batch in batches:
            names = ("host", "time", "version", "value")
            store.write(measure, [dict(zip(names, row, strict=True)) for row in batch])
            store.note_snapshot(measure)


@golden
def layout(store: Recorder) -> None:
    """Segments of hours and of days, before 1970 and after, two shards, and a measure without rows."""
    with store.open() as db:
        store.create(db, "nothing", entity=["host"], fields={"value": "int64"}, ttl="99999d")
        hours = store.create(
            db, "hours", entity=["host"], fields={"value": "float64"}, interval="6h", shards=2
        )
        store.write(hours, [_value(START - 1, host) for host in range(6)] + [_value(START, 0)])
        store.write(hours, [_value(START, 0) | {"value": -1.0}])
        days = store.create(db, "days", entity=["host"], fields={"value": "float64"}, ttl="99999d")
        store.write(days, [_value(time, 0) for time in (-DAY, -1, 0, DAY - 1)])
        ends = store.create(db, "ends", entity=["host"], fields={"value": "float64"}, interval="30000d")
        store.write(ends, [_value(time, 0) for time in (-(2**63), -(2**63) + 1, 2**63 - 1)])


def _value(time: int, host: int) -> Row:
    return {"time": time, "host": f"h{host}", "value": host + time % 97 / 10}


@golden
def summarised(store: Recorder) -> None:
    """Blocks long enough for summaries, with nulls, a sum that fits no int64, and blocks that a merge has copied."""
    with store.open(compact_bytes=0, block_rows=64) as db:
        measure = store.create(
            db,
            "m",
            entity=["host"],
            tags={"zone": "string"},
            fields={"value": "float64", "total": "int64", "up": "bool"},
        )
        for batch, hosts in enumerate((2, 1)):
            store.write(
                measure,
                [
                    _value(START + (64 * batch + step) * 10_000_000_000, host)
                    | {
                        "zone": f"z{host}",
                        "total": 2**62 if host else step * 7,
                        "up": None if batch else True,
                    }
                    for step in range(64)
                    for host in range(hosts)
                ],
            )
        measure.compact()


@golden
def torn(store: Recorder) -> None:
    """A newest snapshot that is cut short, where the one before it names the same parts."""
    _two_parts(store)
    newest = _snapshots(store)[-1]
    whole = store.fs.read(newest)
    store.fs.write(newest.replace("7.snp", "8.snp"), whole[: len(whole) // 2])


@golden
def orphan(store: Recorder) -> None:
    """What a crash leaves before a commit: a part that no snapshot names."""
    known = _two_parts(store)
    store.fs.delete_file(_snapshots(store)[-1])
    store.rows["m"] = known


@golden
def logged(store: Recorder) -> None:
    """What a crash leaves of durable writes: a part, and a log after the snapshot that names it."""
    with store.open(log_bytes=1 << 20) as db:
        fields = {"value": "float64", "count": "int64", "note": "string"}
        measure = store.create(db, "m", entity=["host"], tags={"zone": "string"}, fields=fields)
        for batch in range(3):
            store.write(
                measure,
                [
                    _value(START + (batch + step) * HOUR, host)
                    | {
                        "zone": f"z{host}",
                        "count": step * 10**batch,
                        "note": f"{batch}.{step}" if step else None,
                    }
                    for step in range(2)
                    for host in range(2)
                ],
            )
            if batch == 0:
                measure.flush()
                measure.gc()
        measure._tables.abandon()


@golden
def merged(store: Recorder) -> None:
    """A wide part that two others were merged into, which the superseded snapshots still name."""
    with store.open(compact_bytes=0, block_rows=2) as db:
        measure = store.create(
            db, "m", entity=["host"], tags={"zone": "string"}, fields={"value": "float64", "note": "string"}
        )
        for batch in range(2):
            store.write(
                measure,
                [
                    _value(START + step * HOUR, host) | {"zone": f"z{host}", "note": f"{batch}.{step}"}
                    for step in range(batch, batch + 4)
                    for host in range(2)
                ],
            )
            store.note_snapshot(measure)
        measure.compact()
        store.note_snapshot(measure)


@golden
def tagged(store: Recorder) -> None:
    """Tags of two tables each, that alone keep what was deleted, merged and replaced since; one is of no rows."""
    with store.open(keep_snapshots=1) as db:
        measure = store.create(db, "m", entity=["host"], fields={"value": "float64"})
        measure.tag("nothing")
        store.write(measure, [_value(START + day * DAY, host) for day in range(2) for host in range(3)])
        measure.tag("first/größe")
        store.write(measure, [_value(START, 0) | {"value": -1.0}, _value(START + 1, 1)])
        measure.tag("second")
        store.delete(measure, START + DAY, START + 2 * DAY)
        measure.compact()
        measure.gc()


@golden
def intervals(store: Recorder) -> None:
    """Segments of days, and between them, of an interval that came later, of hours: cut where a day begins."""
    with store.open() as db:
        measure = store.create(db, "m", entity=["host"], fields={"value": "float64"})
        store.write(measure, [_value(START, 0), _value(START + 2 * DAY, 0)])
        store.evolve(measure, interval="10h")
        store.write(measure, [_value(START + hour * HOUR, 1) for hour in (0, 24, 30, 47, 48, 72, 80)])
        store.evolve(measure, interval="5d")
        store.write(measure, [_value(START + day * DAY - 1, 2) for day in (0, 1, 2, 9)])


@golden
def evolved(store: Recorder) -> None:
    """Columns that were added and widened, in parts of each age, and the revisions that are kept of the schema."""
    with store.open() as db:
        measure = store.create(
            db,
            "m",
            entity=["host"],
            tags={"zone": "string"},
            fields={"up": "bool", "count": "int64", "note": "string"},
        )
        store.write(measure, [_evolving(n, up=n == 1, count=2**53 - n, zone="a", note="ü") for n in range(3)])
        store.evolve(measure, fields={"up": "int64", "new": "float64"}, tags={"family": {"later": "int64"}})
        store.write(measure, [_evolving(n, up=-n, count=-(2**53), zone="a", later=n) for n in range(2, 5)])
        store.evolve(measure, fields={"count": "float64", "note": "binary"}, tags={"zone": "binary"})
        store.write(measure, [_evolving(5, up=5, count=0.1, zone=b"\xff", note=b"\0", new=1.5)])
        store.evolve(measure, fields={"up": "float64"}, ttl="99999d")
        store.write(measure, [_evolving(6, up=0.5)])


def _evolving(number: int, **values: object) -> Row:
    return {"time": START + number, "host": "a"} | values


@golden
def dropped(store: Recorder) -> None:
    """A segment that has expired and was dropped; what is left does not expire any more."""
    with store.open(keep_snapshots=1) as db:
        measure = store.create(db, "m", entity=["host"], fields={"value": "float64"}, ttl="30d")
        store.write(measure, [_value(START - day * DAY, host) for day in (0, 20) for host in range(2)])
        store.pass_time(15 * DAY)
        measure.gc()
        store.forget(measure, lambda time: time < START)
        store.evolve(measure, ttl=None)
        store.write(measure, [_value(START + DAY, 0)])


@golden
def recreated(store: Recorder) -> None:
    """A measure that was dropped and created again as another one, and one that was dropped."""
    with store.open() as db:
        for name in ("m", "gone"):
            first = store.create(db, name, entity=["host"], fields={"value": "float64"})
            store.write(first, [_value(START, host) for host in range(2)])
            store.drop(db, name)
        again = store.create(db, "m", entity={"host": "int64"}, fields={"value": "int64"}, interval="6h")
        store.write(again, [{"time": START, "host": 1, "value": 2}])
        store.evolve(again, fields={"more": "string"})
        store.write(again, [{"time": START + 1, "host": 1, "more": "x"}])


def _two_parts(store: Recorder) -> dict[Key, tuple[int, Row]]:
    """Write two parts; return what is in the first."""
    rows: list[Row] = [{"time": START + n, "host": "a", "value": n} for n in range(4)]
    with store.open() as db:
        measure = store.create(db, "m", entity=["host"], fields={"value": "int64"})
        store.write(measure, rows[:2])
        known = dict(store.rows["m"])
        store.write(measure, rows[2:])
    return known


def _snapshots(store: Recorder) -> list[str]:
    table = join("m", "seg-20240101", "shard-0")
    return [join(table, entry.name) for entry in store.fs.read_dir(table) if entry.name.endswith(".snp")]
