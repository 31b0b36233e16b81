"""What is below a directory, as of one look at it."""

from __future__ import annotations

from measurefs.fs.errors import NotExistError
from measurefs.fs.filesystem import DirEntry, FileSystem
from measurefs.fs.paths import basename, join, parent

LIMIT = 2_000
"""Files that are worth listing at once, in two requests where each brings a thousand, though few are asked about."""


class Listing:
    """The names below a directory: by one listing of everything where that is cheap, else by directory, when needed.

    Each directory is listed once, so what is told of it does not change.

    Parameters
    ----------
    fs : FileSystem
    root : str
        The directory.
    before : Listing, optional
        Of the same directory: where it was too much to list at once, that is not tried again.
    """

    def __init__(self, fs: FileSystem, root: str, before: Listing | None = None) -> None:
        self._fs = fs
        self._root = root
        tree = fs.read_tree(root, LIMIT) if before is None or before._whole else None
        self._whole: bool = tree is not None
        self._known = {} if tree is None else _by_directory(tree)

    def entries(self, path: str = "") -> list[DirEntry]:
        """Return what is in a directory, given below the root, sorted by name; a missing one is empty."""
        if path not in self._known and not self._whole:
            self._known[path] = list_dir(self._fs, join(self._root, path))
        return self._known.get(path, [])

    def take(self, path: str) -> list[DirEntry] | None:
        """Return what is in a directory if that is known, the first time that it is asked for."""
        if not self._whole:
            return None
        return self._known.pop(path, None)


def list_dir(fs: FileSystem, path: str) -> list[DirEntry]:
    """List a directory; a missing one is empty."""
    try:
        return fs.read_dir(path)
    except NotExistError:
        return []


def _by_directory(files: list[DirEntry]) -> dict[str, list[DirEntry]]:
    found: dict[str, list[DirEntry]] = {"": []}
    for file in files:
        above = parent(file.name)
        _add(found, above).append(file._replace(name=basename(file.name)))
    return {path: sorted(entries) for path, entries in found.items()}


def _add(found: dict[str, list[DirEntry]], path: str) -> list[DirEntry]:
    """Return the entries of a directory; a new one is an entry of that above it."""
    if path not in found:
        found[path] = []
        _add(found, parent(path)).append(DirEntry(basename(path), True))
    return found[path]
