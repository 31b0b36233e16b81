"""Parts that are being written: their files may be there, and no snapshot names them yet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from measurefs.fs.errors import FileSystemError
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.paths import join
from measurefs.part.metadata import COMPACT_SUFFIX, part_name


class Outputs:
    """Keeps the collector's hands off the parts of a table that are being written.

    Parameters
    ----------
    fs : FileSystem
    root : str
        The table's directory.
    """

    def __init__(self, fs: FileSystem, root: str) -> None:
        self._fs = fs
        self._root = root
        self._numbers: set[int] = set()

    def numbers(self) -> set[int]:
        """Return the ids of the parts that are being written."""
        return set(self._numbers)

    @contextlib.contextmanager
    def writing(self, number: int) -> Iterator[None]:
        """Write a part, and introduce it, within the block; after an error its files are removed."""
        self._numbers.add(number)
        try:
            yield
        except Exception:
            self.remove(number)
            raise
        finally:
            self._numbers.discard(number)

    def remove(self, number: int) -> None:
        """Remove the files of a part that nothing names."""
        for name in (part_name(number), part_name(number) + COMPACT_SUFFIX):
            # What cannot be removed now the collector removes later.
            with contextlib.suppress(FileSystemError):
                self._fs.must_rm_all(join(self._root, name))
