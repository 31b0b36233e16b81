"""Checking a part: whatever is done to it is found, with the file, the place and what it held."""

from __future__ import annotations

import collections

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec.sealed import seal
from measurefs.codec.types import ColumnType
from measurefs.fs import CountingFileSystem, FileSystem, join, walk
from measurefs.part import writer as part_writer
from measurefs.part.file_part import FilePart
from measurefs.part.index import Meta
from measurefs.part.metadata import METADATA, Column, PartMetadata
from measurefs.part.rows import Rows, sort_rows
from measurefs.part.sections import MAGIC, TRAILER
from measurefs.part.verify import PartCheck, mend_part, verify_alone, verify_part
from measurefs.part.writer import Encodings, PartOptions, PartWriter
from measurefs.testing import Fault, FaultFileSystem
from tests.part.made import ALL_TYPES, COMPACT, WIDE, entity_types, listed, make_rows, many_rows, read, store
from tests.part.test_part_damage import regions

kinds = pytest.mark.parametrize("compact_bytes", [COMPACT, WIDE], ids=["compact", "wide"])
COLUMNS = [column for column in ALL_TYPES if column.name in {"n", "x", "host", "raw", "labels"}]
VALUE = [Column("v", ColumnType.INT64)]


def select(rows: Rows) -> Rows:
    return msgspec.structs.replace(
        rows, columns={column.name: rows.columns[column.name] for column in COLUMNS}
    )


ROWS = select(many_rows(100))


def small(count: int = 40, series: int = 4, hasher: object = None) -> Rows:
    """Rows of one number, in several blocks."""
    ids = [number % series for number in range(count)]
    more = {} if hasher is None else {"hasher": hasher}
    return make_rows(ids, list(range(count)), {"v": pa.array(range(count), pa.int64())}, **more)  # type: ignore[arg-type]


def only_reason(check: PartCheck) -> str:
    (damage,) = check.damages
    return damage.reason


@kinds
@pytest.mark.parametrize("nulls", [False, True])
def test_a_healthy_part_of_every_type_is_intact(compact_bytes: int, nulls: bool) -> None:
    fs = MemoryFileSystem()
    known = store(fs, many_rows(600, nulls=nulls), ALL_TYPES, block_rows=16, compact_bytes=compact_bytes)
    check = verify_part(fs, "", known)
    assert (check.verdict, check.damages, check.metadata) == ("intact", [], known)
    assert verify_alone(fs, "", known.name).verdict == "intact"
    assert check.files == (1 if compact_bytes else len(known.sections) + 1)


@pytest.mark.parametrize(
    "values",
    [
        [float("nan")] * 5,
        [0.0, -0.0] * 5,
        [float("nan"), 1.5, float("inf"), -0.0, -1e300],
        [12.34, 0.01, -7.5],
    ],
)
def test_floats_of_every_kind_agree_with_their_statistics(values: list[float]) -> None:
    fs = MemoryFileSystem()
    rows = make_rows([1] * len(values), list(range(len(values))), {"x": pa.array(values, pa.float64())})
    known = store(fs, rows, [Column("x", ColumnType.FLOAT64)])
    assert verify_part(fs, "", known).damages == []


def test_series_that_share_an_id_and_span_pages_are_intact() -> None:
    fs = MemoryFileSystem()

    def hasher(_: bytes) -> int:
        return 7

    known = store(fs, small(1000, 3, hasher=hasher), VALUE, block_rows=4)
    assert len(known.sections) and known.primary_blocks > 64
    assert verify_part(fs, "", known, hasher).damages == []
    reasons = {damage.reason for damage in verify_part(fs, "", known).damages}
    assert any("ids of series" in reason for reason in reasons)


@kinds
def test_each_byte_is_read_once_and_a_page_at_a_time(compact_bytes: int) -> None:
    fs = MemoryFileSystem()
    known = store(
        fs, select(many_rows(3500, nulls=False)), COLUMNS, block_rows=16, compact_bytes=compact_bytes
    )
    assert known.primary_blocks > 3 * 64
    check = verify_part(fs, "", known)
    dictionaries = sum(one.dictionary.size for one in known.columns if one.dictionary)
    assert known.compressed_bytes <= check.bytes <= known.compressed_bytes + dictionaries
    counting = CountingFileSystem(fs)
    verify_part(counting, "", known)
    assert counting.calls["read_ranges"] >= 2 * known.primary_blocks // 64


@kinds
def test_every_flip_is_found_and_named(compact_bytes: int) -> None:
    fs = MemoryFileSystem()
    known = store(fs, ROWS, COLUMNS, block_rows=16, compact_bytes=compact_bytes)
    verdicts: collections.Counter[str] = collections.Counter()
    for section, places in regions(fs, known).items():
        for number, (path, offset) in enumerate(places[::3]):
            whole = fs.read(path)
            damaged = bytearray(whole)
            damaged[offset] ^= 1 << number % 8
            fs.write(path, damaged)
            check = verify_part(fs, "", known)
            assert check.verdict == ("damaged" if section in known.sections else "mendable"), (path, offset)
            for damage in check.damages:
                assert (damage.path, damage.part) == (path, known.name)
                assert (damage.rows, damage.min_time, damage.max_time) == (
                    100,
                    known.min_time,
                    known.max_time,
                )
            if section in known.sections:
                starts = [damage.offset for damage in check.damages]
                assert any(start is not None and start <= offset for start in starts), (
                    section,
                    check.damages,
                )
            verdicts[check.verdict] += 1
            fs.write(path, whole)
    assert verdicts["damaged"] > 40
    assert verdicts["mendable"] > 20
    assert verify_part(fs, "", known).verdict == "intact"


@kinds
def test_cut_and_missing_files_are_named(compact_bytes: int) -> None:
    fs = MemoryFileSystem()
    known = store(fs, ROWS, COLUMNS, block_rows=16, compact_bytes=compact_bytes)
    for path in list(walk(fs)):
        whole = fs.read(path)
        for length in (0, 1, len(whole) // 2, len(whole) - 1):
            fs.write(path, whole[:length])
            check = verify_part(fs, "", known)
            own = path.endswith(METADATA) or known.compressed_bytes <= length
            assert check.verdict == ("mendable" if own else "damaged"), (path, length)
            assert {damage.path for damage in check.damages} == {path}
            assert own or "cut short" in check.damages[0].reason
        fs.delete_file(path)
        check = verify_part(fs, "", known)
        assert only_reason(check) == "it is missing"
        assert check.verdict == (
            "missing" if known.compact else "mendable" if path.endswith(METADATA) else "damaged"
        )
        fs.write(path, whole + b"more")
        check = verify_part(fs, "", known)
        assert check.verdict == "mendable"
        mend_part(fs, "", known)
        assert verify_part(fs, "", known).verdict == "intact"
        assert fs.read(path) == whole


@kinds
def test_a_mended_part_is_intact(compact_bytes: int) -> None:
    fs = MemoryFileSystem()
    known = store(fs, ROWS, COLUMNS, compact_bytes=compact_bytes)
    before = {path: fs.read(path) for path in walk(fs)}
    path = known.name if known.compact else join(known.name, METADATA)
    fs.write(path, fs.read(path)[:-30])
    assert verify_part(fs, "", known).verdict == "mendable"
    mend_part(fs, "", known)
    assert {path: fs.read(path) for path in walk(fs)} == before


@kinds
def test_files_of_another_part_are_found(compact_bytes: int) -> None:
    fs = MemoryFileSystem()
    first = store(fs, select(many_rows(300, seed=1)), COLUMNS, number=1, compact_bytes=compact_bytes)
    second = store(fs, select(many_rows(300, seed=2)), COLUMNS, number=2, compact_bytes=compact_bytes)
    names = [""] if first.compact else [*first.sections, METADATA]
    for name in names:
        paths = [join(first.name, name), join(second.name, name)]
        contents = [fs.read(path) for path in paths]
        for path, content in zip(paths, reversed(contents), strict=True):
            fs.write(path, content)
        for known, path in zip((first, second), paths, strict=True):
            check = verify_part(fs, "", known)
            assert (check.verdict != "intact") == (contents[0] != contents[1]), path
            assert {damage.path for damage in check.damages} <= {path}
        for path, content in zip(paths, contents, strict=True):
            fs.write(path, content)
    if first.compact:
        fs.write(second.name, fs.read(first.name))
        check = verify_alone(fs, "", second.name)
        assert "it holds part" in only_reason(check)
        assert check.metadata is None


@kinds
def test_of_a_part_alone_damaged_metadata_leave_nothing_known(compact_bytes: int) -> None:
    fs = MemoryFileSystem()
    known = store(fs, ROWS, COLUMNS, compact_bytes=compact_bytes)
    path = known.name if known.compact else join(known.name, METADATA)
    fs.write(path, fs.read(path)[:-40])
    check = verify_alone(fs, "", known.name)
    assert (check.verdict, check.metadata) == ("damaged", None)
    assert check.damages[0].path == path


def test_a_file_that_cannot_be_read_proves_nothing() -> None:
    fs = MemoryFileSystem()
    known = store(fs, ROWS, COLUMNS, compact_bytes=WIDE)
    faulty = FaultFileSystem(fs, Fault("read_ranges", "*meta.bin", times=None))
    check = verify_part(faulty, "", known)
    assert check.verdict == "unreadable"
    assert "Input/output error" in check.damages[0].reason


# What is wrong under valid checksums.


class Liar(PartWriter):
    """Writes a part as a writer with a bug would: `lie` changes what goes into a page."""

    def __init__(
        self, fs: FileSystem, rows: Rows, lie: object, columns: list[Column], block_rows: int
    ) -> None:
        super().__init__(
            fs,
            "",
            1,
            entity_types(rows),
            columns,
            PartOptions(block_rows=block_rows, compact_bytes=WIDE),
            Encodings(4),
        )
        self.lie = lie


def write_lie(
    fs: FileSystem, monkeypatch: pytest.MonkeyPatch, rows: Rows, lie: object, *, block_rows: int = 4
) -> PartMetadata:
    """Write a part whose index says what `lie` makes of it, with checksums that are right."""
    true_page = part_writer.encode_page

    def encode_page(series, blocks, primary_blocks, chunks, checks, section_starts):  # type: ignore[no-untyped-def]
        page = {
            "series": series,
            "blocks": {name: np.array(array) for name, array in blocks.items()},
            "primary_blocks": np.array(primary_blocks),
            "chunks": [list(row) for row in chunks],
            "checks": checks,
            "section_starts": section_starts,
        }
        lie(page)  # type: ignore[operator]
        return true_page(**page)

    monkeypatch.setattr(part_writer, "encode_page", encode_page)
    writer = Liar(fs, rows, lie, VALUE, block_rows)
    writer.append(rows)
    return writer.finish()


def _more_rows(page: dict) -> None:
    page["blocks"]["rows"][0] += 1


def _shifted_rows(page: dict) -> None:
    """The rows of the primary block stay the same in number: only their times tell."""
    page["blocks"]["rows"][:2] += np.array([1, -1])


def _first_time(page: dict) -> None:
    page["blocks"]["min"][1] -= 5


def _last_time(page: dict) -> None:
    page["blocks"]["max"][0] += 1


def _nulls(page: dict) -> None:
    page["chunks"][0][2] = page["chunks"][0][2]._replace(nulls=1)


def _high(page: dict) -> None:
    page["chunks"][0][2] = page["chunks"][0][2]._replace(high=1000)


def _size(page: dict) -> None:
    page["chunks"][0][0] = page["chunks"][0][0]._replace(data=page["chunks"][0][0].data + b"x")


def _checks(page: dict) -> None:
    page["checks"] = page["checks"] ^ 1


def _start(page: dict) -> None:
    page["section_starts"] = page["section_starts"] + 1


def _ids(page: dict) -> None:
    page["series"] = msgspec.structs.replace(page["series"], ids=page["series"].ids[::-1])


def _series(page: dict) -> None:
    page["blocks"]["series"] = page["blocks"]["series"][::-1]


def _fewer_blocks(page: dict) -> None:
    page["blocks"]["rows"] = page["blocks"]["rows"][:-1]


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (_more_rows, "a chunk"),
        (_shifted_rows, "as its"),
        (_first_time, "as its first time"),
        (_last_time, "as its last time"),
        (_nulls, "numbers of nulls of v"),
        (_high, "least and greatest values of v"),
        (_size, "points outside the section"),
        (_checks, "checksum of a chunk"),
        (_start, "do not follow"),
        (_ids, "series"),
        (_series, "not in order of their series"),
        (_fewer_blocks, "differ in length"),
    ],
)
def test_an_index_that_does_not_agree_with_the_rows_is_found(
    monkeypatch: pytest.MonkeyPatch, lie: object, reason: str
) -> None:
    fs = MemoryFileSystem()
    known = write_lie(fs, monkeypatch, sort_rows(small(12, 3)), lie, block_rows=8)
    check = verify_part(fs, "", known)
    assert check.verdict == "damaged"
    assert any(reason in damage.reason for damage in check.damages), check.damages
    assert {damage.rows for damage in check.damages} == {12}


@pytest.mark.parametrize(
    ("order", "reason"),
    [([1, 0, 2, 3], "descend"), ([0, 0, 1, 2], "occur twice")],
)
def test_times_out_of_order_are_found(order: list[int], reason: str) -> None:
    """A writer appends what it is given, in the order in which it should be."""
    fs = MemoryFileSystem()
    rows = make_rows([5] * 4, order, {"v": pa.array(order, pa.int64())})
    writer = PartWriter(fs, "", 1, entity_types(rows), VALUE, PartOptions(), Encodings(4))
    writer.append(rows)
    reasons = [damage.reason for damage in verify_part(fs, "", writer.finish()).damages]
    assert any(reason in each for each in reasons), reasons


def test_pages_out_of_order_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_writer, "PAGE_BLOCKS", 1)
    fs = MemoryFileSystem()
    rows = sort_rows(small(20, 2))
    writer = PartWriter(fs, "", 1, entity_types(rows), VALUE, PartOptions(), Encodings(4))
    writer.append(rows.slice(10, 20))
    writer.append(rows.slice(0, 10))
    check = verify_part(fs, "", writer.finish())
    assert "does not follow the page before in order" in only_reason(check)
    writer = PartWriter(fs, "", 2, entity_types(rows), VALUE, PartOptions(), Encodings(4))
    writer.append(rows.slice(0, 13))
    writer.append(rows.slice(13, 20))
    assert verify_part(fs, "", writer.finish()).damages == []


@pytest.mark.parametrize("name", ["min_time", "max_time", "first_id", "last_id"])
def test_a_list_of_pages_that_does_not_agree_with_them_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fs = MemoryFileSystem()
    truth = Meta.from_entries.__func__  # type: ignore[attr-defined]

    def lying(cls, entries):  # type: ignore[no-untyped-def]
        meta = truth(cls, entries)
        return msgspec.structs.replace(
            meta, **{name: getattr(meta, name) + np.array(1, getattr(meta, name).dtype)}
        )

    monkeypatch.setattr(Meta, "from_entries", classmethod(lying))
    known = store(fs, small(), VALUE, block_rows=4)
    assert "the list of pages names other" in only_reason(verify_part(fs, "", known))


@pytest.mark.parametrize(
    "name", ["rows", "blocks", "primary_blocks", "series", "min_time", "max_time", "compressed_bytes"]
)
def test_metadata_that_count_otherwise_are_found(name: str) -> None:
    """They are sealed, and the same in the snapshot."""
    fs = MemoryFileSystem()
    known = store(fs, small(), VALUE, compact_bytes=WIDE)
    lying = msgspec.structs.replace(known, **{name: getattr(known, name) + 1})
    fs.write(join(known.name, METADATA), seal(lying))
    check = verify_part(fs, "", lying)
    assert check.verdict == "damaged"
    assert "its metadata claim" in only_reason(check)
    assert check.damages[0].path == join(known.name, METADATA)


@pytest.mark.parametrize("section", ["primary.bin", "series.bin", "timestamps.bin", "fields.bin"])
def test_a_section_of_another_checksum_is_found(section: str) -> None:
    """Though its chunks agree with theirs, which have only 32 bits."""
    fs = MemoryFileSystem()
    known = store(fs, small(), VALUE, compact_bytes=WIDE)
    piece = known.sections[section]
    other = msgspec.structs.replace(piece, checksum=piece.checksum ^ 1 << 40)
    lying = msgspec.structs.replace(known, sections={**known.sections, section: other})
    fs.write(join(known.name, METADATA), seal(lying))
    check = verify_part(fs, "", lying)
    assert only_reason(check) == f"the checksum of {section} does not match"
    assert check.damages[0].path == join(known.name, section)


def test_a_code_outside_its_dictionary_is_found() -> None:
    fs = MemoryFileSystem()
    texts = pa.array([f"host {number % 4}" for number in range(40)])
    rows = sort_rows(make_rows([1] * 40, list(range(40)), {"host": texts}))
    columns = [Column("host", ColumnType.STRING)]
    writer = PartWriter(fs, "", 1, entity_types(rows), columns, PartOptions(), Encodings(4))
    writer.append(rows)
    writer._dictionaries["host"] = writer._dictionaries["host"][:2]
    check = verify_part(fs, "", writer.finish())
    assert "points outside its dictionary (host)" in only_reason(check)
    assert check.damages[0].offset is not None


def test_text_that_is_no_text_is_found() -> None:
    fs = MemoryFileSystem()
    raw = pa.array([b"\xff\xfe%d" % number for number in range(40)], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 40, raw.buffers())
    known = store(fs, make_rows([1] * 40, list(range(40)), {"s": text}), [Column("s", ColumnType.STRING)])
    assert "impossible values" in only_reason(verify_part(fs, "", known))


def test_there_is_an_end_to_the_damages_of_one_part() -> None:
    fs = MemoryFileSystem()
    known = store(fs, small(4000), VALUE, block_rows=4, compact_bytes=WIDE)
    path = join(known.name, "timestamps.bin")
    fs.write(path, bytes(len(fs.read(path))))
    assert len(verify_part(fs, "", known).damages) == 100


def test_a_trailer_of_another_part_is_mended() -> None:
    fs = MemoryFileSystem()
    known = store(fs, small(), VALUE)
    other = store(fs, small(8), VALUE, number=2)
    sealed = seal(other)
    sections = fs.read(known.name)[: known.compressed_bytes]
    fs.write(known.name, sections + sealed + TRAILER.pack(len(sealed), MAGIC))
    check = verify_part(fs, "", known)
    assert check.verdict == "mendable"
    assert "not what the snapshot says" in check.damages[0].reason
    mend_part(fs, "", known)
    assert listed(read(fs, FilePart("", known))) == listed(sort_rows(small()))
