"""The sections of a part while it is written, and the files that they become."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

import xxhash

from measurefs.codec.checksum import checksum
from measurefs.codec.sealed import seal
from measurefs.fs.filesystem import File, FileSystem
from measurefs.fs.paths import join
from measurefs.part.metadata import METADATA, PartMetadata, Piece, part_name

TRAILER = struct.Struct("<Q8s")
MAGIC = b"MFSPART1"
"""A compact part ends with its metadata, their length and this."""

Describe = Callable[[int, dict[str, Piece], bool], PartMetadata]
"""From the size of all sections, where each lies, and whether the part is compact, to what the part says of itself."""


class Sections:
    """The growing sections of one part.

    Parameters
    ----------
    fs : FileSystem
    root : str
        The table's directory.
    part_id : int
    compact_bytes : int
        A part whose sections are no larger together becomes one file.
    spill_bytes : int, optional
        As soon as the part is not to be compact, keep no more than about this in memory and append the rest to
        its files at once. Default is to keep all, and to write the files in parallel in the end.
    """

    def __init__(
        self, fs: FileSystem, root: str, part_id: int, compact_bytes: int, spill_bytes: int | None = None
    ) -> None:
        self._fs = fs
        self._root = root
        self._wide = join(root, part_name(part_id))
        self._compact_bytes = compact_bytes
        self._spill_bytes = spill_bytes
        self._sizes: dict[str, int] = {}
        self._held: dict[str, list[bytes]] = {}
        self._held_bytes = 0
        self._files: dict[str, tuple[File, xxhash.xxh3_64]] = {}

    def append(self, section: str, data: bytes) -> int:
        """Add bytes to a section and return where in it they start."""
        offset = self._sizes.get(section, 0)
        self._held.setdefault(section, []).append(data)
        self._sizes[section] = offset + len(data)
        self._held_bytes += len(data)
        return offset

    def size(self, section: str) -> int:
        """Return how many bytes a section has so far."""
        return self._sizes.get(section, 0)

    @property
    def total(self) -> int:
        """The bytes of all sections."""
        return sum(self._sizes.values())

    def relieve(self) -> None:
        """Append what is held in memory to the files, if it is too much."""
        if self._spill_bytes is None or self._held_bytes <= self._spill_bytes:
            return
        if self.total > self._compact_bytes:
            self._spill()

    def _spill(self) -> None:
        if not self._files:
            self._fs.make_dir(self._wide)
        for section, pieces in self._held.items():
            data = b"".join(pieces)
            if section not in self._files:
                self._files[section] = self._fs.create_file(join(self._wide, section)), xxhash.xxh3_64()
            file, running = self._files[section]
            file.write(data)
            running.update(data)
        self._held, self._held_bytes = {}, 0

    def finish(self, describe: Describe) -> PartMetadata:
        """Write what is not written yet, and the part's metadata last of all.

        The files are durable on return; their names after `sync_path` of the table's directory.
        """
        if self._files:
            self._spill()
            pieces = {
                name: Piece(0, self._sizes[name], running.intdigest())
                for name, (_, running) in self._files.items()
            }
            for file, _ in self._files.values():
                file.close()
            metadata = describe(self.total, pieces, False)
        else:
            sections = {name: b"".join(pieces) for name, pieces in self._held.items()}
            compact = self.total <= self._compact_bytes
            metadata = describe(self.total, _places(sections, compact=compact), compact)
            if compact:
                return self._write_compact(sections, metadata)
            self._fs.make_dir(self._wide)
            self._fs.write_all({join(self._wide, name): data for name, data in sections.items()})
        self._fs.write(join(self._wide, METADATA), seal(metadata))
        self._fs.sync_path(self._wide)
        return metadata

    def _write_compact(self, sections: Mapping[str, bytes], metadata: PartMetadata) -> PartMetadata:
        sealed = seal(metadata)
        trailer = TRAILER.pack(len(sealed), MAGIC)
        self._fs.write(join(self._root, metadata.name), b"".join((*sections.values(), sealed, trailer)))
        return metadata

    def discard(self) -> None:
        """Close the files without publishing what is not published yet; what is remains for who cleans up."""
        for file, _ in self._files.values():
            file.discard()


def _places(sections: Mapping[str, bytes], *, compact: bool) -> dict[str, Piece]:
    pieces, offset = {}, 0
    for name, data in sections.items():
        pieces[name] = Piece(offset if compact else 0, len(data), checksum(data))
        offset += len(data)
    return pieces
