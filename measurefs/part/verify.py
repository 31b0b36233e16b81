"""Checking one part: every byte against the checksums, and every count, order and statistic against the rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from measurefs.codec import columns as codec
from measurefs.codec.sealed import seal
from measurefs.codec.types import ColumnType
from measurefs.fs.errors import CorruptionError, FileSystemError, NotExistError
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.paths import join
from measurefs.fs.wrappers import FileSystemWrapper
from measurefs.part.agreement import PageChecker, chunk_fault, summary_fault
from measurefs.part.chunks import ColumnChunks, fetch_chunks
from measurefs.part.fetch import Range, fetch
from measurefs.part.file_part import FilePart, read_metadata
from measurefs.part.index import TIME, VERSION, Meta, Page
from measurefs.part.metadata import METADATA, PRIMARY, SUMMARY, PartMetadata
from measurefs.part.part import Part
from measurefs.part.sections import MAGIC, TRAILER
from measurefs.part.selection import chunk_table
from measurefs.part.series import Hash, xxh3
from measurefs.part.summarise import summarise_chunks
from measurefs.part.summary import Summary

_WINDOW = 4 << 20
_MOST = 100
"""Damages told of one part: a file put in the place of another makes one for each chunk."""

Verdict = Literal["intact", "mendable", "damaged", "missing", "unreadable"]
"""`mendable`: only what the part says of itself is. `unreadable`: the file system fails, which proves nothing."""


class Damage(msgspec.Struct, frozen=True):
    """Something stored that is not what was written.

    Attributes
    ----------
    path : str
        The damaged file, relative to the store's root.
    reason : str
        What does not agree.
    offset : int or None
        Where in the file, if that is known.
    part : str or None
        The part it belongs to; several damages may be of one part.
    rows : int or None
        The rows that the whole part (or what else it is) held, as far as that is known.
    min_time, max_time : int or None
        Their times, inclusive, nanoseconds since 1970-01-01 UTC.
    """

    path: str
    reason: str
    offset: int | None = None
    part: str | None = None
    rows: int | None = None
    min_time: int | None = None
    max_time: int | None = None

    def __str__(self) -> str:
        where = "" if self.offset is None else f" at byte {self.offset}"
        return f"{self.path}{where}: {self.reason}"


class PartCheck(msgspec.Struct, frozen=True):
    """What checking a part found.

    Attributes
    ----------
    verdict : str
    damages : list of Damage
    metadata : PartMetadata or None
        What it was checked against; None for a part without a snapshot whose own is damaged.
    files, bytes : int
        What was read.
    """

    verdict: Verdict
    damages: list[Damage]
    metadata: PartMetadata | None
    files: int = 0
    bytes: int = 0


def part_damage(path: str, metadata: PartMetadata, reason: str) -> Damage:
    """Return a damage of a whole part."""
    return Damage(path, reason, None, path, metadata.rows, metadata.min_time, metadata.max_time)


class _Enough(Exception):  # noqa: N818 - it is no error
    """There are as many damages as are told."""


class _Findings:
    """The damages found in one part so far."""

    def __init__(self, path: str, metadata: PartMetadata | None) -> None:
        self.damages: list[Damage] = []
        self.only_its_own = True
        self.unreadable = False
        self._path = path
        self._metadata = metadata

    def add(self, path: str, reason: str, offset: int | None = None, *, own: bool = False) -> None:
        """Note a damage; own if it is in what the part says of itself."""
        known = self._metadata
        times = (known.min_time, known.max_time) if known else (None, None)
        self.damages.append(Damage(path, reason, offset, self._path, known.rows if known else None, *times))
        self.only_its_own &= own
        if len(self.damages) >= _MOST:
            raise _Enough

    @contextlib.contextmanager
    def noting(self, *, own: bool = False) -> Iterator[None]:
        """Note what a block raises, and go on after it."""
        try:
            yield
        except CorruptionError as error:
            self.add(error.path, error.reason, error.offset, own=own)
        except NotExistError as error:
            self.add(error.path, "it is missing", own=own)
        except FileSystemError as error:
            self.unreadable = True
            self.add(error.path, f"it cannot be read: {error.reason}", own=own)

    def within(self, span: Range) -> bool:
        """Whether there is a damage in a run of bytes of a file."""
        path, start, size = span
        return any(
            damage.path == path and (damage.offset is None or start <= damage.offset < start + size)
            for damage in self.damages
        )

    def verdict(self) -> Verdict:
        if not self.damages:
            return "intact"
        if self.unreadable:
            return "unreadable"
        return "mendable" if self.only_its_own else "damaged"


class _Hashing(FileSystemWrapper):
    """Hashes the sections of a part as they are read, so that what is decoded needs not be read again.

    What is read in order from a section's start is hashed at once; `rest` reads and hashes what was not.
    """

    def __init__(self, fs: FileSystem, part: FilePart) -> None:
        super().__init__(fs)
        self.bytes = 0
        self._spans = {name: part.locate(name, 0, one.size) for name, one in part.metadata.sections.items()}
        self._hashes = {name: xxhash.xxh3_64() for name in self._spans}
        self._done = dict.fromkeys(self._spans, 0)
        self._next = {(path, start): name for name, (path, start, size) in self._spans.items() if size}

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        """Read, and hash what follows on what was hashed before."""
        data = self.wrapped.read_ranges(ranges)
        for (path, offset, _), piece in zip(ranges, data, strict=True):
            self.bytes += len(piece)
            name = self._next.pop((path, offset), None)
            if name is not None:
                self._hash(name, piece)
        return data

    def _hash(self, name: str, piece: bytes) -> None:
        path, start, size = self._spans[name]
        self._hashes[name].update(piece)
        self._done[name] += len(piece)
        if self._done[name] < size:
            self._next[path, start + self._done[name]] = name

    def checksum(self, name: str) -> int:
        """Return a section's checksum; reads what of it was not read yet."""
        path, start, size = self._spans[name]
        while (done := self._done[name]) < size:
            self.read_ranges([(path, start + done, min(_WINDOW, size - done))])
        return int(self._hashes[name].intdigest())


def verify_part(fs: FileSystem, root: str, metadata: PartMetadata, hasher: Hash = xxh3) -> PartCheck:
    """Read a part and check all of it; each byte is read once, and a page of the index is held at a time.

    Parameters
    ----------
    root : str
        The table's directory.
    metadata : PartMetadata
        What the snapshot says of the part, or a part without one of itself.
    hasher : callable
        From an entity's key to its series' id, as the table was written.
    """
    part = FilePart(root, metadata)
    found = _Findings(part.path, metadata)
    with contextlib.suppress(_Enough), found.noting():
        sizes = _check_files(fs, part, found)
        if sizes is None:
            missing = part_damage(part.path, metadata, "it is missing")
            return PartCheck("missing", [missing], metadata)
        reader = _Hashing(fs, part)
        if _is_whole(part, sizes):
            _check_content(reader, part, found, hasher)
        _check_checksums(reader, part, found, sizes)
        if _is_whole(part, sizes) or not metadata.compact:
            _check_own(fs, part, found, sizes)
        return PartCheck(found.verdict(), found.damages, metadata, len(sizes), reader.bytes)
    return PartCheck(found.verdict(), found.damages, metadata)


def verify_alone(fs: FileSystem, root: str, name: str, hasher: Hash = xxh3) -> PartCheck:
    """Check a part that no snapshot describes, against what it says of itself."""
    path = join(root, name)
    found = _Findings(path, None)
    with found.noting():
        metadata = read_metadata(fs, path)
        if metadata.name == name:
            return verify_part(fs, root, metadata, hasher)
        found.add(path, f"it holds part {metadata.name}; was it renamed or copied?")
    return PartCheck(found.verdict(), found.damages, None)


# Files and what the part says of itself.


def _check_files(fs: FileSystem, part: FilePart, found: _Findings) -> dict[str, int] | None:
    """Return the sizes of the part's files; None if there is no part."""
    metadata = part.metadata
    try:
        if metadata.compact:
            sizes = {part.path: _size(fs, part.path)}
        else:
            entries = {entry.name: entry for entry in fs.read_dir(part.path)}
            paths = {name: join(part.path, name) for name in (*metadata.sections, METADATA)}
            sizes = {
                path: _size(fs, path, entries[name].size) for name, path in paths.items() if name in entries
            }
    except NotExistError:
        return None
    for name, piece in metadata.sections.items():
        path = part.path if metadata.compact else join(part.path, name)
        if path not in sizes:
            found.add(path, "it is missing")
        elif piece.offset + piece.size > sizes[path]:
            found.add(
                path, f"it is cut short: {sizes[path]} bytes, and {name} ends at {piece.offset + piece.size}"
            )
            if metadata.compact:
                break
    return sizes


def file_damage(fs: FileSystem, part: Part) -> CorruptionError | None:
    """Return what is missing of a part's files, or cut short; None if nothing is."""
    if not isinstance(part, FilePart):
        return None
    found = _Findings(part.path, part.metadata)
    if _check_files(fs, part, found) is None:
        return CorruptionError(part.path, "it is missing")
    return CorruptionError(found.damages[0].path, found.damages[0].reason) if found.damages else None


def _size(fs: FileSystem, path: str, known: int | None = None) -> int:
    if known is not None:
        return known
    with fs.open_file(path) as file:
        return file.size()


def _is_whole(part: FilePart, sizes: dict[str, int]) -> bool:
    return all(_is_there(part, name, sizes) for name in part.metadata.sections)


def _is_there(part: FilePart, name: str, sizes: dict[str, int]) -> bool:
    path, offset, size = part.locate(name, 0, part.metadata.sections[name].size)
    return offset + size <= sizes.get(path, -1)


def _check_checksums(reader: _Hashing, part: FilePart, found: _Findings, sizes: dict[str, int]) -> None:
    for name, piece in part.metadata.sections.items():
        span = part.locate(name, 0, piece.size)
        if not _is_there(part, name, sizes) or found.unreadable:
            continue
        with found.noting():
            if reader.checksum(name) != piece.checksum and not found.within(span):
                found.add(span[0], f"the checksum of {name} does not match", span[1])


def _check_own(fs: FileSystem, part: FilePart, found: _Findings, sizes: dict[str, int]) -> None:
    metadata = part.metadata
    path = part.path if metadata.compact else join(part.path, METADATA)
    with found.noting(own=True):
        if read_metadata(fs, part.path) != metadata:
            found.add(path, "what it says of itself is not what the snapshot says of it", own=True)
        sealed = seal(metadata)
        size = metadata.compressed_bytes + len(sealed) + TRAILER.size if metadata.compact else len(sealed)
        if sizes[path] != size and not any(damage.path == path for damage in found.damages):
            found.add(path, f"it has {sizes[path]} bytes instead of {size}", own=True)
    for name, piece in metadata.sections.items():
        actual = sizes.get(join(part.path, name))
        if not metadata.compact and actual is not None and actual > piece.size:
            found.add(join(part.path, name), f"it has {actual} bytes instead of {piece.size}", own=True)


def mend_part(fs: FileSystem, root: str, metadata: PartMetadata) -> None:
    """Write anew what a part says of itself, and nothing beyond it; its sections, which are intact, stay."""
    path = join(root, metadata.name)
    sealed = seal(metadata)
    if metadata.compact:
        sections = fs.read_ranges([(path, 0, metadata.compressed_bytes)])[0]
        fs.write(path, b"".join((sections, sealed, TRAILER.pack(len(sealed), MAGIC))))
        return
    for name, piece in metadata.sections.items():
        section = join(path, name)
        if _size(fs, section) > piece.size:
            fs.write(section, fs.read_ranges([(section, 0, piece.size)])[0])
    fs.write(join(path, METADATA), sealed)
    fs.sync_path(path)


# Index and rows.


def _check_content(reader: _Hashing, part: FilePart, found: _Findings, hasher: Hash) -> None:
    with found.noting():
        meta = fetch(reader, part.read_meta())
        checker = PageChecker(meta, part.metadata, hasher)
        columns = [TIME, VERSION, *_with_dictionaries(reader, part, found)]
        for number in range(len(meta.first_id)):
            before = len(found.damages)
            with found.noting():
                _check_page(reader, part, checker, number, columns, found)
            if len(found.damages) > before:
                checker.lose_track()
        if not found.damages:
            path = part.path if part.metadata.compact else join(part.path, METADATA)
            for fault in checker.total_faults():
                found.add(path, fault)


def _check_page(
    reader: _Hashing,
    part: FilePart,
    checker: PageChecker,
    number: int,
    columns: Sequence[int],
    found: _Findings,
) -> None:
    meta = checker.meta
    page = fetch(reader, part.load_page(meta, number))
    path, offset, _ = part.locate(PRIMARY, int(meta.primary_offset[number]), 0)
    faults = list(checker.layout_faults(number, page))
    if not faults:
        chunks = fetch(reader, fetch_chunks(chunk_table(page), columns, part.section_of, part.locate))
        summary = _read_summary(reader, part, meta, number, page, found)
        times = _check_chunks(part, page, chunks, (path, offset), found, summary)
        faults = [] if times is None else list(checker.time_faults(number, page, times))
    for fault in faults:
        found.add(path, fault, offset)


def _with_dictionaries(reader: _Hashing, part: FilePart, found: _Findings) -> Iterator[int]:
    """Load the dictionaries, and yield the part's columns; those whose own is damaged cannot be decoded."""
    for column in range(VERSION + 1, len(part.kinds)):
        with found.noting():
            fetch(reader, part.load_dictionaries([column]))
            values = part.dictionary(column)
            if values is not None:
                _check_dictionary(part, column, values)
            yield column


def _check_dictionary(part: FilePart, column: int, values: pa.Array) -> None:
    try:
        values.validate(full=True)
    except pa.ArrowException as error:
        reason = f"the dictionary of {part.column_name(column)} holds impossible values ({error})"
        raise CorruptionError(part.path, reason) from error
    if values.null_count:
        raise CorruptionError(part.path, f"the dictionary of {part.column_name(column)} holds a null")


class _Stated(msgspec.Struct, frozen=True):
    """What is stored about a page's blocks, and where."""

    summary: Summary
    path: str
    offset: int


def _read_summary(
    reader: _Hashing, part: FilePart, meta: Meta, number: int, page: Page, found: _Findings
) -> _Stated | None:
    with found.noting():
        summary = fetch(reader, part.load_summary(meta, number, keep=False))
        if summary is None:
            return None
        path, offset, _ = part.locate(SUMMARY, int(meta.summary_offset[number]), 0)
        if np.array_equal(summary.rows, page.block_rows):
            return _Stated(summary, path, offset)
        found.add(path, f"what is known of the blocks of page {number} is of others", offset)
    return None


def _check_summary(
    part: FilePart, page: Page, column: int, chunks: Sequence[pa.Array], stated: _Stated, found: _Findings
) -> None:
    """Compare what a summary says of a column with its chunks, all of which are there."""
    starts = np.append(0, np.cumsum(page.block_rows))
    name, summary, fault = part.column_name(column), stated.summary, None
    with found.noting():
        if column > VERSION:
            actual = summarise_chunks(chunks, starts)
            fault = summary_fault(summary.columns[name], actual, page.block_rows)
        elif column == VERSION:
            versions = np.concatenate([codec.values_of(chunk) for chunk in chunks])
            fault = None if np.array_equal(summary.last_versions, versions[starts[1:] - 1]) else "the last"
    if fault is not None:
        what = f"{fault} of {name} in what is known of blocks do not agree with the rows"
        found.add(stated.path, what, stated.offset)


def _check_chunks(
    part: FilePart,
    page: Page,
    chunks: dict[int, ColumnChunks],
    index: tuple[str, int],
    found: _Findings,
    stated: _Stated | None,
) -> npt.NDArray[np.int64] | None:
    """Decode every chunk of a page; return the page's times, None if some cannot be read."""
    times: list[npt.NDArray[np.int64]] | None = []
    for column, chunk_column in chunks.items():
        arrays: list[pa.Array] = []
        for number in range(len(page.sizes)):
            array = _decode(part, column, chunk_column, number, found)
            if column == TIME:
                times = None if times is None or array is None else [*times, codec.values_of(array)]
            if array is None:
                continue
            arrays.append(array)
            fault = chunk_fault(array, page, number, column)
            if fault is not None:
                what = f"{fault} of {part.column_name(column)} in primary block {number} of the page"
                found.add(index[0], f"{what} do not agree with the values", index[1])
        if stated is not None and len(arrays) == len(page.sizes):
            _check_summary(part, page, column, arrays, stated, found)
    return None if times is None else np.concatenate(times)


def _decode(
    part: FilePart, column: int, chunks: ColumnChunks, number: int, found: _Findings
) -> pa.Array | None:
    offset = int(chunks.offsets[number])
    kind: ColumnType = part.kinds[column]
    try:
        data = chunks.verified(number)
        array = codec.decode(data, int(chunks.rows[number]), kind, part.dictionary(column), chunks.path)
        if not pa.types.is_dictionary(array.type):
            array.validate(full=True)
    except (CorruptionError, pa.ArrowException) as error:
        reason = (
            error.reason
            if isinstance(error, CorruptionError)
            else f"a chunk holds impossible values ({error})"
        )
        found.add(chunks.path, f"{reason} ({part.column_name(column)})", offset)
        return None
    if column in {TIME, VERSION} and array.null_count:
        found.add(chunks.path, f"a {part.column_name(column)} is null", offset)
        return None
    return array
