"""Structs that several threads decode."""

from __future__ import annotations

from typing import TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


def decodable(kind: type[S]) -> type[S]:
    """Let msgspec look at a struct's fields when it is defined (a class decorator for all that is ever decoded).

    Otherwise it does so at the first decoding, and crashes the process if two threads come to that at once.
    """
    msgspec.json.Decoder(kind)
    return kind
