"""Everything that turns stored bytes into something else, with valid inputs to start from."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

import measurefs
from measurefs.backends.lease import Generation
from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec import columns, numbers
from measurefs.codec.arrays import unpack_arrays
from measurefs.codec.checksum import checksum, checksum32
from measurefs.codec.numbers import choose, default_encoding
from measurefs.codec.sealed import seal, unseal
from measurefs.codec.types import ColumnType
from measurefs.codec.zstd import compress, decompress
from measurefs.database.identity import Identity
from measurefs.database.schema import MeasureSchema
from measurefs.database.segments import is_segment_name
from measurefs.fs import (
    CorruptionError,
    LockHolder,
    SchemaError,
    basename,
    check_path,
    escape,
    join,
    unescape,
)
from measurefs.part.chunks import fetch_chunks
from measurefs.part.fetch import fetch
from measurefs.part.file_part import FilePart, read_metadata
from measurefs.part.index import Meta, decode_page
from measurefs.part.metadata import META, PRIMARY, SERIES, PartMetadata, Piece
from measurefs.part.part import Scan
from measurefs.part.sections import MAGIC, TRAILER
from measurefs.part.selection import blocks_of, chunk_table, wanted_pages
from measurefs.part.summarise import summarise
from measurefs.part.summary import Summary
from measurefs.part.writer import column_sections
from measurefs.table import Runtime
from measurefs.table.epochs import part_id, snapshot_epoch
from measurefs.table.snapshot import SnapshotRecord
from tests.damage.mutate import mutated, mutated_arrays, mutated_json
from tests.damage.stores import Store, small

EVER = (-(2**63), 2**63 - 1)
PATH = "somewhere"
Mutate = Callable[[bytes, Sequence[bytes], random.Random], bytes]


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A decoder.

    Attributes
    ----------
    name : str
    decode : callable
        Takes bytes, and may raise `CorruptionError` or `UnsupportedStoreError`, nothing else.
    valid : list of bytes
        Inputs that decode.
    mutate : callable
        Makes a bad input of a valid one.
    also : type, optional
        Another error that it may raise.
    share : int
        One that is slow is tried with one in so many inputs.
    """

    name: str
    decode: Callable[[bytes], object]
    valid: list[bytes]
    mutate: Mutate = mutated
    also: type[Exception] = CorruptionError
    share: int = 1


@dataclasses.dataclass(frozen=True)
class _Wide:
    """The wide part of the small store."""

    root: str
    metadata: PartMetadata
    sections: dict[str, bytes]

    @classmethod
    def of(cls, store: Store) -> _Wide:
        fs = store.load()
        metadata = read_metadata(fs, store.wide)
        sections = {name: fs.read(join(store.wide, name)) for name in metadata.sections}
        return cls(store.focus, metadata, sections)

    @property
    def section_numbers(self) -> list[int]:
        return column_sections([stored.column for stored in self.metadata.columns])


def decoders() -> list[Decoder]:
    """All of them."""
    wide = _Wide.of(small())
    return [*_documents(), *_locks(), *_names(), *_values(), *_index(wide), *_parts(wide), *_resealed()]


# Documents.


def _documents() -> list[Decoder]:
    store = small()
    read = store.files
    snapshots = [read[path] for path in store.snapshots]
    name = basename(store.snapshots[-1])
    metadata = [read[path] for path in read if path.endswith("metadata.json")]
    return [
        Decoder("sealed JSON", lambda data: unseal(data, dict[str, Any], PATH), snapshots, mutated_json),
        Decoder(
            "snapshot",
            lambda body: SnapshotRecord.decode(_sealed(body), PATH, name),
            [_body(snapshot) for snapshot in snapshots],
            mutated_json,
        ),
        _document("part metadata", PartMetadata, metadata),
        _document("schema", MeasureSchema, [read["cpu/schema.json"]]),
        _document("identity", Identity, [read["measurefs.json"]]),
        Decoder("part trailer", _read_trailer, [read[store.compact]], _mutated_end),
    ]


def _document(name: str, kind: type[Any], sealed: list[bytes]) -> Decoder:
    return Decoder(
        name, lambda body: unseal(_sealed(body), kind, PATH), list(map(_body, sealed)), mutated_json
    )


def _body(sealed: bytes) -> bytes:
    return bytes(msgspec.json.decode(sealed, type=dict[str, msgspec.Raw])["body"])


def _sealed(body: bytes) -> bytes:
    """Seal whatever it is: the checksum is right."""
    return b'{"checksum":"%016x","body":%b}' % (checksum(body), body)


def _read_trailer(content: bytes) -> PartMetadata:
    fs = MemoryFileSystem()
    fs.write("0000000000000001.part", content)
    return read_metadata(fs, "0000000000000001.part")


def _mutated_end(valid: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Mutate the trailer, or the metadata before it with a right checksum and length."""
    (length, _) = TRAILER.unpack(valid[-TRAILER.size :])
    start = len(valid) - TRAILER.size - length
    if rng.random() < 0.5:
        return valid[:start] + mutated(valid[start:], others, rng)
    document = _sealed(mutated_json(_body(valid[start : -TRAILER.size]), others, rng))
    return valid[:start] + document + TRAILER.pack(len(document), MAGIC)


def _locks() -> list[Decoder]:
    holder = LockHolder(7, "here", 1, "2026-01-01T00:00:00+00:00")
    generation = Generation(7, "here", 1, "2026-01-01T00:00:00+00:00", owner="ab" * 16, clean=True)
    return [
        Decoder("lock slot", LockHolder.decode, [holder.encode()], mutated_json),
        Decoder("lock generation", Generation.decode, [generation.encode()], mutated_json),
    ]


def _names() -> list[Decoder]:
    return [
        Decoder("names", _names_of, [b"cpu", "ü/..".encode(), b".%2E", b"a b%"]),
        Decoder(
            "file names",
            lambda name: [
                read(name.decode(errors="replace")) for read in (snapshot_epoch, part_id, is_segment_name)
            ],
            [b"0000010000000001.snp", b"0000010000000001.part", b"seg-20240101", b"seg-2024010123"],
        ),
    ]


def _names_of(data: bytes) -> None:
    name = (
        data.decode(errors="surrogatepass" if b"\xed" not in data else "replace")
        if _is_utf8(data)
        else data.decode("latin-1")
    )
    assert unescape(escape(name)) == name
    if name:
        check_path(escape(name), "read")
    unescape(name)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


# Values.

_COUNT = 60
_DICTIONARY = pa.array(["a", "b", "", "longer"])


def _columns() -> dict[str, tuple[ColumnType, pa.Array]]:
    some = list(range(_COUNT))
    return {
        "int64": (ColumnType.INT64, pa.array([i * i for i in some])),
        "int64 nulls": (ColumnType.INT64, pa.array([None if i % 3 else i for i in some])),
        "float64": (ColumnType.FLOAT64, pa.array(np.random.default_rng(0).normal(size=_COUNT))),
        "decimals": (ColumnType.FLOAT64, pa.array([i / 100 for i in some])),
        "constant": (ColumnType.INT64, pa.array([5] * _COUNT)),
        "bool": (ColumnType.BOOL, pa.array([i % 3 == 0 for i in some])),
        "string": (ColumnType.STRING, pa.array([str(i) * (i % 5) for i in some])),
        "binary nulls": (ColumnType.BINARY, pa.array([None if i % 4 else bytes(i) for i in some])),
        "codes": (
            ColumnType.STRING,
            pa.DictionaryArray.from_arrays(pa.array(np.arange(_COUNT, dtype=np.int32) % 4), _DICTIONARY),
        ),
        "list<string>": (
            ColumnType.STRING_LIST,
            pa.array([[None, "", "a"][: i % 4] for i in some], pa.list_(pa.string())),
        ),
        "list<int64>": (
            ColumnType.INT64_LIST,
            pa.array([[i, None, -i][: i % 4] for i in some], pa.list_(pa.int64())),
        ),
        "nulls": (ColumnType.STRING, pa.nulls(_COUNT, pa.string())),
    }


def _values() -> list[Decoder]:
    chunks = {name: (kind, _encoded(column)) for name, (kind, column) in _columns().items()}
    encoded = [data for _, data in chunks.values()]
    runs = [
        data[1:] for name, (_, data) in chunks.items() if name in {"int64", "float64", "decimals", "constant"}
    ]
    dictionary = columns.encode_dictionary(_DICTIONARY, default_encoding(4))
    numeric = columns.encode_dictionary(pa.array(["x" * i for i in range(300)]), default_encoding(4))
    return [
        Decoder("zstd", lambda data: decompress(data, PATH), [compress(b"ab" * 300), compress(b""), BOMB]),
        Decoder("numbers", _decode_numbers, runs),
        *(
            Decoder(f"column {name}", _column_decoder(kind), [data, *encoded[:3]])
            for name, (kind, data) in chunks.items()
        ),
        Decoder(
            "plain numbers",
            lambda data: columns.decode_numbers([data], np.empty(_COUNT, np.int64), [(0, _COUNT)], PATH),
            encoded,
        ),
        Decoder(
            "dictionary",
            lambda data: columns.decode_dictionary(data, ColumnType.STRING, PATH),
            [dictionary, numeric],
        ),
    ]


BOMB = b"\x28\xb5\x2f\xfd\xe0" + (10 << 30).to_bytes(8, "little") + b"\x01\x00\x00"
"""A zstd frame of 16 bytes that claims to hold ten gibibytes."""


def _encoded(column: pa.Array) -> bytes:
    return columns.encode(column, choose(columns.numbers_of(column), 4)).data


def _column_decoder(kind: ColumnType) -> Callable[[bytes], object]:
    return lambda data: columns.decode(data, _COUNT, kind, _DICTIONARY, PATH)


def _decode_numbers(data: bytes) -> None:
    for dtype in (np.int64, np.float64):
        numbers.decode_into(data, np.empty(_COUNT, dtype), PATH)


# The index.


def _index(wide: _Wide) -> list[Decoder]:
    meta, page = wide.sections[META], wide.sections[PRIMARY]
    entities = wide.sections[SERIES]
    return [
        Decoder("arrays", lambda data: unpack_arrays(data, PATH), [meta, page], _mutated_bundle),
        Decoder("list of pages", lambda data: _use_meta(wide, data), [meta], _mutated_bundle),
        Decoder("page", lambda data: _use_page(wide, data, entities), [page], _mutated_bundle),
        Decoder("entities", lambda data: _use_page(wide, page, data), [entities]),
        Decoder("summary", _use_summary, [_summary().encode()], _mutated_summary),
    ]


def _mutated_bundle(valid: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Mutate one of the arrays, the MessagePack inside the frame, or the frame."""
    chance = rng.random()
    if chance < 0.6:
        content = mutated_arrays(unpack_arrays(valid, PATH), rng)
        return compress(msgspec.msgpack.encode(content), level=1)
    if chance < 0.9:
        return compress(mutated(decompress(valid, PATH), [], rng), level=1)
    return mutated(valid, others, rng)


def _use_meta(wide: _Wide, data: bytes) -> None:
    """Do with a list of pages what a part does."""
    part = FilePart(wide.root, wide.metadata)
    meta = Meta.decode(data, PATH)
    for number in wanted_pages(meta, Scan(*EVER, [])):
        part.locate(PRIMARY, meta.primary_offset[number], meta.primary_size[number])
        part.locate(SERIES, meta.series_offset[number], meta.series_size[number])
        int(meta.primary_check[number]), int(meta.series_check[number])


def _summary() -> Summary:
    starts = np.arange(0, _COUNT + 1, _COUNT // 4)
    columns = {name: summarise(column, starts) for name, (_, column) in _columns().items()}
    return Summary(np.diff(starts), np.diff(starts), columns)


def _use_summary(data: bytes) -> None:
    """Do with a summary what a query does."""
    kinds = {name: kind for name, (kind, _) in _columns().items()}
    summary = Summary.decode(data, kinds, PATH)
    for name, kind in kinds.items():
        last = summary.last_row(name, kind, _DICTIONARY if kind is ColumnType.STRING else None)
        last.take(pa.array(np.arange(len(last))))
    summary.those(slice(1, 2))


def _mutated_summary(valid: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Mutate the arrays of all blocks, or those of a column, or the whole."""
    head, encoded = msgspec.msgpack.decode(valid, type=tuple[bytes, dict[str, bytes]])
    chance = rng.random()
    if chance < 0.3:
        head = _mutated_bundle(head, [], rng)
    elif chance < 0.9:
        name = rng.choice(list(encoded))
        encoded[name] = mutated(encoded[name], list(encoded.values()), rng)
    else:
        return mutated(valid, others, rng)
    return msgspec.msgpack.encode((head, encoded))


def _use_page(wide: _Wide, page: bytes, entities: bytes) -> None:
    """Do with a page what a part does until it reads chunks."""
    found = decode_page(page, entities, wide.metadata.entity, wide.section_numbers, PATH)
    Scan(*EVER, []).touches(blocks_of(found))
    sections = [
        "timestamps.bin",
        "timestamps.bin",
        *(stored.column.section for stored in wide.metadata.columns),
    ]
    part = FilePart(wide.root, wide.metadata)
    next(fetch_chunks(chunk_table(found), range(len(sections)), sections, part.locate))


# A whole part whose checksums are right.


def _parts(wide: _Wide) -> list[Decoder]:
    valid = [name.encode() + b"\0" + content for name, content in wide.sections.items()]
    return [
        Decoder("resealed part", lambda data: read_resealed(wide, data), valid, _mutated_section, share=4)
    ]


def _mutated_section(valid: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    name, _, content = valid.partition(b"\0")
    mutate = _mutated_bundle if name.decode() in {META, PRIMARY} else mutated
    return name + b"\0" + mutate(content, [], rng)


def read_resealed(wide: _Wide, data: bytes) -> None:
    """Put a section in the place of the right one, make all checksums right, and read all rows."""
    name, _, content = data.partition(b"\0")
    sections = wide.sections | {name.decode(errors="replace"): content}
    sections = {section: sections[section] for section in wide.sections}
    _reseal_chunks(wide, sections)
    _reseal_pages(sections)
    pieces = {section: Piece(0, len(content), checksum(content)) for section, content in sections.items()}
    stored = [_reseal_dictionary(column, sections) for column in wide.metadata.columns]
    metadata = msgspec.structs.replace(wide.metadata, sections=pieces, columns=stored)
    fs = MemoryFileSystem()
    fs.make_dir(metadata.name)
    for section, content in sections.items():
        fs.write(join(metadata.name, section), content)
    fs.write(join(metadata.name, "metadata.json"), seal(metadata))
    part = FilePart("", metadata)
    rows = fetch(fs, part.read(Scan(*EVER, list(metadata.arrow_types()))))
    rows.take(np.arange(len(rows)))


def _resealed() -> list[Decoder]:
    """Documents of a store with right checksums, used as a reader uses them."""
    store = small()
    fs = store.load()

    def reader(path: str) -> Callable[[bytes], object]:
        def read(body: bytes) -> None:
            fs.write(path, _sealed(body))
            try:
                with measurefs.open(fs, read_only=True, runtime=Runtime()) as db:
                    db.measure("cpu").query().to_arrow()
            finally:
                fs.write(path, store.files[path])

        return read

    return [
        Decoder(f"resealed {name}", reader(path), [_body(store.files[path])], mutated_json, SchemaError, 20)
        for name, path in (("snapshot", store.snapshots[-1]), ("schema", "cpu/schema.json"))
    ]


def _reseal_chunks(wide: _Wide, sections: dict[str, bytes]) -> None:
    """Make the page's checksums those of the chunks, if it is intact."""
    if sections[PRIMARY] != wide.sections[PRIMARY]:
        return
    arrays = dict(unpack_arrays(sections[PRIMARY], PATH))
    page = decode_page(
        sections[PRIMARY], wide.sections[SERIES], wide.metadata.entity, wide.section_numbers, PATH
    )
    section_of = [
        "timestamps.bin",
        "timestamps.bin",
        *(stored.column.section for stored in wide.metadata.columns),
    ]
    checks = page.checks.copy()
    for (row, column), offset in np.ndenumerate(page.offsets):
        checks[row, column] = checksum32(
            sections[section_of[column]][offset : offset + page.sizes[row, column]]
        )
    arrays["checks"] = checks.ravel().astype(np.uint32)
    plain = {name: (array.dtype.str, array.tobytes()) for name, array in arrays.items()}
    sections[PRIMARY] = compress(msgspec.msgpack.encode(plain), level=1)


def _reseal_pages(sections: dict[str, bytes]) -> None:
    """Make the list of pages, if it is one, tell of one page and its entities, as they are now."""
    try:
        meta = Meta.decode(sections[META], PATH)
    except Exception:  # noqa: BLE001 - it is what is damaged; then it stays as it is
        return
    right = {
        "primary_offset": 0, "primary_size": len(sections[PRIMARY]), "primary_check": checksum32(sections[PRIMARY]),
        "series_offset": 0, "series_size": len(sections[SERIES]), "series_check": checksum32(sections[SERIES]),
    }  # fmt: skip
    changed = {name: np.array([value], np.int64) for name, value in right.items()}
    sections[META] = msgspec.structs.replace(meta, **changed).encode()


def _reseal_dictionary(stored: Any, sections: dict[str, bytes]) -> Any:
    if stored.dictionary is None:
        return stored
    start, size = stored.dictionary.offset, stored.dictionary.size
    content = sections[stored.column.directory][start : start + size]
    piece = Piece(start, len(content), checksum(content))
    return msgspec.structs.replace(stored, dictionary=piece)
