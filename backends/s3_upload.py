"""Writing objects: one PUT, or an upload in parts of which nothing shows until it is complete."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any

from measurefs.backends.s3_client import S3Client, What, all_of, conflicted
from measurefs.backends.s3_errors import passing
from measurefs.fs import Buffer, ExistError, File, FileSystemError, NotExistError, WriteError

MAX_PARTS = 10_000
COMPLETION = 10.0
"""How much longer than other requests a completion may take: the store puts the parts together."""

_log = logging.getLogger(__name__)


class Uploader:
    """How objects of one bucket are written.

    Parameters
    ----------
    client : S3Client
        The bucket.
    threshold : int
        Bodies of more bytes than this go up in parts.
    part_size : int
        Bytes of a part (the last may be smaller).
    """

    def __init__(self, client: S3Client, threshold: int, part_size: int) -> None:
        self.client = client
        self.threshold = threshold
        self.part_size = part_size

    async def put(self, what: What, data: Buffer, *, exclusive: bool) -> int:
        """Write a whole object and return its size."""
        body = bytes(data)
        # The token names this call, not an attempt: all its attempts are one write, however many arrive.
        owner = secrets.token_hex(16)
        if len(body) > self.threshold:
            upload = partial(self._put_in_parts, what, body, owner, exclusive)
            # The answer to a conflict at completion is a new upload; all else has been retried underneath.
            await self.client.retried(what, upload, conflicted)
        else:
            await self._put_at_once(what, body, owner, exclusive)
        return len(body)

    async def _put_at_once(self, what: What, body: bytes, owner: str, exclusive: bool) -> None:
        key = self.client.key(what.path)
        if not exclusive:
            await self.client.call(what, "put_object", Key=key, Body=body)
            return
        condition: dict[str, Any] = {"IfNoneMatch": "*", "Metadata": self.client.metadata(owner)}
        try:
            await self.client.call(what, "put_object", Key=key, Body=body, **condition)
        except ExistError:
            # Perhaps it is there because an earlier attempt landed whose answer got lost. aiohttp resends a
            # request by itself when a kept connection turns out dead, so even the first answer may be that.
            if await self.client.owner_of(what, key) != owner:
                raise

    async def _put_in_parts(self, what: What, body: bytes, owner: str, exclusive: bool) -> None:
        size = max(self.part_size, -(-len(body) // MAX_PARTS))
        upload = await Upload.begin(self.client, what, owner)
        try:
            await upload.add([body[start : start + size] for start in range(0, len(body), size)])
            await upload.complete(exclusive=exclusive)
        except BaseException:
            await upload.abort()
            raise


class Upload:
    """One upload in parts. Nothing of it shows before `complete`, and after `abort` nothing ever will."""

    def __init__(self, client: S3Client, what: What, owner: str, upload_id: str) -> None:
        self._client = client
        self._what = what
        self._owner = owner
        self._target: dict[str, Any] = {"Key": client.key(what.path), "UploadId": upload_id}
        self._parts: list[dict[str, Any]] = []

    @classmethod
    async def begin(cls, client: S3Client, what: What, owner: str) -> Upload:
        """Start an upload."""
        begun = await client.call(
            what, "create_multipart_upload", Key=client.key(what.path), Metadata=client.metadata(owner)
        )
        return cls(client, what, owner, begun["UploadId"])

    async def add(self, bodies: Sequence[bytes]) -> None:
        """Send the next parts, at the same time."""
        first = len(self._parts) + 1
        if first + len(bodies) - 1 > MAX_PARTS:
            reason = f"an object has at most {MAX_PARTS} parts; raise the storage option part_size"
            raise WriteError(*self._what, reason)
        self._parts += await all_of(self._send(first + place, body) for place, body in enumerate(bodies))

    async def _send(self, number: int, body: bytes) -> dict[str, Any]:
        sent = await self._client.call(
            self._what, "upload_part", **self._target, PartNumber=number, Body=body
        )
        return {"PartNumber": number, "ETag": sent["ETag"]}

    async def complete(self, *, exclusive: bool) -> None:
        """Publish the object; exclusive: unless there is one of its name."""
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if exclusive else {}
        parts = {"Parts": self._parts}
        try:
            await self._client.call(
                self._what,
                "complete_multipart_upload",
                retry=_retry_completion,
                patience=COMPLETION,
                **self._target,
                MultipartUpload=parts,
                **condition,
            )
        except (ExistError, NotExistError) as error:
            # A repeated completion finds the name taken, or the upload gone, by the one that landed before.
            if await self._client.owner_of(self._what, self._target["Key"]) == self._owner:
                return
            if isinstance(error, NotExistError):
                reason = "the upload was aborted by somebody else; write the file again"
                raise WriteError(*self._what, reason) from error
            raise

    async def abort(self) -> None:
        """Drop the parts sent so far."""
        try:
            await _abort(self._client, self._what, self._target["Key"], self._target["UploadId"])
        except FileSystemError as error:
            # This runs while another error is on its way up, which matters more: nothing was published.
            _log.warning("an unfinished upload stays until the bucket's lifecycle rule drops it: %s", error)


def _retry_completion(error: BaseException) -> bool:
    return passing(error) and not conflicted(error)


async def abort_all(client: S3Client, what: What) -> int:
    """Abort all uploads that were begun below a directory and not completed; return how many."""
    prefix = client.below(what.path)
    position: dict[str, Any] = {}
    found: list[dict[str, Any]] = []
    while True:
        page = await client.call(what, "list_multipart_uploads", Prefix=prefix, **position)
        found += [item for item in page.get("Uploads", ()) if item["Key"].startswith(prefix)]
        if not page.get("IsTruncated"):
            break
        position = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    await all_of(_abort(client, what, item["Key"], item["UploadId"]) for item in found)
    return len(found)


async def _abort(client: S3Client, what: What, key: str, upload_id: str) -> None:
    try:
        await client.call(what, "abort_multipart_upload", Key=key, UploadId=upload_id)
    except NotExistError:
        return  # completed or aborted in the meantime


class S3Writer(File):
    """A file being written: kept in memory, from the threshold on sent in parts, published by `close` alone.

    Memory stays below the threshold plus what one `write` passes. Whatever happens before `close` returns,
    nobody sees any of it; parts that a crash leaves behind are invisible, and a lifecycle rule of the bucket
    (``AbortIncompleteMultipartUpload``) drops them.
    """

    def __init__(self, path: str, uploader: Uploader) -> None:
        super().__init__(path)
        self._uploader = uploader
        self._client = uploader.client
        self._buffer = bytearray()
        self._sent = 0
        self._upload: Upload | None = None
        self._failed = False
        self._closed = False

    def write(self, data: Buffer) -> int:
        what = self._open("write")
        size = memoryview(data).nbytes
        self._buffer += data
        if len(self._buffer) > self._uploader.threshold:
            self._failed = True  # until it has worked: a file with a hole is never published
            self._client.run(what, self._send_full_parts, what)
            self._failed = False
        return size

    async def _send_full_parts(self, what: What) -> None:
        if self._upload is None:
            self._upload = await Upload.begin(self._client, what, secrets.token_hex(16))
        step = self._uploader.part_size
        full = len(self._buffer) - len(self._buffer) % step
        await self._upload.add([bytes(self._buffer[at : at + step]) for at in range(0, full, step)])
        del self._buffer[:full]
        self._sent += full

    def size(self) -> int:
        self._open("size")
        return self._sent + len(self._buffer)

    def close(self) -> None:
        if self._closed:
            return
        what = What("write", self.path)
        if self._failed:
            self.discard()
            raise WriteError(*what, "an earlier write failed, so nothing was published; write the file again")
        self._closed = True
        self._client.run(what, self._publish, what)

    async def _publish(self, what: What) -> None:
        if self._upload is None:
            await self._uploader.put(what, self._buffer, exclusive=True)
            return
        try:
            if self._buffer:
                await self._upload.add([bytes(self._buffer)])
            await self._upload.complete(exclusive=True)
        except BaseException:
            await self._upload.abort()
            raise

    def discard(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._buffer.clear()
        if self._upload is not None:
            with contextlib.suppress(FileSystemError):  # the file system was closed first: see the class
                self._client.run(What("write", self.path), self._upload.abort)

    def _open(self, operation: str) -> What:
        if self._closed:
            raise WriteError(operation, self.path, "the file is closed")
        return What(operation, self.path)
