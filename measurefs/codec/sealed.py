"""Typed JSON documents that carry a checksum over themselves."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from measurefs.codec.checksum import checksum
from measurefs.fs.errors import CorruptionError, UnsupportedStoreError
from measurefs.fs.structs import decodable

T = TypeVar("T")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # the last of what nests too deep


@decodable
class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    checksum: str
    body: msgspec.Raw


def seal(document: object) -> bytes:
    """Return ``{"checksum": ..., "body": document}`` as JSON; the checksum covers the body's very bytes."""
    body = msgspec.json.encode(document)
    return msgspec.json.encode(_Envelope(f"{checksum(body):016x}", msgspec.Raw(body)))


def unseal(data: bytes, kind: type[T], path: str) -> T:
    """Return the document that `seal` wrote, checked and typed.

    Raises
    ------
    CorruptionError
        It is not what `seal` wrote: cut short, flipped, or of another kind.
    UnsupportedStoreError
        It is what `seal` wrote, and has keys that this release does not know: to ignore them, or to take it for
        damaged, could lose what they say.
    """
    try:
        envelope = msgspec.json.decode(data, type=_Envelope)
    except _UNREADABLE as error:
        raise CorruptionError(path, f"it is not a sealed document ({error})") from error
    if envelope.checksum != f"{checksum(bytes(envelope.body)):016x}":
        raise CorruptionError(path, "its checksum does not match its content")
    try:
        return msgspec.json.decode(envelope.body, type=kind)
    except _UNREADABLE as error:
        if "unknown field" in str(error):  # msgspec has no class of its own for it
            raise UnsupportedStoreError(
                f"cannot open {path!r}: it says more than this release understands ({error}); use a newer measurefs"
            ) from error
        raise CorruptionError(path, f"its content has an unknown form ({error})") from error
