"""Readers beside a writer; ``python -m tests.processes.readers`` lets them go on for longer."""

from __future__ import annotations

from measurefs.backends.memory import MemoryFileSystem
from measurefs.fs import DirEntry, FileSystem, FileSystemWrapper
from measurefs.table import TsTable
from tests.conftest import Store
from tests.processes.children import Place
from tests.processes.readers import run
from tests.table.tables import contents, one, ones, open_table


def test_readers_see_whole_batches_and_ever_more_of_them_on_the_local_disk(local_store: Store) -> None:
    counts = run(6, 2, Place.of(local_store))
    assert counts["news"] == 12


def test_readers_see_whole_batches_and_ever_more_of_them_on_s3(s3_store: Store) -> None:
    counts = run(3, 2, Place.of(s3_store))
    assert counts["news"] == 6


class OverlappingListing(FileSystemWrapper):
    """Lists a directory as an operating system may while files come and go.

    A listing is not one moment: of what happens meanwhile it may have the end and not the beginning. On ext4 that
    is seen in one of forty listings of 2,000 files.
    """

    writer: TsTable | None = None

    def read_dir(self, path: str) -> list[DirEntry]:
        before = super().read_dir(path)
        if self.writer is None:
            return before
        writer, self.writer = self.writer, None
        writer.add(one(2))
        writer.flush()
        writer.gc()
        after = super().read_dir(path)
        return self.seen(before, after)

    def seen(self, before: list[DirEntry], after: list[DirEntry]) -> list[DirEntry]:
        """Return the parts that were there before, and the snapshots that are there after."""
        return [entry for entry in before if not entry.name.endswith(".snp")] + [
            entry for entry in after if entry.name.endswith(".snp")
        ]


class SnapshotsMissed(OverlappingListing):
    """The new snapshot came too late to be seen, and the old one was gone when it was looked for."""

    def seen(self, before: list[DirEntry], after: list[DirEntry]) -> list[DirEntry]:
        gone = {entry.name for entry in before} - {entry.name for entry in after}
        return [entry for entry in before if entry.name not in gone]


def refreshed_while_a_writer_commits(fs: FileSystem, listing: OverlappingListing) -> None:
    with open_table(fs, keep_snapshots=1) as writer:
        writer.add(one(1))
        writer.flush()
        with open_table(listing, read_only=True) as reader:
            listing.writer = writer
            assert reader.refresh()
            assert contents(reader) == ones(1, 2)


def test_a_snapshot_listed_without_its_part_is_no_damage() -> None:
    fs = MemoryFileSystem()
    refreshed_while_a_writer_commits(fs, OverlappingListing(fs))


def test_parts_listed_without_a_snapshot_are_no_damage() -> None:
    fs = MemoryFileSystem()
    refreshed_while_a_writer_commits(fs, SnapshotsMissed(fs))
