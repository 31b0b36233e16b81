"""A damaged part is never read as if it were whole: every flip is found, or harms nothing."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from measurefs.backends.memory import MemoryFileSystem
from measurefs.codec.sealed import seal, unseal
from measurefs.fs import (
    CorruptionError,
    FileSystem,
    NotExistError,
    ReadError,
    UnsupportedStoreError,
    join,
    walk,
)
from measurefs.part.fetch import fetch
from measurefs.part.file_part import FilePart, read_metadata
from measurefs.part.metadata import PartMetadata
from measurefs.part.rows import Rows, sort_rows
from tests.part.made import ALL_TYPES, COMPACT, WIDE, listed, make_rows, many_rows, read, store


def select(rows: Rows) -> Rows:
    """Only `COLUMNS`: numbers, coded and plain strings, lists."""
    return msgspec.structs.replace(
        rows, columns={column.name: rows.columns[column.name] for column in COLUMNS}
    )


kinds = pytest.mark.parametrize("compact_bytes", [COMPACT, WIDE], ids=["compact", "wide"])
COLUMNS = [column for column in ALL_TYPES if column.name in {"n", "x", "host", "raw", "labels"}]
ROWS = many_rows(100)
WHOLE = listed(select(sort_rows(ROWS)))
FLIPS_PER_SECTION = 16


def regions(fs: FileSystem, metadata: PartMetadata) -> dict[str, list[tuple[str, int]]]:
    """Section to bytes of it: path and offset, evenly spread, the ends included."""
    found = {}
    for name, piece in metadata.sections.items():
        path = metadata.name if metadata.compact else join(metadata.name, name)
        found[name] = [(path, piece.offset + place) for place in spread(piece.size)]
    rest = metadata.name if metadata.compact else join(metadata.name, "metadata.json")
    size = len(fs.read(rest))
    start = metadata.compressed_bytes if metadata.compact else 0
    found["metadata"] = [(rest, start + place) for place in spread(size - start, 60)]
    found["trailer"] = [(rest, place) for place in range(size - 20, size)]
    return found


def spread(size: int, count: int = FLIPS_PER_SECTION) -> list[int]:
    return sorted({*range(0, size, max(1, size // count)), size - 1})


def read_all(fs: FileSystem, metadata: PartMetadata) -> Rows:
    """Read a part's rows, and the list of its pages as well, which its metadata have once more."""
    part = FilePart("", metadata)
    fetch(fs, part.read_meta())
    return read(fs, part)


@kinds
def test_every_flip_in_every_section_is_found_or_harmless(compact_bytes):
    fs = MemoryFileSystem()
    known = store(fs, ROWS, COLUMNS, block_rows=16, compact_bytes=compact_bytes)
    assert listed(read_all(fs, known)) == WHOLE
    for section, places in regions(fs, known).items():
        found = 0
        for number, (path, offset) in enumerate(places):
            whole = fs.read(path)
            damaged = bytearray(whole)
            damaged[offset] ^= 1 << number % 8
            fs.write(path, damaged)
            try:
                metadata = known if section in known.sections else read_metadata(fs, known.name)
                rows = read_all(fs, metadata)
            except CorruptionError as error:
                found += 1
                assert error.path.startswith(known.name), (section, error)
            else:
                assert listed(rows) == WHOLE, (section, path, offset)
            fs.write(path, whole)
        assert found == len(places), f"something does not watch over {section}"


@kinds
def test_cut_files_are_errors_that_name_them(compact_bytes):
    fs = MemoryFileSystem()
    known = store(fs, ROWS, COLUMNS, block_rows=16, compact_bytes=compact_bytes)
    for path in walk(fs):
        whole = fs.read(path)
        for length in [*range(0, len(whole), len(whole) // 8 + 1), len(whole) - 1]:
            fs.write(path, whole[:length])
            with pytest.raises((CorruptionError, ReadError), match=known.name):
                read_all(fs, read_metadata(fs, known.name))
            if length < known.compressed_bytes and not path.endswith("metadata.json"):
                with pytest.raises((CorruptionError, ReadError), match=known.name):
                    read_all(fs, known)
        fs.write(path, whole)
    assert listed(read_all(fs, known)) == WHOLE


def test_a_missing_section_is_an_error_that_names_it():
    fs = MemoryFileSystem()
    known = store(fs, ROWS, COLUMNS, compact_bytes=WIDE)
    for path in walk(fs):
        whole = fs.read(path)
        fs.delete_file(path)
        with pytest.raises(NotExistError, match=path.rpartition("/")[2]):
            read_all(fs, read_metadata(fs, known.name))
        fs.write(path, whole)


def test_sections_of_another_part_are_corruption():
    """Parts of the same shape, so that sizes often agree."""
    fs = MemoryFileSystem()
    one, two = (many_rows(300, seed=seed, nulls=False) for seed in (1, 2))
    first = store(fs, one, COLUMNS, number=1, block_rows=16, compact_bytes=WIDE)
    second = store(fs, two, COLUMNS, number=2, block_rows=16, compact_bytes=WIDE)
    swapped = 0
    for section in first.sections:
        paths = [join(metadata.name, section) for metadata in (first, second)]
        contents = [fs.read(path) for path in paths]
        if contents[0] == contents[1]:
            continue
        swapped += 1
        for path, content in zip(paths, reversed(contents), strict=True):
            fs.write(path, content)
        for metadata in (first, second):
            with pytest.raises((CorruptionError, ReadError), match=metadata.name):
                read_all(fs, metadata)
        for path, content in zip(paths, contents, strict=True):
            fs.write(path, content)
    assert swapped >= 5


def test_exchanged_sections_of_one_part_are_corruption():
    fs = MemoryFileSystem()
    known = store(fs, ROWS, COLUMNS, block_rows=16, compact_bytes=WIDE)
    names = list(known.sections)
    for one, two in itertools.pairwise(names):
        paths = [join(known.name, one), join(known.name, two)]
        contents = [fs.read(path) for path in paths]
        for path, content in zip(paths, reversed(contents), strict=True):
            fs.write(path, content)
        with pytest.raises((CorruptionError, ReadError), match=known.name):
            read(fs, FilePart("", known))
        for path, content in zip(paths, contents, strict=True):
            fs.write(path, content)


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 1000, b"MFSPART1", b"\xff" * 8 + b"MFSPART1"])
def test_a_file_that_is_no_part_is_corruption(content):
    fs = MemoryFileSystem()
    fs.write("0000000000000001.part", content)
    with pytest.raises(CorruptionError, match=r"0000000000000001\.part"):
        read_metadata(fs, "0000000000000001.part")


@pytest.mark.parametrize(("version", "error"), [(2, UnsupportedStoreError), (0, CorruptionError)])
def test_a_format_that_this_release_does_not_know_is_refused(version, error):
    fs = MemoryFileSystem()
    known = store(fs, make_rows([1], [1]), [], compact_bytes=WIDE)
    path = join(known.name, "metadata.json")
    plain = unseal(fs.read(path), dict, path)
    fs.write(path, seal(plain | {"format": version}))
    with pytest.raises(error, match="format version"):
        read_metadata(fs, known.name)
