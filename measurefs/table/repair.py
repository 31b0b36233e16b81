"""Repairing one table: setting aside what is damaged, and committing a snapshot of what is not.

In this order, so that a crash at any point leaves a table on which it can be done again, to the same end: copies of
what is damaged are made under names of their own; the new snapshot is committed; only then the originals go.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator

import msgspec

from measurefs.fs.errors import NotExistError
from measurefs.fs.filesystem import FileSystem, LockFile
from measurefs.fs.listing import list_dir
from measurefs.fs.paths import join
from measurefs.part.metadata import PartMetadata
from measurefs.part.series import Hash, xxh3
from measurefs.part.verify import Damage, PartCheck, mend_part
from measurefs.table.epochs import CORRUPT, first_epoch, part_id, snapshot_name
from measurefs.table.lock import take_lock
from measurefs.table.snapshot import SnapshotRecord
from measurefs.table.tags import parse_tag, tags_in
from measurefs.table.verify import TableState, VerifyReport, examine, report_on

_WINDOW = 4 << 20


class Action(msgspec.Struct, frozen=True):
    """One thing that repair does.

    Attributes
    ----------
    what : str
        ``set aside`` (kept as ``.corrupt``, or removed where that is there already), ``dropped`` (a part is
        not in the table any more), ``adopted`` (a part is in the table again), ``mended`` (what a part says
        of itself is written anew), ``committed`` (a new snapshot), ``rewritten`` (``measurefs.json``, the file
        of a tag, or a snapshot that a tag keeps, without what is lost).
    path : str
    detail : str
    rows, min_time, max_time : int or None
        Of a part.
    """

    what: str
    path: str
    detail: str = ""
    rows: int | None = None
    min_time: int | None = None
    max_time: int | None = None


class RepairReport(msgspec.Struct):
    """What repair found and did, or would do.

    Attributes
    ----------
    applied : bool
        Whether it was done.
    found : VerifyReport
        What there was before.
    actions : list of Action
    left : list of Damage
        What repair cannot help; each says what to do instead.
    """

    applied: bool
    found: VerifyReport
    actions: list[Action] = msgspec.field(default_factory=list)
    left: list[Damage] = msgspec.field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing damaged is left (or would be)."""
        return not self.left

    def add(self, other: RepairReport) -> None:
        """Take over what another report tells as part of this one."""
        self.found.add(other.found)
        self.actions += other.actions
        self.left += other.left


@dataclasses.dataclass(slots=True)
class _Plan:
    """What is to be done to a table.

    Attributes
    ----------
    parts : list of PartMetadata
        What it is to hold.
    snapshots, aside : list of str
        Names of snapshots and tags, and of parts, to set aside.
    cut : list of SnapshotRecord
        Tagged snapshots that go on without parts that are lost.
    mend : list of PartMetadata
    leftovers : list of str
        Parts that an interrupted repair has set aside already.
    commit : bool
        Whether a new snapshot is needed.
    """

    parts: list[PartMetadata]
    snapshots: list[str]
    cut: list[SnapshotRecord]
    aside: list[str]
    mend: list[PartMetadata]
    leftovers: list[str]
    commit: bool
    actions: list[Action]
    left: list[Damage]

    @property
    def empty(self) -> bool:
        return not (self.commit or self.snapshots or self.cut or self.aside or self.mend or self.leftovers)


def repair_table(
    fs: FileSystem,
    root: str,
    now: Callable[[], int],
    *,
    apply: bool = False,
    hasher: Hash = xxh3,
    also: Callable[[TableState], Iterable[Damage]] = lambda _: (),
    floor: int = 0,
    base: int = 0,
) -> RepairReport:
    """Make a table whole again with everything in it that can be read.

    Damaged parts and snapshots are kept as ``.corrupt``. Parts that only a damaged snapshot can have named, and
    those of older snapshots if any part of the newest is lost, are taken in: where rows are there twice, versions
    decide as ever.

    Parameters
    ----------
    root : str
        The table's directory.
    now : callable
        Nanoseconds since 1970-01-01 UTC.
    apply : bool
        Do it; default is to say what would be done, without a lock.
    also : callable
        Returns what else is wrong with the table, which is told and not touched.
    floor, base : int
        As the table is opened with; see `TsTable`.

    Raises
    ------
    LockError
        There is something to repair, and a writer has the table.
    FileSystemError
        Something could not be written; repair again.
    """
    state = examine(fs, root, hasher, floor=floor)
    plan = _plan(state)
    if not apply or plan.empty:
        return _told(apply, state, plan, also(state))
    with _locked(fs, root, floor, base) as lock:
        state = examine(fs, root, hasher, state.checks, floor)
        plan = _plan(state, fence=not lock.clean)
        _apply(fs, state, plan, lock, first_epoch(floor + lock.token) + 1, now)
    return _told(apply, state, plan, also(state))


def _told(apply: bool, state: TableState, plan: _Plan, others: Iterable[Damage]) -> RepairReport:
    untouched = list(others)
    found = report_on(state)
    found.damages += untouched
    return RepairReport(apply, found, plan.actions, [*plan.left, *untouched])


@contextlib.contextmanager
def _locked(fs: FileSystem, root: str, floor: int, base: int) -> Iterator[LockFile]:
    """Hold the writer's lock."""

    def newest() -> int:
        return max((part_id(e.name.removesuffix(".snp")) or 0 for e in list_dir(fs, root)), default=0)

    lock = take_lock(fs, root, newest, floor, base)
    try:
        yield lock
    except BaseException:
        lock.close(clean=False)  # what was to be written may still take effect
        raise
    lock.close()


# What is to be done.


def _plan(state: TableState, *, fence: bool = False) -> _Plan:
    if state.unreadable or any(_is_unknown(state.checks[name]) for name in (*state.log, *state.orphans)):
        return _refused(state)
    newest = state.newest
    verdicts = {name: check.verdict for name, check in state.checks.items()}
    lost = {name for name, verdict in verdicts.items() if verdict in {"damaged", "missing"}}
    held = [*(newest.parts if newest else []), *state.logged]
    kept = [part for part in held if part.name not in lost]
    adopted = _older(state, held, lost) if len(kept) < len(held) else []
    orphans = [state.checks[name].metadata for name in state.orphans if name not in lost]
    later = sorted((part for part in orphans if part), key=lambda part: part.id)
    logged = {part.id for part in state.logged}
    last = [*(part for part in kept if part.id in logged), *later]
    parts = [
        *adopted,
        *(part for part in kept if part.id not in logged),
        *sorted(last, key=lambda part: part.id),
    ]
    useless = [
        epoch for epoch, record in state.snapshots.items() if any(part.name in lost for part in record.parts)
    ]
    tags = tags_in(state.entries)
    tagged = {tag.epoch for tag in tags}
    lost_tags = [tag.file for tag in tags if tag.epoch not in state.snapshots]
    plan = _Plan(
        parts=parts,
        snapshots=[
            *(snapshot_name(epoch) for epoch in sorted({*state.broken, *(set(useless) - tagged)})),
            *lost_tags,
        ],
        cut=[_without(state.snapshots[epoch], lost) for epoch in useless if epoch in tagged],
        aside=sorted(name for name in lost if name in state.entries),
        mend=[
            check.metadata
            for check in state.checks.values()
            if check.verdict == "mendable" and check.metadata
        ],
        leftovers=[name for name in state.parts_there() if _is_leftover(state, name)],
        commit=fence
        or parts != held
        or max(state.broken, default=-1) > max(state.snapshots, default=-1)
        or bool(state.gaps or lost.intersection(state.log)),
        actions=[],
        left=[],
    )
    plan.actions += _actions(state, plan, lost, [*adopted, *later], held)
    plan.left += [
        msgspec.structs.replace(
            damage, reason=f"{damage.reason}; it stays in the table: make it readable, or {_DELETE}"
        )
        for check in state.checks.values()
        if check.verdict == "unreadable"
        for damage in check.damages
    ]
    return plan


def _without(record: SnapshotRecord, lost: set[str]) -> SnapshotRecord:
    return msgspec.structs.replace(record, parts=[part for part in record.parts if part.name not in lost])


_DELETE = "delete it and repair again to go on without it"


def _refused(state: TableState) -> _Plan:
    """Plan nothing: what cannot be read at all may be whole, and nothing is to be done that could contradict it."""
    left = [
        msgspec.structs.replace(damage, reason=f"{damage.reason}; make it readable, or {_DELETE}")
        for damage in report_on(state).damages
    ]
    return _Plan([], [], [], [], [], [], commit=False, actions=[], left=left)


def _is_unknown(check: PartCheck) -> bool:
    return check.verdict == "unreadable" and check.metadata is None


def _older(state: TableState, held: list[PartMetadata], lost: set[str]) -> list[PartMetadata]:
    """Return whole parts of older snapshots that the newest has replaced: they fill what its lost parts leave."""
    names = {part.name for part in held} | lost
    return sorted(
        (part for name, part in state.named().items() if name not in names), key=lambda part: part.id
    )


def _is_leftover(state: TableState, name: str) -> bool:
    return name not in state.checks and f"{name}{CORRUPT}" in state.entries


def _actions(
    state: TableState, plan: _Plan, lost: set[str], adopted: list[PartMetadata], held: list[PartMetadata]
) -> Iterator[Action]:
    def of_part(what: str, name: str, detail: str, part: PartMetadata | None) -> Action:
        figures = (part.rows, part.min_time, part.max_time) if part else (None, None, None)
        return Action(what, join(state.root, name), detail, *figures)

    for name in plan.snapshots:
        damage = next((d for epoch, d in state.broken.items() if snapshot_name(epoch) == name), None)
        lost_of = "the snapshot that it keeps is lost" if parse_tag(name) else "it names a part that is lost"
        yield Action("set aside", join(state.root, name), damage.reason if damage else lost_of)
    for record in plan.cut:
        path = join(state.root, snapshot_name(record.epoch))
        yield Action("rewritten", path, "a tag keeps it, and some of its parts are lost")
    for name in sorted(lost):
        check = state.checks[name]
        if name in state.entries:
            yield of_part("set aside", name, check.damages[0].reason, check.metadata)
        if any(part.name == name for part in held):
            yield of_part("dropped", name, check.damages[0].reason, check.metadata)
    for part in adopted:
        yield of_part(
            "adopted", part.name, "it is whole, and no later snapshot that can be read names it", part
        )
    for part in plan.mend:
        yield of_part("mended", part.name, state.checks[part.name].damages[0].reason, part)
    for name in plan.leftovers:
        yield of_part("set aside", name, "an interrupted repair has set it aside already", None)
    if plan.commit:
        rows = sum(part.rows for part in plan.parts)
        yield Action("committed", state.root, f"a snapshot; parts in it: {len(plan.parts)}", rows)


# Doing it.


def _apply(
    fs: FileSystem, state: TableState, plan: _Plan, lock: LockFile, epoch: int, now: Callable[[], int]
) -> None:
    root = state.root
    for name in (*plan.snapshots, *(snapshot_name(record.epoch) for record in plan.cut)):
        path = join(root, name)
        fs.write(path + CORRUPT, fs.read(path))
    for name in plan.aside:
        _copy(fs, join(root, name), join(root, name) + CORRUPT, is_dir=state.entries[name].is_dir)
    for part in plan.mend:
        mend_part(fs, root, part)
    fs.sync_path(root)
    lock.check()
    if plan.commit:
        _commit(fs, state, plan, lock, epoch, now)
    for record in plan.cut:
        fs.write(join(root, snapshot_name(record.epoch)), record.encode())
    for name in plan.snapshots:
        with contextlib.suppress(NotExistError):
            fs.delete_file(join(root, name))
    fs.sync_path(root)  # first these, or a crash could leave a snapshot of parts that are gone
    for name in (*plan.aside, *plan.leftovers):
        fs.must_rm_all(join(root, name))
    fs.sync_path(root)


def _copy(fs: FileSystem, source: str, target: str, *, is_dir: bool) -> None:
    """Copy a file, or a directory; what an interrupted copy has left is written anew."""
    if is_dir:
        fs.make_dir(target, exist_ok=True)
        for entry in fs.read_dir(source):
            _copy(fs, join(source, entry.name), join(target, entry.name), is_dir=entry.is_dir)
        fs.sync_path(target)
        return
    with contextlib.suppress(NotExistError):
        fs.delete_file(target)
    with fs.open_file(source) as original, fs.create_file(target) as copy:
        for piece in original.stream_read(_WINDOW):
            copy.write(piece)


def _commit(
    fs: FileSystem, state: TableState, plan: _Plan, lock: LockFile, epoch: int, now: Callable[[], int]
) -> None:
    parent = max([state.newest.epoch if state.newest else 0, *(part.id for part in state.logged)])
    record = SnapshotRecord(epoch, parent, now(), plan.parts)
    fs.write(join(state.root, snapshot_name(epoch)), record.encode(), exclusive=True)
    fs.sync_path(state.root)
    lock.check()
