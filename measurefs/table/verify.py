"""Checking one table: its snapshots, and the parts that they name."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping

import msgspec

from measurefs.fs.errors import CorruptionError, FileSystemError, NotExistError
from measurefs.fs.filesystem import DirEntry, FileSystem
from measurefs.fs.paths import join
from measurefs.part.metadata import PartMetadata
from measurefs.part.series import Hash, xxh3
from measurefs.part.verify import Damage, PartCheck, Verdict, part_damage, verify_alone, verify_part
from measurefs.table.epochs import CORRUPT, log_number, part_id, snapshot_epoch, snapshot_name
from measurefs.table.lock import LOCK
from measurefs.table.log import commits_in, gap_before
from measurefs.table.recovery import list_table, missing_reason
from measurefs.table.snapshot import SnapshotRecord
from measurefs.table.tags import TagName, parse_tag, tags_in

_LISTINGS = 10


class VerifyReport(msgspec.Struct):
    """What was checked, and what of it is damaged.

    Attributes
    ----------
    measures, tables, snapshots, parts, files : int
        How many were looked at; a part that several snapshots name counts once.
    rows, bytes : int
        The rows of those parts, superseded ones too, and the bytes read.
    unnamed : int
        Parts that no snapshot names: garbage, and not looked at (unless no snapshot can tell).
    set_aside : int
        What an earlier opening or repair has set aside as ``.corrupt``.
    foreign : int
        Names that are not ours; they harm nothing.
    damages : list of Damage
    """

    measures: int = 0
    tables: int = 0
    snapshots: int = 0
    parts: int = 0
    files: int = 0
    rows: int = 0
    bytes: int = 0
    unnamed: int = 0
    set_aside: int = 0
    foreign: int = 0
    damages: list[Damage] = msgspec.field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there is no damage."""
        return not self.damages

    @property
    def damaged_rows(self) -> int:
        """The rows in damaged parts, as far as that is known; repair may find many of them readable."""
        return sum(({damage.part or damage.path: damage.rows or 0 for damage in self.damages}).values())

    def add(self, other: VerifyReport) -> None:
        """Count what another report tells as part of this one."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclasses.dataclass(slots=True)
class TableState:
    """A table as its files are.

    Attributes
    ----------
    root : str
    entries : dict
        What its directory lists, by name.
    snapshots : dict
        Intact snapshots by their epoch.
    broken : dict
        The damages of the others.
    log : list of str
        Parts of the log that are later than every snapshot.
    unreadable : bool
        Whether the file system failed to give a snapshot, so that nothing is known of it.
    checks : dict
        What checking each part found, by name: parts that a snapshot names, the `log`, and the `orphans`.
    orphans : list of str
        Parts that only a damaged snapshot may have named, or of which no snapshot can tell.
    """

    root: str
    entries: dict[str, DirEntry]
    snapshots: dict[int, SnapshotRecord]
    broken: dict[int, Damage]
    unreadable: bool
    log: list[str] = dataclasses.field(default_factory=list)
    checks: dict[str, PartCheck] = dataclasses.field(default_factory=dict)
    orphans: list[str] = dataclasses.field(default_factory=list)

    @property
    def epochs(self) -> set[int]:
        """The epochs of all snapshots, damaged ones too."""
        return {*self.snapshots, *self.broken}

    @property
    def lost_tags(self) -> list[TagName]:
        """The tags whose snapshots are not there."""
        return [tag for tag in tags_in(self.entries) if tag.epoch not in self.epochs]

    @property
    def newest(self) -> SnapshotRecord | None:
        """The newest intact snapshot: what the table holds for whoever opens it."""
        return self.snapshots[max(self.snapshots)] if self.snapshots else None

    @property
    def logged(self) -> list[PartMetadata]:
        """What is known of the log."""
        return [part for name in self.log if (part := self.checks[name].metadata) is not None]

    @property
    def gaps(self) -> list[Damage]:
        """The parts of the log that follow what is missing."""
        newest, commits = max(self.epochs, default=0), commits_in(self.entries)
        return [
            Damage(join(self.root, part.name), reason)
            for part in self.logged
            if (reason := gap_before(part, newest, commits)) is not None
        ]

    def parts_there(self) -> dict[str, int]:
        """Return the parts of the listing, with their numbers."""
        return {name: number for name in self.entries if (number := part_id(name)) is not None}

    def named(self) -> dict[str, PartMetadata]:
        """Return the parts that intact snapshots name, as the newest of these describes them."""
        return {part.name: part for epoch in sorted(self.snapshots) for part in self.snapshots[epoch].parts}


def verify_table(fs: FileSystem, root: str, hasher: Hash = xxh3) -> VerifyReport:
    """Read a table and check all of it; takes no lock, writes nothing, and does not mind a writer.

    Parameters
    ----------
    root : str
        The table's directory.
    hasher : callable
        From an entity's key to its series' id, as the table was written.

    Raises
    ------
    FileSystemError
        The table cannot be listed.
    UnsupportedStoreError
        A newer release wrote it.
    """
    return report_on(examine(fs, root, hasher))


def examine(
    fs: FileSystem,
    root: str,
    hasher: Hash = xxh3,
    known: Mapping[str, PartCheck] | None = None,
    floor: int = 0,
) -> TableState:
    """Look at all of a table's files.

    What is found damaged may have been collected by a living writer: a part counts as damaged only if
    a snapshot that is still there afterwards names it.

    Parameters
    ----------
    known : mapping, optional
        Checks of an earlier examination; intact parts, which never change, are not read again.
    floor : int
        What was published under tokens up to this one is not looked at; see `TsTable`.
    """
    checks = {name: check for name, check in (known or {}).items() if check.verdict == "intact"}
    state = _look(fs, root, floor)
    for _ in range(_LISTINGS):
        _check_parts(fs, state, checks, hasher)
        intact = all(check.verdict == "intact" for check in state.checks.values())
        if intact and not (state.lost_tags or state.gaps):
            break
        again = _look(fs, root, floor)
        settled = (again.epochs, again.log, again.lost_tags) == (state.epochs, state.log, state.lost_tags)
        if settled and (not state.gaps or again.entries == state.entries):  # a listing is not one moment
            break
        checks = {name: check for name, check in state.checks.items() if check.verdict == "intact"}
        state = again
    else:
        _check_parts(fs, state, checks, hasher)
    return state


def _look(fs: FileSystem, root: str, floor: int) -> TableState:
    """List the table and read its snapshots; anew, if one of them is collected between the two."""
    for _ in range(_LISTINGS):
        with contextlib.suppress(NotExistError):
            return _look_once(fs, root, floor)
    return _look_once(fs, root, floor)


def _look_once(fs: FileSystem, root: str, floor: int) -> TableState:
    entries = {entry.name: entry for entry in list_table(fs, root, floor)}
    state = TableState(root, entries, {}, {}, unreadable=False)
    for name in entries:
        epoch = snapshot_epoch(name)
        if epoch is None:
            continue
        path = join(root, name)
        try:
            state.snapshots[epoch] = _checked(SnapshotRecord.decode(fs.read(path), path, name), path)
        except CorruptionError as error:
            state.broken[epoch] = Damage(path, error.reason, error.offset)
        except NotExistError:
            raise
        except FileSystemError as error:
            state.broken[epoch] = Damage(path, f"it cannot be read: {error.reason}")
            state.unreadable = True
    _compare_snapshots(state)
    newest = max(state.epochs, default=0)
    state.log = [name for name in sorted(entries) if (log_number(name) or 0) > newest]
    return state


def _checked(record: SnapshotRecord, path: str) -> SnapshotRecord:
    numbers = [part.id for part in record.parts]
    if len(set(numbers)) < len(numbers):
        raise CorruptionError(path, "it names a part twice")
    if record.parent >= record.epoch:
        raise CorruptionError(path, f"it claims to follow snapshot {record.parent:016x}, which is not older")
    return record


def _compare_snapshots(state: TableState) -> None:
    """Parts never change: an older snapshot that describes one otherwise than the newest is damaged."""
    named = state.named()
    for epoch, record in list(state.snapshots.items()):
        for part in record.parts:
            if named[part.name] != part:
                path = join(state.root, snapshot_name(epoch))
                state.broken[epoch] = Damage(
                    path, f"it describes part {part.name} otherwise than a later one"
                )
                del state.snapshots[epoch]
                break


def _check_parts(fs: FileSystem, state: TableState, known: Mapping[str, PartCheck], hasher: Hash) -> None:
    for name, metadata in state.named().items():
        reason = missing_reason(metadata, state.entries.get(name))
        if name in known:
            state.checks[name] = known[name]
        elif reason is None:
            state.checks[name] = verify_part(fs, state.root, metadata, hasher)
        else:
            damage = part_damage(join(state.root, name), metadata, reason)
            verdict: Verdict = "missing" if name not in state.entries else "damaged"
            state.checks[name] = PartCheck(verdict, [damage], metadata)
    state.orphans = list(_orphans(state))
    for name in (*state.log, *state.orphans):
        state.checks[name] = known.get(name) or verify_alone(fs, state.root, name, hasher)


def _orphans(state: TableState) -> Iterator[str]:
    """Yield the parts that a damaged snapshot, newer than all intact ones, may have named."""
    newest = max(state.snapshots, default=0)
    if state.snapshots and max(state.broken, default=0) < newest:
        return
    named = state.named()
    for name, number in state.parts_there().items():
        if name not in named and name not in state.log and number > newest:
            yield name


def report_on(state: TableState) -> VerifyReport:
    """Put together what was found."""
    checks = state.checks.values()
    parts = state.parts_there()
    snapshots = len(state.epochs)
    report = VerifyReport(
        tables=1,
        snapshots=snapshots,
        parts=len(state.checks),
        files=snapshots + sum(check.files for check in checks),
        rows=sum(check.metadata.rows for check in checks if check.metadata),
        bytes=sum(check.bytes for check in checks) + _snapshot_bytes(state),
        unnamed=len(parts.keys() - state.checks.keys()),
        set_aside=sum(name.endswith(CORRUPT) for name in state.entries),
    )
    report.foreign = sum(map(_is_foreign, state.entries))
    report.damages = [*_snapshot_damages(state), *(damage for check in checks for damage in check.damages)]
    return report


def _is_foreign(name: str) -> bool:
    ours = snapshot_epoch(name) is not None or part_id(name) is not None
    return not (ours or parse_tag(name) or name.startswith(LOCK) or name.endswith(CORRUPT))


def _snapshot_bytes(state: TableState) -> int:
    sizes = (state.entries[snapshot_name(epoch)].size for epoch in state.epochs)
    return sum(size for size in sizes if size is not None)


def _snapshot_damages(state: TableState) -> Iterator[Damage]:
    """Yield the damages of snapshots; with the newest go the parts that only it can have named."""
    orphans = [check.metadata for name in state.orphans if (check := state.checks[name]).metadata]
    for epoch in sorted(state.broken):
        damage = state.broken[epoch]
        if orphans and epoch == max(state.epochs):
            damage = _with_orphans(damage, orphans)
        yield damage
    if state.orphans and not state.epochs:
        reason = f"it has {len(state.orphans)} parts and no snapshot that names them"
        yield _with_orphans(Damage(state.root, reason), orphans)
    yield from state.gaps
    for tag in state.lost_tags:
        yield Damage(join(state.root, tag.file), f"it keeps snapshot {tag.epoch:016x}, which is missing")


def _with_orphans(damage: Damage, orphans: list[PartMetadata]) -> Damage:
    if not orphans:
        return damage
    return msgspec.structs.replace(
        damage,
        rows=sum(part.rows for part in orphans),
        min_time=min(part.min_time for part in orphans),
        max_time=max(part.max_time for part in orphans),
    )
