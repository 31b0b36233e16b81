"""The files by which a root is known to be a store, and a directory to be a measure."""

from __future__ import annotations

import msgspec

from measurefs.fs.structs import decodable
from measurefs.part.metadata import FORMAT_VERSION

IDENTITY = "measurefs.json"
SCHEMA = "schema.json"


@decodable
class Identity(msgspec.Struct, frozen=True):
    """The content of ``measurefs.json``, by which a root is known to be a store, and the start of a schema's."""

    format: int = FORMAT_VERSION
