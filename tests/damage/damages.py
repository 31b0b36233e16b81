"""What is done to a store: each damage is one line of text, so that a failure can be replayed."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterator

from measurefs.fs import FileSystem, basename, join, parent
from tests.damage.stores import Store, kind_of, sections_of

SECTORS = (512, 4096)


@dataclasses.dataclass(frozen=True)
class Damage:
    """One change to the files of a store.

    Attributes
    ----------
    how : str
        A function of this module below: ``flip``, ``cut``, ``zero``...
    path : str
        The file or directory it is done to.
    more : tuple
        What else the function takes.
    """

    how: str
    path: str
    more: tuple[int | str, ...] = ()

    def apply(self, store: Store, fs: FileSystem) -> None:
        """Do it."""
        HOW[self.how](store, fs, self.path, *self.more)

    def paths(self) -> list[str]:
        """The files and directories that it changes."""
        return [self.path, *(one for one in self.more if isinstance(one, str))]

    @property
    def kind(self) -> str:
        """What is damaged."""
        return kind_of(self.path)

    def __str__(self) -> str:
        return " ".join(map(str, (self.how, self.path, *self.more)))

    @classmethod
    def parse(cls, line: str) -> Damage:
        """Read what `str` gave."""
        how, path, *more = line.split(" ")
        return cls(how, path, tuple(int(one) if one.lstrip("-").isdigit() else one for one in more))


def flip(_: Store, fs: FileSystem, path: str, offset: int, bit: int) -> None:
    """Turn one bit."""
    content = bytearray(fs.read(path))
    content[offset] ^= 1 << bit
    fs.write(path, content)


def cut(_: Store, fs: FileSystem, path: str, length: int) -> None:
    """Leave so many bytes."""
    fs.write(path, fs.read(path)[:length])


def zero(_: Store, fs: FileSystem, path: str, sector: int, number: int) -> None:
    """Put zeros into one sector."""
    _replace(fs, path, sector, number, b"")


def garble(_: Store, fs: FileSystem, path: str, sector: int, number: int) -> None:
    """Put random bytes into one sector."""
    _replace(fs, path, sector, number, random.Random(number).randbytes(sector))


def stale(_: Store, fs: FileSystem, path: str, sector: int, number: int, older: str) -> None:
    """Put the same sector of another file of its kind there, as if this one's had never been written."""
    _replace(fs, path, sector, number, fs.read(older)[number * sector : (number + 1) * sector])


def _replace(fs: FileSystem, path: str, sector: int, number: int, by: bytes) -> None:
    content = bytearray(fs.read(path))
    place = slice(number * sector, min((number + 1) * sector, len(content)))
    size = place.stop - place.start
    content[place] = by[:size].ljust(size, b"\0")
    fs.write(path, content)


def append(_: Store, fs: FileSystem, path: str, size: int) -> None:
    """Put garbage after the end."""
    fs.write(path, fs.read(path) + random.Random(size).randbytes(size))


def remove(_: Store, fs: FileSystem, path: str) -> None:
    """Take it away."""
    fs.must_rm_all(path)


def directory(_: Store, fs: FileSystem, path: str) -> None:
    """Put a directory in the place of a file."""
    fs.delete_file(path)
    fs.make_dir(path)


def copy(_: Store, fs: FileSystem, path: str, source: str) -> None:
    """Put another file's content under this name."""
    fs.make_dir(parent(path), exist_ok=True)
    fs.write(path, fs.read(source))


def swap(store: Store, fs: FileSystem, one: str, two: str) -> None:
    """Exchange two files, or two directories with all that is in them."""
    moves = _moves(store, one, two) | _moves(store, two, one)
    for source in moves:
        fs.must_rm_all(source)
    for source, target in moves.items():
        fs.make_dir(parent(target), exist_ok=True)
        fs.write(target, store.files[source])


def _moves(store: Store, here: str, there: str) -> dict[str, str]:
    """Old path and new path of each file of what goes from here to there."""
    files = [path for path in store.files if path == here or path.startswith(f"{here}/")]
    return {path: there + path[len(here) :] for path in files}


def blocks(_: Store, fs: FileSystem, path: str, one: int, two: int, size: int) -> None:
    """Exchange two runs of bytes within a file."""
    content = bytearray(fs.read(path))
    first, second = content[one : one + size], content[two : two + size]
    content[one : one + size], content[two : two + size] = second, first
    fs.write(path, content)


HOW = {
    function.__name__: function
    for function in (flip, cut, zero, garble, stale, append, remove, directory, copy, swap, blocks)
}


# Family 7: bits.


def flips(store: Store) -> Iterator[Damage]:
    """Every bit of every file in focus."""
    for path in store.in_focus:
        for offset in range(len(store.files[path])):
            for bit in range(8):
                yield Damage("flip", path, (offset, bit))


def a_bit_of_each_byte(store: Store, rng: random.Random) -> list[Damage]:
    """One bit of every byte in focus."""
    return [
        Damage("flip", path, (offset, rng.randrange(8)))
        for path in store.in_focus
        for offset in range(len(store.files[path]))
    ]


def sampled_flips(store: Store, count: int, rng: random.Random) -> list[Damage]:
    """Bits of every file in focus, as many of each, at random places in as many equal stretches of it."""
    paths = store.in_focus
    found = []
    for path in paths:
        size = len(store.files[path])
        share = min(count // len(paths) + 1, size)
        for nth in range(share):
            offset = rng.randrange(
                nth * size // share, max((nth + 1) * size // share, nth * size // share + 1)
            )
            found.append(Damage("flip", path, (offset, rng.randrange(8))))
    return found


# Family 6: torn files.


def cuts(store: Store) -> Iterator[Damage]:
    """Every length of the documents, of the other files every length, too: they are small."""
    for path in store.in_focus:
        for length in range(len(store.files[path])):
            yield Damage("cut", path, (length,))


def torn(store: Store) -> Iterator[Damage]:
    """Sectors zeroed, garbled and stale; garbage at the end; no file, an empty one, a directory."""
    for path in store.in_focus:
        size = len(store.files[path])
        older = _older(store, path)
        for sector in SECTORS:
            for number in range(-(-size // sector)):
                yield Damage("zero", path, (sector, number))
                yield Damage("garble", path, (sector, number))
                stretch = slice(number * sector, (number + 1) * sector)
                if older is not None and store.files[older][stretch] != store.files[path][stretch]:
                    yield Damage("stale", path, (sector, number, older))
        for more in (1, 16, 512, 4096):
            yield Damage("append", path, (more,))
        yield Damage("cut", path, (0,))
        # Without the newest snapshot the one before is the newest, and nobody can tell.
        if path not in {store.snapshots[-1], store.beside}:
            yield Damage("remove", path)
        yield Damage("directory", path)


def _older(store: Store, path: str) -> str | None:
    """Return a file that this one's sectors may be left over from: of the same kind, and not the same."""
    alike = [
        other
        for other in store.files
        if other != path and kind_of(other) == kind_of(path) and store.files[other] != store.files[path]
    ]
    near = [other for other in alike if parent(other) == parent(path)]
    return max(near or alike, default=None)


# Family 8: data in the wrong place.


def misdirected(store: Store) -> Iterator[Damage]:
    """Whole files and directories in each other's place; all pairs."""
    for one, two in itertools.combinations(store.files, 2):
        if store.files[one] != store.files[two]:
            yield Damage("swap", one, (two,))
    tables = sorted({parent(path) for path in store.files if basename(path).startswith("LOCK")})
    for one, two in itertools.combinations(tables, 2):
        yield Damage("swap", one, (two,))
    for one, two in itertools.combinations(sorted({parent(table) for table in tables}), 2):
        yield Damage("swap", one, (two,))
    for path in store.files:
        for table in tables:
            if parent(path) in tables and parent(path) != table:
                yield Damage("copy", join(table, basename(path)), (path,))
    yield from _under_new_names(store)


def _under_new_names(store: Store) -> Iterator[Damage]:
    newest = store.snapshots[-1]
    epoch = int(basename(newest)[:16], 16)
    for source in store.snapshots:
        yield Damage("copy", join(store.focus, f"{epoch + 1:016x}.snp"), (source,))
    yield Damage("copy", join(store.focus, f"{epoch + 2:016x}.part"), (store.compact,))


def moved_blocks(store: Store, rng: random.Random, count: int) -> list[Damage]:
    """Two runs of equal length within a file, exchanged."""
    found: list[Damage] = []
    paths = [
        *(path for path in store.in_focus if path.endswith((".part", ".snp"))),
        *sections_of(store, store.wide),
    ]
    while len(found) < count:
        path = rng.choice(paths)
        content = store.files[path]
        size = rng.choice([1, 4, 16, 64, 512, 4096])
        if 2 * size > len(content):
            continue
        one, two = sorted(rng.randrange(len(content) - size + 1) for _ in range(2))
        if one + size <= two and content[one : one + size] != content[two : two + size]:
            found.append(Damage("blocks", path, (one, two, size)))
    return found
