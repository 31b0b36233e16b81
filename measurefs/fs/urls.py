"""From a URL to the backend that serves it."""

from __future__ import annotations

import errno
import functools
import re
import sys
from importlib import import_module
from typing import Any

from measurefs.fs.errors import OpenError, UnsupportedStoreError
from measurefs.fs.filesystem import FileSystem

GROUP = "measurefs.filesystems"
"""The entry-point group: name is the scheme, value the `FileSystem` class (its `from_url` is called)."""

BUILT_IN = {
    "file": "measurefs.backends.local:LocalFileSystem",
    "memory": "measurefs.backends.memory:MemoryFileSystem",
    "s3": "measurefs.backends.s3:S3FileSystem",
}
"""The entry points of measurefs itself: to find them among all that is installed takes longer than to open a store."""

_FALLBACK = "fsspec"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def open_url(url: str, **storage_options: Any) -> FileSystem:
    """Open the file system that a URL or a plain path names.

    Parameters
    ----------
    url : str
        ``"./metrics"`` or ``"file:///srv/metrics"``, ``"memory://tests"``, ``"s3://bucket/prefix"``, or any
        URL that a registered backend or fsspec serves.
    **storage_options
        What the backend takes: credentials, endpoints and the like.

    Raises
    ------
    UnsupportedStoreError
        No backend serves the scheme, or its packages are not installed.
    """
    try:
        place = _place(scheme_of(url))
    except OSError as error:
        reason = f"the installed backends cannot be listed: {error}"
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            reason += "; raise the limit on open files (ulimit -n)"
        raise OpenError("open", url, reason, error.errno) from error
    if place is None:
        raise UnsupportedStoreError(
            f"cannot open {url!r}: no backend is registered for {scheme_of(url)!r}; is measurefs installed?"
        )
    return _load(place, url).from_url(url, **storage_options)


def scheme_of(url: str) -> str:
    """Return the URL's scheme; a plain path has the scheme ``file``."""
    match = _SCHEME.match(url)
    return match.group(1).lower() if match else "file"


def _place(scheme: str) -> str | None:
    """Return where the class is that serves a scheme, or else that which serves all that have nothing of their own."""
    if scheme in BUILT_IN:
        return BUILT_IN[scheme]
    if scheme not in _registered(tuple(sys.path)):
        _registered.cache_clear()  # it may have been installed since
    registered = _registered(tuple(sys.path))
    return registered.get(scheme) or registered.get(_FALLBACK)


@functools.lru_cache(maxsize=1)
def _registered(path: tuple[str, ...]) -> dict[str, str]:
    """Return the backends by scheme. They are kept: to look through all that is installed takes milliseconds."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - as much as all else that a `FileSystem` needs

    return {entry.name: entry.value.partition("[")[0].strip() for entry in entry_points(group=GROUP)}


def _load(place: str, url: str) -> type[FileSystem]:
    module, _, name = place.partition(":")
    try:
        backend: object = functools.reduce(getattr, name.split("."), import_module(module))
    except ImportError as error:
        raise UnsupportedStoreError(
            f"cannot open {url!r}: the backend {place} needs a package that is missing ({error}); "
            f"try: pip install 'measurefs[{scheme_of(url)}]'"
        ) from error
    if not (isinstance(backend, type) and issubclass(backend, FileSystem)):
        raise UnsupportedStoreError(f"cannot open {url!r}: {place} is not a measurefs.FileSystem class")
    return backend
