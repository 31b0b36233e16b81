"""Names that a query gives: those of the columns every measure has, and what to say of one that is not there."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pyarrow as pa

from measurefs.fs.errors import SchemaError
from measurefs.part.part import TIME, VERSION

__all__ = ["TIME", "TIME_TYPE", "VERSION", "check_names", "nearest"]

TIME_TYPE = pa.timestamp("ns", tz="UTC")


def check_names(names: Iterable[str], known: Collection[str], what: str, kind: str = "column") -> None:
    """Raise `SchemaError`, suggesting the nearest name, unless all names are known.

    Parameters
    ----------
    names, known : str
        Names of columns, or of something else.
    what, kind : str
        Where the names were given, and what they name, for the message.
    """
    for name in names:
        if name not in known:
            near = nearest(str(name), known)
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(known) or 'none'}"
            raise SchemaError(f"{what} names the unknown {kind} {name!r}; {hint}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of some names that is most like another, None if none is like it."""
    from difflib import get_close_matches  # noqa: PLC0415 - for messages alone

    return next(iter(get_close_matches(name, known, 1)), None)
