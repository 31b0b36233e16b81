"""One measure of a copy: what is missing there, bringing it, and removing what nothing there names any more.

Nothing that a snapshot in the copy names is ever changed, unless it is damaged. Parts come first, then the snapshots
that name them, then tags, then the schema; so whoever reads the copy meanwhile finds of each table the old state or the
new one.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator

import msgspec

from measurefs.codec.checksum import checksum
from measurefs.codec.sealed import seal
from measurefs.database.backup_record import BackupRecord, MeasureRecord
from measurefs.database.holding import Holding
from measurefs.database.identity import SCHEMA
from measurefs.database.mirror_parts import batches, in_parallel, schema_files
from measurefs.database.places import tables_in
from measurefs.database.schema_chain import Revision, revision_of
from measurefs.database.tags import TAGS, tag_names, tag_path
from measurefs.fs.errors import (
    CorruptionError,
    NotExistError,
    SchemaError,
    UnsupportedStoreError,
)
from measurefs.fs.filesystem import DirEntry, FileSystem, make_durable_dir
from measurefs.fs.listing import Listing, list_dir
from measurefs.fs.paths import join, parent, unescape
from measurefs.part.copying import Tell, finish, is_intact, is_whole, steps
from measurefs.part.metadata import PartMetadata
from measurefs.table import Runtime
from measurefs.table.epochs import first_epoch, part_id, snapshot_epoch, snapshot_name, token_of
from measurefs.table.lock import LOCK
from measurefs.table.recovery import missing_reason, read_snapshot
from measurefs.table.snapshot import SnapshotRecord
from measurefs.table.tags import TagName, check_free, parse_tag


@dataclasses.dataclass(slots=True)
class _Table:
    """A table in the copy that is, or may be, not as it is to be.

    Attributes
    ----------
    path : str
        Below the measure.
    entries : dict
        What is there, by name.
    snapshots : dict
        Those there that are intact, by epoch.
    unknown : bool
        Whether others, that must stay, cannot be read.
    stays : set of int
        The epochs that tags keep which only the copy has.
    missing : list of PartMetadata
        To be brought.
    own : set of str
        Those of them that only such tags need.
    """

    path: str
    entries: dict[str, DirEntry]
    snapshots: dict[int, SnapshotRecord]
    unknown: bool
    stays: set[int]
    missing: list[PartMetadata] = dataclasses.field(default_factory=list)
    own: set[str] = dataclasses.field(default_factory=set)


class Mirror:
    """A measure that is copied to a target.

    Parameters
    ----------
    target : FileSystem
    holding : Holding
        What it is to hold.
    old : MeasureRecord, optional
        What the last run has brought, if that was completed and nothing was begun since.
    record : BackupRecord
        What the target tells of itself.
    tag : str
        A name to keep the state under; empty for none.
    runtime : Runtime
    sweeps : bool
        Whether an interrupted run may have left half-written files.
    is_read : bool
        Whether the target is a store already, that others may read meanwhile.
    verifies : bool
        Whether to read what is there, and to bring again what is damaged.

    Raises
    ------
    SchemaError
        The tag is there already.
    UnsupportedStoreError
        What is there cannot have come from what is to be copied.
    """

    def __init__(
        self,
        target: FileSystem,
        holding: Holding,
        old: MeasureRecord | None,
        record: BackupRecord,
        tag: str,
        runtime: Runtime,
        *,
        sweeps: bool,
        is_read: bool,
        verifies: bool = False,
    ) -> None:
        self._verifies = verifies
        self._is_read = is_read
        self._sweeps = sweeps
        self.root = holding.root
        self.holding = holding
        self._target = target
        self._old = old
        self._runtime = runtime
        self._checks = {
            table: checksum(holding.snapshots[table][epoch].encode())
            for table, epoch in holding.now.tables.items()
        }
        self._tags = {each.tag: each for each in holding.tags}
        self._schema = schema_files(holding)
        self._there = tag_names(target, self.root)
        self._kept = self._keep(record, tag)
        self._tag = tag
        self._all = old is None or self._is_other(old)
        self._look()

    # What there is.

    def _keep(self, record: BackupRecord, tag: str) -> set[str]:
        """Return the tags that only the target has and that stay."""
        name = unescape(self.root)
        kept = record.own_tags(self.root, self._there)
        for both in sorted(kept & self._tags.keys()):
            raise SchemaError(
                f"measure {name!r} has a tag {both!r}, and the backup keeps another state under that name; "
                "remove the tag, or give up what the backup keeps (forget, --forget)"
            )
        if tag:
            check_free(tag, sorted(kept | self._tags.keys()), f"measure {name!r}, or its backup,")
        return kept

    def _is_other(self, old: MeasureRecord) -> bool:
        """Whether so much has changed that every table in the target may be concerned."""
        removed = any(self._tags.get(name) != known for name, known in old.tags.items())
        return removed or self._kept != set(old.kept) or old.schema.floor != self.holding.schema.floor

    def _look(self) -> None:
        """Find out which tables are not as they are to be, and what they lack."""
        listing = Listing(self._target, self.root) if self._all else None
        paths = self._changed() if listing is None else self.holding.tables | set(tables_in(listing))

        def look(path: str) -> _Table:
            place = join(self.root, path)
            table = self._read(path, listing.entries(path) if listing else list_dir(self._target, place))
            self._check(table)
            self._find_missing(table)
            if self._verifies:
                self._find_own(table)
            return table

        self._tables: list[_Table] = in_parallel(self._runtime, look, sorted(paths))
        self._schema_there = self._old is not None and (self._old.schema, self._old.first) == (
            self.holding.schema,
            self.holding.first,
        )
        if not self._schema_there:
            self._check_schema()

    def _changed(self) -> set[str]:
        """Return the tables that are not as the last run has left them."""
        assert self._old is not None
        changed = {path for path, check in self._checks.items() if self._old.checks.get(path) != check}
        new = [record for record in self.holding.tags if record.tag not in self._old.tags]
        return (
            changed | (self._old.checks.keys() - self._checks.keys()) | {p for tag in new for p in tag.tables}
        )

    def _read(self, path: str, entries: Iterable[DirEntry]) -> _Table:
        by_name = {entry.name: entry for entry in entries}
        tags = [tag for name in by_name if (tag := parse_tag(name)) is not None]
        stays = {tag.epoch for tag in tags if tag.tag in self._kept}
        table = _Table(path, by_name, {}, False, stays)
        for name in by_name:
            epoch = snapshot_epoch(name)
            if epoch is not None:
                try:
                    table.snapshots[epoch] = read_snapshot(self._target, join(self.root, path), epoch)
                except CorruptionError:
                    table.unknown |= epoch in stays
        return table

    def _check(self, table: _Table) -> None:
        """Raise unless what is there is of the same history as what is to come."""
        wanted, parts = self.holding.of_table(table.path), self.holding.parts(table.path)
        newest = self.holding.now.tables.get(table.path)
        for epoch, record in table.snapshots.items():
            if newest is not None and epoch > newest and epoch not in wanted:
                raise self._diverged(table, f"snapshot {epoch:016x}, newer than any to be copied")
            if wanted.get(epoch, record) != record:
                raise self._diverged(table, f"another snapshot {epoch:016x}")
            for part in record.parts:
                if parts.get(part.name, part) != part:
                    raise self._diverged(table, f"another part {part.name}")

    def _diverged(self, table: _Table, what: str) -> UnsupportedStoreError:
        return UnsupportedStoreError(
            f"cannot copy table {join(self.root, table.path)!r}: the target has {what}; either the store was put back "
            "to an earlier state since it was copied there, or somebody has written to the copy. Copy to another "
            "target, and keep this one as long as you need what it holds"
        )

    def _find_missing(self, table: _Table) -> None:
        named = {part.name for record in table.snapshots.values() for part in record.parts}
        for name, part in self.holding.parts(table.path).items():
            there = missing_reason(part, table.entries.get(name)) is None
            if there and self._verifies:
                there = is_intact(self._target, join(self.root, table.path), part)
            elif there and name not in named:
                there = is_whole(self._target, join(self.root, table.path), part)
            if not there:
                table.missing.append(part)

    def _find_own(self, table: _Table) -> None:
        """Find out what is damaged or lost of that which only the target's own tags need."""
        wanted = self.holding.parts(table.path)
        for epoch in sorted(table.stays - self.holding.of_table(table.path).keys()):
            if epoch not in table.snapshots:
                raise self._lost(table, snapshot_name(epoch), {epoch})
            for part in table.snapshots[epoch].parts:
                known = part.name in wanted or part.name in table.own
                if not known and not is_intact(self._target, join(self.root, table.path), part):
                    table.missing.append(part)
                    table.own.add(part.name)

    def check_own(self, path: str) -> None:
        """Raise `CorruptionError` if what the source has not (any more) is needed by the target's own tags alone."""
        for table in self._tables:
            for name in table.own:
                if f"{path}/".startswith(join(self.root, table.path, name) + "/"):
                    records = {
                        epoch: table.snapshots[epoch] for epoch in table.stays & table.snapshots.keys()
                    }
                    needs = {e for e, each in records.items() if name in {part.name for part in each.parts}}
                    raise self._lost(table, name, needs)

    def _lost(self, table: _Table, name: str, epochs: set[int]) -> CorruptionError:
        tags = [tag for entry in table.entries if (tag := parse_tag(entry)) and tag.epoch in epochs]
        names = ", ".join(sorted({repr(tag.tag) for tag in tags if tag.tag in self._kept}))
        return CorruptionError(
            join(self.root, table.path, name),
            f"it is damaged or missing in the backup, which needs it for {names}, and the store has it no more; "
            "give these up (forget, --forget)",
        )

    def _check_schema(self) -> None:
        wanted = Revision.of(self.holding.schema)
        names = [entry.name for entry in list_dir(self._target, self.root)]
        revisions = [revision for name in names if (revision := revision_of(name)) is not None]
        newest = max(revisions, default=wanted)
        if newest.floor < wanted.floor and self._kept:
            raise UnsupportedStoreError(
                f"cannot copy measure {self.holding.schema.name!r}: it was dropped and created again, and the backup "
                f"keeps states of the old one ({', '.join(sorted(self._kept))}); copy to another target, or give "
                "these up (forget, --forget)"
            )
        if newest > wanted:
            raise UnsupportedStoreError(
                f"cannot copy measure {self.holding.schema.name!r}: the target has a newer revision of its schema; "
                "copy to another target"
            )

    @property
    def changes(self) -> bool:
        """Whether anything is to be written."""
        same = self._old is not None and self._old.tags == self._tags
        return bool(self._tables or self._tag or not same or not self._schema_there)

    @property
    def strays(self) -> set[str]:
        """The tags that are there and are to be removed."""
        return set(self._there) - {*self._tags, *self._kept, self._tag}

    @property
    def new_tags(self) -> set[str]:
        """The tags that are to be written and are not the target's yet."""
        return (self._tags.keys() | ({self._tag} if self._tag else set())) - set(self._there)

    @property
    def bytes(self) -> int:
        """The size of what is to be copied."""
        return sum(part.compressed_bytes for part in self._missing())

    @property
    def parts(self) -> tuple[int, int]:
        """How many parts are to be copied, and how many there will be."""
        there = sum(len(self.holding.parts(path)) for path in self.holding.tables)
        return len(list(self._missing())), there + sum(len(table.own) for table in self._tables)

    def _missing(self) -> Iterator[PartMetadata]:
        return (part for table in self._tables for part in table.missing)

    # Bringing it.

    def copy(self, source: FileSystem, tell: Tell) -> None:
        """Bring all parts that are missing; raises as `steps` does."""
        if self._sweeps:
            self._sweep()
        in_parallel(self._runtime, self._prepare, [table for table in self._tables if not table.snapshots])
        for batch in batches([(table, part) for table in self._tables for part in table.missing]):
            calls: list[Callable[[], None]] = []
            for table, part in batch:
                place = join(self.root, table.path)
                if not part.compact:
                    self._target.make_dir(join(place, part.name), exist_ok=True)
                calls += steps(source, self._target, place, part, tell, begun=part.name in table.entries)
            in_parallel(self._runtime, lambda call: call(), calls)
            in_parallel(
                self._runtime,
                lambda item: finish(self._target, join(self.root, item[0].path), item[1]),
                batch,
            )

    def _prepare(self, table: _Table) -> None:
        """Make a new table; until its first snapshot is there it is an empty one, to those who read the target."""
        epochs = self.holding.of_table(table.path).keys()
        if not epochs:
            return
        root = join(self.root, table.path)
        if not table.entries:
            make_durable_dir(self._target, root)
        if self._is_read:
            empty = SnapshotRecord(first_epoch(token_of(min(epochs))), 0, self.holding.now.time, [])
            name = snapshot_name(empty.epoch)
            self._target.write(join(root, name), empty.encode())
            self._target.sync_path(root)
            table.entries[name] = DirEntry(name, is_dir=False)

    def _sweep(self) -> None:
        """Let the backend remove the half-written files that an interrupted run has left: taking a lock does."""
        for table in self._tables:
            root = join(self.root, table.path)
            if table.entries:
                self._target.create_lock_file(join(root, LOCK)).close()
            for part in table.missing:
                if not part.compact and part.name in table.entries:
                    lock = join(root, part.name, LOCK)
                    self._target.create_lock_file(lock).close()
                    self._target.must_rm_all(lock)

    def commit(self) -> MeasureRecord:
        """Let the target show what was brought; return what there is to record of it."""
        tables = {table.path: table for table in self._tables}
        tagged = self.holding.now.tables if self._tag else {}
        in_parallel(
            self._runtime,
            lambda path: self._commit_table(path, tables.get(path)),
            sorted({*tables, *tagged}),
        )
        self._write_tags()
        self._write_schema()
        kept = self._kept | ({self._tag} if self._tag else set())
        return MeasureRecord(
            now=self.holding.now,
            checks=self._checks,
            tags=self._tags,
            kept=sorted(kept),
            schema=self.holding.schema,
            first=self.holding.first,
        )

    def _commit_table(self, path: str, table: _Table | None) -> None:
        root = join(self.root, path)
        if table is not None and (table.missing or self.holding.of_table(path)):
            self._target.sync_path(root)  # the parts' names
            snapshots = self.holding.of_table(path)
            missing = [epoch for epoch in sorted(snapshots) if epoch not in table.snapshots]
            for epoch in missing:
                self._target.write(join(root, snapshot_name(epoch)), snapshots[epoch].encode())
            if missing:
                self._target.sync_path(root)
        there = table.entries if table is not None else {}
        tags = [tag for tag in self._tags_of(path) if tag.file not in there]
        if table is None:
            tags = [tag for tag in tags if tag.tag == self._tag]
        for tag in tags:
            self._target.write(join(root, tag.file), b"")
        if tags:
            self._target.sync_path(root)

    def _tags_of(self, path: str) -> list[TagName]:
        """Return the tags that a table is to have, but for those that only the target has had so far."""
        tags = [TagName(each.tables[path], each.tag) for each in self.holding.tags if path in each.tables]
        if self._tag and path in self.holding.now.tables:
            tags.append(TagName(self.holding.now.tables[path], self._tag))
        return tags

    def _write_tags(self) -> None:
        known = {} if self._old is None else self._old.tags
        files = {name: seal(each) for name, each in self._tags.items() if known.get(name) != each}
        if self._tag:
            files[self._tag] = seal(msgspec.structs.replace(self.holding.now, tag=self._tag))
        if files:
            make_durable_dir(self._target, join(self.root, TAGS))
            for name, data in files.items():
                self._target.write(tag_path(self.root, name), data)
            self._target.sync_path(join(self.root, TAGS))

    def _write_schema(self) -> None:
        if self._schema_there:
            return
        make_durable_dir(self._target, self.root)
        for name, data in self._schema.items():  # schema.json, which makes it a measure, is the last
            self._target.write(join(self.root, name), data)
            self._target.sync_path(self.root)

    # Removing.

    def clean(self) -> int:
        """Remove what nothing in the target names any more; return how many parts that were."""
        gone = [tag_path(self.root, name) for name in sorted(self.strays)]
        if gone:
            self._target.delete_files(gone)
        if gone or self._sweeps:  # the removal of one may have failed before it was durable
            with contextlib.suppress(NotExistError):
                self._target.sync_path(join(self.root, TAGS))
        if not self._schema_there:
            self._clean_schema()
        removed: list[int] = in_parallel(self._runtime, self._clean_table, self._tables)
        if any(not self._is_used(table) for table in self._tables):
            self._remove_empty_segments()
        return sum(removed)

    def _is_used(self, table: _Table) -> bool:
        return bool(self.holding.of_table(table.path) or table.stays)

    def _clean_schema(self) -> None:
        names = [entry.name for entry in list_dir(self._target, self.root) if revision_of(entry.name)]
        gone = [join(self.root, name) for name in names if name not in {SCHEMA, *self._schema}]
        if gone:
            self._target.delete_files(gone)
            self._target.sync_path(self.root)

    def _clean_table(self, table: _Table) -> int:
        root = join(self.root, table.path)
        if not self._is_used(table):
            self._target.must_rm_all(root)
            return sum(part_id(name) is not None for name in table.entries)
        tags = {tag.file for tag in self._tags_of(table.path)}
        epochs = self.holding.of_table(table.path).keys() | table.stays
        gone = []
        for name in table.entries:
            tag, epoch = parse_tag(name), snapshot_epoch(name)
            unneeded = tag is not None and tag.tag not in self._kept and name not in tags
            if unneeded or (epoch is not None and epoch not in epochs):
                gone.append(join(root, name))
        if gone:
            self._target.delete_files(gone)
        if gone or self._sweeps:
            self._target.sync_path(root)
        parts = self._unnamed(table)
        for name in parts:
            self._target.must_rm_all(join(root, name))
        return len(parts)

    def _unnamed(self, table: _Table) -> list[str]:
        if table.unknown:
            return []
        kept = [record for epoch, record in table.snapshots.items() if epoch in table.stays]
        named = {part.name for record in kept for part in record.parts} | self.holding.parts(
            table.path
        ).keys()
        return [name for name in table.entries if part_id(name) is not None and name not in named]

    def _remove_empty_segments(self) -> None:
        """Remove the directories of segments in which there is no table any more, where there are directories."""
        for segment in {parent(table.path) for table in self._tables if not self._is_used(table)}:
            if not list_dir(self._target, join(self.root, segment)):
                self._target.must_rm_all(join(self.root, segment))
        self._target.sync_path(self.root)
