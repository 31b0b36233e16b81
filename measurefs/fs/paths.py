"""Paths: ``/``-separated, relative, without a leading or trailing slash; ``""`` is the root."""

from __future__ import annotations

import functools
import re
from urllib.parse import quote, unquote

from measurefs.fs.errors import InvalidPathError


def check_path(path: str, operation: str, *, root: bool = False) -> str:
    """Return the path if it is a plain relative one.

    Parameters
    ----------
    path : str
        What the caller passed.
    operation : str
        The method it was passed to, for the message.
    root : bool
        Whether ``""``, the root itself, is allowed (for directories it is, for files not).

    Raises
    ------
    InvalidPathError
        The path is absolute, has ``.``, ``..`` or empty components, a NUL, a backslash or half a surrogate pair.
    """
    if path == "" and root:
        return path
    if "\0" in path or "\\" in path:
        raise InvalidPathError(operation, path, "a path may hold neither NUL nor backslash")
    if not path.isascii():
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise InvalidPathError(operation, path, "it cannot be written as UTF-8") from error
    for component in path.split("/"):
        if component in {"", ".", ".."}:
            raise InvalidPathError(
                operation, path, "use a relative path of plain names, such as 'cpu/seg-20260101/shard-0'"
            )
    return path


def join(*components: str) -> str:
    """Join path components; empty ones (the root) vanish."""
    return "/".join(component for component in components if component)


def parent(path: str) -> str:
    """Return the directory that holds path; the root's parent is the root."""
    return path.rpartition("/")[0]


def basename(path: str) -> str:
    """Return the last component of path."""
    return path.rpartition("/")[2]


_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)


@functools.lru_cache(maxsize=1024)
def escape(name: str) -> str:
    """Turn any name a user may choose into one plain path component; `unescape` reverses it.

    Percent-encoding as in RFC 3986. Encoded as well are a leading dot, so that no name hides or escapes, and what
    Windows gives a meaning of its own: a trailing dot or space, and the names of devices.
    """
    quoted = quote(name, safe=" +=@,")
    if quoted.startswith(".") or _DEVICE.match(quoted):
        quoted = f"%{ord(quoted[0]):02X}{quoted[1:]}"
    if quoted.endswith((".", " ")):
        quoted = f"{quoted[:-1]}%{ord(quoted[-1]):02X}"
    return quoted


def unescape(component: str) -> str:
    """Return the name that `escape` turned into this component."""
    return unquote(component)
