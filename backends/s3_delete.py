"""Removing everything under a prefix: a thousand objects a request, and every key's own answer looked at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from measurefs.backends.s3_client import S3Client, What, all_of
from measurefs.backends.s3_errors import UnfinishedError, not_implemented, passing_answer
from measurefs.fs import DeleteError, FileSystemError, PermissionError_

BATCH = 1000


async def delete_all(client: S3Client, what: What) -> None:
    """Delete the object of the path's name and all objects under it, page by page; none is success."""
    async for keys in _batches(client, what):
        await _delete(client, what, keys)


async def delete_keys(client: S3Client, what: What, keys: list[str]) -> None:
    """Delete objects; those that are missing are no failure."""
    for start in range(0, len(keys), BATCH):
        await _delete(client, what, keys[start : start + BATCH])


async def _delete(client: S3Client, what: What, keys: list[str]) -> None:
    try:
        await _delete_batch(client, what, keys)
    except FileSystemError as error:
        if not not_implemented(error):
            raise
        await all_of(client.call(what, "delete_object", Key=key) for key in keys)


async def _batches(client: S3Client, what: What) -> AsyncIterator[list[str]]:
    keys = [client.key(what.path)] if what.path else []
    async for page in client.pages(what, Prefix=client.below(what.path)):
        keys += [item["Key"] for item in page.get("Contents", ())]
        while len(keys) >= BATCH:
            yield keys[:BATCH]
            del keys[:BATCH]
    if keys:
        yield keys


async def _delete_batch(client: S3Client, what: What, keys: list[str]) -> None:
    """Delete up to a thousand objects; those refused for passing reasons again until none is left."""
    left = keys

    async def attempt() -> None:
        nonlocal left
        objects = {"Objects": [{"Key": key} for key in left], "Quiet": True}
        done = await client.call(what, "delete_objects", Delete=objects)
        refused = [error for error in done.get("Errors", ()) if error.get("Code") != "NoSuchKey"]
        for error in refused:
            if not passing_answer(0, error.get("Code", "")):
                raise _refusal(what, error)
        left = [error["Key"] for error in refused]
        if left:
            raise UnfinishedError(f"{len(left)} of {len(keys)} objects refused, {left[0]!r}: {refused[0]}")

    await client.retried(what, attempt, _unfinished)


def _unfinished(error: BaseException) -> bool:
    return isinstance(error, UnfinishedError)


def _refusal(what: What, error: dict[str, Any]) -> FileSystemError:
    code, message = error.get("Code", ""), error.get("Message", "")
    kind = PermissionError_ if code == "AccessDenied" else DeleteError
    return kind(*what, f"the store refused to delete {error.get('Key')!r}: {code} {message}".rstrip())
