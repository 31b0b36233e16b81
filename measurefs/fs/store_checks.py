"""What can be tried out on a store that is there without writing anything."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from measurefs.fs.cached import is_kept
from measurefs.fs.checks import Procedure, Refuted, Scratch, check_end, check_missing, check_ranges
from measurefs.fs.errors import NotExistError
from measurefs.fs.filesystem import FileSystem, walk

STORE, LISTED, RANGES = "store", "list the store", "ranges in the store"

_IDENTITY = "measurefs.json"
_SEARCHED = 10_000
_STEP = 4096


def reading_procedures(missing: str) -> Sequence[Procedure]:
    """Return the checks; missing is the path of a file that is not there."""
    return (
        Procedure(STORE, "there is a store, and it can be read", "no store can be read", _store_is_there),
        Procedure(
            "missing file in the store",
            "a file that is not there is known to be missing",
            "missing files cannot be told from forbidden ones",
            lambda at: check_missing(at.fs, missing),
            (STORE,),
        ),
        Procedure(
            LISTED, "the store can be listed", "the store cannot be listed", _store_is_listed, (STORE,)
        ),
        Procedure(
            RANGES,
            "parts of its files can be read",
            "ranges cannot be read",
            _ranges_agree,
            (LISTED,),
        ),
    )


def files_to_time(fs: FileSystem) -> tuple[str, str, int]:
    """Return a small file, a larger one and how many bytes that has."""
    path = _some_part(fs)
    return _IDENTITY, path, _size(fs, path)


def _store_is_there(at: Scratch) -> str:
    try:
        return f"{_IDENTITY}, {len(at.fs.read(_IDENTITY))} bytes"
    except NotExistError as error:
        raise Refuted(f"there is no {_IDENTITY}, so there is no store", "check the URL") from error


def _store_is_listed(at: Scratch) -> str:
    names = [entry.name for entry in at.fs.read_dir("")]
    if _IDENTITY not in names:
        raise Refuted(f"it does not show {_IDENTITY}, which is there", "look for a cache of listings")
    if names != sorted(names):
        raise Refuted("it is not sorted by name", "do not use this store")
    return f"{len(names)} names"


def _ranges_agree(at: Scratch) -> str:
    """Read ranges alone, which must be the same as together and through an open file."""
    path = _some_part(at.fs)
    size = _size(at.fs, path)
    step = min(size, _STEP)
    wanted = [(0, step), (size // 2, min(step, size - size // 2)), (size - step, step)]
    alone = {each: at.fs.read_ranges([(path, *each)])[0] for each in wanted}
    check_ranges(at.fs, path, wanted, lambda offset, length: alone[offset, length])
    check_end(at.fs, path, size)
    return f"of {path}"


def _some_part(fs: FileSystem) -> str:
    """Return a file of some part, or the one file that every store has."""
    return next(filter(is_kept, itertools.islice(walk(fs), _SEARCHED)), _IDENTITY)


def _size(fs: FileSystem, path: str) -> int:
    with fs.open_file(path) as file:
        return file.size()
