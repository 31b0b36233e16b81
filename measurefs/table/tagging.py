"""Making and removing the tags of a table."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

from measurefs.fs.errors import NotExistError
from measurefs.fs.filesystem import FileSystem, LockFile
from measurefs.fs.listing import list_dir
from measurefs.fs.paths import join
from measurefs.table.flusher import Flusher
from measurefs.table.garbage import GarbageCleaner
from measurefs.table.introducer import Introducer
from measurefs.table.snapshot import Snapshot
from measurefs.table.tags import TagName, check_free, check_tag, tags_in


def list_tags(fs: FileSystem, root: str) -> list[TagName]:
    """Return the tags of the table in a directory, by epoch."""
    return tags_in(entry.name for entry in list_dir(fs, root))


def add_tag(fs: FileSystem, root: str, tag: TagName) -> None:
    """Keep a snapshot, durably; the caller sees to it that nobody collects it in the meantime."""
    fs.write(join(root, tag.file), b"")
    fs.sync_path(root)


def remove_tags(fs: FileSystem, root: str, tags: Iterable[TagName]) -> None:
    """Remove tags; what they kept is collected as all else."""
    for tag in tags:
        with contextlib.suppress(NotExistError):
            fs.delete_file(join(root, tag.file))
    fs.sync_path(root)  # also for none: the removal of one may have failed before it was durable


class Tagger:
    """Makes and removes a table's tags.

    A tag over several tables that is to show one moment of all of them is made in steps: with all of them `paused`,
    pin their snapshots and make just these durable; then `keep` each, and `let_go`.

    Parameters
    ----------
    fs : FileSystem
    root : str
        The table's directory.
    lock : LockFile
        The writer's lock.
    flusher, introducer, cleaner
        The table's own.
    settled : callable
        Called after rows were made durable.
    """

    def __init__(
        self,
        fs: FileSystem,
        root: str,
        lock: LockFile,
        flusher: Flusher,
        introducer: Introducer,
        cleaner: GarbageCleaner,
        settled: Callable[[], None],
    ) -> None:
        self._fs = fs
        self._root = root
        self._lock = lock
        self._flusher = flusher
        self._introducer = introducer
        self._cleaner = cleaner
        self._settled = settled

    def tag(self, name: str) -> int:
        """Keep what the table holds now under a name; see `TsTable.tag`."""
        known = (tag.tag for tag in list_tags(self._fs, self._root))
        check_free(check_tag(name), known, f"table {self._root!r}")
        with self.paused() as settle, self._introducer.pin() as snapshot:
            epoch = settle(snapshot)
        try:
            self.keep(name, epoch)
        finally:
            self.let_go(epoch)
        return epoch

    @contextlib.contextmanager
    def paused(self) -> Iterator[Callable[[Snapshot], int]]:
        """Keep all flushes out within the block, but for the function that it gives.

        That makes a snapshot pinned within the block durable, without anything that came after it, and returns the
        epoch of the committed snapshot of just its rows, which is not collected until `let_go`.
        """
        try:
            with self._flusher.paused() as settle:
                yield lambda snapshot: self._held(settle(snapshot))
        finally:
            self._settled()

    def _held(self, epoch: int) -> int:
        self._cleaner.hold(epoch)
        return epoch

    def keep(self, name: str, epoch: int) -> None:
        """Write the tag of a snapshot that is held; when it returns, the tag is durable.

        Raises
        ------
        FileSystemError
            It may not be durable; it may be there all the same.
        FencedError
            Another writer has taken the table over, and may have collected the snapshot before it saw the tag.
        """
        add_tag(self._fs, self._root, TagName(epoch, name))
        self.check()

    def check(self) -> None:
        """Raise `FencedError` if another writer has taken the table over."""
        self._lock.check()

    def let_go(self, epoch: int) -> None:
        """Let a snapshot be collected that was made durable while `paused`, unless a tag keeps it."""
        self._cleaner.let_go(epoch)

    def untag(self, unwanted: Callable[[str], bool]) -> list[str]:
        """Remove the tags whose names are unwanted, and return the names of their files."""
        found = [tag for tag in list_tags(self._fs, self._root) if unwanted(tag.tag)]
        if found:
            self._lock.check()
        remove_tags(self._fs, self._root, found)
        self._cleaner.unsettle()
        return [tag.file for tag in found]
