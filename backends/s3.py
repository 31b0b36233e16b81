"""Files as objects under a prefix of an S3 bucket, on any store that honours ``If-None-Match``."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from measurefs.backends.lease import LeaseLocks
from measurefs.backends.ranges import LARGEST, Fetch, RangeReader, cut, plan
from measurefs.backends.s3_client import Body, S3Client, What, all_of
from measurefs.backends.s3_delete import delete_all
from measurefs.backends.s3_errors import answer, not_implemented
from measurefs.backends.s3_upload import S3Writer, Uploader
from measurefs.fs import (
    Buffer,
    DeleteError,
    DirEntry,
    ExistError,
    File,
    FileSystem,
    FileSystemError,
    LockFile,
    NotExistError,
    ReadError,
    UnsupportedStoreError,
    basename,
    check_path,
    join,
)

MIB = 2**20

_proven: set[tuple[str, str]] = set()
_proving = threading.Lock()


class S3FileSystem(FileSystem):
    """Files as objects under a prefix; every call a fixed, small number of requests.

    ========================  ======================================================================
    ``write``                 1 PUT (exclusive as well); above ``multipart_threshold`` parts + 2
    ``read``, ``open_file``   1 GET, 1 HEAD; then 1 GET for each read
    ``read_ranges``           1 GET for each stretch of neighbouring ranges, in parallel
    ``read_dir``              1 LIST for each 1,000 names
    ``create_file``           1 HEAD, and what ``write`` costs when it is closed
    ``delete_file``           1 HEAD, 1 DELETE
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
        For how many seconds a request is repeated that fails for passing reasons.
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
        ``s3_additional_kwargs`` and others. Retries of botocore are always off; timeouts are 5 s to connect
        and 20 s to read unless ``config_kwargs`` says otherwise; with an endpoint of your own, checksums
        are sent when required only.
    """

    remote = True

    def __init__(
        self,
        url: str,
        *,
        lease: float = 30.0,
        lock_wait: bool = True,
        retry_deadline: float = 60.0,
        assume_conditional_writes: bool = False,
        max_concurrency: int = 32,
        multipart_threshold: int = 64 * MIB,
        part_size: int = 16 * MIB,
        **storage_options: Any,
    ) -> None:
        self._client = S3Client(
            url, retry_deadline=retry_deadline, max_concurrency=max_concurrency, options=storage_options
        )
        self._uploader = Uploader(self._client, multipart_threshold, part_size)
        self._locks = _S3LeaseLocks(self, lease=lease, wait=lock_wait)
        self._assumed = assume_conditional_writes

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

    def must_rm_all(self, path: str) -> None:
        what = What("must_rm_all", check_path(path, "must_rm_all", root=True))
        self._client.run(what, delete_all, self._client, what)

    def create_lock_file(self, path: str) -> LockFile:
        """Take the lock, which is a chain of objects ``<path>.<token as 16 hex digits>``.

        The first time for a bucket in this process it also proves that the store honours
        ``If-None-Match: *``, with two PUTs, a HEAD and a DELETE under ``_probe/``.

        Raises
        ------
        LockError
            It is held; or it changed hands while this call watched it (see ``lock_wait``).
        UnsupportedStoreError
            The store overwrites where it must refuse, so that two writers could not be kept apart.
        """
        check_path(path, "create_lock_file")
        if not self._assumed:
            self._prove_conditional_writes()
        return self._locks.acquire(path)

    def _prove_conditional_writes(self) -> None:
        what = What("create_lock_file", "_probe")
        store = (self._client.run(what, self._client.endpoint), self._client.bucket)
        with _proving:
            if store in _proven:
                return
            probe = join("_probe", secrets.token_hex(16))
            try:
                if not self._refuses_second_write(probe):
                    raise _unsupported(store, "it overwrites an object in spite of the header")
            finally:
                what = What("create_lock_file", probe)
                self._client.run(what, self._delete_object, what)
            _proven.add(store)

    def _refuses_second_write(self, probe: str) -> bool:
        store = (self._client.run(What("write", probe), self._client.endpoint), self._client.bucket)
        try:
            self.write(probe, b"first", exclusive=True)
            self.write(probe, b"second", exclusive=True)
        except ExistError:
            return True
        except FileSystemError as error:
            if not_implemented(error):
                raise _unsupported(store, "it does not implement the header") from error
            raise
        return False

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

    def remove(self, path: str) -> None:
        what = What("create_lock_file", path)
        self._s3._client.run(what, self._s3._delete_object, what)


def _check_same(what: What, bodies: Sequence[Body], etag: str) -> None:
    """Refuse to mix the bytes of two objects: the name was written again between two requests."""
    if any(body.etag != etag for body in bodies):
        raise ReadError(*what, "the object was replaced while it was being read; open it again")


def _unsupported(store: tuple[str, str], why: str) -> UnsupportedStoreError:
    return UnsupportedStoreError(
        f"cannot open bucket {store[1]!r} at {store[0]} for writing: two writers cannot be kept apart, "
        f"because the store does not honour 'If-None-Match: *' ({why}); use a store or release that does, "
        f"open with read_only=True, or pass assume_conditional_writes=True if no two writers will ever meet"
    )
