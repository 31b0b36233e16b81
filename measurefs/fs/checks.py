"""What `measurefs.fs.examination` tries out on a file system: each check is one promise of the interface.

A check is a function of a scratch directory that returns what was seen, or raises: `Refuted` where the file system did
not keep its promise, and whatever the file system raised where it refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import NamedTuple

from measurefs.fs.errors import ExistError, FencedError, LockError, NotExistError, ReadError
from measurefs.fs.filesystem import FileSystem, LockFile, walk
from measurefs.fs.paths import join

KIB, MIB = 1 << 10, 1 << 20
RACERS = 8
RACES = 3
READERS = 3
REPLACEMENTS = 10


class Refuted(Exception):  # noqa: N818 - it is the outcome of a check, not a failure of one
    """The file system did something else than it must.

    Parameters
    ----------
    seen : str
        What it did.
    advice : str
        What to do about it.
    permission : str
        What seems not to be allowed, as S3 calls it.
    """

    def __init__(self, seen: str, advice: str = "", permission: str = "") -> None:
        super().__init__(seen)
        self.advice = advice
        self.permission = permission


class Skipped(Exception):  # noqa: N818 - likewise
    """The check does not apply here."""


class Scratch:
    """A directory for one examination, and the names that were used in it.

    Parameters
    ----------
    fs : FileSystem
    root : str
        The directory; it is made by the first `file`.
    random : random.Random
        For contents.
    large : int
        Bytes of the large file.
    """

    def __init__(self, fs: FileSystem, root: str, random: Random, large: int) -> None:
        self.fs = fs
        self.root = root
        self.large = large
        self.files: list[str] = []
        self._random = random

    def directory(self, name: str) -> str:
        """Make a directory and return its path."""
        path = join(self.root, name)
        self.fs.make_dir(path, exist_ok=True)
        return path

    def file(self, name: str, content: bytes | None = None) -> str:
        """Return the path of a file, with a content if that is given."""
        if not self.files:
            self.fs.make_dir(self.root, exist_ok=True)
        path = join(self.root, name)
        self.files.append(path)
        if content is not None:
            self.fs.write(path, content)
        return path

    def content(self, size: int) -> bytes:
        """Return bytes that nothing else has."""
        return self._random.randbytes(size)


def written_and_read(at: Scratch) -> str:
    """Write files, empty ones too, make their names durable, and read them."""
    for name, size in (("written", 4 * KIB), ("empty", 0)):
        content = at.content(size)
        path = at.file(name, content)
        at.fs.sync_path(at.root)
        found = at.fs.read(path)
        if found != content:
            raise Refuted(
                f"{size} bytes were written, and other {len(found)} read",
                "something between here and the store changes bodies; look for proxies and checksum settings",
            )
    return "4 KiB and an empty file"


def missing_is_missing(at: Scratch) -> str:
    """Read a file that was never written."""
    return check_missing(at.fs, at.file("never-written"))


def check_missing(fs: FileSystem, path: str) -> str:
    """Read a file that is not there."""
    try:
        fs.read(path)
    except NotExistError:
        return "as it must be"
    except PermissionError as error:
        raise Refuted(
            f"it was answered as if access to it were forbidden: {error}",
            "without that S3 says 403 where it would say 404: no lock can be checked, and no new store be made",
            "s3:ListBucket",
        ) from error
    raise Refuted("reading it succeeded", "do not use this store")


def last_write_counts(at: Scratch) -> str:
    """Overwrite a file, with more and with fewer bytes, and read it at once."""
    path = at.file("overwritten")
    sizes = (4 * KIB, 5 * KIB, 10, 4 * KIB)
    for size in sizes:
        content = at.content(size)
        at.fs.write(path, content)
        if at.fs.read(path) != content:
            raise Refuted(
                "an older content was read after the newer one had been acknowledged",
                "use a store with strong consistency; if a cache or a gateway stands before it, go round it",
            )
    return f"{len(sizes)} times"


_STALE = (
    "listings must never come from a cache: switch it off (fsspec: use_listings_cache=False), or use a store "
    "with strongly consistent listings"
)


def listing_is_fresh(at: Scratch) -> str:
    """List a directory, write another file, and list again."""
    directory = at.directory("listed")
    names = ["b", "c", "a", "a-", "d"]
    for number, name in enumerate(names):
        at.file(f"listed/{name}", b"x" * number)
        shown = at.fs.read_dir(directory)
        if [entry.name for entry in shown] != sorted(names[: number + 1]):
            raise Refuted(_difference(names[: number + 1], [entry.name for entry in shown]), _STALE)
        sizes = {names[place]: place for place in range(number + 1)}
        if any(entry.is_dir or entry.size not in {None, sizes[entry.name]} for entry in shown):
            raise Refuted("it shows files with wrong sizes, or as directories", "do not use this store")
    at.directory("listed/below")
    at.file("listed/below/file", b"x")
    if [entry.name for entry in at.fs.read_dir(directory) if entry.is_dir] != ["below"]:
        raise Refuted("it does not show a directory", _STALE)
    return f"{len(names) + 1} times"


def _difference(right: Sequence[str], shown: Sequence[str]) -> str:
    if set(right) - set(shown):
        return "it is stale: it does not show a file that had been written before"
    if set(shown) - set(right):
        return "it shows a file that is not there"
    return f"it is not sorted by name: {', '.join(shown)}"


def tree_is_complete(at: Scratch) -> str:
    """List all below a directory at once, and compare that with listing directory by directory."""
    directory = join(at.root, "listed")
    found = at.fs.read_tree(directory, 100)
    if found is None:
        raise Skipped("this store lists directory by directory")
    if [join(directory, entry.name) for entry in found] != sorted(walk(at.fs, directory)):
        raise Refuted("it does not show the same files as listing each directory", "do not use this store")
    return f"{len(found)} files"


def ranges_are_exact(at: Scratch) -> str:
    """Read ranges of a file: its ends, neighbours, overlaps, nothing, and what is beyond the end."""
    size = MIB
    content = at.content(size)
    path = at.file("ranges", content)
    wanted = [
        (0, 1),
        (0, 100),
        (50, 100),
        (150, 4096),
        (size // 2, 65536),
        (size - 1, 1),
        (size - 9, 9),
        (7, 0),
    ]
    check_ranges(at.fs, path, wanted, lambda offset, length: content[offset : offset + length])
    check_end(at.fs, path, size)
    return f"{len(wanted)} of 1 MiB"


def check_ranges(
    fs: FileSystem, path: str, wanted: Sequence[tuple[int, int]], right: Callable[[int, int], bytes]
) -> None:
    """Read ranges in one call, and again through an open file."""
    found = fs.read_ranges([(path, *each) for each in wanted])
    with fs.open_file(path) as file:
        again = file.readv(list(wanted))
    expected = [right(*each) for each in wanted]
    if found != expected or again != expected:
        raise Refuted(
            "other bytes came than are there", "something between here and the store ignores 'Range'"
        )


def check_end(fs: FileSystem, path: str, size: int) -> None:
    """Read beyond the end of a file, which must not look like bytes that are there."""
    for offset in (size - 1, size + 10):
        try:
            fs.read_ranges([(path, offset, 2)])
        except ReadError:
            continue
        raise Refuted("a range beyond the end of a file was no error", "do not use this store")


def replaced_atomically(at: Scratch) -> str:
    """Replace a file again and again while others read it."""
    size = 128 * KIB
    path = at.file("replaced", bytes(size))
    over = threading.Event()

    def watch() -> int:
        reads = 0
        while not (over.is_set() and reads):
            try:
                found = at.fs.read(path)
            except NotExistError as error:
                raise Refuted("the file was gone for a moment", _NOT_ATOMIC) from error
            if not found or found != found[:1] * (size + found[0]):
                raise Refuted(f"a reader saw a torn file, of {len(found)} bytes", _NOT_ATOMIC)
            reads += 1
        return reads

    with ThreadPoolExecutor(READERS) as threads:
        watching = [threads.submit(watch) for _ in range(READERS)]
        try:
            for number in range(1, REPLACEMENTS + 1):
                at.fs.write(path, bytes([number]) * (size + number))
                if any(each.done() for each in watching):
                    break  # it has seen enough
        finally:
            over.set()
        reads = sum(each.result() for each in watching)
    return f"{REPLACEMENTS} times, during {reads} reads"


_NOT_ATOMIC = (
    "a file must show whole or not at all: do not use this store, or write through a backend of your own"
)


def deleted_is_gone(at: Scratch) -> str:
    """Delete files one by one and several at once, some of which are not there."""
    one, *several = (at.file(f"deleted-{number}", b"x") for number in range(4))
    at.fs.delete_file(one)
    at.fs.delete_files([*several, at.file("never-there")])
    for path in (one, *several):
        try:
            at.fs.read(path)
        except NotExistError:
            continue
        raise Refuted("a file was read after it had been deleted", "use a store with strong consistency")
    try:
        at.fs.delete_file(one)
    except NotExistError:
        return "one, and three at once"
    raise Refuted("deleting what is not there was no error", "do not use this store")


def listing_forgets(at: Scratch) -> str:
    """Delete files, and list after each."""
    names = ["a", "b", "c", "stays"]
    for name in names:
        at.directory("forgotten")
        at.file(f"forgotten/{name}", b"x")
    for number, name in enumerate(names[:-1], 1):
        directory = join(at.root, "forgotten")
        at.fs.read_dir(directory)
        at.fs.delete_file(join(directory, name))
        if [entry.name for entry in at.fs.read_dir(directory)] != names[number:]:
            raise Refuted("it is stale: it shows a file that had been deleted before", _STALE)
    return f"{len(names) - 1} times"


def directory_is_removed(at: Scratch) -> str:
    """Remove a directory with all that is in it, twice."""
    directory = at.directory("removed")
    files = 12
    for number in range(files):
        at.directory(f"removed/{number % 3}")
        at.file(f"removed/{number % 3}/{number}", b"x")
    at.fs.must_rm_all(directory)
    at.fs.must_rm_all(directory)
    try:
        left = list(walk(at.fs, directory))
    except NotExistError:
        return f"{files} files"
    raise Refuted(f"it is there still, with {len(left)} files", "do not use this store")


_APART = (
    "use a store or a release of it that honours 'If-None-Match: *' on writes; with this one no two processes may ever "
    "write at the same time, not even by mistake"
)


def second_is_refused(at: Scratch) -> str:
    """Create a file exclusively, and again."""
    path = at.file("exclusive")
    first = at.content(100)
    at.fs.write(path, first, exclusive=True)
    try:
        at.fs.write(path, at.content(100), exclusive=True)
    except ExistError:
        if at.fs.read(path) != first:
            raise Refuted("the second writer was refused, and yet its content is there", _APART) from None
        return "and the first content stays"
    raise Refuted("a second writer overwrote the file instead of being refused", _APART)


def race_has_one_winner(at: Scratch) -> str:
    """Let threads create the same file at the same moment."""
    for number in range(RACES):
        path = at.file(f"race-{number}")
        start = threading.Barrier(RACERS)

        def race(racer: int, path: str = path, start: threading.Barrier = start) -> bool:
            start.wait()
            try:
                at.fs.write(path, bytes([racer]) * 100, exclusive=True)
            except ExistError:
                return False
            return True

        with ThreadPoolExecutor(RACERS) as threads:
            won = list(threads.map(race, range(RACERS)))
        if sum(won) != 1:
            raise Refuted(f"{sum(won)} of {RACERS} were told that they had created one file", _APART)
        if at.fs.read(path) != bytes([won.index(True)]) * 100:
            raise Refuted("the content is not that of the writer that was told so", _APART)
    return f"{RACES} races of {RACERS} threads"


_NO_LOCK = "two writers of one table would not be kept apart: do not write to this store"


def lock_works(at: Scratch) -> str:
    """Take a lock, be refused it, let go, and take it again."""
    path = at.file("LOCK")
    with at.fs.create_lock_file(path) as lock:
        lock.check()
        try:
            second = at.fs.create_lock_file(path)
        except LockError:
            pass
        else:
            second.close()
            raise Refuted("it was given to a second holder while the first one had it", _NO_LOCK)
        lock.check()
    _check_ended(lock)
    with at.fs.create_lock_file(path) as later:
        if later.token <= lock.token:
            raise Refuted(f"its token did not grow: {lock.token}, then {later.token}", _NO_LOCK)
        later.check()
    return f"tokens {lock.token} and {later.token}"


def _check_ended(lock: LockFile) -> None:
    try:
        lock.check()
    except FencedError:
        return
    raise Refuted("it was held still after it had been released", _NO_LOCK)


def large_file_is_whole(at: Scratch) -> str:
    """Write a larger file exclusively and read it."""
    block = at.content(MIB)
    content = b"".join(number.to_bytes(8, "big") + block[8:] for number in range(at.large // MIB))
    path = at.file("large")
    at.fs.write(path, content)
    if at.fs.read(path) != content:
        raise Refuted("it came back with other bytes", "do not use this store")
    return f"{at.large // MIB} MiB"


class Procedure(NamedTuple):
    """One check.

    Attributes
    ----------
    name : str
    proves : str
        What is known if it passes.
    otherwise : str
        What is known if it does not, for the verdict.
    run : callable
    needs : tuple of str
        The names of checks that must have passed.
    """

    name: str
    proves: str
    otherwise: str
    run: Callable[[Scratch], str]
    needs: tuple[str, ...] = ()


WRITE, LIST, DELETE, EXCLUSIVE = "write", "list", "delete", "exclusive write"
MISSING, OVERWRITE, RACE, LOCK = "missing file", "overwrite", "race", "lock"

PROCEDURES = (
    Procedure(WRITE, "what is written is read back", "nothing can be stored", written_and_read),
    Procedure(
        MISSING,
        "a file that is not there is known to be missing",
        "missing files cannot be told from forbidden ones",
        missing_is_missing,
        (WRITE,),
    ),
    Procedure(OVERWRITE, "a read sees the last write", "reads are stale", last_write_counts, (WRITE,)),
    Procedure("ranges", "parts of files can be read", "ranges cannot be read", ranges_are_exact, (WRITE,)),
    Procedure(
        "replace",
        "a reader sees all of a file or none of it",
        "files are not replaced atomically",
        replaced_atomically,
        (OVERWRITE,),
    ),
    Procedure(
        "large file", "a larger file is stored whole", "large files fail", large_file_is_whole, (WRITE,)
    ),
    Procedure(
        LIST, "a listing shows what was written before it", "listings fail", listing_is_fresh, (WRITE,)
    ),
    Procedure(
        "list a tree",
        "one call lists all below a directory",
        "listings of trees fail",
        tree_is_complete,
        (LIST,),
    ),
    Procedure(DELETE, "what is deleted is gone", "nothing can be deleted", deleted_is_gone, (LIST, MISSING)),
    Procedure(
        "list after deletes",
        "a listing leaves out what was deleted before it",
        "listings show deleted files",
        listing_forgets,
        (DELETE,),
    ),
    Procedure(
        "remove a directory",
        "a directory goes with all in it",
        "directories cannot be removed",
        directory_is_removed,
        (DELETE,),
    ),
    Procedure(
        EXCLUSIVE,
        "a file that is there is not created again",
        "two writers are not kept apart",
        second_is_refused,
        (DELETE,),
    ),
    Procedure(
        RACE,
        "of writers at the same moment one wins",
        "two writers may both win",
        race_has_one_winner,
        (EXCLUSIVE,),
    ),
    Procedure(LOCK, "one holder at a time, and free at once", "locks fail", lock_works, (EXCLUSIVE,)),
)

APART = {EXCLUSIVE, RACE, LOCK}
"""The checks on which rests that several writers are kept apart; all else serves a single one."""
