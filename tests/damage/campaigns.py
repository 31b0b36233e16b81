"""Damages tried and judged, and counted by the kind of file."""

from __future__ import annotations

import collections
import dataclasses
import functools
import random
from collections.abc import Iterable, Iterator

from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import CorruptionError, join, parent
from measurefs.part.fetch import fetch
from measurefs.part.file_part import FilePart
from measurefs.part.metadata import PartMetadata
from measurefs.part.part import Scan
from measurefs.table.recovery import recover
from tests.damage import damages as made
from tests.damage.damages import Damage
from tests.damage.oracle import (
    DETECTED,
    FELL_BACK,
    HARMLESS,
    IN_PLACE,
    WRONG,
    Verdict,
    forget,
    judge,
    judge_error,
    judge_verifying,
    judge_writing,
    looked_at,
)
from tests.damage.regions import Region, look, parts_of, regions_of, seen
from tests.damage.stores import STORES, Store, kind_of, large, small
from tests.part.made import EVER


@dataclasses.dataclass
class Outcome:
    """What a campaign found: counts by (kind of file, verdict), and a line for each that is wrong."""

    counts: collections.Counter[tuple[str, str]] = dataclasses.field(default_factory=collections.Counter)
    wrong: list[str] = dataclasses.field(default_factory=list)

    def add(self, kind: str, verdict: Verdict, replay: str) -> None:
        self.counts[kind, verdict.name] += 1
        if verdict.name == WRONG:
            self.wrong.append(f"{verdict.why}\n    python -m tests.damage --replay '{replay}'")

    def total(self, verdict: str) -> int:
        return sum(count for (_, name), count in self.counts.items() if name == verdict)

    def check(self) -> None:
        """Fail if anything is wrong."""
        assert not self.wrong, "\n".join([f"{len(self.wrong)} are wrong", *self.wrong[:10]])


def run(store: Store, damages: Iterable[Damage], how: str = "read", fully: int = 1) -> Outcome:
    """Try damages one after another.

    Parameters
    ----------
    how : {"read", "write", "look"}
        Ask everything of a reader; write, and ask then; or read only what the damaged byte is read for.
    fully : int
        Of so many damages to read, one is also verified, and asked about even where a look at the one file tells.
    """
    outcome = Outcome()
    fs = store.load()
    for number, damage in enumerate(damages):
        verdict = TRY[how](store, damage, fs, number % fully == 0)
        outcome.add(damage.kind, verdict, f"{how} {store.name} {damage}")
    return outcome


def _read(store: Store, damage: Damage, fs: MemoryFileSystem, fully: bool) -> Verdict:
    if damage.how not in IN_PLACE:
        fs = store.load()
    damage.apply(store, fs)
    try:
        known = None if fully else _known_without_asking(store, damage, fs)
        verdict = known or judge(store, damage, fs)
        return judge_verifying(damage, fs, verdict) if fully else verdict
    finally:
        if damage.how in IN_PLACE:
            fs.write(damage.path, store.files[damage.path])


def _known_without_asking(store: Store, damage: Damage, fs: MemoryFileSystem) -> Verdict | None:
    """Judge what need not be asked of a whole store: bytes that nobody reads, parts, the newest snapshot."""
    if damage.how not in {"flip", "cut"}:
        return None
    read = looked_at(store).get(damage.path, set())
    if damage.how == "flip" and damage.more[0] not in read:
        return Verdict(HARMLESS)
    if damage.how == "cut" and damage.more[0] > max(read, default=-1):
        return Verdict(HARMLESS)
    if damage.path == store.compact or parent(damage.path) == store.wide:
        return _read_part(store, damage, fs)
    if damage.path not in {store.snapshots[-1], store.beside}:
        return None
    try:
        found = recover(fs, parent(damage.path))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is to be judged
        return judge_error(damage, error)
    right = _parts_without(store, damage.path)
    if [error.path for error in found.damaged] != [damage.path]:
        return Verdict(WRONG, f"it calls these damaged: {found.damaged}")
    fell_back = found.record is not None and found.record.parts == right
    return Verdict(FELL_BACK) if fell_back else Verdict(WRONG, "it is another snapshot")


def _read_part(store: Store, damage: Damage, fs: MemoryFileSystem) -> Verdict | None:
    """Read the damaged part alone; None if nothing was found, and all is to be asked."""
    part = next(one for one in parts_of(store) if damage.path.startswith(join(store.focus, one.name)))
    try:
        fetch(fs, FilePart(store.focus, part).read(Scan(*EVER, list(part.arrow_types()))))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is to be judged
        return judge_error(damage, error)
    return None


@functools.cache
def _parts_without(store: Store, path: str) -> list[PartMetadata] | None:
    fs = store.load()
    forget(fs, path)
    record = recover(fs, parent(path)).record
    return None if record is None else record.parts


def _write(store: Store, damage: Damage, _: MemoryFileSystem, __: bool) -> Verdict:
    return judge_writing(store, damage)


def _look(store: Store, damage: Damage, fs: MemoryFileSystem, _: bool) -> Verdict:
    region = _region_of(store, damage)
    damage.apply(store, fs)
    try:
        found = look(fs, store, region)
    except CorruptionError as error:
        return judge_error(damage, error)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is to be judged
        return Verdict(WRONG, f"{type(error).__name__}: {error}")
    finally:
        fs.write(damage.path, store.files[damage.path])
    return (
        Verdict(HARMLESS)
        if found == seen(store, region)
        else Verdict(WRONG, f"other rows from a {region.what}")
    )


def _region_of(store: Store, damage: Damage) -> Region:
    offset = int(damage.more[0])
    return next(
        one for one in regions_of(store) if one.path == damage.path and one.start <= offset < one.stop
    )


TRY = {"read": _read, "write": _write, "look": _look}


def replay(line: str) -> Verdict:
    """Try one damage again, as a failure's line says."""
    how, name, damage = line.split(" ", 2)
    store = STORES[name]()
    return TRY[how](store, Damage.parse(damage), store.load(), True)


# What is tried.


@dataclasses.dataclass(frozen=True)
class Campaign:
    """Damages of one family."""

    name: str
    store: Store
    damages: list[Damage]
    how: str = "read"
    fully: int = 1

    def run(self) -> Outcome:
        return run(self.store, self.damages, self.how, self.fully)

    def pieces(self, count: int) -> Iterator[Campaign]:
        """Divide it."""
        for nth in range(count):
            yield dataclasses.replace(self, damages=self.damages[nth::count])


FAMILIES = ("bit flips", "cuts", "torn", "misdirected", "moved blocks", "writing", "large part")


@functools.cache
def short(seed: int = 0) -> list[Campaign]:
    """The share that every change passes: a campaign for each of `FAMILIES`."""
    rng = random.Random(seed)
    store = small()
    read = looked_at(store)
    every = made.a_bit_of_each_byte(store, rng)
    newest = {store.snapshots[-1], store.beside}
    snapshots = [one for one in every if one.path in newest]
    others = [one for one in every if one.path not in newest]
    flips = [one for one in others if one.more[0] in read.get(one.path, ())]
    unread = [one for one in others if one.more[0] not in read.get(one.path, ())]
    cuts = list(made.cuts(store))
    whole = {"cpu/schema.json", "measurefs.json", *newest}
    documents = [one for one in cuts if one.path in whole]
    parts = [one for one in cuts if one.path not in whole]
    torn = list(made.torn(store))
    moved = list(made.misdirected(store))
    directories = [one for one in moved if one.kind == "directory"]
    return [
        Campaign(
            "bit flips",
            store,
            snapshots[::16] + flips[rng.randrange(6) :: 6] + unread[rng.randrange(64) :: 64],
            fully=64,
        ),
        Campaign("cuts", store, documents[::16] + rng.sample(parts, 60), fully=64),
        Campaign("torn", store, rng.sample(torn, 50), fully=3),
        Campaign("misdirected", store, directories + rng.sample(moved, 60), fully=3),
        Campaign("moved blocks", store, made.moved_blocks(store, rng, 30), fully=3),
        Campaign(
            "writing", store, rng.sample(flips + unread + torn + moved, 26) + _in_locks(store)[::27], "write"
        ),
        Campaign("large part", large(), _in_parts(large(), 2000, rng), "look"),
    ]


def long(seed: int = 0) -> list[Campaign]:
    """Everything."""
    rng = random.Random(seed)
    store = small()
    everything = [*made.torn(store), *made.misdirected(store)]
    flips = list(made.flips(store))
    return [
        Campaign("bit flips", store, flips, fully=128),
        Campaign("cuts", store, list(made.cuts(store)), fully=128),
        Campaign("torn", store, list(made.torn(store))),
        Campaign("misdirected", store, list(made.misdirected(store))),
        Campaign("moved blocks", store, made.moved_blocks(store, rng, 500)),
        Campaign(
            "writing", store, rng.sample(flips, 300) + rng.sample(everything, 300) + _in_locks(store), "write"
        ),
        Campaign("large part", large(), _in_parts(large(), 12_000, rng), "look"),
    ]


def _in_locks(store: Store) -> list[Damage]:
    """Each byte of a lock file made one that is no ASCII, and so perhaps no text."""
    (path,) = (path for path in store.in_focus if kind_of(path) == "lock")
    return [Damage("flip", path, (offset, 7)) for offset in range(len(store.files[path]))]


def _in_parts(store: Store, count: int, rng: random.Random) -> list[Damage]:
    """Flips at random places of random regions, of each kind of region as many, and of chunks most."""
    kinds: dict[str, list[Region]] = {}
    for region in regions_of(store):
        kinds.setdefault(region.what, []).append(region)
    found = []
    for what, regions in kinds.items():
        share = count // 2 if what == "chunk" else count // 2 // (len(kinds) - 1)
        for _ in range(share):
            region = rng.choice(regions)
            found.append(
                Damage("flip", region.path, (rng.randrange(region.start, region.stop), rng.randrange(8)))
            )
    return found


__all__ = [
    "DETECTED",
    "FELL_BACK",
    "HARMLESS",
    "WRONG",
    "Campaign",
    "Outcome",
    "long",
    "replay",
    "run",
    "short",
]
