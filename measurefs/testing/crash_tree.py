"""Directories that remember what of them is durable, and what a power cut makes of the rest."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from measurefs.fs import join

BLOCK = 4096
"""What a disk writes whole: files that were never finished are torn between blocks of this many bytes."""


class Directory:
    """Names, each with all it stood for since it was last made durable.

    Attributes
    ----------
    states : dict
        Name to what it stood for: first what is durable (None: nothing), then every later state, the current
        one last. A power cut may leave any of them.
    """

    def __init__(self) -> None:
        self.states: dict[str, list[Node | None]] = {}
        self._beyond_sync: set[str] = set()

    def get(self, name: str) -> Node | None:
        """Return what a name stands for now."""
        states = self.states.get(name)
        return states[-1] if states else None

    def now(self) -> dict[str, Node]:
        """Return all names that stand for something now."""
        return {name: states[-1] for name, states in self.states.items() if states[-1] is not None}

    def put(self, name: str, node: Node | None) -> None:
        """Let a name stand for something else (None: nothing) from now on."""
        self.states.setdefault(name, [None]).append(node)
        self._beyond_sync.discard(name)

    def put_durably(self, name: str, node: Node) -> None:
        """Let a name stand for something, whatever happens."""
        self.states[name] = [node]
        self._beyond_sync.discard(name)

    def clear(self) -> None:
        """Remove all names, those in directories below first, as a recursive removal does."""
        for name, node in self.now().items():
            if isinstance(node, Directory):
                node.clear()
            self.put(name, None)

    def sync(self) -> None:
        """Make all names durable as they are, except for those that an earlier sync has failed for."""
        for name in self.states.keys() - self._beyond_sync:
            current = self.states[name][-1]
            if current is None:
                del self.states[name]
            else:
                self.states[name] = [current]

    def fail_to_sync(self) -> None:
        """Let no later sync make the names of files durable that this one should have made durable."""
        for name, states in self.states.items():
            if len(states) > 1 and not any(isinstance(node, Directory) for node in states):
                self._beyond_sync.add(name)

    def at_risk(self, path: str = "") -> Iterator[str]:
        """Yield the paths that a power cut may change, in no particular order; path is this directory's."""
        for name, states in self.states.items():
            if len(states) > 1:
                yield join(path, name)
            if isinstance(states[-1], Directory):
                yield from states[-1].at_risk(join(path, name))


Node: TypeAlias = "bytes | Directory"
Choice: TypeAlias = Callable[["Sequence[Node | None]"], "Node | None"]


def chooser(survivors: str | int) -> Choice:
    """Return what picks among a name's states: the durable one, the last one, or by a seed any of them."""
    if survivors == "none":
        return lambda states: states[0]
    if survivors == "all":
        return lambda states: states[-1]
    if isinstance(survivors, int):
        return random.Random(survivors).choice
    raise ValueError(f"survivors must be 'none', 'all' or a seed, not {survivors!r}")


def after_power_cut(directory: Directory, choose: Choice) -> Directory:
    """Return the directory as it is found afterwards; all of it is durable then."""
    left = Directory()
    for name in sorted(directory.states):
        node = choose(directory.states[name])
        if node is not None:
            left.states[name] = [after_power_cut(node, choose) if isinstance(node, Directory) else node]
    return left


def torn(data: bytes, survivors: str | int) -> bytes | None:
    """Return what a power cut leaves of bytes that were never made durable; None if not even a name."""
    if survivors == "none":
        return None
    if survivors == "all":
        return data
    chance = random.Random(f"{survivors} {len(data)}")
    if chance.random() < 0.25:
        return None
    kept = data[: chance.randint(0, len(data))]
    blocks = [kept[start : start + BLOCK] for start in range(0, len(kept), BLOCK)]
    return b"".join(block if chance.random() < 0.5 else bytes(len(block)) for block in blocks)
