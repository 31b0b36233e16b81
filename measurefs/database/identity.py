"""The files by which a root is known to be a store, and a directory to be a measure."""

from __future__ import annotations

import os
import re
from random import Random, SystemRandom
from typing import Self

import msgspec

from measurefs.codec.sealed import seal, unseal
from measurefs.fs.errors import ExistError, NotExistError, UnsupportedStoreError
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.structs import decodable
from measurefs.part.metadata import FORMAT_VERSION, check_format

IDENTITY = "measurefs.json"
SCHEMA = "schema.json"
BACKUP = ".backup"
"""The directory of what a store knows of itself as a copy of another."""
NAMELESS = "-"
"""Stands for the name of a store without one, in its backups."""

_INSIDE = re.compile(r"schema\.json|shard-\d+|.*\.snp")


@decodable
class Identity(msgspec.Struct, frozen=True):
    """The content of ``measurefs.json``, by which a root is known to be a store, and the start of a schema's.

    Attributes
    ----------
    format : int
    store : str
        A random name that no other store has, 16 hex digits; empty in stores of early releases.
    origin : str
        Of a backup, the name of the store that it is one of, or `NAMELESS`; empty in what is no backup.
    """

    format: int = FORMAT_VERSION
    store: str = ""
    origin: str = ""

    @classmethod
    def new(cls, random: Random | None = None, *, origin: str = "") -> Self:
        """Return that of a store which is about to be made."""
        return cls(store=f"{(random or SystemRandom()).getrandbits(64):016x}", origin=origin)

    def name_in_cache(self, url: str) -> str:
        """Return what tells the store from others that use a cache, also from one that is a copy of its files."""
        # One without a name may be replaced by another at the same place: its entries are for this process alone.
        return f"{self.store or os.urandom(16).hex()} {url}"


def read_identity(fs: FileSystem) -> Identity:
    """Read ``measurefs.json``.

    Raises
    ------
    NotExistError
        There is no store.
    CorruptionError
        It is damaged.
    UnsupportedStoreError
        A newer release wrote it.
    """
    identity = unseal(fs.read(IDENTITY), Identity, IDENTITY)
    check_format(identity.format, IDENTITY)
    return identity


def identify(fs: FileSystem, url: str, random: Random, *, read_only: bool) -> Identity:
    """Check that the root is a store, and one to write to unless read_only; then it is made one if it is empty."""
    try:
        identity = read_identity(fs)
    except NotExistError as error:
        if read_only:
            raise NotExistError("open", url, "there is no measurefs store") from error
        identity = _found(fs, url, random)
    if identity.origin and not read_only:
        of = "another store" if identity.origin == NAMELESS else f"store {identity.origin}"
        raise UnsupportedStoreError(
            f"cannot open {url!r} to write: it is a backup of {of}, and could not be restored any more; "
            "open it with read_only=True, or restore it to another place and open that"
        )
    return identity


def _found(fs: FileSystem, url: str, random: Random) -> Identity:
    names = [entry.name for entry in fs.read_dir("")]
    if any(map(_INSIDE.fullmatch, names)):
        raise UnsupportedStoreError(
            f"cannot open {url!r}: it is a directory inside a store; open the directory that has {IDENTITY}"
        )
    if BACKUP in names:
        raise UnsupportedStoreError(
            f"cannot open {url!r}: a backup or copy to it was interrupted; run it again, or empty the directory"
        )
    fs.make_dir("", exist_ok=True)
    identity = Identity.new(random)
    try:
        fs.write(IDENTITY, seal(identity), exclusive=True)
    except ExistError:
        identity = read_identity(fs)
    fs.sync_path("")
    return identity
