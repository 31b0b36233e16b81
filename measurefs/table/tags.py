"""Tags of a table: names for snapshots, which are kept with all their parts until the tag is removed.

A tag is an empty file ``<epoch>-<escaped name>.tag`` beside the snapshot ``<epoch>.snp``: its name says all, so that
there is nothing in it to be damaged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from measurefs.fs.errors import SchemaError
from measurefs.fs.paths import escape, unescape

TAG_SUFFIX = ".tag"
_LONGEST = 200
_SURROGATE = re.compile("[\ud800-\udfff]")
_TAG = re.compile(r"([0-9a-f]{16})-([ -~]+)\.tag")


class TagName(NamedTuple):
    """What the name of a tag's file says.

    Attributes
    ----------
    epoch : int
        The snapshot that it keeps.
    tag : str
    """

    epoch: int
    tag: str

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.epoch:016x}-{escape(self.tag)}{TAG_SUFFIX}"


def parse_tag(name: str) -> TagName | None:
    """Return what the name of a tag's file says, None if it is not such a name."""
    match = _TAG.fullmatch(name)
    if match is None or escape(unescape(match.group(2))) != match.group(2):
        return None
    return TagName(int(match.group(1), 16), unescape(match.group(2)))


def tags_in(names: Iterable[str]) -> list[TagName]:
    """Return the tags among the names of a listing, by epoch."""
    return sorted(tag for name in names if (tag := parse_tag(name)) is not None)


def tagged_epochs(names: Iterable[str]) -> set[int]:
    """Return the epochs of the snapshots that tags keep, from the names of a table's listing."""
    return {tag.epoch for tag in tags_in(names)}


def check_tag(name: object) -> str:
    """Return the name of a tag if it can be one: any text that a file can be named after; raises `SchemaError`."""
    if not isinstance(name, str) or not name or _SURROGATE.search(name):
        raise SchemaError(f"a tag needs a name of Unicode text, not {name!r}")
    if len(escape(name)) > _LONGEST:
        raise SchemaError(
            f"the tag {name[:40]!r}... is too long for a file's name: {len(escape(name))} characters as written "
            f"there, and {_LONGEST} are allowed; choose a shorter one"
        )
    return name


def check_free(name: str, known: Iterable[str], what: str) -> None:
    """Raise `SchemaError` if a tag of that name is there, or one that differs only in case."""
    for other in known:
        if other == name:
            raise SchemaError(f"{what} has a tag {name!r} already; untag it first, or choose another name")
        if other.casefold() == name.casefold():
            raise SchemaError(
                f"tag {name!r} differs from {other!r} of {what} only in case, and their files would be the same on "
                "some disks; choose another name"
            )
