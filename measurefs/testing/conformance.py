"""The conformance suite: whoever writes a `FileSystem` runs it against theirs."""

from __future__ import annotations

from measurefs.testing.harness import RawAccess
from measurefs.testing.rules_directories import DirectoryRules
from measurefs.testing.rules_files import FileRules
from measurefs.testing.rules_locks import LockRules
from measurefs.testing.rules_paths import PathRules
from measurefs.testing.rules_races import RaceRules

__all__ = ["FileSystemConformance", "RawAccess"]


class FileSystemConformance(PathRules, DirectoryRules, FileRules, LockRules, RaceRules):
    """Every rule that `measurefs.FileSystem` states, as tests.

    Subclass it and supply one fixture::

        from measurefs.testing import FileSystemConformance


        class TestMyFileSystem(FileSystemConformance):
            @pytest.fixture
            def fs(self):
                with MyFileSystem("mine://a-fresh-one") as fs:
                    yield fs

    Three fixtures say what is tested. Only the first must be supplied:

    ``fs``
        A fresh, empty file system.
    ``another``
        A second client of the same storage, made as another process would make it. Without it ``fs`` itself
        stands in; then caches that two clients do not share, and locks between two, are tested only within
        one.
    ``raw``
        A `RawAccess`: a way to the stored bytes round the code under test, so that no mistake of its own
        hides another. Without it, ``another`` serves.

    Attributes
    ----------
    directories : bool
        Whether directories are real, as on a disk: they must be made before files are put into them, and
        are there even if empty. Set it to False where they are only prefixes of names.
    tells_clean : bool
        Whether `LockFile.clean` can be told. Set it to False where it is always False.
    many : int
        How many files a directory has in tests of long listings and large removals: more than one page of
        the store's listings, and of its bulk deletion.
    racers : int
        How many threads race each other; an even number.
    rounds : int
        How often things are repeated while another thread watches.
    """
