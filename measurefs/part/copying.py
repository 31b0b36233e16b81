"""Copying a part from one file system to another; each byte is checked on the way.

Files are made under the same names, and of a wide part ``metadata.json`` last: with it there the part is whole. A
part's metadata come from the snapshot that names it, so that they are right even where the part's own are damaged. A
part of the log becomes one like all others: the copy is committed by its snapshot.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import xxhash

from measurefs.codec.checksum import verify
from measurefs.codec.sealed import seal
from measurefs.fs.errors import CorruptionError, NotExistError, ReadError, UnsupportedStoreError
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.paths import join
from measurefs.part.file_part import read_metadata
from measurefs.part.metadata import LOG_SUFFIX, METADATA, PartMetadata, Piece, part_name
from measurefs.part.sections import MAGIC, TRAILER

WINDOW = 8 << 20
"""A longer section goes over in pieces of this size."""

Tell = Callable[[int], None]
"""Told how many more bytes are done."""


class GoneError(Exception):
    """A file that was to be copied is not there (any more)."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def is_whole(fs: FileSystem, root: str, part: PartMetadata) -> bool:
    """Whether a part that no snapshot names is this one, with all its files; its content is not read.

    Each file was put there whole, by who had checked it, and is described by what stands in the metadata.

    Parameters
    ----------
    root : str
        The table's directory.
    """
    path = join(root, part.name)
    try:
        if not part.compact:
            sizes = {entry.name: entry.size for entry in fs.read_dir(path) if not entry.is_dir}
            if any(sizes.get(name, -1) not in {piece.size, None} for name, piece in part.sections.items()):
                return False
        return read_metadata(fs, path) == part
    except (NotExistError, CorruptionError, UnsupportedStoreError):
        return False


def is_intact(fs: FileSystem, root: str, part: PartMetadata) -> bool:
    """Whether a part is there as `is_whole` tells, and its content is right; reads it."""
    if not is_whole(fs, root, part):
        return False
    path = join(root, part.name)
    return all(
        _is_right(fs, path if part.compact else join(path, name), piece)
        for name, piece in part.sections.items()
    )


def steps(
    source: FileSystem, target: FileSystem, root: str, part: PartMetadata, tell: Tell, *, begun: bool
) -> Iterator[Callable[[], None]]:
    """Yield calls, to be made in any order or in parallel, that copy a part; then call `finish`.

    Parameters
    ----------
    root : str
        The table's directory, on both sides.
    part : PartMetadata
        As the snapshot describes it.
    tell : callable
        Called from the same threads.
    begun : bool
        Whether there may be something of it already. What is right of it stays.

    Raises
    ------
    GoneError
        The source does not have the part, or not all of it.
    CorruptionError
        The source's bytes are not what was written. Of a damaged file nothing is published.
    FileSystemError
        Something could not be read or written.
    """
    if part.compact:
        yield lambda: _copy_compact(source, target, root, part, tell)
        return
    for name, piece in part.sections.items():
        path = join(root, part.name, name)
        yield lambda path=path, piece=piece: _copy_section(  # type: ignore[misc]
            source, target, path, piece, tell, begun=begun
        )


def finish(target: FileSystem, root: str, part: PartMetadata) -> None:
    """Make a part whole of which all `steps` are done; after that, `sync_path` of the table's directory is due."""
    if not part.compact:
        directory = join(root, part.name)
        target.write(join(directory, METADATA), seal(part))
        target.sync_path(directory)


def _copy_compact(source: FileSystem, target: FileSystem, root: str, part: PartMetadata, tell: Tell) -> None:
    path = join(root, part.name)
    data = _read_compact(source, root, part)
    view = memoryview(data)
    for name, piece in part.sections.items():
        content = view[piece.offset : piece.offset + piece.size]
        verify(content, piece.checksum, path, piece.offset, f"the section {name}")
    sealed = seal(part)
    target.write(path, b"".join((data, sealed, TRAILER.pack(len(sealed), MAGIC))))
    tell(part.compressed_bytes)


def _read_compact(source: FileSystem, root: str, part: PartMetadata) -> bytes:
    try:
        return _read(source, join(root, part.name), 0, part.compressed_bytes)
    except GoneError:
        with contextlib.suppress(GoneError):
            return _read(source, join(root, part_name(part.id) + LOG_SUFFIX), 0, part.compressed_bytes)
        raise


def _copy_section(
    source: FileSystem, target: FileSystem, path: str, piece: Piece, tell: Tell, *, begun: bool
) -> None:
    if begun and _has(target, path, piece):
        tell(piece.size)
        return
    if piece.size <= WINDOW:
        data = _read(source, path, piece.offset, piece.size)
        verify(data, piece.checksum, path, piece.offset, "the section")
        target.write(path, data)
        tell(piece.size)
        return
    if begun:
        with contextlib.suppress(NotExistError):
            target.delete_file(path)
    running = xxhash.xxh3_64()
    with target.create_file(path) as file:
        for offset in range(0, piece.size, WINDOW):
            data = _read(source, path, piece.offset + offset, min(WINDOW, piece.size - offset))
            running.update(data)
            file.write(data)
            tell(len(data))
        if running.intdigest() != piece.checksum:
            raise CorruptionError(path, "the checksum of the section does not match", piece.offset)


def _has(fs: FileSystem, path: str, piece: Piece) -> bool:
    """Whether a file is there with just these bytes; reads it."""
    try:
        return _size(fs, path) == piece.size and _is_right(fs, path, piece)
    except GoneError:
        return False


def _is_right(fs: FileSystem, path: str, piece: Piece) -> bool:
    """Whether a file has the bytes of a section where they belong."""
    running = xxhash.xxh3_64()
    try:
        for offset in range(0, piece.size, WINDOW):
            running.update(_read(fs, path, piece.offset + offset, min(WINDOW, piece.size - offset)))
    except (GoneError, CorruptionError):
        return False
    return running.intdigest() == piece.checksum


def _read(fs: FileSystem, path: str, offset: int, size: int) -> bytes:
    if size == 0:
        return b""
    try:
        (data,) = fs.read_ranges([(path, offset, size)])
    except NotExistError as error:
        raise GoneError(path) from error
    except ReadError as error:
        if _size(fs, path) < offset + size:
            raise CorruptionError(path, "it is cut short") from error
        raise
    return data


def _size(fs: FileSystem, path: str) -> int:
    try:
        with fs.open_file(path) as file:
            return file.size()
    except NotExistError as error:
        raise GoneError(path) from error
