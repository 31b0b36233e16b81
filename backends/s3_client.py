"""One bucket, as the S3 backend speaks to it: s3fs' session and options, and one retry layer."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import email.utils
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import fsspec.asyn
import s3fs
import tenacity

from measurefs.backends.s3_errors import TruncatedError, answer, origin, passing, retry_after, translate
from measurefs.backends.s3_options import s3fs_options
from measurefs.fs import FileSystemError, UnsupportedStoreError, check_path

T = TypeVar("T")
P = ParamSpec("P")

OWNER = "measurefs-owner"
"""Name, in an object's metadata, of the random token that tells which exclusive write it came from."""

PAGE = 1000
"""How many names a LIST is asked for, the most that S3 gives."""

PIECE = 256 * 1024
"""How many bytes of a body are read at most before the time that it takes is looked at."""


_BACKOFF = tenacity.wait_random_exponential(multiplier=0.1, max=10)


class What(NamedTuple):
    """The `FileSystem` call that a request serves, for the errors it may raise."""

    operation: str
    path: str


@dataclasses.dataclass(frozen=True)
class Body:
    """What a GET brought: the bytes, and the tag of the object they are from."""

    data: bytes
    etag: str


class S3Client:
    """Sends requests about one bucket.

    s3fs supplies session, credentials, region, encryption and the other options users know, and the thread
    that runs the event loop. Its file objects, listing cache and retries are not used: a request goes out
    once, and `retried` alone decides whether it goes out again.

    Parameters
    ----------
    url : str
        ``s3://bucket/prefix``; an access point's ARN may stand for the bucket.
    retry_deadline : float
        For how many seconds a request is repeated that fails for passing reasons.
    request_timeout, minimum_rate : float
        For how many seconds one attempt of a request may take, besides the time for the bytes of its body at
        so many bytes a second.
    max_concurrency : int
        How many requests may be under way at the same time.
    options : dict
        What `s3fs.S3FileSystem` takes.
    own : collection of str
        What the backend takes besides, to suggest it for a name that nobody knows.

    Raises
    ------
    UnsupportedStoreError
        The URL names no bucket, or one of the options does not exist.
    """

    def __init__(
        self,
        url: str,
        *,
        retry_deadline: float,
        request_timeout: float,
        minimum_rate: float,
        max_concurrency: int,
        options: dict[str, Any],
        own: Collection[str] = (),
    ) -> None:
        chosen = s3fs_options(
            url, options, max_concurrency=max_concurrency, request_timeout=request_timeout, own=own
        )
        try:
            self._s3 = s3fs.S3FileSystem(**chosen)
        except (KeyError, TypeError, ValueError) as error:
            raise UnsupportedStoreError(f"cannot open {url!r}: {error.args[0]}") from error
        self._s3.retries = 1
        self.bucket, prefix, _ = self._s3.split_path(url)
        if not self.bucket:
            raise UnsupportedStoreError(f"cannot open {url!r}: name a bucket, as in 's3://bucket/prefix'")
        self.prefix = check_path(prefix.strip("/"), "open", root=True)
        self._deadline = retry_deadline
        self._request_timeout = request_timeout
        self._minimum_rate = minimum_rate
        self._slots = asyncio.Semaphore(max_concurrency)
        self._pid = os.getpid()
        self._closed = False

    def key(self, path: str) -> str:
        """Return the object key of a path."""
        return f"{self.prefix}/{path}" if self.prefix else path

    def below(self, path: str) -> str:
        """Return the prefix of all keys under a directory; that of the bucket's own root is empty."""
        key = self.key(path).strip("/")
        return f"{key}/" if key else ""

    def run(
        self, what: What, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a coroutine function on the thread of the event loop and return its result.

        Raises
        ------
        FileSystemError
            The file system is closed, or belongs to the process that this one was forked from.
        """
        if os.getpid() != self._pid:
            reason = "the process was forked after the store was opened; open the store again in the child"
            raise FileSystemError(*what, reason)
        if self._closed:
            raise FileSystemError(*what, "the file system is closed; open it again")
        result: T = fsspec.asyn.sync(self._s3.loop, function, *args, **kwargs)
        return result

    async def call(
        self,
        what: What,
        method: str,
        *,
        retry: Callable[[BaseException], bool] = passing,
        patience: float = 1.0,
        **params: Any,
    ) -> dict[str, Any]:
        """Send one request, again as long as it fails for passing reasons, and return the answer.

        Patience multiplies the time that an attempt may take, where the store has much to do.
        """
        allowed = self._request_timeout * patience + len(params.get("Body", b"")) / self._minimum_rate

        async def attempt() -> dict[str, Any]:
            async with self._slots, _at_most(allowed):
                answered: dict[str, Any] = await self._s3._call_s3(method, Bucket=self.bucket, **params)
                return answered

        return await self.retried(what, attempt, retry)

    async def get(self, what: What, key: str, start: int = 0, stop: int | None = None) -> Body:
        """Read an object, or its bytes from start to stop, in one GET; fewer where the object ends."""
        window = {} if stop is None else {"Range": f"bytes={start}-{stop - 1}"}

        async def attempt() -> Body:
            async with self._slots, _at_most(self._request_timeout) as limit:
                head = await self._s3._call_s3("get_object", Bucket=self.bucket, Key=key, **window)
                try:
                    data = await self._read(head["Body"], limit)
                finally:
                    head["Body"].close()
            if len(data) != head["ContentLength"]:
                raise TruncatedError(f"{len(data)} of {head['ContentLength']} bytes arrived")
            return Body(data, head.get("ETag", ""))

        return await self.retried(what, attempt)

    async def _read(self, body: Any, limit: asyncio.Timeout) -> bytes:
        """Read a body as long as it keeps coming at the minimum rate, however long it is."""
        loop = asyncio.get_running_loop()
        pieces: list[bytes] = []
        expected = arrived = 0
        while piece := await body.read(PIECE):
            pieces.append(piece)
            arrived += len(piece)
            if arrived >= expected:
                limit.reschedule(loop.time() + self._request_timeout)
                expected = arrived + int(self._request_timeout * self._minimum_rate)
        return b"".join(pieces)

    async def pages(self, what: What, **params: Any) -> AsyncIterator[dict[str, Any]]:
        """List keys, page by page, as they are at this moment."""
        while True:
            page = await self.call(what, "list_objects_v2", MaxKeys=PAGE, **params)
            yield page
            if not page.get("IsTruncated"):
                return
            params["ContinuationToken"] = page["NextContinuationToken"]

    async def retried(
        self,
        what: What,
        attempt: Callable[[], Awaitable[T]],
        retry: Callable[[BaseException], bool] = passing,
    ) -> T:
        """Await attempt, repeatedly with jittered backoff while it fails in a way that retry accepts."""
        begun = time.monotonic()
        loop = tenacity.AsyncRetrying(
            stop=tenacity.stop_before_delay(self._deadline),
            wait=self._pause,
            retry=tenacity.retry_if_exception(retry),
            reraise=True,
        )
        try:
            return await loop(attempt)
        except FileSystemError:
            raise
        except Exception as error:  # noqa: BLE001 - nothing leaves but as an error of our family
            tries = loop.statistics.get("attempt_number", 1)
            effort = (
                f"{tries} attempts in {time.monotonic() - begun:.1f} s (retry_deadline={self._deadline:g})"
            )
            raise translate(error, *what, effort) from origin(error)

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Return for how many seconds to wait before the next attempt; longer if the store asks for it."""
        pause = _BACKOFF(state)
        asked = retry_after(state.outcome.exception()) if state.outcome else 0.0
        over = state.seconds_since_start or 0.0
        return asked + pause if over + asked + pause < self._deadline else pause

    async def owner_of(self, what: What, key: str) -> str | None:
        """Return the owner token of an object; None where there is no such object or it has no token."""
        try:
            head = await self.call(what, "head_object", Key=key)
        except FileNotFoundError:
            return None
        found: str | None = head["Metadata"].get(OWNER)
        return found

    def metadata(self, owner: str) -> dict[str, str]:
        """Return the metadata for an object with an owner token, the user's own included."""
        return {**self._s3.s3_additional_kwargs.get("Metadata", {}), OWNER: owner}

    async def endpoint(self) -> str:
        """Return the address that requests go to."""
        return str((await self._s3.set_session()).meta.endpoint_url)

    def close(self) -> None:
        """Close the connections."""
        closed, self._closed = self._closed, True
        creator = getattr(self._s3, "_s3creator", None)
        if closed or creator is None or os.getpid() != self._pid:
            return
        fsspec.asyn.sync(self._s3.loop, creator.__aexit__, None, None, None)


@contextlib.asynccontextmanager
async def _at_most(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """Give up what is awaited within it after so many seconds, or at the time it is rescheduled to."""
    limit = asyncio.timeout(seconds)
    begun = time.monotonic()
    try:
        async with limit:
            yield limit
    except TimeoutError as error:
        if not limit.expired():
            raise
        reason = f"there was no whole answer after {time.monotonic() - begun:.1f} s (see request_timeout)"
        raise TimeoutError(reason) from error


async def all_of(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all of them at once; when some fail, raise the first failure once none is under way any more."""
    done = await asyncio.gather(*coroutines, return_exceptions=True)
    results = []
    for result in done:
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results


def age(head: dict[str, Any]) -> float | None:
    """Return how many seconds ago an object was written, by the store's own clock, from the answer to a HEAD."""
    now = head.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if not now or "LastModified" not in head:
        return None
    passed: datetime.timedelta = email.utils.parsedate_to_datetime(now) - head["LastModified"]
    return max(0.0, passed.total_seconds())


def conflicted(error: BaseException) -> bool:
    """Tell whether the store answered that a competing request was in flight."""
    return answer(error)[0] == 409
