"""The revisions of a measure's schema: which one counts, and how the next is made, without a lock.

Revision 1 is ``schema.json``, revision n ``schema-<8 digits>.json``; the newest is the schema. A directory without
``schema.json`` is no measure. Of a measure whose name was dropped before, revisions carry their schema's `floor` in
their names, ``schema-<8 digits>+<floor>.json``, also the first, beside ``schema.json``: whatever a stalled process
still adds to the chain of the dropped one is of a lower floor, and never counts.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from measurefs.codec.sealed import seal, unseal
from measurefs.database.identity import SCHEMA, Identity
from measurefs.database.schema import MeasureSchema
from measurefs.fs.errors import (
    CorruptionError,
    ExistError,
    FileSystemError,
    FlushError,
    NotExistError,
    WriteError,
)
from measurefs.fs.filesystem import FileSystem, make_durable_dir
from measurefs.fs.listing import Listing, list_dir
from measurefs.fs.paths import join
from measurefs.part.metadata import check_format

_NAME = re.compile(r"schema-([0-9]{8})(?:\+([1-9][0-9]*))?\.json")
_ATTEMPTS = 1000
_SYNCS = 3
_KEPT = 2


class Revision(NamedTuple):
    """Where in the chain a file stands; later ones are greater."""

    floor: int
    number: int

    @property
    def name(self) -> str:
        """The file's name."""
        if self == _FIRST:
            return SCHEMA
        return f"schema-{self.number:08d}" + (f"+{self.floor}" if self.floor else "") + ".json"

    @classmethod
    def of(cls, schema: MeasureSchema) -> Revision:
        """Return where a schema stands."""
        return cls(schema.floor, schema.revision)


_FIRST = Revision(0, 1)


def revision_of(name: str) -> Revision | None:
    """Return the revision that a file of that name holds, None if it is none of a schema."""
    if name == SCHEMA:
        return _FIRST
    match = _NAME.fullmatch(name)
    return Revision(int(match.group(2) or 0), int(match.group(1))) if match else None


def newest(fs: FileSystem, root: str, listing: Listing | None = None) -> MeasureSchema:
    """Return a measure's schema: one listing and one read, again if somebody collects what was to be read.

    Parameters
    ----------
    root : str
        The measure's directory.
    listing : Listing, optional
        Of that directory, if one was made just before.

    Raises
    ------
    NotExistError
        There is no measure.
    CorruptionError
        The newest revision is damaged. What an older one says would be wrong.
    UnsupportedStoreError
        A newer release wrote it.
    """
    for _ in range(_ATTEMPTS):
        revision = max(_listed(fs, root, listing))
        with contextlib.suppress(NotExistError):
            return read_revision(fs, root, revision)
        listing = None
    raise NotExistError("read", join(root, revision.name), "it is listed and is not there; try again")


def newest_or_none(fs: FileSystem, root: str) -> MeasureSchema | None:
    """Return a measure's schema as `newest` does, None if there is no measure."""
    with contextlib.suppress(NotExistError):
        return newest(fs, root)
    return None


def _listed(fs: FileSystem, root: str, listing: Listing | None = None) -> list[Revision]:
    """Return the revisions that are there; raises `NotExistError` if that is no measure."""
    entries = list_dir(fs, root) if listing is None else listing.entries()
    names = [entry.name for entry in entries if not entry.is_dir]
    if SCHEMA not in names:
        raise NotExistError("read", join(root, SCHEMA), "there is no such measure, or it was dropped")
    return [revision for name in names if (revision := revision_of(name)) is not None]


def read_revision(fs: FileSystem, root: str, revision: Revision) -> MeasureSchema:
    """Read one revision, and check that it is the one after which its file is named."""
    path = join(root, revision.name)
    data = fs.read(path)
    check_format(unseal(data, Identity, path).format, path)
    schema = unseal(data, MeasureSchema, path)
    if Revision.of(schema) != revision and not (revision == _FIRST and schema.revision == 1):
        raise CorruptionError(path, f"it holds revision {schema.revision}; was it renamed or copied?")
    return schema


def change(fs: FileSystem, root: str, edit: Callable[[MeasureSchema], MeasureSchema]) -> MeasureSchema:
    """Change a measure's schema, also while others do: each change is made to the one before it, and none is lost.

    A crash leaves the schema as it was or changed. After an error it may be either; the change can be made again.

    Parameters
    ----------
    root : str
        The measure's directory.
    edit : callable
        Returns the schema as it is to be. Called again with a newer one when somebody else was faster, perhaps
        with one that has the change already. If what it returns is equal, nothing is written.

    Returns
    -------
    MeasureSchema
        The newest, durable.

    Raises
    ------
    NotExistError
        There is no measure (any more).
    CorruptionError, UnsupportedStoreError
        As `newest`.
    FileSystemError
        It could not be written.
    """
    failures = 0
    floor: int | None = None
    for _ in range(_ATTEMPTS):
        old = newest(fs, root)
        if floor is not None and floor != old.floor:
            raise NotExistError(
                "change", join(root, SCHEMA), "the measure was dropped and created again meanwhile"
            )
        floor = old.floor
        edited = msgspec.structs.replace(edit(old), revision=old.revision, floor=old.floor)
        if edited == old and not failures:
            fs.sync_path(root)  # whoever wrote it may have died before its name was durable
            return old
        made = msgspec.structs.replace(edited, revision=old.revision + 1)
        try:
            if _publish(fs, root, made):
                _collect(fs, root)
                return newest(fs, root)
        except FlushError:
            # Syncing the same name a second time proves nothing: the next attempt is a file of its own.
            failures += 1
            if failures == _SYNCS:
                raise
    raise WriteError("write", join(root, SCHEMA), "others change the schema all the time; try again")


def _publish(fs: FileSystem, root: str, schema: MeasureSchema) -> bool:
    """Write a revision; returns whether it counts."""
    revision = Revision.of(schema)
    try:
        fs.write(join(root, revision.name), seal(schema), exclusive=True)
    except ExistError:
        return False
    fs.sync_path(root)
    # Its name may be one that was used and collected while we were stalled. That takes two later ones to be there.
    last = max(_listed(fs, root))
    return last <= revision._replace(number=revision.number + 1)


def _collect(fs: FileSystem, root: str) -> None:
    """Delete superseded revisions, but for ``schema.json`` and the newest two; the next change deletes what stays."""
    with contextlib.suppress(FileSystemError):
        for revision in sorted(_listed(fs, root))[:-_KEPT]:
            if revision != _FIRST:
                with contextlib.suppress(NotExistError):
                    fs.delete_file(join(root, revision.name))


def create(fs: FileSystem, root: str, schema: MeasureSchema) -> None:
    """Make a measure's directory and the first revision of its schema, durably.

    Raises
    ------
    ExistError
        There is a measure.
    FileSystemError
        It could not be written; there may be a measure all the same.
    """
    make_durable_dir(fs, root)
    data = seal(schema)
    if schema.floor:
        fs.write(join(root, Revision.of(schema).name), data, exclusive=True)
        fs.sync_path(root)
    fs.write(join(root, SCHEMA), data, exclusive=True)
    fs.sync_path(root)
