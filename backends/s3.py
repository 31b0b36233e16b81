"""Files as objects under a prefix of an S3 bucket, on any store that honours ``If-None-Match``."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from measurefs.backends.lease import LeaseLocks, generation_path
from measurefs.backends.ranges import LARGEST, Fetch, RangeReader, cut, plan
from measurefs.backends.s3_client import Body, S3Client, What, age, all_of
from measurefs.backends.s3_delete import delete_all, delete_keys
from measurefs.backends.s3_errors import answer
from measurefs.backends.s3_proof import prove
from measurefs.backends.s3_upload import S3Writer, Uploader, abort_all
from measurefs.fs import (
    Buffer,
    DeleteError,
    DirEntry,
    ExistError,
    File,
    FileSystem,
    FileSystemError,
    HeldLock,
    LockFile,
    LockHolder,
    NotExistError,
    ReadError,
    basename,
    check_path,
    join,
    parent,
)

MIB = 2**20
_log = logging.getLogger(__name__)


class S3FileSystem(FileSystem):
    """Files as objects under a prefix; every call a fixed, small number of requests.

    ========================  ======================================================================
    ``write``                 1 PUT (exclusive as well); above ``multipart_threshold`` parts + 2
    ``read``, ``open_file``   1 GET, 1 HEAD; then 1 GET for each read
    ``read_ranges``           1 GET for each stretch of neighbouring ranges, in parallel
    ``read_dir, read_tree``   1 LIST for each 1,000 names
    ``create_file``           1 HEAD, and what ``write`` costs when it is closed
    ``delete_file``           1 HEAD, 1 DELETE
    ``delete_files``          1 DeleteObjects for each 1,000 files
    ``must_rm_all``           1 LIST and 1 DeleteObjects for each 1,000 objects
    ``make_dir, sync_path``   none: names are prefixes, and an object is durable when its PUT returns
    ========================  ======================================================================

    Objects appear whole or not at all, and a listing shows what was written before it. A request that fails
    in passing (5xx, 429, timeouts, dropped connections, truncated bodies) is repeated until
    ``retry_deadline``. An exclusive write recognises its own object by a token in the metadata when the
    answer to its PUT got lost; only if it fails for want of any answer does it stay open whether it landed.

    A connection cannot cross a fork: in a forked child every call raises `FileSystemError`.

    Parameters
    ----------
    url : str
        ``s3://bucket/prefix``. The bucket must exist.
    lease : float
        Seconds after which a lock that its holder does not renew may be taken over by somebody who has
        watched it all that time. Renewed every third of it.
    lock_wait : bool
        Whether `create_lock_file` watches a lock that is held: until it is renewed (`LockError`, within a
        third of the lease) or has stayed unchanged for a whole lease (taken over, as its holder is dead).
        If false it fails at once, but remembers when it saw the lock in which state: a later call, a lease
        or more after, takes over too.
    retry_deadline : float
        For how many seconds a request is repeated that fails for passing reasons; a ``Retry-After`` of the store
        is respected.
    request_timeout : float
        How many seconds one attempt of a request may take, to connect, to be answered and to its last byte; then it
        is given up and repeated. A body gets the time it needs at ``minimum_rate`` on top (a completion of an
        upload in parts ten times as long).
    minimum_rate : float
        Bytes a second that a body moves at least; one that comes or goes more slowly is given up.
    assume_conditional_writes : bool
        Skip the proof that the store honours ``If-None-Match: *``. On a store that ignores it two writers
        destroy each other's data; that no two ever meet is then your affair.
    max_concurrency : int
        How many requests may be under way at the same time.
    multipart_threshold, part_size : int
        Bodies of more bytes than the one go up in parts of the other.
    **storage_options
        What `s3fs.S3FileSystem` takes: ``key``, ``secret``, ``token``, ``profile``, ``anon``,
        ``endpoint_url``, ``client_kwargs``, ``config_kwargs``, ``use_ssl``, ``requester_pays``,
        ``s3_additional_kwargs`` and others; and ``region`` (or ``region_name``), short for the one in
        ``client_kwargs``. Retries of botocore are always off, and so is the ``read_timeout`` of
        ``config_kwargs`` unless given; connecting may take 5 s; with an endpoint of your own, checksums are
        sent when required only.

    Raises
    ------
    UnsupportedStoreError
        There is no such storage option, or the URL names no bucket.
    """

    remote = True

    def __init__(
        self,
        url: str,
        *,
        lease: float = 30.0,
        lock_wait: bool = True,
        retry_deadline: float = 60.0,
        request_timeout: float = 20.0,
        minimum_rate: float = 64 * 1024,
        assume_conditional_writes: bool = False,
        max_concurrency: int = 32,
        multipart_threshold: int = 64 * MIB,
        part_size: int = 16 * MIB,
        **storage_options: Any,
    ) -> None:
        self._client = S3Client(
            url,
            retry_deadline=retry_deadline,
            request_timeout=request_timeout,
            minimum_rate=minimum_rate,
            max_concurrency=max_concurrency,
            options=storage_options,
            own=inspect.signature(S3FileSystem).parameters,
        )
        self._uploader = Uploader(self._client, multipart_threshold, part_size)
        self._locks = _S3LeaseLocks(self, lease=lease, wait=lock_wait)
        self._proven = assume_conditional_writes

    def __repr__(self) -> str:
        return f"S3FileSystem('s3://{join(self._client.bucket, self._client.prefix)}')"

    @classmethod
    def from_url(cls, url: str, **storage_options: Any) -> S3FileSystem:
        """Open a prefix of a bucket; no request is sent before the first call that needs one."""
        return cls(url, **storage_options)

    def make_dir(self, path: str, *, exist_ok: bool = False) -> None:
        """Do nothing: a directory is there as soon as, and as long as, something is in it."""
        del exist_ok
        check_path(path, "make_dir", root=True)

    def sync_path(self, path: str) -> None:
        """Do nothing: what a write has returned from is durable, name and bytes."""
        check_path(path, "sync_path", root=True)

    def read_dir(self, path: str) -> list[DirEntry]:
        what = What("read_dir", check_path(path, "read_dir", root=True))
        return self._client.run(what, self._read_dir, what)

    async def _read_dir(self, what: What) -> list[DirEntry]:
        prefix = self._client.below(what.path)
        entries: list[DirEntry] = []
        there = what.path == ""
        async for page in self._client.pages(what, Prefix=prefix, Delimiter="/"):
            for item in page.get("Contents", ()):
                there = True
                entries.append(DirEntry(item["Key"].removeprefix(prefix), False, item["Size"]))
            for item in page.get("CommonPrefixes", ()):
                there = True
                entries.append(DirEntry(item["Prefix"].removeprefix(prefix)[:-1], True))
        if not there:
            raise NotExistError(*what, "there is nothing under this prefix")
        # An empty name is the placeholder that some consoles create for an empty "directory".
        return sorted(entry for entry in entries if entry.name)

    def read_tree(self, path: str, limit: int) -> list[DirEntry] | None:
        what = What("read_tree", check_path(path, "read_tree", root=True))
        return self._client.run(what, self._read_tree, what, limit)

    async def _read_tree(self, what: What, limit: int) -> list[DirEntry] | None:
        prefix = self._client.below(what.path)
        entries: list[DirEntry] = []
        async for page in self._client.pages(what, Prefix=prefix):
            for item in page.get("Contents", ()):
                entries.append(DirEntry(item["Key"].removeprefix(prefix), False, item["Size"]))
            if len(entries) > limit or (len(entries) == limit and page.get("IsTruncated")):
                return None
        return sorted(entry for entry in entries if entry.name and not entry.name.endswith("/"))

    def create_file(self, path: str) -> File:
        what = What("create_file", check_path(path, "create_file"))
        if self._client.run(what, self._head, what) is not None:
            raise ExistError(*what, "it is there already; delete it first, or choose another name")
        return S3Writer(path, self._uploader)

    def open_file(self, path: str) -> File:
        what = What("open_file", check_path(path, "open_file"))
        head = self._client.run(what, self._head, what)
        if head is None:
            raise NotExistError(*what, "there is no such object")
        etag = head.get("ETag", "")
        return RangeReader(path, head["ContentLength"], lambda ranges: self._fetch_all("read", ranges, etag))

    async def _head(self, what: What) -> dict[str, Any] | None:
        try:
            return await self._client.call(what, "head_object", Key=self._client.key(what.path))
        except NotExistError as error:
            if answer(error)[1] == "NoSuchBucket":
                raise
            return None

    def write(self, path: str, data: Buffer, *, exclusive: bool = False) -> int:
        what = What("write", check_path(path, "write"))
        if exclusive:
            self._prove(what.operation)
        return self._client.run(what, self._uploader.put, what, data, exclusive=exclusive)

    def write_all(self, files: Mapping[str, Buffer]) -> None:
        whats = [What("write_all", check_path(path, "write_all")) for path in files]

        async def put_all() -> None:
            puts = zip(whats, files.values(), strict=True)
            await all_of(self._uploader.put(what, data, exclusive=False) for what, data in puts)

        if whats:
            self._client.run(whats[0], put_all)

    def read(self, path: str) -> bytes:
        what = What("read", check_path(path, "read"))
        return self._client.run(what, self._client.get, what, self._client.key(path)).data

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        for path, _, _ in ranges:
            check_path(path, "read_ranges")
        return self._fetch_all("read_ranges", ranges, None)

    def _fetch_all(
        self, operation: str, ranges: Sequence[tuple[str, int, int]], etag: str | None
    ) -> list[bytes]:
        fetches = plan(ranges)
        if not fetches:
            return [b""] * len(ranges)

        async def get_all() -> list[bytes]:
            return await all_of(self._fetch(operation, fetch, etag) for fetch in fetches)

        return cut(ranges, fetches, self._client.run(What(operation, fetches[0].path), get_all))

    async def _fetch(self, operation: str, fetch: Fetch, etag: str | None) -> bytes:
        """Get one stretch, a long one in several requests at a time; fewer bytes where the object ends."""
        what, key = What(operation, fetch.path), self._client.key(fetch.path)
        steps = range(fetch.start, fetch.stop, LARGEST)
        try:
            bodies = await all_of(
                self._client.get(what, key, start, min(start + LARGEST, fetch.stop)) for start in steps
            )
        except FileSystemError as error:
            if answer(error)[0] != 416:
                raise
            return b""  # the object ends before the stretch does, and whoever cuts it up says so
        _check_same(what, bodies, bodies[0].etag if etag is None else etag)
        return bodies[0].data if len(bodies) == 1 else b"".join(body.data for body in bodies)

    def delete_file(self, path: str) -> None:
        what = What("delete_file", check_path(path, "delete_file"))
        self._client.run(what, self._delete_file, what)

    async def _delete_file(self, what: What) -> None:
        if await self._head(what) is None:
            below = self._client.below(what.path)
            page = await self._client.call(what, "list_objects_v2", Prefix=below, MaxKeys=1)
            if page.get("KeyCount") or page.get("Contents"):
                raise DeleteError(*what, "it is a directory; use must_rm_all")
            raise NotExistError(*what, "there is no such object")
        await self._delete_object(what)

    async def _delete_object(self, what: What) -> None:
        await self._client.call(what, "delete_object", Key=self._client.key(what.path))

    def delete_files(self, paths: Sequence[str]) -> None:
        whats = [What("delete_files", check_path(path, "delete_files")) for path in paths]
        if whats:
            keys = [self._client.key(what.path) for what in whats]
            self._client.run(whats[0], delete_keys, self._client, whats[0], keys)

    def must_rm_all(self, path: str) -> None:
        what = What("must_rm_all", check_path(path, "must_rm_all", root=True))
        self._client.run(what, delete_all, self._client, what)

    def create_lock_file(self, path: str) -> LockFile:
        """Take the lock, which is a chain of objects ``<path>.<token as 16 hex digits>``.

        Before the first lock or exclusive write of a bucket in this process it is proved that the store honours
        ``If-None-Match: *``, by four PUTs, a GET and a DELETE under ``_probe/``. If the holder before did not let go
        in good order, the uploads in parts that it left unfinished in the lock's directory are aborted (a LIST).

        Raises
        ------
        LockError
            It is held; or it changed hands while this call watched it (see ``lock_wait``).
        UnsupportedStoreError
            The store overwrites where it must refuse, so that two writers could not be kept apart.
        """
        check_path(path, "create_lock_file")
        self._prove("create_lock_file")
        lock = self._locks.acquire(path)
        if not lock.clean:
            self._abort_uploads(parent(path))
        return lock

    def lock_holder(self, path: str) -> HeldLock | None:
        """Return who holds a lock: 1 LIST, and 1 GET if there ever was one."""
        check_path(path, "lock_holder")
        return self._locks.holder(path)

    def break_lock(self, path: str) -> LockHolder | None:
        """Fence whoever holds a lock, so that the next to take it need not wait: 2 LIST, 1 GET, 1 PUT."""
        check_path(path, "break_lock")
        self._prove("break_lock")
        return self._locks.break_lock(path)

    def _prove(self, operation: str) -> None:
        if not self._proven:
            prove(self._client, operation)
            self._proven = True

    def _abort_uploads(self, directory: str) -> None:
        what = What("abort_uploads", directory)
        try:
            count = self._client.run(what, abort_all, self._client, what)
        except FileSystemError as error:
            _log.warning("unfinished uploads stay until the bucket's lifecycle rule drops them: %s", error)
        else:
            if count:
                _log.info("aborted %d unfinished uploads of a writer that died, in %r", count, directory)

    def close(self) -> None:
        """Close connections and stop renewing locks; a lock still held is free when its lease has passed."""
        self._locks.close()
        self._client.close()


class _S3LeaseLocks(LeaseLocks):
    """The same locks with fewer requests: a LIST of just the chain, and a DELETE without asking first."""

    def __init__(self, fs: S3FileSystem, *, lease: float, wait: bool) -> None:
        super().__init__(fs, lease=lease, wait=wait)
        self._s3 = fs

    def names(self, path: str) -> list[str]:
        what = What("create_lock_file", path)
        return self._s3._client.run(what, self._names, what)

    async def _names(self, what: What) -> list[str]:
        chain = self._s3._client.key(what.path) + "."
        pages = self._s3._client.pages(what, Prefix=chain)
        return [basename(item["Key"]) async for page in pages for item in page.get("Contents", ())]

    def unrenewed(self, path: str, token: int) -> float | None:
        what = What("lock_holder", generation_path(path, token))
        head = self._s3._client.run(what, self._s3._head, what)
        return age(head) if head is not None else None

    def remove(self, path: str) -> None:
        what = What("create_lock_file", path)
        self._s3._client.run(what, self._s3._delete_object, what)


def _check_same(what: What, bodies: Sequence[Body], etag: str) -> None:
    """Refuse to mix the bytes of two objects: the name was written again between two requests."""
    if any(body.etag != etag for body in bodies):
        raise ReadError(*what, "the object was replaced while it was being read; open it again")
