"""The proof that a store honours ``If-None-Match: *``, on which rests that two writers are kept apart."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import threading

from measurefs.backends.s3_client import S3Client, What, all_of
from measurefs.backends.s3_errors import not_implemented
from measurefs.fs import ExistError, FileSystemError, NotExistError, UnsupportedStoreError, join

RACERS = 3

Store = tuple[str, str]
"""Endpoint and bucket."""


@dataclasses.dataclass
class _Proof:
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    given: bool = False


_proofs: dict[Store, _Proof] = {}
if hasattr(os, "register_at_fork"):
    # A lock that another thread holds at that moment would be held for ever in the child.
    os.register_at_fork(after_in_child=_proofs.clear)


def prove(client: S3Client, operation: str) -> None:
    """Return if the store was seen to honour the condition: once for each store in this process.

    Several writes of one new key at the same time, of which exactly one may succeed; then one more, which must be
    refused; then a look at whether the first content is still there. Six requests in four round trips.

    Raises
    ------
    UnsupportedStoreError
        It was seen not to.
    """
    what = What(operation, join("_probe", secrets.token_hex(16)))
    store = (client.run(what, client.retried, what, client.endpoint), client.bucket)
    proof = _proofs.setdefault(store, _Proof())
    with proof.lock:  # of threads that come at the same time one asks, and the others wait for the answer
        if not proof.given:
            client.run(what, _prove, client, what, store)
            proof.given = True


async def _prove(client: S3Client, what: What, store: Store) -> None:
    key = client.key(what.path)
    try:
        await _judge(client, what, key, store)
    except BaseException:
        with contextlib.suppress(
            FileSystemError
        ):  # what is on its way up matters more than what is left over
            await client.call(what, "delete_object", Key=key)
        raise
    await client.call(what, "delete_object", Key=key)


async def _judge(client: S3Client, what: What, key: str, store: Store) -> None:
    async def succeeds(content: bytes) -> bool:
        try:
            await client.call(what, "put_object", Key=key, Body=content, IfNoneMatch="*")
        except ExistError:
            return False
        except FileSystemError as error:
            if not_implemented(error):
                raise _refusal(store, "it does not implement the header") from error
            raise
        return True

    racers = [f"racer {number}".encode() for number in range(RACERS)]
    results = await all_of(succeeds(content) for content in racers)
    # None where the answer to the one that succeeded got lost, and its repetition was refused.
    winners = [content for content, won in zip(racers, results, strict=True) if won]
    if len(winners) > 1:
        raise _refusal(
            store, f"{len(winners)} of {RACERS} writers were told that they had created one object"
        )
    if await succeeds(b"late"):
        raise _refusal(store, "it overwrites an object in spite of the header")
    try:
        kept = (await client.get(what, key)).data
    except NotExistError as error:
        raise _refusal(store, "an object that it had acknowledged is not there") from error
    if kept not in (winners or racers):
        raise _refusal(store, "it says that it refuses, and overwrites the object all the same")


def _refusal(store: Store, why: str) -> UnsupportedStoreError:
    endpoint, bucket = store
    return UnsupportedStoreError(
        f"cannot open bucket {bucket!r} at {endpoint} for writing: two writers cannot be kept apart, because "
        f"the store does not honour 'If-None-Match: *' ({why}); use a store or release that does, open with "
        f"read_only=True, or pass assume_conditional_writes=True if no two writers will ever meet"
    )
