"""How far the writer is, in a file that all processes map: a process that is killed leaves it as it was."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Self

_NAMES = ("begun", "acknowledged", "generation")


class Progress:
    """Three numbers.

    Attributes
    ----------
    begun : int
        The last batch that a writer has begun to write.
    acknowledged : int
        The last batch that is durable, with all before it, as a writer was told.
    generation : int
        How many writers there have been.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with Path(path).open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8 * len(_NAMES))

    @classmethod
    def make(cls, path: str) -> Self:
        """Make the file, all numbers 0."""
        Path(path).write_bytes(bytes(8 * len(_NAMES)))
        return cls(path)

    def __getattr__(self, name: str) -> int:
        if name not in _NAMES:
            raise AttributeError(name)
        number: int = struct.unpack_from("=q", self._map, 8 * _NAMES.index(name))[0]
        return number

    def say(self, name: str, number: int) -> None:
        """Set a number; the others see it at once."""
        struct.pack_into("=q", self._map, 8 * _NAMES.index(name), number)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()
