"""`Database.backup`, without what does it: that is slow to import, and most programs never back up."""

from __future__ import annotations

import abc
import threading
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from measurefs.database.measure import Measure
from measurefs.database.rewriting import Progress
from measurefs.fs.filesystem import FileSystem
from measurefs.table import Runtime

if TYPE_CHECKING:
    from measurefs.database.backup import Where
    from measurefs.database.transfer import CopyReport


class StoreBackup(abc.ABC):
    """Backing up a store that is open, see `Database`."""

    fs: FileSystem
    _runtime: Runtime
    _lock: threading.RLock

    @abc.abstractmethod
    def _check_open(self) -> None: ...

    @abc.abstractmethod
    def _in_use(self) -> list[Measure]: ...

    def backup(
        self,
        target: Where,
        *,
        tag: str | None = None,
        measures: Collection[str] | None = None,
        storage_options: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        verify: bool = False,
        forget: Collection[str] = (),
    ) -> CopyReport:
        """Bring a backup up to date, or make one; others write and read meanwhile.

        A backup is a store that can be opened with ``read_only=True``, not to be written to, and has the newest rows
        and all tags. Only parts that it lacks are copied, each checked on the way. Of a
        measure it has one moment of all tables that this process writes to (but for new ones, if it opens some all the
        while), and of others what was committed last.
        After a crash or an error do it again: what was there before is, and what was copied is not copied again.

        Parameters
        ----------
        target : str or FileSystem
            A place with nothing in it, or a backup of this store.
        tag : str, optional
            A name to keep this very state under, in the backup alone; see `restore`. Any number of states share
            their parts. To give one up see forget.
        measures : collection of str, optional
            Only these; others in the backup stay as they are.
        storage_options : mapping, optional
            What the backend of the target takes.
        progress : callable, optional
            Called now and then with how many bytes are done and how many there are.
        verify : bool
            Also read and check the parts that are in the backup already, and copy those anew that are damaged or lost.
        forget : collection of str, optional
            Names of states to give up, which the backup was made under with tag; what only they need is removed.

        Returns
        -------
        CopyReport
            What was done.

        Raises
        ------
        UnsupportedStoreError
            The target is not empty, and no backup of this store; or is of another history of it.
        SchemaError
            There is no such measure, or no such name to give up; or there is such a tag.
        CorruptionError
            Something in this store is damaged or missing.
        LockError
            Another process backs up to the target.
        NotDurableError, FileSystemError
            Something could not be read or written.
        """
        from measurefs.database.backup import back_up_from, open_source  # noqa: PLC0415 - see above

        self._check_open()
        with self._lock:
            here = self._in_use()
        with open_source(self.fs, self._runtime, here) as source:
            return back_up_from(source, target, tag, measures, storage_options, progress, verify, forget)
