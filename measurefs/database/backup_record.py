"""What a backup tells of itself, and a copy that is not finished yet: ``.backup/record.json`` in its root.

It is there before anything else, so that what an interrupted run leaves is known for what it is. Of a backup it is
written again when a run is complete, which is the commit point: `restore` goes by it, whatever a later run, that was
interrupted, has brought since.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

import msgspec

from measurefs.codec.sealed import seal
from measurefs.database.identity import BACKUP
from measurefs.database.schema import MeasureSchema
from measurefs.database.tags import TagRecord
from measurefs.fs.errors import NotExistError
from measurefs.fs.filesystem import FileSystem
from measurefs.fs.paths import join
from measurefs.fs.structs import decodable
from measurefs.part.metadata import FORMAT_VERSION, unseal_document
from measurefs.query import check_names

LOCK = join(BACKUP, "LOCK")
_RECORD = join(BACKUP, "record.json")

Kind = Literal["backup", "restore", "copy"]


class MeasureRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run has brought of a measure.

    Attributes
    ----------
    now : TagRecord
        The state that it shows.
    checks : dict
        From each table's path to the checksum of the snapshot of that state.
    tags : dict
        The tags that the measure had, by their names.
    kept : list of str
        The tags that only the backup has.
    schema : MeasureSchema
    first : bytes
        The content of its ``schema.json``.
    """

    now: TagRecord
    checks: dict[str, int]
    tags: dict[str, TagRecord]
    kept: list[str]
    schema: MeasureSchema
    first: bytes


@decodable
class BackupRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the file.

    Attributes
    ----------
    kind : str
    origin : str
        The name of the store that is copied; empty if it has none.
    tag : str
        Of a restored store, what it is to show; empty for the last state.
    time : int
        When the last complete run was, nanoseconds since 1970-01-01 UTC; 0 if there was none.
    begun : dict
        By the directories of measures on which a run has begun and not come to its end, the names of tags that are
        none of the target's own, should they be found there: it may have written them, or be about to remove them.
    measures : dict
        What the last complete run has brought, by the measures' directories.
    gone : dict
        By the directories of measures that the store does not have any more the tags that keep them.
    """

    kind: Kind
    origin: str
    tag: str = ""
    time: int = 0
    begun: dict[str, list[str]] = msgspec.field(default_factory=dict)
    measures: dict[str, MeasureRecord] = msgspec.field(default_factory=dict)
    gone: dict[str, list[str]] = msgspec.field(default_factory=dict)
    format: int = FORMAT_VERSION

    def own_tags(self, root: str, names: Iterable[str]) -> set[str]:
        """Return which of the tags found in a measure's directory only the target has."""
        if self.kind != "backup":
            return set()
        if root in self.gone:
            return {*names} & {*self.gone[root]}
        known = self.measures.get(root)
        own = set(known.kept if known else ())
        others = {*self.begun.get(root, ()), *(known.tags if known else ())}
        return {name for name in names if name in own or name not in others}

    def tags_of(self, root: str, names: Iterable[str]) -> set[str]:
        """Return the tags that complete runs have brought of a measure, given those found in its directory."""
        known = self.measures.get(root)
        return set(known.tags if known else ()) | self.own_tags(root, names)

    def without(self, names: Collection[str]) -> BackupRecord:
        """Return it with tags given up that only the backup has; raises `SchemaError` for one that it has not."""
        own = {root: each.kept for root, each in self.measures.items()} | self.gone
        begun = {root: {*kept} & {*names} for root, kept in own.items()}
        known = {name for names in (*own.values(), *self.begun.values()) for name in names}
        check_names(names, sorted(known), "forget", "tag of the backup")
        return msgspec.structs.replace(
            self,
            begun=self.begun
            | {root: sorted(more.union(self.begun.get(root, ()))) for root, more in begun.items() if more},
            measures={
                root: msgspec.structs.replace(each, kept=[name for name in each.kept if name not in names])
                for root, each in self.measures.items()
            },
            gone={root: [name for name in kept if name not in names] for root, kept in self.gone.items()},
        )


def read_record(fs: FileSystem) -> BackupRecord | None:
    """Return what a store tells of itself as a backup or an unfinished copy; None if it is neither.

    Raises
    ------
    CorruptionError
        It is damaged.
    UnsupportedStoreError
        A newer release wrote it.
    """
    try:
        data = fs.read(_RECORD)
    except NotExistError:
        return None
    return unseal_document(data, BackupRecord, _RECORD)


def write_record(fs: FileSystem, record: BackupRecord) -> None:
    """Write the file, durably."""
    fs.write(_RECORD, seal(record))
    fs.sync_path(BACKUP)
