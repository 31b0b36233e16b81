"""The one interface through which measurefs stores anything."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from measurefs.fs.errors import NotExistError, ReadError, UnsupportedStoreError, WriteError
from measurefs.fs.holder import HeldLock, LockHolder
from measurefs.fs.paths import join, parent

Buffer = bytes | bytearray | memoryview
"""What may be written. Implementations copy it, or are done with it, before they return."""


class DirEntry(NamedTuple):
    """One name in a directory.

    Attributes
    ----------
    name : str
        The last component of the path.
    is_dir : bool
        Whether it is a directory (on an object store: a common prefix).
    size : int or None
        Bytes, where the listing tells it at no extra cost.
    """

    name: str
    is_dir: bool
    size: int | None = None


class File(abc.ABC):
    """An open file: one that `FileSystem.create_file` gave is written, one that `open_file` gave is read.

    As a context manager it closes itself; an exception inside the block of a file being written discards it.
    Implementations override the half that applies; the other half raises.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    @property
    def path(self) -> str:
        """The path it was opened under."""
        return self._path

    def write(self, data: Buffer) -> int:
        """Append data and return how many bytes that was.

        Raises
        ------
        WriteError
            The bytes could not be taken, or the file is open for reading.
        """
        raise WriteError("write", self._path, "the file is open for reading; use create_file to write")

    def writev(self, buffers: Sequence[Buffer]) -> int:
        """Append several buffers in turn and return the total number of bytes."""
        return sum(self.write(buffer) for buffer in buffers)

    def read(self, offset: int, size: int) -> bytes:
        """Read size bytes at offset; fewer only where the file ends, none beyond its end.

        Raises
        ------
        ReadError
            The bytes could not be read, offset or size is negative, or the file is open for writing.
        """
        raise ReadError("read", self._path, "the file is open for writing; close it, then use open_file")

    def readv(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read several ``(offset, size)`` ranges, each as `read` does."""
        return [self.read(offset, size) for offset, size in ranges]

    def stream_read(self, chunk_size: int) -> Iterator[bytes]:
        """Read the file from its start in chunks of chunk_size bytes; the last may be shorter."""
        offset = 0
        while chunk := self.read(offset, chunk_size):
            yield chunk
            offset += len(chunk)

    @abc.abstractmethod
    def size(self) -> int:
        """Return the number of bytes, of this very file even if its name is gone by now."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close; a written file is then durable (its name after `FileSystem.sync_path` of its directory).

        Closing twice is harmless. Any other call after it raises a `FileSystemError`.

        Raises
        ------
        ExistError
            Somebody else created the path in the meantime; theirs stays, this one is discarded.
        CloseError, FlushError, WriteError
            The bytes could not be made durable; the path does not exist.
        """

    def discard(self) -> None:
        """Close without publishing what was written. For a file being read the same as `close`."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


class LockFile(abc.ABC):
    """An exclusive lock that is held until `close`, or until its holder dies.

    Attributes
    ----------
    path : str
        What was locked.
    token : int
        A number that grows with every acquisition ever made of this path, from 1; unless somebody deletes or
        overwrites the file that counts them.
    clean : bool
        Whether the holder before this one released the lock by ``close(clean=True)``, or there was none.
        False where the backend cannot tell: the caller then treats its predecessor as crashed.
    """

    path: str
    token: int
    clean: bool = False

    @abc.abstractmethod
    def check(self) -> None:
        """Return if the lock is held at this moment.

        Raises
        ------
        FencedError
            It was lost, for good: whoever wrote under it must stop.
        """

    @abc.abstractmethod
    def close(self, *, clean: bool = True) -> None:
        """Release the lock, so that the next to take it need not wait. Twice is harmless.

        Parameters
        ----------
        clean : bool
            What the next holder's ``clean`` is to be. Pass false where something written under the lock may
            still take effect, as a request that timed out can.

        Raises
        ------
        FileSystemError
            The lock could not be marked released. It is let go all the same: the next holder finds ``clean``
            false, and may have to wait as after this one's death.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FileSystem(abc.ABC):
    """A place for files, as measurefs needs it; everything it stores goes through these methods.

    Paths are ``/``-separated strings relative to the root that the URL named, without a leading slash; the
    empty string is the root itself, which always exists. A path that is anything else raises
    `InvalidPathError` (`check_path` does that for an implementation). Methods may be called from any
    thread. Failures are `FileSystemError` subclasses that carry ``operation``, ``path`` and ``code`` and
    chain their cause; transient ones are retried inside the method where that is safe.

    Two promises matter to the engine. *Atomic*: readers, and what a crash leaves, show all of a file or
    nothing of it. *Durable*: the bytes of a file survive a power cut once `write` (or `File.close`) has
    returned, its name once `sync_path` of its directory has. A store that is durable on return makes
    `sync_path` do nothing.

    `measurefs.testing.FileSystemConformance` tests an implementation against every rule stated here.
    """

    remote: bool = False
    """Whether requests cost round trips and money and other machines read along, as on an object store."""

    @classmethod
    def from_url(cls, url: str, **storage_options: Any) -> FileSystem:
        """Open the file system that a URL names; called by `open_url` for the scheme's entry point.

        Raises
        ------
        UnsupportedStoreError
            The class does not serve URLs, or not this one.
        """
        raise UnsupportedStoreError(
            f"cannot open {url!r}: {cls.__name__} does not serve URLs; pass an instance of it instead"
        )

    @abc.abstractmethod
    def make_dir(self, path: str, *, exist_ok: bool = False) -> None:
        """Make a directory, and its parents; its name is durable after `sync_path` of its parent.

        Where directories are only prefixes of names it may do nothing.

        Raises
        ------
        ExistError
            It is there already and exist_ok is false, or there is a file of that name.
        """

    @abc.abstractmethod
    def read_dir(self, path: str) -> list[DirEntry]:
        """List a directory, sorted by name, as it is now: no listing is ever served from a cache.

        Raises
        ------
        NotExistError
            There is no such directory (on an object store: nothing under that prefix).
        """

    @abc.abstractmethod
    def create_file(self, path: str) -> File:
        """Create a file to append to; it is visible to others at the latest when it is closed.

        On an object store it is visible only then. Its directory must exist (where there are directories).
        An exception inside its ``with`` block publishes nothing.

        Raises
        ------
        ExistError
            The path is there already.
        NotExistError
            Its directory is missing.
        """

    @abc.abstractmethod
    def open_file(self, path: str) -> File:
        """Open a file for random reads.

        Raises
        ------
        NotExistError
            There is no such file.
        """

    @abc.abstractmethod
    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        """Write a whole file atomically; durable on return, its name after `sync_path` of its directory.

        Parameters
        ----------
        path : str
            The file. An existing one is replaced, unless exclusive.
        data : bytes-like
            All of its content; may be empty.
        exclusive : bool
            Of any number of callers, in any process on any machine, that write this path exclusively at the
            same time, exactly one succeeds and the others get `ExistError`; so do all later ones. The
            engine's commits rest on this.

        Returns
        -------
        int
            The number of bytes written.

        Raises
        ------
        ExistError
            Exclusive, and the path is there already.
        NotExistError
            Its directory is missing (where there are directories).
        FileSystemError
            Anything else; on a remote store that gave no answer the file may have been written all the same.
        """

    @abc.abstractmethod
    def read(self, path: str) -> bytes:
        """Read a whole file.

        Raises
        ------
        NotExistError
            There is no such file.
        """

    @abc.abstractmethod
    def delete_file(self, path: str) -> None:
        """Delete a file, never a directory; durable after `sync_path` of its directory.

        Raises
        ------
        NotExistError
            There is no such file.
        DeleteError
            It is a directory, or could not be deleted.
        """

    @abc.abstractmethod
    def must_rm_all(self, path: str) -> None:
        """Remove a file, or a directory with everything under it, however much; missing is success.

        The root itself stays, emptied. Transient failures are retried with backoff. After a failure part of
        the tree may be gone, and the call may be repeated.

        Raises
        ------
        DeleteError, PermissionError_
            Something under it could not be removed.
        """

    @abc.abstractmethod
    def sync_path(self, path: str) -> None:
        """Make the names directly in this directory, or this file's bytes, survive a power cut.

        Raises
        ------
        NotExistError
            There is no such path (where there are directories).
        FlushError
            The store could not promise it. What was to be durable must be written anew: a second sync of
            the same file proves nothing.
        """

    @abc.abstractmethod
    def create_lock_file(self, path: str) -> LockFile:
        """Take the exclusive lock named path, or say who holds it.

        It never waits for a living holder to let go; where the backend cannot tell a living one from a dead
        one at once, it may take as long as finding that out does. The lock file's content is not touched
        before the lock is held. Whatever half-written temporary files earlier holders left directly in the
        lock's directory may be removed by the backend then.

        Raises
        ------
        LockError
            It is held, by this process or another; the message and ``holder`` say by whom and since when.
        NotExistError
            Its directory is missing (where there are directories).
        """

    def lock_holder(self, path: str) -> HeldLock | None:
        """Say who holds a lock at this moment, without touching it; None if nobody does.

        Override it where `break_lock` is.

        Raises
        ------
        UnsupportedStoreError
            A lock ends with its holder here, so there is no need to know.
        """
        raise _ends_with_its_holder(self, path)

    def break_lock(self, path: str) -> LockHolder | None:
        """Make a lock that somebody holds free at once, and fence the holder: its next `LockFile.check` fails.

        For a holder that is known to be dead, or to be given up. Override it where a lock outlives its holder.

        Returns
        -------
        LockHolder or None
            Who held it; None if nobody did, and nothing was changed.

        Raises
        ------
        LockError
            It changed hands meanwhile.
        UnsupportedStoreError
            There is nothing to break: the system frees the lock when its holder ends.
        """
        raise _ends_with_its_holder(self, path)

    def write_all(self, files: Mapping[str, Buffer]) -> None:
        """Write several files of one directory, each as `write` does, in any order or in parallel.

        When it raises, any of them may have been written.
        """
        for path, data in files.items():
            self.write(path, data)

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Read many ``(path, offset, size)`` ranges, in the order given, each exactly size bytes long.

        Override it where ranges can be fetched in parallel or neighbouring ones together.

        Raises
        ------
        NotExistError
            One of the files is missing.
        ReadError
            One of the files ends before the range does.
        """
        found: list[bytes] = []
        for path, offset, size in ranges:
            with self.open_file(path) as file:
                found.append(exactly(file.read(offset, size), path, offset, size))
        return found

    def read_tree(self, path: str, limit: int) -> list[DirEntry] | None:
        """List all files below a directory, by their paths relative to it, if that costs no more than `read_dir`.

        Override it where names are listed by prefix whether they have slashes or not. What is below a directory is
        then known by one request for each thousand files, instead of one for each directory.

        Parameters
        ----------
        path : str
            The directory.
        limit : int
            Above so many files it is better to list the directories of interest one by one.

        Returns
        -------
        list of DirEntry or None
            Sorted by name; empty if there is nothing. None if there are more than limit, or it is no cheaper.
        """
        del path, limit
        return None

    def delete_files(self, paths: Sequence[str]) -> None:
        """Delete several files, in any order; those that are missing are no failure.

        Override it where that takes fewer requests than `delete_file` of each. When it raises, any of them may be gone.

        Raises
        ------
        DeleteError, PermissionError_
            One of them could not be deleted.
        """
        for path in paths:
            with contextlib.suppress(NotExistError):
                self.delete_file(path)

    def close(self) -> None:  # noqa: B027 - most implementations hold nothing open
        """Let go of connections and threads. Files stay as they are; twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ends_with_its_holder(fs: FileSystem, path: str) -> UnsupportedStoreError:
    return UnsupportedStoreError(
        f"there is no way to break the lock {path!r} of {fs!r}, and no need: it is free as soon as the process that "
        "holds it closes it or ends; end that process"
    )


def exactly(data: bytes, path: str, offset: int, size: int) -> bytes:
    """Return data if it is size bytes long, else raise the `ReadError` of a file that ends too early."""
    if len(data) != size:
        raise ReadError(
            "read", path, f"the file ends early: {len(data)} of {size} bytes are there at offset {offset}"
        )
    return data


def make_durable_dir(fs: FileSystem, path: str) -> None:
    """Make a directory, unless it is there, whose name and those of all above it survive a power cut."""
    fs.make_dir(path, exist_ok=True)
    while path:
        path = parent(path)
        fs.sync_path(path)


def walk(fs: FileSystem, path: str = "") -> Iterator[str]:
    """Yield the paths of all files under a directory, depth first, in order of name."""
    for entry in fs.read_dir(path):
        below = join(path, entry.name)
        if entry.is_dir:
            yield from walk(fs, below)
        else:
            yield below
